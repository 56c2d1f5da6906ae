//! What several losses are made of.

use nearkin_nn::{Scope, Value};
use nearkin_onnx::Shape;

use crate::{LossError, Reduction};

/// Reports a setting that does not fit.
pub(super) fn refuse(s: &Scope, error: &LossError) -> Value {
    match error {
        LossError::Setting { field, expected, found } => s.reject(field, *expected, found.clone()),
        other => s.reject("loss", "settings that fit", other.to_string()),
    }
}

/// `total` over a weight, and 0 where the weight is 0: the total is 0 there as well.
pub(super) fn share(s: &Scope, total: Value, weight: Value) -> Value {
    s.div(total, s.max(weight, s.scalar(f32::MIN_POSITIVE)))
}

/// The mean of all terms, or their sum.
pub(super) fn reduce(s: &Scope, terms: Value, reduction: Reduction) -> Value {
    match reduction {
        Reduction::Mean => s.mean_all(terms),
        Reduction::Sum => s.sum_all(terms),
    }
}

/// Σ terms, by Σ `weights` for a mean.
pub(super) fn reduce_by(s: &Scope, terms: Value, weights: Value, reduction: Reduction) -> Value {
    let total = s.sum_all(terms);
    match reduction {
        Reduction::Mean => share(s, total, s.sum_all(weights)),
        Reduction::Sum => total,
    }
}

/// Σ x² over the last dimension, which stays; at least 1e-24.
pub(super) fn squared_norm(s: &Scope, x: Value) -> Value {
    s.max(s.sum_keep(s.mul(x, x), &[-1]), s.scalar(crate::rows::SMALLEST_SQUARE as f32))
}

/// Rows divided by their norm.
pub(super) fn normalise(s: &Scope, x: Value) -> Value {
    s.div(x, s.sqrt(squared_norm(s, x)))
}

/// 1 − x.
pub(super) fn complement(s: &Scope, x: Value) -> Value {
    s.sub(s.scalar(1.0), x)
}

/// x².
pub(super) fn square(s: &Scope, x: Value) -> Value {
    s.mul(x, x)
}

/// The number of classes along `axis`; where it is open, a mistake is reported and it is 0.
pub(super) fn classes_of(s: &Scope, x: Value, axis: isize) -> usize {
    let classes = s.size(x, axis);
    if classes == 0 && x.id().is_some() {
        s.reject("loss", "a known number of classes", Shape(s.dims(x)).to_string());
    }
    classes
}
