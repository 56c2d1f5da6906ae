//! A loss with its gradients, and the way from and to the caller's type of number.

use ndarray::{Array, ArrayView, Dimension, NdFloat};

use crate::LossError;

/// A loss and its gradient with respect to one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded<T, D: Dimension> {
    /// The loss.
    pub value: T,
    /// Its gradient, in the shape of the input.
    pub gradient: Array<T, D>,
}

/// A loss and its gradients with respect to two inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct GradedPair<T, D: Dimension> {
    /// The loss.
    pub value: T,
    /// Its gradient with respect to the first input, in that input's shape.
    pub first: Array<T, D>,
    /// Its gradient with respect to the second input, in that input's shape.
    pub second: Array<T, D>,
}

/// How the terms of a loss become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their mean; what counts as a term, and with which weight, is stated by each loss. 0 over nothing.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// The factor on the sum of terms that together weigh `weight`.
    pub(crate) fn factor(self, weight: f64) -> f64 {
        match self {
            Self::Sum => 1.0,
            Self::Mean => share_of(weight),
        }
    }
}

/// 1 / `weight`, and 0 for nothing: a mean over nothing is 0.
pub(crate) fn share_of(weight: f64) -> f64 {
    if weight > 0.0 { weight.recip() } else { 0.0 }
}

/// The input as f64, all values finite.
pub(crate) fn finite<T: NdFloat, D: Dimension>(
    input: &'static str,
    x: &ArrayView<'_, T, D>,
) -> Result<Array<f64, D>, LossError> {
    let wide = x.mapv(|v| v.to_f64().unwrap_or(f64::NAN));
    if wide.iter().all(|v| v.is_finite()) {
        return Ok(wide);
    }
    let found = wide.view().into_dyn();
    let first = found.indexed_iter().find(|(_, v)| !v.is_finite());
    let (index, found) = first.map_or((Vec::new(), f64::NAN), |(index, &v)| {
        (ndarray::IntoDimension::into_dimension(index).as_array_view().to_vec(), v)
    });
    Err(LossError::NotFinite { input, index, found })
}

/// Values as f64, each finite and inside what `fits` allows.
pub(crate) fn within<T: NdFloat, D: Dimension>(
    input: &'static str,
    x: &ArrayView<'_, T, D>,
    expected: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<Array<f64, D>, LossError> {
    let wide = finite(input, x)?;
    let view = wide.view().into_dyn();
    if let Some((index, &found)) = view.indexed_iter().find(|(_, v)| !fits(**v)) {
        let index = ndarray::IntoDimension::into_dimension(index).as_array_view().to_vec();
        return Err(LossError::Range { input, index, expected, found });
    }
    Ok(wide)
}

/// Refuses a shape other than `expected`.
pub(crate) fn same_shape(
    input: &'static str,
    expected: &[usize],
    found: &[usize],
) -> Result<(), LossError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(LossError::Shape { input, expected, found })
}

/// Refuses a number of values other than one per row.
pub(crate) fn one_per_row(input: &'static str, rows: usize, found: usize) -> Result<(), LossError> {
    if rows == found {
        return Ok(());
    }
    let (expected, found) = (format!("{rows}, one per row"), found.to_string());
    Err(LossError::Shape { input, expected, found })
}

/// Refuses labels that are neither below `classes` nor the one that is ignored.
pub(crate) fn labels_fit(
    labels: &[usize],
    rows: usize,
    classes: usize,
    ignored: Option<usize>,
) -> Result<(), LossError> {
    one_per_row("labels", rows, labels.len())?;
    let wrong = |&(_, &label): &(usize, &usize)| label >= classes && Some(label) != ignored;
    match labels.iter().enumerate().find(wrong) {
        Some((row, &found)) => Err(LossError::Label { row, classes, found }),
        None => Ok(()),
    }
}

/// Refuses a setting that is not finite or that `fits` does not allow.
pub(crate) fn setting(
    field: &'static str,
    value: f32,
    expected: &'static str,
    fits: impl Fn(f32) -> bool,
) -> Result<(), LossError> {
    if value.is_finite() && fits(value) {
        return Ok(());
    }
    Err(LossError::Setting { field, expected, found: value.to_string() })
}

/// A setting that must be above 0.
pub(crate) fn positive(field: &'static str, value: f32) -> Result<(), LossError> {
    setting(field, value, "a finite number above 0", |v| v > 0.0)
}

/// A setting that must be at least 0.
pub(crate) fn not_negative(field: &'static str, value: f32) -> Result<(), LossError> {
    setting(field, value, "a finite number of at least 0", |v| v >= 0.0)
}

fn narrow<T: NdFloat>(value: f64) -> Result<T, LossError> {
    let fits = T::from(value).filter(|v| v.is_finite());
    fits.ok_or(LossError::Overflow { found: value })
}

fn narrow_all<T: NdFloat, D: Dimension>(values: &Array<f64, D>) -> Result<Array<T, D>, LossError> {
    let narrowed = values.mapv(|v| T::from(v).unwrap_or_else(T::nan));
    match narrowed.iter().zip(values).find(|(v, _)| !v.is_finite()) {
        Some((_, &found)) => Err(LossError::Overflow { found }),
        None => Ok(narrowed),
    }
}

/// The result in the caller's type, rounded once.
pub(crate) fn graded<T: NdFloat, D: Dimension>(
    (value, gradient): (f64, Array<f64, D>),
) -> Result<Graded<T, D>, LossError> {
    Ok(Graded { value: narrow(value)?, gradient: narrow_all(&gradient)? })
}

/// The result in the caller's type, rounded once.
pub(crate) fn graded_pair<T: NdFloat, D: Dimension>(
    (value, first, second): (f64, Array<f64, D>, Array<f64, D>),
) -> Result<GradedPair<T, D>, LossError> {
    let (first, second) = (narrow_all(&first)?, narrow_all(&second)?);
    Ok(GradedPair { value: narrow(value)?, first, second })
}
