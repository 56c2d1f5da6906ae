//! Why an augmentation cannot be made or run.

use thiserror::Error;

use crate::ResizeError;

/// What is wrong with a configuration, or with what it is applied to.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AugmentError {
    /// A number is outside its range or not finite.
    #[error("{field}: expected {expected}, found {found}")]
    Number {
        /// Which field.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// The number given.
        found: f64,
    },
    /// A range is empty, reversed, or reaches outside its bounds.
    #[error("{field}: expected {expected}, found {low} to {high}")]
    Range {
        /// Which field.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// The lower end given.
        low: f64,
        /// The upper end given.
        high: f64,
    },
    /// A count is outside its range.
    #[error("{field}: expected {expected}, found {found}")]
    Count {
        /// Which field.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// The count given.
        found: usize,
    },
    /// A part of the text form of [`crate::RandAugment`] cannot be read.
    #[error("{text:?}: expected {expected}, found {section:?}")]
    Text {
        /// The whole text.
        text: String,
        /// What a section may be.
        expected: &'static str,
        /// The section that is not.
        section: String,
    },
    /// The output has another length than the configuration asks for.
    #[error("out: expected {expected} values (C · H · W), found {found}")]
    Output {
        /// C · H · W.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The targets do not fit the images or the classes.
    #[error("targets: expected {expected:?} (images, classes), found {found:?}")]
    Targets {
        /// Images and classes.
        expected: (usize, usize),
        /// Rows and columns given.
        found: (usize, usize),
    },
    /// A label names no class.
    #[error("label of image {image}: expected a class below {classes}, found {found}")]
    Label {
        /// Its place in the batch.
        image: usize,
        /// Number of classes.
        classes: usize,
        /// The label given.
        found: usize,
    },
    /// A side is empty or too long.
    #[error(transparent)]
    Size(#[from] ResizeError),
}

pub(super) fn check_number(
    field: &'static str,
    found: f64,
    expected: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<(), AugmentError> {
    if found.is_finite() && holds(found) {
        return Ok(());
    }
    Err(AugmentError::Number { field, expected, found })
}

pub(super) fn check_probability(field: &'static str, found: f64) -> Result<(), AugmentError> {
    check_number(field, found, "a probability from 0 to 1", |p| (0.0..=1.0).contains(&p))
}

/// `low ≤ high`, both finite and allowed.
pub(super) fn check_range(
    field: &'static str,
    (low, high): (f64, f64),
    expected: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<(), AugmentError> {
    if low.is_finite() && high.is_finite() && low <= high && holds(low) && holds(high) {
        return Ok(());
    }
    Err(AugmentError::Range { field, expected, low, high })
}
