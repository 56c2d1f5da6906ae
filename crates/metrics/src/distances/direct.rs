//! Measures summed directly in f64: the pair, row by row, and all pairs in blocks.

#![expect(unsafe_code, reason = "functions built for instructions that are checked at run time")]

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use super::lanes::{exp2, largest, log2, sum, total};
use super::{Measure, MeasureError};
use crate::points::Points;
use crate::{Distance, DistanceError};

/// Rows of the left side that pass over a group of right rows while it is in the cache.
const LEFT: usize = 32;

/// The distance of two vectors.
///
/// - `x`, `y`: `[d]`, finite; of at least 0 for measures of histograms.
/// - returns: relative error about 10⁻¹⁵; where a measure is a difference of sums (correlation, Jaccard,
///   the divergences), relative to the terms that are summed.
///
/// # Errors
/// [`MeasureError`]: lengths that differ, values that are not finite, negative or empty histograms
/// (`row` is 0), an order below 1.
///
/// # Examples
/// ```
/// use nearkin_metrics::distances::{Measure, between};
/// use ndarray::arr1;
/// let (x, y) = (arr1(&[1.0, 0.0, 1.0]), arr1(&[4.0, 0.0, 5.0]));
/// assert_eq!(between(x.view(), y.view(), Measure::Chebyshev)?, 4.0);
/// assert!((between(x.view(), y.view(), Measure::Canberra)? - (3.0 / 5.0 + 4.0 / 6.0)).abs() < 1e-15);
/// # Ok::<(), nearkin_metrics::distances::MeasureError>(())
/// ```
pub fn between(
    x: ArrayView1<'_, f32>,
    y: ArrayView1<'_, f32>,
    measure: impl Into<Measure>,
) -> Result<f64, MeasureError> {
    let rows = row_wise(x.insert_axis(Axis(0)), y.insert_axis(Axis(0)), measure)?;
    Ok(rows[0])
}

/// The distance of each row of `x` from the row of `y` at the same place.
///
/// - `x`, `y`: `[n, d]`, as in [`between`].
/// - returns: `[n]`.
///
/// # Errors
/// As [`between`]; [`MeasureError::Rows`] if the sides have not as many rows.
pub fn row_wise(
    x: ArrayView2<'_, f32>,
    y: ArrayView2<'_, f32>,
    measure: impl Into<Measure>,
) -> Result<Array1<f64>, MeasureError> {
    let measure = measure.into();
    if x.nrows() != y.nrows() {
        return Err(MeasureError::Rows { expected: x.nrows(), found: y.nrows() });
    }
    if let Measure::Of(distance) = measure {
        let (x, y) = (Points::new(x, "x", distance)?, Points::new(y, "y", distance)?);
        same_width(x.width(), y.width())?;
        return Ok((0..x.len()).map(|row| distance.between(x.row(row), y.row(row))).collect());
    }
    let (x, y) = (Rows::new(x, "x", measure)?, Rows::new(y, "y", measure)?);
    same_width(x.width, y.width)?;
    Ok((0..x.totals.len()).map(|row| x.distance(row, &y, row)).collect())
}

/// The distances of every row of `x` from every row of `y`.
///
/// [`Distance`]s go to the blocked kernels of [`crate::pairwise`]; all others are summed in f64 and
/// rounded once. Runs on the current rayon pool; the result does not depend on the number of threads.
/// Cost: O(n m d); memory: the result and f64 copies of both sides.
///
/// - `x`: `[n, d]`, `y`: `[m, d]`, as in [`between`].
/// - returns: `[n, m]`.
///
/// # Errors
/// As [`between`].
///
/// # Examples
/// ```
/// use nearkin_metrics::distances::{Measure, pairwise};
/// let x = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0]]);
/// let all = pairwise(x.view(), x.view(), Measure::EarthMovers)?;
/// assert_eq!(all, ndarray::arr2(&[[0.0, 1.0], [1.0, 0.0]])); // one unit moves by one bin
/// # Ok::<(), nearkin_metrics::distances::MeasureError>(())
/// ```
pub fn pairwise(
    x: ArrayView2<'_, f32>,
    y: ArrayView2<'_, f32>,
    measure: impl Into<Measure>,
) -> Result<Array2<f32>, MeasureError> {
    let measure = measure.into();
    if let Measure::Of(distance) = measure {
        return Ok(crate::pairwise(x, y, distance)?);
    }
    let (x, y) = (Rows::new(x, "x", measure)?, Rows::new(y, "y", measure)?);
    same_width(x.width, y.width)?;
    let (n, m) = (x.totals.len(), y.totals.len());
    let mut out = Array2::zeros((n, m));
    let block = n.div_ceil(4 * rayon::current_num_threads()).clamp(1, LEFT);
    if let Some(values) = out.as_slice_mut()
        && m > 0
    {
        values.par_chunks_mut(block * m).enumerate().for_each(|(at, out)| {
            x.fill(at * block..at * block + out.len() / m, &y, 0..m, out);
        });
    }
    Ok(out)
}

