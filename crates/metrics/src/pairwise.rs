//! All distances between two sets of rows.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::distance::{LANES, manhattan_f32};
use crate::points::{Centre, Points};
use crate::{Distance, DistanceError};

const BLOCK_ROWS: usize = 64;

/// Below this share of ‖x′‖² + ‖y′‖² a squared distance from a matrix product has lost two bits
/// to cancellation and is computed again, directly and in f64.
const CANCELLED: f64 = 1.0 / 4.0;

/// The distances of every row of `x` from every row of `y`.
///
/// Euclidean and cosine distances come from matrix products of centred rows, those that suffer from
/// cancellation again in f64; Manhattan directly in f32, summed in f64 every 256 columns. Runs on
/// the current rayon pool; the result does not depend on the number of threads. Cost: O(n m d);
/// memory: the result and centred copies of both sides.
///
/// - `x`: `[n, d]`, `y`: `[m, d]`, finite.
/// - returns: `[n, m]`, at least 0. Where a vector is zero its cosine distance is 1.
///
/// # Errors
/// [`DistanceError::Width`] if the widths differ; [`DistanceError::NotFinite`] names the first value.
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
    let (x, y) = (Points::new(x, "x")?, Points::new(y, "y")?);
    if x.width() != y.width() {
        return Err(DistanceError::Width { expected: x.width(), found: y.width() });
    }
    let mut out = Array2::zeros((x.len(), y.len()));
    if !out.is_empty() {
        match distance {
            Distance::Manhattan => manhattan(&x, &y, &mut out),
            _ => by_product(&x, &y, distance, &mut out),
        }
    }
    Ok(out)
}

fn by_product(x: &Points<'_>, y: &Points<'_>, distance: Distance, out: &mut Array2<f32>) {
    let centre = Centre::of(y, x, distance);
    let (left, right) = (centre.side(x), centre.side(y));
    out.axis_chunks_iter_mut(Axis(0), BLOCK_ROWS).into_par_iter().enumerate().for_each(
        |(block, mut out)| {
            let first = block * BLOCK_ROWS;
            let rows = left.rows.slice(s![first..first + out.nrows(), ..]);
            general_mat_mul(1.0, &rows, &right.rows.t(), 0.0, &mut out);
            for (i, mut row) in out.rows_mut().into_iter().enumerate() {
                let i = first + i;
                for (j, value) in row.iter_mut().enumerate() {
                    let norms = left.squares[i] + right.squares[j];
                    let square = norms - 2.0 * f64::from(*value);
                    let rank = if square < CANCELLED * norms {
                        distance.rank(x.row(i), y.row(j))
                    } else {
                        centre.rank(square)
                    };
                    *value = distance.of_rank(rank) as f32;
                }
                if left.zeros.binary_search(&(i as u32)).is_ok() {
                    row.fill(1.0);
                }
                right.zeros.iter().for_each(|&j| row[j as usize] = 1.0);
            }
        },
    );
}

fn manhattan(x: &Points<'_>, y: &Points<'_>, out: &mut Array2<f32>) {
    // Points whose differences overflow f32 take the slow way.
    let limit = f32::MAX / (4.0 * LANES as f32);
    let tame =
        |side: &Points<'_>| (0..side.len()).all(|i| side.row(i).iter().all(|v| v.abs() < limit));
    let quick = tame(x) && tame(y);
    // A block of y stays in the cache while a block of x passes by.
    let block = (64 * 1024 / (4 * x.width().max(1))).clamp(4, 256);
    out.axis_chunks_iter_mut(Axis(0), BLOCK_ROWS).into_par_iter().enumerate().for_each(
        |(chunk, mut out)| {
            for start in (0..y.len()).step_by(block) {
                for (i, mut row) in out.rows_mut().into_iter().enumerate() {
                    let left = x.row(chunk * BLOCK_ROWS + i);
                    for j in start..y.len().min(start + block) {
                        row[j] = if quick {
                            manhattan_f32(left, y.row(j))
                        } else {
                            Distance::Manhattan.between(left, y.row(j)) as f32
                        };
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Distance; 4] =
        [Distance::Euclidean, Distance::SquaredEuclidean, Distance::Cosine, Distance::Manhattan];

    /// Every value within 2·10⁻⁶ of the oracle's, relatively; cosine in f64 itself errs by 10⁻¹⁵.
    fn check(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>, kind: Distance) {
        let floor = if kind == Distance::Cosine { 1e-15 } else { 0.0 };
        let found = pairwise(x, y, kind).unwrap();
        assert_eq!(found.dim(), (x.nrows(), y.nrows()));
        for ((i, j), &value) in found.indexed_iter() {
            let (a, b) = (x.row(i).to_vec(), y.row(j).to_vec());
            let expected = kind.between(&a, &b);
            let error = (f64::from(value) - expected).abs();
            assert!(
                error <= 2e-6 * expected + floor,
                "{kind:?} {i} {j}: {value}, expected {expected}"
            );
        }
    }

    #[test]
    fn a_small_difference_far_from_the_origin_is_not_lost() {
        let x = Array2::from_shape_fn((40, 64), |(i, j)| 1e4 + ((i * 7 + j) % 13) as f32 * 1e-2);
        KINDS.into_iter().for_each(|kind| check(x.view(), x.view(), kind));
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
        for kind in KINDS {
            assert_eq!(pairwise(none.view(), some.view(), kind).unwrap().dim(), (0, 2));
            let flat = Array2::<f32>::zeros((2, 0));
            let expected = if kind == Distance::Cosine { 1.0 } else { 0.0 };
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
            KINDS.into_iter().for_each(|kind| check(x.view(), y.t(), kind));
        }
    }
}
