//! Permutation tests: how often chance alone gives a difference as large.

use rayon::prelude::*;
use thiserror::Error;

use crate::special::Random;

/// Why there is no permutation test.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PermutationError {
    /// No values.
    #[error("{input}: expected at least one value, found none")]
    Empty {
        /// Which side.
        input: &'static str,
    },
    /// Pairs need as many values on both sides.
    #[error("second: expected {expected} values, one for each of the first, found {found}")]
    Count {
        /// Values of the first.
        expected: usize,
        /// Values of the second.
        found: usize,
    },
    /// A value is not finite.
    #[error("{input}, value {at}: expected a finite number, found {found}")]
    NotFinite {
        /// Which side.
        input: &'static str,
        /// Its place.
        at: usize,
        /// The value.
        found: f64,
    },
    /// No permutations.
    #[error("permutations: expected at least 1, found 0")]
    Permutations,
}

/// The result of a permutation test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PermutationTest {
    /// Mean of the first less mean of the second.
    pub difference: f64,
    /// Two-sided: the share of arrangements with a difference at least as large.
    pub p_value: f64,
    /// Whether every arrangement was looked at.
    pub is_exact: bool,
}

/// Differences this much smaller, relatively, still count as large: sums in another order are not smaller.
const SLACK: f64 = 1e-12;

/// Do two models differ on the same images? The two values of each image change places at random.
///
/// All 2ⁿ arrangements are looked at where they are at most `permutations`; otherwise so many are drawn, and
/// p = (1 + as large) / (1 + drawn), which is never 0.
///
/// - `first`, `second`: `[n]`, finite, n ≥ 1.
///
/// # Errors
/// [`PermutationError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::statistics::paired_permutation_test;
/// let found = paired_permutation_test(&[3.0, 4.0, 6.0], &[1.0, 2.0, 3.0], 1000, 0)?;
/// assert!(found.is_exact && found.p_value == 0.25); // two of eight arrangements are as far apart
/// # Ok::<(), nearkin_metrics::statistics::PermutationError>(())
/// ```
pub fn paired_permutation_test(
    first: &[f64],
    second: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, PermutationError> {
    check(first, second, permutations)?;
    if first.len() != second.len() {
        return Err(PermutationError::Count { expected: first.len(), found: second.len() });
    }
    let n = first.len();
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let observed = differences.iter().sum::<f64>();
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    let limit = observed.abs() - SLACK * scale;
    let is_exact = n < 64 && 1_u64 << n <= permutations as u64;
    let is_large = |random: &mut dyn FnMut() -> u64| {
        let signed = differences.chunks(64).map(|chunk| {
            let bits = random();
            let terms = chunk.iter().enumerate();
            terms.map(|(at, d)| if bits >> at & 1 == 1 { *d } else { -d }).sum::<f64>()
        });
        signed.sum::<f64>().abs() >= limit
    };
    let p_value = if is_exact {
        let all = 1_u64 << n;
        let large = (0..all).into_par_iter().filter(|&bits| is_large(&mut || bits)).count();
        large as f64 / all as f64
    } else {
        let drawn = |nth: usize| {
            let mut random = Random::new(seed, nth as u64);
            is_large(&mut || random.next())
        };
        share(permutations, drawn)
    };
    Ok(PermutationTest { difference: observed / n as f64, p_value, is_exact })
}

/// Do two samples differ in their means? Values change sides at random.
///
/// `permutations` arrangements are drawn; p = (1 + as large) / (1 + drawn).
///
/// - `first`: `[n]`, `second`: `[m]`, finite, n, m ≥ 1.
///
/// # Errors
/// [`PermutationError`].
pub fn permutation_test(
    first: &[f64],
    second: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, PermutationError> {
    check(first, second, permutations)?;
    let (n, m) = (first.len() as f64, second.len() as f64);
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let total: f64 = all.iter().sum();
    let scale: f64 = all.iter().map(|v| v.abs()).sum::<f64>() * (1.0 / n + 1.0 / m);
    let apart = |sum: f64| sum / n - (total - sum) / m;
    let difference = apart(first.iter().sum());
    let limit = difference.abs() - SLACK * scale;
    let p_value = share(permutations, |nth| {
        let sample = Random::new(seed, nth as u64).sample(all.len(), first.len());
        apart(sample.into_iter().map(|at| all[at]).sum()).abs() >= limit
    });
    Ok(PermutationTest { difference, p_value, is_exact: false })
}

fn share(permutations: usize, is_large: impl Fn(usize) -> bool + Sync) -> f64 {
    let large = (0..permutations).into_par_iter().filter(|&nth| is_large(nth)).count();
    (1 + large) as f64 / (1 + permutations) as f64
}

fn check(first: &[f64], second: &[f64], permutations: usize) -> Result<(), PermutationError> {
    for (input, values) in [("first", first), ("second", second)] {
        if values.is_empty() {
            return Err(PermutationError::Empty { input });
        }
        if let Some((at, &found)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(PermutationError::NotFinite { input, at, found });
        }
    }
    if permutations == 0 { Err(PermutationError::Permutations) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_arrangements_come_close_to_all_of_them() {
        let first: Vec<f64> = (0..12).map(|i| f64::from(crate::noise(i, 0)) + 0.15).collect();
        let second: Vec<f64> = (0..12).map(|i| f64::from(crate::noise(i, 1))).collect();
        let exact = paired_permutation_test(&first, &second, 4096, 0).unwrap();
        let drawn = paired_permutation_test(&first, &second, 4000, 7).unwrap();
        assert!(exact.is_exact && !drawn.is_exact);
        assert!((exact.p_value - drawn.p_value).abs() < 0.03, "{exact:?} {drawn:?}");
    }

    #[test]
    fn two_samples_are_compared_over_all_ways_to_part_them() {
        // 20 ways to part {0, 1, 2, 10, 11, 12} into threes; two are as far apart.
        let found = permutation_test(&[0.0, 1.0, 2.0], &[10.0, 11.0, 12.0], 20_000, 3).unwrap();
        assert!((found.p_value - 0.1).abs() < 0.01, "{found:?}");
        let same = permutation_test(&[1.0; 3], &[1.0; 4], 100, 0).unwrap();
        assert_eq!((same.difference, same.p_value), (0.0, 1.0));
    }

    #[test]
    fn what_has_no_arrangements_is_refused() {
        let error =
            |a: &[f64], b: &[f64], n| paired_permutation_test(a, b, n, 0).unwrap_err().to_string();
        assert_eq!(error(&[], &[], 1), "first: expected at least one value, found none");
        assert_eq!(
            error(&[0.0], &[f64::NAN], 1),
            "second, value 0: expected a finite number, found NaN"
        );
        assert!(error(&[0.0], &[0.0, 1.0], 1).contains("one for each"));
        assert!(error(&[0.0], &[0.0], 0).starts_with("permutations"));
    }
}
