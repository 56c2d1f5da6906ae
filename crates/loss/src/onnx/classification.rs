//! Cross-entropies and focal losses.

use nearkin_nn::{Scope, Value};

use super::parts::{classes_of, complement, reduce, reduce_by, refuse};
use crate::{BinaryCrossEntropy, CrossEntropy, Focal};

/// [`crate::cross_entropy`] of `logits [N, C]` and `labels [N]`, i64.
pub fn cross_entropy(s: &Scope, logits: Value, labels: Value, config: &CrossEntropy) -> Value {
    let classes = classes_of(s, logits, -1);
    if let Err(error) = config.check(classes) {
        return refuse(s, &error);
    }
    let hot = s.one_hot(labels, classes);
    let mut terms = surprises(s, logits, hot, config);
    let mut weights = config.class_weights.as_ref().map(|w| {
        let w = s.tensor(&[classes], w);
        s.sum(s.mul(hot, w), &[1])
    });
    if let Some(counted) = counted(s, labels, config.ignore_index) {
        terms = s.mul(terms, counted);
        weights = Some(weights.map_or(counted, |weights| s.mul(weights, counted)));
    }
    match weights {
        Some(weights) => reduce_by(s, terms, weights, config.reduction),
        None => reduce(s, terms, config.reduction),
    }
}

/// [`crate::soft_cross_entropy`] of `logits` and `targets`, both `[N, C]`.
pub fn soft_cross_entropy(
    s: &Scope,
    logits: Value,
    targets: Value,
    config: &CrossEntropy,
) -> Value {
    if let Err(error) = config.check(classes_of(s, logits, -1)) {
        return refuse(s, &error);
    }
    if let Some(label) = config.ignore_index {
        return s.reject("ignore_index", "none with soft targets", label.to_string());
    }
    reduce(s, surprises(s, logits, targets, config), config.reduction)
}

/// −Σ_c w·((1 − ε)·t + ε/C)·ln softmax(x), `[N]`.
fn surprises(s: &Scope, logits: Value, targets: Value, config: &CrossEntropy) -> Value {
    let classes = s.width(logits);
    let mut q = targets;
    if config.label_smoothing > 0.0 {
        let smoothing = config.label_smoothing;
        let spread = s.scalar(smoothing / classes as f32);
        q = s.add(s.scale(q, 1.0 - smoothing), spread);
    }
    if let Some(weights) = &config.class_weights {
        q = s.mul(q, s.tensor(&[classes], weights));
    }
    s.neg(s.sum(s.mul(q, s.log_softmax(logits)), &[1]))
}

/// 1 for rows that count, `[N]`; none where all do.
pub(super) fn counted(s: &Scope, labels: Value, ignored: Option<usize>) -> Option<Value> {
    let ignored = s.ints(&[i64::try_from(ignored?).unwrap_or(i64::MAX)]);
    Some(s.to_f32(s.not(s.equal(labels, ignored))))
}

/// [`crate::binary_cross_entropy`] of `logits`, `targets` and `mask`, all `[N, C]`.
pub fn binary_cross_entropy(
    s: &Scope,
    logits: Value,
    targets: Value,
    mask: Option<Value>,
    config: &BinaryCrossEntropy,
) -> Value {
    let classes = classes_of(s, logits, -1);
    if let Err(error) = config.check(classes) {
        return refuse(s, &error);
    }
    let mut positive = s.mul(targets, s.softplus(s.neg(logits)));
    if let Some(weights) = &config.pos_weight {
        positive = s.mul(positive, s.tensor(&[classes], weights));
    }
    let negative = s.mul(complement(s, targets), s.softplus(logits));
    let terms = s.add(positive, negative);
    match mask {
        Some(mask) => reduce_by(s, s.mul(terms, mask), mask, config.reduction),
        None => reduce(s, terms, config.reduction),
    }
}

/// [`crate::sigmoid_focal`] of `logits` and `targets`, both `[N, C]`.
pub fn sigmoid_focal(s: &Scope, logits: Value, targets: Value, config: &Focal) -> Value {
    let plain = Focal { class_weights: None, ignore_index: None, ..config.clone() };
    if let Err(error) = plain.check(classes_of(s, logits, -1)) {
        return refuse(s, &error);
    }
    let sign = s.sub(s.scale(targets, 2.0), s.scalar(1.0));
    let z = s.mul(logits, sign);
    let turned_down = s.exp(s.scale(s.softplus(z), -config.gamma));
    let mut terms = s.mul(turned_down, s.softplus(s.neg(z)));
    if let Some(alpha) = config.alpha {
        let rest = s.scale(complement(s, targets), 1.0 - alpha);
        terms = s.mul(terms, s.add(s.scale(targets, alpha), rest));
    }
    reduce(s, terms, config.reduction)
}

/// [`crate::softmax_focal`] of `logits [N, C]` and `labels [N]`, i64.
pub fn softmax_focal(s: &Scope, logits: Value, labels: Value, config: &Focal) -> Value {
    let classes = classes_of(s, logits, -1);
    if let Err(error) = config.check(classes) {
        return refuse(s, &error);
    }
    let hot = s.one_hot(labels, classes);
    let log_p = s.sum(s.mul(hot, s.log_softmax(logits)), &[1]);
    // The power has no slope at 0, where p rounds to 1.
    let miss = s.max(complement(s, s.exp(log_p)), s.scalar(1e-12));
    let mut terms = s.neg(s.mul(s.pow(miss, config.gamma), log_p));
    if let Some(weights) = &config.class_weights {
        terms = s.mul(terms, s.sum(s.mul(hot, s.tensor(&[classes], weights)), &[1]));
    }
    match counted(s, labels, config.ignore_index) {
        Some(counted) => reduce_by(s, s.mul(terms, counted), counted, config.reduction),
        None => reduce(s, terms, config.reduction),
    }
}
