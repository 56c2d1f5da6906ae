//! Binary cross-entropy: each class is a question of its own, as in multi-label sets such as VOC.
//!
//! The rules are PyTorch's `BCEWithLogitsLoss`,
//! <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html>. It takes logits;
//! for probabilities there is [`Deviation::BinaryCrossEntropy`](crate::Deviation).

use ndarray::{ArrayView2, Ix2, NdFloat, Zip};

use crate::graded::{finite, graded, not_negative, same_shape, within};
use crate::rows::{sigmoid, softplus};
use crate::{Graded, LossError, Reduction};

/// Settings of [`binary_cross_entropy`]; by default no weights and the mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BinaryCrossEntropy {
    /// A factor p on the positive part of each class, at least 0: above 1 for rare classes.
    pub pos_weight: Option<Vec<f32>>,
    /// The mean divides by Σ mask, or by N·C where there is no mask.
    pub reduction: Reduction,
}

impl BinaryCrossEntropy {
    pub(crate) fn check(&self, classes: usize) -> Result<(), LossError> {
        let Some(weights) = &self.pos_weight else { return Ok(()) };
        if weights.len() != classes {
            return Err(LossError::Setting {
                field: "pos_weight",
                expected: "one weight per class",
                found: format!("{} weights for {classes} classes", weights.len()),
            });
        }
        weights.iter().try_for_each(|&weight| not_negative("pos_weight", weight))
    }
}

/// Binary cross-entropy of logits with targets, class by class.
///
/// loss = −p·t·ln σ(x) − (1 − t)·ln σ(−x), times the mask.
///
/// - `logits`: `[N, C]`, finite.
/// - `targets`: `[N, C]`, in \[0, 1\].
/// - `mask`: `[N, C]`, at least 0: 0 where an answer is not to count, such as VOC's *difficult*
///   objects; other values are weights.
/// - returns: at least 0, in nats; gradient `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{BinaryCrossEntropy, binary_cross_entropy};
/// let (logits, targets) = (ndarray::arr2(&[[0.0_f64, 9.0]]), ndarray::arr2(&[[1.0, 0.0]]));
/// let mask = ndarray::arr2(&[[1.0, 0.0]]);
/// let config = BinaryCrossEntropy::default();
/// let loss = binary_cross_entropy(logits.view(), targets.view(), Some(mask.view()), &config)?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-15);
/// assert_eq!(loss.gradient, ndarray::arr2(&[[-0.5, 0.0]]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn binary_cross_entropy<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    targets: ArrayView2<'_, T>,
    mask: Option<ArrayView2<'_, T>>,
    config: &BinaryCrossEntropy,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check(logits.ncols())?;
    same_shape("targets", logits.shape(), targets.shape())?;
    let x = finite("logits", &logits)?;
    let t = within("targets", &targets, "a share in [0, 1]", |v| (0.0..=1.0).contains(&v))?;
    let mask = match mask {
        Some(mask) => {
            same_shape("mask", logits.shape(), mask.shape())?;
            Some(within("mask", &mask, "a weight of at least 0", |v| v >= 0.0)?)
        }
        None => None,
    };
    let weight = mask.as_ref().map_or(x.len() as f64, |mask| mask.sum());
    let factor = config.reduction.factor(weight);
    let mut value = 0.0;
    let mut gradient = x;
    for ((row, class), x) in gradient.indexed_iter_mut() {
        let t = t[[row, class]];
        let p = config.pos_weight.as_ref().map_or(1.0, |weights| f64::from(weights[class]));
        let weight = factor * mask.as_ref().map_or(1.0, |mask| mask[[row, class]]);
        value += weight * (p * t * softplus(-*x) + (1.0 - t) * softplus(*x));
        *x = weight * ((1.0 - t) * sigmoid(*x) - p * t * sigmoid(-*x));
    }
    graded((value, gradient))
}

/// Settings of [`sigmoid_focal`] and [`softmax_focal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Focal {
    /// γ, at least 0: how far well-classified examples are turned down; 0 is plain cross-entropy.
    pub gamma: f32,
    /// α in \[0, 1\], the weight of positives against 1 − α of negatives; only for the sigmoid.
    pub alpha: Option<f32>,
    /// A weight for each class, at least 0; only for the softmax.
    pub class_weights: Option<Vec<f32>>,
    /// Rows with this label count for nothing; only for the softmax.
    pub ignore_index: Option<usize>,
    /// The mean is over all elements (sigmoid), or over rows that are not ignored (softmax).
    /// RetinaNet's own rule, over the number of positives, is a sum divided by it.
    pub reduction: Reduction,
}

impl Default for Focal {
    /// γ = 2 and α = 0.25, as in the paper.
    fn default() -> Self {
        Self {
            gamma: 2.0,
            alpha: Some(0.25),
            class_weights: None,
            ignore_index: None,
            reduction: Reduction::Mean,
        }
    }
}

