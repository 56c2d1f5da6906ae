//! From distances to weights, and from neighbours or pairs to graphs.

use std::fmt;

use nearkin_metrics::{Distance, DistanceError, Neighbours};
use thiserror::Error;

use crate::graph::{Arc, Graph, GraphError};

/// How an arc's weight follows from its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// 1.
    Constant,
    /// The cosine of the angle, 1 − distance; 0 where it is negative. Of cosine distances only.
    Cosine,
    /// exp(−d²/σ²); of squared distances exp(−d/σ²).
    Gaussian {
        /// The width σ, in the units of d, above 0.
        sigma: f32,
    },
    /// exp(−d²/(σᵢ σⱼ)), where σᵢ is the distance of node i from the `neighbour`-th nearest on its own
    /// row, the farthest if it has fewer. Zelnik-Manor and Perona, 2004, "Self-Tuning Spectral
    /// Clustering", <https://papers.nips.cc/paper/2619-self-tuning-spectral-clustering>: they take the 7th.
    SelfTuned {
        /// Counted from 1.
        neighbour: usize,
    },
    /// 1/r for the r-th nearest on the source's row; ties as the neighbours are given, in pairs by index. Not
    /// symmetric.
    Rank,
}

impl fmt::Display for Weighting {
    /// `constant`, `cosine`, `gaussian=SIGMA`, `self-tuned=NEIGHBOUR` or `rank`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weighting::Constant => f.write_str("constant"),
            Weighting::Cosine => f.write_str("cosine"),
            Weighting::Gaussian { sigma } => write!(f, "gaussian={sigma}"),
            Weighting::SelfTuned { neighbour } => write!(f, "self-tuned={neighbour}"),
            Weighting::Rank => f.write_str("rank"),
        }
    }
}

/// Two points and their distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// One of them.
    pub first: u32,
    /// The other.
    pub second: u32,
    /// How far apart they are, in the units of the distance.
    pub distance: f32,
}

/// Why no graph could be built of points.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The kernel width is not above 0.
    #[error("sigma: expected a finite number above 0, found {found}")]
    Sigma {
        /// The width given.
        found: f32,
    },
    /// Self-tuning counts neighbours from 1.
    #[error("self-tuned weights: expected a neighbour of at least 1, found 0")]
    Neighbour,
    /// Cosine weights need cosine distances.
    #[error("cosine weights: expected distances by cosine, found {}", found.as_str())]
    NotCosine {
        /// The distance given.
        found: Distance,
    },
    /// A distance that no weight can be made of.
    #[error("points {first} and {second}: expected a distance of at least 0, found {found}")]
    Distance {
        /// One of the points.
        first: usize,
        /// The other.
        second: usize,
        /// Their distance.
        found: f32,
    },
    /// Indices and distances of neighbours differ in shape.
    #[error(
        "distances of neighbours: expected shape {expected:?} as of the indices, found {found:?}"
    )]
    Shape {
        /// Shape of the indices.
        expected: (usize, usize),
        /// Shape of the distances.
        found: (usize, usize),
    },
    /// The largest distance of an edge is negative or not a number.
    #[error("epsilon: expected a number of at least 0, found {found}")]
    Epsilon {
        /// The distance given.
        found: f64,
    },
    /// The lowest cosine of an edge is no cosine of a similarity.
    #[error("cosine threshold: expected 0 to 1, found {found}")]
    Threshold {
        /// The threshold given.
        found: f64,
    },
    /// Distances cannot be computed.
    #[error(transparent)]
    Distances(#[from] DistanceError),
    /// The arcs are no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The directed graph of nearest neighbours: an arc from each point to each of its `k` neighbours.
///
/// [`crate::symmetrised`] and [`crate::mutual`] make undirected graphs of it. A weight that underflows f32 becomes
/// its smallest normal number, so that no edge is lost.
///
/// - `neighbours`: `[n, k]`, as [`crate::nearest_neighbours`] finds them.
/// - `distance`: what their distances are.
///
/// # Errors
/// [`BuildError`]: a width that is none, cosine weights of other distances, a distance that is not at least 0,
/// indices that are no graph.
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Engine, Weighting, knn_graph, nearest_neighbours};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0]]);
/// let near = nearest_neighbours(points.view(), 1, Distance::Euclidean, Engine::Auto)?;
/// let graph = knn_graph(&near, Distance::Euclidean, Weighting::Gaussian { sigma: 1.0 })?;
/// assert_eq!(graph.view().weight(0, 1), Some((-1.0_f32).exp()));
/// assert_eq!(graph.view().weight(1, 2), None); // 2 chose 1, 1 chose 0
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn knn_graph(
    neighbours: &Neighbours,
    distance: Distance,
    weighting: Weighting,
) -> Result<Graph, BuildError> {
    let (expected, found) = (neighbours.indices.dim(), neighbours.distances.dim());
    if expected != found {
        return Err(BuildError::Shape { expected, found });
    }
    let n = expected.0;
    let mut arcs = Vec::with_capacity(neighbours.indices.len());
    for ((source, column), &target) in neighbours.indices.indexed_iter() {
        let length = neighbours.distances[[source, column]];
        arcs.push(long_arc(source, target, n, length)?);
    }
    weighed(n, arcs, distance, weighting, false)
}

