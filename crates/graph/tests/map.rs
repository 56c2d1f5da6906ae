//! Properties of maps that hold for every graph, and maps of points whose structure is known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView1};
use nearkin_graph::map::{
    Constraint, Edge, Map, MapConfig, MapError, distortions, distortions_cdf,
    high_distortion_pairs, layout, neighbour_edges,
};
use nearkin_graph::{Distance, Engine, nearest_neighbours};
use proptest::prelude::*;

/// Values in [0, 1) that look drawn at random.
fn noise(i: usize, j: usize) -> f32 {
    let mut z = (i as u64) << 32 | j as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 40) as f32 / (1 << 24) as f32
}

/// Three blobs in ten dimensions, point i in blob i mod 3, and their nearest neighbours.
fn blobs(n: usize, k: usize) -> Vec<Edge> {
    let points =
        Array2::from_shape_fn((n, 10), |(i, j)| noise(i, j) + if j == i % 3 { 4.0 } else { 0.0 });
    let near = nearest_neighbours(points.view(), k, Distance::Euclidean, Engine::Auto).unwrap();
    neighbour_edges(&near)
}

fn distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt()
}

fn edge(source: usize, target: usize, weight: f32) -> Edge {
    Edge { source, target, weight }
}

fn assert_centred(map: &Map) {
    assert!(map.positions.iter().all(|v| v.is_finite()), "{map:?}");
    let size = map.positions.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    for column in map.positions.columns() {
        assert!(column.sum().abs() <= 1e-4 * size * column.len() as f32, "{column}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let edges = blobs(3000, 8);
    for (dimensions, constraint) in [(2, Constraint::Centred), (3, Constraint::Standardised)] {
        let config =
            MapConfig { dimensions, constraint, max_iterations: 25, ..MapConfig::default() };
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| layout(3000, &edges, &config).unwrap())
        };
        let one = with(1);
        assert_eq!(one, with(3));
        assert_ne!(one.positions, {
            let other = MapConfig { seed: 1, ..config };
            layout(3000, &edges, &other).unwrap().positions
        });
    }
}

#[test]
fn three_blobs_stay_apart() {
    let n = 600;
    let edges = blobs(n, 10);
    for dimensions in [2, 3] {
        for constraint in [Constraint::Centred, Constraint::Standardised] {
            let config = MapConfig { dimensions, constraint, ..MapConfig::default() };
            let map = layout(n, &edges, &config).unwrap();
            assert_centred(&map);
            // The nearest other point of nearly every point is of its own blob.
            let near =
                nearest_neighbours(map.positions.view(), 5, Distance::Euclidean, Engine::Auto);
            let near = near.unwrap().indices;
            let kept = near.indexed_iter().filter(|((i, _), j)| i % 3 == *j % 3).count();
            assert!(kept * 100 >= near.len() * 99, "{config:?}: {kept} of {}", near.len());
            // And the blobs do not merely interleave: every point is nearest to its own middle.
            let middle = |blob: usize| {
                let rows: Vec<usize> = (blob..n).step_by(3).collect();
                map.positions.select(ndarray::Axis(0), &rows).mean_axis(ndarray::Axis(0)).unwrap()
            };
            let middles: Vec<_> = (0..3).map(middle).collect();
            let own = (0..n).filter(|&i| {
                let away = |blob: usize| distance(map.positions.row(i), middles[blob].view());
                (0..3).all(|blob| away(i % 3) <= away(blob))
            });
            assert!(own.count() * 100 >= n * 98, "{config:?}");
        }
    }
}

#[test]
fn a_standardised_map_has_unit_covariance() {
    let config = MapConfig { constraint: Constraint::Standardised, ..MapConfig::default() };
    let map = layout(300, &blobs(300, 6), &config).unwrap();
    let gram = map.positions.t().dot(&map.positions) / 300.0;
    assert!((&gram - &Array2::<f32>::eye(2)).iter().all(|v| v.abs() < 1e-3), "{gram}");
}

