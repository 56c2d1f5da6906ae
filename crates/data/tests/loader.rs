//! The loader on files: archives, bad images, levels in memory, regions.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array4, s};
use nearkin_data::{
    CropMode, DecodeOptions, EpochError, Eval, EvalTransform, Evaluate, Interpolation, ListedPart,
    Loader, LoaderConfig, LoaderReport, MAX_FILE_BYTES, Pixels, Preprocess, Region, Sample,
    SampleReader, Samples, Split, StageTimes, Target, decode,
};

/// An RGB bitmap: 24-bit rows, from the bottom, each padded to four bytes.
fn bitmap(width: usize, height: usize, level: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
    let row = (3 * width).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    for number in [54 + row * height, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend(u32::try_from(number).unwrap().to_le_bytes());
    }
    for y in (0..height).rev() {
        let pixels = (0..width).flat_map(|x| [2, 1, 0].map(|c| level(y, x, c)));
        bytes.extend(pixels.chain(std::iter::repeat_n(0, row - 3 * width)));
    }
    bytes
}

fn pattern(seed: usize) -> impl Fn(usize, usize, usize) -> u8 {
    move |y, x, c| ((y * 31 + x * 17 + c * 101 + seed * 7) % 256) as u8
}

fn sample(name: &str, pixels: Pixels) -> Sample {
    let target = Target::Class(name.len() % 3);
    Sample { name: name.into(), pixels, region: None, target, mask: None }
}

fn eval(size: (usize, usize), crop_mode: CropMode) -> Eval {
    Eval {
        size,
        channels: 3,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        interpolation: Interpolation::Bicubic,
        crop_pct: 1.0,
        crop_mode,
    }
}

/// All images in the order of the batches, `[n, C, H, W]`, their indices, and the report.
fn load(
    samples: Vec<Sample>,
    eval: &Eval,
    decode: DecodeOptions,
    strict: bool,
) -> Result<(Vec<usize>, Vec<f32>, LoaderReport), EpochError> {
    let part = Arc::new(ListedPart { split: Split::Test, samples });
    let source = Samples::new(part, decode, Evaluate::new(eval).unwrap());
    let config = LoaderConfig { threads: 2, strict, ..LoaderConfig::new(3) };
    let loader = Loader::new(Arc::new(source), config).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    while let Some(batch) = epoch.next_batch()? {
        indices.extend_from_slice(batch.indices);
        values.extend(batch.images.iter().copied());
    }
    Ok((indices, values, epoch.report()))
}

#[test]
fn levels_in_memory_come_as_the_in_memory_path_gives_them_without_a_decode() {
    for channels in [1, 3] {
        let images = Array4::from_shape_fn((7, channels, 9, 8), |(n, c, h, w)| {
            ((n * 53 + c * 11 + h * h * 3 + w * 29) % 256) as u8
        });
        let eval = eval((6, 5), CropMode::Squash);
        let preprocess = Preprocess {
            size: eval.size,
            channels: eval.channels,
            mean: eval.mean.clone(),
            std: eval.std.clone(),
            interpolation: eval.interpolation,
        };
        let expected = preprocess.apply(images.view()).unwrap();
        // As stored, and as a view of which the rows are not in one piece.
        let transposed = images.clone().permuted_axes([0, 1, 3, 2]).as_standard_layout().to_owned();
        for images in [images, transposed.permuted_axes([0, 1, 3, 2])] {
            let images = Arc::new(images);
            let levels = |index| Pixels::Levels { images: Arc::clone(&images), index };
            let samples = (0..7).map(|i| sample(&format!("digits#{i}"), levels(i))).collect();
            let (indices, values, report) =
                load(samples, &eval, DecodeOptions::default(), true).unwrap();
            assert_eq!(indices, (0..7).collect::<Vec<_>>());
            assert_eq!(values, expected.iter().copied().collect::<Vec<_>>());
            assert!(report.decode_s <= 0.0 && report.read_s > 0.0, "{report}");
        }
    }
}

#[test]
fn a_region_is_cropped_before_the_transform() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.bmp");
    fs::write(&path, bitmap(12, 10, pattern(3))).unwrap();
    let region = Region { top: 2, left: 5, height: 6, width: 4 };
    let object = Sample { region: Some(region), ..sample("object.bmp#1", Pixels::File(path)) };
    let image = Array4::from_shape_fn((1, 3, 10, 12), |(_, c, y, x)| pattern(3)(y, x, c));
    let images = Arc::new(image.slice(s![.., .., 2..8, 5..9]).as_standard_layout().to_owned());
    let alone = sample("alone", Pixels::Levels { images, index: 0 });
    let eval = eval((4, 4), CropMode::Center);
    let (_, values, _) = load(vec![object, alone], &eval, DecodeOptions::default(), true).unwrap();
    assert_eq!(values[..48], values[48..]);
}

