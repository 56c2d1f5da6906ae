//! The same losses as subgraphs of standard ONNX operators, built with [`nearkin_nn::Scope`].
//!
//! Each function has the name and the settings of its array form, takes values of the graph, and
//! returns a scalar f32. What it emits can be differentiated by `nearkin-autodiff`, runs on any
//! engine, and leaves the batch `N` open where the inputs do. Settings that do not fit are reported
//! by [`Scope::finish`](nearkin_nn::Scope::finish). Values cannot be checked in a graph: labels must
//! be i64 and at least 0 (a label beyond the classes counts as no class), weights at least 0.
//!
//! Not here: Lovász's losses, whose sort has no derivative rule in `nearkin-autodiff`; losses over
//! lists of mined triplets, whose number depends on the data (mining is done by masks over `[n, n]`
//! instead, with the same result); adversarial neighbours, which need the gradient of an input first.
//!
//! ```
//! use nearkin_loss::{CrossEntropy, onnx};
//! use nearkin_nn::Scope;
//! use nearkin_onnx::{Dim, ElementType, Graph, Shape, TensorType};
//! let s = Scope::over(Graph::new("loss"));
//! let logits = TensorType::f32(Shape(vec![Dim::symbol("N"), Dim::Known(10)]));
//! let labels = TensorType {
//!     element: ElementType::Int64,
//!     shape: Some(Shape(vec![Dim::symbol("N")])),
//! };
//! let (logits, labels) = (s.input("logits", logits), s.input("labels", labels));
//! let loss = onnx::cross_entropy(&s, logits, labels, &CrossEntropy::default());
//! s.rename(loss, "loss");
//! assert!(s.dims(loss).is_empty());
//! s.finish()?;
//! # Ok::<(), nearkin_nn::BuildError>(())
//! ```

mod classification;
mod graph;
mod metric;
mod others;
mod parts;

pub use classification::{
    binary_cross_entropy, cross_entropy, sigmoid_focal, soft_cross_entropy, softmax_focal,
};
pub use graph::{Edges, graph_term, graph_term_rows, repulsive_term};
pub use metric::{
    arc_face, centre, contrastive, cos_face, info_nce, multi_similarity, n_pairs, nt_xent,
    proxy_anchor, proxy_nca, sup_con, triplet,
};
pub use others::{
    binary_overlap, discriminator, distillation, generator, normal_divergence, overlap,
    reconstruction,
};
