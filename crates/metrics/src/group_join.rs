//! Approximate neighbours by joining groups of rows that are likely to be near each other.
//!
//! Groups that the caller chooses see each other, then the neighbours of one row do (the local join of Dong,
//! Moses and Li, "Efficient k-nearest neighbor graph construction for generic similarity measures", 2011).
//! Rows of many columns are searched by the few in which they vary most. Nothing is exact here but the
//! final ranks, which are f64 among the rows kept; how much was found is for the caller to measure.

mod edges;
mod tiles;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul};
use rayon::prelude::*;

use self::edges::Edges;
use self::tiles::Tiles;
use crate::frame::Frame;
use crate::kernel::{Kernel, Term};
use crate::lines::Lines;
use crate::near_lists::{Entry, NearLists};
use crate::points::Points;
use crate::principal::Principal;
use crate::{Distance, DistanceError, Neighbours};

/// Rows that the directions are found from, at most.
const SAMPLE: usize = 2048;
/// Directions to choose from, at most.
const DIRECTIONS: usize = 128;
/// The share of neighbours that a search by fewer columns must not miss.
const SHARE: f64 = 0.97;
/// Rows whose lists are checked for what fewer columns hide.
const CHECKED: usize = 256;
/// The share of a row's nearest that may stand in the lower half of what its list holds beyond k.
const BLURRED: f64 = 0.08;
/// Rows that are moved together.
const CHUNK: usize = 512;

/// Lists of the nearest rows seen so far, one a row.
pub struct GroupJoin<'a> {
    points: Points<'a>,
    frame: Frame,
    k: usize,
    /// Entries kept of each row: some more than k, since scores are f32, and perhaps of fewer columns.
    kept: usize,
    /// Rows moved and scaled, or their products with the directions, `[n, width]`, in order of places.
    rows: Lines,
    width: usize,
    /// `[n, SKETCH]`.
    sketch: Vec<f32>,
    order: Vec<u32>,
    /// What is subtracted from a product's score: Y/2.
    halves: Vec<f32>,
    lists: NearLists,
}

impl<'a> GroupJoin<'a> {
    /// Columns of [`GroupJoin::sketch`].
    pub const SKETCH: usize = 16;

    /// No row has seen another yet; each row's place is its index.
    ///
    /// - `points`: `[n, d]`, finite.
    /// - `k`: 1 ≤ k < n.
    ///
    /// # Errors
    /// As [`crate::top_k_within`]; [`DistanceError::Memory`] for points that only f64 can rank: more than 2¹⁸
    /// columns.
    pub fn new(
        points: ArrayView2<'a, f32>,
        k: usize,
        distance: Distance,
    ) -> Result<Self, DistanceError> {
        let points = Points::new(points, "points", distance)?;
        let (n, d) = (points.len(), points.width());
        let available = n.saturating_sub(1);
        if k == 0 || k > available {
            return Err(DistanceError::Neighbours { available, found: k });
        }
        let frame = Frame::of(&points, None, distance, Kernel::detect());
        let mut frame = frame.ok_or(DistanceError::Memory { found: 0 })?;
        frame.spreads = Vec::new();
        let mut sample = Array2::zeros((n.min(SAMPLE), d));
        let step = n as f64 / sample.nrows() as f64;
        for (at, mut row) in sample.rows_mut().into_iter().enumerate() {
            if let Some(row) = row.as_slice_mut() {
                moved(&frame, points.row((at as f64 * step) as usize), row);
            }
        }
        let principal = Principal::of(sample.view(), DIRECTIONS);
        let (narrow, wide) = (k + k / 2 + 4, k + 2 + k / 8);
        // Inner products and sums are not seen by directions of squares, and few rows take no time.
        let is_seen = frame.term == Term::Product && distance != Distance::InnerProduct;
        let fewer = (is_seen && n >= 2 * SAMPLE)
            .then(|| principal.needed(sample.view(), (k, k + k / 4), SHARE, d * 3 / 4 + 1))
            .flatten();
        let width = fewer.unwrap_or(d.next_multiple_of(16));
        let seen = fewer.unwrap_or(Self::SKETCH).min(principal.directions.nrows());
        let directions = principal.directions.slice(ndarray::s![..seen, ..]);
        let mut rows = Lines::zeros(n * width);
        let mut sketch = vec![0.0; n * Self::SKETCH];
        let mut halves = vec![0.0; n];
        if d > 0 {
            rows.as_mut_slice()
                .par_chunks_mut(CHUNK * width)
                .zip(sketch.par_chunks_mut(CHUNK * Self::SKETCH))
                .zip(halves.par_chunks_mut(CHUNK))
                .enumerate()
                .for_each_init(
                    || (Array2::zeros((CHUNK, d)), Array2::zeros((CHUNK, seen))),
                    |(whole, projected), (chunk, ((rows, sketch), halves))| {
                        for (at, mut whole) in (0..halves.len()).zip(whole.rows_mut()) {
                            if let Some(whole) = whole.as_slice_mut() {
                                moved(&frame, points.row(chunk * CHUNK + at), whole);
                            }
                        }
                        general_mat_mul(1.0, &*whole, &directions.t(), 0.0, projected);
                        let source = if fewer.is_some() { &*projected } else { &*whole };
                        copy(source, rows, width);
                        copy(projected, sketch, Self::SKETCH);
                        for (row, half) in rows.chunks_exact(width).zip(halves) {
                            *half = half_square(row);
                        }
                    },
                );
        }
        if frame.term != Term::Product || distance == Distance::InnerProduct {
            halves.fill(0.0);
        }
        let kept = if fewer.is_some() { narrow } else { wide };
        let (order, lists) = ((0..n as u32).collect(), NearLists::new(n, kept));
        Ok(Self { points, frame, k, kept, rows, width, sketch, order, halves, lists })
    }

