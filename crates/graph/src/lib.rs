#![doc = include_str!("../README.md")]

mod kd_tree;
pub mod map;
mod neighbours;
mod purity;
mod similarity;

pub use nearkin_metrics::{Distance, Neighbours};
pub use neighbours::{
    Engine, KD_TREE_MAX_WIDTH, KD_TREE_MIN_POINTS, NeighbourError, nearest_neighbours,
};
pub use purity::{Purity, PurityError, label_purity};
pub use similarity::{GraphError, SimilarityGraph, gaussian_knn_graph};
