//! What a measured accuracy says, and what it cannot say.
//!
//! Intervals for a share (Wilson) and for anything else (the bootstrap); tests whether two models differ on
//! the same images (McNemar, permutations); Holm's correction where many are made; and the difference
//! that a test set could show at all. Every random draw has its seed among the arguments.

mod bootstrap;
mod holm;
mod mcnemar;
mod permutation;

pub use bootstrap::{
    Bootstrap, BootstrapError, BootstrapInterval, PairedBootstrap, bootstrap, paired_bootstrap,
};
pub use holm::{HolmError, holm};
pub use mcnemar::{McNemar, mcnemar};
pub use permutation::{
    PermutationError, PermutationTest, paired_permutation_test, permutation_test,
};

/// The 97.5 % quantile of the standard normal distribution: two-sided 5 %.
const Z_TWO_SIDED_5_PERCENT: f64 = 1.959_963_984_540_054;
/// The 80 % quantile of the standard normal distribution.
const Z_POWER_80_PERCENT: f64 = 0.841_621_233_572_914_2;

/// A range of values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The 95 % Wilson score interval of a share of `correct` out of `total`.
///
/// With p = correct / total and z = 1.96 the ends are
/// (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n): unlike p ± z √(p(1 − p)/n) it stays inside
/// \[0, 1\] and is not empty at p = 0 or 1. Without trials (`total` 0) it is \[0, 1\].
///
/// - `correct`: at most `total`; more are taken as `total`.
///
/// # Examples
/// ```
/// let interval = nearkin_metrics::wilson_interval(45, 50);
/// assert!((interval.low - 0.7864).abs() < 5e-5 && (interval.high - 0.9565).abs() < 5e-5);
/// ```
///
/// Source: E. B. Wilson, 1927, <https://doi.org/10.1080/01621459.1927.10502953>.
pub fn wilson_interval(correct: usize, total: usize) -> Interval {
    if total == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = total as f64;
    let p = correct.min(total) as f64 / n;
    let z2 = Z_TWO_SIDED_5_PERCENT * Z_TWO_SIDED_5_PERCENT;
    let centre = p + z2 / (2.0 * n);
    let half = Z_TWO_SIDED_5_PERCENT * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // Rounding alone could leave the unit interval.
    Interval {
        low: if correct == 0 { 0.0 } else { ((centre - half) / scale).max(0.0) },
        high: if correct >= total { 1.0 } else { ((centre + half) / scale).min(1.0) },
    }
}

/// The share of images on which two models of a comparison disagree, where nothing better is known.
pub const TYPICAL_DISCORDANT_SHARE: f64 = 0.1;

/// The smallest difference in accuracy that a test set of `n` images can show between two models.
///
/// Both models see the same images, so McNemar's test compares them: only the discordant images,
/// right for one model and wrong for the other, carry information. Let them be a share p of all.
/// If the accuracies are equal, the difference of the two models' shares has mean 0 and variance
/// p / n. A true difference δ is found with 80 % power at a two-sided level of 5 % if
/// δ ≥ (z₀.₉₇₅ + z₀.₈) √(p / n) = 2.80 √(p / n). The variance under δ is (p − δ²) / n; taking p / n
/// there too errs to the safe side. Since δ cannot exceed p, a value above `discordant_share` says
/// that the models would have to disagree on more images than assumed before anything shows.
///
/// - `n`: images; 0 gives infinity.
/// - `discordant_share`: p, in \[0, 1\]; [`TYPICAL_DISCORDANT_SHARE`] where it is not measured.
/// - returns: δ, in shares (0.009 is 0.9 points).
///
/// # Examples
/// ```
/// use nearkin_metrics::{TYPICAL_DISCORDANT_SHARE, smallest_detectable_difference};
/// let points = 100.0 * smallest_detectable_difference(450, TYPICAL_DISCORDANT_SHARE);
/// assert!((points - 4.2).abs() < 0.05);
/// ```
///
/// Source: Q. McNemar, 1947, <https://doi.org/10.1007/BF02295996>; the sample size is O. Miettinen's,
/// 1968, without its correction for δ².
pub fn smallest_detectable_difference(n: usize, discordant_share: f64) -> f64 {
    (Z_TWO_SIDED_5_PERCENT + Z_POWER_80_PERCENT) * (discordant_share / n as f64).sqrt()
}

