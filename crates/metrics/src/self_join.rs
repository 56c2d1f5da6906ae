//! The nearest other rows of every row, a strip of finished rows at a time, in bounded memory.
//!
//! Where memory allows, every pair of rows is scored once and serves both of its rows. Otherwise a
//! strip of rows meets all points, packed a group at a time, and pairs are scored twice. The result
//! is the same: what the bounds of [`crate::frame`] cannot tell apart is ranked in f64.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::best::Best;
use crate::candidates::{Own, Rows, Search};
use crate::frame::Frame;
use crate::kernel::{Kernel, TILE_ROWS};
use crate::points::Points;
use crate::schedule::{Next, Schedule};
use crate::scratch::Scratch;
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
    pub(crate) points: Points<'a>,
    pub(crate) k: usize,
    pub(crate) frame: Option<Frame>,
    distance: Distance,
    plan: Plan,
    /// Strips handed out so far.
    pub(crate) done: usize,
    /// Present while pairs are scored once: all rows not yet finished, in blocks.
    pub(crate) symmetric: Option<Symmetric>,
}

pub(crate) struct Symmetric {
    pub(crate) side: Side,
    pub(crate) blocks: Vec<Mutex<Rows>>,
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
pub(crate) type Finish<'f, T> = dyn Fn(&mut Rows, &Search<'_>) -> Vec<T> + Sync + 'f;

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

    pub(crate) fn search<'s>(&'s self, frame: &'s Frame) -> Search<'s> {
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

    /// Searches the next strip, and reads the neighbours by `finish`.
    ///
    /// - `of_list`: makes the same of a row's list.
    pub(crate) fn advance<T: Send>(
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
