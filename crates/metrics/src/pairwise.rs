//! All distances between two sets of rows.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernel::{Kernel, TILE_ROWS, Term};
use crate::points::Points;
use crate::side::Side;
use crate::{Distance, DistanceError};

/// Below this share of ‖x′‖² + ‖y′‖² a squared distance from a matrix product has lost two bits
/// to cancellation and is computed again, directly and in f64.
const CANCELLED: f64 = 1.0 / 4.0;

/// The distances of every row of `x` from every row of `y`.
///
/// Euclidean and cosine distances come from matrix products of centred rows, those that suffer from
/// cancellation again in f64; the others directly in f32, in two levels of sums. Runs on the
/// current rayon pool; the result does not depend on the number of threads. Cost: O(n m d);
/// memory: the result and centred copies of both sides.
///
/// - `x`: `[n, d]`, `y`: `[m, d]`, finite.
/// - returns: `[n, m]`. Where a vector is zero its cosine distance is 1. Relative errors are below
///   5·10⁻⁶ (2·10⁻⁶ for Euclidean and cosine); those of inner products and histogram intersections are
///   absolute, relative to the largest norms' product and to 1.
///
/// # Errors
/// [`DistanceError::Width`] if the widths differ; [`DistanceError::NotFinite`] and
/// [`DistanceError::Negative`] name the first value.
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, pairwise};
/// let x = ndarray::arr2(&[[0.0, 0.0], [3.0, 4.0]]);
/// let all = pairwise(x.view(), x.view(), Distance::Euclidean)?;
/// assert_eq!(all, ndarray::arr2(&[[0.0, 5.0], [5.0, 0.0]]));
/// # Ok::<(), nearkin_metrics::DistanceError>(())
/// ```
pub fn pairwise(
    x: ArrayView2<'_, f32>,
    y: ArrayView2<'_, f32>,
    distance: Distance,
) -> Result<Array2<f32>, DistanceError> {
    with(x, y, distance, Kernel::detect())
}

fn with(
    x: ArrayView2<'_, f32>,
    y: ArrayView2<'_, f32>,
    distance: Distance,
    kernel: Kernel,
) -> Result<Array2<f32>, DistanceError> {
    let (x, y) = (Points::new(x, "x", distance)?, Points::new(y, "y", distance)?);
    if x.width() != y.width() {
        return Err(DistanceError::Width { expected: x.width(), found: y.width() });
    }
    let mut out = Array2::zeros((x.len(), y.len()));
    if out.is_empty() {
        return Ok(out);
    }
    let Some(frame) = Frame::of(&y, Some(&x), distance, kernel) else {
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            row.indexed_iter_mut()
                .for_each(|(j, out)| *out = distance.between(x.row(i), y.row(j)) as f32);
        });
        return Ok(out);
    };
    let right = Side::new(&frame, &y, 0..y.len());
    let block = x.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, TILE_ROWS);
    let pairs = Pairs { frame: &frame, x: &x, y: &y, right: &right };
    out.axis_chunks_iter_mut(Axis(0), block)
        .into_par_iter()
        .enumerate()
        .for_each(|(at, mut out)| pairs.rows(at * block, &mut out));
    Ok(out)
}

struct Pairs<'a> {
    frame: &'a Frame,
    x: &'a Points<'a>,
    y: &'a Points<'a>,
    right: &'a Side,
}

