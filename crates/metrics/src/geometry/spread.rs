//! Alignment, uniformity, and the effective rank.

use ndarray::{ArrayView2, s};
use rayon::prelude::*;
use thiserror::Error;

use crate::distances::{MeasureError, gram, row_wise};
use crate::linear::symmetric_eigenvalues;
use crate::points::Points;
use crate::{Distance, DistanceError};

/// Why an embedding has no such shape.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GeometryError {
    /// The rows cannot be compared.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// There are too few rows.
    #[error("embeddings: expected at least {expected} rows, found {found}")]
    Rows {
        /// The fewest that do.
        expected: usize,
        /// Rows given.
        found: usize,
    },
    /// A zero row has no direction.
    #[error("{input}, row {row}: expected a row with a direction, found zeros")]
    Zero {
        /// Which argument.
        input: &'static str,
        /// The row.
        row: usize,
    },
    /// All values are 0.
    #[error("embeddings: expected values other than 0, found none")]
    AllZero,
    /// A parameter is out of range.
    #[error("{parameter}: expected a finite number {expected}, found {found}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What was given.
        found: f64,
    },
    /// A row has duplicates where distances must be above 0.
    #[error("embeddings, row {row}: expected its neighbours to differ from it, found a duplicate")]
    Duplicate {
        /// The row.
        row: usize,
    },
    /// All neighbours are equally far, which no finite dimension gives.
    #[error("embeddings: expected neighbours at different distances, found none")]
    Equidistant,
    /// The eigenvalues did not converge.
    #[error("embeddings: the eigenvalues of their products did not converge")]
    NotConverged,
}

impl From<DistanceError> for GeometryError {
    fn from(error: DistanceError) -> Self {
        Self::Measure(error.into())
    }
}

fn directions(rows: ArrayView2<'_, f32>, input: &'static str) -> Result<(), GeometryError> {
    let zero = rows.rows().into_iter().position(|row| row.iter().all(|v| v.abs() <= 0.0));
    zero.map_or(Ok(()), |row| Err(GeometryError::Zero { input, row }))
}

/// The mean of ‖x/‖x‖ − y/‖y‖‖^α over pairs of rows that belong together. Lower is better.
///
/// - `x`, `y`: `[n, d]`, n ≥ 1, no zero row; row i of both are a pair.
/// - `alpha`: above 0; 2 in the paper.
/// - returns: in \[0, 2^α\].
///
/// # Errors
/// [`GeometryError`].
///
/// Source: Wang and Isola, 2020, <https://arxiv.org/abs/2005.10242>.
pub fn alignment(
    x: ArrayView2<'_, f32>,
    y: ArrayView2<'_, f32>,
    alpha: f64,
) -> Result<f64, GeometryError> {
    if !(alpha.is_finite() && alpha > 0.0) {
        let (parameter, expected) = ("alpha", "above 0");
        return Err(GeometryError::Parameter { parameter, expected, found: alpha });
    }
    let cosines = row_wise(x, y, Distance::Cosine)?;
    if cosines.is_empty() {
        return Err(GeometryError::Rows { expected: 1, found: 0 });
    }
    directions(x, "x")?;
    directions(y, "y")?;
    // ‖u − v‖² = 2 (1 − cos).
    let powers = cosines.iter().map(|cosine| (2.0 * cosine).sqrt().powf(alpha));
    Ok(powers.sum::<f64>() / cosines.len() as f64)
}

/// ln of the mean of exp(−t ‖x/‖x‖ − y/‖y‖‖²) over all pairs of rows. Lower is more uniform.
///
/// Distances are f32, a block of rows at a time, sums f64. Cost: O(n² d).
///
/// - `embeddings`: `[n, d]`, n ≥ 2, no zero row.
/// - `t`: above 0; 2 in the paper.
/// - returns: in \[−4 t, 0\].
///
/// # Errors
/// [`GeometryError`].
///
/// # Examples
/// ```
/// let x = ndarray::arr2(&[[1.0, 0.0], [-3.0, 0.0]]);
/// let found = nearkin_metrics::geometry::uniformity(x.view(), 2.0)?;
/// assert!((found + 8.0).abs() < 1e-6); // opposite directions: ‖u − v‖² = 4
/// # Ok::<(), nearkin_metrics::geometry::GeometryError>(())
/// ```
///
/// Source: Wang and Isola, 2020, <https://arxiv.org/abs/2005.10242>.
pub fn uniformity(embeddings: ArrayView2<'_, f32>, t: f64) -> Result<f64, GeometryError> {
    const BLOCK: usize = 1 << 24;
    let n = embeddings.nrows();
    if !(t.is_finite() && t > 0.0) {
        let (parameter, expected) = ("t", "above 0");
        return Err(GeometryError::Parameter { parameter, expected, found: t });
    }
    if n < 2 {
        return Err(GeometryError::Rows { expected: 2, found: n });
    }
    directions(embeddings, "embeddings")?;
    let mut total = 0.0;
    let rows = (BLOCK / n).clamp(1, n);
    for start in (0..n).step_by(rows) {
        let end = n.min(start + rows);
        let block = embeddings.slice(s![start..end, ..]);
        let cosines = crate::pairwise(block, embeddings.slice(s![start.., ..]), Distance::Cosine)?;
        let sums: Vec<f64> = (0..end - start)
            .into_par_iter()
            .map(|at| {
                let others = cosines.slice(s![at, at + 1..]);
                others.iter().map(|&cosine| (-2.0 * t * f64::from(cosine)).exp()).sum()
            })
            .collect();
        total += sums.iter().sum::<f64>();
    }
    Ok((total / (n as f64 * (n - 1) as f64 / 2.0)).ln())
}

