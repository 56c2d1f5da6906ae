//! Adversarial neighbours: inputs moved a little so that the loss rises most, as Neural Structured
//! Learning makes them.
//!
//! FGSM: Goodfellow, Shlens and Szegedy, 2014, <https://arxiv.org/abs/1412.6572>. PGD: Madry et al.,
//! 2017, <https://arxiv.org/abs/1706.06083>. The gradient of the loss with respect to the input comes
//! from the caller, usually from a graph of `nearkin-autodiff`; no model is run here.

use ndarray::{Array, ArrayView, Axis, Dimension, NdFloat, RemoveAxis};

use crate::LossError;
use crate::graded::{finite, positive, same_shape, setting};

/// The norm that bounds how far a neighbour may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Σ |xᵢ|: only the coordinates of largest slope move (equal ones share the step).
    L1,
    /// √Σ xᵢ²: along the gradient.
    #[default]
    L2,
    /// max |xᵢ|: every coordinate moves, by the sign of its slope.
    LInfinity,
}

/// Settings of [`adversarial_neighbour`], with NSL's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdversarialConfig {
    /// Length of each step in the norm, above 0.
    pub adv_step_size: f32,
    /// The norm.
    pub adv_grad_norm: Norm,
    /// Steps, at least 1; 1 is the fast gradient (sign) method.
    pub pgd_iterations: usize,
    /// How far the neighbour may be in the norm, above 0; none leaves it to the steps.
    pub pgd_epsilon: Option<f32>,
    /// The lowest and the highest value that an input may have; none for inputs without bounds.
    pub clip: Option<(f32, f32)>,
}

impl Default for AdversarialConfig {
    /// One step of 0.001 in L2, as in NSL.
    fn default() -> Self {
        Self {
            adv_step_size: 0.001,
            adv_grad_norm: Norm::L2,
            pgd_iterations: 1,
            pgd_epsilon: None,
            clip: None,
        }
    }
}

impl AdversarialConfig {
    fn check(&self) -> Result<(), LossError> {
        positive("adv_step_size", self.adv_step_size)?;
        if self.pgd_iterations == 0 {
            let (expected, found) = ("at least 1", "0".to_owned());
            return Err(LossError::Setting { field: "pgd_iterations", expected, found });
        }
        if let Some(radius) = self.pgd_epsilon {
            positive("pgd_epsilon", radius)?;
        }
        if let Some((low, high)) = self.clip {
            setting("clip", low, "finite bounds in order", |low| low <= high && high.is_finite())?;
        }
        Ok(())
    }
}

