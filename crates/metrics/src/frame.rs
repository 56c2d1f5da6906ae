//! Where rows are moved before they are multiplied, and how far the f32 scores can be off.
//!
//! ‖x‖² + ‖y‖² − 2 x·y cancels in f32: neighbours get lost. So points are moved close to the origin
//! and scaled, and every score comes with a bound on its error; whatever the bound cannot tell apart
//! is ranked directly in f64. Here the bounds are stated; [`crate::candidates`] applies them.

use rayon::prelude::*;

use crate::Distance;
use crate::kernel::{CHI_FLOOR, Kernel, Term};
use crate::points::Points;

/// The bounds are proved for this many columns; wider rows are ranked directly.
pub(crate) const MAX_WIDTH: usize = 1 << 18;

/// How pairs are scored: a higher score is a nearer point.
///
/// **Products.** For rows x′ = scale (x − mean) in f32 with squares X, Y let s = x′·y′ − Y/2 (without Y/2
/// for inner products, which are not moved either). Then 2 s = X − ‖x′ − y′‖². With u = 2⁻²⁴ the computed
/// score errs by less than (r/2 + 5) u (X + Y) (1 + r u): r/2 from the r roundings of a sum that the kernel forms in
/// chunks, the rest from rounding products where these are not fused, x′, y′, Y/2 and the difference. `factor`
/// is larger for every d ≤ 2¹⁸.
///
/// **Sums of like signs** (Manhattan, χ², histogram intersection). Rows are scaled by a power of two,
/// which is exact. A sum errs by `relative` of itself: its roundings, and up to 10 in a term.
///
/// What neither covers, underflow and the rounding of unit vectors, is `absolute`.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) distance: Distance,
    pub(crate) term: Term,
    pub(crate) kernel: Kernel,
    pub(crate) width: usize,
    /// Empty where rows are not moved.
    mean: Vec<f64>,
    pub(crate) scale: f64,
    pub(crate) factor: f64,
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
    /// Twice Y's part of the bound, from the upper to the lower bound, of every point searched.
    pub(crate) spreads: Vec<f32>,
}

impl Frame {
    /// The frame of a search of `queries` in `points`, or nothing where only f64 will do: above
    /// [`MAX_WIDTH`] columns, and for histograms of which some are 2¹⁰⁰ times smaller than others.
    pub(crate) fn of(
        points: &Points<'_>,
        queries: Option<&Points<'_>>,
        distance: Distance,
        kernel: Kernel,
    ) -> Option<Self> {
        let width = points.width();
        if width > MAX_WIDTH {
            return None;
        }
        let term = match distance {
            Distance::Manhattan => Term::Difference,
            Distance::HistogramIntersection => Term::Least,
            Distance::ChiSquared => Term::Chi,
            _ => Term::Product,
        };
        let moves = term == Term::Product && distance != Distance::InnerProduct;
        let mut frame = Self {
            distance,
            term,
            kernel,
            width,
            mean: if moves { mean(points, distance) } else { Vec::new() },
            scale: 1.0,
            factor: (0.6 * Kernel::roundings(term, width) + 8.0) * (-24_f64).exp2(),
            relative: (Kernel::roundings(term, width) + 12.0) * (-24_f64).exp2() * 1.01,
            absolute: width as f64 * (-118_f64).exp2(),
            spreads: Vec::new(),
        };
        let sizes = frame.sizes(points);
        let others = queries.map(|queries| frame.sizes(queries)).unwrap_or_default();
        let largest = sizes.iter().chain(&others).copied().fold(0.0, f64::max);
        if largest > 0.0 {
            let size = if term == Term::Product { largest.sqrt() } else { largest };
            frame.scale = (-size.log2().ceil()).exp2();
        }
        if term == Term::Least {
            // Ranks, 1 less the score, are rounded.
            frame.absolute += (-49_f64).exp2();
            // The size is the largest value of a row, so its sum is no less.
            let floor = (-100_f64).exp2() / frame.scale;
            if sizes.iter().chain(&others).any(|&size| size > 0.0 && size < floor) {
                return None;
            }
        }
        if term == Term::Product {
            let scale = 2.0 * frame.factor * frame.scale * frame.scale;
            frame.relative = 0.0;
            frame.spreads = sizes.iter().map(|&square| (square * scale) as f32).collect();
            if distance == Distance::Cosine {
                // Unit vectors are rounded to 2⁻⁵⁰ before they are moved, scaled, and compared over
                // lengths of at most 2; and ranks themselves, 1 − cos, are rounded to 2⁻⁵².
                frame.absolute += frame.scale * (-47_f64).exp2();
                frame.absolute += frame.scale * frame.scale * (-49_f64).exp2();
            }
        } else {
            frame.factor = 0.0;
        }
        debug_assert!(frame.absolute >= width as f64 * f64::from(CHI_FLOOR));
        Some(frame)
    }

    /// Of every row: its square after the move for products, its largest value otherwise.
    fn sizes(&self, points: &Points<'_>) -> Vec<f64> {
        (0..points.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|row| {
                let x = points.row(row);
                if self.term != Term::Product {
                    return f64::from(x.iter().fold(0.0_f32, |most, v| most.max(v.abs())));
                }
                self.square(x)
            })
            .collect()
    }

