#![doc = include_str!("../README.md")]

mod accuracy;
mod alike;
mod best;
pub mod boxes;
mod candidates;
pub mod classification;
pub mod clustering;
mod distance;
pub mod distances;
mod exact;
mod frame;
pub mod generated;
pub mod geometry;
mod group_join;
mod kernel;
mod knn;
mod linear;
mod lines;
mod near_lists;
mod pairwise;
pub mod pixels;
mod points;
mod principal;
mod probe;
pub mod retrieval;
mod schedule;
mod scratch;
mod self_join;
mod side;
mod special;
pub mod statistics;
mod top_k;
mod trustworthiness;
mod within;

pub use accuracy::{Accuracy, AccuracyError, top_k_accuracy};
pub use distance::{Distance, DistanceError, distance};
pub use group_join::GroupJoin;
pub use kernel::{fma_peak_gflops, simd_name};
pub use knn::{Knn, KnnError, Labelled, Vote, knn_accuracy, knn_scores};
pub use pairwise::pairwise;
pub use probe::{Probe, ProbeError, Probed, Trial, linear_probe};
pub use self_join::{Pending, SelfJoin, Strip};
pub use statistics::{
    Interval, TYPICAL_DISCORDANT_SHARE, quantile, smallest_detectable_difference, wilson_interval,
};
pub use top_k::{Neighbours, top_k, top_k_within};
pub use trustworthiness::{Faithfulness, TrustworthinessError, faithfulness, faithfulness_at};
pub use within::{Within, within_distance};

/// Values in \[0, 1) that look drawn at random, for tests.
#[cfg(test)]
fn noise(i: usize, j: usize) -> f32 {
    let mut z = (i as u64) << 32 | j as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 40) as f32 / (1 << 24) as f32
}
