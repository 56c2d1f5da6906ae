//! Why a loss could not be computed.

use thiserror::Error;

/// An input or setting that a loss does not take: where, what was expected, what was found.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LossError {
    /// Inputs that do not fit together.
    #[error("{input}: expected {expected}, found {found}")]
    Shape {
        /// Which argument.
        input: &'static str,
        /// The shape or length that fits.
        expected: String,
        /// The one given.
        found: String,
    },
    /// A label without a class.
    #[error("label {row}: expected a class below {classes}, found {found}")]
    Label {
        /// Its position.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// An index of a row that is not there.
    #[error("{input} {position}: expected a row below {rows}, found {found}")]
    Index {
        /// Which argument.
        input: &'static str,
        /// Position in it.
        position: usize,
        /// Number of rows.
        rows: usize,
        /// The index.
        found: usize,
    },
    /// A value that is infinite or not a number.
    #[error("{input}{index:?}: expected a finite value, found {found}")]
    NotFinite {
        /// Which argument.
        input: &'static str,
        /// Where in it.
        index: Vec<usize>,
        /// The value.
        found: f64,
    },
    /// A value outside what the argument may hold.
    #[error("{input}{index:?}: expected {expected}, found {found}")]
    Range {
        /// Which argument.
        input: &'static str,
        /// Where in it.
        index: Vec<usize>,
        /// What it may hold.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// A setting outside its range.
    #[error("{field}: expected {expected}, found {found}")]
    Setting {
        /// The field of the configuration.
        field: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// The result is too large for the type of the inputs.
    #[error("the loss or its gradient overflows: {found}")]
    Overflow {
        /// The result in f64.
        found: f64,
    },
}