    /// Hands the columns of x, moved but not scaled, to `take`.
    #[inline]
    pub(crate) fn moved(&self, x: &[f32], mut take: impl FnMut(usize, f64)) {
        let factor = unit_factor(x, self.distance);
        if self.mean.is_empty() {
            x.iter().enumerate().for_each(|(k, &v)| take(k, f64::from(v)));
        } else {
            let columns = x.iter().zip(&self.mean).enumerate();
            columns.for_each(|(k, (&v, mean))| take(k, factor * f64::from(v) - mean));
        }
    }

    /// What rows are multiplied by before they are moved.
    pub(crate) fn unit(&self, x: &[f32]) -> f64 {
        if self.mean.is_empty() { 1.0 } else { unit_factor(x, self.distance) }
    }

    /// Some columns of x, from `first` on, moved and scaled.
    pub(crate) fn place(&self, x: &[f32], first: usize, unit: f64, placed: &mut [f32]) {
        if self.mean.is_empty() {
            placed.iter_mut().zip(x).for_each(|(to, &v)| *to = (self.scale * f64::from(v)) as f32);
        } else {
            let columns = x.iter().zip(&self.mean[first..]);
            placed.iter_mut().zip(columns).for_each(|(to, (&v, mean))| {
                *to = (self.scale * (unit * f64::from(v) - mean)) as f32;
            });
        }
    }

    /// ‖x‖² after the move, not scaled, in lanes that do not wait for each other.
    fn square(&self, x: &[f32]) -> f64 {
        const LANES: usize = 16;
        let unit = self.unit(x);
        let zeros = [0.0; LANES];
        let mut sums = [0.0; LANES];
        for (chunk, x) in x.chunks(LANES).enumerate() {
            let mean = match &self.mean[..] {
                [] => &zeros[..],
                mean => &mean[chunk * LANES..],
            };
            for ((sum, &v), mean) in sums.iter_mut().zip(x).zip(mean) {
                let v = unit * f64::from(v) - mean;
                *sum += v * v;
            }
        }
        sums.iter().sum()
    }

    /// The score, less what depends on the point alone, that belongs to a rank of [`Distance::rank`]
    /// from a row of this square.
    pub(crate) fn score(&self, rank: f64, square: f64) -> f64 {
        let squared = self.scale * self.scale;
        match self.distance {
            // ‖x/‖x‖ − y/‖y‖‖² = 2 (1 − cos).
            Distance::Cosine => square / 2.0 - rank * squared,
            Distance::Euclidean | Distance::SquaredEuclidean => (square - rank * squared) / 2.0,
            Distance::InnerProduct => -rank * squared,
            Distance::Manhattan | Distance::ChiSquared => -rank * self.scale,
            Distance::HistogramIntersection => 1.0 - rank,
        }
    }

    /// The lowest score that a point as near as `score` may show, in f32.
    ///
    /// - `score`: the true one of a row of this square, or a lower bound of it.
    pub(crate) fn threshold(&self, score: f64, square: f64) -> f32 {
        let slack =
            2.0 * (self.factor * square + self.absolute) + 3.0 * self.relative * score.abs();
        // One part in 2²² covers the rounding to f32, here and of the computed score.
        let below = score - slack - score.abs() * (-22_f64).exp2();
        below as f32
    }

    /// The rank that belongs to a score, as far as f32 can tell; `squares` are those of both rows.
    pub(crate) fn rank(&self, score: f64, squares: f64) -> f64 {
        let squared = self.scale * self.scale;
        match self.distance {
            Distance::Cosine => (squares - 2.0 * score) / squared / 2.0,
            Distance::Euclidean | Distance::SquaredEuclidean => (squares - 2.0 * score) / squared,
            Distance::InnerProduct => -score / squared,
            Distance::Manhattan | Distance::ChiSquared => -score / self.scale,
            Distance::HistogramIntersection => 1.0 - score,
        }
    }
}

/// Σ x², in f64.
pub(crate) fn sum_of_squares(x: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    for x in x.chunks(LANES) {
        for (sum, &v) in sums.iter_mut().zip(x) {
            *sum += f64::from(v) * f64::from(v);
        }
    }
    sums.iter().sum()
}

/// The mean row; of unit vectors for cosine. Partial sums have fixed sizes: no thread count shows.
fn mean(points: &Points<'_>, distance: Distance) -> Vec<f64> {
    const ROWS: usize = 1024;
    let width = points.width();
    let starts: Vec<usize> = (0..points.len()).step_by(ROWS).collect();
    let mut total = vec![0.0; width];
    // A few sums at a time, so that memory does not grow with n.
    for starts in starts.chunks(64) {
        let sums: Vec<Vec<f64>> = starts
            .par_iter()
            .map(|&start| {
                let mut sum = vec![0.0; width];
                for row in start..points.len().min(start + ROWS) {
                    let x = points.row(row);
                    let factor = unit_factor(x, distance);
                    sum.iter_mut().zip(x).for_each(|(s, &v)| *s += factor * f64::from(v));
                }
                sum
            })
            .collect();
        sums.iter().for_each(|sum| total.iter_mut().zip(sum).for_each(|(t, s)| *t += s));
    }
    let count = points.len().max(1) as f64;
    total.iter_mut().for_each(|t| *t /= count);
    total
}

/// 1 / ‖x‖ for cosine (0 for a zero vector), 1 otherwise.
fn unit_factor(x: &[f32], distance: Distance) -> f64 {
    if distance != Distance::Cosine {
        return 1.0;
    }
    let square = sum_of_squares(x);
    if square > 0.0 { square.sqrt().recip() } else { 0.0 }
}
