//! The loader with nothing to do, on image files, and on a cache of them.
//!
//! Files are PNG, made here; with the shared folder (`NEARKIN_SHARED` or `../shared`) also its
//! ImageNet photographs.

use std::fs;
use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nearkin_data::{
    Cache, CacheConfig, Cached, CropMode, DecodeOptions, Eval, Evaluate, Fault, IMAGENET_MEAN,
    IMAGENET_STD, Interpolation, ListedPart, Loader, LoaderConfig, Pixels, Place, Sample, Samples,
    Source, Split, StageTimes, Target, Worker,
};

/// Images that need no work: what is left is the queue's own cost.
struct Nothing {
    count: usize,
    shape: [usize; 3],
}

struct NoWork;

impl Source for Nothing {
    type Worker = NoWork;
    fn count(&self) -> usize {
        self.count
    }
    fn shape(&self) -> [usize; 3] {
        self.shape
    }
    fn name(&self, _: usize) -> &str {
        "nothing"
    }
    fn target(&self, _: usize) -> &Target {
        &Target::Unlabelled
    }
    fn worker(&self) -> NoWork {
        NoWork
    }
}

impl Worker<f32> for NoWork {
    fn run(&mut self, _: Place, _: &mut [f32], _: &mut StageTimes) -> Result<(), Fault> {
        Ok(())
    }
}

fn config(threads: usize) -> LoaderConfig {
    LoaderConfig { threads, ..LoaderConfig::new(32) }
}

fn epoch<S: Source>(loader: &Loader<S>) -> usize {
    let mut epoch = loader.epoch(0).expect("threads start");
    let mut images = 0;
    while let Some(batch) = epoch.next_batch().expect("no image is bad") {
        images += black_box(batch.images).dim().0;
    }
    images
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue alone");
    group.sample_size(10);
    for (count, shape) in [(100_000, [1, 28, 28]), (2_000, [3, 224, 224])] {
        group.throughput(Throughput::Elements(count as u64));
        for threads in [1, 2] {
            let source = Arc::new(Nothing { count, shape });
            let loader = Loader::new(source, config(threads)).expect("settings hold");
            let id = BenchmarkId::new(format!("{shape:?}"), format!("{threads} threads"));
            group.bench_function(id, |bencher| bencher.iter(|| epoch(&loader)));
        }
    }
    group.finish();
}

/// Smooth colours with a little noise: what PNG finds in a photograph.
fn write_png(path: &Path, seed: usize) -> io::Result<()> {
    let (width, height) = (400 + seed % 5 * 20, 320 + seed % 3 * 30);
    let mut state = seed as u64;
    let mut noise = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 61) as usize
    };
    let mut levels = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            levels
                .extend([x / 2 + y / 4, y / 2 + seed, x / 3].map(|level| (level + noise()) as u8));
        }
    }
    let mut encoder = png::Encoder::new(fs::File::create(path)?, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&levels)?;
    Ok(())
}

fn listed(paths: impl IntoIterator<Item = PathBuf>) -> Arc<ListedPart> {
    let sample = |path: PathBuf| Sample {
        name: path.to_string_lossy().into_owned(),
        pixels: Pixels::File(path),
        region: None,
        target: Target::Unlabelled,
        mask: None,
    };
    let samples = paths.into_iter().map(sample).collect();
    Arc::new(ListedPart { split: Split::Test, samples })
}

/// The photographs of the shared folder, sorted; empty where it is not.
fn photographs() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("NEARKIN_SHARED")
        .map_or_else(|| workspace.join("../shared"), PathBuf::from);
    let mut found = Vec::new();
    let mut folders = vec![root.join("data/imagenet-sample/dev")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
            match extension.as_deref() {
                Some("jpg" | "jpeg") => found.push(path),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn images(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let png = |seed: usize| {
        let path = folder.path().join(format!("{seed}.png"));
        write_png(&path, seed).expect("the folder can be written to");
        path
    };
    for (name, part) in
        [("64 PNG", listed((0..64).map(png))), ("photographs", listed(photographs()))]
    {
        if part.samples.is_empty() {
            continue;
        }
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Elements(part.samples.len() as u64));
        let eval = Eval {
            size: (224, 224),
            channels: 3,
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
            interpolation: Interpolation::Bicubic,
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
        };
        let evaluate = || Evaluate::new(&eval).expect("a transform");
        let path = folder.path().join(format!("{name}.cache"));
        let mut go_on = |_| ControlFlow::Continue(());
        let cache = Cache::open_or_build(&part, &eval, &path, CacheConfig::new(2), &mut go_on);
        let cache = Arc::new(cache.expect("the cache is built"));
        for threads in [1, 2] {
            let threads_name = format!("{threads} threads");
            let files = Samples::new(Arc::clone(&part), DecodeOptions::default(), evaluate());
            let files = Loader::new(Arc::new(files), config(threads)).expect("settings hold");
            let id = BenchmarkId::new("files", &threads_name);
            group.bench_function(id, |bencher| bencher.iter(|| epoch(&files)));
            let cached = Cached::new(Arc::clone(&cache), evaluate()).expect("the same transform");
            let cached = Loader::new(Arc::new(cached), config(threads)).expect("settings hold");
            let id = BenchmarkId::new("cache", &threads_name);
            group.bench_function(id, |bencher| bencher.iter(|| epoch(&cached)));
        }
        group.finish();
    }
}

criterion_group!(benches, queue, images);
criterion_main!(benches);
