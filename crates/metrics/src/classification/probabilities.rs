//! How good predicted probabilities are.

use ndarray::{ArrayView1, ArrayView2};

use super::ClassificationError;
use super::error::{known, same_count};

/// How far a row's sum may be from 1: rows of f32 softmax are within 10⁻⁵.
const SUM_TOLERANCE: f64 = 1e-3;

fn check(probabilities: ArrayView2<'_, f32>, labels: &[usize]) -> Result<(), ClassificationError> {
    same_count("probabilities", labels.len(), probabilities.nrows())?;
    known("label", labels, probabilities.ncols())?;
    check_probabilities(probabilities)
}

/// Every value in [0, 1], every row's sum about 1.
pub(crate) fn check_probabilities(
    probabilities: ArrayView2<'_, f32>,
) -> Result<(), ClassificationError> {
    if let Some(((row, class), &found)) =
        probabilities.indexed_iter().find(|(_, v)| !(0.0..=1.0).contains(*v))
    {
        return Err(ClassificationError::Probability { row, class, found });
    }
    for (row, values) in probabilities.rows().into_iter().enumerate() {
        let found = total(values);
        if (found - 1.0).abs() > SUM_TOLERANCE {
            return Err(ClassificationError::Sum { row, found });
        }
    }
    Ok(())
}

fn total(row: ArrayView1<'_, f32>) -> f64 {
    row.iter().map(|&p| f64::from(p)).sum()
}

/// The mean of −ln p(label), of rows divided by their sums.
///
/// p is raised to 2⁻⁵² where it is lower, so that one certain mistake costs 36 and not infinity (as
/// scikit-learn with f64).
///
/// - `probabilities`: `[n, classes]`, in \[0, 1\], each row summing to 1 within 10⁻³.
/// - `labels`: `[n]`.
///
/// # Errors
/// [`ClassificationError`]: no image, counts that differ, a class out of range, values that are no
/// probabilities; the same for all functions of this file.
///
/// # Examples
/// ```
/// use nearkin_metrics::classification::log_loss;
/// let p = ndarray::arr2(&[[0.5, 0.5], [0.25, 0.75]]);
/// assert_eq!(log_loss(p.view(), &[0, 0])?, (2_f64.ln() + 4_f64.ln()) / 2.0);
/// # Ok::<(), nearkin_metrics::classification::ClassificationError>(())
/// ```
pub fn log_loss(
    probabilities: ArrayView2<'_, f32>,
    labels: &[usize],
) -> Result<f64, ClassificationError> {
    check(probabilities, labels)?;
    let rows = probabilities.rows().into_iter().zip(labels);
    let losses = rows.map(|(row, &label)| {
        let p = f64::from(row[label]) / total(row);
        -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    });
    Ok(losses.sum::<f64>() / labels.len() as f64)
}

/// Brier's score: the mean of Σ (p(class) − \[class is the label\])², in \[0, 2\].
///
/// For two classes some halve it.
///
/// # Errors
/// As [`log_loss`].
///
/// Source: G. W. Brier, 1950,
/// <https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2>.
pub fn brier(
    probabilities: ArrayView2<'_, f32>,
    labels: &[usize],
) -> Result<f64, ClassificationError> {
    check(probabilities, labels)?;
    let rows = probabilities.rows().into_iter().zip(labels);
    let squares = rows.map(|(row, &label)| {
        let terms = row.iter().enumerate().map(|(class, &p)| {
            let miss = f64::from(p) - f64::from(u8::from(class == label));
            miss * miss
        });
        terms.sum::<f64>()
    });
    Ok(squares.sum::<f64>() / labels.len() as f64)
}

/// The expected calibration error: Σ over bins of n(bin) / n · |accuracy − mean confidence|.
///
/// The confidence is the highest probability, the prediction its class, the lowest of equal ones. Bin i of m holds
/// confidences in (i / m, (i + 1) / m\]; 0 falls into the first.
///
/// - `bins`: at least 1; 15 in Guo et al.
///
/// # Errors
/// As [`log_loss`]; [`ClassificationError::Bins`].
///
/// Source: Naeini et al., 2015, <https://doi.org/10.1609/aaai.v29i1.9602>; Guo et al., 2017,
/// <https://arxiv.org/abs/1706.04599>.
pub fn expected_calibration_error(
    probabilities: ArrayView2<'_, f32>,
    labels: &[usize],
    bins: usize,
) -> Result<f64, ClassificationError> {
    check(probabilities, labels)?;
    if bins == 0 {
        return Err(ClassificationError::Bins);
    }
    // Right predictions less confidence, by bin: more bins than images would stay empty anyway.
    let mut gaps = std::collections::BTreeMap::new();
    for (row, &label) in probabilities.rows().into_iter().zip(labels) {
        let mut best = (0, row[0]);
        for (class, &p) in row.iter().enumerate() {
            if p > best.1 {
                best = (class, p);
            }
        }
        let confidence = f64::from(best.1);
        let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins);
        *gaps.entry(bin).or_insert(0.0) += f64::from(u8::from(best.0 == label)) - confidence;
    }
    Ok(gaps.values().map(|gap: &f64| gap.abs()).sum::<f64>() / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    #[test]
    fn a_certain_forecast_is_perfect_or_costly() {
        let sure = arr2(&[[1.0, 0.0], [1.0, 0.0]]);
        assert!(log_loss(sure.view(), &[0, 0]).unwrap() < 1e-15);
        assert_eq!(brier(sure.view(), &[0, 1]), Ok(1.0));
        assert!((log_loss(sure.view(), &[0, 1]).unwrap() - 18.02).abs() < 0.01);
        assert_eq!(expected_calibration_error(sure.view(), &[0, 1], 15), Ok(0.5));
        assert_eq!(expected_calibration_error(sure.view(), &[0, 0], usize::MAX), Ok(0.0));
    }

    #[test]
    fn bins_are_averaged_by_what_they_hold() {
        let p = arr2(&[[0.75, 0.25], [0.75, 0.25], [0.4, 0.6], [0.5, 0.5]]);
        // (½, ¾]: three of them, confidences ¾ ¾ 0.6, one right; (¼, ½]: ½, right.
        let expected = ((1.0 - 0.75 - 0.75 - f64::from(0.6_f32)).abs() + 0.5) / 4.0;
        let found = expected_calibration_error(p.view(), &[0, 1, 0, 0], 4).unwrap();
        assert!((found - expected).abs() < 1e-15);
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let error =
            |p: Array2<f32>, labels: &[usize]| log_loss(p.view(), labels).unwrap_err().to_string();
        assert_eq!(
            error(arr2(&[[0.5, f32::NAN]]), &[0]),
            "probabilities, row 0, class 1: expected a value from 0 to 1, found NaN"
        );
        assert_eq!(
            error(arr2(&[[0.5, 0.25]]), &[0]),
            "probabilities, row 0: expected a sum of 1, found 0.75"
        );
        assert!(error(arr2(&[[0.5, 0.5]]), &[2]).starts_with("label 0"));
        assert!(error(Array2::zeros((0, 2)), &[]).starts_with("labels: expected at least one"));
        let one = expected_calibration_error(arr2(&[[1.0]]).view(), &[0], 0);
        assert_eq!(one, Err(ClassificationError::Bins));
    }
}
