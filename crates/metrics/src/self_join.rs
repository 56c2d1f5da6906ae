//! The nearest other rows of every row, a strip of finished rows at a time, in bounded memory.
//!
//! Where memory allows, every pair of rows is scored once and serves both of its rows. Otherwise a
//! strip of rows meets all points, packed a group at a time, and pairs are scored twice. The result
//! is the same: what the bounds of [`crate::frame`] cannot tell apart is ranked in f64.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::alike::{Guess, IsAlike};
use crate::best::Best;
use crate::candidates::{Own, Rows, Search, TileHits, key, of_key};
use crate::frame::Frame;
use crate::kernel::{Columns, Hit, Kernel, TILE_ROWS, Thresholds};
use crate::lines::Lines;
use crate::points::Points;
use crate::schedule::{Next, Schedule};
use crate::side::Side;
use crate::{Distance, DistanceError, Neighbours};

/// Finished rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    /// Index of the first row.
    pub first: usize,
    /// Their neighbours.
    pub neighbours: Neighbours,
}

/// What is known of rows that are not finished: (rank, index) of up to k neighbours each, nearest first,
/// of the rows from `first` on. Ranks are those of [`Distance::rank`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Index of the first row.
    pub first: usize,
    /// One list a row.
    pub near: Vec<Vec<(f64, u32)>>,
}

/// A search for the `k` nearest other rows of every row that hands out finished rows strip by strip.
///
/// The result is that of [`crate::top_k_within`], whatever the strips, the memory and the threads.
pub struct SelfJoin<'a> {
    points: Points<'a>,
    k: usize,
    frame: Option<Frame>,
    distance: Distance,
    plan: Plan,
    /// Strips handed out so far.
    done: usize,
    /// Present while pairs are scored once: all rows not yet finished, in blocks.
    symmetric: Option<Symmetric>,
}

struct Symmetric {
    side: Side,
    blocks: Vec<Mutex<Rows>>,
}

/// How rows are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    symmetric: bool,
    /// Rows of a block: a whole number of tiles.
    block: usize,
    /// Rows of a strip: a whole number of blocks.
    strip: usize,
    /// Points packed at once where pairs are scored twice.
    group: usize,
}

/// How the neighbours of a block's rows are read at the end.
type Finish<'f, T> = dyn Fn(&mut Rows, &Search<'_>) -> Vec<T> + Sync + 'f;

/// Bytes that a row needs while it is searched, besides its values: candidates, the k best, bounds.
fn row_bytes(k: usize) -> u64 {
    (8 * Search::capacity(k) + 24 * k + 160) as u64
}

impl Plan {
    fn new(n: usize, d: usize, k: usize, memory_bytes: Option<u64>, strips: usize) -> Option<Self> {
        let threads = rayon::current_num_threads();
        // Large blocks are packed less often, small ones keep all threads busy.
        let block = (n / (8 * threads)).clamp(TILE_ROWS, 4 * TILE_ROWS).div_ceil(TILE_ROWS);
        let block = block * TILE_ROWS;
        let strip = n.div_ceil(strips.max(1)).next_multiple_of(block);
        let plan = Self { symmetric: true, block, strip, group: 0 };
        let Some(memory_bytes) = memory_bytes else { return Some(plan) };
        let (n, packed) = (n as u64, 4 * d as u64);
        // Sizes, spreads and the neighbours of all rows; each thread's tile and left rows.
        let tile = TILE_ROWS as u64 * (packed + 4 * 64) * threads as u64;
        let fixed = n * (12 + 12 * k as u64) + tile;
        let left = memory_bytes.checked_sub(fixed)?;
        if n * (packed + 16 + row_bytes(k)) <= left {
            return Some(plan);
        }
        let rows = |bytes: u64, each: u64| {
            let tiles = bytes / each / TILE_ROWS as u64;
            usize::try_from(tiles).ok().map(|tiles| tiles * TILE_ROWS).filter(|&rows| rows > 0)
        };
        let strip = rows(left / 3 * 2, packed + 16 + row_bytes(k))?.min(plan.strip);
        let group = rows(left / 3, packed + 16)?;
        Some(Self { symmetric: false, block: TILE_ROWS, strip, group })
    }
}

