//! A k-d tree for the neighbours of its own points, for few columns.
//!
//! Friedman, Bentley and Finkel, 1977, with tight boxes (a node is passed by if its box is farther than
//! the k-th candidate), leaves of points side by side, so that sixteen distances are computed at once,
//! and queries in the tree's own order, so that a query's path is in the cache from the one before.
//! Distances in the tree are f32 with a margin above their error; what remains is ranked in f64.
//! Of equal points that fill a leaf only the k + 1 of lowest index are kept: no other is a neighbour.

#![expect(unsafe_code, reason = "loops built for instructions that are checked at run time")]

use std::ops::Range;

use ndarray::{Array2, ArrayView2};
use nearkin_metrics::{Distance, Neighbours};
use rayon::prelude::*;

/// Columns at most: the loops are built for widths up to this.
pub(crate) const MAX_WIDTH: usize = 64;
const LANES: usize = 16;
const LEAF: usize = 2 * LANES;

/// What a tree in the points' own space can search by.
pub(crate) fn supports(distance: Distance) -> bool {
    matches!(distance, Distance::Euclidean | Distance::SquaredEuclidean | Distance::Manhattan)
}

/// The `k` nearest of checked points: finite, 0 < k < n, 0 < d ≤ [`MAX_WIDTH`], a distance it supports.
pub(crate) fn nearest(points: ArrayView2<'_, f32>, k: usize, distance: Distance) -> Neighbours {
    let rows = points.as_standard_layout();
    let (n, d) = rows.dim();
    // Row-major by construction: the slice is there.
    let rows = rows.as_slice().unwrap_or_default();
    let near = built(rows, d, k, distance).near(0..n);
    let (mut indices, mut distances) = (Array2::zeros((n, k)), Array2::zeros((n, k)));
    for (query, near) in near {
        for (column, (rank, index)) in near.into_iter().enumerate() {
            indices[[query, column]] = index as usize;
            distances[[query, column]] = distance.of_rank(rank) as f32;
        }
    }
    Neighbours { indices, distances }
}

/// Seconds per query, on the current thread, of a few queries spread over the tree, and of building it.
pub(crate) fn trial(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    queries: usize,
) -> f64 {
    let rows = points.as_standard_layout();
    let (n, d) = rows.dim();
    let tree = built(rows.as_slice().unwrap_or_default(), d, k, distance);
    let start = std::time::Instant::now();
    let step = (n / queries.max(1)).max(1);
    let asked = (0..n).step_by(step).take(queries).filter(|&at| !tree.near(at..at + 1).is_empty());
    let asked = asked.count();
    start.elapsed().as_secs_f64() / asked.max(1) as f64
}

fn built<'a>(rows: &'a [f32], d: usize, k: usize, distance: Distance) -> Box<dyn Searched + 'a> {
    match d {
        0..=2 => Box::new(Tree::<2>::new(rows, d, k, distance)),
        3..=4 => Box::new(Tree::<4>::new(rows, d, k, distance)),
        5..=8 => Box::new(Tree::<8>::new(rows, d, k, distance)),
        9..=16 => Box::new(Tree::<16>::new(rows, d, k, distance)),
        17..=32 => Box::new(Tree::<32>::new(rows, d, k, distance)),
        _ => Box::new(Tree::<MAX_WIDTH>::new(rows, d, k, distance)),
    }
}

type Near = (usize, Vec<(f64, u32)>);

/// A tree of any width.
trait Searched: Sync {
    /// Each query's index and its k nearest, of the points in these places of the tree's order.
    fn near(&self, places: Range<usize>) -> Vec<Near>;
}

/// Points of `W` columns: those given, filled up with zeros.
struct Tree<'a, const W: usize> {
    rows: &'a [f32],
    d: usize,
    k: usize,
    distance: Distance,
    /// A power of two that brings all values to at most 1.
    scale: f32,
    nodes: Vec<Node<W>>,
    /// Indices of points, leaf by leaf.
    order: Vec<u32>,
    blocks: Vec<Block<W>>,
}

struct Node<const W: usize> {
    low: [f32; W],
    high: [f32; W],
    /// The second child (the first follows its parent); 0 for a leaf.
    second: u32,
    /// A leaf's blocks.
    blocks: Range<u32>,
}

