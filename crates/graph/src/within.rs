//! Pairs of points within a distance, and the graphs of them.
//!
//! [`nearkin_metrics::within_distance`] finds them, by products that look at every pair once; here they
//! become edges.

use ndarray::ArrayView2;
use nearkin_metrics::{Distance, within_distance};

use crate::graph::Graph;
use crate::weighting::{BuildError, Pair, Weighting, pairs_graph};

/// All pairs of rows at most `limit` apart, by first and then by second row.
///
/// Exact: a pair is there if its distance in f64 is at most `limit`, the bound included. Cost: O(n² d),
/// and O(d) more for each pair found; memory: O(n d) and the pairs, which can be n².
///
/// - `points`: `[n, d]`, finite.
/// - `limit`: in the units of `distance`, at least 0; infinity gives all pairs.
/// - returns: pairs with `first < second`.
///
/// # Errors
/// [`BuildError::Epsilon`]; [`BuildError::Distances`] names the first value that is not finite.
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, pairs_within};
/// let points = ndarray::arr2(&[[0.0], [2.0], [5.0]]);
/// let pairs = pairs_within(points.view(), 2.0, Distance::Manhattan)?;
/// assert_eq!(pairs.len(), 1);
/// assert_eq!((pairs[0].first, pairs[0].second, pairs[0].distance), (0, 1, 2.0));
/// # Ok::<(), nearkin_graph::BuildError>(())
/// ```
pub fn pairs_within(
    points: ArrayView2<'_, f32>,
    limit: f64,
    distance: Distance,
) -> Result<Vec<Pair>, BuildError> {
    if limit.is_nan() || limit < 0.0 {
        return Err(BuildError::Epsilon { found: limit });
    }
    let found = within_distance(points, limit, distance)?;
    let ranges = found.offsets.windows(2).map(|ends| ends[0]..ends[1]);
    Ok((0_u32..)
        .zip(ranges)
        .flat_map(|(first, range)| range.map(move |at| (first, at)))
        .filter(|&(first, at)| found.indices[at] > first)
        .map(|(first, at)| Pair { first, second: found.indices[at], distance: found.distances[at] })
        .collect())
}

/// The graph of all pairs at most `epsilon` apart.
///
/// Symmetric, except under [`Weighting::Rank`]. Cost as [`pairs_within`].
///
/// - `points`: `[n, d]`, finite.
/// - `epsilon`: in the units of `distance`, at least 0; the bound is included.
///
/// # Errors
/// As [`pairs_within`] and [`pairs_graph`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Weighting, epsilon_graph};
/// let points = ndarray::arr2(&[[0.0], [2.0], [5.0]]);
/// let graph = epsilon_graph(points.view(), 3.0, Distance::Euclidean, Weighting::Constant)?;
/// assert_eq!(graph.view().edge_count(), 2);
/// # Ok::<(), nearkin_graph::BuildError>(())
/// ```
pub fn epsilon_graph(
    points: ArrayView2<'_, f32>,
    epsilon: f64,
    distance: Distance,
    weighting: Weighting,
) -> Result<Graph, BuildError> {
    let pairs = pairs_within(points, epsilon, distance)?;
    pairs_graph(points.nrows(), &pairs, distance, weighting)
}

/// The graph of all pairs whose cosine is at least `threshold`: NSL's `build_graph` without its hashing.
///
/// NSL's weights are [`Weighting::Cosine`]. As there, a zero row has cosine 0 with every other; NSL also
/// shrinks rows with a norm below 10⁻⁶, which are scaled like any other here. Cost as [`pairs_within`].
///
/// - `points`: `[n, d]`, finite; need not be normalised.
/// - `threshold`: 0 to 1, the bound included. NSL's default is 0.8.
///
/// # Errors
/// [`BuildError::Threshold`]; otherwise as [`epsilon_graph`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Weighting, cosine_threshold_graph};
/// let points = ndarray::arr2(&[[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]]);
/// let graph = cosine_threshold_graph(points.view(), 0.7, Weighting::Cosine)?;
/// assert_eq!(graph.view().edge_count(), 1);
/// assert_eq!(graph.view().weight(2, 1), Some(0.8));
/// # Ok::<(), nearkin_graph::BuildError>(())
/// ```
pub fn cosine_threshold_graph(
    points: ArrayView2<'_, f32>,
    threshold: f64,
    weighting: Weighting,
) -> Result<Graph, BuildError> {
    if !(0.0..=1.0).contains(&threshold) {
        return Err(BuildError::Threshold { found: threshold });
    }
    epsilon_graph(points, 1.0 - threshold, Distance::Cosine, weighting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};
    use proptest::prelude::*;

    #[test]
    fn limits_that_are_none_are_refused() {
        let points = arr2(&[[0.0_f32], [1.0]]);
        for limit in [-1.0, f64::NAN] {
            let error = pairs_within(points.view(), limit, Distance::Euclidean).unwrap_err();
            assert!(error.to_string().starts_with("epsilon: expected a number of at least 0"));
        }
        for threshold in [-0.1, 1.1, f64::NAN] {
            let error = cosine_threshold_graph(points.view(), threshold, Weighting::Cosine);
            assert!(
                error.unwrap_err().to_string().starts_with("cosine threshold: expected 0 to 1")
            );
        }
        let error = pairs_within(arr2(&[[f32::NAN]]).view(), 1.0, Distance::Cosine).unwrap_err();
        assert!(error.to_string().contains("row 0, column 0"), "{error}");
    }

    #[test]
    fn the_bound_itself_is_within_and_infinity_is_all() {
        // 3-4-5: the distance is exact in f64, not by f32 products of centred rows.
        let points = arr2(&[[0.0, 0.0], [3.0, 4.0], [3e3, 4e3]]);
        assert_eq!(pairs_within(points.view(), 5.0, Distance::Euclidean).unwrap().len(), 1);
        assert_eq!(
            pairs_within(points.view(), f64::INFINITY, Distance::Euclidean).unwrap().len(),
            3
        );
        let none = Array2::<f32>::zeros((0, 3));
        assert!(pairs_within(none.view(), 1.0, Distance::Euclidean).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn every_pair_within_is_found(
            values in prop::collection::vec(-4_i8..5, 8..80), limit in 0_u8..12,
        ) {
            let points = Array2::from_shape_fn((values.len() / 4, 4), |(i, j)| f32::from(values[4 * i + j]));
            for distance in [
                Distance::Euclidean, Distance::SquaredEuclidean, Distance::Manhattan, Distance::Cosine,
            ] {
                let limit = f64::from(limit) / if distance == Distance::Cosine { 8.0 } else { 1.0 };
                let mut expected = Vec::new();
                for i in 0..points.nrows() {
                    for j in i + 1..points.nrows() {
                        let d = nearkin_metrics::distance(points.row(i), points.row(j), distance).unwrap();
                        if d <= limit {
                            expected.push(Pair { first: i as u32, second: j as u32, distance: d as f32 });
                        }
                    }
                }
                let found = pairs_within(points.view(), limit, distance).unwrap();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