impl<'a> SelfJoin<'a> {
    /// Prepares a search; nothing is scored yet.
    ///
    /// - `points`: `[n, d]`, finite; borrowed if row-major, copied otherwise.
    /// - `k`: 1 ≤ k < n.
    /// - `memory_bytes`: what the search may use besides the points; without it, what is fastest.
    /// - `strips`: cut the rows in about so many strips at least.
    ///
    /// # Errors
    /// [`DistanceError::Memory`] if not even the smallest blocks fit; otherwise as [`crate::top_k`].
    pub fn new(
        points: ArrayView2<'a, f32>,
        k: usize,
        distance: Distance,
        memory_bytes: Option<u64>,
        strips: usize,
    ) -> Result<Self, DistanceError> {
        Self::with(points, k, distance, memory_bytes, strips, Kernel::detect())
    }

    pub(crate) fn with(
        points: ArrayView2<'a, f32>,
        k: usize,
        distance: Distance,
        memory_bytes: Option<u64>,
        strips: usize,
        kernel: Kernel,
    ) -> Result<Self, DistanceError> {
        let points = Points::new(points, "points", distance)?;
        let (n, d) = (points.len(), points.width());
        let available = n.saturating_sub(1);
        if k == 0 || k > available {
            return Err(DistanceError::Neighbours { available, found: k });
        }
        let plan = Plan::new(n, d, k, memory_bytes, strips)
            .ok_or(DistanceError::Memory { found: memory_bytes.unwrap_or_default() })?;
        let frame = Frame::of(&points, None, distance, kernel);
        let mut join = Self { points, k, frame, distance, plan, done: 0, symmetric: None };
        if let (true, Some(frame)) = (join.plan.symmetric, &join.frame) {
            let side = Side::new(frame, &join.points, 0..n);
            let search = join.search(frame);
            let blocks = (0..n)
                .into_par_iter()
                .step_by(join.plan.block)
                .map(|first| {
                    let count = join.plan.block.min(n - first);
                    Mutex::new(Rows::new(&search, &side, first, count, &side.zeros))
                })
                .collect();
            join.symmetric = Some(Symmetric { side, blocks });
        }
        Ok(join)
    }

    fn search<'s>(&'s self, frame: &'s Frame) -> Search<'s> {
        let points = &self.points;
        Search { frame, queries: points, points, k: self.k, own: Own::IsLeftOut }
    }

    /// Whether every pair is scored once.
    pub fn is_symmetric(&self) -> bool {
        self.symmetric.is_some()
    }

    /// Number of strips.
    pub fn strips(&self) -> usize {
        self.points.len().div_ceil(self.plan.strip)
    }

    /// Rows of each strip but the last.
    pub fn strip_rows(&self) -> usize {
        self.plan.strip
    }

    fn rows_of(&self, strip: usize) -> Range<usize> {
        let n = self.points.len();
        n.min(strip * self.plan.strip)..n.min((strip + 1) * self.plan.strip)
    }

    /// Searches the next strip; nothing after the last one.
    ///
    /// - `progress`: told the share of this strip that is done, from any thread.
    pub fn next_strip(&mut self, progress: &(dyn Fn(f64) + Sync)) -> Option<Strip> {
        let finish = |rows: &mut Rows, search: &Search<'_>| rows.finish(search);
        let (first, near) = self.advance(progress, &finish, &|_, near| near)?;
        Some(Strip { first, neighbours: Neighbours::of(near, self.k, self.distance) })
    }

