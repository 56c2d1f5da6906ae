//! The bootstrap: how much a statistic would vary over other test sets of the same size.

use rayon::prelude::*;
use thiserror::Error;

use super::{Interval, quantile};
use crate::special::{Random, normal_cdf, normal_quantile};

/// How an interval is read off the resampled statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapInterval {
    /// Their quantiles.
    Percentile,
    /// Quantiles corrected for bias and for a spread that depends on the value (BCa). Needs the statistic of the
    /// n samples that leave one out.
    Bca,
}

/// The parameters of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Samples drawn, at least 1; 10,000 make the ends of a 95 % interval stable to about 2 % of its width.
    pub resamples: usize,
    /// Coverage, in (0, 1).
    pub level: f64,
    /// How the ends are found.
    pub interval: BootstrapInterval,
    /// Of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 10,000 samples, 95 %, percentiles, seed 0.
    fn default() -> Self {
        Self { resamples: 10_000, level: 0.95, interval: BootstrapInterval::Percentile, seed: 0 }
    }
}

/// Why there is no bootstrap interval.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BootstrapError {
    /// Too few observations.
    #[error("observations: expected at least {expected}, found {found}")]
    Observations {
        /// The fewest that do.
        expected: usize,
        /// Observations given.
        found: usize,
    },
    /// No samples.
    #[error("resamples: expected at least 1, found 0")]
    Resamples,
    /// The coverage is not inside (0, 1).
    #[error("level: expected a share above 0 and below 1, found {found}")]
    Level {
        /// The level given.
        found: f64,
    },
    /// The two sides have different lengths.
    #[error("second: expected {expected} values, one for each of the first, found {found}")]
    Count {
        /// Values of the first.
        expected: usize,
        /// Values of the second.
        found: usize,
    },
    /// The statistic of some sample is not a number.
    #[error("statistic: expected a number for every sample, found NaN for {sample}")]
    NotANumber {
        /// Which sample: `all observations`, a resample, or one left out.
        sample: String,
    },
    /// All samples give one value on one side of the statistic, which BCa cannot correct.
    #[error(
        "statistic: expected resamples on both sides of it for a corrected interval, found them on one"
    )]
    OneSided,
}

/// An interval for a statistic of `n` observations, by drawing n of them with replacement again and again.
///
/// Cost: `resamples` evaluations, spread over the current rayon pool; every sample has a stream of its own, so the
/// result does not depend on the number of threads.
///
/// - `n`: observations, at least 1 (2 for BCa).
/// - `statistic`: its value for the observations at these indices (n of them, or n − 1 for BCa), not NaN.
///
/// # Errors
/// [`BootstrapError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::statistics::{Bootstrap, bootstrap};
/// let correct: Vec<f64> = (0..100).map(|i| f64::from(i < 80)).collect();
/// let mean = |sample: &[usize]| sample.iter().map(|&i| correct[i]).sum::<f64>() / sample.len() as f64;
/// let interval = bootstrap(100, mean, &Bootstrap::default())?;
/// assert!((interval.low - 0.72).abs() < 0.011 && (interval.high - 0.88).abs() < 0.011);
/// # Ok::<(), nearkin_metrics::statistics::BootstrapError>(())
/// ```
///
/// Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and 14.
pub fn bootstrap(
    n: usize,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
    how: &Bootstrap,
) -> Result<Interval, BootstrapError> {
    let least = if how.interval == BootstrapInterval::Bca { 2 } else { 1 };
    if n < least {
        return Err(BootstrapError::Observations { expected: least, found: n });
    }
    if how.resamples == 0 {
        return Err(BootstrapError::Resamples);
    }
    if !(how.level > 0.0 && how.level < 1.0) {
        return Err(BootstrapError::Level { found: how.level });
    }
    let values: Vec<f64> = (0..how.resamples)
        .into_par_iter()
        .map_init(Vec::new, |sample, nth| {
            let mut random = Random::new(how.seed, nth as u64);
            sample.clear();
            sample.extend((0..n).map(|_| random.below(n)));
            statistic(sample)
        })
        .collect();
    if let Some(nth) = values.iter().position(|v| v.is_nan()) {
        return Err(BootstrapError::NotANumber { sample: format!("resample {nth}") });
    }
    let outside = (1.0 - how.level) / 2.0;
    let (low, high) = match how.interval {
        BootstrapInterval::Percentile => (outside, 1.0 - outside),
        BootstrapInterval::Bca => corrected(n, &statistic, &values, outside)?,
    };
    let at = |share: f64| quantile(&values, share).unwrap_or(f64::INFINITY);
    Ok(Interval { low: at(low), high: at(high) })
}

/// The shares at which BCa reads its ends.
fn corrected(
    n: usize,
    statistic: &(impl Fn(&[usize]) -> f64 + Sync),
    values: &[f64],
    outside: f64,
) -> Result<(f64, f64), BootstrapError> {
    let all: Vec<usize> = (0..n).collect();
    let whole = statistic(&all);
    if whole.is_nan() {
        return Err(BootstrapError::NotANumber { sample: "all observations".into() });
    }
    // Ties count half, as scipy does.
    let below = values.iter().filter(|&&v| v < whole).count() as f64;
    let at_most = values.iter().filter(|&&v| v <= whole).count() as f64;
    let share = (below + at_most) / 2.0 / values.len() as f64;
    if share <= 0.0 || share >= 1.0 {
        return Err(BootstrapError::OneSided);
    }
    let without: Vec<f64> = (0..n)
        .into_par_iter()
        .map(|left_out| {
            let rest: Vec<usize> = (0..n).filter(|&at| at != left_out).collect();
            statistic(&rest)
        })
        .collect();
    if let Some(at) = without.iter().position(|v| v.is_nan()) {
        return Err(BootstrapError::NotANumber { sample: format!("all but observation {at}") });
    }
    let mean = without.iter().sum::<f64>() / n as f64;
    let moment = |power: i32| without.iter().map(|v| (mean - v).powi(power)).sum::<f64>();
    let squares = moment(2);
    let acceleration = if squares > 0.0 { moment(3) / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let bias = normal_quantile(share);
    let at = |z: f64| {
        let sum = bias + z;
        normal_cdf(bias + sum / (1.0 - acceleration * sum))
    };
    let z = normal_quantile(outside);
    Ok((at(z), at(-z)))
}

/// Whether two models differ on the same images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedBootstrap {
    /// Mean of first − second.
    pub difference: f64,
    /// Its interval.
    pub interval: Interval,
    /// Twice the smaller share of resampled differences on one side of 0, at most 1; ties with 0 count on both.
    pub p_value: f64,
}

