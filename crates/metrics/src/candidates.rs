//! What each row of a search keeps: the points that may still be among its k nearest.

use crate::best::Best;
use crate::frame::Frame;
use crate::kernel::of_place;
use crate::points::Points;
use crate::side::Side;

/// Whether the point with the query's own index is a neighbour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Counts,
    IsLeftOut,
}

/// What all rows of one search share.
pub(crate) struct Search<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) queries: &'a Points<'a>,
    pub(crate) points: &'a Points<'a>,
    pub(crate) k: usize,
    pub(crate) own: Own,
}

impl Search<'_> {
    /// Room for candidates: enough that pruning is rare.
    pub(crate) fn capacity(k: usize) -> usize {
        2 * k + 32
    }

    pub(crate) fn rank(&self, query: usize, point: u32) -> f64 {
        let (x, y) = (self.queries.row(query), self.points.row(point as usize));
        self.frame.distance.rank(x, y)
    }

    /// The lower bound of a candidate's score.
    #[inline]
    pub(crate) fn lower(&self, (upper, point): (f32, u32)) -> f32 {
        upper - self.frame.spreads.get(point as usize).copied().unwrap_or_default()
    }

    fn is_left_out(&self, query: usize, point: usize) -> bool {
        self.own == Own::IsLeftOut && query == point
    }
}

/// Candidates that a row has room for from the start, at most.
const MOST_AT_ONCE: usize = 512;

/// Consecutive rows of a search.
pub(crate) struct Rows {
    /// The first row's index among the queries.
    pub(crate) first: usize,
    /// Of each row: no point with a lower upper bound can be among its k nearest. Padded to whole panels
    /// with infinity, so that the kernel may read past the end.
    pub(crate) thresholds: Vec<f32>,
    pub(crate) rows: Vec<Row>,
    /// Lower bounds of scores, for the search of k.
    pub(crate) keys: Vec<u32>,
}

pub(crate) struct Row {
    /// (upper bound of the score, point).
    pub(crate) candidates: Vec<(f32, u32)>,
    /// ‖x′‖², which the row's bounds depend on.
    pub(crate) square: f64,
    pub(crate) best: Best,
    /// The lower bound that the threshold was guessed from, if it was: see [`crate::alike`].
    pub(crate) guess: f32,
}

impl Rows {
    /// Rows `first..first + count` of `side`, counted within it, before any point was seen.
    ///
    /// - `zeros`: the searched points whose cosine is not defined.
    pub(crate) fn new(
        search: &Search<'_>,
        side: &Side,
        first: usize,
        count: usize,
        zeros: &[u32],
    ) -> Self {
        let mut thresholds = vec![f32::MIN; count];
        thresholds.resize(count + crate::kernel::MAX_PANEL, f32::INFINITY);
        let mut rows = Vec::with_capacity(count);
        for local in first..first + count {
            let query = side.first + local;
            let mut best = Best::new(search.k);
            // Where cosine is not defined the distance is 1, which no product says: such points are
            // entered here, and a query of this kind has only such distances.
            let mut push = |point: usize| {
                if !search.is_left_out(query, point) {
                    best.push(1.0, point as u32);
                }
            };
            if side.is_zero(query) {
                (0..search.points.len().min(search.k + 1)).for_each(push);
                thresholds[local - first] = f32::INFINITY;
            } else {
                zeros.iter().take(search.k + 1).for_each(|&point| push(point as usize));
            }
            let candidates = Vec::with_capacity(Search::capacity(search.k).min(MOST_AT_ONCE));
            let square = side.squares[local];
            rows.push(Row { candidates, square, best, guess: f32::MIN });
        }
        Self { first: side.first + first, thresholds, rows, keys: Vec::new() }
    }

