//! All pairs of rows within a distance: ε-balls, and similarities above a threshold.

use std::sync::Mutex;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernel::{Kernel, TILE_ROWS};
use crate::points::Points;
use crate::scratch::Scratch;
use crate::side::Side;
use crate::{Distance, DistanceError};

/// The other rows within a distance of each row, as compressed rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Within {
    /// Where each row's entries begin in the two lists below, and the end: `[n + 1]`.
    pub offsets: Vec<usize>,
    /// Indices of the other rows, rising within a row.
    pub indices: Vec<u32>,
    /// Their distances.
    pub distances: Vec<f32>,
}

/// All pairs of distinct rows whose distance is at most `limit`, each entered at both of its rows.
///
/// Exact: decided by the f64 distance of [`crate::distance`]. A cosine similarity of at least s is a distance
/// of at most 1 − s. Every pair is scored once, by blocked products. Cost: O(n² d), and O(d) in f64 for each
/// pair found or too close to the limit to tell; memory: O(n d) and the result, which can be n².
///
/// - `points`: `[n, d]`, finite.
/// - `limit`: in the units of the distance, not NaN.
///
/// # Errors
/// [`DistanceError::Limit`], [`DistanceError::NotFinite`], [`DistanceError::Negative`].
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, within_distance};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0]]);
/// let found = within_distance(points.view(), 1.0, Distance::Euclidean)?;
/// assert_eq!(found.offsets, [0, 1, 2, 2]);
/// assert_eq!(found.indices, [1, 0]);
/// # Ok::<(), nearkin_metrics::DistanceError>(())
/// ```
pub fn within_distance(
    points: ArrayView2<'_, f32>,
    limit: f64,
    distance: Distance,
) -> Result<Within, DistanceError> {
    within(points, limit, distance, Kernel::detect())
}

/// Row, other row of a higher index, distance.
type Pair = (u32, u32, f32);

fn within(
    points: ArrayView2<'_, f32>,
    limit: f64,
    distance: Distance,
    kernel: Kernel,
) -> Result<Within, DistanceError> {
    let points = Points::new(points, "points", distance)?;
    if limit.is_nan() {
        return Err(DistanceError::Limit { found: limit });
    }
    let n = points.len();
    let join = Join { points: &points, limit, distance };
    let frame = Frame::of(&points, None, distance, kernel);
    // Only below 1 can a cosine distance not be 1: a row without direction meets all or none.
    let frame = frame.filter(|_| distance != Distance::Cosine || limit < 1.0);
    let found = Mutex::new(Vec::<Vec<Pair>>::new());
    let keep = |pairs: Vec<Pair>| {
        found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(pairs);
    };
    match &frame {
        None => (0..n).into_par_iter().for_each(|i| {
            let pairs = (i + 1..n).filter_map(|j| join.pair(i, j)).collect();
            keep(pairs);
        }),
        Some(frame) => {
            let side = Side::new(frame, &points, 0..n);
            let thresholds: Vec<f32> =
                (0..n).map(|row| join.threshold(frame, &side, row)).collect();
            let block = (n / (16 * rayon::current_num_threads())).clamp(1, 4 * TILE_ROWS);
            let block = block.next_multiple_of(TILE_ROWS);
            let starts: Vec<usize> = (0..n).step_by(block).collect();
            let tasks: Vec<(usize, usize)> = starts
                .iter()
                .flat_map(|&i| starts.iter().filter(move |&&j| j >= i).map(move |&j| (i, j)))
                .collect();
            tasks.into_par_iter().for_each_init(Scratch::default, |scratch, (i, j)| {
                let range = |start: usize| start..n.min(start + block);
                let mut pairs = Vec::new();
                scratch.pairs(frame, &side, range(i), range(j), &thresholds, |a, b| {
                    pairs.extend(join.pair(a, b));
                });
                keep(pairs);
            });
        }
    }
    let pairs = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Within::of(n, &pairs))
}

struct Join<'a> {
    points: &'a Points<'a>,
    limit: f64,
    distance: Distance,
}