/// The undirected graph of pairs of points.
///
/// Symmetric, except under [`Weighting::Rank`]. Weights as in [`knn_graph`].
///
/// - `n`: number of points.
/// - `pairs`: each once, in any order.
///
/// # Errors
/// As [`knn_graph`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Pair, Weighting, pairs_graph};
/// let pairs = [Pair { first: 2, second: 0, distance: 0.25 }];
/// let graph = pairs_graph(3, &pairs, Distance::Cosine, Weighting::Cosine)?;
/// assert_eq!(graph.view().weight(0, 2), Some(0.75));
/// # Ok::<(), nearkin_graph::BuildError>(())
/// ```
pub fn pairs_graph(
    n: usize,
    pairs: &[Pair],
    distance: Distance,
    weighting: Weighting,
) -> Result<Graph, BuildError> {
    let mut arcs = Vec::with_capacity(2 * pairs.len());
    for &Pair { first, second, distance } in pairs {
        arcs.push(long_arc(first as usize, second as usize, n, distance)?);
        arcs.push(long_arc(second as usize, first as usize, n, distance)?);
    }
    arcs.sort_unstable_by_key(|arc| (arc.source, arc.target));
    weighed(n, arcs, distance, weighting, weighting != Weighting::Rank)
}

/// An arc that carries its length where its weight will be.
fn long_arc(source: usize, target: usize, n: usize, length: f32) -> Result<Arc, BuildError> {
    if length.is_nan() {
        return Err(BuildError::Distance { first: source, second: target, found: length });
    }
    match (u32::try_from(source), u32::try_from(target)) {
        (Ok(source), Ok(target)) if (source.max(target) as usize) < n => {
            Ok(Arc { source, target, weight: length })
        }
        _ => Err(GraphError::Outside {
            source_node: u32::try_from(source).unwrap_or(u32::MAX),
            target: u32::try_from(target).unwrap_or(u32::MAX),
            nodes: n,
        }
        .into()),
    }
}

