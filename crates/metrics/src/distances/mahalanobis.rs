//! The Mahalanobis distance √((x − y)ᵀ Σ⁻¹ (x − y)), without Σ⁻¹.
//!
//! With Σ = L Lᵀ it is the Euclidean distance of L⁻¹x and L⁻¹y: one triangular solve a row, then the
//! blocked products. The covariance is given, estimated, or shrunk towards a multiple of the identity.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;
use thiserror::Error;

use super::MeasureError;
use super::direct::same_width;
use crate::linear::{cholesky, solve_lower};
use crate::points::Points;
use crate::{Distance, DistanceError};

/// Where the covariance comes from.
#[derive(Clone, Copy, Debug)]
pub enum Covariance<'a> {
    /// A symmetric positive definite `[d, d]`.
    Given(ArrayView2<'a, f64>),
    /// [`covariance`] of the rows.
    Estimated(ArrayView2<'a, f32>),
    /// [`ledoit_wolf`] of the rows: invertible even where there are fewer rows than columns.
    Shrunk(ArrayView2<'a, f32>),
}

/// Why a covariance cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CovarianceError {
    /// Rows that are not finite.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// Too few rows for a covariance.
    #[error("points: expected at least {expected} rows for a covariance, found {found}")]
    Rows {
        /// The fewest that do.
        expected: usize,
        /// Rows given.
        found: usize,
    },
    /// The matrix is not square.
    #[error("covariance: expected a square matrix, found {rows} × {columns}")]
    Square {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// The matrix is not symmetric, or not finite.
    #[error(
        "covariance, row {row}, column {column}: expected the finite value across the diagonal, {expected}, found {found}"
    )]
    Symmetric {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The value across the diagonal.
        expected: f64,
        /// The value.
        found: f64,
    },
    /// The matrix is not positive definite.
    #[error(
        "covariance: expected a positive definite matrix, found column {column} to depend on those before it"
    )]
    Singular {
        /// The first column without variance of its own.
        column: usize,
    },
}

/// Σ = Σᵣ (xᵣ − x̄)(xᵣ − x̄)ᵀ / (n − 1), in f64.
///
/// - `points`: `[n, d]`, finite, n ≥ 2.
/// - returns: `[d, d]`.
///
/// # Errors
/// [`CovarianceError::Rows`], [`CovarianceError::Distance`].
pub fn covariance(points: ArrayView2<'_, f32>) -> Result<Array2<f64>, CovarianceError> {
    let (centred, _) = centred(points, 2)?;
    let n = centred.nrows() as f64;
    Ok(gram(centred.view()) / (n - 1.0))
}

/// A covariance between the estimate and a multiple of the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// (1 − ρ) S + ρ μ I, `[d, d]`.
    pub covariance: Array2<f64>,
    /// ρ, in \[0, 1\].
    pub shrinkage: f64,
}

/// The covariance shrunk by Ledoit and Wolf's rule, with the least expected squared error.
///
/// S = Σᵣ (xᵣ − x̄)(xᵣ − x̄)ᵀ / n (not n − 1, as scikit-learn), μ = tr S / d,
/// δ² = ‖S − μ I‖², β² = min(δ², Σᵣ ‖(xᵣ − x̄)(xᵣ − x̄)ᵀ − S‖² / n²), ρ = β² / δ².
/// Cost: O(n d²).
///
/// - `points`: `[n, d]`, finite, n ≥ 1.
///
/// # Errors
/// [`CovarianceError::Rows`], [`CovarianceError::Distance`].
///
/// Source: Ledoit and Wolf, 2004, <https://doi.org/10.1016/S0047-259X(03)00096-4>.
pub fn ledoit_wolf(points: ArrayView2<'_, f32>) -> Result<Shrunk, CovarianceError> {
    let (centred, _) = centred(points, 1)?;
    let (n, d) = (centred.nrows() as f64, centred.ncols());
    let mut covariance = gram(centred.view()) / n;
    if d == 0 {
        return Ok(Shrunk { covariance, shrinkage: 0.0 });
    }
    let mu = covariance.diag().sum() / d as f64;
    let squares: f64 = covariance.iter().map(|v| v * v).sum();
    // Σ ‖x xᵀ‖² = Σ ‖x‖⁴, and Σ x xᵀ = n S.
    let fourths: f64 =
        centred.rows().into_iter().map(|row| row.dot(&row)).map(|square| square * square).sum();
    let delta = squares - mu * mu * d as f64;
    let beta = ((fourths / n - squares) / n).min(delta);
    let shrinkage = if delta > 0.0 && beta > 0.0 { beta / delta } else { 0.0 };
    covariance *= 1.0 - shrinkage;
    covariance.diag_mut().iter_mut().for_each(|v| *v += shrinkage * mu);
    Ok(Shrunk { covariance, shrinkage })
}

/// Rows less their mean, and the mean.
pub(crate) fn centred(
    points: ArrayView2<'_, f32>,
    least: usize,
) -> Result<(Array2<f64>, Array1<f64>), CovarianceError> {
    let points = Points::new(points, "points", Distance::Euclidean)?;
    let (n, d) = (points.len(), points.width());
    if n < least {
        return Err(CovarianceError::Rows { expected: least, found: n });
    }
    let mut values =
        Array2::from_shape_fn((n, d), |(row, column)| f64::from(points.row(row)[column]));
    let mean = values.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(d));
    values -= &mean;
    Ok((values, mean))
}

