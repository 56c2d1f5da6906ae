//! The inception score of class probabilities.

use ndarray::{ArrayView2, Axis, s};

use super::GeneratedError;
use crate::classification::check_probabilities;

/// The score's mean and deviation over parts of the set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InceptionScore {
    /// In \[1, classes\].
    pub mean: f64,
    /// Over the parts, divided by their number (not one less), as the original.
    pub deviation: f64,
}

/// exp of the mean of KL(p(y|x) ‖ p(y)), with p(y) the mean of the rows, over `parts` consecutive parts.
///
/// High where every image is surely of some class and all classes occur; it never sees a real image.
///
/// - `probabilities`: `[n, classes]`, rows that sum to 1 within 10⁻³.
/// - `parts`: 1 ≤ parts ≤ n, of n / parts rows each, rounded as the original does; 10 is usual.
///
/// # Errors
/// [`GeneratedError`].
///
/// # Examples
/// ```
/// let sure = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0]]);
/// let found = nearkin_metrics::generated::inception_score(sure.view(), 1)?;
/// assert!((found.mean - 2.0).abs() < 1e-12);
/// # Ok::<(), nearkin_metrics::generated::GeneratedError>(())
/// ```
///
/// Source: Salimans et al., 2016, <https://arxiv.org/abs/1606.03498>.
pub fn inception_score(
    probabilities: ArrayView2<'_, f32>,
    parts: usize,
) -> Result<InceptionScore, GeneratedError> {
    let n = probabilities.nrows();
    if parts == 0 {
        return Err(GeneratedError::None { input: "parts" });
    }
    if n < parts {
        return Err(GeneratedError::Rows { input: "probabilities", expected: parts, found: n });
    }
    check_probabilities(probabilities)?;
    let scores: Vec<f64> = (0..parts)
        .map(|part| {
            let rows = probabilities.slice(s![part * n / parts..(part + 1) * n / parts, ..]);
            let rows = rows.mapv(f64::from);
            let marginal = rows.mean_axis(Axis(0)).unwrap_or_default();
            let divergences = rows.rows().into_iter().map(|row| {
                let terms = row.iter().zip(&marginal).filter(|(p, _)| **p > 0.0);
                terms.map(|(p, m)| p * (p / m).ln()).sum::<f64>()
            });
            (divergences.sum::<f64>() / rows.nrows() as f64).exp()
        })
        .collect();
    let mean = scores.iter().sum::<f64>() / parts as f64;
    let variance = scores.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / parts as f64;
    Ok(InceptionScore { mean, deviation: variance.sqrt() })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    #[test]
    fn unsure_or_single_minded_rows_score_1() {
        let flat = Array2::from_elem((6, 4), 0.25);
        assert!((inception_score(flat.view(), 2).unwrap().mean - 1.0).abs() < 1e-12);
        let one = arr2(&[[1.0, 0.0], [1.0, 0.0]]);
        assert_eq!(inception_score(one.view(), 1).unwrap().mean, 1.0);
    }

    #[test]
    fn parts_and_probabilities_that_do_not_fit_are_refused() {
        let p = arr2(&[[0.5, 0.5]]);
        assert!(inception_score(p.view(), 0).unwrap_err().to_string().starts_with("parts"));
        assert!(inception_score(p.view(), 2).unwrap_err().to_string().contains("2 rows"));
        assert!(inception_score(arr2(&[[0.5, 0.6]]).view(), 1).is_err());
    }
}
