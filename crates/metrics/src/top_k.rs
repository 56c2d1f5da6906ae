//! The nearest rows by blocked matrix products, exact in spite of f32.
//!
//! ‖x‖² + ‖y‖² − 2 x·y cancels in f32: neighbours get lost. Here every product comes with a bound
//! on its error, a row keeps all candidates that may be among its k nearest, and those are ranked
//! directly in f64. The result is that of [`crate::distance`] on every pair, ties by index, at the
//! cost of the products. It does not approximate, and does not use the symmetry of a self-join.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;

use crate::best::Best;
use crate::points::{Centre, Points, Side};
use crate::{Distance, DistanceError};

/// The k nearest of each row, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Rows of the searched points, `[n, k]`.
    pub indices: Array2<usize>,
    /// Their distances, `[n, k]`, not falling along a row.
    pub distances: Array2<f32>,
}

/// The `k` rows of `points` nearest to each row of `queries`.
///
/// Exact: equal to ranking all pairs by their f64 distance, ties by the lower index. Runs on the
/// current rayon pool (choose threads with `ThreadPool::install`); the result does not depend on
/// their number. Cost: O(n m d); memory: O(n k + (n + m) d), never n · m.
///
/// - `queries`: `[n, d]`, `points`: `[m, d]`, finite.
/// - `k`: 1 ≤ k ≤ m.
///
/// # Errors
/// [`DistanceError`]: widths that differ, a value that is not finite, k of 0 or above m.
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, top_k};
/// let points = ndarray::arr2(&[[0.0], [1.0], [5.0]]);
/// let found = top_k(ndarray::arr2(&[[3.0]]).view(), points.view(), 2, Distance::Manhattan)?;
/// assert_eq!(found.indices, ndarray::arr2(&[[1, 2]])); // both at 2: the lower index first
/// # Ok::<(), nearkin_metrics::DistanceError>(())
/// ```
pub fn top_k(
    queries: ArrayView2<'_, f32>,
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
) -> Result<Neighbours, DistanceError> {
    let queries = Points::new(queries, "queries")?;
    let points = Points::new(points, "points")?;
    if queries.width() != points.width() {
        return Err(DistanceError::Width { expected: queries.width(), found: points.width() });
    }
    search(&queries, &points, k, distance, Own::Counts)
}

/// The `k` other rows of `points` nearest to each row: [`top_k`] without the row itself.
///
/// A row is left out by its index, so a duplicate of it stays, at distance 0.
///
/// - `points`: `[n, d]`, finite.
/// - `k`: 1 ≤ k < n.
///
/// # Errors
/// As [`top_k`].
pub fn top_k_within(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
) -> Result<Neighbours, DistanceError> {
    let points = Points::new(points, "points")?;
    search(&points, &points, k, distance, Own::IsLeftOut)
}

/// Whether the point with the query's own index is a neighbour.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Counts,
    IsLeftOut,
}

/// The error bound of f32 products is proved for this many columns; more are ranked directly.
const MAX_WIDTH: usize = 1 << 18;
const BLOCK_ROWS: usize = 128;
const BLOCK_POINTS: usize = 512;

fn search(
    queries: &Points<'_>,
    points: &Points<'_>,
    k: usize,
    distance: Distance,
    own: Own,
) -> Result<Neighbours, DistanceError> {
    let available = points.len().saturating_sub(usize::from(own == Own::IsLeftOut));
    if k == 0 || k > available {
        return Err(DistanceError::Neighbours { available, found: k });
    }
    let mut indices = Array2::zeros((queries.len(), k));
    let mut distances = Array2::zeros((queries.len(), k));
    let products = match distance {
        Distance::Manhattan => None,
        _ if queries.width() > MAX_WIDTH => None,
        _ => Some(Products::new(queries, points, distance, own)),
    };
    let blocks = indices
        .axis_chunks_iter_mut(ndarray::Axis(0), BLOCK_ROWS)
        .into_par_iter()
        .zip(distances.axis_chunks_iter_mut(ndarray::Axis(0), BLOCK_ROWS));
    blocks.enumerate().for_each(|(block, (mut indices, mut distances))| {
        let first = block * BLOCK_ROWS;
        let search = Block { queries, points, first, rows: indices.nrows(), k, distance, own };
        let found = match &products {
            Some(products) => search.by_products(products),
            None => search.directly(),
        };
        search.write(found, &mut indices, &mut distances);
    });
    Ok(Neighbours { indices, distances })
}

/// Consecutive queries, searched together.
struct Block<'a> {
    queries: &'a Points<'a>,
    points: &'a Points<'a>,
    first: usize,
    rows: usize,
    k: usize,
    distance: Distance,
    own: Own,
}

