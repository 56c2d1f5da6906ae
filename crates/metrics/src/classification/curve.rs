//! The area under the ROC curve, and average precision.

use ndarray::{ArrayView1, ArrayView2};

use super::ClassificationError;
use super::error::{known, same_count};

/// (positives, negatives) of each group of equal scores, highest score first.
fn groups(is_positive: &[bool], scores: &[f32]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut groups: Vec<(f64, f64)> = Vec::new();
    let mut last = None;
    for at in order {
        let score = scores[at] + 0.0; // −0 is 0
        if last != Some(score.to_bits()) {
            groups.push((0.0, 0.0));
            last = Some(score.to_bits());
        }
        if let Some(group) = groups.last_mut() {
            if is_positive[at] { group.0 += 1.0 } else { group.1 += 1.0 }
        }
    }
    groups
}

fn checked(
    is_positive: &[bool],
    scores: &[f32],
    class: usize,
) -> Result<Vec<(f64, f64)>, ClassificationError> {
    same_count("scores", is_positive.len(), scores.len())?;
    if let Some(row) = scores.iter().position(|score| score.is_nan()) {
        return Err(ClassificationError::NotANumber { row, class });
    }
    Ok(groups(is_positive, scores))
}

/// The area under the ROC curve: the probability that a positive image has a higher score than a negative one,
/// ties counted ½.
///
/// Cost: O(n log n).
///
/// - `is_positive`, `scores`: `[n]`; infinite scores are ordered.
/// - returns: in \[0, 1\]; ½ for scores that say nothing.
///
/// # Errors
/// [`ClassificationError`]: no image, counts that differ, NaN, or images of one side only.
///
/// # Examples
/// ```
/// use nearkin_metrics::classification::roc_auc;
/// assert_eq!(roc_auc(&[false, true, false, true], &[0.1, 0.4, 0.4, 0.8])?, 0.875);
/// # Ok::<(), nearkin_metrics::classification::ClassificationError>(())
/// ```
pub fn roc_auc(is_positive: &[bool], scores: &[f32]) -> Result<f64, ClassificationError> {
    area(is_positive, scores, 1)
}

fn area(is_positive: &[bool], scores: &[f32], class: usize) -> Result<f64, ClassificationError> {
    let groups = checked(is_positive, scores, class)?;
    let (mut positives, mut negatives, mut area) = (0.0, 0.0, 0.0);
    for (p, n) in groups {
        area += n * (positives + p / 2.0);
        positives += p;
        negatives += n;
    }
    match (positives > 0.0, negatives > 0.0) {
        (true, true) => Ok(area / (positives * negatives)),
        (true, false) => Err(ClassificationError::OneSided { class, found: "positive" }),
        _ => Err(ClassificationError::OneSided { class, found: "negative" }),
    }
}

/// How one-against-rest curves are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverClasses {
    /// The mean.
    Macro,
    /// The mean by the classes' numbers of images.
    Weighted,
}

/// The mean over classes of [`roc_auc`] of one class against all others.
///
/// - `scores`: `[n, classes]`, `labels`: `[n]`.
///
/// # Errors
/// As [`roc_auc`]; [`ClassificationError::OneSided`] names a class without images, or the only one.
pub fn roc_auc_one_vs_rest(
    scores: ArrayView2<'_, f32>,
    labels: &[usize],
    over: OverClasses,
) -> Result<f64, ClassificationError> {
    let classes = scores.ncols();
    same_count("scores", labels.len(), scores.nrows())?;
    known("label", labels, classes)?;
    let (mut sum, mut weights) = (0.0, 0.0);
    for class in 0..classes {
        let is_class: Vec<bool> = labels.iter().map(|&label| label == class).collect();
        let weight = match over {
            OverClasses::Macro => 1.0,
            OverClasses::Weighted => is_class.iter().filter(|&&is| is).count() as f64,
        };
        sum += weight * area(&is_class, &column(scores.column(class)), class)?;
        weights += weight;
    }
    Ok(sum / weights)
}

fn column(scores: ArrayView1<'_, f32>) -> Vec<f32> {
    scores.to_vec()
}

/// Average precision: Σ (Rᵢ − Rᵢ₋₁) Pᵢ over falling thresholds, equal scores taken together.
///
/// Not interpolated: VOC's is [`super::voc_average_precision`]. Cost: O(n log n).
///
/// - `is_positive`, `scores`: `[n]`.
///
/// # Errors
/// [`ClassificationError`]: no image, counts that differ, NaN, or no positive image.
pub fn average_precision(is_positive: &[bool], scores: &[f32]) -> Result<f64, ClassificationError> {
    let (mut positives, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for (p, n) in checked(is_positive, scores, 1)? {
        positives += p;
        seen += p + n;
        sum += p * positives / seen;
    }
    if positives > 0.0 {
        Ok(sum / positives)
    } else {
        Err(ClassificationError::OneSided { class: 1, found: "negative" })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn areas_and_precisions_are_those_of_all_pairs_and_thresholds(
            rows in prop::collection::vec((any::<bool>(), 0_u8..8), 2..40),
        ) {
            let is_positive: Vec<bool> = rows.iter().map(|row| row.0).collect();
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.1)).collect();
            let (mut won, mut pairs) = (0.0, 0.0);
            for (a, p) in is_positive.iter().zip(&scores).filter(|pair| *pair.0) {
                for (_, n) in is_positive.iter().zip(&scores).filter(|pair| !*pair.0) {
                    won += if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
                    pairs += f64::from(u8::from(*a));
                }
            }
            match roc_auc(&is_positive, &scores) {
                Ok(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                Err(_) => prop_assert!(pairs == 0.0),
            }
            let all = is_positive.iter().filter(|&&p| p).count() as f64;
            let (mut expected, mut last) = (0.0, 0.0);
            for threshold in (0..8).rev().map(|t| t as f32) {
                let taken = || is_positive.iter().zip(&scores).filter(|pair| *pair.1 >= threshold);
                let right = taken().filter(|pair| *pair.0).count() as f64;
                if right > last {
                    expected += (right - last) / all * right / taken().count() as f64;
                    last = right;
                }
            }
            match average_precision(&is_positive, &scores) {
                Ok(found) => prop_assert!((found - expected).abs() < 1e-12),
                Err(_) => prop_assert!(all == 0.0),
            }
        }
    }

    #[test]
    fn one_sided_labels_are_refused_by_class() {
        let one = roc_auc(&[true, true], &[0.0, 1.0]).unwrap_err();
        assert_eq!(
            one.to_string(),
            "labels of class 1: expected positive and negative ones, found only positive"
        );
        assert!(average_precision(&[false], &[0.0]).is_err());
        let scores = ndarray::Array2::zeros((2, 3));
        let error = roc_auc_one_vs_rest(scores.view(), &[0, 2], OverClasses::Macro).unwrap_err();
        assert_eq!(error, ClassificationError::OneSided { class: 1, found: "negative" });
        assert!(roc_auc(&[true, false], &[f32::NAN, 0.0]).unwrap_err().to_string().contains("NaN"));
    }
}