/// XᵀX, in blocks of rows, several at a time; the blocks' sizes are fixed, so no thread count shows.
pub(crate) fn gram(x: ArrayView2<'_, f64>) -> Array2<f64> {
    const ROWS: usize = 2048;
    let d = x.ncols();
    let mut total = Array2::zeros((d, d));
    for x in x.axis_chunks_iter(Axis(0), ROWS) {
        // Strips of the result are independent.
        let strip = d.div_ceil(2 * rayon::current_num_threads()).max(16);
        total.axis_chunks_iter_mut(Axis(0), strip).into_par_iter().enumerate().for_each(
            |(at, mut out)| {
                let left = x.slice(ndarray::s![.., at * strip..at * strip + out.nrows()]);
                ndarray::linalg::general_mat_mul(1.0, &left.t(), &x, 1.0, &mut out);
            },
        );
    }
    total
}

/// A fitted Mahalanobis distance.
///
/// # Examples
/// ```
/// use nearkin_metrics::distances::{Covariance, Mahalanobis};
/// use ndarray::{arr1, arr2};
/// let sigma = arr2(&[[4.0, 0.0], [0.0, 1.0]]);
/// let fitted = Mahalanobis::new(Covariance::Given(sigma.view()))?;
/// let (x, y) = (arr1(&[2.0, 0.0]), arr1(&[0.0, 0.0]));
/// assert_eq!(fitted.between(x.view(), y.view())?, 1.0); // two units are one deviation
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mahalanobis {
    /// L with L Lᵀ = Σ.
    factor: Array2<f64>,
}

impl Mahalanobis {
    /// Factors the covariance. Cost: O(d³), and O(n d²) for an estimate.
    ///
    /// A column whose variance, given those before it, is below d · 2⁻⁵² of its own counts as dependent.
    ///
    /// # Errors
    /// [`CovarianceError`]: a matrix that is not square, symmetric to 10⁻⁹, finite, or positive definite; too
    /// few rows; rows that are not finite.
    pub fn new(from: Covariance<'_>) -> Result<Self, CovarianceError> {
        let sigma = match from {
            Covariance::Given(sigma) => {
                symmetric(sigma)?;
                sigma.to_owned()
            }
            Covariance::Estimated(points) => covariance(points)?,
            Covariance::Shrunk(points) => ledoit_wolf(points)?.covariance,
        };
        let floor = sigma.nrows() as f64 * f64::EPSILON;
        let factor =
            cholesky(sigma.view(), floor).map_err(|column| CovarianceError::Singular { column })?;
        Ok(Self { factor })
    }

    /// L⁻¹x of every row less the rows' mean: Euclidean distances between them are Mahalanobis distances.
    ///
    /// This is how every search of nearest rows, graph and score works with it.
    ///
    /// - `points`: `[n, d]`, finite.
    /// - returns: `[n, d]`, rounded to f32.
    ///
    /// # Errors
    /// [`MeasureError::Distance`].
    pub fn whiten(&self, points: ArrayView2<'_, f32>) -> Result<Array2<f32>, MeasureError> {
        let points = Points::new(points, "points", Distance::Euclidean)?;
        same_width(self.factor.nrows(), points.width())?;
        let (n, d) = (points.len(), points.width());
        let mut mean = vec![0.0; d];
        for row in 0..n {
            mean.iter_mut().zip(points.row(row)).for_each(|(m, &v)| *m += f64::from(v));
        }
        mean.iter_mut().for_each(|m| *m /= n.max(1) as f64);
        Ok(self.solve(&points, &mean))
    }

    fn solve(&self, points: &Points<'_>, mean: &[f64]) -> Array2<f32> {
        let (n, d) = (points.len(), points.width());
        let mut out = Array2::zeros((n, d));
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each_init(
            || vec![0.0; d],
            |z, (row, mut out)| {
                let moved = points.row(row).iter().zip(mean).map(|(&v, m)| f64::from(v) - m);
                z.iter_mut().zip(moved).for_each(|(z, v)| *z = v);
                solve_lower(self.factor.view(), z);
                out.iter_mut().zip(z.iter()).for_each(|(out, &z)| *out = z as f32);
            },
        );
        out
    }

    /// The distance of two vectors, in f64 throughout.
    ///
    /// # Errors
    /// [`MeasureError::Distance`].
    pub fn between(
        &self,
        x: ArrayView1<'_, f32>,
        y: ArrayView1<'_, f32>,
    ) -> Result<f64, MeasureError> {
        Ok(self.row_wise(x.insert_axis(Axis(0)), y.insert_axis(Axis(0)))?[0])
    }