impl Block<'_> {
    fn is_left_out(&self, query: usize, point: usize) -> bool {
        self.own == Own::IsLeftOut && query == point
    }

    fn rank(&self, query: usize, point: usize) -> f64 {
        self.distance.rank(self.queries.row(query), self.points.row(point))
    }

    fn write(
        &self,
        found: Vec<Best>,
        indices: &mut ArrayViewMut2<'_, usize>,
        distances: &mut ArrayViewMut2<'_, f32>,
    ) {
        for (row, best) in found.into_iter().enumerate() {
            for (column, (rank, index)) in best.into_sorted().into_iter().enumerate() {
                indices[[row, column]] = index as usize;
                distances[[row, column]] = self.distance.of_rank(rank) as f32;
            }
        }
    }

    fn directly(&self) -> Vec<Best> {
        let mut found = vec![Best::new(self.k); self.rows];
        // A block of points stays in the cache while the queries pass by.
        let block = (64 * 1024 / (4 * self.points.width().max(1))).clamp(4, BLOCK_POINTS);
        for start in (0..self.points.len()).step_by(block) {
            for (row, best) in found.iter_mut().enumerate() {
                let query = self.first + row;
                for point in start..self.points.len().min(start + block) {
                    let (x, y) = (self.queries.row(query), self.points.row(point));
                    if !self.is_left_out(query, point)
                        && !self.distance.rank_is_above(x, y, best.limit())
                    {
                        best.push(self.distance.rank(x, y), point as u32);
                    }
                }
            }
        }
        found
    }

    fn by_products(&self, products: &Products) -> Vec<Best> {
        let left = products.left().rows.slice(s![self.first..self.first + self.rows, ..]);
        let mut rows: Vec<Row> =
            (0..self.rows).map(|row| Row::new(self, products, self.first + row)).collect();
        let mut scores = Array2::zeros((self.rows, BLOCK_POINTS.min(self.points.len())));
        for start in (0..self.points.len()).step_by(BLOCK_POINTS) {
            let end = self.points.len().min(start + BLOCK_POINTS);
            let right = products.right.rows.slice(s![start..end, ..]);
            let mut scores = scores.slice_mut(s![.., ..end - start]);
            general_mat_mul(1.0, &left, &right.t(), 0.0, &mut scores);
            for (row, scores) in rows.iter_mut().zip(scores.rows()) {
                // Rows of a row-major array are slices.
                if let Some(scores) = scores.to_slice() {
                    row.scan(self, products, start, scores);
                }
            }
        }
        rows.into_iter()
            .map(|mut row| {
                row.settle(self, products);
                row.best
            })
            .collect()
    }
}

/// Both sides of the product, and the bounds on its errors.
///
/// For rows x′, y′ in f32 with squares X, Y let s = x′·y′ − Y/2. Then 2 s = X − ‖x′ − y′‖²: a higher
/// score is a nearer point. With u = 2⁻²⁴ the computed score errs by less than
/// (d/2 + 4) u (X + Y) (1 + d u): d/2 from the product's d roundings in any order, the rest from
/// rounding x′, y′, Y/2 and the difference. The factor below is larger for every d ≤ 2¹⁸.
struct Products {
    centre: Centre,
    /// Absent if the queries are the points.
    left: Option<Side>,
    right: Side,
    /// The factor of X + Y in the bound.
    factor: f64,
    /// What relative bounds do not cover: underflow, and the rounding of unit vectors.
    absolute: f64,
    /// Y/2 less its bound, so that x′·y′ minus this is an upper bound but for X's part.
    offsets: Vec<f32>,
    /// Twice Y's part of the bound: from the upper to the lower bound.
    spreads: Vec<f32>,
}

impl Products {
    fn new(queries: &Points<'_>, points: &Points<'_>, distance: Distance, own: Own) -> Self {
        let centre = Centre::of(points, queries, distance);
        let right = centre.side(points);
        let left = (own == Own::Counts).then(|| centre.side(queries));
        let factor = (0.6 * points.width() as f64 + 8.0) * (-24_f64).exp2();
        // f32 products underflow below 2⁻¹²⁶ each. Unit vectors are rounded to 2⁻⁵⁰ before they are
        // moved, scaled, and compared over lengths of at most 2.
        let mut absolute = points.width() as f64 * (-120_f64).exp2();
        if distance == Distance::Cosine {
            absolute += centre.scale * (-47_f64).exp2();
        }
        let mut offsets: Vec<f32> =
            right.squares.iter().map(|&y| ((0.5 - factor) * y) as f32).collect();
        right.zeros.iter().for_each(|&zero| offsets[zero as usize] = f32::INFINITY);
        let spreads = right.squares.iter().map(|&y| (2.0 * factor * y) as f32).collect();
        Self { centre, left, right, factor, absolute, offsets, spreads }
    }

