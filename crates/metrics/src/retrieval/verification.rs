//! Verification: are two images of one class? Errors of a threshold on their distance.

use ndarray::{ArrayView2, s};
use thiserror::Error;

use crate::distances::{Measure, MeasureError, pairwise};
use crate::{Labelled, quantile};

/// Why verification has no rates.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum VerificationError {
    /// The embeddings cannot be compared.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// There are no pairs of one kind.
    #[error("{input}: expected at least one distance, found none")]
    Empty {
        /// Genuine or impostor pairs.
        input: &'static str,
    },
    /// A distance is not a number.
    #[error("{input}, distance {at}: expected a number, found NaN")]
    NotANumber {
        /// Genuine or impostor pairs.
        input: &'static str,
        /// Its place.
        at: usize,
    },
    /// A rate outside of \[0, 1\].
    #[error("false match rate: expected a share from 0 to 1, found {found}")]
    Rate {
        /// The rate given.
        found: f64,
    },
    /// There are not as many labels as embeddings.
    #[error("labels: expected {expected}, one per embedding, found {found}")]
    Count {
        /// Embeddings.
        expected: usize,
        /// Labels.
        found: usize,
    },
}

/// The false non-match rate at a false match rate: the share of genuine pairs that are at least as far apart as the
/// `fmr` quantile of the impostors (interpolated, as [`quantile`]).
///
/// - `genuine`, `impostor`: distances of pairs of one class and of two; at least one each, no NaN.
/// - `fmr`: in \[0, 1\].
///
/// # Errors
/// [`VerificationError`].
///
/// # Examples
/// ```
/// let genuine = [0.1, 0.2, 0.3, 0.9];
/// let impostor = [0.5, 0.6, 0.7, 0.8, 0.9];
/// let found = nearkin_metrics::retrieval::fnmr_at_fmr(&genuine, &impostor, 0.25)?;
/// assert_eq!(found, 0.25); // one of four is at 0.6 or beyond
/// # Ok::<(), nearkin_metrics::retrieval::VerificationError>(())
/// ```
pub fn fnmr_at_fmr(genuine: &[f64], impostor: &[f64], fmr: f64) -> Result<f64, VerificationError> {
    check(genuine, impostor)?;
    let threshold = quantile(impostor, fmr).ok_or(VerificationError::Rate { found: fmr })?;
    let rejected = genuine.iter().filter(|&&distance| distance >= threshold).count();
    Ok(rejected as f64 / genuine.len() as f64)
}

/// The rate at which as large a share of impostors is accepted as of genuine pairs is rejected.
///
/// A pair is accepted if it is at most a threshold apart; between two thresholds the rates are interpolated along
/// the straight line of the ROC curve.
///
/// # Errors
/// As [`fnmr_at_fmr`].
pub fn equal_error_rate(genuine: &[f64], impostor: &[f64]) -> Result<f64, VerificationError> {
    check(genuine, impostor)?;
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (genuine, impostor) = (sorted(genuine), sorted(impostor));
    let at_most = |values: &[f64], t: f64| values.partition_point(|&v| v <= t) as f64;
    let (of_genuine, of_impostor) = (genuine.len() as f64, impostor.len() as f64);
    let rates =
        |t: f64| (at_most(&impostor, t) / of_impostor, 1.0 - at_most(&genuine, t) / of_genuine);
    let mut before = (0.0, 1.0);
    let mut thresholds: Vec<f64> = genuine.iter().chain(&impostor).copied().collect();
    thresholds.sort_unstable_by(f64::total_cmp);
    // FMR − FNMR rises from −1 to 1: the first threshold where it is not below 0.
    let at = thresholds.partition_point(|&t| {
        let (fmr, fnmr) = rates(t);
        fmr < fnmr
    });
    if at > 0 {
        before = rates(thresholds[at - 1]);
    }
    Ok(crossing(before, rates(thresholds[at.min(thresholds.len() - 1)])))
}

