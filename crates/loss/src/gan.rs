//! Objectives of generative adversarial networks, on the discriminator's outputs.
//!
//! The gradient penalty of Wasserstein networks (Gulrajani et al., 2017,
//! <https://arxiv.org/abs/1704.00028>) is not here: it is a function of a gradient, so training it
//! takes second derivatives, which `nearkin-autodiff` does not make yet. Without it a critic has to be
//! kept smooth by other means, such as clipped weights.

use ndarray::{ArrayView1, Ix1, NdFloat};

use crate::graded::{finite, graded, graded_pair, share_of};
use crate::rows::{sigmoid, softplus};
use crate::{Graded, GradedPair, LossError};

/// What discriminator and generator play for; x is the discriminator's output, a logit or a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Adversarial {
    /// D: −ln σ(x) of real and −ln σ(−x) of fake; G: −ln σ(x) of fake, the form that does not
    /// saturate. Goodfellow et al., 2014, <https://arxiv.org/abs/1406.2661>.
    #[default]
    CrossEntropy,
    /// D: ½(x − 1)² of real and ½x² of fake; G: ½(x − 1)² of fake. Mao et al., 2016,
    /// <https://arxiv.org/abs/1611.04076>.
    LeastSquares,
    /// D: −x of real and x of fake; G: −x of fake. Arjovsky, Chintala and Bottou, 2017,
    /// <https://arxiv.org/abs/1701.07875>.
    Wasserstein,
    /// D: max(0, 1 − x) of real and max(0, 1 + x) of fake; G: −x of fake. Lim and Ye, 2017,
    /// <https://arxiv.org/abs/1705.02894>.
    Hinge,
}

impl Adversarial {
    /// Value and slope of the discriminator's term of a real image.
    fn real(self, x: f64) -> (f64, f64) {
        match self {
            Self::CrossEntropy => (softplus(-x), -sigmoid(-x)),
            Self::LeastSquares => (0.5 * (x - 1.0) * (x - 1.0), x - 1.0),
            Self::Wasserstein => (-x, -1.0),
            Self::Hinge if x < 1.0 => (1.0 - x, -1.0),
            Self::Hinge => (0.0, 0.0),
        }
    }

    /// The discriminator's term of a made image.
    fn fake(self, x: f64) -> (f64, f64) {
        match self {
            Self::CrossEntropy => (softplus(x), sigmoid(x)),
            Self::LeastSquares => (0.5 * x * x, x),
            Self::Wasserstein => (x, 1.0),
            Self::Hinge if x > -1.0 => (1.0 + x, 1.0),
            Self::Hinge => (0.0, 0.0),
        }
    }

    /// The generator's term of a made image.
    fn made(self, x: f64) -> (f64, f64) {
        match self {
            Self::Hinge => (-x, -1.0),
            _ => self.real(x),
        }
    }
}

fn mean(x: ndarray::Array1<f64>, of: impl Fn(f64) -> (f64, f64)) -> (f64, ndarray::Array1<f64>) {
    let factor = share_of(x.len() as f64);
    let mut value = 0.0;
    let g = x.mapv(|x| {
        let (term, slope) = of(x);
        value += factor * term;
        factor * slope
    });
    (value, g)
}

/// The discriminator's loss: the mean over real outputs plus the mean over fake ones.
///
/// - `real`, `fake`: `[N]` and `[M]`, finite.
/// - returns: the loss, which may be negative for Wasserstein; gradients `[N]` and `[M]`.
///
/// # Errors
/// [`LossError::NotFinite`].
///
/// # Examples
/// ```
/// use nearkin_loss::{Adversarial, discriminator};
/// let (real, fake) = (ndarray::arr1(&[1.0_f64, 1.0]), ndarray::arr1(&[2.0]));
/// let loss = discriminator(real.view(), fake.view(), Adversarial::LeastSquares)?;
/// assert_eq!((loss.value, loss.second[0]), (2.0, 2.0));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn discriminator<T: NdFloat>(
    real: ArrayView1<'_, T>,
    fake: ArrayView1<'_, T>,
    objective: Adversarial,
) -> Result<GradedPair<T, Ix1>, LossError> {
    let (of_real, g_real) = mean(finite("real", &real)?, |x| objective.real(x));
    let (of_fake, g_fake) = mean(finite("fake", &fake)?, |x| objective.fake(x));
    graded_pair((of_real + of_fake, g_real, g_fake))
}

/// The generator's loss: the mean over the discriminator's outputs of made images.
///
/// - `fake`: `[M]`, finite.
/// - returns: the loss and its gradient `[M]`.
///
/// # Errors
/// [`LossError::NotFinite`].
///
/// # Examples
/// ```
/// use nearkin_loss::{Adversarial, generator};
/// let fake = ndarray::arr1(&[0.0_f64, 0.0]);
/// let loss = generator(fake.view(), Adversarial::CrossEntropy)?;
/// assert_eq!(loss.gradient, ndarray::arr1(&[-0.25, -0.25]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn generator<T: NdFloat>(
    fake: ArrayView1<'_, T>,
    objective: Adversarial,
) -> Result<Graded<T, Ix1>, LossError> {
    graded(mean(finite("fake", &fake)?, |x| objective.made(x)))
}
