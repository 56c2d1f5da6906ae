//! The confusion matrix and what is read off it.

use ndarray::{Array2, ArrayView2, Axis};

use super::ClassificationError;
use super::error::{known, same_count};

/// How often class i was predicted as class j, `[classes, classes]`.
///
/// - `labels`, `predictions`: `[n]`, each below `classes`; n ≥ 1.
///
/// # Errors
/// [`ClassificationError`]: no label, counts that differ, a class out of range.
///
/// # Examples
/// ```
/// use nearkin_metrics::classification::{balanced_accuracy, confusion_matrix};
/// let counts = confusion_matrix(&[0, 0, 0, 1], &[0, 0, 1, 1], 2)?;
/// assert_eq!(counts, ndarray::arr2(&[[2, 1], [0, 1]]));
/// assert_eq!(balanced_accuracy(counts.view())?, (2.0 / 3.0 + 1.0) / 2.0);
/// # Ok::<(), nearkin_metrics::classification::ClassificationError>(())
/// ```
pub fn confusion_matrix(
    labels: &[usize],
    predictions: &[usize],
    classes: usize,
) -> Result<Array2<u64>, ClassificationError> {
    same_count("predictions", labels.len(), predictions.len())?;
    known("label", labels, classes)?;
    known("prediction", predictions, classes)?;
    let mut counts = Array2::zeros((classes, classes));
    labels.iter().zip(predictions).for_each(|(&label, &found)| counts[[label, found]] += 1);
    Ok(counts)
}

/// Sums that everything else is made of.
pub(crate) struct Sums {
    /// Counts on the diagonal.
    pub(crate) right: Vec<f64>,
    /// Counts by true class.
    pub(crate) labelled: Vec<f64>,
    /// Counts by predicted class.
    pub(crate) predicted: Vec<f64>,
    pub(crate) total: f64,
}

impl Sums {
    pub(crate) fn of(confusion: ArrayView2<'_, u64>) -> Result<Self, ClassificationError> {
        let (rows, columns) = confusion.dim();
        let total = confusion.iter().sum();
        if rows != columns || total == 0 {
            return Err(ClassificationError::Confusion { rows, columns, total });
        }
        let sums = |axis| confusion.sum_axis(axis).iter().map(|&v| v as f64).collect();
        Ok(Self {
            right: confusion.diag().iter().map(|&v| v as f64).collect(),
            labelled: sums(Axis(1)),
            predicted: sums(Axis(0)),
            total: total as f64,
        })
    }
}

/// The share that was right.
///
/// # Errors
/// [`ClassificationError::Confusion`]: a matrix that is not square or counts nothing; so for all functions
/// of a confusion matrix.
pub fn accuracy(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    let sums = Sums::of(confusion)?;
    Ok(sums.right.iter().sum::<f64>() / sums.total)
}

/// The share of each class that was right (its recall); `None` for a class without images.
///
/// # Errors
/// As [`accuracy`].
pub fn per_class_accuracy(
    confusion: ArrayView2<'_, u64>,
) -> Result<Vec<Option<f64>>, ClassificationError> {
    let sums = Sums::of(confusion)?;
    let pairs = sums.right.iter().zip(&sums.labelled);
    Ok(pairs.map(|(right, all)| (*all > 0.0).then(|| right / all)).collect())
}

/// The mean of [`per_class_accuracy`] over the classes that have images.
///
/// # Errors
/// As [`accuracy`].
pub fn balanced_accuracy(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    let all: Vec<f64> = per_class_accuracy(confusion)?.into_iter().flatten().collect();
    Ok(all.iter().sum::<f64>() / all.len() as f64)
}

/// How classes are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Averaging {
    /// Counts of all classes are added first: for one label an image all three are the accuracy.
    Micro,
    /// The mean over the classes that have images or predictions.
    Macro,
    /// The mean by the classes' numbers of images.
    Weighted,
}

/// Precision, recall and their harmonic mean, each 0 where it would be 0 / 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Right predictions among the predictions.
    pub precision: f64,
    /// Right predictions among the images.
    pub recall: f64,
    /// 2 · right / (predictions + images).
    pub f1: f64,
}