/// The value below which a share `q` of the values lies, interpolated linearly between ranks.
///
/// With the values sorted as v₀ ≤ … ≤ vₙ₋₁ it is the value at rank q (n − 1), as NumPy's default.
///
/// - `values`: in any order; `None` if empty or if one is NaN.
/// - `q`: in \[0, 1\], `None` outside; 0.5 is the median.
///
/// # Examples
/// ```
/// use nearkin_metrics::quantile;
/// assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), Some(2.5));
/// assert_eq!(quantile(&[], 0.5), None);
/// ```
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    let part = rank.fract();
    // Not below + (above − below) · part, which is NaN between equal infinities.
    Some(if part > 0.0 { below * (1.0 - part) + above * part } else { below })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_interval(correct: usize, total: usize, low: f64, high: f64) {
        let found = wilson_interval(correct, total);
        assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{found:?}");
    }

    #[test]
    fn intervals_are_the_published_ones() {
        // R. G. Newcombe, 1998, Table I, method 3; the last as documented for no trials.
        check_interval(81, 263, 0.2553, 0.3662);
        check_interval(15, 148, 0.0624, 0.1605);
        check_interval(0, 20, 0.0, 0.1611);
        check_interval(1, 29, 0.0061, 0.1718);
        check_interval(0, 0, 0.0, 1.0);
    }

    #[test]
    fn resolvable_differences_are_those_of_the_usual_test_sets() {
        for (n, points) in [(50, 12.5), (10_000, 0.9), (50_000, 0.4)] {
            let found = 100.0 * smallest_detectable_difference(n, TYPICAL_DISCORDANT_SHARE);
            assert!((found - points).abs() < 0.05, "{n} images: {found} points");
        }
    }

    /// Draws paired test sets and counts how often McNemar's test finds the difference.
    #[test]
    fn mcnemars_test_finds_the_difference_in_four_of_five_trials() {
        let (n, share, trials) = (2000_usize, TYPICAL_DISCORDANT_SHARE, 2000);
        let delta = smallest_detectable_difference(n, share);
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut found = 0;
        for _ in 0..trials {
            let (mut only_first, mut only_second) = (0_i32, 0_i32);
            for _ in 0..n {
                let u = uniform();
                only_first += i32::from(u < (share + delta) / 2.0);
                only_second += i32::from((1.0 - u) < (share - delta) / 2.0);
            }
            let (difference, discordant) = (only_first - only_second, only_first + only_second);
            let z = f64::from(difference) / f64::from(discordant).sqrt();
            found += i32::from(z.abs() > Z_TWO_SIDED_5_PERCENT);
        }
        let power = f64::from(found) / f64::from(trials);
        assert!((0.77..0.84).contains(&power), "power {power}");
    }

    #[test]
    fn quantiles_interpolate_and_refuse_what_has_none() {
        let values = [10.0, 20.0, 30.0, 40.0, 50.0];
        assert_eq!(quantile(&values, 0.0), Some(10.0));
        assert_eq!(quantile(&values, 1.0), Some(50.0));
        assert!((quantile(&values, 0.95).unwrap() - 48.0).abs() < 1e-12);
        assert_eq!(quantile(&[f64::NAN], 0.5), None);
        assert_eq!(quantile(&values, 1.5), None);
        assert_eq!(quantile(&[f64::INFINITY, f64::INFINITY], 0.3), Some(f64::INFINITY));
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_narrows_with_n(correct in 0_usize..50, rest in 0_usize..50) {
            let total = correct + rest + 1;
            let interval = wilson_interval(correct, total);
            let share = correct as f64 / total as f64;
            prop_assert!(0.0 <= interval.low && interval.low <= share);
            prop_assert!(share <= interval.high && interval.high <= 1.0);
            let wider = wilson_interval(10 * correct, 10 * total);
            prop_assert!(wider.high - wider.low < interval.high - interval.low);
        }
    }
}
