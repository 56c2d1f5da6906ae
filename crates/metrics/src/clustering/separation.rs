//! How well clusters are separated: silhouettes and the Davies–Bouldin index.

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayView2, Axis, s};
use rayon::prelude::*;
use thiserror::Error;

use crate::Distance;
use crate::distances::{Measure, MeasureError, pairwise};
use crate::points::Points;

/// Why clusters have no separation.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SeparationError {
    /// The points cannot be compared.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// There are not as many clusters as points.
    #[error("clusters: expected {expected}, one per point, found {found}")]
    Count {
        /// Number of points.
        expected: usize,
        /// Number of clusters given.
        found: usize,
    },
    /// Separation needs two clusters, and one with two points.
    #[error("clusters: expected 2 to {most} different ones, found {found}")]
    Clusters {
        /// One less than the points.
        most: usize,
        /// Different clusters.
        found: usize,
    },
    /// Two clusters have one centre, so that their distance is 0.
    #[error("clusters {first} and {second}: expected different centres, found the same")]
    Centres {
        /// One cluster.
        first: usize,
        /// The other.
        second: usize,
    },
}

/// Each point's group, 0 to groups − 1 in the order of the clusters' names, and the names.
fn groups(clusters: &[usize], points: usize) -> Result<(Vec<usize>, Vec<usize>), SeparationError> {
    if clusters.len() != points {
        return Err(SeparationError::Count { expected: points, found: clusters.len() });
    }
    let mut names: BTreeMap<usize, usize> = clusters.iter().map(|&name| (name, 0)).collect();
    names.values_mut().enumerate().for_each(|(at, group)| *group = at);
    if names.len() < 2 || names.len() >= points {
        return Err(SeparationError::Clusters {
            most: points.saturating_sub(1),
            found: names.len(),
        });
    }
    let of_point = clusters.iter().map(|name| names[name]).collect();
    Ok((of_point, names.into_keys().collect()))
}

/// Distances held at once.
const BLOCK: usize = 1 << 24;

/// The silhouette of every point: (b − a) / max(a, b), with a its mean distance to the other points of its cluster
/// and b the least mean distance to those of another; 0 for a point alone in its cluster.
///
/// Distances are f32, summed in f64, a block of rows at a time: memory does not grow with n². Cost: O(n² d).
///
/// - `points`: `[n, d]`, `clusters`: `[n]`, 2 to n − 1 different ones.
/// - returns: `[n]`, in \[−1, 1\]; 0 where a = b = 0.
///
/// # Errors
/// [`SeparationError`].
///
/// Source: Rousseeuw, 1987, <https://doi.org/10.1016/0377-0427(87)90125-7>.
pub fn silhouette_samples(
    points: ArrayView2<'_, f32>,
    clusters: &[usize],
    measure: impl Into<Measure>,
) -> Result<Array1<f64>, SeparationError> {
    let measure = measure.into();
    let n = points.nrows();
    let (of_point, names) = groups(clusters, n)?;
    let mut sizes = vec![0.0; names.len()];
    of_point.iter().for_each(|&group| sizes[group] += 1.0);
    let mut all = Vec::with_capacity(n);
    let rows = (BLOCK / n).clamp(1, n);
    for start in (0..n).step_by(rows) {
        let block = points.slice(s![start..n.min(start + rows), ..]);
        let distances = pairwise(block, points, measure)?;
        let of_row = |(at, row): (usize, ndarray::ArrayView1<'_, f32>)| {
            let own = of_point[start + at];
            if sizes[own] <= 1.0 {
                return 0.0;
            }
            let mut sums = vec![0.0; sizes.len()];
            for (other, (&distance, &group)) in row.iter().zip(&of_point).enumerate() {
                if other != start + at {
                    sums[group] += f64::from(distance);
                }
            }
            let a = sums[own] / (sizes[own] - 1.0);
            let others = sums.iter().zip(&sizes).enumerate().filter(|&(group, _)| group != own);
            let b = others.map(|(_, (sum, size))| sum / size).fold(f64::INFINITY, f64::min);
            let most = a.max(b);
            if most > 0.0 { (b - a) / most } else { 0.0 }
        };
        all.par_extend(distances.axis_iter(Axis(0)).into_par_iter().enumerate().map(of_row));
    }
    Ok(all.into())
}

/// The mean of [`silhouette_samples`].
///
/// # Errors
/// [`SeparationError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, clustering::silhouette};
/// let x = ndarray::arr2(&[[0.0], [1.0], [10.0], [11.0]]);
/// let found = silhouette(x.view(), &[0, 0, 1, 1], Distance::Euclidean)?;
/// assert!((found - (1.0 - 1.0 / 10.5 + 1.0 - 1.0 / 9.5) / 2.0).abs() < 1e-6);
/// # Ok::<(), nearkin_metrics::clustering::SeparationError>(())
/// ```
pub fn silhouette(
    points: ArrayView2<'_, f32>,
    clusters: &[usize],
    measure: impl Into<Measure>,
) -> Result<f64, SeparationError> {
    let all = silhouette_samples(points, clusters, measure)?;
    Ok(all.sum() / all.len() as f64)
}