    fn left(&self) -> &Side {
        self.left.as_ref().unwrap_or(&self.right)
    }
}

/// One query's candidates: those that may still be among its k nearest.
struct Row {
    query: usize,
    /// (upper bound of the score, point).
    candidates: Vec<(f32, u32)>,
    capacity: usize,
    /// No point with a lower upper bound can be among the k nearest.
    threshold: f32,
    /// X's part of the bounds, twice.
    slack: f64,
    best: Best,
}

impl Row {
    fn new(block: &Block<'_>, products: &Products, query: usize) -> Self {
        let left = products.left();
        let square = left.squares[query];
        let mut best = Best::new(block.k);
        // Where cosine is not defined the distance is 1, which no product says: such points are
        // entered here, and a query of this kind has only such distances.
        let undefined = left.zeros.binary_search(&(query as u32)).is_ok();
        let push = |best: &mut Best, point: u32| {
            if !block.is_left_out(query, point as usize) {
                best.push(1.0, point);
            }
        };
        if undefined {
            (0..block.points.len().min(block.k + 1)).for_each(|p| push(&mut best, p as u32));
        } else {
            products.right.zeros.iter().take(block.k + 1).for_each(|&p| push(&mut best, p));
        }
        let capacity = 2 * block.k + 64;
        Self {
            query,
            candidates: Vec::with_capacity(capacity),
            capacity,
            threshold: if undefined { f32::INFINITY } else { f32::MIN },
            slack: 2.0 * (products.factor * square + products.absolute),
            best,
        }
    }

    fn scan(&mut self, block: &Block<'_>, products: &Products, start: usize, scores: &[f32]) {
        const LANES: usize = 16;
        let offsets = &products.offsets[start..start + scores.len()];
        let chunks = scores.chunks(LANES).zip(offsets.chunks(LANES));
        for (chunk, (scores, offsets)) in chunks.enumerate() {
            // Most chunks hold no candidate, and one comparison says so.
            let highest =
                scores.iter().zip(offsets).map(|(s, o)| s - o).fold(f32::NEG_INFINITY, f32::max);
            if highest < self.threshold {
                continue;
            }
            let first = start + chunk * LANES;
            for (point, upper) in (first..).zip(scores.iter().zip(offsets).map(|(s, o)| s - o)) {
                if upper >= self.threshold && !block.is_left_out(self.query, point) {
                    self.candidates.push((upper, point as u32));
                    if self.candidates.len() == self.capacity {
                        self.prune(block, products);
                    }
                }
            }
        }
    }

    /// Drops what cannot be among the k nearest; what cannot be told apart is settled in f64.
    fn prune(&mut self, block: &Block<'_>, products: &Products) {
        let lower = |&(upper, point): &(f32, u32)| upper - products.spreads[point as usize];
        let mut lowers: Vec<f32> = self.candidates.iter().map(lower).collect();
        let (_, kth, _) = lowers.select_nth_unstable_by(block.k - 1, |a, b| b.total_cmp(a));
        self.raise(f64::from(*kth) - self.slack);
        self.candidates.retain(|&(upper, _)| upper >= self.threshold);
        if self.candidates.len() > self.capacity / 2 {
            self.settle(block, products);
        }
    }

    /// Ranks all candidates directly.
    fn settle(&mut self, block: &Block<'_>, products: &Products) {
        for (_, point) in self.candidates.drain(..) {
            self.best.push(block.rank(self.query, point as usize), point);
        }
        if let Some(rank) = self.best.kth() {
            let square = products.left().squares[self.query];
            self.raise((square - products.centre.scaled_square(rank)) / 2.0 - self.slack);
        }
    }

    fn raise(&mut self, threshold: f64) {
        // One part in 2²³ covers the rounding to f32.
        let below = threshold - threshold.abs() * (-23_f64).exp2();
        self.threshold = self.threshold.max(below as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Distance; 4] =
        [Distance::Euclidean, Distance::SquaredEuclidean, Distance::Cosine, Distance::Manhattan];

    /// All pairs in f64, sorted.
    fn oracle(
        queries: ArrayView2<'_, f32>,
        points: ArrayView2<'_, f32>,
        k: usize,
        kind: Distance,
        own: Own,
    ) -> Neighbours {
        let mut indices = Array2::zeros((queries.nrows(), k));
        let mut distances = Array2::zeros((queries.nrows(), k));
        for (i, query) in queries.rows().into_iter().enumerate() {
            let query = query.to_vec();
            let mut all: Vec<(f64, usize)> = (0..points.nrows())
                .filter(|&j| own == Own::Counts || i != j)
                .map(|j| (kind.rank(&query, &points.row(j).to_vec()), j))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (column, (rank, j)) in all.into_iter().take(k).enumerate() {
                indices[[i, column]] = j;
                distances[[i, column]] = kind.of_rank(rank) as f32;
            }
        }
        Neighbours { indices, distances }
    }

    fn check(points: ArrayView2<'_, f32>, k: usize) {
        for kind in KINDS {
            let within = top_k_within(points, k, kind).unwrap();
            assert_eq!(within, oracle(points, points, k, kind, Own::IsLeftOut), "{kind:?}");
            let across = top_k(points, points, k, kind).unwrap();
            assert_eq!(across, oracle(points, points, k, kind, Own::Counts), "{kind:?}");
        }
    }

    /// Values in [0, 1) that look drawn at random.
    fn noise(i: usize, j: usize) -> f32 {
        let mut z = (i as u64) << 32 | j as u64;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1 << 24) as f32
    }

