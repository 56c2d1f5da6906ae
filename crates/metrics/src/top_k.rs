//! The nearest rows by blocked matrix products, exact in spite of f32.
//!
//! ‖x‖² + ‖y‖² − 2 x·y cancels in f32: neighbours get lost. Here every score comes with a bound
//! on its error, a row keeps all candidates that may be among its k nearest, and those are ranked
//! directly in f64. The result is that of [`crate::distance`] on every pair, ties by index, at the
//! cost of the products. It does not approximate.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::candidates::{Own, Rows, Search};
use crate::frame::Frame;
use crate::kernel::{Kernel, TILE_ROWS};
use crate::points::Points;
use crate::scratch::Scratch;
use crate::self_join::directly;
use crate::side::Side;
use crate::{Distance, DistanceError, SelfJoin};

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
    across(queries, points, k, distance, Kernel::detect())
}

fn across(
    queries: ArrayView2<'_, f32>,
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    kernel: Kernel,
) -> Result<Neighbours, DistanceError> {
    let queries = Points::new(queries, "queries", distance)?;
    let points = Points::new(points, "points", distance)?;
    if queries.width() != points.width() {
        return Err(DistanceError::Width { expected: queries.width(), found: points.width() });
    }
    if k == 0 || k > points.len() {
        return Err(DistanceError::Neighbours { available: points.len(), found: k });
    }
    let n = queries.len();
    let Some(frame) = Frame::of(&points, Some(&queries), distance, kernel) else {
        let near = directly(&queries, &points, 0..n, k, distance, Own::Counts);
        return Ok(Neighbours::of(near, k, distance));
    };
    let search = Search { frame: &frame, queries: &queries, points: &points, k, own: Own::Counts };
    let right = Side::new(&frame, &points, 0..points.len());
    // Few queries are spread over the threads, whole groups of packed rows each.
    let block = n.div_ceil(4 * rayon::current_num_threads()).clamp(1, TILE_ROWS);
    let starts: Vec<usize> = (0..n).step_by(block).collect();
    let near = starts
        .into_par_iter()
        .map_init(Scratch::default, |scratch, start| {
            let range = start..n.min(start + block);
            let left = Side::new(&frame, &queries, range.clone());
            let mut rows = Rows::new(&search, &left, 0, range.len(), &right.zeros);
            scratch.search(&search, &left, &mut rows, &right);
            rows.finish(&search)
        })
        .collect::<Vec<_>>()
        .concat();
    Ok(Neighbours::of(near, k, distance))
}

/// The `k` other rows of `points` nearest to each row: [`top_k`] without the row itself.
///
/// A row is left out by its index, so a duplicate of it stays, at distance 0. Every pair is scored once
/// for both of its rows; [`SelfJoin`] does the same in bounded memory. The values are packed once more:
/// memory O(n (d + k)).
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
    let mut join = SelfJoin::new(points, k, distance, None, 1)?;
    let whole = join.next_strip(&|_| ());
    // More than k ≥ 1 points make at least one strip.
    Ok(whole.map_or_else(|| Neighbours::of(Vec::new(), k, distance), |strip| strip.neighbours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;
    use ndarray::s;
    use proptest::prelude::*;

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

    /// Every kernel, every way to cut the work, every distance that is defined.
    fn check(points: ArrayView2<'_, f32>, k: usize) {
        let negative = points.iter().any(|&v| v < 0.0);
        for kind in Distance::ALL {
            if negative && kind.is_of_histograms() {
                assert!(top_k_within(points, k, kind).is_err());
                continue;
            }
            let expected = oracle(points, points, k, kind, Own::IsLeftOut);
            let expected_across = oracle(points, points, k, kind, Own::Counts);
            for kernel in Kernel::available() {
                let name = kernel.name();
                let mut join = SelfJoin::with(points, k, kind, None, 1, kernel).unwrap();
                let within = join.next_strip(&|_| ()).unwrap().neighbours;
                assert_eq!(within, expected, "{kind:?} {name}");
                let found = across(points, points, k, kind, kernel).unwrap();
                assert_eq!(found, expected_across, "{kind:?} {name}");
            }
        }
    }

    /// All ways to cut the work, going on from what was kept after every strip, as after a kill.
    fn check_strips(points: ArrayView2<'_, f32>, k: usize, kind: Distance) {
        let expected = oracle(points, points, k, kind, Own::IsLeftOut);
        let (n, d) = (points.nrows() as u64, points.ncols() as u64);
        let threads = rayon::current_num_threads() as u64;
        let small =
            n * (12 + 12 * k as u64) + 240 * (4 * d + 256) * threads + 3 * 240 * (4 * d + 1200);
        for (memory, strips) in [(None, 1), (None, 3), (Some(small), 1), (Some(1 << 30), 2)] {
            let start = || SelfJoin::new(points, k, kind, memory, strips).unwrap();
            let mut join = start();
            assert_eq!(join.is_symmetric(), memory != Some(small));
            assert!(join.strips() > 1 || memory.is_none() && strips == 1);
            let (mut first, mut done) = (0, 0);
            while let Some(strip) = join.next_strip(&|_| ()) {
                assert_eq!(strip.first, first);
                let rows = strip.neighbours.indices.nrows();
                let part = s![first..first + rows, ..];
                assert_eq!(strip.neighbours.indices, expected.indices.slice(part));
                assert_eq!(strip.neighbours.distances, expected.distances.slice(part));
                first += rows;
                done += 1;
                let pending = join.pending();
                join = start();
                join.resume(done, &pending).unwrap();
            }
            assert_eq!(first, points.nrows());
        }
    }

    #[test]
    fn several_blocks_of_noise_are_ranked_exactly() {
        let points = Array2::from_shape_fn((1100, 24), |(i, j)| noise(i, j));
        check(points.view(), 15);
        Distance::ALL.into_iter().for_each(|kind| check_strips(points.view(), 15, kind));
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
    fn histograms_some_of_which_are_empty_or_tiny_are_ranked_exactly() {
        for tiny in [1e-3, 1e-30, 1e-36] {
            let points = Array2::from_shape_fn((400, 40), |(i, j)| match i % 7 {
                0 => 0.0,
                1 => tiny * noise(i, j),
                _ if j % 3 == 0 => 0.0,
                _ => noise(i, j),
            });
            check(points.view(), 9);
        }
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
