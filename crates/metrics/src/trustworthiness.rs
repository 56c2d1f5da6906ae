//! Whether a low-dimensional map keeps the neighbours of the points it shows.
//!
//! Venna and Kaski, 2001, <https://doi.org/10.1007/3-540-44668-0_68>. Trustworthiness falls where the
//! map shows neighbours that are none, continuity where it tears neighbours apart. Neither looks
//! beyond neighbourhoods: distances between groups are not judged.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;
use thiserror::Error;

use crate::{Distance, DistanceError, pairwise, top_k};

/// Why a map could not be judged.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TrustworthinessError {
    /// The map does not show as many points as there are.
    #[error("map: expected {expected} rows, one per point, found {found}")]
    Count {
        /// Points.
        expected: usize,
        /// Rows of the map.
        found: usize,
    },
    /// The measure is not defined for half of the points or more.
    #[error("k: expected at least 1 and less than half of {points} points, found {found}")]
    Neighbours {
        /// Number of points.
        points: usize,
        /// The k given.
        found: usize,
    },
    /// A point to judge from does not exist.
    #[error("anchor {position}: expected a point below {points}, found {found}")]
    Anchor {
        /// Its place in the list.
        position: usize,
        /// Number of points.
        points: usize,
        /// The anchor.
        found: usize,
    },
    /// There are no points to judge from.
    #[error("anchors: expected at least 1, found none")]
    NoAnchors,
    /// The distances cannot be computed.
    #[error(transparent)]
    Distance(#[from] DistanceError),
}

/// The two sides of a map's quality, each at most 1; random maps are near ½.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faithfulness {
    /// 1 if every neighbour in the map is a neighbour of the points.
    pub trustworthiness: f64,
    /// 1 if every neighbour of the points is one in the map.
    pub continuity: f64,
}

/// Trustworthiness and continuity of `map`, by Euclidean neighbours of every point.
///
/// T(k) = 1 − 2 / (n k (2n − 3k − 1)) Σᵢ Σⱼ (r(i, j) − k), over the j that are among the k nearest
/// of i in the map but not in the points, where r(i, j) is the rank of j among the points by distance
/// from i, starting from 1. Continuity exchanges map and points. Equal distances rank by index. As
/// scikit-learn's `trustworthiness` (and `trustworthiness` of map and points exchanged).
///
/// Cost: O(n² d); memory: blocks of at most 64 MiB, or three rows of n distances for each thread.
///
/// - `points`: `[n, d]`, `map`: `[n, m]`, finite.
/// - `k`: 1 ≤ k < n / 2.
///
/// # Errors
/// [`TrustworthinessError`]: row counts that differ, k out of range, values that are not finite.
///
/// # Examples
/// ```
/// use nearkin_metrics::faithfulness;
/// let points = ndarray::arr2(&[[0.0], [1.0], [2.1], [3.3], [4.6]]);
/// let swapped = ndarray::arr2(&[[0.0], [3.3], [2.1], [1.0], [4.6]]);
/// assert!((faithfulness(points.view(), points.view(), 1)?.trustworthiness - 1.0).abs() < 1e-12);
/// // The one nearest in the map is the 3rd, 2nd, 2nd, 4th and 3rd: 9 places too many of at most 15.
/// let found = faithfulness(points.view(), swapped.view(), 1)?;
/// assert!((found.trustworthiness - (1.0 - 9.0 / 15.0)).abs() < 1e-12);
/// # Ok::<(), nearkin_metrics::TrustworthinessError>(())
/// ```
pub fn faithfulness(
    points: ArrayView2<'_, f32>,
    map: ArrayView2<'_, f32>,
    k: usize,
) -> Result<Faithfulness, TrustworthinessError> {
    let all: Vec<usize> = (0..points.nrows()).collect();
    faithfulness_at(points, map, k, &all)
}

