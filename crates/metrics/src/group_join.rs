//! Approximate neighbours by joining groups of rows that are likely to be near each other.
//!
//! The kernel of the exact search, on groups that the caller chooses, and a step to neighbours of
//! neighbours (Dong, Moses and Li, "Efficient k-nearest neighbor graph construction for generic similarity
//! measures", 2011). Nothing is exact here but the final ranks, which are f64 among the rows kept;
//! how much was found is for the caller to measure.

use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernel::{Kernel, MAX_PANEL, TILE_ROWS, Term, Thresholds};
use crate::lines::Lines;
use crate::points::Points;
use crate::{Distance, DistanceError, Neighbours};

/// Lists of the nearest rows seen so far, one a row.
pub struct GroupJoin<'a> {
    points: Points<'a>,
    frame: Frame,
    k: usize,
    /// Entries kept of each row: some more than k, since scores are f32.
    kept: usize,
    /// Rows moved and scaled, `[n, width]`, in the order given.
    rows: Lines,
    width: usize,
    order: Vec<u32>,
    /// What is subtracted from a product's score: Y/2.
    halves: Vec<f32>,
    lists: Vec<Mutex<List>>,
}

/// The best first.
#[derive(Clone, Default)]
struct List {
    entries: Vec<(f32, u32)>,
    /// Of `entries`, by index: entered since the last expansion.
    is_new: Vec<bool>,
}

impl List {
    fn threshold(&self, kept: usize) -> f32 {
        if self.entries.len() < kept { f32::MIN } else { self.entries[kept - 1].0 }
    }

    /// Enters a row unless it is there or too far.
    fn offer(&mut self, kept: usize, score: f32, place: u32) {
        if score < self.threshold(kept) || self.entries.iter().any(|&(_, other)| other == place) {
            return;
        }
        // Equal scores in order of their places: what is kept does not depend on who came first.
        let at = self.entries.partition_point(|&(s, p)| s > score || s >= score && p < place);
        if at < kept {
            self.entries.truncate(kept - 1);
            self.is_new.truncate(kept - 1);
            self.entries.insert(at, (score, place));
            self.is_new.insert(at, true);
        }
    }
}

