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

/// Bytes of candidates at most: a guess lets more pass at once than pruning would keep.
const MAX_BYTES: usize = 1 << 28;

/// Rows that are searched twice, at most, by the Poisson approximation.
const MISSES: f64 = 2e-4;

/// A sample of the points, and what to read from it.
pub(crate) struct Guess {
    pub(crate) side: Side,
    /// From a score to its lower bound, as far as the sampled point goes.
    pub(crate) offsets: Vec<f32>,
    /// The threshold is the score of the sample's nth best.
    pub(crate) nth: usize,
    /// How many points reach it in the mean.
    pub(crate) expected: usize,
}

impl Guess {
    /// Nothing where pruning costs less.
    pub(crate) fn new(frame: &Frame, points: &Points<'_>, k: usize) -> Option<Self> {
        let n = points.len();
        let nth = nth(k as f64 * SAMPLE as f64 / n as f64);
        let expected = n * nth / SAMPLE;
        let memory = expected.saturating_mul(8 * n);
        if k < 48 || n < 20 * SAMPLE || expected > 5 * k || memory > MAX_BYTES {
            return None;
        }
        // Drawn, not every so-and-so-manieth: points often come in a regular order.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((u128::from(state) * n as u128) >> 64) as usize
        };
        let rows: Vec<usize> = (0..SAMPLE).map(|_| draw()).collect();
        let side = Side::new(frame, &points.select(&rows), 0..SAMPLE);
        let spread = |&row: &usize| frame.spreads.get(row).copied().unwrap_or_default();
        let offsets = side.offsets.iter().zip(rows.iter().map(spread));
        let offsets = offsets.map(|(offset, spread)| offset + spread).collect();
        Some(Self { side, offsets, nth, expected })
    }
}

/// The place in the sample that fewer than k of all points surpass once in 1 / [`MISSES`] rows; `share` of the k
/// nearest fall into the sample in the mean. One place more, since the row itself may be there.
fn nth(share: f64) -> usize {
    let (mut term, mut below, mut nth) = ((-share).exp(), 0.0, 0);
    while 1.0 - below > MISSES && nth < SAMPLE - 1 {
        below += term;
        nth += 1;
        term *= share / nth as f64;
    }
    (nth + 1).min(SAMPLE)
}

impl Rows {
    /// Takes only points that are as near as one of this lower bound may be.
    pub(crate) fn guess(&mut self, search: &Search<'_>, row: usize, lower: f32, expected: usize) {
        self.rows[row].candidates.reserve(expected);
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
    ) -> Vec<Option<Vec<u32>>> {
        let mut all = Vec::new();
        (0..self.len()).map(|row| self.ranks_of(search, is_alike, row, &mut all)).collect()
    }

    fn ranks_of(
        &mut self,
        search: &Search<'_>,
        is_alike: &IsAlike<'_>,
        row: usize,
        all: &mut Vec<(u64, f32)>,
    ) -> Option<Vec<u32>> {
        self.narrow(search, row);
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
        let candidates = std::mem::take(candidates);
        let bounded = candidates.iter();
        all.extend(bounded.map(|&entry| (place(entry.0, entry.1), search.lower(entry))));
        // A guess is good if k points are at least as near as it was made for.
        let near = || all.iter().filter(|(_, lower)| *lower >= *guess).count();
        if *guess > f32::MIN && near() < search.k {
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
                ranks.extend((rank + 1..).take(length).map(|rank| rank as u32));
            } else if alike > 0 {
                // Bounds do not tell which come first.
                let of = |&(place, _): &(u64, f32)| (search.rank(query, place as u32), place as u32);
                let mut run: Vec<(f64, u32)> = run.iter().map(of).collect();
                run.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let placed = (rank + 1..).zip(run).filter(|(_, entry)| is_alike(query, entry.1));
                ranks.extend(placed.map(|(rank, _)| rank as u32));
            }
            rank += length;
        }
        ranks.retain(|&rank| rank as usize <= search.k);
        Some(ranks)
    }
}