    #[test]
    fn several_blocks_of_noise_are_ranked_exactly() {
        let points = Array2::from_shape_fn((1100, 24), |(i, j)| noise(i, j));
        check(points.view(), 15);
    }

    #[test]
    fn close_points_far_from_the_origin_keep_their_neighbours() {
        // In f32 ‖x‖² is about 6·10⁹ with steps of 512, and the squared distances are below 1.
        let points = Array2::from_shape_fn((700, 64), |(i, j)| 1e4 + noise(i, j) / 8.0);
        check(points.view(), 10);
    }

    #[test]
    fn close_points_in_clusters_far_apart_keep_their_neighbours() {
        // No centre serves both clusters: only the error bound saves the neighbours here.
        let points = Array2::from_shape_fn((700, 64), |(i, j)| {
            (if i % 2 == 0 { 1e3 } else { -1e3 }) + noise(i, j) / 8.0
        });
        check(points.view(), 10);
    }

    #[test]
    fn an_outlier_does_not_blur_the_others() {
        let points =
            Array2::from_shape_fn((600, 8), |(i, j)| if i == 300 { 1e30 } else { noise(i, j) });
        check(points.view(), 7);
    }

    #[test]
    fn duplicates_are_neighbours_and_ties_go_to_the_lower_index() {
        let points = Array2::from_shape_fn((300, 3), |(i, j)| ((i % 4) * (j + 1)) as f32);
        check(points.view(), 80);
        let same = Array2::from_elem((200, 5), 0.1);
        check(same.view(), 3);
        let first = top_k_within(same.view(), 3, Distance::Cosine).unwrap();
        assert_eq!(first.indices.row(1).to_vec(), [0, 2, 3]);
    }

    #[test]
    fn zero_vectors_are_at_cosine_distance_1_from_all() {
        let points =
            Array2::from_shape_fn(
                (40, 3),
                |(i, j)| {
                    if i % 5 == 0 { 0.0 } else { noise(i, j) - 0.5 }
                },
            );
        check(points.view(), 39);
        check(points.slice(s![..11, ..]), 10);
    }

    #[test]
    fn extreme_magnitudes_are_ranked_exactly() {
        for size in [3e38, 1e-38] {
            let points = Array2::from_shape_fn((150, 4), |(i, j)| size * (noise(i, j) - 0.5));
            check(points.view(), 5);
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let points = Array2::from_shape_fn((500, 16), |(i, j)| noise(i, j));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| top_k_within(points.view(), 5, Distance::Cosine).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn k_out_of_range_is_refused() {
        let points = Array2::<f32>::zeros((3, 2));
        let within = |k| top_k_within(points.view(), k, Distance::Euclidean).unwrap_err();
        assert_eq!(within(3).to_string(), "k: expected 1 to 2 neighbours, found 3");
        assert_eq!(within(0), DistanceError::Neighbours { available: 2, found: 0 });
        let none = Array2::<f32>::zeros((0, 2));
        assert!(top_k(points.view(), none.view(), 1, Distance::Cosine).is_err());
        assert_eq!(
            top_k(none.view(), points.view(), 1, Distance::Cosine).unwrap().indices.len(),
            0
        );
    }

    proptest! {
        #[test]
        fn every_small_set_is_ranked_as_the_oracle_does(
            n in 2_usize..30, d in 0_usize..20, k in 1_usize..30, seed in 0_usize..10_000,
            coarse: bool, shift in prop::sample::select(vec![0.0_f32, 100.0, -3e5]),
        ) {
            let points = Array2::from_shape_fn((n, d), |(i, j)| {
                let value = noise(i + 100 * seed, j);
                shift + if coarse { (value * 3.0).floor() } else { value }
            });
            check(points.view(), k.min(n - 1));
        }
    }
}
