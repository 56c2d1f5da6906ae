//! The engines over numbers of points and columns: what `Engine::Auto` chooses by.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use nearkin_graph::{Distance, Engine, nearest_neighbours};

fn blobs(n: usize, d: usize) -> Array2<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let centres = Array2::from_shape_simple_fn((16, d), &mut uniform);
    Array2::from_shape_fn((n, d), |(i, j)| {
        centres[[i % 16, j]] + (uniform() + uniform() + uniform()) / 3.0
    })
}

fn engines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("15 nearest neighbours");
    for (n, d) in [(1000, 2), (4000, 4), (10_000, 2), (10_000, 5), (12_000, 6), (10_000, 8)] {
        let points = blobs(n, d);
        for engine in [Engine::KdTree, Engine::Products] {
            group.bench_function(BenchmarkId::new(engine.as_str(), format!("{n} × {d}")), |b| {
                b.iter(|| {
                    nearest_neighbours(black_box(points.view()), 15, Distance::Euclidean, engine)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1));
    targets = engines
}
criterion_main!(benches);