/// Where the line from one pair of rates to another has FMR = FNMR.
fn crossing(before: (f64, f64), after: (f64, f64)) -> f64 {
    let (low, high) = (before.1 - before.0, after.0 - after.1);
    let share = if low + high > 0.0 { low / (low + high) } else { 0.0 };
    before.0 + share * (after.0 - before.0)
}

fn check(genuine: &[f64], impostor: &[f64]) -> Result<(), VerificationError> {
    for (input, values) in [("genuine", genuine), ("impostor", impostor)] {
        if values.is_empty() {
            return Err(VerificationError::Empty { input });
        }
        if let Some(at) = values.iter().position(|v| v.is_nan()) {
            return Err(VerificationError::NotANumber { input, at });
        }
    }
    Ok(())
}

/// Rates over all pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Pairs of one class.
    pub genuine: u64,
    /// Pairs of two classes.
    pub impostor: u64,
    /// The false non-match rate at each false match rate asked for.
    pub fnmrs: Vec<f64>,
    /// The equal error rate.
    pub equal_error_rate: f64,
}

/// [`fnmr_at_fmr`] and [`equal_error_rate`] over all pairs i < j of a set, in memory that does not grow with n².
///
/// Distances are f32 ([`pairwise`]), so they are counted by their bits: two passes over all pairs, the first by
/// the upper half of the bits, the second by the lower half where a quantile or the crossing lies. The result is
/// that of sorting them. Cost: twice O(n² d); memory: one block of distances and the counts.
///
/// - `set`: `[n, d]` with labels; at least one pair of each kind.
/// - `fmrs`: false match rates, in \[0, 1\].
///
/// # Errors
/// [`VerificationError`].
pub fn verification(
    set: Labelled<'_>,
    measure: impl Into<Measure>,
    fmrs: &[f64],
) -> Result<Verification, VerificationError> {
    let Labelled { embeddings, labels } = set;
    let measure = measure.into();
    if labels.len() != embeddings.nrows() {
        let (expected, found) = (embeddings.nrows(), labels.len());
        return Err(VerificationError::Count { expected, found });
    }
    if let Some(&found) = fmrs.iter().find(|fmr| !(0.0..=1.0).contains(*fmr)) {
        return Err(VerificationError::Rate { found });
    }
    let mut upper = [vec![0_u64; 1 << 16], vec![0_u64; 1 << 16]];
    each_pair(embeddings, labels, measure, |kind, bits| upper[kind][(bits >> 16) as usize] += 1)?;
    let [genuine, impostor] = [0, 1].map(|kind: usize| upper[kind].iter().sum::<u64>());
    for (input, count) in [("genuine", genuine), ("impostor", impostor)] {
        if count == 0 {
            return Err(VerificationError::Empty { input });
        }
    }
    // The bins of the upper half that must be seen in full.
    let bin_of = |counts: &[u64], nth: u64| {
        let mut sum = 0;
        counts.iter().position(|count| {
            sum += count;
            sum > nth
        })
    };
    let mut wanted: Vec<usize> = Vec::new();
    let places = |fmr: f64| {
        let rank = fmr * (impostor - 1) as f64;
        (rank.floor() as u64, rank.ceil() as u64, rank.fract())
    };
    for &fmr in fmrs {
        let (below, above, _) = places(fmr);
        wanted.extend([below, above].into_iter().filter_map(|nth| bin_of(&upper[1], nth)));
    }
    let rates_at = |accepted: [u64; 2]| {
        let share = |kind: usize, of: u64| accepted[kind] as f64 / of as f64;
        (share(1, impostor), 1.0 - share(0, genuine))
    };
    let mut accepted = [0, 0];
    let mut crossed = None;
    for (bin, (g, i)) in upper[0].iter().zip(&upper[1]).enumerate() {
        let next = [accepted[0] + g, accepted[1] + i];
        let (fmr, fnmr) = rates_at(next);
        if fmr >= fnmr {
            crossed = Some((bin, accepted));
            break;
        }
        accepted = next;
    }
    let (bin, mut accepted) = crossed.unwrap_or((0, [0, 0]));
    wanted.push(bin);
    wanted.sort_unstable();
    wanted.dedup();
    let mut lower = vec![[vec![0_u64; 1 << 16], vec![0_u64; 1 << 16]]; wanted.len()];
    each_pair(embeddings, labels, measure, |kind, bits| {
        if let Ok(at) = wanted.binary_search(&((bits >> 16) as usize)) {
            lower[at][kind][(bits & 0xffff) as usize] += 1;
        }
    })?;
    let lower_of = |bin: usize| wanted.binary_search(&bin).ok().map(|at| &lower[at]);
    let mut before = rates_at(accepted);
    let mut equal = before.0;
    if let Some([g, i]) = lower_of(bin) {
        for (g, i) in g.iter().zip(i).filter(|(g, i)| **g + **i > 0) {
            accepted = [accepted[0] + g, accepted[1] + i];
            let after = rates_at(accepted);
            if after.0 >= after.1 {
                equal = crossing(before, after);
                break;
            }
            before = after;
        }
    }
    let nth = |nth: u64| {
        let bin = bin_of(&upper[1], nth)?;
        let before: u64 = upper[1][..bin].iter().sum();
        let low = bin_of(&lower_of(bin)?[1], nth - before)?;
        Some(f64::from(from_bits((bin << 16 | low) as u32)))
    };
    let fnmr = |fmr: f64| {
        let (below, above, part) = places(fmr);
        let (below, above) = (nth(below)?, nth(above)?);
        let threshold = if part > 0.0 { below * (1.0 - part) + above * part } else { below };
        // The largest f32 below the threshold; a threshold between two f32s rejects from the upper one on.
        let rounded = threshold as f32;
        let first =
            if f64::from(rounded) < threshold { to_bits(rounded) + 1 } else { to_bits(rounded) };
        let bin = (first >> 16) as usize;
        let nearer: u64 = upper[0][..bin].iter().sum();
        let within =
            lower_of(bin).map(|counts| counts[0][..(first & 0xffff) as usize].iter().sum());
        // Interpolation may leave the bins that were counted; then both ends lie around a bin without genuine pairs.
        let within: u64 = match within {
            Some(count) => count,
            None if upper[0][bin] == 0 => 0,
            None => return None,
        };
        Some((genuine - nearer - within) as f64 / genuine as f64)
    };
    let mut fnmrs = Vec::with_capacity(fmrs.len());
    for &fmr in fmrs {
        match fnmr(fmr) {
            Some(rate) => fnmrs.push(rate),
            None => fnmrs.push(counted_again(set, measure, fmr, &nth, places(fmr), genuine)?),
        }
    }
    Ok(Verification { genuine, impostor, fnmrs, equal_error_rate: equal })
}