fn weighed(
    n: usize,
    mut arcs: Vec<Arc>,
    distance: Distance,
    weighting: Weighting,
    symmetric: bool,
) -> Result<Graph, BuildError> {
    check(weighting, distance)?;
    // Stable: neighbours whose distances are equal in f32 were ranked by the exact ones.
    arcs.sort_by(|a, b| a.source.cmp(&b.source).then(a.weight.total_cmp(&b.weight)));
    let squared = distance == Distance::SquaredEuclidean;
    let square = |length: f32| {
        let length = f64::from(length);
        if squared { length } else { length * length }
    };
    match weighting {
        Weighting::Constant => arcs.iter_mut().for_each(|arc| arc.weight = 1.0),
        Weighting::Cosine => {
            arcs.iter_mut().for_each(|arc| arc.weight = (1.0 - arc.weight).max(0.0))
        }
        Weighting::Gaussian { sigma } => {
            lengths_are_lengths(&arcs)?;
            let width = f64::from(sigma) * f64::from(sigma);
            arcs.iter_mut().for_each(|arc| arc.weight = kernel(square(arc.weight), width));
        }
        Weighting::SelfTuned { neighbour } => {
            lengths_are_lengths(&arcs)?;
            let mut widths = vec![0.0; n];
            for row in arcs.chunk_by(|a, b| a.source == b.source) {
                let last = row[neighbour.min(row.len()) - 1];
                widths[last.source as usize] = square(last.weight).sqrt();
            }
            for arc in &mut arcs {
                let width = widths[arc.source as usize] * widths[arc.target as usize];
                arc.weight = kernel(square(arc.weight), width);
            }
        }
        Weighting::Rank => {
            for row in arcs.chunk_by_mut(|a, b| a.source == b.source) {
                let ranks = (1_u32..).map(|rank| (1.0 / f64::from(rank)) as f32);
                row.iter_mut().zip(ranks).for_each(|(arc, weight)| arc.weight = weight);
            }
        }
    }
    arcs.sort_unstable_by_key(|arc| (arc.source, arc.target));
    Ok(Graph::from_sorted(n, &arcs, symmetric)?)
}

fn check(weighting: Weighting, distance: Distance) -> Result<(), BuildError> {
    match weighting {
        Weighting::Gaussian { sigma } if !(sigma.is_finite() && sigma > 0.0) => {
            Err(BuildError::Sigma { found: sigma })
        }
        Weighting::SelfTuned { neighbour: 0 } => Err(BuildError::Neighbour),
        Weighting::Cosine if distance != Distance::Cosine => {
            Err(BuildError::NotCosine { found: distance })
        }
        _ => Ok(()),
    }
}

/// Not every distance is at least 0 by its definition: an inner product is not.
fn lengths_are_lengths(arcs: &[Arc]) -> Result<(), BuildError> {
    match arcs.iter().find(|arc| arc.weight < 0.0) {
        Some(arc) => Err(BuildError::Distance {
            first: arc.source as usize,
            second: arc.target as usize,
            found: arc.weight,
        }),
        None => Ok(()),
    }
}

