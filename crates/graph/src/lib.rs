#![doc = include_str!("../README.md")]

mod alias;
mod combine;
mod compare;
pub mod descent;
mod file;
mod graph;
mod histogram;
mod kd_tree;
mod linfa_tree;
pub mod map;
mod neighbours;
mod npy;
mod outside;
mod picture;
mod purity;
mod random;
mod resumed;
mod same_label;
mod sample;
mod spreading;
mod statistics;
mod weighting;
mod within;

pub use combine::{
    CombineError, Symmetry, capped, intersection, mutual, symmetrised, union, within_parts,
};
pub use compare::{CompareError, GraphDifference, compare_graphs};
pub use file::{
    DatasetHash, GraphFile, GraphFileError, GraphInfo, GraphStoreError, ParsedGraph, graph_bytes,
    parse_graph, save_graph,
};
pub use graph::{Arc, Graph, GraphError, GraphView, Repeats};
pub use histogram::Histogram;
pub use nearkin_metrics::{Distance, Neighbours};
pub use neighbours::{
    Engine, KD_TREE_MAX_WIDTH, KD_TREE_MIN_POINTS, NeighbourError, Recall, TRIAL_MAX_WIDTH,
    measured_recall, nearest_neighbours,
};
pub use npy::{NpyError, npy_view, read_npy};
pub use outside::{
    NodeNames, OutsideEdges, OutsideError, ParquetColumns, Unknown, read_parquet_edges,
    read_tsv_edges, write_tsv_edges,
};
pub use purity::{ClassPurity, Purity, PurityError, label_purity};
pub use resumed::{Bounds, Progress, ResumeError, resumable_neighbours};
pub use same_label::same_label_graph;
pub use sample::{EdgeKind, EdgeSampler, NeighbourSampler, Proportions, SampleError};
pub use spreading::{
    CarriedLabels, Propagation, SpreadError, Spreading, label_propagation, label_spreading,
};
pub use statistics::{GraphStatistics, Hubs, components, edge_lengths, graph_statistics};
pub use weighting::{BuildError, Pair, Weighting, knn_graph, pairs_graph};
pub use within::{cosine_threshold_graph, epsilon_graph, pairs_within};