    /// Products of the row at a place with the directions in which rows vary most, `[SKETCH]`.
    pub fn sketch(&self, place: usize) -> &[f32] {
        &self.sketch[place * Self::SKETCH..][..Self::SKETCH]
    }

    /// Moves every row to its place in `order`; call it before rows see each other.
    ///
    /// - `order`: the row of each place. Rows likely to be near each other are best near each other in it.
    ///
    /// # Errors
    /// [`DistanceError::Resume`] if `order` is no permutation of the rows.
    pub fn reorder(&mut self, order: &[u32]) -> Result<(), DistanceError> {
        let n = self.order.len();
        let mut is_there = vec![false; n];
        for &row in order {
            if let Some(is_there) = is_there.get_mut(row as usize) {
                *is_there = true;
            }
        }
        if order.len() != n || is_there.contains(&false) {
            return Err(DistanceError::Resume { strips: 0 });
        }
        let mut rows = Lines::zeros(self.rows.as_slice().len());
        if self.width > 0 {
            rows.as_mut_slice()
                .par_chunks_exact_mut(self.width)
                .zip(order)
                .with_min_len(64)
                .for_each(|(to, &from)| {
                    let from = from as usize * self.width;
                    to.copy_from_slice(&self.rows.as_slice()[from..from + self.width]);
                });
        }
        self.rows = rows;
        let mut sketch = vec![0.0; n * Self::SKETCH];
        let to = sketch.par_chunks_exact_mut(Self::SKETCH).zip(order).with_min_len(256);
        to.for_each(|(to, &from)| to.copy_from_slice(self.sketch(from as usize)));
        self.sketch = sketch;
        self.halves = order.iter().map(|&row| self.halves[row as usize]).collect();
        self.order = order.iter().map(|&row| self.order[row as usize]).collect();
        Ok(())
    }

    /// The row at a place as it is searched: moved, scaled, and perhaps by fewer columns.
    pub fn row(&self, place: usize) -> &[f32] {
        &self.rows.as_slice()[place * self.width..][..self.width]
    }

    /// Whether the scores do not tell the nearest rows apart, be it that the columns are too few, or that f32
    /// cannot hold both how far groups of points lie from each other and how near their own points do. Of the
    /// `k` nearest that a sample of rows has seen, too many then stand far down their lists: others
    /// must have been lost below.
    pub fn is_blurred(&self) -> bool {
        let n = self.lists.len();
        let (k, distance) = (self.k, self.frame.distance);
        if self.frame.term != Term::Product || distance == Distance::InnerProduct {
            return false;
        }
        let places: Vec<usize> = (0..n).step_by(n.div_ceil(CHECKED)).collect();
        let low = |&place: &usize| {
            let point = |place: usize| self.points.row(self.order[place] as usize);
            let own = point(place);
            let seen = self.lists.entries(place).map(|entry| point(entry.place() as usize));
            let mut ranks: Vec<f64> = seen.map(|other| distance.rank(own, other)).collect();
            let last = ranks.split_off(ranks.len().min(k + (self.kept - k) / 2));
            let nearer = |one: f64| ranks.iter().filter(|&&other| other <= one).count();
            last.iter().filter(|&&one| nearer(one) < k).count()
        };
        let low: usize = places.par_iter().map(low).sum();
        low as f64 > BLURRED * (places.len() * k) as f64
    }

