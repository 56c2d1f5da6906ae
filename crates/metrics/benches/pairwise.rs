//! Pairwise distances and nearest rows. `RAYON_NUM_THREADS=1` gives core-seconds.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use nearkin_metrics::{Distance, pairwise, top_k_within};

const KINDS: [Distance; 3] = [Distance::Euclidean, Distance::Cosine, Distance::Manhattan];

/// Gaussian-like blobs: 16 centres, a spread of a third of their distance.
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

fn pairs(criterion: &mut Criterion) {
    let x = blobs(1500, 128);
    let mut group = criterion.benchmark_group("pairwise 1500 × 1500 × 128");
    group.throughput(Throughput::Elements(1500 * 1500));
    for kind in KINDS {
        group.bench_function(kind.as_str(), |b| {
            b.iter(|| pairwise(black_box(x.view()), x.view(), kind));
        });
    }
    group.finish();
}

fn nearest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("15 nearest within");
    for (n, d) in [(1797, 64), (5000, 784), (5000, 4096)] {
        let points = blobs(n, d);
        for kind in KINDS.into_iter().take(if d < 1000 { 3 } else { 2 }) {
            group.bench_function(BenchmarkId::new(kind.as_str(), format!("{n} × {d}")), |b| {
                b.iter(|| top_k_within(black_box(points.view()), 15, kind));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = pairs, nearest
}
criterion_main!(benches);