#[test]
fn the_start_is_improved_until_the_gradient_vanishes() {
    let edges = blobs(300, 6);
    let at = |max_iterations| {
        let config = MapConfig { max_iterations, tolerance: 1e-4, ..MapConfig::default() };
        layout(300, &edges, &config).unwrap()
    };
    let (start, end) = (at(0), at(1000));
    assert!(end.average_distortion < 0.8 * start.average_distortion);
    assert!(end.residual <= 1e-4 && end.iterations < 1000, "{} {}", end.residual, end.iterations);
}

#[test]
fn distortions_are_listed_summed_and_ranked() {
    let map = layout(300, &blobs(300, 6), &MapConfig::default()).unwrap();
    let all = distortions(&map);
    let mean = all.iter().map(|pair| pair.distortion).sum::<f64>() / all.len() as f64;
    assert!((mean - map.average_distortion).abs() < 1e-6 * mean);

    let cdf = distortions_cdf(&map);
    let median = cdf.quantile(0.5).unwrap();
    assert!((cdf.share_at(median) - 0.5).abs() < 0.01);
    assert_eq!(cdf.quantile(1.0), cdf.distortions.last().copied());
    assert!(cdf.share_at(-1.0) < 1e-12 && cdf.share_at(f64::INFINITY) > 0.999);

    let worst = high_distortion_pairs(&map, 7);
    assert_eq!(worst.len(), 7);
    assert!(worst.is_sorted_by(|a, b| a.distortion >= b.distortion));
    assert_eq!(Some(worst[0].distortion), cdf.distortions.last().copied());
    // The first pair, by hand.
    let (i, j, weight) = map.pairs[0];
    let d = distance(map.positions.row(i as usize), map.positions.row(j as usize));
    assert!(weight > 0.0);
    let expected = weight * (1.0 + d.powf(1.5)).ln();
    assert!((all[0].distortion as f32 - expected).abs() < 1e-5);
}

#[test]
fn components_and_isolated_nodes_are_kept_apart() {
    // Two cliques of six, a pair, and two nodes without an edge.
    let clique = |first: usize| {
        (first..first + 6).flat_map(move |i| (first..i).map(move |j| edge(i, j, 1.0)))
    };
    let edges: Vec<Edge> = clique(0).chain(clique(6)).chain([edge(12, 13, 2.0)]).collect();
    for dimensions in [2, 3] {
        let config = MapConfig { dimensions, ..MapConfig::default() };
        let map = layout(16, &edges, &config).unwrap();
        assert_centred(&map);
        let between = |i, j| distance(map.positions.row(i), map.positions.row(j));
        let within = (1..6).map(|i| between(0, i)).fold(0.0, f32::max);
        for other in [6, 11, 12, 14, 15] {
            assert!(between(0, other) > 1.5 * within, "{dimensions} {other}: {map:?}");
        }
        assert!(between(14, 15) > 0.1);
    }
}

#[test]
fn graphs_of_few_nodes_have_maps_too() {
    let config = MapConfig::default();
    assert_eq!(layout(0, &[], &config).unwrap().positions.dim(), (0, 2));
    assert_centred(&layout(1, &[edge(0, 0, 1.0)], &config).unwrap());
    for edges in [&[][..], &[edge(0, 1, 3.0)]] {
        for n in 2..5 {
            let map = layout(n, edges, &config).unwrap();
            assert_centred(&map);
            // Without anything that repels, the two of an edge end in one place.
            let d = distance(map.positions.row(0), map.positions.row(1));
            assert!(if edges.is_empty() { d > 0.1 } else { d < 0.1 }, "{n}: {map:?}");
        }
    }
}

