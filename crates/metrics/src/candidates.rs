//! What each row of a search keeps: the points that may still be among its k nearest.

use crate::best::Best;
use crate::frame::Frame;
use crate::kernel::Hit;
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

    fn rank(&self, query: usize, point: u32) -> f64 {
        let (x, y) = (self.queries.row(query), self.points.row(point as usize));
        self.frame.distance.rank(x, y)
    }

    fn is_left_out(&self, query: usize, point: usize) -> bool {
        self.own == Own::IsLeftOut && query == point
    }
}

/// Consecutive rows of a search.
pub(crate) struct Rows {
    /// The first row's index among the queries.
    pub(crate) first: usize,
    /// Of each row: no point with a lower upper bound can be among its k nearest. Padded to whole panels
    /// with infinity, so that the kernel may read past the end.
    pub(crate) thresholds: Vec<f32>,
    rows: Vec<Row>,
}

struct Row {
    /// (upper bound of the score, point).
    candidates: Vec<(f32, u32)>,
    /// ‖x′‖², which the row's bounds depend on.
    square: f64,
    best: Best,
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
            rows.push(Row { candidates: Vec::new(), square: side.squares[local], best });
        }
        Self { first: side.first + first, thresholds, rows }
    }

    /// No rows: what is left of those that are finished.
    pub(crate) fn empty(first: usize) -> Self {
        Self { first, thresholds: Vec::new(), rows: Vec::new() }
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
        for hit in tile.hits {
            let scores = usize::from(hit.row) * tile.width;
            for column in bits(hit.by_row, hit.column) {
                let upper = tile.scores[scores + column] - offsets[column];
                self.offer(search, row + usize::from(hit.row), upper, (point + column) as u32);
            }
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
        for hit in tile.hits {
            let own = usize::from(hit.row);
            for column in bits(hit.by_column, hit.column) {
                let upper = tile.scores[own * tile.width + column] - offsets[own];
                self.offer(search, row + column, upper, (point + own) as u32);
            }
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
    fn narrow(&mut self, search: &Search<'_>, row: usize) {
        let Row { candidates, square, .. } = &mut self.rows[row];
        if candidates.len() < search.k {
            return;
        }
        let spreads = &search.frame.spreads;
        let lower = |&(upper, point): &(f32, u32)| {
            upper - spreads.get(point as usize).copied().unwrap_or_default()
        };
        let mut lowers: Vec<f32> = candidates.iter().map(lower).collect();
        let (_, kth, _) = lowers.select_nth_unstable_by(search.k - 1, |a, b| b.total_cmp(a));
        let raised = search.frame.threshold(f64::from(*kth), *square);
        let threshold = &mut self.thresholds[row];
        *threshold = threshold.max(raised);
        candidates.retain(|&(upper, _)| upper >= *threshold);
    }

    /// Ranks all candidates directly.
    fn settle(&mut self, search: &Search<'_>, row: usize) {
        self.narrow(search, row);
        let query = self.first + row;
        let Row { candidates, square, best } = &mut self.rows[row];
        for (_, point) in candidates.drain(..) {
            best.push(search.rank(query, point), point);
        }
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

    /// The k nearest of every row in an order that is exact but within runs of points that are all alike the row, or
    /// all unlike it: bounds decide, and only runs of both kinds are ranked directly. The first numbers mean nothing.
    pub(crate) fn finish_alike(
        &mut self,
        search: &Search<'_>,
        is_alike: &(dyn Fn(usize, u32) -> bool + Sync),
    ) -> Vec<Vec<(f64, u32)>> {
        (0..self.len())
            .map(|row| {
                self.narrow(search, row);
                let query = self.first + row;
                let Row { candidates, square, best } = &mut self.rows[row];
                let best = std::mem::replace(best, Best::new(search.k));
                let known = best.into_sorted().into_iter().map(|(rank, point)| {
                    let score = search.frame.score(rank, *square) as f32;
                    (score, score, point)
                });
                let spreads = &search.frame.spreads;
                let bounded = std::mem::take(candidates).into_iter().map(|(upper, point)| {
                    let spread = spreads.get(point as usize).copied().unwrap_or_default();
                    (upper, upper - spread, point)
                });
                let mut all: Vec<(f32, f32, u32)> = known.chain(bounded).collect();
                all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
                let mut near = Vec::with_capacity(search.k + 8);
                let mut rest = &all[..];
                while near.len() < search.k && !rest.is_empty() {
                    let (mut length, mut lowest) = (0, f32::INFINITY);
                    while let Some(&(upper, lower, _)) = rest.get(length) {
                        // Surely behind all of the run, as are those that follow.
                        if length > 0 && upper < search.frame.threshold(f64::from(lowest), *square)
                        {
                            break;
                        }
                        lowest = lowest.min(lower);
                        length += 1;
                    }
                    let (run, others) = rest.split_at(length);
                    rest = others;
                    let start = near.len();
                    near.extend(run.iter().map(|&(_, _, point)| (0.0, point)));
                    let alike = is_alike(query, run[0].2);
                    if run.iter().any(|&(_, _, point)| is_alike(query, point) != alike) {
                        for entry in &mut near[start..] {
                            entry.0 = search.rank(query, entry.1);
                        }
                        near[start..].sort_unstable_by(|a: &(f64, u32), b: &(f64, u32)| {
                            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
                        });
                    }
                }
                near.truncate(search.k);
                near
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

/// A tile's scores and which of them passed.
pub(crate) struct TileHits<'a> {
    pub(crate) hits: &'a [Hit],
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