impl Pairs<'_> {
    /// The distances of the rows of `x` from `first` on.
    fn rows(&self, first: usize, out: &mut ArrayViewMut2<'_, f32>) {
        let Self { frame, right, .. } = *self;
        let (kernel, rows) = (frame.kernel, out.nrows());
        let left = Side::new(frame, self.x, first..first + rows);
        let mut packed = Vec::new();
        left.pack_left(0, rows, &mut packed);
        let mut scores = vec![0.0; kernel.padded_left(rows) * kernel.right];
        for panel in 0..right.panels() {
            kernel.tile(frame.term, frame.width, &packed, rows, right.panel(panel), &mut scores);
            right.finish(frame, &left, 0, panel, &mut scores[..rows * kernel.right]);
            let start = panel * kernel.right;
            let columns = start..right.len().min(start + kernel.right);
            for (i, scores) in scores.chunks_exact(kernel.right).take(rows).enumerate() {
                let mut out = out.slice_mut(s![i, columns.clone()]);
                let out = out.as_slice_mut().unwrap_or_default(); // a row of a row-major array
                self.row(&left, i, start, scores, out);
            }
        }
        for i in 0..rows {
            if left.is_zero(first + i) {
                out.row_mut(i).fill(1.0);
            }
        }
        for &j in &right.zeros {
            out.column_mut(j as usize).fill(1.0);
        }
    }

    /// Distances from the scores of row `i` of `left` and the rows of `y` from `start` on.
    fn row(&self, left: &Side, i: usize, start: usize, scores: &[f32], out: &mut [f32]) {
        let Self { frame, right, .. } = *self;
        let distance = frame.distance;
        if frame.term != Term::Product || distance == Distance::InnerProduct {
            for (out, &score) in out.iter_mut().zip(scores) {
                *out = frame.rank(f64::from(score), 0.0) as f32;
            }
            return;
        }
        let own = left.squares[i];
        let squares = &right.squares[start..start + out.len()];
        for (out, (&score, &square)) in out.iter_mut().zip(scores.iter().zip(squares)) {
            let rank = frame.rank(f64::from(score), own + square);
            *out = distance.of_rank(rank.max(0.0)) as f32;
        }
        // Rare, and apart so that the loop above stays plain.
        for (j, (&score, &square)) in scores.iter().zip(squares).enumerate() {
            if own + square - 2.0 * f64::from(score) < CANCELLED * (own + square) {
                out[j] = distance.between(self.x.row(left.first + i), self.y.row(start + j)) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every value as near to the oracle's as the documentation says.
    fn check(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>, kind: Distance) {
        if kind.is_of_histograms() && x.iter().chain(y.iter()).any(|&v| v < 0.0) {
            return;
        }
        let norm = |rows: ArrayView2<'_, f32>| {
            let square = |row: ndarray::ArrayView1<'_, f32>| {
                row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
            };
            rows.rows().into_iter().map(square).fold(0.0, f64::max).sqrt()
        };
        let (relative, floor) = match kind {
            Distance::Cosine => (2e-6, 1e-15),
            Distance::InnerProduct => (0.0, 5e-6 * norm(x) * norm(y)),
            Distance::HistogramIntersection => (0.0, 5e-6),
            Distance::Euclidean | Distance::SquaredEuclidean => (2e-6, 0.0),
            // Terms that underflow beside others.
            _ => (5e-6, 1e-30 * norm(x).max(norm(y))),
        };
        for kernel in Kernel::available() {
            let found = with(x, y, kind, kernel).unwrap();
            assert_eq!(found.dim(), (x.nrows(), y.nrows()));
            for ((i, j), &value) in found.indexed_iter() {
                let (a, b) = (x.row(i).to_vec(), y.row(j).to_vec());
                let expected = kind.between(&a, &b);
                let error = (f64::from(value) - expected).abs();
                assert!(
                    error <= relative * expected.abs() + floor,
                    "{kind:?} {i} {j}: {value}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn a_small_difference_far_from_the_origin_is_not_lost() {
        let x = Array2::from_shape_fn((40, 64), |(i, j)| 1e4 + ((i * 7 + j) % 13) as f32 * 1e-2);
        Distance::ALL.into_iter().for_each(|kind| check(x.view(), x.view(), kind));
    }

    #[test]
    fn huge_and_tiny_values_neither_overflow_nor_vanish() {
        for size in [1e37_f32, 1e-37] {
            let x = Array2::from_shape_fn((5, 3), |(i, j)| size * ((i * 5 + j * 3) % 7) as f32);
            for kind in [Distance::Euclidean, Distance::Cosine, Distance::Manhattan] {
                check(x.view(), x.view(), kind);
            }
        }
    }

    #[test]
    fn empty_sides_and_width_0_are_allowed() {
        let none = Array2::<f32>::zeros((0, 3));
        let some = Array2::<f32>::zeros((2, 3));
        for kind in Distance::ALL {
            assert_eq!(pairwise(none.view(), some.view(), kind).unwrap().dim(), (0, 2));
            let flat = Array2::<f32>::zeros((2, 0));
            let apart = [Distance::Cosine, Distance::HistogramIntersection].contains(&kind);
            let expected = if apart { 1.0 } else { 0.0 };
            let found = pairwise(flat.view(), flat.view(), kind).unwrap();
            assert_eq!(found, Array2::from_elem((2, 2), expected));
        }
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place() {
        let mut x = Array2::<f32>::zeros((3, 2));
        let y = x.clone();
        x[[2, 1]] = f32::INFINITY;
        let error = pairwise(y.view(), x.view(), Distance::Manhattan).unwrap_err();
        assert_eq!(error.to_string(), "y, row 2, column 1: expected a finite value, found inf");
        let error = pairwise(y.view(), y.t(), Distance::Cosine).unwrap_err();
        assert_eq!(error, DistanceError::Width { expected: 2, found: 3 });
    }

    proptest! {
        #[test]
        fn every_value_is_the_pairs_own_distance(
            n in 1_usize..6, m in 1_usize..6, d in 1_usize..40, seed in 0_u32..1000,
        ) {
            let value = |i: usize, j: usize, k: u32| {
                let mixed = (i as u32 * 31 + j as u32 * 17 + k + seed).wrapping_mul(2_654_435_761);
                // Coarse values: duplicates and zero rows do occur.
                ((mixed >> 29) as f32 - 3.0) * if d < 4 { 1.0 } else { 0.37 }
            };
            let x = Array2::from_shape_fn((n, d), |(i, j)| value(i, j, 0));
            let y = Array2::from_shape_fn((d, m), |(j, i)| value(i, j, 5));
            Distance::ALL.into_iter().for_each(|kind| check(x.view(), y.t(), kind));
        }
    }
}
