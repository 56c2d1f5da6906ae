//! A whole linear probe at the widths of common backbones: 1,347 training rows, ten classes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use nearkin_metrics::{Labelled, Probe, linear_probe};

fn noise(state: &mut u64) -> f32 {
    let mut sum = 0.0;
    for _ in 0..4 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sum += (*state >> 40) as f32 / (1 << 24) as f32 - 0.5;
    }
    sum
}

/// Two random layers with ReLU over ten overlapping blobs: correlated, as an untrained backbone's.
fn embeddings(n: usize, d: usize) -> (Array2<f32>, Vec<usize>) {
    let mut state = 3;
    let mut random = |shape| Array2::from_shape_simple_fn(shape, || noise(&mut state));
    let (centres, spread) = (random((10, 64)), random((n, 64)));
    let (first, second) = (random((64, 256)), random((256, d)));
    let labels: Vec<usize> = (0..n).map(|i| i % 10).collect();
    let images = centres.select(ndarray::Axis(0), &labels) + spread * 1.5;
    let hidden = images.dot(&first).mapv(|v| v.max(0.0));
    (hidden.dot(&second).mapv(|v| v.max(0.0)), labels)
}

fn probes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear probe, 1347 train, 450 test");
    for d in [192, 512, 2048, 4096] {
        let (rows, labels) = embeddings(1797, d);
        let (train, test) = rows.view().split_at(ndarray::Axis(0), 1347);
        let train = Labelled { embeddings: train, labels: &labels[..1347] };
        group.bench_function(BenchmarkId::from_parameter(d), |b| {
            b.iter(|| linear_probe(black_box(train), test, 10, &Probe::default()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = probes
}
criterion_main!(benches);