/// exp of the entropy of the singular values' shares: how many dimensions the rows use, smoothly counted.
///
/// With σᵢ the singular values of the rows as they stand (not centred), pᵢ = σᵢ / Σσ and the result is
/// exp(−Σ pᵢ ln pᵢ). The values come from the eigenvalues of the smaller product of the matrix with itself, so those
/// below 10⁻⁸ of the largest drown in rounding, and with them at most about 10⁻⁶ of the result. Cost:
/// O(n d min(n, d)).
///
/// - `embeddings`: `[n, d]`, not all 0.
/// - returns: 1 to min(n, d).
///
/// # Errors
/// [`GeometryError`].
///
/// # Examples
/// ```
/// let x = ndarray::arr2(&[[3.0, 0.0], [0.0, 3.0]]);
/// let found = nearkin_metrics::geometry::effective_rank(x.view())?;
/// assert!((found - 2.0).abs() < 1e-12);
/// # Ok::<(), nearkin_metrics::geometry::GeometryError>(())
/// ```
///
/// Source: Roy and Vetterli, 2007; as RankMe in Garrido et al., 2023, <https://arxiv.org/abs/2210.02885>.
pub fn effective_rank(embeddings: ArrayView2<'_, f32>) -> Result<f64, GeometryError> {
    let points = Points::new(embeddings, "embeddings", Distance::Euclidean)?;
    let (n, d) = (points.len(), points.width());
    let x = ndarray::Array2::from_shape_fn((n, d), |(i, j)| f64::from(points.row(i)[j]));
    let product = if n < d { gram(x.t()) } else { gram(x.view()) };
    let values = symmetric_eigenvalues(product).ok_or(GeometryError::NotConverged)?;
    let singular: Vec<f64> = values.iter().map(|v| v.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum <= 0.0 {
        return Err(GeometryError::AllZero);
    }
    let shares = singular.iter().map(|v| v / sum).filter(|p| *p > 0.0);
    Ok((-shares.map(|p| p * p.ln()).sum::<f64>()).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    #[test]
    fn pairs_in_one_direction_are_aligned_whatever_their_lengths() {
        let (x, y) = (arr2(&[[1.0, 1.0], [1.0, 0.0]]), arr2(&[[3.0, 3.0], [0.0, 5.0]]));
        assert!((alignment(x.view(), y.view(), 2.0).unwrap() - 1.0).abs() < 1e-15);
        assert!((alignment(x.view(), y.view(), 1.0).unwrap() - 0.5_f64.sqrt()).abs() < 1e-7);
    }

    #[test]
    fn uniformity_is_the_mean_over_all_pairs() {
        let x = Array2::from_shape_fn((60, 5), |(i, j)| crate::noise(i, j) - 0.4);
        let (mut sum, mut pairs) = (0.0, 0.0);
        for i in 0..60 {
            for j in 0..i {
                let cosine = crate::distance(x.row(i), x.row(j), Distance::Cosine).unwrap();
                sum += (-3.0 * 2.0 * cosine).exp();
                pairs += 1.0;
            }
        }
        let expected: f64 = sum / pairs;
        assert!((uniformity(x.view(), 3.0).unwrap() - expected.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_rank_of_few_directions_is_their_number_on_either_side() {
        let mut x = Array2::zeros((40, 7));
        (0..40).for_each(|i| x[[i, i % 4]] = 2.0);
        assert!((effective_rank(x.view()).unwrap() - 4.0).abs() < 1e-9);
        assert!((effective_rank(x.t()).unwrap() - 4.0).abs() < 1e-9);
        let line = Array2::from_shape_fn((30, 5), |(i, j)| (i * (j + 1)) as f32);
        assert!((effective_rank(line.view()).unwrap() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn what_has_no_shape_is_refused() {
        let x = arr2(&[[1.0, 0.0], [0.0, 0.0]]);
        assert_eq!(
            uniformity(x.view(), 2.0).unwrap_err().to_string(),
            "embeddings, row 1: expected a row with a direction, found zeros"
        );
        assert!(uniformity(x.slice(s![..1, ..]), 2.0).unwrap_err().to_string().contains("2 rows"));
        assert!(alignment(x.view(), x.view(), 0.0).unwrap_err().to_string().starts_with("alpha"));
        assert_eq!(effective_rank(Array2::zeros((3, 2)).view()), Err(GeometryError::AllZero));
        assert_eq!(effective_rank(Array2::zeros((0, 2)).view()), Err(GeometryError::AllZero));
    }
}
