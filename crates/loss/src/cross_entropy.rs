//! Cross-entropy over classes, with labels or with soft targets.
//!
//! The rules are PyTorch's `CrossEntropyLoss`,
//! <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>. Label smoothing:
//! Szegedy et al., 2015, <https://arxiv.org/abs/1512.00567>; soft targets for mixup: Zhang et al.,
//! 2017, <https://arxiv.org/abs/1710.09412>. It takes logits, never probabilities.

use ndarray::{Array2, ArrayView2, Axis, Ix2, NdFloat};

use crate::graded::{finite, graded, labels_fit, same_shape, setting, within};
use crate::rows::{log_softmax, one_hot};
use crate::{Graded, LossError, Reduction};

/// Settings of [`cross_entropy`]; by default no weights, no smoothing, no label ignored, the mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// A weight w for each class, finite and at least 0.
    pub class_weights: Option<Vec<f32>>,
    /// ε, the share of the target spread evenly over all classes, in \[0, 1\].
    pub label_smoothing: f32,
    /// Rows with this label count for nothing; it need not be a class (255 in VOC's masks).
    pub ignore_index: Option<usize>,
    /// With labels, the mean is over the weights of the labels: Σ lossᵢ / Σ w(yᵢ). With soft targets
    /// it is over rows.
    pub reduction: Reduction,
}

impl CrossEntropy {
    pub(crate) fn check(&self, classes: usize) -> Result<(), LossError> {
        let share = |v| (0.0..=1.0).contains(&v);
        setting("label_smoothing", self.label_smoothing, "a number in [0, 1]", share)?;
        let Some(weights) = &self.class_weights else { return Ok(()) };
        if weights.len() != classes {
            return Err(LossError::Setting {
                field: "class_weights",
                expected: "one weight per class",
                found: format!("{} weights for {classes} classes", weights.len()),
            });
        }
        weights.iter().try_for_each(|&weight| crate::graded::not_negative("class_weights", weight))
    }

    fn weight(&self, class: usize) -> f64 {
        let weights = self.class_weights.as_ref();
        weights.and_then(|weights| weights.get(class)).map_or(1.0, |&w| f64::from(w))
    }

    /// q = w · ((1 − ε)·t + ε/C).
    fn weighted(&self, mut targets: Array2<f64>) -> Array2<f64> {
        let smoothing = f64::from(self.label_smoothing);
        let classes = targets.ncols() as f64;
        for ((_, class), t) in targets.indexed_iter_mut() {
            *t = self.weight(class) * ((1.0 - smoothing) * *t + smoothing / classes);
        }
        targets
    }
}

/// Cross-entropy of logits with labels.
///
/// lossᵢ = −Σ_c w_c·((1 − ε)·\[c = yᵢ\] + ε/C)·ln softmax(xᵢ)_c; the mean divides Σ lossᵢ by
/// Σ w(yᵢ) over rows that are not ignored, and is 0 where there are none (PyTorch: NaN).
///
/// - `logits`: `[N, C]`, finite.
/// - `labels`: `N` classes below `C`, or the ignored one.
/// - returns: at least 0, in nats; gradient `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{CrossEntropy, cross_entropy};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0], [2.0, 0.0]]);
/// let loss = cross_entropy(logits.view(), &[0, 255], &CrossEntropy {
///     ignore_index: Some(255),
///     ..CrossEntropy::default()
/// })?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-15);
/// assert_eq!(loss.gradient, ndarray::arr2(&[[-0.5, 0.5], [0.0, 0.0]]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn cross_entropy<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    labels: &[usize],
    config: &CrossEntropy,
) -> Result<Graded<T, Ix2>, LossError> {
    let (rows, classes) = logits.dim();
    config.check(classes)?;
    labels_fit(labels, rows, classes, config.ignore_index)?;
    let x = finite("logits", &logits)?;
    graded(of_labels(&x, labels, config))
}

/// The checked loss in f64.
pub(crate) fn of_labels(
    x: &Array2<f64>,
    labels: &[usize],
    config: &CrossEntropy,
) -> (f64, Array2<f64>) {
    let mut q = config.weighted(one_hot(labels, x.ncols()));
    let mut weight = 0.0;
    for (&label, mut q) in labels.iter().zip(q.rows_mut()) {
        if Some(label) == config.ignore_index {
            q.fill(0.0);
        } else {
            weight += config.weight(label);
        }
    }
    against(x, q, config.reduction.factor(weight))
}

/// Cross-entropy of logits with a distribution over the classes for each row.
///
/// lossᵢ = −Σ_c w_c·((1 − ε)·t_ic + ε/C)·ln softmax(xᵢ)_c; the mean is over the N rows.
///
/// - `logits`: `[N, C]`, finite.
/// - `targets`: `[N, C]`, at least 0; rows usually sum to 1, as mixup and distillation make them.
/// - returns: in nats; gradient with respect to the logits, `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit; `ignore_index` has no meaning here
/// and must be none.
///
/// # Examples
/// ```
/// use nearkin_loss::{CrossEntropy, soft_cross_entropy};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let targets = ndarray::arr2(&[[0.75, 0.25]]);
/// let loss = soft_cross_entropy(logits.view(), targets.view(), &CrossEntropy::default())?;
/// assert_eq!(loss.gradient, ndarray::arr2(&[[-0.25, 0.25]]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn soft_cross_entropy<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    targets: ArrayView2<'_, T>,
    config: &CrossEntropy,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check(logits.ncols())?;
    if let Some(label) = config.ignore_index {
        return Err(LossError::Setting {
            field: "ignore_index",
            expected: "none with soft targets",
            found: label.to_string(),
        });
    }
    same_shape("targets", logits.shape(), targets.shape())?;
    let x = finite("logits", &logits)?;
    let t = within("targets", &targets, "a share of at least 0", |v| v >= 0.0)?;
    graded(against(&x, config.weighted(t), config.reduction.factor(x.nrows() as f64)))
}

/// −factor · Σ q·ln softmax(x), with gradient factor · (softmax(x)·Σ_c q − q).
fn against(x: &Array2<f64>, q: Array2<f64>, factor: f64) -> (f64, Array2<f64>) {
    let l = log_softmax(x);
    let value = -factor * (&q * &l).sum();
    let totals = q.sum_axis(Axis(1)).insert_axis(Axis(1));
    let gradient = (l.mapv(f64::exp) * totals - q) * factor;
    // −0.0 · 0 rows would print as −0.
    (value + 0.0, gradient)
}
