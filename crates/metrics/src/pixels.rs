//! Segmentation: accuracy and overlap of masks, pixel by pixel.
//!
//! Masks hold a class a pixel; counts of many images add up to one confusion matrix, from which everything is
//! read, so scores are over all pixels of the set and not means of images. Pixels marked [`IGNORED`] in the
//! truth count nowhere.

use ndarray::{Array2, ArrayView2};
use thiserror::Error;

use crate::classification::{ClassificationError, Sums, balanced_accuracy};

/// The class of pixels that do not count, as VOC marks borders and difficult objects.
pub const IGNORED: u8 = 255;

/// Why masks cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PixelError {
    /// The masks have different sizes.
    #[error("prediction: expected {expected:?} pixels, as the truth has, found {found:?}")]
    Size {
        /// Rows and columns of the truth.
        expected: (usize, usize),
        /// Rows and columns of the prediction.
        found: (usize, usize),
    },
    /// A pixel's class does not exist.
    #[error("{input}, row {row}, column {column}: expected a class below {classes}, found {found}")]
    Class {
        /// Truth or prediction.
        input: &'static str,
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// Number of classes.
        classes: usize,
        /// The class.
        found: u8,
    },
}

/// How often a pixel of class i was predicted as class j, `[classes, classes]`; add up those of all images.
///
/// - `truth`: `[H, W]`, classes or [`IGNORED`].
/// - `prediction`: `[H, W]`, classes; anything where the truth is ignored.
///
/// # Errors
/// [`PixelError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::pixels::{IGNORED, mean_iou, pixel_confusion};
/// let truth = ndarray::arr2(&[[0, 0, 1, IGNORED]]);
/// let found = ndarray::arr2(&[[0, 1, 1, 0]]);
/// let counts = pixel_confusion(truth.view(), found.view(), 2)?;
/// assert_eq!(mean_iou(counts.view())?, 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pixel_confusion(
    truth: ArrayView2<'_, u8>,
    prediction: ArrayView2<'_, u8>,
    classes: usize,
) -> Result<Array2<u64>, PixelError> {
    if truth.dim() != prediction.dim() {
        return Err(PixelError::Size { expected: truth.dim(), found: prediction.dim() });
    }
    let mut counts = Array2::zeros((classes, classes));
    for ((row, column), &label) in truth.indexed_iter() {
        if label == IGNORED {
            continue;
        }
        let found = prediction[[row, column]];
        for (input, class) in [("truth", label), ("prediction", found)] {
            if usize::from(class) >= classes {
                return Err(PixelError::Class { input, row, column, classes, found: class });
            }
        }
        counts[[usize::from(label), usize::from(found)]] += 1;
    }
    Ok(counts)
}

/// The share of pixels that are right.
///
/// # Errors
/// [`ClassificationError::Confusion`]: a matrix that is not square or counts nothing; so for all functions here.
pub fn pixel_accuracy(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    crate::classification::accuracy(confusion)
}

/// The mean over classes that have pixels of the share of each that is right.
///
/// # Errors
/// As [`pixel_accuracy`].
pub fn mean_pixel_accuracy(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    balanced_accuracy(confusion)
}

/// Intersection over union (Jaccard index) of each class: right / (labelled + predicted − right); `None` for a class
/// neither labelled nor predicted.
///
/// # Errors
/// As [`pixel_accuracy`].
pub fn per_class_iou(
    confusion: ArrayView2<'_, u64>,
) -> Result<Vec<Option<f64>>, ClassificationError> {
    overlap(confusion, |right, both| right / (both - right))
}

/// The mean of [`per_class_iou`] over the classes that have one.
///
/// # Errors
/// As [`pixel_accuracy`].
pub fn mean_iou(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    per_class_iou(confusion).map(|all| mean(&all))
}

/// Dice's coefficient of each class, 2 · right / (labelled + predicted): its F1; `None` for a class neither labelled nor
/// predicted.
///
/// # Errors
/// As [`pixel_accuracy`].
pub fn per_class_dice(
    confusion: ArrayView2<'_, u64>,
) -> Result<Vec<Option<f64>>, ClassificationError> {
    overlap(confusion, |right, both| 2.0 * right / both)
}

/// The mean of [`per_class_dice`] over the classes that have one.
///
/// # Errors
/// As [`pixel_accuracy`].
pub fn mean_dice(confusion: ArrayView2<'_, u64>) -> Result<f64, ClassificationError> {
    per_class_dice(confusion).map(|all| mean(&all))
}

fn overlap(
    confusion: ArrayView2<'_, u64>,
    of: impl Fn(f64, f64) -> f64,
) -> Result<Vec<Option<f64>>, ClassificationError> {
    let sums = Sums::of(confusion)?;
    let class = |at: usize| {
        let both = sums.labelled[at] + sums.predicted[at];
        (both > 0.0).then(|| of(sums.right[at], both))
    };
    Ok((0..sums.right.len()).map(class).collect())
}

/// At least one class has pixels.
fn mean(all: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = all.iter().copied().flatten().collect();
    known.iter().sum::<f64>() / known.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overlaps_are_those_of_pixel_sets(pixels in prop::collection::vec((0_u8..5, 0_u8..4), 1..60)) {
            // The fifth class of the truth is ignored.
            let truth: Vec<u8> = pixels.iter().map(|p| if p.0 == 4 { IGNORED } else { p.0 }).collect();
            let found: Vec<u8> = pixels.iter().map(|p| p.1).collect();
            let n = truth.len();
            let as_mask = |v: &[u8]| Array2::from_shape_vec((1, n), v.to_vec()).unwrap();
            let counts = pixel_confusion(as_mask(&truth).view(), as_mask(&found).view(), 4).unwrap();
            if truth.iter().all(|&t| t == IGNORED) {
                prop_assert!(mean_iou(counts.view()).is_err());
                return Ok(());
            }
            let iou = per_class_iou(counts.view()).unwrap();
            let dice = per_class_dice(counts.view()).unwrap();
            for class in 0..4_u8 {
                let pairs = || truth.iter().zip(&found).filter(|p| *p.0 != IGNORED);
                let both = pairs().filter(|p| *p.0 == class && *p.1 == class).count() as f64;
                let any = pairs().filter(|p| *p.0 == class || *p.1 == class).count() as f64;
                let expected = (any > 0.0).then(|| both / any);
                prop_assert_eq!(iou[usize::from(class)], expected);
                match (dice[usize::from(class)], expected) {
                    (Some(dice), Some(iou)) => prop_assert!((dice - 2.0 * iou / (1.0 + iou)).abs() < 1e-12),
                    (dice, iou) => prop_assert_eq!(dice, iou),
                }
            }
        }
    }

    #[test]
    fn masks_that_do_not_fit_are_refused() {
        let mask = ndarray::arr2(&[[0_u8, 3]]);
        let error = pixel_confusion(mask.view(), mask.view(), 3).unwrap_err();
        assert_eq!(error.to_string(), "truth, row 0, column 1: expected a class below 3, found 3");
        let error = pixel_confusion(mask.view(), mask.t(), 4).unwrap_err();
        assert_eq!(error, PixelError::Size { expected: (1, 2), found: (2, 1) });
    }
}
