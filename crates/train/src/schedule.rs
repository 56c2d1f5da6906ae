//! The learning rate over the steps of a training.

use serde::{Deserialize, Serialize};

/// How the learning rate changes; `peak` is the recipe's learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `epochs` epochs.
    Step {
        /// Epochs between two changes, at least 1.
        epochs: u64,
        /// The factor, above 0.
        factor: f64,
    },
    /// A straight rise from `peak/warm_up_steps` over the warm-up, then half a cosine to `last·peak`.
    Cosine {
        /// Epochs of warm-up, at least 0.
        #[serde(default)]
        warm_up_epochs: f64,
        /// The last rate as a share of the peak, at least 0.
        #[serde(default)]
        last: f64,
    },
    /// Half a cosine from `peak/start_divisor` up to `peak` in the first `rise` of all steps, then half
    /// a cosine down to `peak/start_divisor/end_divisor`: PyTorch's `OneCycleLR`.
    OneCycle {
        /// Share of the steps that rise, in (0, 1).
        #[serde(default = "default_rise")]
        rise: f64,
        /// Peak over start, at least 1.
        #[serde(default = "default_start_divisor")]
        start_divisor: f64,
        /// Start over end, at least 1.
        #[serde(default = "default_end_divisor")]
        end_divisor: f64,
    },
    /// Multiplied by `factor` whenever the watched loss has not fallen for `patience` epochs.
    Plateau {
        /// The factor, in (0, 1).
        factor: f64,
        /// Epochs without a lower loss that are borne, at least 1.
        patience: u64,
    },
}

fn default_rise() -> f64 {
    0.3
}

fn default_start_divisor() -> f64 {
    25.0
}

fn default_end_divisor() -> f64 {
    1e4
}

/// A number of a schedule outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("schedule, {field}: expected {expected}, found {found}")]
pub struct ScheduleError {
    /// The field.
    pub field: &'static str,
    /// Its range.
    pub expected: &'static str,
    /// The number.
    pub found: f64,
}

impl RateSchedule {
    /// Refuses numbers outside their ranges.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let within = |field, found: f64, expected, holds: bool| {
            if holds { Ok(()) } else { Err(ScheduleError { field, expected, found }) }
        };
        match *self {
            Self::Constant => Ok(()),
            Self::Step { epochs, factor } => {
                within("epochs", epochs as f64, "at least 1", epochs > 0)?;
                within("factor", factor, "above 0", factor > 0.0 && factor.is_finite())
            }
            Self::Cosine { warm_up_epochs, last } => {
                let finite = |x: f64| x >= 0.0 && x.is_finite();
                within("warm_up_epochs", warm_up_epochs, "at least 0", finite(warm_up_epochs))?;
                within("last", last, "at least 0", finite(last))
            }
            Self::OneCycle { rise, start_divisor, end_divisor } => {
                let one = |x: f64| x >= 1.0 && x.is_finite();
                within("rise", rise, "above 0 and below 1", rise > 0.0 && rise < 1.0)?;
                within("start_divisor", start_divisor, "at least 1", one(start_divisor))?;
                within("end_divisor", end_divisor, "at least 1", one(end_divisor))
            }
            Self::Plateau { factor, patience } => {
                within("factor", factor, "above 0 and below 1", factor > 0.0 && factor < 1.0)?;
                within("patience", patience as f64, "at least 1", patience > 0)
            }
        }
    }

    /// The rate of step `step` of `steps`, both counted from 0, with `per_epoch` steps in an epoch.
    ///
    /// `falls`: how often a plateau has been met so far.
    ///
    /// # Examples
    /// ```
    /// use nearkin_train::RateSchedule;
    /// let cosine = RateSchedule::Cosine { warm_up_epochs: 1.0, last: 0.0 };
    /// let rate = |step| cosine.rate(0.1, step, 100, 10, 0);
    /// assert_eq!((rate(0), rate(9)), (0.01, 0.1));
    /// assert!((rate(55) - 0.05).abs() < 1e-9);
    /// ```
    pub fn rate(&self, peak: f64, step: u64, steps: u64, per_epoch: u64, falls: u32) -> f64 {
        let half_cosine = |from: f64, to: f64, x: f64| {
            to + (from - to) * (1.0 + (x * std::f64::consts::PI).cos()) / 2.0
        };
        let at = step as f64;
        match *self {
            Self::Constant => peak,
            Self::Step { epochs, factor } => {
                let passed = step / (per_epoch.max(1) * epochs.max(1));
                peak * factor.powf(passed as f64)
            }
            Self::Cosine { warm_up_epochs, last } => {
                let warm = (warm_up_epochs * per_epoch as f64).min(steps as f64);
                if at < warm {
                    return peak * (at + 1.0) / warm.max(1.0);
                }
                let rest = (steps as f64 - warm).max(1.0);
                half_cosine(peak, last * peak, ((at - warm) / rest).min(1.0))
            }
            Self::OneCycle { rise, start_divisor, end_divisor } => {
                let start = peak / start_divisor;
                let end = start / end_divisor;
                let last = (steps.max(2) - 1) as f64;
                let top = (rise * steps as f64 - 1.0).max(1e-9);
                if at <= top {
                    half_cosine(start, peak, at / top)
                } else {
                    half_cosine(peak, end, ((at - top) / (last - top).max(1e-9)).min(1.0))
                }
            }
            Self::Plateau { factor, .. } => peak * factor.powf(f64::from(falls)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cycle_is_pytorchs() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10): first, peak, last.
        let one = RateSchedule::OneCycle { rise: 0.3, start_divisor: 25.0, end_divisor: 1e4 };
        let rate = |step| one.rate(1.0, step, 10, 10, 0);
        assert!((rate(0) - 0.04).abs() < 1e-12);
        assert!((rate(1) - 0.52).abs() < 1e-12);
        assert!((rate(2) - 1.0).abs() < 1e-12);
        assert!((rate(9) - 4e-6).abs() < 1e-12);
    }

    #[test]
    fn steps_and_plateaus_multiply() {
        let step = RateSchedule::Step { epochs: 2, factor: 0.1 };
        assert!((step.rate(1.0, 39, 100, 10, 0) - 0.1).abs() < 1e-12);
        assert!((step.rate(1.0, 40, 100, 10, 0) - 0.01).abs() < 1e-12);
        let plateau = RateSchedule::Plateau { factor: 0.5, patience: 3 };
        assert!((plateau.rate(8.0, 7, 100, 10, 3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let wrong = [
            RateSchedule::Step { epochs: 0, factor: 0.1 },
            RateSchedule::Cosine { warm_up_epochs: f64::NAN, last: 0.0 },
            RateSchedule::OneCycle { rise: 1.0, start_divisor: 25.0, end_divisor: 1.0 },
            RateSchedule::Plateau { factor: 1.0, patience: 1 },
        ];
        assert!(wrong.iter().all(|schedule| schedule.check().is_err()));
    }
}
