//! Readers of sets in memory beside a copy of the same bytes, and beside `std::fs::read` of a file
//! that the system holds in memory.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nearkin_data::{CifarKind, read_cifar, read_cifar_bytes, read_idx, read_images};

/// 10,000 records, as one official file has.
fn cifar() -> Vec<u8> {
    (0..10_000 * 3073).map(|i| if i % 3073 == 0 { 3 } else { (i % 251) as u8 }).collect()
}

/// 40,000 images of 28 × 28.
fn idx() -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    for side in [40_000_u32, 28, 28] {
        bytes.extend(side.to_be_bytes());
    }
    bytes.extend((0..40_000 * 784).map(|i| (i % 251) as u8));
    bytes
}

fn readers(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (cifar, idx) = (cifar(), idx());
    let (cifar_path, idx_path) = (folder.path().join("test_batch.bin"), folder.path().join("idx"));
    fs::write(&cifar_path, &cifar).unwrap();
    fs::write(&idx_path, &idx).unwrap();

    let mut group = criterion.benchmark_group("cifar");
    group.throughput(Throughput::Bytes(cifar.len() as u64));
    group.bench_function("copy", |b| b.iter(|| black_box(&cifar).to_vec()));
    group.bench_function("read_cifar_bytes", |b| {
        b.iter(|| read_cifar_bytes(black_box(&cifar), CifarKind::Cifar10).unwrap());
    });
    group.bench_function("fs read", |b| b.iter(|| fs::read(&cifar_path).unwrap()));
    group.bench_function("read_cifar", |b| {
        b.iter(|| read_cifar(&cifar_path, CifarKind::Cifar10).unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("idx");
    group.throughput(Throughput::Bytes(idx.len() as u64));
    group.bench_function("fs read", |b| b.iter(|| fs::read(&idx_path).unwrap()));
    group.bench_function("read_idx", |b| b.iter(|| read_idx(&idx_path).unwrap()));
    group.bench_function("read_images", |b| b.iter(|| read_images(&idx_path).unwrap()));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = readers
}
criterion_main!(benches);
