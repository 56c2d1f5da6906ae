//! The Fréchet distance between two sets, each taken as a normal distribution.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::GeneratedError;
use crate::DistanceError;
use crate::distances::{CovarianceError, centred, gram, symmetric};
use crate::linear::{semidefinite_factor, symmetric_eigenvalues};

/// ‖m₁ − m₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½), with means m and covariances Σ (over n − 1) of both sets: "FID" of
/// Inception embeddings.
///
/// With Σ₁ = F Fᵀ the root's trace is the sum of the roots of the eigenvalues of FᵀΣ₂F, which is symmetric: no root of a
/// matrix is formed, and singular covariances (fewer rows than columns) are no special case. Eigenvalues below rounding
/// are taken as 0; the error is about 10⁻⁸ · d of the largest variance. Cost: O((n + m) d² + d³).
///
/// - `first`: `[n, d]`, `second`: `[m, d]`, finite, n, m ≥ 2.
/// - returns: at least 0.
///
/// # Errors
/// [`GeneratedError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::generated::frechet_distance;
/// let (a, b) = (ndarray::arr2(&[[0.0], [2.0]]), ndarray::arr2(&[[3.0], [7.0]]));
/// // Means 1 and 5, deviations √2 and √8: 16 + (√8 − √2)².
/// assert!((frechet_distance(a.view(), b.view())? - 18.0).abs() < 1e-12);
/// # Ok::<(), nearkin_metrics::generated::GeneratedError>(())
/// ```
///
/// Source: Heusel et al., 2017, <https://arxiv.org/abs/1706.08500>; Dowson and Landau, 1982.
pub fn frechet_distance(
    first: ArrayView2<'_, f32>,
    second: ArrayView2<'_, f32>,
) -> Result<f64, GeneratedError> {
    if first.ncols() != second.ncols() {
        return Err(DistanceError::Width { expected: first.ncols(), found: second.ncols() }.into());
    }
    for (input, found) in [("first", first.nrows()), ("second", second.nrows())] {
        if found < 2 {
            return Err(GeneratedError::Rows { input, expected: 2, found });
        }
    }
    let ((m1, s1), (m2, s2)) = (moments(first)?, moments(second)?);
    frechet_distance_of_moments((m1.view(), s1.view()), (m2.view(), s2.view()))
}

fn moments(rows: ArrayView2<'_, f32>) -> Result<(Array1<f64>, Array2<f64>), CovarianceError> {
    let (centred, mean) = centred(rows, 2)?;
    let sigma = gram(centred.view()) / (centred.nrows() as f64 - 1.0);
    Ok((mean, sigma))
}

/// [`frechet_distance`] of means `[d]` and covariances `[d, d]` that are known, as of a data set evaluated before.
///
/// # Errors
/// [`GeneratedError`]: sizes that differ, values that are not finite, a matrix that is not symmetric.
pub fn frechet_distance_of_moments(
    first: (ArrayView1<'_, f64>, ArrayView2<'_, f64>),
    second: (ArrayView1<'_, f64>, ArrayView2<'_, f64>),
) -> Result<f64, GeneratedError> {
    let d = first.0.len();
    check(first.0, first.1, d)?;
    check(second.0, second.1, d)?;
    let apart: f64 = first.0.iter().zip(second.0).map(|(a, b)| (a - b) * (a - b)).sum();
    let traces = first.1.diag().sum() + second.1.diag().sum();
    let factor = semidefinite_factor(first.1);
    let product = factor.t().dot(&second.1).dot(&factor);
    // Rounding leaves it not quite symmetric.
    let product: Array2<f64> = (&product + &product.t()) / 2.0;
    let values = symmetric_eigenvalues(product).ok_or(GeneratedError::NotConverged)?;
    let root: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok((apart + traces - 2.0 * root).max(0.0))
}

fn check(
    mean: ArrayView1<'_, f64>,
    sigma: ArrayView2<'_, f64>,
    expected: usize,
) -> Result<(), GeneratedError> {
    let sizes = [mean.len(), sigma.nrows(), sigma.ncols()];
    if let Some(&found) = sizes.iter().find(|&&size| size != expected) {
        return Err(DistanceError::Width { expected, found }.into());
    }
    symmetric(sigma)?;
    match mean.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some((column, &found)) => {
            let found = found as f32;
            Err(DistanceError::NotFinite { input: "mean", row: 0, column, found }.into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_sets_are_at_0_and_moved_ones_at_the_square_of_the_way(
            n in 2_usize..30, d in 1_usize..12, seed in 0_usize..300,
        ) {
            let x = Array2::from_shape_fn((n, d), |(i, j)| crate::noise(i + 40 * seed, j));
            prop_assert!(frechet_distance(x.view(), x.view()).unwrap() < 1e-6);
            let moved = x.mapv(|v| v + 2.0);
            let found = frechet_distance(x.view(), moved.view()).unwrap();
            prop_assert!((found - 4.0 * d as f64).abs() < 2e-5 * d as f64, "{found}");
        }
    }

    #[test]
    fn diagonal_covariances_have_a_closed_form() {
        let sigma = |values: [f64; 3]| Array2::from_diag(&Array1::from(values.to_vec()));
        let (a, b) = (sigma([4.0, 1.0, 0.0]), sigma([1.0, 9.0, 2.0]));
        let mean = Array1::zeros(3);
        let found = frechet_distance_of_moments((mean.view(), a.view()), (mean.view(), b.view()));
        assert!((found.unwrap() - (1.0 + 4.0 + 2.0)).abs() < 1e-12);
    }

    #[test]
    fn sets_that_do_not_fit_are_refused() {
        let x = Array2::zeros((3, 2));
        let error = |a: &Array2<f32>, b: &Array2<f32>| {
            frechet_distance(a.view(), b.view()).unwrap_err().to_string()
        };
        assert!(error(&x, &Array2::zeros((3, 4))).contains("different lengths"));
        assert_eq!(error(&x, &Array2::zeros((1, 2))), "second: expected at least 2 rows, found 1");
        assert!(error(&x, &Array2::from_elem((3, 2), f32::NAN)).contains("NaN"));
    }
}
