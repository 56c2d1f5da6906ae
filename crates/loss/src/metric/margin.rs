//! Softmax on cosines with a margin at the label: ArcFace and CosFace.
//!
//! Deng et al., 2018, <https://arxiv.org/abs/1801.07698>; Wang et al., 2018,
//! <https://arxiv.org/abs/1801.09414>.

use ndarray::{ArrayView2, Ix2, NdFloat};

use super::pairs::Rows;
use crate::cross_entropy::of_labels;
use crate::graded::{graded_pair, labels_fit, positive, setting};
use crate::{CrossEntropy, GradedPair, LossError};

/// Settings of [`arc_face`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArcFace {
    /// m, added to the angle at the label, in radians, in \[0, π/2\].
    pub margin: f32,
    /// s, above 0: the factor on cosines.
    pub scale: f32,
}

impl Default for ArcFace {
    /// m = 0.5, s = 64, as in the paper.
    fn default() -> Self {
        Self { margin: 0.5, scale: 64.0 }
    }
}

/// Settings of [`cos_face`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosFace {
    /// m, taken off the cosine at the label, in \[0, 2\].
    pub margin: f32,
    /// s, above 0: the factor on cosines.
    pub scale: f32,
}

impl Default for CosFace {
    /// m = 0.35, s = 64, as in the paper.
    fn default() -> Self {
        Self { margin: 0.35, scale: 64.0 }
    }
}

/// What becomes of the cosine at the label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bend {
    /// cos(θ + m) while θ + m ≤ π, then c − m·sin m, which keeps falling.
    Angle(f64),
    /// c − m.
    Cosine(f64),
    /// c.
    Straight,
}

/// 1 − c² counts as at least this: the angle's slope is infinite at 0.
pub(crate) const SMALLEST_SINE_SQUARE: f64 = 1e-12;

impl Bend {
    /// Value and slope.
    fn of(self, c: f64) -> (f64, f64) {
        match self {
            Self::Straight => (c, 1.0),
            Self::Cosine(m) => (c - m, 1.0),
            Self::Angle(m) if c < -m.cos() => (c - m * m.sin(), 1.0),
            Self::Angle(m) => {
                let square = 1.0 - c * c;
                let sine = square.max(SMALLEST_SINE_SQUARE).sqrt();
                let slope = if square > SMALLEST_SINE_SQUARE { c / sine } else { 0.0 };
                (c * m.cos() - sine * m.sin(), m.cos() + slope * m.sin())
            }
        }
    }
}

impl ArcFace {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        let fits = |m| (0.0..=std::f32::consts::FRAC_PI_2).contains(&m);
        setting("margin", self.margin, "an angle in [0, π/2]", fits)?;
        positive("scale", self.scale)
    }
}

impl CosFace {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        setting("margin", self.margin, "a number in [0, 2]", |m| (0.0..=2.0).contains(&m))?;
        positive("scale", self.scale)
    }
}

/// Cross-entropy of s·cos θ with m added to the angle at the label.
///
/// θ is the angle between a row and the centre of a class. Where θ + m would pass π, the logit is
/// s·(cos θ − m·sin m), so that it keeps falling, as the authors' code and
/// pytorch-metric-learning have it.
///
/// - `points`: `[n, d]`, finite; `labels`: `n` classes below `C`.
/// - `centres`: `[C, d]`, finite: the classifier's weights, one row for each class.
/// - returns: the mean over rows, at least 0; gradients `[n, d]` and `[C, d]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{ArcFace, arc_face};
/// let points = ndarray::arr2(&[[1.0_f64, 1.0]]);
/// let centres = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// let loss = arc_face(points.view(), &[0], centres.view(), &ArcFace { margin: 0.0, scale: 1.0 })?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn arc_face<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    centres: ArrayView2<'_, T>,
    config: &ArcFace,
) -> Result<GradedPair<T, Ix2>, LossError> {
    config.check()?;
    let bend = Bend::Angle(f64::from(config.margin));
    bent_softmax(points, labels, centres, bend, f64::from(config.scale))
}

/// Cross-entropy of s·cos θ with m taken off the cosine at the label.
///
/// - `points`, `labels`, `centres`: as for [`arc_face`].
/// - returns: the mean over rows, at least 0; gradients `[n, d]` and `[C, d]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{CosFace, cos_face};
/// let points = ndarray::arr2(&[[3.0_f64, 0.0]]);
/// let centres = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// let loss = cos_face(points.view(), &[0], centres.view(), &CosFace { margin: 1.0, scale: 8.0 })?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn cos_face<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    centres: ArrayView2<'_, T>,
    config: &CosFace,
) -> Result<GradedPair<T, Ix2>, LossError> {
    config.check()?;
    let bend = Bend::Cosine(f64::from(config.margin));
    bent_softmax(points, labels, centres, bend, f64::from(config.scale))
}

/// Mean cross-entropy of scale · cosines, the one at the label bent.
pub(super) fn bent_softmax<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    centres: ArrayView2<'_, T>,
    bend: Bend,
    scale: f64,
) -> Result<GradedPair<T, Ix2>, LossError> {
    labels_fit(labels, points.nrows(), centres.nrows(), None)?;
    if points.ncols() != centres.ncols() {
        let (expected, found) = (points.ncols().to_string(), centres.ncols().to_string());
        return Err(LossError::Shape { input: "width of centres", expected, found });
    }
    let x = Rows::new("points", points, true)?;
    let c = Rows::new("centres", centres, true)?;
    let mut logits = x.products(&c);
    let mut slopes = vec![1.0; labels.len()];
    for ((row, &label), slope) in labels.iter().enumerate().zip(&mut slopes) {
        (logits[[row, label]], *slope) = bend.of(logits[[row, label]]);
    }
    let (value, mut g) = of_labels(&(logits * scale), labels, &CrossEntropy::default());
    g *= scale;
    for ((row, &label), slope) in labels.iter().enumerate().zip(slopes) {
        g[[row, label]] *= slope;
    }
    let (gx, gc) = x.products_back(&c, &g);
    graded_pair((value, gx, gc))
}
