//! Dice, Jaccard and Tversky losses: one formula.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Ix1, Ix2, NdFloat};

use super::Classes;
use crate::graded::{finite, graded, labels_fit, not_negative, setting, share_of, within};
use crate::rows::{log_softmax, log_softmax_back, one_hot, sigmoid};
use crate::{Graded, LossError};

/// Settings of [`overlap`] and [`binary_overlap`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// α, at least 0: the weight of false positives.
    pub false_positives: f32,
    /// β, at least 0: the weight of false negatives.
    pub false_negatives: f32,
    /// Added above and below the line, at least 0: no division by 0, and softer for small regions.
    pub smooth: f32,
    /// γ, above 0: 1 − T is raised to it. 1 is the plain loss; the focal Tversky loss (Abraham and
    /// Khan, 2018, <https://arxiv.org/abs/1810.07842>) takes 3/4.
    pub gamma: f32,
    /// Which classes count.
    pub classes: Classes,
    /// Pixels with this label count for nothing.
    pub ignore_index: Option<usize>,
}

impl Overlap {
    /// T = 2|A∩B| / (|A| + |B|): α = β = ½. Milletari et al., 2016, <https://arxiv.org/abs/1606.04797>
    /// (whose squares in the denominator are left out, as in most later work).
    pub const DICE: Self = Self::tversky(0.5, 0.5);
    /// T = |A∩B| / |A∪B|: α = β = 1.
    pub const JACCARD: Self = Self::tversky(1.0, 1.0);

    /// T with these weights of false positives and negatives. Salehi et al., 2017,
    /// <https://arxiv.org/abs/1706.05721>.
    pub const fn tversky(false_positives: f32, false_negatives: f32) -> Self {
        Self {
            false_positives,
            false_negatives,
            smooth: 0.0,
            gamma: 1.0,
            classes: Classes::Present,
            ignore_index: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LossError> {
        not_negative("false_positives", self.false_positives)?;
        not_negative("false_negatives", self.false_negatives)?;
        not_negative("smooth", self.smooth)?;
        setting("gamma", self.gamma, "a finite number above 0", |v| v > 0.0)
    }
}

impl Default for Overlap {
    /// Dice.
    fn default() -> Self {
        Self::DICE
    }
}

/// The mean over classes of (1 − T_c)^γ, T_c = (TP + s) / (TP + α·FP + β·FN + s).
///
/// With p = softmax(x) and g the labels as one-hot rows: TP = Σ p·g, FP = Σ p·(1 − g),
/// FN = Σ (1 − p)·g, over all pixels given. A class without pixels, prediction or smoothing has T = 1.
///
/// - `logits`: `[P, C]`, finite; `labels`: `P` classes below `C`, or the ignored one.
/// - returns: in \[0, 1\]; gradient `[P, C]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Overlap, overlap};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0], [0.0, 0.0]]);
/// // Half of each class is found: T = 0.5 / (0.5 + ½·0.5 + ½·0.5).
/// let loss = overlap(logits.view(), &[0, 1], &Overlap::DICE)?;
/// assert!((loss.value - 0.5).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn overlap<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Overlap,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    labels_fit(labels, logits.nrows(), logits.ncols(), config.ignore_index)?;
    let l = log_softmax(&finite("logits", &logits)?);
    let mut p = l.mapv(f64::exp);
    let counted: Array1<f64> =
        labels.iter().map(|&y| if Some(y) == config.ignore_index { 0.0 } else { 1.0 }).collect();
    let mut g = one_hot(labels, p.ncols());
    // An ignored label may be a class as well.
    g *= &counted.view().insert_axis(ndarray::Axis(1));
    let (value, slopes) = of_probabilities(&p, &g, &counted, config);
    p *= &slopes;
    graded((value, log_softmax_back(&l, p)))
}

/// (1 − T)^γ of one region: the sigmoid form of [`overlap`].
///
/// - `logits`: `[P]`, finite; `targets`: `[P]`, in \[0, 1\].
/// - returns: in \[0, 1\]; gradient `[P]`. `classes` and `ignore_index` take no part: an empty
///   target counts, with T = s/(α·Σ p + s).
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Overlap, binary_overlap};
/// let (logits, targets) = (ndarray::arr1(&[0.0_f64, 0.0]), ndarray::arr1(&[1.0, 0.0]));
/// let loss = binary_overlap(logits.view(), targets.view(), &Overlap::JACCARD)?;
/// assert!((loss.value - (1.0 - 0.5 / 1.5)).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn binary_overlap<T: NdFloat>(
    logits: ArrayView1<'_, T>,
    targets: ArrayView1<'_, T>,
    config: &Overlap,
) -> Result<Graded<T, Ix1>, LossError> {
    config.check()?;
    crate::graded::one_per_row("targets", logits.len(), targets.len())?;
    let p = finite("logits", &logits)?.mapv(sigmoid);
    let t = within("targets", &targets, "a share in [0, 1]", |v| (0.0..=1.0).contains(&v))?;
    let column = |x: Array1<f64>| x.insert_axis(ndarray::Axis(1));
    let counted = Array1::ones(p.len());
    let config = Overlap { classes: Classes::All, ..*config };
    let (value, slopes) = of_probabilities(&column(p.clone()), &column(t), &counted, &config);
    let slopes = slopes.column(0).to_owned();
    graded((value, slopes * p.mapv(|p| p * (1.0 - p))))
}

/// The loss and its gradient with respect to the probabilities.
fn of_probabilities(
    p: &Array2<f64>,
    g: &Array2<f64>,
    counted: &Array1<f64>,
    config: &Overlap,
) -> (f64, Array2<f64>) {
    let (alpha, beta) = (f64::from(config.false_positives), f64::from(config.false_negatives));
    let (smooth, gamma) = (f64::from(config.smooth), f64::from(config.gamma));
    let present = |class: usize| config.classes == Classes::All || g.column(class).sum() > 0.0;
    let classes: Vec<usize> = (0..p.ncols()).filter(|&class| present(class)).collect();
    let factor = share_of(classes.len() as f64);
    let (mut value, mut slopes) = (0.0, Array2::zeros(p.dim()));
    for class in classes {
        let (p, g) = (p.column(class), g.column(class));
        let hits = p.dot(&g);
        let (predicted, truth) = (p.dot(counted), g.sum());
        let above = hits + smooth;
        let below = hits + alpha * (predicted - hits) + beta * (truth - hits) + smooth;
        if below <= 0.0 {
            continue;
        }
        let miss = (1.0 - above / below).max(0.0);
        value += factor * miss.powf(gamma);
        // (1 − T)^(γ−1) has no bound at T = 1 for γ < 1: nothing is left to gain there.
        let outer = if miss > 0.0 { factor * gamma * miss.powf(gamma - 1.0) } else { 0.0 };
        for (pixel, &g) in g.iter().enumerate() {
            // ∂hits = g, ∂below = g·(1 − α − β) + α.
            let onto_below = (1.0 - alpha - beta) * g + alpha;
            let slope = (g * below - above * onto_below) / (below * below);
            slopes[[pixel, class]] = -outer * slope * counted[pixel];
        }
    }
    (value, slopes)
}
