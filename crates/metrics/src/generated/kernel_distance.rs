//! The kernel distance: squared maximum mean discrepancy of a cubic kernel.

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::GeneratedError;
use crate::points::Points;
use crate::special::Random;
use crate::{Distance, DistanceError};

/// The distance's mean and deviation over subsets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelDistance {
    /// About 0 for sets of one distribution; may be below.
    pub mean: f64,
    /// Over the subsets, divided by their number (not one less).
    pub deviation: f64,
}

/// The unbiased squared maximum mean discrepancy of the kernel (x·y / d + 1)³: "KID" of Inception embeddings.
///
/// mean of k(x, x′) over pairs of different rows of the first + the same of the second − 2 · mean of k(x, y). In f64,
/// in blocks. Cost: O((n + m)² d).
///
/// - `first`: `[n, d]`, `second`: `[m, d]`, finite, n, m ≥ 2, d ≥ 1.
///
/// # Errors
/// [`GeneratedError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::generated::kernel_distance;
/// let (a, b) = (ndarray::arr2(&[[0.0], [1.0]]), ndarray::arr2(&[[1.0], [1.0]]));
/// // k(0, 1) = 1, k(1, 1) = 8; across: 1, 1, 8, 8.
/// assert_eq!(kernel_distance(a.view(), b.view())?, 1.0 + 8.0 - 2.0 * 4.5);
/// # Ok::<(), nearkin_metrics::generated::GeneratedError>(())
/// ```
///
/// Source: Bińkowski et al., 2018, <https://arxiv.org/abs/1801.01401>.
pub fn kernel_distance(
    first: ArrayView2<'_, f32>,
    second: ArrayView2<'_, f32>,
) -> Result<f64, GeneratedError> {
    let (first, second) = (checked(first, "first", 2)?, checked(second, "second", 2)?);
    same_width(&first, &second)?;
    Ok(discrepancy(first.view(), second.view()))
}

/// [`kernel_distance`] of `subsets` pairs of subsets of `size` rows each, drawn without replacement.
///
/// - `size`: 2 ≤ size ≤ n, m; 1,000 in the paper, with 100 subsets.
///
/// # Errors
/// [`GeneratedError`].
pub fn kernel_distance_of_subsets(
    first: ArrayView2<'_, f32>,
    second: ArrayView2<'_, f32>,
    subsets: usize,
    size: usize,
    seed: u64,
) -> Result<KernelDistance, GeneratedError> {
    if subsets == 0 {
        return Err(GeneratedError::None { input: "subsets" });
    }
    if size < 2 {
        return Err(GeneratedError::Rows { input: "subset", expected: 2, found: size });
    }
    let (first, second) = (checked(first, "first", size)?, checked(second, "second", size)?);
    same_width(&first, &second)?;
    let values: Vec<f64> = (0..subsets)
        .map(|nth| {
            let mut random = Random::new(seed, nth as u64);
            let mut of =
                |rows: &Array2<f64>| rows.select(Axis(0), &random.sample(rows.nrows(), size));
            let (x, y) = (of(&first), of(&second));
            discrepancy(x.view(), y.view())
        })
        .collect();
    let mean = values.iter().sum::<f64>() / subsets as f64;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / subsets as f64;
    Ok(KernelDistance { mean, deviation: variance.sqrt() })
}

fn checked(
    rows: ArrayView2<'_, f32>,
    input: &'static str,
    expected: usize,
) -> Result<Array2<f64>, GeneratedError> {
    let points = Points::new(rows, input, Distance::Euclidean)?;
    if points.len() < expected {
        return Err(GeneratedError::Rows { input, expected, found: points.len() });
    }
    let shape = (points.len(), points.width());
    Ok(Array2::from_shape_fn(shape, |(i, j)| f64::from(points.row(i)[j])))
}

fn same_width(first: &Array2<f64>, second: &Array2<f64>) -> Result<(), DistanceError> {
    let (expected, found) = (first.ncols(), second.ncols());
    if expected == found { Ok(()) } else { Err(DistanceError::Width { expected, found }) }
}

fn discrepancy(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> f64 {
    let (n, m) = (x.nrows() as f64, y.nrows() as f64);
    let (xx, xy, yy) = (kernels(x, x), kernels(x, y), kernels(y, y));
    // The diagonals are pairs of a row with itself.
    let own = |rows: ArrayView2<'_, f64>| {
        rows.rows().into_iter().map(|row| cubic(row.dot(&row), row.len())).sum::<f64>()
    };
    (xx - own(x)) / (n * (n - 1.0)) + (yy - own(y)) / (m * (m - 1.0)) - 2.0 * xy / (n * m)
}

/// Σ k(x, y) over all pairs.
fn kernels(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> f64 {
    const ROWS: usize = 256;
    let d = x.ncols();
    let starts: Vec<usize> = (0..x.nrows()).step_by(ROWS).collect();
    let sums: Vec<f64> = starts
        .into_par_iter()
        .map(|start| {
            let block = x.slice(s![start..x.nrows().min(start + ROWS), ..]);
            let blocks = y.axis_chunks_iter(Axis(0), ROWS);
            blocks.map(|y| block.dot(&y.t()).iter().map(|&p| cubic(p, d)).sum::<f64>()).sum()
        })
        .collect();
    sums.iter().sum()
}

fn cubic(product: f64, d: usize) -> f64 {
    let base = product / d.max(1) as f64 + 1.0;
    base * base * base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: usize, first: usize, shift: f32) -> Array2<f32> {
        Array2::from_shape_fn((n, 5), |(i, j)| crate::noise(first + i, j) + shift)
    }

    #[test]
    fn all_pairs_one_by_one_give_the_same() {
        let (x, y) = (points(300, 0, 0.0), points(270, 400, 0.1));
        let k = |a: ndarray::ArrayView1<'_, f32>, b: ndarray::ArrayView1<'_, f32>| {
            let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            (product / 5.0 + 1.0).powi(3)
        };
        let mean = |a: &Array2<f32>, b: &Array2<f32>, apart: bool| {
            let (mut sum, mut count) = (0.0, 0.0);
            for i in 0..a.nrows() {
                for j in (0..b.nrows()).filter(|&j| !apart || i != j) {
                    sum += k(a.row(i), b.row(j));
                    count += 1.0;
                }
            }
            sum / count
        };
        let expected = mean(&x, &x, true) + mean(&y, &y, true) - 2.0 * mean(&x, &y, false);
        assert!((kernel_distance(x.view(), y.view()).unwrap() - expected).abs() < 1e-10);
    }

    #[test]
    fn subsets_of_one_distribution_are_near_0_and_whole_sets_are_one_subset() {
        let (x, y) = (points(200, 0, 0.0), points(200, 300, 0.0));
        let found = kernel_distance_of_subsets(x.view(), y.view(), 20, 50, 1).unwrap();
        assert!(found.mean.abs() < 0.05 && found.deviation > 0.0, "{found:?}");
        let whole = kernel_distance_of_subsets(x.view(), y.view(), 2, 200, 1).unwrap();
        assert!((whole.mean - kernel_distance(x.view(), y.view()).unwrap()).abs() < 1e-12);
        assert!(kernel_distance_of_subsets(x.view(), y.view(), 1, 201, 1).is_err());
        assert!(kernel_distance_of_subsets(x.view(), y.view(), 0, 2, 1).is_err());
        assert!(kernel_distance_of_subsets(x.view(), y.view(), 1, 1, 1).is_err());
    }
}