/// exp(−square/width), at least the smallest normal f32; 1 at distance 0, also where the width is 0.
fn kernel(square: f64, width: f64) -> f32 {
    if square > 0.0 { ((-square / width).exp() as f32).max(f32::MIN_POSITIVE) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, nearest_neighbours};
    use ndarray::{Array2, arr2};
    use proptest::prelude::*;

    fn near(points: &Array2<f32>, k: usize, distance: Distance) -> Neighbours {
        nearest_neighbours(points.view(), k, distance, Engine::Products).unwrap()
    }

    fn refused(weighting: Weighting) -> String {
        let near = near(&arr2(&[[0.0], [1.0]]), 1, Distance::Euclidean);
        knn_graph(&near, Distance::Euclidean, weighting).unwrap_err().to_string()
    }

    #[test]
    fn weightings_that_are_none_are_refused() {
        for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(refused(Weighting::Gaussian { sigma }).starts_with("sigma: expected a finite"));
        }
        assert_eq!(
            refused(Weighting::Cosine),
            "cosine weights: expected distances by cosine, found euclidean"
        );
        assert!(refused(Weighting::SelfTuned { neighbour: 0 }).contains("at least 1"));
    }

    #[test]
    fn neighbours_that_are_none_are_refused() {
        let check = |indices, distances, expected: &str| {
            let near = Neighbours { indices, distances };
            let error = knn_graph(&near, Distance::Euclidean, Weighting::Gaussian { sigma: 1.0 });
            assert_eq!(error.unwrap_err().to_string(), expected);
        };
        check(arr2(&[[1], [2]]), arr2(&[[1.0], [1.0]]), "arc 1 -> 2: expected nodes below 2");
        check(arr2(&[[1], [1]]), arr2(&[[1.0], [0.0]]), "node 1: expected no arc to itself");
        check(
            arr2(&[[1], [0]]),
            arr2(&[[1.0], [f32::NAN]]),
            "points 1 and 0: expected a distance of at least 0, found NaN",
        );
        check(
            arr2(&[[1], [0]]),
            arr2(&[[-1.0], [1.0]]),
            "points 0 and 1: expected a distance of at least 0, found -1",
        );
    }

    #[test]
    fn an_edge_too_long_for_its_kernel_keeps_a_weight() {
        let near = near(&arr2(&[[0.0], [1e6]]), 1, Distance::Euclidean);
        let kernel = Weighting::Gaussian { sigma: 1e-3 };
        let graph = knn_graph(&near, Distance::Euclidean, kernel).unwrap();
        assert_eq!(graph.view().weights(), [f32::MIN_POSITIVE; 2]);
    }

    #[test]
    fn duplicates_have_weight_1_even_where_they_leave_no_width_to_tune() {
        let near = near(&arr2(&[[0.0], [0.0], [3.0]]), 1, Distance::Euclidean);
        let tuned = Weighting::SelfTuned { neighbour: 1 };
        let graph = knn_graph(&near, Distance::Euclidean, tuned).unwrap();
        assert_eq!(graph.view().weight(0, 1), Some(1.0));
        // Point 2's own width is 3, point 0's is 0: exp(−9/0).
        assert_eq!(graph.view().weight(2, 0), Some(f32::MIN_POSITIVE));
    }

    #[test]
    fn neighbours_at_equal_distances_keep_the_ranks_they_were_given() {
        let (indices, distances) =
            (arr2(&[[2, 1], [0, 2], [0, 1]]), arr2(&[[1.0; 2], [1.0; 2], [1.0; 2]]));
        let near = Neighbours { indices, distances };
        let graph = knn_graph(&near, Distance::Euclidean, Weighting::Rank).unwrap();
        assert_eq!(graph.view().neighbours(0), ([1, 2].as_slice(), [0.5, 1.0].as_slice()));
        let pair = |first, second| Pair { first, second, distance: 1.0 };
        let pairs = [pair(2, 0), pair(0, 1)];
        let graph = pairs_graph(3, &pairs, Distance::Euclidean, Weighting::Rank).unwrap();
        assert_eq!(graph.view().neighbours(0), ([1, 2].as_slice(), [1.0, 0.5].as_slice()));
    }

    proptest! {
        #[test]
        fn every_weight_is_its_formula(
            values in prop::collection::vec(-20_i8..20, 24..60), k in 1_usize..5, tuned in 1_usize..8,
        ) {
            let points = Array2::from_shape_fn((values.len() / 3, 3), |(i, j)| f32::from(values[3 * i + j]));
            for distance in [Distance::Euclidean, Distance::SquaredEuclidean, Distance::Cosine] {
                let near = near(&points, k, distance);
                let d = |i: usize, column: usize| f64::from(near.distances[[i, column]]);
                let square = |v: f64| if distance == Distance::SquaredEuclidean { v } else { v * v };
                let width = |i: usize| square(d(i, tuned.min(k) - 1)).sqrt();
                let gauss = |s: f64, w: f64| if s == 0.0 { 1.0 } else { (-s / w).exp() };
                let all = [
                    Weighting::Constant,
                    Weighting::Gaussian { sigma: 3.0 },
                    Weighting::SelfTuned { neighbour: tuned },
                    Weighting::Rank,
                    Weighting::Cosine,
                ];
                for weighting in all {
                    if weighting == Weighting::Cosine && distance != Distance::Cosine {
                        continue;
                    }
                    let graph = knn_graph(&near, distance, weighting).unwrap();
                    prop_assert_eq!(graph.view().arc_count(), near.indices.len());
                    for ((i, column), &j) in near.indices.indexed_iter() {
                        let expected = match weighting {
                            Weighting::Constant => 1.0,
                            Weighting::Cosine => (1.0 - d(i, column)).max(0.0),
                            Weighting::Gaussian { .. } => gauss(square(d(i, column)), 9.0),
                            Weighting::SelfTuned { .. } => gauss(square(d(i, column)), width(i) * width(j)),
                            Weighting::Rank => 1.0 / (column + 1) as f64,
                        };
                        let found = graph.view().weight(i, j).unwrap();
                        prop_assert!((f64::from(found) - expected).abs() < 1e-6, "{weighting:?}");
                    }
                }
            }
        }
    }
}