    /// No rows: what is left of those that are finished.
    pub(crate) fn empty(first: usize) -> Self {
        Self { first, thresholds: Vec::new(), rows: Vec::new(), keys: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Enters a point unless its score shows that it is not among the k nearest.
    #[inline]
    fn offer(&mut self, search: &Search<'_>, row: usize, upper: f32, point: u32) {
        if upper < self.thresholds[row] || search.is_left_out(self.first + row, point as usize) {
            return;
        }
        let candidates = &mut self.rows[row].candidates;
        candidates.push((upper, point));
        // Rows take turns: without a word the next line comes only when it is written to.
        crate::exact::prefetch_at(candidates.as_ptr().wrapping_add(candidates.len() + 8));
        if candidates.len() >= Search::capacity(search.k) {
            self.prune(search, row);
        }
    }

    /// Enters what passed in the rows of a tile.
    ///
    /// - `row`: where the tile's first row stands among these rows.
    /// - `point`: index of the tile's first column; `offsets` are its columns'.
    pub(crate) fn take_rows(
        &mut self,
        search: &Search<'_>,
        row: usize,
        point: usize,
        tile: &TileHits<'_>,
        offsets: &[f32],
    ) {
        for &place in tile.places {
            let (own, column) = of_place(place);
            let upper = tile.scores[own * tile.width + column] - offsets[column];
            self.offer(search, row + own, upper, (point + column) as u32);
        }
    }

    /// Enters what passed in the columns of a tile: these rows are its columns.
    ///
    /// - `row`: where the tile's first column stands among these rows.
    /// - `point`: index of the tile's first row; `offsets` are its rows'.
    pub(crate) fn take_columns(
        &mut self,
        search: &Search<'_>,
        row: usize,
        point: usize,
        tile: &TileHits<'_>,
        offsets: &[f32],
    ) {
        for &place in tile.places {
            let (own, column) = of_place(place);
            let upper = tile.scores[own * tile.width + column] - offsets[own];
            self.offer(search, row + column, upper, (point + own) as u32);
        }
    }

    /// Drops what cannot be among the k nearest; what cannot be told apart is settled in f64.
    fn prune(&mut self, search: &Search<'_>, row: usize) {
        self.narrow(search, row);
        if self.rows[row].candidates.len() > Search::capacity(search.k) * 3 / 4 {
            self.settle(search, row);
        }
    }

    /// Raises the threshold to what the k-th best lower bound allows.
    pub(crate) fn narrow(&mut self, search: &Search<'_>, row: usize) {
        let Row { candidates, square, .. } = &mut self.rows[row];
        if candidates.len() < search.k {
            return;
        }
        self.keys.clear();
        self.keys.extend(candidates.iter().map(|&entry| !key(search.lower(entry))));
        let (_, &mut kth, _) = self.keys.select_nth_unstable(search.k - 1);
        let raised = search.frame.threshold(f64::from(of_key(!kth)), *square);
        let threshold = &mut self.thresholds[row];
        *threshold = threshold.max(raised);
        // Kept without a branch that no one can foresee.
        let mut length = 0;
        for at in 0..candidates.len() {
            candidates[length] = candidates[at];
            length += usize::from(candidates[at].0 >= *threshold);
        }
        candidates.truncate(length);
    }

    /// Ranks all candidates directly.
    pub(crate) fn settle(&mut self, search: &Search<'_>, row: usize) {
        self.narrow(search, row);
        let query = self.first + row;
        let Row { candidates, square, best, .. } = &mut self.rows[row];
        let mut points = candidates.iter().map(|&(_, point)| point).peekable();
        while let Some(point) = points.next() {
            // Rows of points lie anywhere in memory: the next one is on its way while this one is ranked.
            if let Some(&next) = points.peek() {
                crate::exact::prefetch(search.points.row(next as usize));
            }
            best.push(search.rank(query, point), point);
        }
        candidates.clear();
        if let Some(rank) = best.kth() {
            let raised = search.frame.threshold(search.frame.score(rank, *square), *square);
            self.thresholds[row] = self.thresholds[row].max(raised);
        }
    }

    /// The k nearest so far, (rank, point), nearest first; they stay.
    pub(crate) fn settled(&mut self, search: &Search<'_>, row: usize) -> Vec<(f64, u32)> {
        self.settle(search, row);
        self.rows[row].best.clone().into_sorted()
    }

    /// The k nearest of every row; nothing is kept.
    pub(crate) fn finish(&mut self, search: &Search<'_>) -> Vec<Vec<(f64, u32)>> {
        (0..self.len())
            .map(|row| {
                self.settle(search, row);
                std::mem::replace(&mut self.rows[row].best, Best::new(search.k)).into_sorted()
            })
            .collect()
    }

    /// Enters neighbours that were settled before.
    pub(crate) fn restore(&mut self, search: &Search<'_>, row: usize, near: &[(f64, u32)]) {
        self.rows[row].best = Best::new(search.k);
        near.iter().for_each(|&(rank, point)| self.rows[row].best.push(rank, point));
        self.settle(search, row);
    }
}

/// Integers in the order of the numbers: sorted and searched sooner.
#[inline]
pub(crate) fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31)
}

/// The number that has this [`key`].
#[inline]
pub(crate) fn of_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key ^ 1 << 31 } else { !key })
}

/// A tile's scores and which of them passed.
pub(crate) struct TileHits<'a> {
    /// See [`crate::kernel::place`].
    pub(crate) places: &'a [u32],
    pub(crate) scores: &'a [f32],
    pub(crate) width: usize,
}

/// The columns whose bits are set.
pub(crate) fn bits(mut set: u16, first: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(usize::from(first) + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_numbers() {
        let values = [f32::MIN, -2.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 1.000_000_1, f32::INFINITY];
        for pair in values.windows(2) {
            assert!(key(pair[0]) < key(pair[1]));
        }
        assert!(values.iter().all(|v| of_key(key(*v)).to_bits() == v.to_bits()));
    }
}
