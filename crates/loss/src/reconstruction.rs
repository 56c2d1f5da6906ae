//! Reconstruction: how far an output is from what it should be, element by element; and the VAE's
//! divergence, which goes with it.

use ndarray::{ArrayView, ArrayView2, Dimension, Ix2, NdFloat, Zip};

use crate::graded::{finite, graded, graded_pair, positive, same_shape, within};
use crate::{Graded, GradedPair, LossError, Reduction};

/// What an output x costs where it should be y.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Deviation {
    /// (x − y)².
    #[default]
    Squared,
    /// |x − y|; its gradient is 0 at 0.
    Absolute,
    /// (x − y)²/(2β) where |x − y| < β, else |x − y| − β/2. Girshick, 2015,
    /// <https://arxiv.org/abs/1504.08083>.
    SmoothAbsolute {
        /// β, above 0; PyTorch's default is 1.
        beta: f32,
    },
    /// −y·ln x − (1 − y)·ln(1 − x) of probabilities x and y; logarithms count as at least −100, as
    /// in PyTorch. Where there are logits, [`binary_cross_entropy`](crate::binary_cross_entropy) is
    /// more accurate.
    BinaryCrossEntropy,
}

/// Logarithms below this count as this, with slope 0.
pub(crate) const SMALLEST_LOG: f64 = -100.0;

impl Deviation {
    pub(crate) fn check(self) -> Result<(), LossError> {
        match self {
            Self::SmoothAbsolute { beta } => positive("beta", beta),
            _ => Ok(()),
        }
    }

    /// Value and slope in x.
    fn of(self, x: f64, y: f64) -> (f64, f64) {
        let d = x - y;
        let sign = if d == 0.0 { 0.0 } else { d.signum() };
        match self {
            Self::Squared => (d * d, 2.0 * d),
            Self::Absolute => (d.abs(), sign),
            Self::SmoothAbsolute { beta } => {
                let beta = f64::from(beta);
                if d.abs() < beta {
                    (d * d / (2.0 * beta), d / beta)
                } else {
                    (d.abs() - beta / 2.0, sign)
                }
            }
            Self::BinaryCrossEntropy => {
                let (log, slope) = bounded_log(x);
                let (log_rest, slope_rest) = bounded_log(1.0 - x);
                (-y * log - (1.0 - y) * log_rest, -y * slope + (1.0 - y) * slope_rest)
            }
        }
    }
}

fn bounded_log(x: f64) -> (f64, f64) {
    let log = x.ln();
    if log > SMALLEST_LOG { (log, x.recip()) } else { (SMALLEST_LOG, 0.0) }
}

/// The mean (or sum) over all elements of a [`Deviation`].
///
/// - `output`, `target`: of one shape, finite; in \[0, 1\] for the binary cross-entropy.
/// - returns: at least 0; gradient with respect to the output.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Deviation, Reduction, reconstruction};
/// let (x, y) = (ndarray::arr1(&[3.0_f64, 0.0]), ndarray::arr1(&[1.0, 0.0]));
/// let loss = reconstruction(x.view(), y.view(), Deviation::Squared, Reduction::Mean)?;
/// assert_eq!((loss.value, loss.gradient[0]), (2.0, 2.0));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn reconstruction<T: NdFloat, D: Dimension>(
    output: ArrayView<'_, T, D>,
    target: ArrayView<'_, T, D>,
    deviation: Deviation,
    reduction: Reduction,
) -> Result<Graded<T, D>, LossError> {
    deviation.check()?;
    same_shape("target", output.shape(), target.shape())?;
    let fits = |v: f64| deviation != Deviation::BinaryCrossEntropy || (0.0..=1.0).contains(&v);
    let mut x = within("output", &output, "a probability in [0, 1]", fits)?;
    let y = within("target", &target, "a probability in [0, 1]", fits)?;
    let factor = reduction.factor(x.len() as f64);
    let mut value = 0.0;
    Zip::from(&mut x).and(&y).for_each(|x, &y| {
        let (term, slope) = deviation.of(*x, y);
        value += factor * term;
        *x = factor * slope;
    });
    graded((value, x))
}

/// KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² − 1 − ln σ²), the mean (or sum) over rows.
///
/// Kingma and Welling, 2013, <https://arxiv.org/abs/1312.6114>, appendix B. β-VAE multiplies it by β.
///
/// - `mean`, `log_variance`: `[N, d]`, finite: μ and ln σ².
/// - returns: at least 0, in nats; gradients `[N, d]` each.
///
/// # Errors
/// [`LossError`]: shapes or values that do not fit; an overflow of e^{ln σ²}.
///
/// # Examples
/// ```
/// use nearkin_loss::{Reduction, normal_divergence};
/// let (mean, log_variance) = (ndarray::arr2(&[[2.0_f64]]), ndarray::arr2(&[[0.0]]));
/// let loss = normal_divergence(mean.view(), log_variance.view(), Reduction::Mean)?;
/// assert_eq!((loss.value, loss.first[[0, 0]]), (2.0, 2.0));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn normal_divergence<T: NdFloat>(
    mean: ArrayView2<'_, T>,
    log_variance: ArrayView2<'_, T>,
    reduction: Reduction,
) -> Result<GradedPair<T, Ix2>, LossError> {
    same_shape("log_variance", mean.shape(), log_variance.shape())?;
    let mut m = finite("mean", &mean)?;
    let mut v = finite("log_variance", &log_variance)?;
    let factor = reduction.factor(m.nrows() as f64);
    let mut value = 0.0;
    Zip::from(&mut m).and(&mut v).for_each(|m, v| {
        value += 0.5 * factor * (*m * *m + (v.exp_m1() - *v));
        *m *= factor;
        *v = 0.5 * factor * v.exp_m1();
    });
    graded_pair((value, m, v))
}