/// Points side by side; infinite where there is none.
#[repr(align(64))]
struct Block<const W: usize> {
    values: [[f32; LANES]; W],
    indices: [u32; LANES],
}

impl<'a, const W: usize> Tree<'a, W> {
    fn new(rows: &'a [f32], d: usize, k: usize, distance: Distance) -> Self {
        let largest = rows.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let exponent = f64::from(largest).log2().ceil().clamp(-126.0, 127.0);
        let scale = if largest > 0.0 { (-exponent).exp2() as f32 } else { 1.0 };
        let order = (0..(rows.len() / d) as u32).collect();
        let (nodes, blocks) = (Vec::new(), Vec::new());
        let mut tree = Self { rows, d, k, distance, scale, nodes, order, blocks };
        tree.split(0..tree.order.len());
        tree
    }

    fn point(&self, index: u32) -> [f32; W] {
        let row = &self.rows[index as usize * self.d..][..self.d];
        let mut point = [0.0; W];
        point.iter_mut().zip(row).for_each(|(p, v)| *p = v * self.scale);
        point
    }

    /// Builds the node of these places, and those below it. The depth is at most log₂ n.
    fn split(&mut self, places: Range<usize>) {
        let (mut low, mut high) = ([f32::INFINITY; W], [f32::NEG_INFINITY; W]);
        for &index in &self.order[places.clone()] {
            let point = self.point(index);
            for column in 0..W {
                low[column] = low[column].min(point[column]);
                high[column] = high[column].max(point[column]);
            }
        }
        let extent = |column: &usize| high[*column] - low[*column];
        let widest = (0..W).max_by(|a, b| extent(a).total_cmp(&extent(b))).unwrap_or_default();
        let node = self.nodes.len();
        self.nodes.push(Node { low, high, second: 0, blocks: 0..0 });
        let count = places.len();
        if count <= LEAF || extent(&widest) <= 0.0 {
            self.order[places.clone()].sort_unstable();
            let kept = if count <= LEAF { count } else { count.min(self.k + 1) };
            let first = self.blocks.len() as u32;
            for start in (0..kept).step_by(LANES) {
                let mut block =
                    Block { values: [[f32::INFINITY; LANES]; W], indices: [u32::MAX; LANES] };
                for lane in 0..LANES.min(kept - start) {
                    let index = self.order[places.start + start + lane];
                    let point = self.point(index);
                    (0..W).for_each(|column| block.values[column][lane] = point[column]);
                    block.indices[lane] = index;
                }
                self.blocks.push(block);
            }
            self.nodes[node].blocks = first..self.blocks.len() as u32;
            return;
        }
        // Whole leaves on the left.
        let middle = (count / 2).next_multiple_of(LEAF).min(count - 1);
        let (rows, d) = (self.rows, self.d);
        let value = |index: &u32| rows[*index as usize * d + widest];
        self.order[places.clone()]
            .select_nth_unstable_by(middle, |a, b| value(a).total_cmp(&value(b)).then(a.cmp(b)));
        let middle = places.start + middle;
        self.split(places.start..middle);
        self.nodes[node].second = self.nodes.len() as u32;
        self.split(middle..places.end);
    }

    #[inline(always)]
    fn term(&self, difference: f32) -> f32 {
        if self.distance == Distance::Manhattan {
            difference.abs()
        } else {
            difference * difference
        }
    }

    /// No more than the distance of any point of the node, up to rounding.
    #[inline(always)]
    fn bound(&self, node: usize, point: &[f32; W]) -> f32 {
        let Node { low, high, .. } = &self.nodes[node];
        let mut sum = 0.0;
        for column in 0..W {
            let v = point[column];
            sum += self.term((low[column] - v).max(v - high[column]).max(0.0));
        }
        sum
    }