#[test]
fn members_of_an_archive_are_read_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("shard.tar").into();
    let images: Vec<_> = (0..5).map(|i| bitmap(8 + i, 9, pattern(i))).collect();
    let (mut bytes, mut members, mut files) = (vec![9; 512], Vec::new(), Vec::new());
    for (i, image) in images.iter().enumerate() {
        let (offset, len) = (bytes.len() as u64, image.len() as u64);
        bytes.extend(image);
        let slice = Pixels::Slice { path: Arc::clone(&path), offset, len };
        members.push(sample(&format!("shard.tar/{i}.bmp"), slice));
        let file = folder.path().join(format!("{i}.bmp"));
        fs::write(&file, image).unwrap();
        files.push(sample(&format!("{i}.bmp"), Pixels::File(file)));
    }
    fs::write(&path, &bytes).unwrap();
    let eval = eval((5, 5), CropMode::Center);
    let run = |samples| load(samples, &eval, DecodeOptions::default(), true).unwrap().1;
    assert_eq!(run(members), run(files));
    let (offset, len) = (bytes.len() as u64 - 10, 11);
    let beyond = sample("beyond", Pixels::Slice { path, offset, len });
    let error = load(vec![beyond], &eval, DecodeOptions::default(), true).unwrap_err();
    let found = format!("expected 11 bytes at offset {offset}, found a file of {}", bytes.len());
    assert!(error.to_string().ends_with(&found), "{error}");
}

/// Good images between all kinds of bad ones, and what is said of each.
fn bad_files(folder: &Path) -> (Vec<Sample>, Vec<(usize, &'static str)>) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        sample(name, Pixels::File(path))
    };
    let good = |i: usize| write(&format!("good-{i}.bmp"), &bitmap(9, 8, pattern(i)));
    let whole = bitmap(9, 8, pattern(1));
    let gone = write("gone.bmp", &whole);
    fs::remove_file(folder.join("gone.bmp")).unwrap();
    fs::create_dir(folder.join("folder.bmp")).unwrap();
    let sparse = write("sparse.bmp", b"BM");
    let file = File::options().write(true).open(folder.join("sparse.bmp")).unwrap();
    file.set_len(MAX_FILE_BYTES + 1).unwrap();
    let outside = Region { top: 5, left: 0, height: 4, width: 2 };
    let samples = vec![
        good(0),
        gone,
        sample("folder.bmp", Pixels::File(folder.join("folder.bmp"))),
        good(1),
        write("empty.bmp", b""),
        write("cut.bmp", &whole[..whole.len() / 2]),
        write("letter.bmp", b"Dear Sir or Madam"),
        write("bomb.bmp", &bitmap(200, 100, pattern(1))),
        sparse,
        good(2),
        Sample { region: Some(outside), ..good(3) },
        sample(
            "memory",
            Pixels::Levels { images: Arc::new(Array4::zeros((2, 1, 3, 3))), index: 2 },
        ),
        sample(
            "strange",
            Pixels::Levels { images: Arc::new(Array4::zeros((1, 2, 3, 3))), index: 0 },
        ),
        good(4),
    ];
    let reasons = vec![
        (1, "gone.bmp: "),
        (2, "folder.bmp: expected a file, found something else"),
        (4, "expected an image, found an empty file"),
        (5, "BMP: "),
        (6, "found a file that begins with 44 65 61 72 20 53 69 72"),
        (7, "100 × 200 pixels (height × width): expected at most 10000 in all"),
        (8, "sparse.bmp: expected at most 1073741824 bytes, found 1073741825"),
        (10, "region 2 × 4 at (0, 5): expected pixels inside 8 × 9 (height × width)"),
        (11, "image 2 in memory: expected one below 2"),
        (12, "channels: expected 1 or 3, found 2"),
    ];
    (samples, reasons)
}