#[test]
fn twins_with_the_same_neighbours_do_not_coincide() {
    // A star: all leaves are alike.
    let edges: Vec<Edge> = (1..60).map(|leaf| edge(0, leaf, 1.0)).collect();
    let map = layout(60, &edges, &MapConfig::default()).unwrap();
    assert_centred(&map);
    let apart = (1..60).flat_map(|i| (1..i).map(move |j| (i, j)));
    assert!(
        apart.into_iter().all(|(i, j)| distance(map.positions.row(i), map.positions.row(j)) > 0.0)
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let check = |n, edges: &[Edge], config: MapConfig, expected: &str| {
        assert_eq!(layout(n, edges, &config).unwrap_err().to_string(), expected);
    };
    let config = MapConfig::default();
    let good = edge(0, 1, 1.0);
    check(3, &[good, edge(1, 3, 1.0)], config, "edge 1: expected nodes below 3, found 3");
    let weight = "edge 1: expected a finite weight of at least 0, found";
    check(3, &[good, edge(1, 2, f32::NAN)], config, &format!("{weight} NaN"));
    check(3, &[good, edge(1, 2, -0.5)], config, &format!("{weight} -0.5"));
    check(3, &[good, edge(1, 2, f32::INFINITY)], config, &format!("{weight} inf"));
    let with = |config| check(3, &[good], config, "dimensions: expected 2 or 3, found 4");
    with(MapConfig { dimensions: 4, ..config });
    let fraction = MapConfig { repulsive_fraction: Some(f64::NAN), ..config };
    let expected = "repulsive fraction: expected a finite number of at least 0, found NaN";
    check(3, &[good], fraction, expected);
    check(3, &[good], MapConfig { memory: 0, ..config }, "memory: expected at least 1, found 0");
    let standardised = MapConfig { constraint: Constraint::Standardised, ..config };
    let expected = "a standardised map: expected more than 2 nodes, found 2";
    check(2, &[good], standardised, expected);
    let tolerance = MapConfig { tolerance: -1.0, ..config };
    assert_eq!(layout(3, &[], &tolerance), Err(MapError::Tolerance { found: -1.0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn order_direction_loops_and_split_weights_do_not_matter(
        n in 1_usize..24, draws in prop::collection::vec((0_usize..24, 0_usize..24, 1_u8..5), 0..60),
        dimensions in 2_usize..4, fraction in prop::sample::select(vec![None, Some(0.0), Some(40.0)]),
    ) {
        let edges: Vec<Edge> =
            draws.iter().map(|&(i, j, w)| edge(i % n, j % n, f32::from(w))).collect();
        // The same graph, said differently: halves of every weight, reversed, with idle edges.
        let halves = edges.iter().rev().flat_map(|&Edge { source, target, weight }| {
            [edge(target, source, weight / 2.0), edge(source, target, weight / 2.0)]
        });
        let idle = (0..n).map(|i| edge(i, (i + 1) % n, 0.0)).chain([edge(0, 0, 7.0)]);
        let other: Vec<Edge> = idle.chain(halves).collect();
        let config = MapConfig {
            dimensions, repulsive_fraction: fraction, max_iterations: 40, ..MapConfig::default()
        };
        let map = layout(n, &edges, &config).unwrap();
        assert_centred(&map);
        prop_assert_eq!(&map, &layout(n, &other, &config).unwrap());

        // Repelled pairs are pairs that are no edges, each once.
        let (attracted, repelled): (Vec<_>, Vec<_>) = map.pairs.iter().partition(|pair| pair.2 > 0.0);
        let ends = |pairs: &[(u32, u32, f32)]| -> Vec<(u32, u32)> {
            pairs.iter().map(|&(i, j, _)| (i, j)).collect()
        };
        let (attracted, repelled) = (ends(&attracted), ends(&repelled));
        prop_assert!(attracted.is_sorted_by(|a, b| a < b) && repelled.is_sorted_by(|a, b| a < b));
        prop_assert!(repelled.iter().all(|&(i, j)| i < j && (j as usize) < n));
        prop_assert!(repelled.iter().all(|pair| !attracted.contains(pair)));
        let others = n * (n - 1) / 2 - attracted.len();
        if fraction == Some(40.0) && !attracted.is_empty() {
            // Exactly as many as wanted where most are; a sparse draw leaves out what comes twice.
            let wanted = 40 * attracted.len();
            let most = others.min(wanted);
            prop_assert!(repelled.len() <= most);
            prop_assert!(repelled.len() == most || others > 2 * wanted);
        }
    }
}
