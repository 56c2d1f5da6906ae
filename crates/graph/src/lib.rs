#![doc = include_str!("../README.md")]

pub mod descent;
mod kd_tree;
mod linfa_tree;
mod neighbours;
mod purity;
mod resumed;
mod similarity;

pub use nearkin_metrics::{Distance, Neighbours};
pub use neighbours::{
    Engine, KD_TREE_MAX_WIDTH, KD_TREE_MIN_POINTS, NeighbourError, Recall, TRIAL_MAX_WIDTH,
    measured_recall, nearest_neighbours,
};
pub use purity::{Purity, PurityError, label_purity};
pub use resumed::{Bounds, Progress, ResumeError, resumable_neighbours};
pub use similarity::{GraphError, SimilarityGraph, gaussian_knn_graph};
