//! Training pipelines of one 500 × 375 image to 224 × 224, and single operations, on one core.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nearkin_data::{Augment, Augmenter, Draw, EraseFill, Image, RandomErasing};

/// Waves and grain: neither flat nor noise alone.
fn photo((height, width): (usize, usize)) -> Image {
    let level = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        let wave = (x as f64 * 0.05 + c as f64).sin() + (y as f64 * 0.03).cos();
        let grain = (i.wrapping_mul(2_654_435_761) >> 7) % 23;
        (120.0 + 50.0 * wave) as u8 + grain as u8
    };
    let levels = (0..height * width * 3).map(level).collect();
    Image::new((height, width), 3, levels).unwrap_or_else(|error| panic!("{error}"))
}

fn pipelines(criterion: &mut Criterion) {
    let image = photo((375, 500));
    let crop = Augment { color_jitter: None, ..Augment::timm((224, 224)) };
    let rand = |text| {
        Augment::timm_rand_augment((224, 224), text).unwrap_or_else(|error| panic!("{error}"))
    };
    let erasing = Some(RandomErasing::timm(0.25, EraseFill::Pixel));
    let mut group = criterion.benchmark_group("500 × 375 to 224 × 224");
    group.throughput(Throughput::Elements(1));
    for (name, augment) in [
        ("crop and flip", crop),
        ("timm (colour jitter 0.4)", Augment::timm((224, 224))),
        ("rand-m9-mstd0.5-inc1", rand("rand-m9-mstd0.5-inc1")),
        ("rand-m9-mstd0.5-inc1, erasing", Augment { erasing, ..rand("rand-m9-mstd0.5-inc1") }),
    ] {
        let mut augmenter = Augmenter::new(&augment).unwrap_or_else(|error| panic!("{error}"));
        let mut out = vec![0.0; 3 * 224 * 224];
        let mut index = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                index += 1;
                let draw = Draw { seed: 0, epoch: 0, index };
                augmenter.run(black_box(&image), draw, &mut out)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = pipelines
}
criterion_main!(benches);
