//! Precision and recall of distributions, by balls around every point.

use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;

use super::GeneratedError;
use crate::{Distance, DistanceError, pairwise, top_k_within};

/// How much two distributions cover each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistributionOverlap {
    /// The share of generated points that lie in a ball of a real one: are they realistic?
    pub precision: f64,
    /// The share of real points that lie in a ball of a generated one: are all kinds there?
    pub recall: f64,
}

/// Improved precision and recall: the ball of a point reaches to its k-th nearest neighbour in its own set, border
/// included.
///
/// Euclidean distances in f32, in blocks: memory does not grow with n m. Cost: O((n + m)² d).
///
/// - `real`: `[n, d]`, `generated`: `[m, d]`, finite; 1 ≤ k < n, m. 3 in the paper.
///
/// # Errors
/// [`GeneratedError::Distance`].
///
/// # Examples
/// ```
/// use nearkin_metrics::generated::distribution_overlap;
/// let real = ndarray::arr2(&[[0.0], [1.0], [10.0], [11.0]]);
/// let generated = ndarray::arr2(&[[0.25], [0.5]]); // one of two kinds
/// let found = distribution_overlap(real.view(), generated.view(), 1)?;
/// assert_eq!((found.precision, found.recall), (1.0, 0.25));
/// # Ok::<(), nearkin_metrics::generated::GeneratedError>(())
/// ```
///
/// Source: Kynkäänniemi et al., 2019, <https://arxiv.org/abs/1904.06991>.
pub fn distribution_overlap(
    real: ArrayView2<'_, f32>,
    generated: ArrayView2<'_, f32>,
    k: usize,
) -> Result<DistributionOverlap, GeneratedError> {
    if real.ncols() != generated.ncols() {
        let (expected, found) = (real.ncols(), generated.ncols());
        return Err(DistanceError::Width { expected, found }.into());
    }
    let (of_real, of_generated) = (radii(real, k)?, radii(generated, k)?);
    Ok(DistributionOverlap {
        precision: covered(generated, real, &of_real)?,
        recall: covered(real, generated, &of_generated)?,
    })
}

/// How far the k-th nearest other row of each row is.
fn radii(rows: ArrayView2<'_, f32>, k: usize) -> Result<Vec<f32>, DistanceError> {
    let near = top_k_within(rows, k, Distance::Euclidean)?;
    Ok(near.distances.column(k - 1).to_vec())
}

/// The share of `points` that lie in a ball around `centres`.
fn covered(
    points: ArrayView2<'_, f32>,
    centres: ArrayView2<'_, f32>,
    radii: &[f32],
) -> Result<f64, DistanceError> {
    const BLOCK: usize = 1 << 24;
    let n = points.nrows();
    let rows = (BLOCK / radii.len()).clamp(1, n);
    let mut inside = 0;
    for start in (0..n).step_by(rows) {
        let block = points.slice(s![start..n.min(start + rows), ..]);
        let distances = pairwise(block, centres, Distance::Euclidean)?;
        inside += distances
            .axis_iter(Axis(0))
            .into_par_iter()
            .filter(|row| row.iter().zip(radii).any(|(distance, radius)| distance <= radius))
            .count();
    }
    Ok(inside as f64 / n as f64)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn balls_counted_one_by_one_give_the_same() {
        let x = Array2::from_shape_fn((60, 4), |(i, j)| crate::noise(i, j));
        let y = Array2::from_shape_fn((50, 4), |(i, j)| crate::noise(i + 100, j) + 0.2);
        let found = distribution_overlap(x.view(), y.view(), 3).unwrap();
        let distance = |a: &Array2<f32>, i: usize, b: &Array2<f32>, j: usize| {
            crate::distance(a.row(i), b.row(j), Distance::Euclidean).unwrap()
        };
        let share = |a: &Array2<f32>, b: &Array2<f32>| {
            let radius = |j: usize| {
                let others = (0..b.nrows()).filter(|&i| i != j);
                let mut all: Vec<f64> = others.map(|i| distance(b, i, b, j)).collect();
                all.sort_by(f64::total_cmp);
                all[2]
            };
            let inside = |i: &usize| (0..b.nrows()).any(|j| distance(a, *i, b, j) <= radius(j));
            (0..a.nrows()).filter(inside).count() as f64 / a.nrows() as f64
        };
        assert_eq!(found.precision, share(&y, &x));
        assert_eq!(found.recall, share(&x, &y));
        assert!(distribution_overlap(x.view(), y.view(), 50).is_err());
        assert!(distribution_overlap(x.view(), y.view(), 0).is_err());
    }
}