    /// Goes on by all columns and the squares of their differences, which takes longer: what was seen is scored
    /// again, and counts as new. For distances with products alone, inner products aside.
    pub fn sharpen(&mut self) {
        let (n, width) = (self.lists.len(), self.points.width().next_multiple_of(16));
        if self.frame.term != Term::Product || self.frame.distance == Distance::InnerProduct {
            return;
        }
        self.frame.term = Term::Square;
        self.rows = Lines::default();
        self.halves.fill(0.0);
        let mut rows = Lines::zeros(n * width);
        let chunks = rows.as_mut_slice().par_chunks_mut(CHUNK * width);
        chunks.zip(self.order.par_chunks(CHUNK)).for_each(|(rows, order)| {
            for (to, &row) in rows.chunks_exact_mut(width).zip(order) {
                moved(&self.frame, self.points.row(row as usize), to);
            }
        });
        (self.rows, self.width) = (rows, width);
        let seen = std::mem::replace(&mut self.lists, NearLists::new(n, self.kept));
        let this = &*self;
        (0..n).into_par_iter().with_min_len(64).for_each_init(Tiles::default, |tiles, place| {
            let mut all = vec![place as u32];
            all.extend(seen.entries(place).map(Entry::place));
            tiles.meet(this, &all, 1, true);
        });
    }

    /// All rows of each group see each other. Groups are disjoint, or entries may be lost.
    ///
    /// - `groups`: places.
    pub fn join(&self, groups: &[&[u32]]) {
        groups.par_iter().for_each_init(Tiles::default, |tiles, group| {
            tiles.meet(self, group, group.len(), false);
        });
    }

    /// The neighbours of every row see each other, as do the rows that it is a neighbour of; two that met before
    /// in this way do not.
    ///
    /// - `reach`: how many neighbours of a row count, the nearest ones; and as many rows that it is a neighbour of.
    /// - returns: how many entries are new, as a share of all.
    pub fn expand(&mut self, reach: usize) -> f64 {
        let edges = Edges::of(&self.lists, reach, |place| self.halves[place as usize]);
        self.lists.settle();
        let this = &*self;
        let chunk = 256;
        (0..self.lists.len().div_ceil(chunk)).into_par_iter().for_each_init(
            || (Tiles::default(), Vec::new(), Vec::new()),
            |(tiles, met, old), at| {
                for place in at * chunk..this.lists.len().min((at + 1) * chunk) {
                    met.clear();
                    old.clear();
                    edges.around(place, met, old);
                    if !met.is_empty() {
                        let new = met.len();
                        met.append(old);
                        tiles.meet(this, met, new, true);
                    }
                }
            },
        );
        self.lists.share_of_new()
    }

    /// The k nearest of those seen, by f64 ranks, ties by index; rows that saw fewer than k see some of lowest index.
    pub fn finish(self) -> Neighbours {
        let Self { points, frame, k, rows, sketch, order, lists, .. } = self;
        drop((rows, sketch));
        let (n, d, distance) = (lists.len(), points.width(), frame.distance);
        // Copied in order of places: neighbours lie close together, and are in the cache when met again.
        let mut ordered = vec![0.0; n * d];
        if d > 0 {
            ordered
                .par_chunks_exact_mut(d)
                .zip(&order)
                .with_min_len(64)
                .for_each(|(to, &row)| to.copy_from_slice(points.row(row as usize)));
        }
        let at = |place: u32| &ordered[place as usize * d..][..d];
        let mut near: Vec<Vec<(f64, u32)>> = vec![Vec::new(); n];
        near.par_iter_mut().with_min_len(256).enumerate().for_each(|(place, near)| {
            let row = order[place];
            let own = at(place as u32);
            let seen = lists.entries(place).map(|entry| entry.place());
            near.extend(seen.map(|to| (distance.rank(own, at(to)), order[to as usize])));
            let mut other = 0;
            while near.len() < k {
                if other != row && near.iter().all(|&(_, index)| index != other) {
                    near.push((distance.rank(own, points.row(other as usize)), other));
                }
                other += 1;
            }
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            near.truncate(k);
        });
        let mut of_rows: Vec<Vec<(f64, u32)>> = vec![Vec::new(); n];
        for (near, &row) in near.into_iter().zip(&order) {
            of_rows[row as usize] = near;
        }
        Neighbours::of(of_rows, k, distance)
    }
}

/// The columns of a row moved and scaled.
fn moved(frame: &Frame, row: &[f32], to: &mut [f32]) {
    frame.moved(row, |column, v| to[column] = (frame.scale * v) as f32);
}

fn half_square(row: &[f32]) -> f32 {
    let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (square / 2.0) as f32
}

