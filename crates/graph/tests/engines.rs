//! Every engine against a loop over all pairs in f64.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2, Axis, s};
use nearkin_graph::{Distance, Engine, Neighbours, nearest_neighbours};
use proptest::prelude::*;

const KINDS: [Distance; 3] = [Distance::Euclidean, Distance::SquaredEuclidean, Distance::Manhattan];

/// The definition, summed in plain order: inputs below have sums that are exact in f64.
fn oracle(points: ArrayView2<'_, f32>, k: usize, distance: Distance) -> Neighbours {
    let n = points.nrows();
    let (mut indices, mut distances) = (Array2::zeros((n, k)), Array2::zeros((n, k)));
    for i in 0..n {
        let mut all: Vec<(f64, usize)> = (0..n)
            .filter(|&j| j != i)
            .map(|j| {
                let differences = points.row(i).into_iter().zip(points.row(j));
                let differences = differences.map(|(&a, &b)| f64::from(a) - f64::from(b));
                let rank = match distance {
                    Distance::Manhattan => differences.map(f64::abs).sum(),
                    _ => differences.map(|v| v * v).sum(),
                };
                (rank, j)
            })
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (column, &(rank, j)) in all.iter().take(k).enumerate() {
            indices[[i, column]] = j;
            let distance = if distance == Distance::Euclidean { rank.sqrt() } else { rank };
            distances[[i, column]] = distance as f32;
        }
    }
    Neighbours { indices, distances }
}

fn check(points: ArrayView2<'_, f32>, k: usize) {
    for distance in KINDS {
        let expected = oracle(points, k, distance);
        for engine in
            [Engine::KdTree, Engine::LinfaKdTree, Engine::BallTree, Engine::Products, Engine::Auto]
        {
            let found = nearest_neighbours(points, k, distance, engine).unwrap();
            assert_eq!(found, expected, "{distance:?} by {engine:?}");
        }
    }
}

#[test]
fn a_grid_is_all_ties() {
    let grid =
        Array2::from_shape_fn((225, 2), |(i, j)| if j == 0 { i / 15 } else { i % 15 } as f32);
    check(grid.view(), 5);
    check(grid.view(), 40);
}

#[test]
fn sorted_points_do_not_overflow_the_trees_stack() {
    let n = 60_000;
    let line = Array2::from_shape_fn((n, 1), |(i, _)| i as f32);
    for engine in [Engine::KdTree, Engine::LinfaKdTree] {
        let found = nearest_neighbours(line.view(), 2, Distance::Euclidean, engine).unwrap();
        assert_eq!(found.indices.row(0).to_vec(), [1, 2]);
        assert_eq!(found.indices.row(n / 2).to_vec(), [n / 2 - 1, n / 2 + 1]);
    }
}

#[test]
fn equal_points_are_each_others_neighbours() {
    let same = Array2::from_elem((300, 3), -2.5_f32);
    check(same.view(), 4);
    let zeros = ndarray::arr2(&[[0.0_f32], [-0.0], [1.0], [0.0]]);
    check(zeros.view(), 2);
}

#[test]
fn views_that_are_not_row_major_are_taken_as_they_are() {
    let wide = Array2::from_shape_fn((4, 90), |(i, j)| ((i * 37 + j * 11) % 23) as f32);
    check(wide.t(), 6);
    check(wide.t().slice(s![..;2, ..]), 6);
    let mut flipped = wide.t();
    flipped.invert_axis(Axis(0));
    check(flipped, 6);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let points = Array2::from_shape_fn((400, 3), |(i, j)| ((i * 7919 + j * 104_729) % 101) as f32);
    let with = |threads, engine| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| nearest_neighbours(points.view(), 7, Distance::Euclidean, engine).unwrap())
    };
    for engine in [Engine::KdTree, Engine::BallTree, Engine::Products] {
        assert_eq!(with(1, engine), with(3, engine));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Small integers times a power of two, shifted: ties, duplicates and cancellation, yet exact.
    #[test]
    fn every_engine_gives_the_oracles_neighbours(
        levels in prop::collection::vec(0_u8..6, 8..120),
        d in 1_usize..12, k in 1_usize..12,
        scale in prop::sample::select(vec![1.0_f32, 0.001_953_125, 1024.0]),
        shift in prop::sample::select(vec![0.0_f32, 4096.0, -65536.0]),
    ) {
        let n = levels.len() / d;
        prop_assume!(n >= 2);
        let points =
            Array2::from_shape_fn((n, d), |(i, j)| f32::from(levels[i * d + j]) * scale + shift);
        check(points.view(), k.min(n - 1));
    }
}

/// Clusters of near duplicates, far from the origin and from each other: what f32 products cancel on.
#[test]
fn near_duplicates_far_from_the_origin_keep_their_neighbours() {
    for d in [2, 7, 16, 40] {
        let points = Array2::from_shape_fn((400, d), |(i, j)| {
            let far = if i % 3 == 0 { 65_536.0 } else { -32_768.0 };
            far + ((i * 7919 + j * 104_729) % 17) as f32 / 64.0
        });
        check(points.view(), 9);
    }
}

#[test]
fn tree_and_products_agree_on_thousands_of_points_without_structure() {
    let mut state = 5_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let points = Array2::from_shape_simple_fn((3000, 3), &mut noise);
    for distance in KINDS {
        let by = |engine| nearest_neighbours(points.view(), 20, distance, engine).unwrap();
        assert_eq!(by(Engine::KdTree), by(Engine::Products), "{distance:?}");
    }
}
