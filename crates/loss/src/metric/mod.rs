//! Metric learning: losses on embeddings whose labels say which rows belong together.
//!
//! Rows are compared all with all, `[n, n]`; labels are any numbers, equal ones belong together, and
//! a row is never compared with itself. Where no pair or triplet counts, a loss is 0 with gradient 0.

mod centre;
mod contrastive;
mod info_nce;
mod margin;
mod multi_similarity;
mod pairs;
mod proxy;
mod supervised;
mod triplet;

pub use centre::centre;
pub use contrastive::{Contrastive, Power, contrastive};
pub use info_nce::{Direction, InfoNce, NPairs, info_nce, n_pairs};
pub use margin::{ArcFace, CosFace, arc_face, cos_face};
pub use multi_similarity::{MultiSimilarity, multi_similarity};
pub use proxy::{ProxyAnchor, ProxyNca, proxy_anchor, proxy_nca};
pub use supervised::{NtXent, SupCon, nt_xent, sup_con};
pub use triplet::{Margin, Mining, Triplet, triplet, triplet_of};

#[cfg(feature = "onnx")]
pub(crate) use margin::{Bend, SMALLEST_SINE_SQUARE};
pub(crate) use multi_similarity::counting;
pub(crate) use pairs::{Rows, distances, positive};
pub(crate) use triplet::mined;

/// How the terms of pairs or triplets become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PairReduction {
    /// Their mean over the terms above 0, pytorch-metric-learning's default: what is solved already
    /// does not dilute the rest.
    #[default]
    MeanOfPositive,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

impl PairReduction {
    /// The factor on a sum of `count` terms, of which `active` are above 0.
    fn factor(self, count: usize, active: usize) -> f64 {
        match self {
            Self::MeanOfPositive => crate::graded::share_of(active as f64),
            Self::Mean => crate::graded::share_of(count as f64),
            Self::Sum => 1.0,
        }
    }
}
