#![doc = include_str!("../README.md")]

mod accuracy;
mod best;
mod distance;
mod knn;
mod pairwise;
mod points;
mod probe;
mod statistics;
mod top_k;
mod trustworthiness;

pub use accuracy::{Accuracy, AccuracyError, top_k_accuracy};
pub use distance::{Distance, DistanceError, distance};
pub use knn::{Knn, KnnError, Labelled, Vote, knn_accuracy, knn_scores};
pub use pairwise::pairwise;
pub use probe::{Probe, ProbeError, Probed, Trial, linear_probe};
pub use statistics::{
    Interval, TYPICAL_DISCORDANT_SHARE, quantile, smallest_detectable_difference, wilson_interval,
};
pub use top_k::{Neighbours, top_k, top_k_within};
pub use trustworthiness::{Faithfulness, TrustworthinessError, faithfulness, faithfulness_at};