/// The neighbour of each input towards which the loss rises most.
///
/// Axis 0 counts inputs; each has a step and a ball of its own. A step adds `adv_step_size` times the
/// unit vector of steepest ascent in the norm, then goes back into the ball of `pgd_epsilon` around
/// the input (its nearest point in L2), then into `clip`. Where the gradient is 0 nothing moves.
///
/// - `input`: `[N, …]`, finite.
/// - `gradient`: gives the gradient of the loss at an input of that shape; called once for each step.
/// - returns: `[N, …]`.
///
/// # Errors
/// [`LossError`]: values, shapes or settings that do not fit; what `gradient` returns.
///
/// # Examples
/// ```
/// use nearkin_loss::{AdversarialConfig, LossError, Norm, adversarial_neighbour};
/// let config = AdversarialConfig {
///     adv_step_size: 0.5,
///     adv_grad_norm: Norm::LInfinity,
///     pgd_iterations: 3,
///     pgd_epsilon: Some(0.75),
///     ..AdversarialConfig::default()
/// };
/// // The loss is x₀² − 3·x₁.
/// let slope = |x: ndarray::ArrayView2<'_, f64>| {
///     Ok::<_, LossError>(ndarray::arr2(&[[2.0 * x[[0, 0]], -3.0]]))
/// };
/// let x = ndarray::arr2(&[[1.0_f64, 0.0]]);
/// let neighbour = adversarial_neighbour(x.view(), slope, &config)?;
/// assert_eq!(neighbour, ndarray::arr2(&[[1.75, -0.75]]));
/// # Ok::<(), LossError>(())
/// ```
pub fn adversarial_neighbour<T, D, E>(
    input: ArrayView<'_, T, D>,
    mut gradient: impl FnMut(ArrayView<'_, T, D>) -> Result<Array<T, D>, E>,
    config: &AdversarialConfig,
) -> Result<Array<T, D>, E>
where
    T: NdFloat,
    D: Dimension + RemoveAxis,
    E: From<LossError>,
{
    config.check()?;
    finite("input", &input)?;
    let mut x = input.to_owned();
    for _ in 0..config.pgd_iterations {
        let g = gradient(x.view())?;
        x = adversarial_step(input.view(), x.view(), g.view(), config)?;
    }
    Ok(x)
}

/// One step of [`adversarial_neighbour`], for callers that compute gradients in batches of their own.
///
/// - `start`: the inputs that neighbours are of; `x`: where they are now; `gradient`: the loss's
///   gradient there; all `[N, …]`, finite.
/// - returns: where they are next, `[N, …]`.
///
/// # Errors
/// [`LossError`]: values, shapes or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{AdversarialConfig, adversarial_step};
/// let x = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let gradient = ndarray::arr2(&[[3.0, 4.0]]);
/// let config = AdversarialConfig { adv_step_size: 0.5, ..AdversarialConfig::default() };
/// let next = adversarial_step(x.view(), x.view(), gradient.view(), &config)?;
/// assert_eq!(next, ndarray::arr2(&[[0.3, 0.4]]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn adversarial_step<T: NdFloat, D: Dimension + RemoveAxis>(
    start: ArrayView<'_, T, D>,
    x: ArrayView<'_, T, D>,
    gradient: ArrayView<'_, T, D>,
    config: &AdversarialConfig,
) -> Result<Array<T, D>, LossError> {
    config.check()?;
    same_shape("x", start.shape(), x.shape())?;
    same_shape("gradient", start.shape(), gradient.shape())?;
    let start = finite("input", &start)?;
    let mut next = finite("x", &x)?;
    let gradient = finite("gradient", &gradient)?;
    let size = f64::from(config.adv_step_size);
    let inputs = next.axis_iter_mut(Axis(0)).zip(gradient.axis_iter(Axis(0)));
    for ((mut x, g), start) in inputs.zip(start.axis_iter(Axis(0))) {
        let g: Vec<f64> = g.iter().copied().collect();
        let unit = ascent(&g, config.adv_grad_norm);
        let mut moved: Vec<f64> =
            x.iter().zip(&start).zip(unit).map(|((x, start), u)| x - start + size * u).collect();
        if let Some(radius) = config.pgd_epsilon {
            into_ball(&mut moved, f64::from(radius), config.adv_grad_norm);
        }
        for ((x, start), moved) in x.iter_mut().zip(&start).zip(moved) {
            *x = start + moved;
            if let Some((low, high)) = config.clip {
                *x = x.clamp(f64::from(low), f64::from(high));
            }
        }
    }
    let narrowed = next.mapv(|v| T::from(v).unwrap_or_else(T::nan));
    match narrowed.iter().zip(&next).find(|(v, _)| !v.is_finite()) {
        Some((_, &found)) => Err(LossError::Overflow { found }),
        None => Ok(narrowed),
    }
}

/// The vector of norm 1 (or 0 for no gradient) along which the loss rises most.
fn ascent(g: &[f64], norm: Norm) -> Vec<f64> {
    let sign = |v: f64| if v == 0.0 { 0.0 } else { v.signum() };
    let largest = g.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
    if largest <= 0.0 {
        return vec![0.0; g.len()];
    }
    match norm {
        Norm::LInfinity => g.iter().map(|&v| sign(v)).collect(),
        Norm::L2 => {
            // By the largest first, so that squares neither vanish nor overflow.
            let length = g.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt();
            g.iter().map(|v| v / largest / length).collect()
        }
        Norm::L1 => {
            let moves = |v: f64| v.abs() >= largest;
            let share = (g.iter().filter(|&&v| moves(v)).count() as f64).recip();
            g.iter().map(|&v| if moves(v) { sign(v) * share } else { 0.0 }).collect()
        }
    }
}

/// The point of the ball of this radius that is nearest in L2.
fn into_ball(x: &mut [f64], radius: f64, norm: Norm) {
    match norm {
        Norm::LInfinity => x.iter_mut().for_each(|x| *x = x.clamp(-radius, radius)),
        Norm::L2 => {
            let length = x.iter().map(|v| v * v).sum::<f64>().sqrt();
            if length > radius {
                x.iter_mut().for_each(|x| *x *= radius / length);
            }
        }
        Norm::L1 => {
            if x.iter().map(|v| v.abs()).sum::<f64>() <= radius {
                return;
            }
            // Duchi et al., 2008, figure 1: soften by the threshold that leaves the radius.
            let mut sizes: Vec<f64> = x.iter().map(|v| v.abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            let (mut sum, mut threshold) = (0.0, 0.0);
            for (count, size) in (1..).zip(sizes) {
                sum += size;
                let candidate = (sum - radius) / f64::from(count);
                if size > candidate {
                    threshold = candidate;
                }
            }
            x.iter_mut().for_each(|x| *x = x.signum() * (x.abs() - threshold).max(0.0));
        }
    }
}
