//! Top-k accuracy of class scores.

use ndarray::ArrayView2;
use thiserror::Error;

use crate::statistics::{Interval, wilson_interval};

/// How many of how many were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Images whose class was among the first k.
    pub correct: usize,
    /// Images in all, at least 1.
    pub total: usize,
}

impl Accuracy {
    /// The share that was right, in \[0, 1\].
    pub fn share(self) -> f64 {
        self.correct as f64 / self.total as f64
    }

    /// The 95 % Wilson interval of the share ([`wilson_interval`]).
    pub fn interval(self) -> Interval {
        wilson_interval(self.correct, self.total)
    }
}

/// Why scores have no accuracy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AccuracyError {
    /// There is no image.
    #[error("scores: expected at least one row, found none")]
    Empty,
    /// There are not as many labels as rows of scores.
    #[error("labels: expected {expected}, one per row of scores, found {found}")]
    Count {
        /// Rows of scores.
        expected: usize,
        /// Number of labels.
        found: usize,
    },
    /// A label names no column.
    #[error("label {row}: expected a class below {classes}, found {found}")]
    Label {
        /// Its row.
        row: usize,
        /// Columns of scores.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// A score is not a number.
    #[error("scores, row {row}, class {class}: expected a number, found NaN")]
    NotANumber {
        /// The row.
        row: usize,
        /// The column.
        class: usize,
    },
    /// k is 0 or above the number of classes.
    #[error("k: expected 1 to {classes}, found {found}")]
    TopK {
        /// Columns of scores.
        classes: usize,
        /// The k given.
        found: usize,
    },
}

/// The share of rows whose label is among the `k` highest scores.
///
/// Ties go to the lower class: a label of class c counts if fewer than k classes have a higher
/// score, or the same score and a lower index. So a constant row predicts class 0, and a model that
/// says nothing earns no more than its share. Cost: O(n · classes).
///
/// - `scores`: `[n, classes]`; infinite values are ordered, NaN is refused.
/// - `labels`: `[n]`, each below `classes`.
/// - `k`: 1 ≤ k ≤ classes.
///
/// # Errors
/// The first of [`AccuracyError`]'s conditions that holds.
///
/// # Examples
/// ```
/// use nearkin_metrics::top_k_accuracy;
/// let scores = ndarray::arr2(&[[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]);
/// assert_eq!(top_k_accuracy(scores.view(), &[1, 1], 1)?.correct, 1);
/// assert_eq!(top_k_accuracy(scores.view(), &[1, 1], 2)?.correct, 2);
/// # Ok::<(), nearkin_metrics::AccuracyError>(())
/// ```
pub fn top_k_accuracy(
    scores: ArrayView2<'_, f32>,
    labels: &[usize],
    k: usize,
) -> Result<Accuracy, AccuracyError> {
    let (n, classes) = scores.dim();
    if n == 0 {
        return Err(AccuracyError::Empty);
    }
    if labels.len() != n {
        return Err(AccuracyError::Count { expected: n, found: labels.len() });
    }
    if k == 0 || k > classes {
        return Err(AccuracyError::TopK { classes, found: k });
    }
    let mut correct = 0;
    for (row, (scores, &label)) in scores.rows().into_iter().zip(labels).enumerate() {
        if label >= classes {
            return Err(AccuracyError::Label { row, classes, found: label });
        }
        if let Some(class) = scores.iter().position(|score| score.is_nan()) {
            return Err(AccuracyError::NotANumber { row, class });
        }
        let own = scores[label];
        let is_before =
            |(class, score): (usize, &f32)| *score > own || (*score >= own && class < label);
        let before = scores.iter().enumerate().filter(|&pair| is_before(pair)).count();
        correct += usize::from(before < k);
    }
    Ok(Accuracy { correct, total: n })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lower_class() {
        let flat = Array2::zeros((3, 3));
        assert_eq!(top_k_accuracy(flat.view(), &[0, 1, 2], 1).unwrap().correct, 1);
        assert_eq!(top_k_accuracy(flat.view(), &[0, 1, 2], 2).unwrap().correct, 2);
        let infinite = arr2(&[[f32::NEG_INFINITY, f32::INFINITY]]);
        assert_eq!(top_k_accuracy(infinite.view(), &[1], 1).unwrap().correct, 1);
    }

    fn check(scores: &Array2<f32>, labels: &[usize], k: usize, expected_error: &str) {
        let error = top_k_accuracy(scores.view(), labels, k).unwrap_err();
        assert_eq!(error.to_string(), expected_error);
    }

    #[test]
    fn what_has_no_accuracy_is_refused() {
        let scores = arr2(&[[0.0, 1.0], [1.0, f32::NAN]]);
        check(&scores, &[1, 0], 1, "scores, row 1, class 1: expected a number, found NaN");
        check(&scores, &[1], 1, "labels: expected 2, one per row of scores, found 1");
        check(&scores, &[2, 0], 1, "label 0: expected a class below 2, found 2");
        check(&scores, &[1, 0], 5, "k: expected 1 to 2, found 5");
        check(&Array2::zeros((0, 2)), &[], 1, "scores: expected at least one row, found none");
    }

    proptest! {
        #[test]
        fn accuracy_is_that_of_a_stable_sort(
            values in prop::collection::vec(0_u8..5, 24), labels in prop::collection::vec(0_usize..6, 4),
            k in 1_usize..=6,
        ) {
            let scores = Array2::from_shape_vec((4, 6), values).unwrap().mapv(f32::from);
            let mut correct = 0;
            for (row, label) in scores.rows().into_iter().zip(&labels) {
                let mut classes: Vec<usize> = (0..6).collect();
                classes.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
                correct += usize::from(classes[..k].contains(label));
            }
            let found = top_k_accuracy(scores.view(), &labels, k).unwrap();
            prop_assert_eq!(found, Accuracy { correct, total: 4 });
        }
    }
}