pub(crate) fn same_width(expected: usize, found: usize) -> Result<(), DistanceError> {
    if expected == found { Ok(()) } else { Err(DistanceError::Width { expected, found }) }
}

/// Rows in f64, brought to the form that their measure sums.
pub(crate) struct Rows {
    measure: Measure,
    width: usize,
    /// `[n, width]`: shares, their roots or cumulative sums, unit vectors, or 0 and 1, by measure.
    values: Vec<f64>,
    /// ln of the shares, where needed.
    logs: Vec<f64>,
    /// The sums of the values as they stand here.
    totals: Vec<f64>,
}

impl Rows {
    /// Checks and prepares `rows` for a measure other than [`Measure::Of`].
    pub(crate) fn new(
        rows: ArrayView2<'_, f32>,
        input: &'static str,
        measure: Measure,
    ) -> Result<Self, MeasureError> {
        measure.check()?;
        // The kernels' own check of signs is by distance.
        let like = if measure.is_of_histograms() {
            Distance::HistogramIntersection
        } else {
            Distance::Euclidean
        };
        let points = Points::new(rows, input, like)?;
        let (n, width) = (points.len(), points.width());
        let mut values = Vec::with_capacity(n * width);
        for row in 0..n {
            values.extend(points.row(row).iter().map(|&v| f64::from(v)));
        }
        let mut totals = vec![0.0; n];
        for (row, total) in totals.iter_mut().enumerate() {
            let values = &mut values[row * width..(row + 1) * width];
            if measure.is_of_shares() {
                let sum: f64 = values.iter().sum();
                if sum <= 0.0 {
                    return Err(MeasureError::Empty { input, row });
                }
                values.iter_mut().for_each(|v| *v /= sum);
            }
            prepare(measure, values);
            *total = values.iter().sum();
        }
        let logs = match measure {
            Measure::KullbackLeibler => values.iter().map(|v| v.ln()).collect(),
            _ => Vec::new(),
        };
        Ok(Self { measure, width, values, logs, totals })
    }

    pub(crate) fn len(&self) -> usize {
        self.totals.len()
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The distance of a row from one of `other`, which was prepared for the same measure and width.
    pub(crate) fn distance(&self, row: usize, other: &Rows, other_row: usize) -> f64 {
        let mut out = [0.0];
        self.fill_with(row..row + 1, other, other_row..other_row + 1, |_, d| out[0] = d);
        out[0]
    }

    /// Hands over the distance of a row from each row of `other`.
    pub(crate) fn each(&self, row: usize, other: &Rows, put: impl FnMut(usize, f64)) {
        self.fill_with(row..row + 1, other, 0..other.len(), put);
    }

    /// Distances of `rows` from `others` of `other`, row after row, rounded to f32.
    pub(crate) fn fill(
        &self,
        rows: Range<usize>,
        other: &Rows,
        others: Range<usize>,
        out: &mut [f32],
    ) {
        self.fill_with(rows, other, others, |at, d| out[at] = d as f32);
    }

    fn fill_with(
        &self,
        rows: Range<usize>,
        other: &Rows,
        others: Range<usize>,
        put: impl FnMut(usize, f64),
    ) {
        let pairs = Pairs { left: self, rows, right: other, columns: others };
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the instructions were just seen.
                return unsafe { fill_avx512(pairs, put) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { fill_avx2(pairs, put) };
            }
        }
        fill_here(pairs, put);
    }

