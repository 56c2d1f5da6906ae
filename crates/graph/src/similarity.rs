//! Weighted symmetric graphs over points, as compressed rows.

use ndarray::ArrayView2;
use nearkin_metrics::Neighbours;
use thiserror::Error;

use crate::{Distance, Engine, NeighbourError, nearest_neighbours};

/// A symmetric weighted graph without loops: every edge is stored from both of its ends.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarityGraph {
    /// Where each node's edges begin in the two lists below, and the end: `[n + 1]`.
    offsets: Vec<usize>,
    /// The other end of each edge, rising within a node's range.
    targets: Vec<u32>,
    /// Its weight, in (0, 1].
    weights: Vec<f32>,
}

/// Why no graph could be built.
#[derive(Debug, Error)]
pub enum GraphError {
    /// The kernel width is not above 0.
    #[error("sigma: expected a finite number above 0, found {found}")]
    Sigma {
        /// The width given.
        found: f32,
    },
    /// The points have no neighbours.
    #[error(transparent)]
    Neighbours(#[from] NeighbourError),
}

/// Symmetric k-nearest-neighbour graph of the rows of `points`.
///
/// An edge joins i and j if either is among the other's `k` nearest; its weight is
/// exp(−‖xᵢ − xⱼ‖² / σ²), in (0, 1]: a weight that underflows f32 becomes its smallest normal number,
/// so that no edge is lost. Ties break by index, so the result is deterministic.
///
/// - `points`: `[n, d]`, finite; copied unless row-major.
/// - `k`: neighbours per row, `1 ≤ k < n`, the point itself not counted.
/// - `sigma`: kernel width, in the units of `points`, `> 0`.
///
/// # Errors
/// [`GraphError::Sigma`]; otherwise as [`nearest_neighbours`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Engine, gaussian_knn_graph};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0]]);
/// let graph = gaussian_knn_graph(points.view(), 1, 1.0, Engine::Auto)?;
/// assert_eq!(graph.edge_count(), 2); // 0–1, and 1–2 by the choice of 2
/// let (targets, weights) = graph.neighbours(1);
/// assert_eq!(targets, [0, 2]);
/// assert!((weights[1] - (-4.0_f32).exp()).abs() < 1e-7);
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn gaussian_knn_graph(
    points: ArrayView2<'_, f32>,
    k: usize,
    sigma: f32,
    engine: Engine,
) -> Result<SimilarityGraph, GraphError> {
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(GraphError::Sigma { found: sigma });
    }
    let neighbours = nearest_neighbours(points, k, Distance::Euclidean, engine)?;
    let sigma = f64::from(sigma);
    let weight = |distance: f32| {
        let ratio = f64::from(distance) / sigma;
        ((-ratio * ratio).exp() as f32).max(f32::MIN_POSITIVE)
    };
    Ok(SimilarityGraph::union(&neighbours, weight))
}

impl SimilarityGraph {
    /// Joins i and j if either chose the other; `weight` is of their distance, in (0, 1].
    fn union(neighbours: &Neighbours, weight: impl Fn(f32) -> f32) -> Self {
        let n = neighbours.indices.nrows();
        let mut edges = Vec::with_capacity(2 * neighbours.indices.len());
        for ((i, column), &j) in neighbours.indices.indexed_iter() {
            let weight = weight(neighbours.distances[[i, column]]);
            edges.push((i, j as u32, weight));
            edges.push((j, i as u32, weight));
        }
        // An edge chosen from both ends comes twice with the same weight, distances being symmetric.
        edges.sort_unstable_by_key(|&(i, j, _)| (i, j));
        edges.dedup_by_key(|&mut (i, j, _)| (i, j));
        let mut offsets = vec![0; n + 1];
        edges.iter().for_each(|&(i, ..)| offsets[i + 1] += 1);
        (0..n).for_each(|i| offsets[i + 1] += offsets[i]);
        let targets = edges.iter().map(|&(_, j, _)| j).collect();
        let weights = edges.iter().map(|&(.., weight)| weight).collect();
        Self { offsets, targets, weights }
    }

    /// The number of nodes n.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of edges, each counted once.
    pub fn edge_count(&self) -> usize {
        self.targets.len() / 2
    }

    /// The nodes that `node` is joined to, rising, and the weights of these edges, in (0, 1].
    ///
    /// # Panics
    /// If `node` is not below [`SimilarityGraph::len`].
    pub fn neighbours(&self, node: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[node]..self.offsets[node + 1];
        (&self.targets[range.clone()], &self.weights[range])
    }

    /// All edges (i, j, weight) with i < j, in that order.
    pub fn edges(&self) -> impl Iterator<Item = (usize, usize, f32)> + '_ {
        (0..self.len()).flat_map(move |i| {
            let (targets, weights) = self.neighbours(i);
            let pairs = targets.iter().zip(weights);
            pairs.map(move |(&j, &w)| (i, j as usize, w)).filter(|&(i, j, _)| i < j)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    #[test]
    fn widths_that_are_no_widths_are_refused() {
        let points = Array2::<f32>::zeros((3, 1));
        for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = gaussian_knn_graph(points.view(), 1, sigma, Engine::Auto).unwrap_err();
            assert!(matches!(error, GraphError::Sigma { .. }));
        }
        let error = gaussian_knn_graph(points.view(), 3, 1.0, Engine::Auto).unwrap_err();
        assert!(matches!(
            error,
            GraphError::Neighbours(NeighbourError::TooMany { points: 3, k: 3 })
        ));
    }

    #[test]
    fn an_edge_too_long_for_its_kernel_keeps_a_weight() {
        let points = ndarray::arr2(&[[0.0_f32], [1e6]]);
        let graph = gaussian_knn_graph(points.view(), 1, 1e-3, Engine::Auto).unwrap();
        assert_eq!(graph.neighbours(0).1, [f32::MIN_POSITIVE]);
    }

    proptest! {
        #[test]
        fn the_graph_is_symmetric_and_joins_exactly_who_chose_whom(
            values in prop::collection::vec(0_u8..9, 12..60), k in 1_usize..5,
        ) {
            let n = values.len() / 2;
            let points = Array2::from_shape_fn((n, 2), |(i, j)| f32::from(values[2 * i + j]));
            let chosen =
                nearest_neighbours(points.view(), k, Distance::Euclidean, Engine::KdTree).unwrap();
            let graph = gaussian_knn_graph(points.view(), k, 2.0, Engine::Products).unwrap();
            let chose = |i: usize, j: usize| chosen.indices.row(i).iter().any(|&c| c == j);
            prop_assert_eq!(graph.edges().count(), graph.edge_count());
            for i in 0..n {
                let (targets, weights) = graph.neighbours(i);
                prop_assert!(targets.is_sorted_by(|a, b| a < b));
                let expected: Vec<u32> =
                    (0..n).filter(|&j| chose(i, j) || chose(j, i)).map(|j| j as u32).collect();
                prop_assert_eq!(targets, expected);
                for (&j, &weight) in targets.iter().zip(weights) {
                    let j = j as usize;
                    let (back, back_weights) = graph.neighbours(j);
                    let place = back.iter().position(|&t| t as usize == i).unwrap();
                    prop_assert!((weight - back_weights[place]).abs() <= 0.0);
                    let square = (&points.row(i) - &points.row(j)).mapv(|v| v * v).sum();
                    prop_assert!((weight - (-square / 4.0).exp()).abs() < 1e-6);
                }
            }
        }
    }
}