/// A third pass, for a threshold between two impostors so far apart that genuine pairs fill the bins between.
fn counted_again(
    set: Labelled<'_>,
    measure: Measure,
    fmr: f64,
    nth: &dyn Fn(u64) -> Option<f64>,
    (below, above, part): (u64, u64, f64),
    genuine: u64,
) -> Result<f64, VerificationError> {
    let ends = nth(below).zip(nth(above)).ok_or(VerificationError::Rate { found: fmr })?;
    let threshold = ends.0 * (1.0 - part) + ends.1 * part;
    let mut rejected = 0_u64;
    each_pair(set.embeddings, set.labels, measure, |kind, bits| {
        rejected += u64::from(kind == 0 && f64::from(from_bits(bits)) >= threshold);
    })?;
    Ok(rejected as f64 / genuine as f64)
}

/// Bits that rise with the value.
fn to_bits(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits(); // −0 becomes 0
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

/// Distances held at once.
const BLOCK: usize = 1 << 25;

/// Every pair i < j: 0 or 1 for one class or two, and the distance's rising bits.
fn each_pair(
    embeddings: ArrayView2<'_, f32>,
    labels: &[usize],
    measure: Measure,
    mut count: impl FnMut(usize, u32),
) -> Result<(), MeasureError> {
    let n = labels.len();
    let rows = (BLOCK / n.max(1)).clamp(1, n.max(1));
    for start in (0..n).step_by(rows) {
        let end = n.min(start + rows);
        let distances = pairwise(
            embeddings.slice(s![start..end, ..]),
            embeddings.slice(s![start.., ..]),
            measure,
        )?;
        for (at, row) in distances.rows().into_iter().enumerate() {
            let label = labels[start + at];
            for (&distance, &other) in row.iter().zip(&labels[start..]).skip(at + 1) {
                count(usize::from(label != other), to_bits(distance));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Distance;
    use ndarray::Array2;
    use proptest::prelude::*;

    /// The curve walked one threshold after the other.
    fn oracle_of_equal_errors(genuine: &[f64], impostor: &[f64]) -> f64 {
        let mut thresholds: Vec<f64> = genuine.iter().chain(impostor).copied().collect();
        thresholds.sort_by(f64::total_cmp);
        let share = |values: &[f64], t: f64| {
            values.iter().filter(|&&v| v <= t).count() as f64 / values.len() as f64
        };
        let mut last = (0.0, 1.0);
        for t in thresholds {
            let now = (share(impostor, t), 1.0 - share(genuine, t));
            if now.0 >= now.1 {
                // fmr = fnmr on the segment, by bisection.
                let (mut low, mut high) = (0.0, 1.0);
                for _ in 0..80 {
                    let mid = (low + high) / 2.0;
                    let fmr = last.0 + mid * (now.0 - last.0);
                    let fnmr = last.1 + mid * (now.1 - last.1);
                    if fmr < fnmr { low = mid } else { high = mid }
                }
                return last.0 + low * (now.0 - last.0);
            }
            last = now;
        }
        unreachable!("everything is accepted at the largest threshold")
    }

    proptest! {
        #[test]
        fn all_pairs_counted_by_bits_are_all_pairs_sorted(n in 4_usize..40, classes in 2_usize..5, seed in 0_usize..500, coarse: bool) {
            let x = Array2::from_shape_fn((n, 3), |(i, j)| {
                let v = crate::noise(i + 50 * seed, j) - 0.5;
                if coarse { (4.0 * v).round() } else { v }
            });
            let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
            let set = Labelled { embeddings: x.view(), labels: &labels };
            for distance in [Distance::Euclidean, Distance::InnerProduct] {
                let all = crate::pairwise(x.view(), x.view(), distance).unwrap();
                let mut pairs = [Vec::new(), Vec::new()];
                for i in 0..n {
                    for j in i + 1..n {
                        pairs[usize::from(labels[i] != labels[j])].push(f64::from(all[[i, j]]));
                    }
                }
                let fmrs = [0.0, 0.1, 0.37, 0.5, 1.0];
                let found = verification(set, distance, &fmrs);
                if pairs[0].is_empty() {
                    prop_assert!(found.is_err());
                    continue;
                }
                let found = found.unwrap();
                let expected = fmrs.map(|fmr| fnmr_at_fmr(&pairs[0], &pairs[1], fmr).unwrap());
                prop_assert_eq!(found.fnmrs, expected.to_vec());
                let equal = equal_error_rate(&pairs[0], &pairs[1]).unwrap();
                prop_assert!((found.equal_error_rate - equal).abs() < 1e-14);
                prop_assert!((equal - oracle_of_equal_errors(&pairs[0], &pairs[1])).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn rates_at_the_ends_and_what_is_refused() {
        assert_eq!(equal_error_rate(&[0.0, 1.0], &[2.0, 3.0]), Ok(0.0));
        assert_eq!(equal_error_rate(&[2.0, 3.0], &[0.0, 1.0]), Ok(1.0));
        assert_eq!(equal_error_rate(&[1.0], &[1.0]), Ok(0.5));
        assert!(equal_error_rate(&[], &[1.0]).unwrap_err().to_string().starts_with("genuine"));
        assert!(fnmr_at_fmr(&[1.0], &[f64::NAN], 0.5).is_err());
        assert_eq!(fnmr_at_fmr(&[1.0], &[1.0], 1.5), Err(VerificationError::Rate { found: 1.5 }));
    }
}