impl<'a> GroupJoin<'a> {
    /// No row has seen another yet.
    ///
    /// - `points`: `[n, d]`, finite.
    /// - `k`: 1 ≤ k < n.
    /// - `order`: a permutation of the rows; places in it stand for rows below. Rows likely to be near each
    ///   other are best near each other in it.
    ///
    /// # Errors
    /// As [`crate::top_k_within`]; [`DistanceError::Resume`] if `order` is no permutation;
    /// [`DistanceError::Memory`] for points that only f64 can rank: more than 2¹⁸ columns.
    pub fn new(
        points: ArrayView2<'a, f32>,
        k: usize,
        distance: Distance,
        order: Vec<u32>,
    ) -> Result<Self, DistanceError> {
        let points = Points::new(points, "points", distance)?;
        let (n, d) = (points.len(), points.width());
        let available = n.saturating_sub(1);
        if k == 0 || k > available {
            return Err(DistanceError::Neighbours { available, found: k });
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if sorted.len() != n || sorted.iter().zip(0..).any(|(&row, expected)| row != expected) {
            return Err(DistanceError::Resume { strips: 0 });
        }
        let frame = Frame::of(&points, None, distance, Kernel::detect());
        let mut frame = frame.ok_or(DistanceError::Memory { found: 0 })?;
        frame.spreads = Vec::new();
        let width = d.next_multiple_of(16);
        let mut rows = Lines::zeros(n * width);
        let mut halves = vec![0.0_f32; n];
        if width > 0 {
            rows.as_mut_slice()
                .par_chunks_exact_mut(width)
                .zip(&mut halves)
                .zip(&order)
                .with_min_len(64)
                .for_each(|((row, half), &index)| {
                    let mut square = 0.0;
                    frame.moved(points.row(index as usize), |column, v| {
                        let v = (frame.scale * v) as f32;
                        row[column] = v;
                        square += f64::from(v) * f64::from(v);
                    });
                    *half = (square / 2.0) as f32;
                });
        }
        if frame.term != Term::Product || distance == Distance::InnerProduct {
            halves.fill(0.0);
        }
        let lists = (0..n).map(|_| Mutex::default()).collect();
        let kept = k + 2 + k / 8;
        Ok(Self { points, frame, k, kept, rows, width, order, halves, lists })
    }

    /// The row at a place, moved, scaled and filled up with zeros to sixteen columns.
    pub fn row(&self, place: usize) -> &[f32] {
        &self.rows.as_slice()[place * self.width..(place + 1) * self.width]
    }

    /// All rows of each group see each other. Groups are disjoint, or some lists may depend on who comes first.
    ///
    /// - `groups`: places; about 240 a group make the best of the kernel.
    pub fn join(&self, groups: &[&[u32]]) {
        groups.par_iter().for_each_init(Tiles::default, |tiles, group| {
            for (at, left) in group.chunks(TILE_ROWS).enumerate() {
                for (other, right) in group.chunks(TILE_ROWS).enumerate() {
                    tiles.join(self, left, right, at == other);
                }
            }
        });
    }

    /// Every row sees the neighbours of its neighbours, and the rows that it is a neighbour of.
    ///
    /// - `reach`: how many of the nearest are followed, at most, from each row.
    /// - returns: how many entries changed, as a share of all.
    pub fn expand(&mut self, reach: usize) -> f64 {
        let n = self.lists.len();
        let lists: Vec<List> = self
            .lists
            .iter_mut()
            .map(|list| {
                let list = list.get_mut().unwrap_or_else(PoisonError::into_inner);
                let (mut entries, mut is_new) = (list.entries.clone(), list.is_new.clone());
                entries.truncate(reach);
                is_new.truncate(reach);
                list.is_new.fill(false);
                List { entries, is_new }
            })
            .collect();
        let mut reverse: Vec<Vec<(u32, bool)>> = vec![Vec::new(); n];
        for (place, list) in (0_u32..).zip(&lists) {
            for (&(_, other), &is_new) in list.entries.iter().zip(&list.is_new) {
                if reverse[other as usize].len() < reach {
                    reverse[other as usize].push((place, is_new));
                }
            }
        }
        let follow = |place: usize| {
            let forward = lists[place].entries.iter().map(|&(_, other)| other);
            let own = forward.zip(lists[place].is_new.iter().copied());
            own.chain(reverse[place].iter().copied())
        };
        let this = &*self;
        let changed: usize = (0..n)
            .into_par_iter()
            .with_min_len(256)
            .map_init(
                || (vec![0_u32; n], 0_u32, Vec::<u32>::new()),
                |(seen, stamp, found), place| {
                    // Places marked with this row's stamp were met for it already.
                    *stamp += 1;
                    found.clear();
                    seen[place] = *stamp;
                    lists[place].entries.iter().for_each(|&(_, p)| seen[p as usize] = *stamp);
                    for (near, near_is_new) in follow(place) {
                        for (other, is_new) in follow(near as usize) {
                            // Of two old edges the end was met before.
                            if (near_is_new || is_new) && seen[other as usize] != *stamp {
                                seen[other as usize] = *stamp;
                                found.push(other);
                            }
                        }
                    }
                    let mut list = this.lists[place].lock().unwrap_or_else(PoisonError::into_inner);
                    let own = this.row(place);
                    for &other in found.iter() {
                        let sum =
                            this.frame.kernel.pair(this.frame.term, own, this.row(other as usize));
                        list.offer(this.kept, this.score(sum, other), other);
                    }
                    list.is_new.iter().filter(|&&is_new| is_new).count()
                },
            )
            .sum();
        changed as f64 / (n * self.kept) as f64
    }

    fn score(&self, sum: f32, other: u32) -> f32 {
        match self.frame.term {
            Term::Product => sum - self.halves[other as usize],
            // Histograms are taken as sums of one size here; the final ranks are not.
            Term::Least => sum,
            Term::Difference | Term::Chi => -sum,
        }
    }

    /// The k nearest of those seen, by f64 ranks, ties by index; rows that saw fewer than k see some of lowest index.
    pub fn finish(self) -> Neighbours {
        let (k, distance) = (self.k, self.frame.distance);
        let n = self.lists.len();
        let mut near: Vec<Vec<(f64, u32)>> = vec![Vec::new(); n];
        let mut places = vec![0_u32; n];
        for (place, &row) in (0_u32..).zip(&self.order) {
            places[row as usize] = place;
        }
        near.par_iter_mut().enumerate().for_each(|(row, near)| {
            let list =
                self.lists[places[row] as usize].lock().unwrap_or_else(PoisonError::into_inner);
            let mut seen: Vec<u32> =
                list.entries.iter().map(|&(_, place)| self.order[place as usize]).collect();
            let mut other = 0;
            while seen.len() < k {
                if other as usize != row && !seen.contains(&other) {
                    seen.push(other);
                }
                other += 1;
            }
            let own = self.points.row(row);
            let rank = |index: u32| (distance.rank(own, self.points.row(index as usize)), index);
            near.extend(seen.into_iter().map(rank));
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            near.truncate(k);
        });
        Neighbours::of(near, k, distance)
    }
}

/// What a thread needs to join groups.
#[derive(Default)]
struct Tiles {
    left: Vec<f32>,
    panel: Lines,
    scores: Lines,
    offsets: Vec<f32>,
    thresholds: Vec<f32>,
    hits: Vec<crate::kernel::Hit>,
}

impl Tiles {
    /// Rows of `left` see those of `right`.
    fn join(&mut self, of: &GroupJoin<'_>, left: &[u32], right: &[u32], same: bool) {
        let (kernel, width) = (of.frame.kernel, of.width);
        if self.scores.as_slice().is_empty() {
            self.scores = Lines::zeros(TILE_ROWS * kernel.right);
            self.panel = Lines::zeros(width * kernel.right);
        }
        self.left.clear();
        self.left.resize(kernel.padded_left(left.len()) * width, 0.0);
        if width > 0 {
            let groups = left.chunks(kernel.left);
            for (packed, group) in self.left.chunks_exact_mut(kernel.left * width).zip(groups) {
                interleave(of, group, kernel.left, packed);
            }
        }
        let lock =
            |&place: &u32| of.lists[place as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists: Vec<_> = left.iter().map(lock).collect();
        for places in right.chunks(kernel.right) {
            interleave(of, places, kernel.right, self.panel.as_mut_slice());
            let term = of.frame.term;
            let scores = self.scores.as_mut_slice();
            kernel.tile(term, width, &self.left, left.len(), self.panel.as_slice(), scores);
            if term == Term::Difference || term == Term::Chi {
                scores.iter_mut().for_each(|score| *score = -*score);
            }
            self.offsets.clear();
            self.offsets.extend(places.iter().map(|&place| of.halves[place as usize]));
            self.offsets.resize(MAX_PANEL, f32::INFINITY);
            self.thresholds.clear();
            self.thresholds.extend(lists.iter().map(|list| list.threshold(of.kept)));
            self.hits.clear();
            let thresholds =
                Thresholds { rows: &self.thresholds, right_offsets: &self.offsets, columns: None };
            kernel.scan(scores, left.len(), &thresholds, &mut self.hits);
            for hit in &self.hits {
                let row = usize::from(hit.row);
                for column in crate::candidates::bits(hit.by_row, hit.column) {
                    let place = places[column];
                    if !(same && place == left[row]) {
                        let score = scores[row * kernel.right + column] - self.offsets[column];
                        lists[row].offer(of.kept, score, place);
                    }
                }
            }
        }
    }
}

/// Rows side by side, `[width, lanes]`; lanes without a row keep what they hold, which no one reads.
fn interleave(of: &GroupJoin<'_>, places: &[u32], lanes: usize, packed: &mut [f32]) {
    const COLUMNS: usize = 16;
    // Widths are multiples of 16. A few columns at a time, so that what is written stays in the cache.
    for (chunk, packed) in packed.chunks_exact_mut(COLUMNS * lanes).enumerate() {
        for (lane, &place) in places.iter().enumerate() {
            let (row, packed) = (&of.row(place as usize)[chunk * COLUMNS..], &mut packed[lane..]);
            for (column, &v) in row[..COLUMNS].iter().enumerate() {
                packed[column * lanes] = v;
            }
        }
    }
}