#[test]
fn bad_images_are_set_aside_by_name_and_reason_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, reasons) = bad_files(folder.path());
    let eval = eval((4, 4), CropMode::Center);
    let decode = DecodeOptions { max_pixels: 10_000, ..DecodeOptions::default() };
    let (indices, values, report) = load(samples.clone(), &eval, decode, false).unwrap();
    assert_eq!(indices, [0, 3, 9, 13]);
    let good = indices.iter().map(|&i| samples[i].clone()).collect();
    assert_eq!(values, load(good, &eval, decode, true).unwrap().1);
    assert_eq!(report.quarantined.len(), reasons.len());
    for (found, (index, reason)) in report.quarantined.iter().zip(&reasons) {
        assert_eq!(found.name, samples[*index].name);
        assert!(found.reason.contains(reason), "{}: {}", found.name, found.reason);
    }
    assert!(report.to_string().contains("10 images set aside:\n  gone.bmp: "), "{report}");
}

#[test]
fn a_strict_run_ends_with_the_first_bad_image_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut samples, _) = bad_files(folder.path());
    samples.swap(0, 4); // the empty one first
    let decode = DecodeOptions::default();
    let error = load(samples, &eval((4, 4), CropMode::Center), decode, true).unwrap_err();
    let expected = "batch 0: empty.bmp: expected an image, found an empty file";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_file_that_vanishes_between_epochs_is_missing_from_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let files = (0..4).map(|i| {
        let path = folder.path().join(format!("{i}.bmp"));
        fs::write(&path, bitmap(5, 5, pattern(i))).unwrap();
        sample(&format!("{i}.bmp"), Pixels::File(path))
    });
    let part = Arc::new(ListedPart { split: Split::Test, samples: files.collect() });
    let evaluate = Evaluate::new(&eval((4, 4), CropMode::Center)).unwrap();
    let source = Arc::new(Samples::new(part, DecodeOptions::default(), evaluate));
    let loader = Loader::new(source, LoaderConfig::new(4)).unwrap();
    let indices = |epoch| {
        let mut epoch = loader.epoch(epoch).unwrap();
        epoch.next_batch().unwrap().unwrap().indices.to_vec()
    };
    assert_eq!(indices(0), [0, 1, 2, 3]);
    fs::remove_file(folder.path().join("2.bmp")).unwrap();
    assert_eq!(indices(1), [0, 1, 3]);
}

#[test]
fn a_reader_goes_on_after_a_bad_image() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, reasons) = bad_files(folder.path());
    let decode = DecodeOptions { max_pixels: 10_000, ..DecodeOptions::default() };
    let mut reader = SampleReader::new(decode);
    for (index, sample) in samples.iter().enumerate() {
        let bad = reasons.iter().any(|&(at, _)| at == index);
        let read = reader.image(sample, &mut StageTimes::default());
        assert_eq!(read.is_err(), bad, "{}", sample.name);
    }
}

/// Every file of the fixtures, sorted by name: all formats and modes.
fn fixture_files() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pixels/files");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    assert!(paths.len() > 20, "{} files", paths.len());
    let file = |path: std::path::PathBuf| {
        sample(&path.file_name().unwrap().to_string_lossy(), Pixels::File(path.clone()))
    };
    paths.into_iter().map(file).collect()
}

#[test]
fn files_of_every_format_come_as_decoding_and_transforming_them_one_by_one_gives() {
    let samples = fixture_files();
    for crop_mode in [CropMode::Center, CropMode::Border] {
        let eval = Eval { crop_pct: 0.8, ..eval((16, 12), crop_mode) };
        let mut transform = EvalTransform::new(&eval).unwrap();
        let (mut good, mut expected, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for (index, sample) in samples.iter().enumerate() {
            let Pixels::File(path) = &sample.pixels else { panic!("not a file") };
            let mut out = vec![0.0; transform.output_len()];
            let image = decode(&fs::read(path).unwrap(), &DecodeOptions::default());
            match image.map(|image| transform.run(&image, &mut out)) {
                Ok(Ok(())) => {
                    good.push(index);
                    expected.extend(out);
                }
                Ok(Err(error)) => bad.push((sample.name.clone(), error.to_string())),
                Err(error) => bad.push((sample.name.clone(), error.to_string())),
            }
        }
        let (indices, values, report) =
            load(samples.clone(), &eval, DecodeOptions::default(), false).unwrap();
        assert_eq!(indices, good);
        assert!(values == expected, "{crop_mode:?}");
        let found: Vec<_> =
            report.quarantined.iter().map(|q| (q.name.clone(), q.reason.clone())).collect();
        assert_eq!(found, bad);
        assert!(report.decode_s > 0.0 && report.resize_s > 0.0, "{report}");
    }
}
