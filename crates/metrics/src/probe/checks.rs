//! What a probe refuses, before anything is computed.

use ndarray::ArrayView2;
use thiserror::Error;

use super::Probe;
use crate::{AccuracyError, Labelled};

/// Why no probe could be fitted.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ProbeError {
    /// A setting is outside its range.
    #[error("{field}: expected {expected}, found {found}")]
    Setting {
        /// The field of [`Probe`].
        field: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// There are not as many training labels as embeddings.
    #[error("training labels: expected {expected}, one per embedding, found {found}")]
    Count {
        /// Embeddings.
        expected: usize,
        /// Labels.
        found: usize,
    },
    /// A label names no class.
    #[error("training label {row}: expected a class below {classes}, found {found}")]
    Label {
        /// Its row.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// There is nothing to tell apart.
    #[error("classes: expected at least 2, found {found}")]
    Classes {
        /// Number of classes.
        found: usize,
    },
    /// A class cannot be both fitted and validated.
    #[error("class {class}: expected at least 2 training embeddings, found {found}")]
    TooFew {
        /// The class.
        class: usize,
        /// Its members.
        found: usize,
    },
    /// The two parts have embeddings of different lengths.
    #[error("test embeddings: expected {expected} columns as in training, found {found}")]
    Width {
        /// Columns in training.
        expected: usize,
        /// Columns of the queries.
        found: usize,
    },
    /// An embedding is infinite or not a number.
    #[error("{part} embedding {row}, column {column}: expected a finite value, found {found}")]
    NotFinite {
        /// `training` or `test`.
        part: &'static str,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        found: f32,
    },
    /// The optimiser gave up.
    #[error("fit with alpha {alpha}: {reason}")]
    Solver {
        /// The α being fitted.
        alpha: f64,
        /// argmin's reason.
        reason: String,
    },
    /// The validation logits have no accuracy.
    #[error("validation part: {0}")]
    Accuracy(#[from] AccuracyError),
}

pub(super) fn no_alpha() -> ProbeError {
    ProbeError::Setting { field: "alphas", expected: "at least 1 value", found: 0.0 }
}

pub(super) fn check_settings(probe: &Probe) -> Result<(), ProbeError> {
    let is_positive = |v: f64| v.is_finite() && v > 0.0;
    let above_0 = "a finite number above 0";
    let wrong = |field, expected, found| Err(ProbeError::Setting { field, expected, found });
    if probe.alphas.is_empty() {
        return Err(no_alpha());
    }
    if let Some(&found) = probe.alphas.iter().find(|&&alpha| !is_positive(alpha)) {
        return wrong("alphas", above_0, found);
    }
    let share = probe.validation_share;
    if !(share > 0.0 && share < 1.0) {
        return wrong("validation_share", "a number above 0 and below 1", share);
    }
    if probe.max_iterations == 0 {
        return wrong("max_iterations", "at least 1", 0.0);
    }
    if !is_positive(probe.tolerance) {
        return wrong("tolerance", above_0, probe.tolerance);
    }
    Ok(())
}

pub(super) fn check_labels(train: Labelled<'_>, classes: usize) -> Result<(), ProbeError> {
    let Labelled { embeddings, labels } = train;
    if labels.len() != embeddings.nrows() {
        return Err(ProbeError::Count { expected: embeddings.nrows(), found: labels.len() });
    }
    if classes < 2 {
        return Err(ProbeError::Classes { found: classes });
    }
    let mut counts = vec![0; classes];
    for (row, &label) in labels.iter().enumerate() {
        match counts.get_mut(label) {
            Some(count) => *count += 1,
            None => return Err(ProbeError::Label { row, classes, found: label }),
        }
    }
    match counts.iter().enumerate().find(|&(_, &count)| count < 2) {
        Some((class, &found)) => Err(ProbeError::TooFew { class, found }),
        None => Ok(()),
    }
}

pub(super) fn check_embeddings(
    train: ArrayView2<'_, f32>,
    queries: ArrayView2<'_, f32>,
) -> Result<(), ProbeError> {
    if train.ncols() != queries.ncols() {
        return Err(ProbeError::Width { expected: train.ncols(), found: queries.ncols() });
    }
    check_finite(train, "training")?;
    check_finite(queries, "test")
}

fn check_finite(rows: ArrayView2<'_, f32>, part: &'static str) -> Result<(), ProbeError> {
    match rows.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), &found)) => Err(ProbeError::NotFinite { part, row, column, found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_probe;
    use ndarray::{Array2, arr2};

    fn check(probe: &Probe, rows: &Array2<f32>, labels: &[usize], expected_error: &str) {
        let train = Labelled { embeddings: rows.view(), labels };
        let error = linear_probe(train, rows.view(), 2, probe).unwrap_err();
        assert_eq!(error.to_string(), expected_error);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let rows = arr2(&[[0.0], [1.0], [2.0], [3.0]]);
        let refused = |change: &dyn Fn(&mut Probe), expected_error: &str| {
            let mut probe = Probe::default();
            change(&mut probe);
            check(&probe, &rows, &[0, 0, 1, 1], expected_error);
        };
        refused(&|p| p.alphas.clear(), "alphas: expected at least 1 value, found 0");
        let above_0 = "expected a finite number above 0, found";
        refused(&|p| p.alphas.push(0.0), &format!("alphas: {above_0} 0"));
        refused(&|p| p.alphas.push(f64::NAN), &format!("alphas: {above_0} NaN"));
        refused(&|p| p.tolerance = -1.0, &format!("tolerance: {above_0} -1"));
        refused(&|p| p.max_iterations = 0, "max_iterations: expected at least 1, found 0");
        refused(
            &|p| p.validation_share = 1.0,
            "validation_share: expected a number above 0 and below 1, found 1",
        );
    }

    #[test]
    fn labels_and_embeddings_that_do_not_fit_are_refused() {
        let probe = Probe::default();
        let mut rows = arr2(&[[0.0, 0.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]);
        check(&probe, &rows, &[0, 0, 1], "training labels: expected 4, one per embedding, found 3");
        check(&probe, &rows, &[0, 0, 2, 1], "training label 2: expected a class below 2, found 2");
        check(
            &probe,
            &rows,
            &[0, 0, 0, 1],
            "class 1: expected at least 2 training embeddings, found 1",
        );
        rows[[3, 1]] = f32::NEG_INFINITY;
        check(
            &probe,
            &rows,
            &[0, 0, 1, 1],
            "training embedding 3, column 1: expected a finite value, found -inf",
        );
        let train = Labelled { embeddings: rows.view(), labels: &[0; 4] };
        let one_class = linear_probe(train, rows.view(), 1, &probe).unwrap_err();
        assert_eq!(one_class, ProbeError::Classes { found: 1 });
    }
}