/// [`faithfulness`] as seen from some of the points: an estimate at a fraction of the cost.
///
/// The sum runs over the anchors and n in the factor before it becomes their number; the neighbours
/// and ranks are still those among all points. Cost: O(anchors · n · d).
///
/// - `anchors`: rows of `points`, at least one; one that comes twice counts twice.
///
/// # Errors
/// As [`faithfulness`], and for anchors that are no points.
pub fn faithfulness_at(
    points: ArrayView2<'_, f32>,
    map: ArrayView2<'_, f32>,
    k: usize,
    anchors: &[usize],
) -> Result<Faithfulness, TrustworthinessError> {
    let n = points.nrows();
    if map.nrows() != n {
        return Err(TrustworthinessError::Count { expected: n, found: map.nrows() });
    }
    if k == 0 || 2 * k >= n {
        return Err(TrustworthinessError::Neighbours { points: n, found: k });
    }
    if let Some((position, &found)) = anchors.iter().enumerate().find(|&(_, &i)| i >= n) {
        return Err(TrustworthinessError::Anchor { position, points: n, found });
    }
    if anchors.is_empty() {
        return Err(TrustworthinessError::NoAnchors);
    }
    let (points, map) = (points.as_standard_layout(), map.as_standard_layout());
    let (points, map) = (points.view(), map.view());
    let (mut strange, mut lost) = (0, 0);
    for anchors in anchors.chunks((BLOCK / n).clamp(1, MOST_ROWS)) {
        let near = nearest(points, anchors, k)?;
        let shown = nearest(map, anchors, k)?;
        strange += excess_ranks(points, anchors, &near, &shown)?;
        lost += excess_ranks(map, anchors, &shown, &near)?;
    }
    let worst = anchors.len() as f64 * k as f64 * (2 * n - 3 * k - 1) as f64 / 2.0;
    Ok(Faithfulness {
        trustworthiness: 1.0 - strange as f64 / worst,
        continuity: 1.0 - lost as f64 / worst,
    })
}

/// Distances held at once: 64 MiB.
const BLOCK: usize = 1 << 24;
const MOST_ROWS: usize = 256;

/// The k nearest other points of each anchor.
fn nearest(
    points: ArrayView2<'_, f32>,
    anchors: &[usize],
    k: usize,
) -> Result<Array2<usize>, DistanceError> {
    // One more, since the anchor is a point itself; behind its duplicates it may be beyond.
    let found = top_k(points.select(Axis(0), anchors).view(), points, k + 1, Distance::Euclidean)?;
    let mut others = Array2::zeros((anchors.len(), k));
    for ((anchor, found), mut row) in
        anchors.iter().zip(found.indices.rows()).zip(others.rows_mut())
    {
        let found = found.iter().filter(|&j| j != anchor);
        row.iter_mut().zip(found).for_each(|(to, &j)| *to = j);
    }
    Ok(others)
}

/// Σ max(0, r − k) over the `shown` of each anchor, r being their rank in `points`, row-major.
fn excess_ranks(
    points: ArrayView2<'_, f32>,
    anchors: &[usize],
    near: &Array2<usize>,
    shown: &Array2<usize>,
) -> Result<u64, DistanceError> {
    let queries = points.select(Axis(0), anchors);
    let distances = pairwise(queries.view(), points, Distance::SquaredEuclidean)?;
    let k = near.ncols() as u64;
    let rows = distances.axis_iter(Axis(0)).into_par_iter().enumerate();
    Ok(rows
        .map(|(at, row)| {
            let near = near.row(at);
            let strangers = shown.row(at).into_iter().filter(|j| !near.iter().any(|i| &i == j));
            strangers.map(|&j| rank(points, anchors[at], j, row).saturating_sub(k)).sum::<u64>()
        })
        .sum())
}

