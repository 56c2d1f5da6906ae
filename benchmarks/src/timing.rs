//! Timed runs and their quantiles.

use std::time::{Duration, Instant};

use nearkin_metrics::quantile;
use serde::{Deserialize, Serialize};

use crate::suite::Timing;

/// Fewest counted runs, whatever the clock says: a p95 of fewer is the maximum of a handful.
const FEWEST_RUNS: usize = 10;

/// Runs `once` until the rules of `timing` are met, and returns the milliseconds of each counted
/// run in order.
///
/// First `timing.warm_up` runs are not counted. Then it stops after `timing.runs` counted runs,
/// or after `timing.seconds` once 10 runs are counted, whichever comes first.
///
/// # Errors
/// The first error of `once`, unchanged.
pub fn time_runs<E>(
    timing: &Timing,
    mut once: impl FnMut() -> Result<(), E>,
) -> Result<Vec<f64>, E> {
    for _ in 0..timing.warm_up {
        once()?;
    }
    let limit = Duration::from_secs_f64(timing.seconds.min(1e9));
    let begin = Instant::now();
    let mut milliseconds = Vec::new();
    while milliseconds.len() < timing.runs
        && (milliseconds.len() < FEWEST_RUNS || begin.elapsed() < limit)
    {
        let start = Instant::now();
        once()?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(milliseconds)
}

/// Quantiles of a set of timed runs, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Counted runs.
    pub runs: usize,
    /// Shortest.
    pub min_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// Longest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Quantiles of `milliseconds`; `None` of an empty list.
    ///
    /// Between two runs it interpolates linearly: see [`nearkin_metrics::quantile`].
    ///
    /// # Examples
    /// ```
    /// use nearkin_bench::timing::Quantiles;
    /// let q = Quantiles::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
    /// assert_eq!((q.min_ms, q.p50_ms, q.max_ms), (1.0, 2.5, 4.0));
    /// ```
    #[must_use]
    pub fn of(milliseconds: &[f64]) -> Option<Self> {
        let at = |q| quantile(milliseconds, q);
        Some(Self {
            runs: milliseconds.len(),
            min_ms: at(0.0)?,
            p50_ms: at(0.5)?,
            p95_ms: at(0.95)?,
            max_ms: at(1.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn count(timing: Timing, pause: Duration) -> (usize, usize) {
        let mut calls = 0;
        let counted = time_runs(&timing, || {
            calls += 1;
            std::thread::sleep(pause);
            Ok::<_, Infallible>(())
        });
        (calls, counted.unwrap().len())
    }

    #[test]
    fn warm_up_runs_are_made_and_not_counted() {
        let timing = Timing { warm_up: 3, runs: 12, seconds: 60.0 };
        assert_eq!(count(timing, Duration::ZERO), (15, 12));
    }

    #[test]
    fn the_clock_stops_a_slow_model_but_never_below_ten_runs() {
        let timing = Timing { warm_up: 1, runs: 1000, seconds: 1e-3 };
        assert_eq!(count(timing, Duration::from_millis(1)), (11, 10));
    }

    #[test]
    fn the_first_error_ends_the_runs() {
        let timing = Timing { warm_up: 1, runs: 10, seconds: 1.0 };
        let mut calls = 0;
        let result = time_runs(&timing, || {
            calls += 1;
            if calls == 4 { Err("broken") } else { Ok(()) }
        });
        assert_eq!((result, calls), (Err("broken"), 4));
    }

    #[test]
    fn quantiles_agree_with_numpy() {
        // numpy.percentile(range(1, 21), [50, 95]) is [10.5, 19.05].
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let q = Quantiles::of(&values).unwrap();
        assert!((q.p50_ms - 10.5).abs() < 1e-12 && (q.p95_ms - 19.05).abs() < 1e-12, "{q:?}");
        assert_eq!(Quantiles::of(&[]), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_ordered(values in prop::collection::vec(0.0_f64..1e6, 1..60)) {
            let q = Quantiles::of(&values).unwrap();
            prop_assert!(q.min_ms <= q.p50_ms && q.p50_ms <= q.p95_ms && q.p95_ms <= q.max_ms);
        }
    }
}
