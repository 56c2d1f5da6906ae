//! Why labels and scores have no measure.

use thiserror::Error;

/// Why a classifier could not be measured.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ClassificationError {
    /// There is no image.
    #[error("labels: expected at least one, found none")]
    Empty,
    /// There are not as many values as labels.
    #[error("{input}: expected {expected}, one per label, found {found}")]
    Count {
        /// Which argument.
        input: &'static str,
        /// Number of labels.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A label names no class.
    #[error("{input} {at}: expected a class below {classes}, found {found}")]
    Label {
        /// Labels or predictions.
        input: &'static str,
        /// Its place.
        at: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// A score is not a number.
    #[error("scores, row {row}, class {class}: expected a number, found NaN")]
    NotANumber {
        /// The row.
        row: usize,
        /// The class; 0 where there is one score a row.
        class: usize,
    },
    /// All labels are of one side, so there is no curve.
    #[error("labels of class {class}: expected positive and negative ones, found only {found}")]
    OneSided {
        /// The class; 1 where there are two.
        class: usize,
        /// `positive` or `negative`.
        found: &'static str,
    },
    /// A value is no probability.
    #[error("probabilities, row {row}, class {class}: expected a value from 0 to 1, found {found}")]
    Probability {
        /// The row.
        row: usize,
        /// The class.
        class: usize,
        /// The value.
        found: f32,
    },
    /// A row's probabilities do not sum to 1.
    #[error("probabilities, row {row}: expected a sum of 1, found {found}")]
    Sum {
        /// The row.
        row: usize,
        /// Its sum.
        found: f64,
    },
    /// There are no bins.
    #[error("bins: expected at least 1, found 0")]
    Bins,
    /// The matrix is not square or counts nothing.
    #[error(
        "confusion matrix: expected a square matrix with counts, found {rows} × {columns} that sum to {total}"
    )]
    Confusion {
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// What it sums to.
        total: u64,
    },
}

/// As many values as labels, and at least one.
pub(super) fn same_count(
    input: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), ClassificationError> {
    if expected != found {
        return Err(ClassificationError::Count { input, expected, found });
    }
    if expected == 0 { Err(ClassificationError::Empty) } else { Ok(()) }
}

/// Every label below `classes`.
pub(super) fn known(
    input: &'static str,
    labels: &[usize],
    classes: usize,
) -> Result<(), ClassificationError> {
    match labels.iter().enumerate().find(|&(_, &label)| label >= classes) {
        Some((at, &found)) => Err(ClassificationError::Label { input, at, classes, found }),
        None => Ok(()),
    }
}