impl Focal {
    pub(crate) fn check(&self, classes: usize) -> Result<(), LossError> {
        not_negative("gamma", self.gamma)?;
        if let Some(alpha) = self.alpha {
            let share = |v| (0.0..=1.0).contains(&v);
            crate::graded::setting("alpha", alpha, "a number in [0, 1]", share)?;
        }
        self.as_cross_entropy().check(classes)
    }

    /// The weights and labels that the softmax form shares with cross-entropy.
    pub(crate) fn as_cross_entropy(&self) -> crate::CrossEntropy {
        crate::CrossEntropy {
            class_weights: self.class_weights.clone(),
            ignore_index: self.ignore_index,
            reduction: self.reduction,
            label_smoothing: 0.0,
        }
    }
}

/// Focal loss of logits with binary targets, class by class.
///
/// With z = x where the target is 1 and −x where it is 0: loss = α_t·(1 − σ(z))^γ·(−ln σ(z)),
/// α_t = α for positives and 1 − α for negatives. Lin et al., 2017,
/// <https://arxiv.org/abs/1708.02002>; the values are torchvision's `sigmoid_focal_loss`.
///
/// - `logits`, `targets`: `[N, C]`; targets are 0 or 1.
/// - returns: at least 0; gradient `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Focal, sigmoid_focal};
/// let (logits, targets) = (ndarray::arr2(&[[0.0_f64]]), ndarray::arr2(&[[1.0]]));
/// let loss = sigmoid_focal(logits.view(), targets.view(), &Focal::default())?;
/// assert!((loss.value - 0.25 * 0.25 * 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn sigmoid_focal<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    targets: ArrayView2<'_, T>,
    config: &Focal,
) -> Result<Graded<T, Ix2>, LossError> {
    let plain = Focal { class_weights: None, ignore_index: None, ..config.clone() };
    plain.check(logits.ncols())?;
    same_shape("targets", logits.shape(), targets.shape())?;
    let mut x = finite("logits", &logits)?;
    let binary = |v: f64| v.abs() < f64::MIN_POSITIVE || (v - 1.0).abs() < f64::EPSILON / 2.0;
    let targets = within("targets", &targets, "0 or 1", binary)?;
    let factor = config.reduction.factor(x.len() as f64);
    let gamma = f64::from(config.gamma);
    let mut value = 0.0;
    Zip::from(&mut x).and(&targets).for_each(|x, &t| {
        let sign = 2.0 * t - 1.0;
        let alpha = config.alpha.map_or(1.0, f64::from);
        let weight = factor * if t > 0.5 || config.alpha.is_none() { alpha } else { 1.0 - alpha };
        let z = sign * *x;
        let (miss, surprise) = (sigmoid(-z), softplus(-z));
        let turned_down = (-gamma * softplus(z)).exp();
        value += weight * turned_down * surprise;
        *x = -weight * sign * turned_down * (gamma * sigmoid(z) * surprise + miss);
    });
    graded((value, x))
}

/// Focal loss of logits with labels.
///
/// lossᵢ = w(yᵢ)·(1 − p)^γ·(−ln p) with p = softmax(xᵢ) at the label; the mean is over rows that are
/// not ignored. `alpha` takes no part: weigh the classes instead.
///
/// - `logits`: `[N, C]`, finite; `labels`: `N` classes below `C`, or the ignored one.
/// - returns: at least 0; gradient `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, values, labels or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Focal, softmax_focal};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let loss = softmax_focal(logits.view(), &[1], &Focal::default())?;
/// assert!((loss.value - 0.25 * 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn softmax_focal<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Focal,
) -> Result<Graded<T, Ix2>, LossError> {
    let (rows, classes) = logits.dim();
    config.check(classes)?;
    crate::graded::labels_fit(labels, rows, classes, config.ignore_index)?;
    let l = crate::rows::log_softmax(&finite("logits", &logits)?);
    let gamma = f64::from(config.gamma);
    let counted = labels.iter().filter(|&&label| Some(label) != config.ignore_index).count();
    let factor = config.reduction.factor(counted as f64);
    let (mut value, mut g) = (0.0, ndarray::Array2::zeros(l.dim()));
    for (row, &label) in labels.iter().enumerate() {
        if Some(label) == config.ignore_index {
            continue;
        }
        let weight =
            factor * config.class_weights.as_ref().map_or(1.0, |weights| f64::from(weights[label]));
        let log_p = l[[row, label]];
        let miss = -log_p.exp_m1();
        value -= weight * miss.powf(gamma) * log_p;
        // At p = 1 the term γ·(1 − p)^(γ−1)·p·ln p is 0, though its first factor may be infinite.
        let bend =
            if miss > 0.0 { gamma * miss.powf(gamma - 1.0) * log_p.exp() * log_p } else { 0.0 };
        g[[row, label]] = weight * (bend - miss.powf(gamma));
    }
    graded((value + 0.0, crate::rows::log_softmax_back(&l, g)))
}
