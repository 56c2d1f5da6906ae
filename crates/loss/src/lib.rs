#![doc = include_str!("../README.md")]

mod binary;
mod cross_entropy;
mod error;
mod graded;
mod graph;
#[cfg(feature = "onnx")]
pub mod onnx;
mod rows;

pub use binary::{BinaryCrossEntropy, Focal, binary_cross_entropy, sigmoid_focal, softmax_focal};
pub use cross_entropy::{CrossEntropy, cross_entropy, soft_cross_entropy};
pub use error::LossError;
pub use graded::{Graded, GradedPair, Reduction};
pub use graph::{
    Alpha, EdgeDistance, EdgeKindWeights, EdgeReduction, Edges, GraphTerm, ROOT_EPS, Repulsion,
    Schedule, Space, StopGradient, graph_term, graph_term_rows, repulsive_term,
};