/// The rank of point `j` by distance from `anchor`, counted from 1, ties by index.
///
/// - `row`: squared distances of all points from the anchor, as close to the truth as products of
///   f32 bring them. What they cannot tell from j's is measured again in f64.
fn rank(points: ArrayView2<'_, f32>, anchor: usize, j: usize, row: ArrayView1<'_, f32>) -> u64 {
    let values = |i: usize| points.row(i).to_slice().unwrap_or_default();
    let exact = |i: usize| Distance::SquaredEuclidean.rank(values(anchor), values(i));
    let own = exact(j);
    // The worst rounding of a product of d terms, four times for the share of it that cancellation
    // may leave, and as much again for centring and scaling.
    let margin = 8.0 * (points.ncols() + 8) as f64 * (-24_f64).exp2();
    let margin = margin * own + f64::from(f32::MIN_POSITIVE);
    let (low, high) = ((own - margin) as f32, (own + margin) as f32);
    let surely = row.iter().filter(|&&d| d < low).count();
    let perhaps = row.iter().enumerate().filter(|&(_, d)| (low..=high).contains(d));
    let closer = perhaps.filter(|&(i, _)| {
        i != anchor && i != j && exact(i).total_cmp(&own).then(i.cmp(&j)).is_lt()
    });
    // The anchor is nearest to itself, and counted only if `low` is above 0.
    let itself = usize::from(row[anchor] < low);
    (1 + surely - itself + closer.count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr2, s};
    use proptest::prelude::*;

    /// The definition on all pairs, in f64.
    fn oracle(points: &Array2<f32>, map: &Array2<f32>, k: usize, anchors: &[usize]) -> f64 {
        let n = points.nrows();
        let order = |rows: &Array2<f32>, i: usize| {
            let square = |j: usize| -> f64 {
                let pairs = rows.row(i).into_iter().zip(rows.row(j));
                pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
            };
            let mut others: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| square(a).total_cmp(&square(b)).then(a.cmp(&b)));
            others
        };
        let mut excess = 0;
        for &i in anchors {
            let truth = order(points, i);
            for j in &order(map, i)[..k] {
                let rank = 1 + truth.iter().position(|other| other == j).unwrap();
                excess += rank.saturating_sub(k);
            }
        }
        1.0 - 2.0 * excess as f64 / (anchors.len() * k * (2 * n - 3 * k - 1)) as f64
    }

    proptest! {
        #[test]
        fn both_sides_are_the_definition(
            n in 3_usize..40, values in prop::collection::vec(-9_i8..9, 40 * 5), k in 1_usize..20,
        ) {
            // Whole numbers: distances are exact, and many are equal.
            let value = |at: usize| f32::from(values[at]);
            let points = Array2::from_shape_fn((n, 3), |(i, j)| value(5 * i + j));
            let map = Array2::from_shape_fn((n, 2), |(i, j)| value(5 * i + 3 + j));
            let k = k.min((n - 1) / 2);
            let anchors: Vec<usize> = (0..n).step_by(2).collect();
            let found = faithfulness_at(points.view(), map.view(), k, &anchors).unwrap();
            prop_assert!((found.trustworthiness - oracle(&points, &map, k, &anchors)).abs() < 1e-12);
            prop_assert!((found.continuity - oracle(&map, &points, k, &anchors)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_point_behind_its_duplicates_is_not_its_own_neighbour() {
        let same = Array2::zeros((9, 2));
        let found = faithfulness(same.view(), same.view(), 2).unwrap();
        assert!((found.trustworthiness - 1.0).abs() < 1e-12, "{found:?}");
    }

    fn check(rows: usize, k: usize, anchors: &[usize], expected: &str) {
        let points = arr2(&[[0.0_f32], [1.0], [2.0], [4.0], [8.0]]);
        let error = faithfulness_at(points.view(), points.slice(s![..rows, ..]), k, anchors);
        assert_eq!(error.unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        check(4, 1, &[0], "map: expected 5 rows, one per point, found 4");
        let half = "k: expected at least 1 and less than half of 5 points, found 3";
        check(5, 3, &[0], half);
        check(5, 0, &[0], &half.replace("found 3", "found 0"));
        check(5, 2, &[0, 5], "anchor 1: expected a point below 5, found 5");
        check(5, 2, &[], "anchors: expected at least 1, found none");
        let bad = arr2(&[[0.0_f32], [f32::NAN], [2.0]]);
        assert!(faithfulness(bad.view(), bad.view(), 1).is_err());
    }
}