/// The Davies–Bouldin index: the mean over clusters of the worst (sᵢ + sⱼ) / ‖cᵢ − cⱼ‖, with c the mean point and s the
/// mean Euclidean distance from it. Lower is better. In f64 throughout; cost: O(n d + clusters² d).
///
/// - `points`: `[n, d]`, `clusters`: `[n]`, 2 to n − 1 different ones.
///
/// # Errors
/// [`SeparationError`]; [`SeparationError::Centres`] where two clusters have one centre.
///
/// Source: Davies and Bouldin, 1979, <https://doi.org/10.1109/TPAMI.1979.4766909>.
pub fn davies_bouldin(
    points: ArrayView2<'_, f32>,
    clusters: &[usize],
) -> Result<f64, SeparationError> {
    let points = Points::new(points, "points", Distance::Euclidean).map_err(MeasureError::from)?;
    let (of_point, names) = groups(clusters, points.len())?;
    let (k, d) = (names.len(), points.width());
    let mut sizes = vec![0.0; k];
    let mut centres = vec![vec![0.0; d]; k];
    for (row, &group) in of_point.iter().enumerate() {
        sizes[group] += 1.0;
        let values = centres[group].iter_mut().zip(points.row(row));
        values.for_each(|(centre, &v)| *centre += f64::from(v));
    }
    for (centre, size) in centres.iter_mut().zip(&sizes) {
        centre.iter_mut().for_each(|v| *v /= size);
    }
    let mut spreads = vec![0.0; k];
    for (row, &group) in of_point.iter().enumerate() {
        let pairs = points.row(row).iter().zip(&centres[group]);
        let square: f64 = pairs.map(|(&v, c)| (f64::from(v) - c) * (f64::from(v) - c)).sum();
        spreads[group] += square.sqrt() / sizes[group];
    }
    let mut sum = 0.0;
    for i in 0..k {
        let mut worst = 0.0;
        for j in (0..k).filter(|&j| j != i) {
            let pairs = centres[i].iter().zip(&centres[j]);
            let apart = pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            if apart <= 0.0 {
                return Err(SeparationError::Centres { first: names[i], second: names[j] });
            }
            worst = f64::max(worst, (spreads[i] + spreads[j]) / apart);
        }
        sum += worst;
    }
    Ok(sum / k as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn silhouettes_are_their_definition(n in 4_usize..30, k in 2_usize..4, seed in 0_usize..500) {
            let x = Array2::from_shape_fn((n, 3), |(i, j)| crate::noise(i + 40 * seed, j));
            let clusters: Vec<usize> = (0..n).map(|i| 10 * ((i * i) % k)).collect();
            let found = match silhouette_samples(x.view(), &clusters, Distance::Manhattan) {
                Ok(found) => found,
                Err(error) => { let alone = matches!(error, SeparationError::Clusters { .. }); prop_assert!(alone); return Ok(()); }
            };
            let mean = |i: usize, name: usize| {
                let others: Vec<f64> = (0..n)
                    .filter(|&j| j != i && clusters[j] == name)
                    .map(|j| crate::distance(x.row(i), x.row(j), Distance::Manhattan).unwrap())
                    .collect();
                (!others.is_empty()).then(|| others.iter().sum::<f64>() / others.len() as f64)
            };
            for i in 0..n {
                let expected = mean(i, clusters[i]).map_or(0.0, |a| {
                    let others = (0..k).map(|c| 10 * c).filter(|&c| c != clusters[i]);
                    let b = others.filter_map(|c| mean(i, c)).fold(f64::INFINITY, f64::min);
                    (b - a) / a.max(b)
                });
                prop_assert!((found[i] - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn two_pairs_have_a_known_index() {
        let x = arr2(&[[0.0], [2.0], [10.0], [12.0]]);
        assert_eq!(davies_bouldin(x.view(), &[0, 0, 1, 1]), Ok(0.2));
        let same = davies_bouldin(x.view(), &[0, 1, 1, 0]).unwrap_err();
        assert_eq!(
            same.to_string(),
            "clusters 0 and 1: expected different centres, found the same"
        );
    }

    #[test]
    fn one_cluster_or_all_alone_is_refused() {
        let x = Array2::zeros((3, 1));
        let error = |clusters: &[usize]| {
            silhouette(x.view(), clusters, Distance::Euclidean).unwrap_err().to_string()
        };
        assert_eq!(error(&[1, 1, 1]), "clusters: expected 2 to 2 different ones, found 1");
        assert_eq!(error(&[1, 2, 3]), "clusters: expected 2 to 2 different ones, found 3");
        assert!(error(&[1]).contains("one per point"));
        assert_eq!(silhouette(x.view(), &[0, 0, 1], Distance::Euclidean), Ok(0.0));
    }
}