impl PrecisionRecall {
    fn of(right: f64, predicted: f64, labelled: f64) -> Self {
        let share = |of: f64| if of > 0.0 { right / of } else { 0.0 };
        let f1 = 2.0 * share(predicted + labelled);
        Self { precision: share(predicted), recall: share(labelled), f1 }
    }
}

/// Precision, recall and F1 of every class, 0 where it would be 0 / 0 (as scikit-learn).
///
/// # Errors
/// As [`accuracy`].
pub fn per_class_precision_recall(
    confusion: ArrayView2<'_, u64>,
) -> Result<Vec<PrecisionRecall>, ClassificationError> {
    let Sums { right, labelled, predicted, .. } = Sums::of(confusion)?;
    let of = |class: usize| PrecisionRecall::of(right[class], predicted[class], labelled[class]);
    Ok((0..right.len()).map(of).collect())
}

/// Precision, recall and F1 averaged over classes; F1 is the average of F1s.
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
/// ```
/// use nearkin_metrics::classification::{Averaging, precision_recall};
/// let counts = ndarray::arr2(&[[2, 1], [0, 1]]);
/// let found = precision_recall(counts.view(), Averaging::Macro)?;
/// assert_eq!(found.precision, (1.0 + 0.5) / 2.0);
/// # Ok::<(), nearkin_metrics::classification::ClassificationError>(())
/// ```
pub fn precision_recall(
    confusion: ArrayView2<'_, u64>,
    averaging: Averaging,
) -> Result<PrecisionRecall, ClassificationError> {
    let sums = Sums::of(confusion)?;
    if averaging == Averaging::Micro {
        return Ok(PrecisionRecall::of(sums.right.iter().sum(), sums.total, sums.total));
    }
    let weight = |class: usize| match averaging {
        Averaging::Weighted => sums.labelled[class],
        _ => f64::from(u8::from(sums.labelled[class] + sums.predicted[class] > 0.0)),
    };
    let weights: f64 = (0..sums.right.len()).map(weight).sum();
    let mut mean = PrecisionRecall { precision: 0.0, recall: 0.0, f1: 0.0 };
    for (class, one) in per_class_precision_recall(confusion)?.iter().enumerate() {
        let share = weight(class) / weights;
        mean.precision += share * one.precision;
        mean.recall += share * one.recall;
        mean.f1 += share * one.f1;
    }
    Ok(mean)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn classes_without_images_have_no_accuracy_and_no_part_in_means() {
        let counts = confusion_matrix(&[0, 0, 2], &[0, 1, 2], 4).unwrap();
        assert_eq!(per_class_accuracy(counts.view()).unwrap(), [Some(0.5), None, Some(1.0), None]);
        assert_eq!(balanced_accuracy(counts.view()), Ok(0.75));
        // Class 1 was predicted, so it counts, with 0; class 3 does not.
        let found = precision_recall(counts.view(), Averaging::Macro).unwrap();
        assert!((found.precision - 2.0 / 3.0).abs() < 1e-15 && (found.recall - 0.5).abs() < 1e-15);
        let micro = precision_recall(counts.view(), Averaging::Micro).unwrap();
        assert_eq!(
            [micro.precision, micro.recall, micro.f1],
            [accuracy(counts.view()).unwrap(); 3]
        );
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let error = |labels: &[usize], found: &[usize]| {
            confusion_matrix(labels, found, 2).unwrap_err().to_string()
        };
        assert_eq!(error(&[], &[]), "labels: expected at least one, found none");
        assert_eq!(error(&[0, 2], &[0, 0]), "label 1: expected a class below 2, found 2");
        assert_eq!(error(&[0], &[3]), "prediction 0: expected a class below 2, found 3");
        assert_eq!(error(&[0], &[]), "predictions: expected 1, one per label, found 0");
        assert!(accuracy(Array2::zeros((2, 2)).view()).is_err());
        assert!(accuracy(arr2(&[[1, 2]]).view()).is_err());
    }
}
