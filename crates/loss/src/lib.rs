#![doc = include_str!("../README.md")]

mod adversarial;
mod binary;
mod cross_entropy;
mod distillation;
mod error;
mod gan;
mod graded;
mod graph;
mod metric;
mod miners;
#[cfg(feature = "onnx")]
pub mod onnx;
mod random;
mod reconstruction;
mod rows;
mod sampler;
mod segmentation;

pub use adversarial::{AdversarialConfig, Norm, adversarial_neighbour, adversarial_step};
pub use binary::{BinaryCrossEntropy, Focal, binary_cross_entropy, sigmoid_focal, softmax_focal};
pub use cross_entropy::{CrossEntropy, cross_entropy, soft_cross_entropy};
pub use distillation::{Distillation, distillation};
pub use error::LossError;
pub use gan::{Adversarial, discriminator, generator};
pub use graded::{Graded, GradedPair, Reduction};
pub use graph::{
    Alpha, EdgeDistance, EdgeKindWeights, EdgeReduction, Edges, GraphTerm, ROOT_EPS, Repulsion,
    Schedule, Space, StopGradient, graph_term, graph_term_rows, repulsive_term,
};
pub use metric::{
    ArcFace, Contrastive, CosFace, Direction, InfoNce, Margin, Mining, MultiSimilarity, NPairs,
    NtXent, PairReduction, Power, ProxyAnchor, ProxyNca, SupCon, Triplet, arc_face, centre,
    contrastive, cos_face, info_nce, multi_similarity, n_pairs, nt_xent, proxy_anchor, proxy_nca,
    sup_con, triplet, triplet_of,
};
pub use miners::{
    LabelPairs, all_pairs, distance_weighted_triplets, mine_triplets, multi_similarity_pairs,
};
pub use reconstruction::{Deviation, normal_divergence, reconstruction};
pub use sampler::{PerClass, per_class_batches};
pub use segmentation::{
    Classes, Lovasz, Overlap, binary_overlap, lovasz_hinge, lovasz_softmax, overlap,
};
