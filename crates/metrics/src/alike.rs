//! Ranks of the points that are alike a row, such as those of its class: what retrieval is scored by.
//!
//! Where k is large, most of a search's time would go into points that are among the k nearest of
//! those seen so far and not of all. So each row's threshold is guessed from a sample of the points,
//! and a row for which the guess turns out too high is searched again without one. The order of points
//! between two that are alike the row does not matter and is not found out.

use std::sync::PoisonError;

use rayon::prelude::*;

use crate::SelfJoin;
use crate::best::Best;
use crate::candidates::{Row, Rows, Search, key, of_key};
use crate::frame::Frame;
use crate::kernel::TILE_ROWS;
use crate::points::Points;
use crate::scratch::Scratch;
use crate::self_join::Symmetric;
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
        Some(Self::of(frame, points, nth))
    }

    fn of(frame: &Frame, points: &Points<'_>, nth: usize) -> Self {
        let n = points.len();
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
        Self { side, offsets, rows, nth }
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

impl SelfJoin<'_> {
    /// The next strip's first row, and of each of its rows the ranks, from 1 on and rising, of those among its k nearest
    /// that are alike it. Only what matters for these ranks is ranked in f64.
    ///
    /// - `is_alike`: of a row and a point.
    pub(crate) fn next_ranks(
        &mut self,
        is_alike: &IsAlike<'_>,
    ) -> Option<(usize, Vec<Vec<usize>>)> {
        if let (0, Some(frame)) = (self.done, &self.frame)
            && let Some(guess) = Guess::new(frame, &self.points, self.k)
        {
            self.guess(&guess);
        }
        let finish = |rows: &mut Rows, search: &Search<'_>| rows.ranks(search, is_alike);
        let of_list = |row, near: Vec<(f64, u32)>| {
            let alike = (1..).zip(near).filter(|&(_, (_, point))| is_alike(row, point));
            Some(alike.map(|(rank, _)| rank).collect())
        };
        let (first, found) = self.advance(&|_| (), &finish, &of_list)?;
        // Rows whose guess was wrong are searched once more without one.
        let again = |(at, ranks): (usize, Option<Vec<usize>>)| {
            ranks.unwrap_or_else(|| self.ranks_of(first + at, is_alike))
        };
        Some((first, found.into_par_iter().enumerate().map(again).collect()))
    }

    /// [`SelfJoin::next_ranks`] of one row.
    fn ranks_of(&self, row: usize, is_alike: &IsAlike<'_>) -> Vec<usize> {
        let (Some(frame), Some(Symmetric { side, .. })) = (&self.frame, &self.symmetric) else {
            return Vec::new();
        };
        let search = self.search(frame);
        let first = row / frame.kernel.left * frame.kernel.left;
        let count = frame.kernel.left.min(self.points.len() - first);
        let mut rows = Rows::new(&search, side, first, count, &side.zeros);
        Scratch::default().search(&search, side, &mut rows, side);
        rows.ranks(&search, is_alike).swap_remove(row - first).unwrap_or_default()
    }

    /// Guesses the thresholds of all rows.
    fn guess(&self, guess: &Guess) {
        let (Some(frame), Some(symmetric)) = (&self.frame, &self.symmetric) else { return };
        let search = self.search(frame);
        symmetric.blocks.par_iter().for_each_init(Scratch::default, |scratch, block| {
            let mut rows = block.lock().unwrap_or_else(PoisonError::into_inner);
            scratch.guess(&search, &symmetric.side, &mut rows, guess);
        });
    }
}

impl Scratch {
    /// Guesses the thresholds of a block's rows from a sample of the points.
    fn guess(&mut self, search: &Search<'_>, side: &Side, rows: &mut Rows, guess: &Guess) {
        let width = search.frame.kernel.right;
        let mut lowers = Vec::new();
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            lowers.clear();
            lowers.resize(count, [0; SAMPLE]);
            for panel in 0..guess.side.panels() {
                self.score(search.frame, side, at, count, &guess.side, panel);
                let start = panel * width;
                let offsets = guess.offsets[start..].iter().take(width);
                for (lowers, scores) in lowers.iter_mut().zip(self.scores.as_slice().chunks(width))
                {
                    let scores = scores.iter().zip(offsets.clone());
                    let keys = scores.map(|(score, offset)| !key(score - offset));
                    lowers[start..].iter_mut().zip(keys).for_each(|(lower, key)| *lower = key);
                }
            }
            for (row, lowers) in lowers.iter_mut().enumerate() {
                let nth = guess.nth_of(at + row);
                let (_, &mut key, _) = lowers.select_nth_unstable(nth - 1);
                rows.guess(search, first + row, of_key(!key));
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distance, noise};
    use ndarray::Array2;

    const K: usize = 60;

    /// Ranks from all pairs in f64, of some rows, against those with a guess from the sample's `nth` best.
    fn check(points: &Array2<f32>, distance: Distance, nth: usize) {
        let mut join = SelfJoin::new(points.view(), K, distance, None, 1).unwrap();
        join.guess(&Guess::of(join.frame.as_ref().unwrap(), &join.points, nth));
        // Rows that are alike come in runs.
        let is_alike = |row: usize, point: u32| row / 100 == point as usize / 100;
        let finish = |rows: &mut Rows, search: &Search<'_>| rows.ranks(search, &is_alike);
        let (_, found) = join.advance(&|_| (), &finish, &|_, _| None).unwrap();
        let missed = found.iter().filter(|ranks| ranks.is_none()).count();
        let expected = if nth == 1 { found.len() / 4..found.len() } else { 0..found.len() / 100 };
        assert!(expected.contains(&missed), "{missed} rows are searched again");
        let mut join = SelfJoin::new(points.view(), K, distance, None, 1).unwrap();
        join.guess(&Guess::of(join.frame.as_ref().unwrap(), &join.points, nth));
        let (first, ranks) = join.next_ranks(&is_alike).unwrap();
        assert_eq!((first, ranks.len()), (0, points.nrows()));
        for row in (0..points.nrows()).step_by(61) {
            let rank = |other: usize| distance.rank(join.points.row(row), join.points.row(other));
            let others = (0..points.nrows()).filter(|&other| other != row);
            let mut all: Vec<(f64, usize)> = others.map(|other| (rank(other), other)).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let near = (1..=K).zip(all).filter(|(_, (_, other))| is_alike(row, *other as u32));
            assert_eq!(ranks[row], near.map(|(rank, _)| rank).collect::<Vec<_>>(), "row {row}");
        }
    }

    #[test]
    fn ranks_are_exact_whether_the_guess_is_good_or_not() {
        let n = 20 * SAMPLE;
        let points = Array2::from_shape_fn((n, 6), |(i, j)| noise(i, j) + noise(i / 100, j));
        let join = SelfJoin::new(points.view(), K, Distance::Euclidean, None, 1).unwrap();
        let guess = Guess::new(join.frame.as_ref().unwrap(), &join.points, K).unwrap();
        for distance in [Distance::Euclidean, Distance::Cosine, Distance::Manhattan] {
            check(&points, distance, guess.nth);
            // The nearest of the sample: most rows have fewer than k points that near.
            check(&points, distance, 1);
        }
    }

    #[test]
    fn points_on_a_grid_are_ranked_by_index_where_they_tie() {
        let points = Array2::from_shape_fn((20 * SAMPLE, 2), |(i, j)| (4.0 * noise(i, j)).floor());
        check(&points, Distance::Euclidean, 20);
    }
}
