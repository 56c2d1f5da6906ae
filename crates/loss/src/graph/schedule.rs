//! α over the steps of a training.

use crate::LossError;
use crate::graded::{not_negative, setting};

/// How α changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    /// α stays.
    #[default]
    Constant,
    /// α·(step + 1)/(steps + 1) until `steps`, then α: neighbours count once embeddings mean something.
    WarmUp {
        /// Steps of warm-up.
        steps: u64,
    },
    /// last + (α − last)·(1 + cos(π·step/steps))/2 until `steps`, then `last`.
    Cosine {
        /// Steps until the last value.
        steps: u64,
        /// The last value, at least 0.
        last: f32,
    },
    /// α·rate^(step/steps).
    Exponential {
        /// Steps in which α falls by `rate`, at least 1.
        steps: u64,
        /// The factor, above 0 and at most 1.
        rate: f32,
    },
}

/// The weight of the graph's term in the whole loss.
///
/// # Examples
/// ```
/// use nearkin_loss::{Alpha, Schedule};
/// let alpha = Alpha::new(0.5, Schedule::WarmUp { steps: 3 })?;
/// assert_eq!([alpha.at(0), alpha.at(1), alpha.at(3), alpha.at(99)], [0.125, 0.25, 0.5, 0.5]);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alpha {
    alpha: f32,
    schedule: Schedule,
}

impl Alpha {
    /// α, at least 0, and how it changes.
    ///
    /// # Errors
    /// [`LossError::Setting`] for a number outside its range.
    pub fn new(alpha: f32, schedule: Schedule) -> Result<Self, LossError> {
        not_negative("alpha", alpha)?;
        match schedule {
            Schedule::Constant | Schedule::WarmUp { .. } => {}
            Schedule::Cosine { last, .. } => not_negative("last", last)?,
            Schedule::Exponential { steps, rate } => {
                setting("rate", rate, "a number in (0, 1]", |v| v > 0.0 && v <= 1.0)?;
                if steps == 0 {
                    let (expected, found) = ("at least 1", "0".to_owned());
                    return Err(LossError::Setting { field: "steps", expected, found });
                }
            }
        }
        Ok(Self { alpha, schedule })
    }

    /// α in step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f32 {
        let alpha = f64::from(self.alpha);
        let now = match self.schedule {
            Schedule::Constant => alpha,
            Schedule::WarmUp { steps } if step >= steps => alpha,
            Schedule::WarmUp { steps } => alpha * (step + 1) as f64 / (steps + 1) as f64,
            Schedule::Cosine { steps, last } if step >= steps => f64::from(last),
            Schedule::Cosine { steps, last } => {
                let angle = std::f64::consts::PI * step as f64 / steps as f64;
                let last = f64::from(last);
                last + (alpha - last) * (1.0 + angle.cos()) / 2.0
            }
            Schedule::Exponential { steps, rate } => {
                alpha * f64::from(rate).powf(step as f64 / steps as f64)
            }
        };
        now as f32
    }
}
