//! Ranks of the points that are alike a row, such as those of its class: what retrieval is scored by.
//!
//! Where k is large, most of a search's time would go into points that are among the k nearest of
//! those seen so far and not of all. So each row's threshold is guessed from a sample of the points,
//! and a row for which the guess turns out too high is searched again without one. The order of points
//! between two that are alike the row does not matter and is not found out.

use crate::best::Best;
use crate::candidates::{Row, Rows, Search, key, of_key};
use crate::frame::Frame;
use crate::points::Points;
use crate::side::Side;

/// Whether a row and a point are alike.
pub(crate) type IsAlike<'f> = dyn Fn(usize, u32) -> bool + Sync + 'f;

/// Points in the sample: a whole number of panels of every kernel.
pub(crate) const SAMPLE: usize = 240;

/// Rows that are searched twice, at most, by the Poisson approximation.
const MISSES: f64 = 2e-4;

/// A sample of the points, and what to read from it.
pub(crate) struct Guess {
    pub(crate) side: Side,
    /// From a score to its lower bound, as far as the sampled point goes.
    pub(crate) offsets: Vec<f32>,
    /// The sampled points, rising.
    rows: Vec<usize>,
    /// The threshold is the score of the sample's nth best but the row itself.
    nth: usize,
}

impl Guess {
    /// Nothing where pruning costs less.
    pub(crate) fn new(frame: &Frame, points: &Points<'_>, k: usize) -> Option<Self> {
        let n = points.len();
        let nth = nth(k as f64 * SAMPLE as f64 / n as f64);
        // What reaches the threshold in the mean, of all points.
        let expected = n * nth / SAMPLE;
        if k < 48 || n < 20 * SAMPLE || expected > 6 * k {
            return None;
        }
        // Drawn, not every 40th or so: points often come in a regular order.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((u128::from(state) * n as u128) >> 64) as usize
        };
        let mut rows: Vec<usize> = (0..SAMPLE).map(|_| draw()).collect();
        rows.sort_unstable();
        let side = Side::new(frame, &points.select(&rows), 0..SAMPLE);
        let spread = |&row: &usize| frame.spreads.get(row).copied().unwrap_or_default();
        let offsets = side.offsets.iter().zip(rows.iter().map(spread));
        let offsets = offsets.map(|(offset, spread)| offset + spread).collect();
        Some(Self { side, offsets, rows, nth })
    }

    /// The place in the sample's order that the threshold of a row is taken from.
    pub(crate) fn nth_of(&self, row: usize) -> usize {
        // Nothing is nearer to a sampled row than itself.
        let own = self.rows.partition_point(|&other| other <= row)
            - self.rows.partition_point(|&other| other < row);
        (self.nth + own).min(SAMPLE)
    }
}

/// The place in the sample that fewer than k of all points surpass once in 1 / [`MISSES`] rows; `share` of the k
/// nearest fall into the sample in the mean.
fn nth(share: f64) -> usize {
    let (mut term, mut below, mut nth) = ((-share).exp(), 0.0, 0);
    while 1.0 - below > MISSES && nth < SAMPLE - 1 {
        below += term;
        nth += 1;
        term *= share / nth as f64;
    }
    nth
}

impl Rows {
    /// Takes only points that are as near as one of this lower bound may be.
    pub(crate) fn guess(&mut self, search: &Search<'_>, row: usize, lower: f32) {
        let square = self.rows[row].square;
        let raised = search.frame.threshold(f64::from(lower), square);
        if raised > self.thresholds[row] {
            self.thresholds[row] = raised;
            self.rows[row].guess = lower;
        }
    }

    /// Of every row, the rising ranks of those among its k nearest that are alike it; nothing if the row must be
    /// searched again. Nothing is kept.
    pub(crate) fn ranks(
        &mut self,
        search: &Search<'_>,
        is_alike: &IsAlike<'_>,
    ) -> Vec<Option<Vec<usize>>> {
        let mut all = Vec::new();
        (0..self.len()).map(|row| self.ranks_of(search, is_alike, row, &mut all)).collect()
    }

    fn ranks_of(
        &mut self,
        search: &Search<'_>,
        is_alike: &IsAlike<'_>,
        row: usize,
        all: &mut Vec<(u64, f32)>,
    ) -> Option<Vec<usize>> {
        let query = self.first + row;
        let Row { candidates, square, best, guess } = &mut self.rows[row];
        let best = std::mem::replace(best, Best::new(search.k));
        // By falling upper bounds, then by index.
        let place = |upper: f32, point: u32| u64::from(!key(upper)) << 32 | u64::from(point);
        all.clear();
        all.extend(best.into_sorted().into_iter().map(|(rank, point)| {
            let score = search.frame.score(rank, *square) as f32;
            (place(score, point), score)
        }));
        let bounded = candidates.iter();
        all.extend(bounded.map(|&entry| (place(entry.0, entry.1), search.lower(entry))));
        candidates.clear();
        if all.len() >= search.k {
            self.keys.clear();
            self.keys.extend(all.iter().map(|&(_, lower)| !key(lower)));
            let (_, &mut kth, _) = self.keys.select_nth_unstable(search.k - 1);
            let kth = of_key(!kth);
            // A guess is good if k points are at least as near as it was made for.
            if kth < *guess {
                return None;
            }
            let behind = place(search.frame.threshold(f64::from(kth), *square), u32::MAX);
            // Kept without a branch that no one can foresee.
            let mut length = 0;
            for at in 0..all.len() {
                all[length] = all[at];
                length += usize::from(all[at].0 <= behind);
            }
            all.truncate(length);
        } else if *guess > f32::MIN {
            return None;
        }
        all.sort_unstable_by_key(|&(place, _)| place);
        let mut ranks = Vec::new();
        let (mut rank, mut rest) = (0, &all[..]);
        while rank < search.k && !rest.is_empty() {
            let (mut length, mut lowest) = (0, f32::INFINITY);
            while let Some(&(place, lower)) = rest.get(length) {
                let upper = of_key(!((place >> 32) as u32));
                // Surely behind all of the run, as are those that follow.
                if length > 0 && upper < search.frame.threshold(f64::from(lowest), *square) {
                    break;
                }
                lowest = lowest.min(lower);
                length += 1;
            }
            let (run, others) = rest.split_at(length);
            rest = others;
            let alike = run.iter().filter(|(place, _)| is_alike(query, *place as u32)).count();
            if alike == length {
                ranks.extend((rank + 1..).take(length));
            } else if alike > 0 {
                // Bounds do not tell which come first.
                let of =
                    |&(place, _): &(u64, f32)| (search.rank(query, place as u32), place as u32);
                let mut run: Vec<(f64, u32)> = run.iter().map(of).collect();
                run.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let placed = (rank + 1..).zip(run).filter(|(_, entry)| is_alike(query, entry.1));
                ranks.extend(placed.map(|(rank, _)| rank));
            }
            rank += length;
        }
        ranks.retain(|&rank| rank <= search.k);
        Some(ranks)
    }
}