/// Rows of `from` to rows of `width`, as far as both go.
fn copy(from: &Array2<f32>, to: &mut [f32], width: usize) {
    let count = to.len() / width;
    let Ok(mut to) = ArrayViewMut2::from_shape((count, width), to) else { return };
    let columns = width.min(from.ncols());
    to.slice_axis_mut(Axis(1), (0..columns).into())
        .assign(&from.slice(ndarray::s![..count, ..columns]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{noise, top_k_within};

    fn points(n: usize, d: usize) -> Array2<f32> {
        Array2::from_shape_fn((n, d), |(i, j)| noise(i, j))
    }

    #[test]
    fn one_group_of_all_rows_is_exact_by_every_distance() {
        let points = points(300, 21);
        let all: Vec<u32> = (0..300).collect();
        for distance in Distance::ALL {
            let mut join = GroupJoin::new(points.view(), 12, distance).unwrap();
            join.reorder(&all.iter().rev().copied().collect::<Vec<_>>()).unwrap();
            join.join(&[&all]);
            assert!(!join.is_blurred());
            let exact = top_k_within(points.view(), 12, distance).unwrap();
            if distance == Distance::HistogramIntersection {
                // Taken as sums of one size here, which these are not quite.
                let hits = join.finish().indices.into_iter().zip(exact.indices);
                assert!(hits.filter(|(a, b)| a == b).count() > 300 * 12 / 10);
            } else {
                assert_eq!(join.finish(), exact, "{distance:?}");
            }
        }
    }

    #[test]
    fn neighbours_of_neighbours_are_found_until_nothing_is_new() {
        // Rows on a ring; at first each sees those of its own arc.
        let n = 240;
        let ring = Array2::from_shape_fn((n, 2), |(i, j)| {
            let angle = std::f32::consts::TAU * i as f32 / n as f32;
            if j == 0 { angle.sin() } else { angle.cos() }
        });
        let mut join = GroupJoin::new(ring.view(), 4, Distance::Euclidean).unwrap();
        let all: Vec<u32> = (0..n as u32).collect();
        join.join(&all.chunks(24).collect::<Vec<_>>());
        // One link between each arc and the next.
        let links: Vec<[u32; 2]> =
            (24..n as u32).step_by(24).map(|at| [at - 1, at]).chain([[n as u32 - 1, 0]]).collect();
        join.join(&links.iter().map(|link| &link[..]).collect::<Vec<_>>());
        assert!(join.expand(8) > 0.0);
        let rounds = (0..20).take_while(|_| join.expand(8) > 0.0).count();
        assert!(rounds < 10);
        let exact = top_k_within(ring.view(), 4, Distance::Euclidean).unwrap();
        let found = join.finish();
        for (row, (a, b)) in
            found.distances.rows().into_iter().zip(exact.distances.rows()).enumerate()
        {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "row {row}: {a} {b}");
        }
    }

    #[test]
    fn rows_that_few_columns_blur_are_searched_by_all() {
        // All columns but one tell neighbours apart, and hardly show.
        let value = |i: usize, j: usize| if j < 16 { 9.0 * noise(i % 40, j) } else { noise(i, j) };
        let points = Array2::from_shape_fn((5000, 64), |(i, j)| value(i, j));
        let mut join = GroupJoin::new(points.view(), 5, Distance::Euclidean).unwrap();
        // As if the sample had not shown it.
        let narrow: Vec<f32> =
            (0..5000).flat_map(|i| (0..16).map(move |j| value(i, j) / 64.0)).collect();
        join.width = 16;
        join.rows = Lines::zeros(narrow.len());
        join.rows.as_mut_slice().copy_from_slice(&narrow);
        join.halves
            .iter_mut()
            .zip(narrow.chunks(16))
            .for_each(|(half, row)| *half = half_square(row));
        let groups: Vec<Vec<u32>> = (0..40).map(|at| (at..5000).step_by(40).collect()).collect();
        let groups: Vec<&[u32]> = groups.iter().map(|group| &group[..]).collect();
        join.join(&groups);
        assert!(join.is_blurred());
        join.sharpen();
        join.join(&groups);
        assert!(!join.is_blurred());
        let exact = top_k_within(points.view(), 5, Distance::Euclidean).unwrap();
        assert_eq!(join.finish(), exact);
    }

    #[test]
    fn an_order_that_is_no_permutation_is_refused() {
        let points = points(4, 3);
        let mut join = GroupJoin::new(points.view(), 1, Distance::Euclidean).unwrap();
        for order in [&[0, 1, 2][..], &[0, 1, 2, 2], &[0, 1, 2, 4], &[0, 1, 2, 3, 3]] {
            assert_eq!(join.reorder(order), Err(DistanceError::Resume { strips: 0 }));
        }
        assert_eq!(join.reorder(&[3, 1, 0, 2]), Ok(()));
    }
}