impl Join<'_> {
    fn pair(&self, i: usize, j: usize) -> Option<Pair> {
        let rank = self.distance.rank(self.points.row(i), self.points.row(j));
        let distance = self.distance.of_rank(rank);
        (distance <= self.limit).then_some((i as u32, j as u32, distance as f32))
    }

    /// The score that a pair within the limit reaches.
    fn threshold(&self, frame: &Frame, side: &Side, row: usize) -> f32 {
        if side.is_zero(row) {
            return f32::INFINITY;
        }
        let rank = match self.distance {
            // The root of a rank rounds: a rank that is not within may have a distance that is.
            Distance::Euclidean if self.limit < 0.0 => return f32::INFINITY,
            Distance::Euclidean => self.limit * self.limit * (1.0 + 1e-12),
            _ => self.limit,
        };
        let square = side.squares[row];
        let threshold = frame.threshold(frame.score(rank, square), square);
        // Beyond f32 all pairs pass, and their f64 distances decide.
        if threshold.is_nan() { f32::MIN } else { threshold.max(f32::MIN) }
    }
}

impl Within {
    fn of(n: usize, pairs: &[Vec<Pair>]) -> Self {
        let mut offsets = vec![0; n + 1];
        for &(i, j, _) in pairs.iter().flatten() {
            offsets[i as usize + 1] += 1;
            offsets[j as usize + 1] += 1;
        }
        (0..n).for_each(|row| offsets[row + 1] += offsets[row]);
        let mut ends = offsets.clone();
        let mut entries = vec![(0_u32, 0.0_f32); offsets[n]];
        for &(i, j, distance) in pairs.iter().flatten() {
            for (own, other) in [(i, j), (j, i)] {
                entries[ends[own as usize]] = (other, distance);
                ends[own as usize] += 1;
            }
        }
        for row in 0..n {
            entries[offsets[row]..offsets[row + 1]].sort_unstable_by_key(|&(index, _)| index);
        }
        let (indices, distances) = entries.into_iter().unzip();
        Self { offsets, indices, distances }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;
    use ndarray::Array2;
    use proptest::prelude::*;

    fn check(points: ArrayView2<'_, f32>, limits: &[f64]) {
        for kind in Distance::ALL {
            if kind.is_of_histograms() && points.iter().any(|&v| v < 0.0) {
                continue;
            }
            for &limit in limits {
                let mut all = Vec::new();
                for i in 0..points.nrows() {
                    for j in i + 1..points.nrows() {
                        let (x, y) = (points.row(i).to_vec(), points.row(j).to_vec());
                        let distance = kind.of_rank(kind.rank(&x, &y));
                        if distance <= limit {
                            all.push((i as u32, j as u32, distance as f32));
                        }
                    }
                }
                let expected = Within::of(points.nrows(), &[all]);
                for kernel in Kernel::available() {
                    let found = within(points, limit, kind, kernel).unwrap();
                    assert_eq!(found, expected, "{kind:?} {limit} {}", kernel.name());
                }
            }
        }
    }

    #[test]
    fn pairs_of_several_blocks_are_found_up_to_the_limit_itself() {
        let points = Array2::from_shape_fn((700, 5), |(i, j)| (noise(i, j) * 5.0).floor());
        check(points.view(), &[-1.0, 0.0, 1.0, 2.0, 0.1]);
    }

    #[test]
    fn limits_beyond_any_number_take_all_or_none() {
        let points = Array2::from_shape_fn((60, 3), |(i, j)| noise(i, j) * 1e30);
        check(points.view(), &[f64::INFINITY, f64::NEG_INFINITY, 1e300, 1e29, 1.0]);
        assert!(within_distance(points.view(), f64::NAN, Distance::Cosine).is_err());
    }

    proptest! {
        #[test]
        fn every_small_set_gives_the_oracles_pairs(
            n in 0_usize..40, d in 0_usize..9, seed in 0_usize..1000, limit in -0.2_f64..2.0,
            shift in prop::sample::select(vec![0.0_f32, 1000.0, -3.0]),
        ) {
            let value = |i: usize, j: usize| shift + (noise(i + 50 * seed, j) * 4.0).floor() / 4.0;
            check(Array2::from_shape_fn((n, d), |(i, j)| value(i, j)).view(), &[limit]);
        }
    }
}