    fn values(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    fn logs(&self, row: usize) -> &[f64] {
        &self.logs[row * self.width..(row + 1) * self.width]
    }
}

/// Brings a row to the form that its measure sums.
fn prepare(measure: Measure, values: &mut [f64]) {
    match measure {
        Measure::Hellinger => values.iter_mut().for_each(|v| *v = v.sqrt()),
        Measure::EarthMovers => {
            let mut sum = 0.0;
            for v in values {
                sum += *v;
                *v = sum;
            }
        }
        Measure::Correlation => {
            let first = values.first().copied().unwrap_or_default();
            // Rounding must not make a direction out of a constant row.
            if values.iter().all(|v| v.total_cmp(&first).is_eq()) {
                values.fill(0.0);
                return;
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter_mut().for_each(|v| *v -= mean);
            let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.iter_mut().for_each(|v| *v /= norm);
        }
        Measure::Jaccard | Measure::Dice => {
            values.iter_mut().for_each(|v| *v = f64::from(u8::from(v.abs() > 0.0)));
        }
        _ => {}
    }
}

struct Pairs<'a> {
    left: &'a Rows,
    rows: Range<usize>,
    right: &'a Rows,
    columns: Range<usize>,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fill_avx512(pairs: Pairs<'_>, put: impl FnMut(usize, f64)) {
    fill_here(pairs, put);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(pairs: Pairs<'_>, put: impl FnMut(usize, f64)) {
    fill_here(pairs, put);
}

#[inline(always)]
fn fill_here(pairs: Pairs<'_>, put: impl FnMut(usize, f64)) {
    let d = pairs.left.width as f64;
    let shares = |sum: f64, of: f64| if of > 0.0 { sum / of } else { 0.0 };
    match pairs.left.measure {
        Measure::Minkowski { p } => minkowski(pairs, p, put),
        Measure::Chebyshev => each(pairs, put, |x, y| largest(x.0, y.0, |a, b| (a - b).abs())),
        Measure::Canberra => each(pairs, put, |x, y| {
            sum(x.0, y.0, |a, b| {
                let size = a.abs() + b.abs();
                if size > 0.0 { (a - b).abs() / size } else { 0.0 }
            })
        }),
        Measure::BrayCurtis => each(pairs, put, |x, y| {
            let apart = sum(x.0, y.0, |a, b| (a - b).abs());
            let together = sum(x.0, y.0, |a, b| (a + b).abs());
            if apart > 0.0 { apart / together } else { 0.0 }
        }),
        Measure::Correlation => {
            each(pairs, put, |x, y| (1.0 - sum(x.0, y.0, |a, b| a * b)).clamp(0.0, 2.0));
        }
        Measure::Hellinger => {
            each(pairs, put, |x, y| (sum(x.0, y.0, |a, b| (a - b) * (a - b)) / 2.0).sqrt().min(1.0))
        }
        Measure::JensenShannon => jensen_shannon(pairs, put),
        Measure::KullbackLeibler => kullback_leibler(pairs, put),
        Measure::EarthMovers => each(pairs, put, |x, y| sum(x.0, y.0, |a, b| (a - b).abs())),
        Measure::Hamming => each(pairs, put, |x, y| {
            shares(sum(x.0, y.0, |a, b| if (a - b).abs() > 0.0 { 1.0 } else { 0.0 }), d)
        }),
        Measure::Jaccard => each(pairs, put, |x, y| {
            let both = sum(x.0, y.0, |a, b| a * b);
            let any = x.1 + y.1 - both;
            shares(any - both, any)
        }),
        Measure::Dice => each(pairs, put, |x, y| {
            let both = sum(x.0, y.0, |a, b| a * b);
            shares(x.1 + y.1 - 2.0 * both, x.1 + y.1)
        }),
        Measure::Of(distance) => debug_assert!(false, "{distance:?} has kernels of its own"),
    }
}

/// Right rows at a time: their values stay in the second cache while the left rows pass.
const RIGHT_BYTES: usize = 1 << 17;

impl Pairs<'_> {
    /// (where the distance goes, row, column) of every pair, in an order that is kind to the cache.
    #[inline(always)]
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (rows, columns) = (self.rows.clone(), self.columns.clone());
        let group = (RIGHT_BYTES / 8 / self.left.width.max(1)).max(1);
        columns.clone().step_by(group).flat_map(move |start| {
            let (rows, columns) = (rows.clone(), columns.clone());
            let end = columns.end.min(start + group);
            rows.clone().flat_map(move |row| {
                let first = (row - rows.start) * columns.len();
                let begin = columns.start;
                (start..end).map(move |column| (first + column - begin, row, column))
            })
        })
    }
}

/// Every pair; `of` gets values and totals. Short closures only: a long one is not inlined, and then not built for the
/// wide instructions.
#[inline(always)]
fn each(
    pairs: Pairs<'_>,
    mut put: impl FnMut(usize, f64),
    of: impl Fn((&[f64], f64), (&[f64], f64)) -> f64,
) {
    let Pairs { left, rows, right, columns } = pairs;
    let group = (RIGHT_BYTES / 8 / left.width.max(1)).max(1);
    for start in columns.clone().step_by(group) {
        for row in rows.clone() {
            let x = (left.values(row), left.totals[row]);
            for column in start..columns.end.min(start + group) {
                let y = (right.values(column), right.totals[column]);
                let at = (row - rows.start) * columns.len() + column - columns.start;
                put(at, of(x, y));
            }
        }
    }
}

/// Terms written down before they are added: a plain loop over them becomes vectors where a sum would not.
const BLOCK: usize = 64;

#[inline(always)]
fn jensen_shannon(pairs: Pairs<'_>, mut put: impl FnMut(usize, f64)) {
    for (at, row, column) in pairs.places() {
        let (p, q) = (pairs.left.values(row), pairs.right.values(column));
        let (mut bits, mut terms) = (0.0, [0.0; BLOCK]);
        for (p, q) in p.chunks(BLOCK).zip(q.chunks(BLOCK)) {
            for ((out, &p), &q) in terms.iter_mut().zip(p).zip(q) {
                let m = (p + q) / 2.0;
                let m = if m > 0.0 { m } else { 1.0 };
                // The logarithm of nothing is some number: 0 times it is 0.
                *out = p * log2(p / m) + q * log2(q / m);
            }
            bits += total(&terms[..p.len()]);
        }
        put(at, (bits.max(0.0) / 2.0 * std::f64::consts::LN_2).sqrt());
    }
}

#[inline(always)]
fn any_minkowski(pairs: Pairs<'_>, order: f64, mut put: impl FnMut(usize, f64)) {
    for (at, row, column) in pairs.places() {
        let (x, y) = (pairs.left.values(row), pairs.right.values(column));
        // Relative to the largest difference, so that no power overflows.
        let most = largest(x, y, |a, b| (a - b).abs());
        if most <= 0.0 {
            put(at, 0.0);
            continue;
        }
        let inverse = most.recip();
        let (mut powers, mut terms) = (0.0, [0.0; BLOCK]);
        for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
            for ((out, &a), &b) in terms.iter_mut().zip(x).zip(y) {
                let v = (a - b).abs() * inverse;
                let power = exp2(order * log2(if v < 1.0 { v } else { 1.0 }));
                *out = if v > 0.0 { power } else { 0.0 };
            }
            powers += total(&terms[..x.len()]);
        }
        put(at, most * powers.powf(order.recip()));
    }
}