/// The interval of a mean difference: images are drawn, and both models are judged on the same draw.
///
/// - `first`, `second`: `[n]`, a value an image (1 for right and 0 for wrong, average precision, …).
///
/// # Errors
/// [`BootstrapError`].
pub fn paired_bootstrap(
    first: &[f64],
    second: &[f64],
    how: &Bootstrap,
) -> Result<PairedBootstrap, BootstrapError> {
    let n = first.len();
    if second.len() != n {
        return Err(BootstrapError::Count { expected: n, found: second.len() });
    }
    let mean = |sample: &[usize]| {
        let differences = sample.iter().map(|&at| first[at] - second[at]);
        differences.sum::<f64>() / sample.len() as f64
    };
    let interval = bootstrap(n, mean, how)?;
    // The same draws once more: only their signs count here.
    let signs: Vec<std::cmp::Ordering> = (0..how.resamples)
        .into_par_iter()
        .map(|nth| {
            let mut random = Random::new(how.seed, nth as u64);
            let sample: Vec<usize> = (0..n).map(|_| random.below(n)).collect();
            (mean(&sample) + 0.0).total_cmp(&0.0)
        })
        .collect();
    let share = |on: fn(std::cmp::Ordering) -> bool| {
        signs.iter().filter(|&&sign| on(sign)).count() as f64 / signs.len() as f64
    };
    let p_value = (2.0 * share(|sign| sign.is_le()).min(share(|sign| sign.is_ge()))).min(1.0);
    let all: Vec<usize> = (0..n).collect();
    Ok(PairedBootstrap { difference: mean(&all), interval, p_value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f64> {
        (0..n).map(|i| f64::from(crate::noise(i, 0)).powi(2)).collect()
    }

    fn mean_of(values: &[f64]) -> impl Fn(&[usize]) -> f64 + Sync + '_ {
        |sample| sample.iter().map(|&i| values[i]).sum::<f64>() / sample.len() as f64
    }

    #[test]
    fn intervals_cover_the_truth_about_as_often_as_they_say() {
        // 300 test sets of 40 squares of uniform numbers, whose mean is ⅓.
        for interval in [BootstrapInterval::Percentile, BootstrapInterval::Bca] {
            let mut covered = 0;
            for set in 0..300 {
                let x: Vec<f64> =
                    (0..40).map(|i| f64::from(crate::noise(i + 40 * set, 1)).powi(2)).collect();
                let how = Bootstrap { resamples: 400, level: 0.9, interval, seed: set as u64 };
                let found = bootstrap(40, mean_of(&x), &how).unwrap();
                covered += i32::from(found.low <= 1.0 / 3.0 && 1.0 / 3.0 <= found.high);
            }
            assert!((250..=286).contains(&covered), "{interval:?}: {covered} of 300");
        }
    }

    #[test]
    fn threads_change_nothing_and_seeds_do() {
        let x = values(30);
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let how = Bootstrap { resamples: 200, seed, ..Bootstrap::default() };
            pool.install(|| bootstrap(30, mean_of(&x), &how).unwrap())
        };
        assert_eq!(run(1, 5), run(3, 5));
        assert_ne!(run(1, 5), run(1, 6));
    }

    #[test]
    fn equal_models_do_not_differ_and_better_ones_do() {
        let x = values(60);
        let how = Bootstrap { resamples: 500, ..Bootstrap::default() };
        let same = paired_bootstrap(&x, &x, &how).unwrap();
        assert_eq!((same.difference, same.p_value), (0.0, 1.0));
        let better: Vec<f64> = x.iter().map(|v| v + 0.1).collect();
        let found = paired_bootstrap(&better, &x, &how).unwrap();
        assert!(found.p_value < 1e-9 && (found.interval.low - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_interval_is_refused() {
        let x = values(3);
        let how = Bootstrap::default();
        assert!(bootstrap(0, mean_of(&x), &how).unwrap_err().to_string().contains("at least 1"));
        let none = Bootstrap { resamples: 0, ..how };
        assert_eq!(bootstrap(3, mean_of(&x), &none), Err(BootstrapError::Resamples));
        let level = Bootstrap { level: 1.0, ..how };
        assert_eq!(bootstrap(3, mean_of(&x), &level), Err(BootstrapError::Level { found: 1.0 }));
        let nan = bootstrap(3, |_| f64::NAN, &how).unwrap_err();
        assert_eq!(
            nan.to_string(),
            "statistic: expected a number for every sample, found NaN for resample 0"
        );
        let bca = Bootstrap { interval: BootstrapInterval::Bca, ..how };
        let largest =
            |sample: &[usize]| sample.iter().map(|&i| [0.0, 1.0, 2.0][i]).fold(0.0, f64::max);
        assert!(bootstrap(3, largest, &bca).is_ok());
        assert!(paired_bootstrap(&x, &x[..2], &how).is_err());
    }
}