    /// The distance of each row of `x` from the row of `y` at the same place, in f64 throughout.
    ///
    /// # Errors
    /// [`MeasureError::Distance`], [`MeasureError::Rows`].
    pub fn row_wise(
        &self,
        x: ArrayView2<'_, f32>,
        y: ArrayView2<'_, f32>,
    ) -> Result<Array1<f64>, MeasureError> {
        if x.nrows() != y.nrows() {
            return Err(MeasureError::Rows { expected: x.nrows(), found: y.nrows() });
        }
        let x = Points::new(x, "x", Distance::Euclidean)?;
        let y = Points::new(y, "y", Distance::Euclidean)?;
        same_width(self.factor.nrows(), x.width())?;
        same_width(x.width(), y.width())?;
        let pair = |row| {
            let pairs = x.row(row).iter().zip(y.row(row));
            let mut z: Vec<f64> = pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
            solve_lower(self.factor.view(), &mut z);
            z.iter().map(|v| v * v).sum::<f64>().sqrt()
        };
        Ok((0..x.len()).map(pair).collect())
    }

    /// The distances of every row of `x` from every row of `y`, by blocked products of whitened rows.
    ///
    /// - returns: `[n, m]`; the error is about 10⁻⁷ of the largest whitened norm, and 2·10⁻⁶ of the value.
    ///
    /// # Errors
    /// [`MeasureError::Distance`].
    pub fn pairwise(
        &self,
        x: ArrayView2<'_, f32>,
        y: ArrayView2<'_, f32>,
    ) -> Result<Array2<f32>, MeasureError> {
        let x = Points::new(x, "x", Distance::Euclidean)?;
        let y = Points::new(y, "y", Distance::Euclidean)?;
        same_width(self.factor.nrows(), x.width())?;
        same_width(x.width(), y.width())?;
        // One mean for both, or distances between the sides would change.
        let mut mean = vec![0.0; x.width()];
        for row in 0..y.len() {
            mean.iter_mut().zip(y.row(row)).for_each(|(m, &v)| *m += f64::from(v));
        }
        mean.iter_mut().for_each(|m| *m /= y.len().max(1) as f64);
        let (x, y) = (self.solve(&x, &mean), self.solve(&y, &mean));
        Ok(crate::pairwise(x.view(), y.view(), Distance::Euclidean)?)
    }
}

/// Square, symmetric and finite.
pub(crate) fn symmetric(sigma: ArrayView2<'_, f64>) -> Result<(), CovarianceError> {
    let (rows, columns) = sigma.dim();
    if rows != columns {
        return Err(CovarianceError::Square { rows, columns });
    }
    let size = sigma.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    for ((row, column), &found) in sigma.indexed_iter() {
        let expected = sigma[[column, row]];
        if !(found.is_finite() && (found - expected).abs() <= 1e-9 * size) {
            return Err(CovarianceError::Symmetric { row, column, expected, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    fn points(n: usize, d: usize) -> Array2<f32> {
        Array2::from_shape_fn((n, d), |(i, j)| {
            3.0 + crate::noise(i, j) + if j > 0 { crate::noise(i, j - 1) } else { 0.0 }
        })
    }

    #[test]
    fn pairs_rows_and_blocks_agree_with_a_solved_system() {
        let x = points(60, 5);
        let fitted = Mahalanobis::new(Covariance::Estimated(x.view())).unwrap();
        let all = fitted.pairwise(x.view(), x.view()).unwrap();
        let white = fitted.whiten(x.view()).unwrap();
        // Whitened rows have the identity as covariance.
        let identity = covariance(white.view()).unwrap();
        for ((i, j), v) in identity.indexed_iter() {
            assert!((v - f64::from(u8::from(i == j))).abs() < 1e-5);
        }
        for i in 0..60 {
            for j in 0..60 {
                let pair = fitted.between(x.row(i), x.row(j)).unwrap();
                assert!((f64::from(all[[i, j]]) - pair).abs() < 1e-5, "{} {pair}", all[[i, j]]);
            }
        }
    }

    #[test]
    fn what_has_no_inverse_is_refused_and_shrinkage_helps() {
        let x = points(4, 6);
        let singular = Mahalanobis::new(Covariance::Estimated(x.view())).unwrap_err();
        assert!(matches!(singular, CovarianceError::Singular { column } if column >= 3));
        assert!(Mahalanobis::new(Covariance::Shrunk(x.view())).is_ok());
        let error = |sigma: Array2<f64>| {
            Mahalanobis::new(Covariance::Given(sigma.view())).unwrap_err().to_string()
        };
        assert_eq!(
            error(arr2(&[[1.0, 1.0], [1.0, 1.0]])),
            "covariance: expected a positive definite matrix, found column 1 to depend on those before it"
        );
        assert!(error(arr2(&[[1.0, 0.5], [0.2, 1.0]])).starts_with("covariance, row 0, column 1"));
        assert!(error(arr2(&[[f64::NAN]])).contains("finite"));
        assert!(error(Array2::zeros((1, 2))).contains("square"));
        let few = covariance(points(1, 2).view()).unwrap_err();
        assert_eq!(few, CovarianceError::Rows { expected: 2, found: 1 });
        let same = Array2::from_elem((5, 2), 0.5);
        assert!(Mahalanobis::new(Covariance::Shrunk(same.view())).is_err());
    }
}