#[inline(always)]
fn minkowski(pairs: Pairs<'_>, p: f64, put: impl FnMut(usize, f64)) {
    // Powers of f32 up to the fourth neither overflow nor vanish in f64. The orders that people use are products.
    let order = [1.0, 2.0, 3.0, 4.0].iter().position(|&whole: &f64| whole.total_cmp(&p).is_eq());
    match order {
        Some(0) => each(pairs, put, |x, y| sum(x.0, y.0, |a, b| (a - b).abs())),
        Some(1) => each(pairs, put, |x, y| sum(x.0, y.0, |a, b| (a - b) * (a - b)).sqrt()),
        Some(2) => each(pairs, put, |x, y| {
            sum(x.0, y.0, |a, b| {
                let v = (a - b).abs();
                v * v * v
            })
            .cbrt()
        }),
        Some(_) => each(pairs, put, |x, y| {
            sum(x.0, y.0, |a, b| {
                let v = (a - b) * (a - b);
                v * v
            })
            .sqrt()
            .sqrt()
        }),
        None => any_minkowski(pairs, p, put),
    }
}

#[inline(always)]
fn kullback_leibler(pairs: Pairs<'_>, mut put: impl FnMut(usize, f64)) {
    let Pairs { left, rows, right, columns } = pairs;
    for row in rows.clone() {
        let (p, ln_p) = (left.values(row), left.logs(row));
        for column in columns.clone() {
            let ln_q = right.logs(column);
            // ln 0 is −∞: a bin that only p has makes the sum infinite, and one that p lacks adds 0.
            let terms = p.iter().zip(ln_p).zip(ln_q);
            let sum: f64 = terms.map(|((&p, a), b)| if p > 0.0 { p * (a - b) } else { 0.0 }).sum();
            put((row - rows.start) * columns.len() + column - columns.start, sum.max(0.0));
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests;