    /// The next strip's first row, and of each of its rows the ranks, from 1 on and rising, of those among its k nearest
    /// that are alike it. Only what matters for these ranks is ranked in f64.
    ///
    /// - `is_alike`: of a row and a point.
    pub(crate) fn next_ranks(
        &mut self,
        is_alike: &IsAlike<'_>,
    ) -> Option<(usize, Vec<Vec<usize>>)> {
        if self.done == 0 {
            self.guess();
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

    /// Guesses the thresholds of all rows from a sample of the points, where that pays.
    fn guess(&self) {
        let (Some(frame), Some(symmetric)) = (&self.frame, &self.symmetric) else { return };
        let Some(guess) = Guess::new(frame, &self.points, self.k) else { return };
        let search = self.search(frame);
        symmetric.blocks.par_iter().for_each_init(Scratch::default, |scratch, block| {
            let mut rows = block.lock().unwrap_or_else(PoisonError::into_inner);
            scratch.guess(&search, &symmetric.side, &mut rows, &guess);
        });
    }

    /// Searches the next strip, and reads the neighbours by `finish`.
    ///
    /// - `of_list`: makes the same of a row's list.
    fn advance<T: Send>(
        &mut self,
        progress: &(dyn Fn(f64) + Sync),
        finish: &Finish<'_, T>,
        of_list: &dyn Fn(usize, Vec<(f64, u32)>) -> T,
    ) -> Option<(usize, Vec<T>)> {
        let range = self.rows_of(self.done);
        if range.is_empty() {
            return None;
        }
        let near = match (&self.frame, &self.symmetric) {
            (None, _) => {
                let points = &self.points;
                let (k, distance) = (self.k, self.distance);
                let lists = directly(points, points, range.clone(), k, distance, Own::IsLeftOut);
                range.clone().zip(lists).map(|(row, near)| of_list(row, near)).collect()
            }
            (Some(frame), Some(symmetric)) => {
                self.symmetrically(&self.search(frame), symmetric, &range, progress, finish)
            }
            (Some(frame), None) => self.twice(&self.search(frame), &range, progress, finish),
        };
        self.done += 1;
        if let Some(symmetric) = &mut self.symmetric {
            // Finished blocks give their memory back; their places stay.
            for block in &mut symmetric.blocks
                [range.start / self.plan.block..range.end.div_ceil(self.plan.block)]
            {
                *block = Mutex::new(Rows::empty(range.start));
            }
        }
        Some((range.start, near))
    }

    fn symmetrically<T: Send>(
        &self,
        search: &Search<'_>,
        symmetric: &Symmetric,
        range: &Range<usize>,
        progress: &(dyn Fn(f64) + Sync),
        finish: &Finish<'_, T>,
    ) -> Vec<T> {
        let Symmetric { side, blocks } = symmetric;
        let own = range.start / self.plan.block..range.end.div_ceil(self.plan.block);
        let schedule = Schedule::new(own.clone(), blocks.len());
        let lock = |block: usize| blocks[block].lock().unwrap_or_else(PoisonError::into_inner);
        let worker = || {
            let mut scratch = Scratch::default();
            loop {
                match schedule.next() {
                    Next::Done => return,
                    Next::Wait => std::thread::yield_now(),
                    Next::Pair(i, j) => {
                        let mut left = lock(i);
                        if i == j {
                            scratch.join_with_itself(search, side, &mut left);
                        } else {
                            scratch.join(search, side, &mut left, &mut lock(j));
                        }
                        drop(left);
                        progress(schedule.give_back(i, j));
                    }
                }
            }
        };
        let workers = rayon::current_num_threads();
        (0..workers).into_par_iter().with_max_len(1).for_each(|_| worker());
        own.into_par_iter().flat_map_iter(|block| finish(&mut lock(block), search)).collect()
    }

    /// The rows of a strip against all points, a group of points at a time.
    fn twice<T: Send>(
        &self,
        search: &Search<'_>,
        range: &Range<usize>,
        progress: &(dyn Fn(f64) + Sync),
        finish: &Finish<'_, T>,
    ) -> Vec<T> {
        let n = self.points.len();
        let zeros = zeros(search);
        let left = Side::new(search.frame, &self.points, range.clone());
        let mut blocks: Vec<Rows> = (0..range.len())
            .step_by(self.plan.block)
            .map(|first| {
                let count = self.plan.block.min(range.len() - first);
                Rows::new(search, &left, first, count, &zeros)
            })
            .collect();
        for start in (0..n).step_by(self.plan.group) {
            let end = n.min(start + self.plan.group);
            let right = Side::new(search.frame, &self.points, start..end);
            blocks.par_iter_mut().for_each_init(Scratch::default, |scratch, rows| {
                scratch.search(search, &left, rows, &right);
            });
            progress(end as f64 / n as f64);
        }
        blocks.into_par_iter().flat_map_iter(|mut rows| finish(&mut rows, search)).collect()
    }

    /// What is known of the rows not yet handed out; empty where nothing is carried from strip to strip.
    pub fn pending(&self) -> Pending {
        let first = self.rows_of(self.done).start;
        let near = match (&self.frame, &self.symmetric) {
            (Some(frame), Some(symmetric)) => {
                let search = self.search(frame);
                symmetric.blocks[first.div_ceil(self.plan.block)..]
                    .par_iter()
                    .flat_map_iter(|block| {
                        let mut rows = block.lock().unwrap_or_else(PoisonError::into_inner);
                        (0..rows.len()).map(|row| rows.settled(&search, row)).collect::<Vec<_>>()
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        Pending { first, near }
    }

    /// Goes on from strips that were finished before; `pending` is what [`SelfJoin::pending`] gave after them,
    /// in a search of the same points with the same k, distance and strips.
    ///
    /// # Errors
    /// [`DistanceError::Resume`] if the lists do not fit this search.
    pub fn resume(&mut self, strips: usize, pending: &Pending) -> Result<(), DistanceError> {
        let (n, first) = (self.points.len(), self.rows_of(strips).start);
        let rows = if self.symmetric.is_some() { n - first } else { 0 };
        let fits = pending.first == first
            && pending.near.len() == rows
            && pending.near.iter().all(|near| near.len() <= self.k)
            && pending.near.iter().flatten().all(|&(_, point)| (point as usize) < n);
        if !fits {
            return Err(DistanceError::Resume { strips });
        }
        self.done = strips;
        if let (Some(frame), Some(symmetric)) = (&self.frame, &self.symmetric) {
            let search = self.search(frame);
            for block in &symmetric.blocks {
                let mut rows = block.lock().unwrap_or_else(PoisonError::into_inner);
                for row in 0..rows.len() {
                    if let Some(at) = (rows.first + row).checked_sub(first) {
                        rows.restore(&search, row, &pending.near[at]);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The points whose cosine is not defined.
fn zeros(search: &Search<'_>) -> Vec<u32> {
    if search.frame.distance != Distance::Cosine {
        return Vec::new();
    }
    let is_zero = |&row: &u32| search.points.row(row as usize).iter().all(|v| v.abs() <= 0.0);
    (0..search.points.len() as u32).filter(is_zero).collect()
}

/// What a thread needs to score tiles.
#[derive(Default)]
pub(crate) struct Scratch {
    left: Vec<f32>,
    /// The first row in `left`.
    packed: usize,
    scores: Lines,
    hits: Vec<Hit>,
    /// Places of what passed.
    places: Vec<u32>,
}

impl Scratch {
    /// Packs rows of `left` from `first` on.
    fn pack(&mut self, left: &Side, first: usize, rows: usize) {
        left.pack_left(first, rows, &mut self.left);
        self.packed = first;
    }

    /// Scores rows of `left` from `first` on, packed before, against a panel.
    ///
    /// - `first`: a whole number of packed groups after the first row packed.
    fn score(
        &mut self,
        frame: &Frame,
        left: &Side,
        first: usize,
        rows: usize,
        right: &Side,
        panel: usize,
    ) {
        let kernel = frame.kernel;
        if self.scores.as_slice().is_empty() {
            self.scores = Lines::zeros(TILE_ROWS * kernel.right);
        }
        let scores = self.scores.as_mut_slice();
        let packed = &self.left[(first - self.packed) * frame.width..];
        kernel.tile(frame.term, frame.width, packed, rows, right.panel(panel), scores);
        right.finish(frame, left, first, panel, &mut scores[..rows * kernel.right]);
        self.hits.clear();
    }

    /// The scores of the last tile that passed by row, or by column.
    fn passed(&mut self, kernel: Kernel, by_column: bool) -> TileHits<'_> {
        self.places.clear();
        kernel.places(&self.hits, by_column, &mut self.places);
        TileHits { places: &self.places, scores: self.scores.as_slice(), width: kernel.right }
    }

    /// All rows of one block with all of another, either serving the other.
    fn join(&mut self, search: &Search<'_>, side: &Side, rows: &mut Rows, columns: &mut Rows) {
        let right = search.frame.kernel.right;
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            for panel in columns.first / right..(columns.first + columns.len()).div_ceil(right) {
                self.score(search.frame, side, at, count, side, panel);
                let offsets = &side.offsets[panel * right..];
                let own = panel * right - columns.first;
                let thresholds = Thresholds {
                    rows: &rows.thresholds[first..],
                    right_offsets: offsets,
                    columns: Some(Columns {
                        thresholds: &columns.thresholds[own..],
                        left_offsets: &side.offsets[at..],
                    }),
                };
                search.frame.kernel.scan(
                    self.scores.as_slice(),
                    count,
                    &thresholds,
                    &mut self.hits,
                );
                let kernel = search.frame.kernel;
                let tile = self.passed(kernel, false);
                rows.take_rows(search, first, panel * right, &tile, offsets);
                let tile = self.passed(kernel, true);
                columns.take_columns(search, own, at, &tile, &side.offsets[at..]);
            }
        }
    }

    /// All rows of a block with each other.
    fn join_with_itself(&mut self, search: &Search<'_>, side: &Side, rows: &mut Rows) {
        let right = search.frame.kernel.right;
        let end = rows.first + rows.len();
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            for panel in at / right..end.div_ceil(right) {
                // Rows of the tile before the panel meet it as any other; its own rows form a square that
                // holds both halves of their pairs.
                let before = count.min(panel * right - at);
                self.meet(search, side, rows, first..first + before, panel, true);
                let square = first + before..first + count.min(before + right);
                self.meet(search, side, rows, square, panel, false);
            }
        }
    }

    /// Rows of a block with a panel of the block; for the panel's sake too if they serve `both`.
    fn meet(
        &mut self,
        search: &Search<'_>,
        side: &Side,
        rows: &mut Rows,
        range: Range<usize>,
        panel: usize,
        both: bool,
    ) {
        if range.is_empty() {
            return;
        }
        let right = search.frame.kernel.right;
        let (first, count, at) = (range.start, range.len(), rows.first + range.start);
        let own = panel * right - rows.first;
        self.score(search.frame, side, at, count, side, panel);
        let offsets = &side.offsets[panel * right..];
        let columns = both.then(|| Columns {
            thresholds: &rows.thresholds[own..],
            left_offsets: &side.offsets[at..],
        });
        let thresholds =
            Thresholds { rows: &rows.thresholds[first..], right_offsets: offsets, columns };
        search.frame.kernel.scan(self.scores.as_slice(), count, &thresholds, &mut self.hits);
        let kernel = search.frame.kernel;
        rows.take_rows(search, first, panel * right, &self.passed(kernel, false), offsets);
        if both {
            let tile = self.passed(kernel, true);
            rows.take_columns(search, own, at, &tile, &side.offsets[at..]);
        }
    }

    /// All rows of a block of `left` with all of `right`, for the block alone.
    pub(crate) fn search(
        &mut self,
        search: &Search<'_>,
        left: &Side,
        rows: &mut Rows,
        right: &Side,
    ) {
        let width = search.frame.kernel.right;
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first - left.first;
            self.pack(left, at, count);
            for panel in 0..right.panels() {
                self.score(search.frame, left, at, count, right, panel);
                let offsets = &right.offsets[panel * width..];
                let thresholds = Thresholds {
                    rows: &rows.thresholds[first..],
                    right_offsets: offsets,
                    columns: None,
                };
                search.frame.kernel.scan(
                    self.scores.as_slice(),
                    count,
                    &thresholds,
                    &mut self.hits,
                );
                let tile = self.passed(search.frame.kernel, false);
                rows.take_rows(search, first, right.first + panel * width, &tile, offsets);
            }
        }
    }

    /// Guesses the thresholds of a block's rows from a sample of the points.
    fn guess(&mut self, search: &Search<'_>, side: &Side, rows: &mut Rows, guess: &Guess) {
        let width = search.frame.kernel.right;
        let mut lowers = Vec::new();
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            lowers.clear();
            lowers.resize(count, [0; crate::alike::SAMPLE]);
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

    /// Calls `found` with (row of the block of `side`, other row, score's upper bound) of every pair of
    /// distinct rows of two blocks whose score reaches the first row's threshold; each pair once.
    pub(crate) fn pairs(
        &mut self,
        frame: &Frame,
        side: &Side,
        rows: Range<usize>,
        columns: Range<usize>,
        thresholds: &[f32],
        mut found: impl FnMut(usize, usize),
    ) {
        let right = frame.kernel.right;
        for at in rows.clone().step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.end - at);
            self.pack(side, at, count);
            let first = if rows == columns { at } else { columns.start };
            for panel in first / right..columns.end.div_ceil(right) {
                self.score(frame, side, at, count, side, panel);
                let thresholds = Thresholds {
                    rows: &thresholds[at..],
                    right_offsets: &side.offsets[panel * right..],
                    columns: None,
                };
                frame.kernel.scan(self.scores.as_slice(), count, &thresholds, &mut self.hits);
                for hit in &self.hits {
                    let row = at + usize::from(hit.row);
                    for column in crate::candidates::bits(hit.by_row, hit.column) {
                        let column = panel * right + column;
                        if row < column {
                            found(row, column);
                        }
                    }
                }
            }
        }
    }
}

/// The k nearest of each query in `range`, by f64 ranks alone.
pub(crate) fn directly(
    queries: &Points<'_>,
    points: &Points<'_>,
    range: Range<usize>,
    k: usize,
    distance: Distance,
    own: Own,
) -> Vec<Vec<(f64, u32)>> {
    range
        .into_par_iter()
        .map(|query| {
            let mut best = Best::new(k);
            for point in 0..points.len() {
                if own == Own::Counts || query != point {
                    best.push(distance.rank(queries.row(query), points.row(point)), point as u32);
                }
            }
            best.into_sorted()
        })
        .collect()
}

impl Neighbours {
    /// From (rank, index) of the k nearest of each row.
    pub(crate) fn of(near: Vec<Vec<(f64, u32)>>, k: usize, distance: Distance) -> Self {
        let mut indices = Array2::zeros((near.len(), k));
        let mut distances = Array2::zeros((near.len(), k));
        let rows = indices.rows_mut().into_iter().zip(distances.rows_mut()).zip(near);
        for ((mut indices, mut distances), near) in rows {
            for (column, (rank, index)) in near.into_iter().enumerate() {
                indices[column] = index as usize;
                distances[column] = distance.of_rank(rank) as f32;
            }
        }
        Self { indices, distances }
    }
}