    /// The k nearest of one point.
    #[inline(always)]
    fn query(&self, query: u32, scratch: &mut Scratch) -> Vec<(f64, u32)> {
        let point = self.point(query);
        let Scratch { stack, near } = scratch;
        stack.clear();
        stack.push((0.0, 0));
        let mut count = 0;
        let mut limit = f32::MAX;
        while let Some((bound, node)) = stack.pop() {
            if bound > limit {
                continue;
            }
            let mut node = node as usize;
            while self.nodes[node].second != 0 {
                let (first, second) = (node + 1, self.nodes[node].second as usize);
                let (a, b) = (self.bound(first, &point), self.bound(second, &point));
                let (closer, farther, bound) =
                    if a <= b { (first, second, b) } else { (second, first, a) };
                if bound <= limit {
                    stack.push((bound, farther as u32));
                }
                node = closer;
                if a.min(b) > limit {
                    break;
                }
            }
            // Empty where the way ended before a leaf.
            let blocks = self.nodes[node].blocks.clone();
            for block in &self.blocks[blocks.start as usize..blocks.end as usize] {
                let mut distances = [0.0_f32; LANES];
                for (values, own) in block.values.iter().zip(&point) {
                    for (distance, value) in distances.iter_mut().zip(values) {
                        *distance += self.term(value - own);
                    }
                }
                if near.len() < count + LANES {
                    near.resize(2 * count + LANES, (0.0, 0));
                }
                // Without branches: most blocks hold some that pass and some that do not.
                for (&distance, &index) in distances.iter().zip(&block.indices) {
                    near[count] = (distance, index);
                    count += usize::from(distance <= limit && index != query);
                }
            }
            if count >= self.k + LANES || (count >= self.k && limit >= f32::MAX) {
                (limit, count) = self.narrow(near, count);
            }
        }
        let (_, count) = self.narrow(near, count);
        let row = |index: u32| &self.rows[index as usize * self.d..][..self.d];
        let own = row(query);
        let rank = |&(_, index): &(f32, u32)| (self.distance.rank(own, row(index)), index);
        let mut ranked: Vec<(f64, u32)> = near[..count].iter().map(rank).collect();
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        ranked.truncate(self.k);
        ranked
    }

    /// Keeps what may be among the k nearest of the first `count`; returns the limit and how many.
    #[inline(always)]
    fn narrow(&self, near: &mut [(f32, u32)], count: usize) -> (f32, usize) {
        if count < self.k {
            return (f32::MAX, count);
        }
        let (_, kth, _) =
            near[..count].select_nth_unstable_by(self.k - 1, |a, b| a.0.total_cmp(&b.0));
        // Sums of W terms err by (W + 3) 2⁻²⁴ of themselves, on either side of the comparison; values
        // that underflow by less than 2⁻¹²⁰ each.
        let limit =
            kth.0 * (1.0 + 4.0 * (W as f32 + 8.0) * f32::EPSILON) + W as f32 * (-118_f32).exp2();
        let mut kept = self.k;
        for at in self.k..count {
            let candidate = near[at];
            near[kept] = candidate;
            kept += usize::from(candidate.0 <= limit);
        }
        (limit, kept)
    }

    #[inline(always)]
    fn queries(&self, places: Range<usize>) -> Vec<Near> {
        let mut scratch = Scratch { stack: Vec::new(), near: vec![(0.0, 0); 4 * self.k + 256] };
        let each = |&query: &u32| (query as usize, self.query(query, &mut scratch));
        self.order[places].iter().map(each).collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn queries_avx512(&self, places: Range<usize>) -> Vec<Near> {
        self.queries(places)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn queries_avx2(&self, places: Range<usize>) -> Vec<Near> {
        self.queries(places)
    }
}

struct Scratch {
    /// Nodes to visit, with their bounds.
    stack: Vec<(f32, u32)>,
    near: Vec<(f32, u32)>,
}

impl<const W: usize> Searched for Tree<'_, W> {
    fn near(&self, places: Range<usize>) -> Vec<Near> {
        const BATCH: usize = 256;
        let starts: Vec<usize> = places.clone().step_by(BATCH).collect();
        starts
            .into_par_iter()
            .flat_map_iter(|start| {
                let places = start..places.end.min(start + BATCH);
                #[cfg(target_arch = "x86_64")]
                {
                    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                        // SAFETY: the instructions were just seen.
                        return unsafe { self.queries_avx512(places) };
                    }
                    if is_x86_feature_detected!("avx2") {
                        // SAFETY: as above.
                        return unsafe { self.queries_avx2(places) };
                    }
                }
                self.queries(places)
            })
            .collect()
    }
}
