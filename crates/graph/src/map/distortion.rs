//! What a map distorts: every pair's distortion, their distribution, and the worst.

use super::Map;
use super::penalty::Penalty;

/// A pair that shaped a map, and what the map makes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistortedPair {
    /// The lower node.
    pub source: usize,
    /// The higher node.
    pub target: usize,
    /// As in PyMDE: above 0 where the pair attracts, below where it repels.
    pub weight: f32,
    /// w log(1 + d^1.5) of an attracted pair, −|w| log(1 − e^(−d)) of a repelled one; at least 0.
    pub distortion: f64,
}

/// The distribution function of distortions.
#[derive(Clone, Debug, PartialEq)]
pub struct DistortionsCdf {
    /// Distortions, rising.
    pub distortions: Vec<f64>,
}

impl DistortionsCdf {
    /// The share of pairs whose distortion is at most `distortion`, in [0, 1]; 1 without pairs.
    pub fn share_at(&self, distortion: f64) -> f64 {
        let below = self.distortions.partition_point(|&d| d <= distortion);
        if self.distortions.is_empty() { 1.0 } else { below as f64 / self.distortions.len() as f64 }
    }

    /// The least distortion that at least `share` of the pairs do not exceed; `None` without pairs.
    ///
    /// - `share`: in [0, 1]; what is outside counts as the nearer end.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let n = self.distortions.len();
        let rank = (share.clamp(0.0, 1.0) * n as f64).ceil() as usize;
        self.distortions.get(rank.clamp(1, n.max(1)) - 1).copied()
    }
}

/// The distortion of every pair of a map, in the order of its pairs.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Edge, MapConfig, distortions, layout};
/// let edge = |source, target| Edge { source, target, weight: 1.0 };
/// let map = layout(4, &[edge(0, 1), edge(1, 2), edge(2, 3)], &MapConfig::default())?;
/// let mean = distortions(&map).iter().map(|pair| pair.distortion).sum::<f64>() / 6.0;
/// assert!((mean - map.average_distortion).abs() < 1e-6);
/// # Ok::<(), nearkin_graph::map::MapError>(())
/// ```
pub fn distortions(map: &Map) -> Vec<DistortedPair> {
    let square = |i: usize, j: usize| -> f64 {
        let pairs = map.positions.row(i).into_iter().zip(map.positions.row(j));
        pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    };
    map.pairs
        .iter()
        .map(|&(i, j, weight)| {
            let (source, target) = (i as usize, j as usize);
            let penalty = if weight < 0.0 { Penalty::Repulsion } else { Penalty::Attraction };
            let size = f64::from(weight.abs());
            let distortion = penalty.distortion(square(source, target), size).max(0.0);
            DistortedPair { source, target, weight, distortion }
        })
        .collect()
}

/// The distribution of a map's distortions, attracted and repelled pairs together, as PyMDE's.
pub fn distortions_cdf(map: &Map) -> DistortionsCdf {
    let mut distortions: Vec<f64> = distortions(map).iter().map(|pair| pair.distortion).collect();
    distortions.sort_unstable_by(f64::total_cmp);
    DistortionsCdf { distortions }
}

/// The `count` most distorted pairs, worst first, ties by the pair: likely outliers and bridges.
///
/// As the first of PyMDE's `high_distortion_pairs`; fewer if the map has fewer pairs.
pub fn high_distortion_pairs(map: &Map, count: usize) -> Vec<DistortedPair> {
    let mut all = distortions(map);
    all.sort_by(|a, b| {
        let pair = |p: &DistortedPair| (p.source, p.target);
        b.distortion.total_cmp(&a.distortion).then(pair(a).cmp(&pair(b)))
    });
    all.truncate(count);
    all
}
