//! Average precision as the PASCAL VOC challenge computes it, for images with several labels.

use ndarray::ArrayView2;

use super::ClassificationError;
use super::error::same_count;

/// Whether an image shows a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Positive,
    /// It does not.
    Negative,
    /// It does, but only in objects marked difficult: the image is ignored for this class.
    Difficult,
}

/// How the curve of precision over recall becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocRule {
    /// The mean over recalls 0, 0.1, …, 1 of the best precision at that recall or beyond: VOC 2007.
    ElevenPoints,
    /// The area under the best precision at each recall or beyond: VOC 2010 and later.
    Area,
}

/// The average precision of one class.
///
/// Images are ranked by score, equal ones by index; difficult ones are dropped first.
///
/// - `truths`, `scores`: `[n]`.
/// - returns: in \[0, 1\].
///
/// # Errors
/// [`ClassificationError`]: no image, counts that differ, NaN, or no positive image.
///
/// # Examples
/// ```
/// use nearkin_metrics::classification::{Truth::{Difficult, Negative, Positive}, VocRule, voc_average_precision};
/// let truths = [Positive, Negative, Difficult, Positive];
/// let found = voc_average_precision(&truths, &[0.9, 0.8, 0.7, 0.6], VocRule::Area)?;
/// assert_eq!(found, 0.5 * 1.0 + 0.5 * (2.0 / 3.0));
/// # Ok::<(), nearkin_metrics::classification::ClassificationError>(())
/// ```
///
/// Source: Everingham et al., 2010, <https://doi.org/10.1007/s11263-009-0275-4>, and the development kit's
/// `VOCevalcls`.
pub fn voc_average_precision(
    truths: &[Truth],
    scores: &[f32],
    rule: VocRule,
) -> Result<f64, ClassificationError> {
    of_class(truths, scores, rule, 1)
}

/// The mean over classes of [`voc_average_precision`]: VOC's mAP of image classification.
///
/// - `truths`, `scores`: `[n, classes]`.
///
/// # Errors
/// As [`voc_average_precision`]; a class without a positive image is named.
pub fn mean_voc_average_precision(
    truths: ArrayView2<'_, Truth>,
    scores: ArrayView2<'_, f32>,
    rule: VocRule,
) -> Result<f64, ClassificationError> {
    same_count("rows of scores", truths.nrows(), scores.nrows())?;
    same_count("columns of scores", truths.ncols(), scores.ncols())?;
    let mut sum = 0.0;
    for (class, (truths, scores)) in truths.columns().into_iter().zip(scores.columns()).enumerate()
    {
        sum += of_class(&truths.to_vec(), &scores.to_vec(), rule, class)?;
    }
    Ok(sum / truths.ncols() as f64)
}

fn of_class(
    truths: &[Truth],
    scores: &[f32],
    rule: VocRule,
    class: usize,
) -> Result<f64, ClassificationError> {
    same_count("scores", truths.len(), scores.len())?;
    if let Some(row) = scores.iter().position(|score| score.is_nan()) {
        return Err(ClassificationError::NotANumber { row, class });
    }
    let positives = truths.iter().filter(|&&truth| truth == Truth::Positive).count();
    if positives == 0 {
        return Err(ClassificationError::OneSided { class, found: "negative" });
    }
    let mut order: Vec<usize> =
        (0..truths.len()).filter(|&at| truths[at] != Truth::Difficult).collect();
    // Stable, so that ties keep their order; −0 is 0.
    order.sort_by(|&a, &b| (scores[b] + 0.0).total_cmp(&(scores[a] + 0.0)));
    let hits: Vec<bool> = order.into_iter().map(|at| truths[at] == Truth::Positive).collect();
    Ok(interpolated(&hits, positives, rule))
}

/// From hits in the order of their scores.
pub(crate) fn interpolated(hits: &[bool], positives: usize, rule: VocRule) -> f64 {
    let mut found = 0;
    // (positives found, precision) after each hit: recall rises nowhere else.
    let mut curve: Vec<(usize, f64)> = Vec::new();
    for (at, &hit) in hits.iter().enumerate() {
        if hit {
            found += 1;
            curve.push((found, found as f64 / (at + 1) as f64));
        }
    }
    let mut best = 0.0;
    for point in curve.iter_mut().rev() {
        best = f64::max(best, point.1);
        point.1 = best;
    }
    match rule {
        VocRule::Area => curve.iter().map(|point| point.1).sum::<f64>() / positives as f64,
        VocRule::ElevenPoints => {
            // Recall ≥ t / 10 in whole numbers, which no rounding moves.
            let at = |t: usize| curve.iter().find(|point| 10 * point.0 >= t * positives);
            (0..=10).map(|t| at(t).map_or(0.0, |point| point.1)).sum::<f64>() / 11.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The development kit's loops over the whole curve.
    fn oracle(truths: &[Truth], scores: &[f32], rule: VocRule) -> f64 {
        let mut order: Vec<usize> = (0..truths.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let all = truths.iter().filter(|&&t| t == Truth::Positive).count() as f64;
        let (mut tp, mut fp) = (0.0, 0.0);
        let (mut recall, mut precision) = (vec![0.0], vec![0.0]);
        for at in order {
            tp += f64::from(u8::from(truths[at] == Truth::Positive));
            fp += f64::from(u8::from(truths[at] == Truth::Negative));
            if tp + fp > 0.0 {
                recall.push(tp / all);
                precision.push(tp / (tp + fp));
            }
        }
        if rule == VocRule::ElevenPoints {
            let best = |t: f64| {
                let beyond = recall.iter().zip(&precision).filter(|pair| *pair.0 >= t - 1e-12);
                beyond.map(|pair| *pair.1).fold(0.0, f64::max)
            };
            return (0..=10).map(|t| best(f64::from(t) / 10.0)).sum::<f64>() / 11.0;
        }
        recall.push(1.0);
        precision.push(0.0);
        for at in (1..precision.len()).rev() {
            precision[at - 1] = precision[at - 1].max(precision[at]);
        }
        (1..recall.len()).map(|at| (recall[at] - recall[at - 1]) * precision[at]).sum()
    }

    proptest! {
        #[test]
        fn both_rules_are_the_development_kits(rows in prop::collection::vec((0_u8..3, 0_u8..50), 1..60)) {
            let truths: Vec<Truth> =
                rows.iter().map(|row| [Truth::Positive, Truth::Negative, Truth::Difficult][usize::from(row.0)]).collect();
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.1)).collect();
            for rule in [VocRule::ElevenPoints, VocRule::Area] {
                match voc_average_precision(&truths, &scores, rule) {
                    Ok(found) => prop_assert!((found - oracle(&truths, &scores, rule)).abs() < 1e-12),
                    Err(_) => prop_assert!(!truths.contains(&Truth::Positive)),
                }
            }
        }
    }

    #[test]
    fn a_class_without_a_positive_image_is_named() {
        let truths = ndarray::arr2(&[[Truth::Positive, Truth::Difficult]]);
        let scores = ndarray::arr2(&[[0.5, 0.5]]);
        let error = mean_voc_average_precision(truths.view(), scores.view(), VocRule::Area);
        assert_eq!(error, Err(ClassificationError::OneSided { class: 1, found: "negative" }));
    }
}
