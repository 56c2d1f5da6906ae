//! Building, resuming, refusing: on small levels, and on image files made here.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use ndarray::Array4;
use tempfile::TempDir;

use super::format::HEADER_BYTES;
use super::*;
use crate::*;

const SHAPE: [usize; 3] = [3, 400, 400];
const ROW: usize = 480_000;
/// What fits into the 4 MiB of a block.
const BLOCK: usize = 8;
const KEY: CacheKey = CacheKey { data: [1; 32], transform: [2; 32] };

/// Image i is levels made of i; some are bad. Rows are large, so that few make several blocks.
struct Levels {
    part: ListedPart,
    bad: BTreeSet<usize>,
    touched: Arc<Mutex<Vec<usize>>>,
}

struct Worker {
    bad: BTreeSet<usize>,
    touched: Arc<Mutex<Vec<usize>>>,
}

fn levels_of(index: usize) -> impl Iterator<Item = u8> {
    (0..ROW).map(move |at| (at * (index + 3) / 7) as u8)
}

fn source(n: usize, bad: &[usize]) -> Arc<Levels> {
    let images = Arc::new(Array4::zeros((1, 1, 1, 1)));
    let sample = |index: usize| Sample {
        name: format!("image {index}"),
        pixels: Pixels::Levels { images: Arc::clone(&images), index: 0 },
        region: None,
        target: match index % 3 {
            0 => Target::Unlabelled,
            1 => Target::Class(index),
            _ => Target::Classes { present: vec![index], difficult: vec![] },
        },
        mask: None,
    };
    let part = ListedPart { split: Split::Train, samples: (0..n).map(sample).collect() };
    Arc::new(Levels { part, bad: bad.iter().copied().collect(), touched: Arc::default() })
}

impl Source<u8> for Levels {
    type Worker = Worker;
    fn count(&self) -> usize {
        self.part.samples.len()
    }
    fn shape(&self) -> [usize; 3] {
        SHAPE
    }
    fn name(&self, index: usize) -> &str {
        &self.part.samples[index].name
    }
    fn target(&self, index: usize) -> &Target {
        &self.part.samples[index].target
    }
    fn worker(&self) -> Worker {
        Worker { bad: self.bad.clone(), touched: Arc::clone(&self.touched) }
    }
}

impl crate::Worker<u8> for Worker {
    fn run(&mut self, place: Place, out: &mut [u8], _: &mut StageTimes) -> Result<(), Fault> {
        self.touched.lock().unwrap().push(place.index);
        if self.bad.contains(&place.index) {
            return Err(Fault::Image(format!("bad {}", place.index)));
        }
        out.iter_mut().zip(levels_of(place.index)).for_each(|(out, level)| *out = level);
        Ok(())
    }
}

/// Builds or opens; stops after `blocks` blocks.
fn build(
    source: &Arc<Levels>,
    path: &Path,
    change: impl Fn(&mut CacheConfig),
    blocks: usize,
) -> Result<Cache, CacheBuildError> {
    let mut config = CacheConfig { queue: 1, ..CacheConfig::new(2) };
    change(&mut config);
    let mut seen = 0;
    let mut progress = |_: CacheProgress| {
        seen += 1;
        if seen > blocks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    Cache::build_from(source, KEY, path, config, &mut || Ok(true), &mut progress)
}

fn build_all(source: &Arc<Levels>, path: &Path) -> Result<Cache, CacheBuildError> {
    build(source, path, |_| {}, usize::MAX)
}

fn is_whole(cache: &Cache, source: &Levels) {
    assert_eq!((cache.count(), cache.shape()), (source.part.samples.len(), SHAPE));
    for (index, sample) in source.part.samples.iter().enumerate() {
        assert_eq!(
            (&cache.names()[index], &cache.targets()[index]),
            (&sample.name, &sample.target)
        );
        let bad = source.bad.contains(&index);
        assert_eq!(cache.reason(index).is_some(), bad);
        assert!(bad || cache.levels(index).unwrap().iter().copied().eq(levels_of(index)));
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("levels.cache");
    (folder, path)
}

#[test]
fn a_cache_gives_back_levels_names_targets_and_bad_images() {
    let (folder, path) = folder();
    let source = source(19, &[4, 18]);
    is_whole(&build_all(&source, &path).unwrap(), &source);
    let cache = Cache::open(&path).unwrap();
    is_whole(&cache, &source);
    cache.verify().unwrap();
    let bad =
        |index| Quarantined { name: format!("image {index}"), reason: format!("bad {index}") };
    assert_eq!(cache.quarantine(), [bad(4), bad(18)]);
    // The second time nothing is prepared, and nothing but the cache and its lock is there.
    build_all(&source, &path).unwrap();
    assert_eq!(source.touched.lock().unwrap().len(), 19);
    let names: BTreeSet<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, BTreeSet::from(["levels.cache".into(), "levels.cache.lock".into()]));
}

#[test]
fn other_tools_may_map_the_levels_behind_the_header() {
    let (_folder, path) = folder();
    build_all(&source(3, &[]), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let levels = &bytes[HEADER_BYTES..HEADER_BYTES + 3 * ROW];
    assert!(levels.iter().copied().eq((0..3).flat_map(levels_of)));
}

#[test]
fn an_empty_list_has_an_empty_cache() {
    let (_folder, path) = folder();
    assert_eq!(build_all(&source(0, &[]), &path).unwrap().count(), 0);
}

#[test]
fn a_build_that_was_cut_off_goes_on_behind_its_last_whole_block() {
    let (_folder, path) = folder();
    let source = source(30, &[9]);
    let error = build(&source, &path, |_| {}, 2).unwrap_err();
    assert!(error.to_string().ends_with("stopped after 16 of 30 images"), "{error}");
    assert!(!path.exists());
    source.touched.lock().unwrap().clear();
    is_whole(&build_all(&source, &path).unwrap(), &source);
    let mut touched = source.touched.lock().unwrap().clone();
    touched.sort_unstable();
    assert_eq!(touched, (16..30).collect::<Vec<_>>());
}

#[test]
fn wherever_a_build_is_killed_the_next_makes_the_same_cache() {
    let (_folder, path) = folder();
    let source = source(20, &[9]);
    build_all(&source, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let index = HEADER_BYTES + 20 * ROW;
    let partial = path.with_file_name("levels.cache.partial");
    let (records, middle) = (whole.len() - index, (whole.len() + index) / 2);
    assert!(records < 2000);
    // At the header, in the levels, and everywhere between records, some bytes apart.
    let cuts = [0, 7, 100, 4095, 4096, 5000, index - 1].into_iter();
    for cut in cuts.chain((index..=whole.len()).step_by(97)).chain([middle, whole.len() - 1]) {
        fs::remove_file(&path).unwrap();
        fs::write(&partial, &whole[..cut]).unwrap();
        build_all(&source, &path).unwrap();
        assert!(fs::read(&path).unwrap() == whole, "cut at {cut}");
    }
    // Levels of the second block that never reached the disk, though its record did.
    fs::remove_file(&path).unwrap();
    let mut torn = whole.clone();
    torn[HEADER_BYTES + BLOCK * ROW..][..4096].fill(0);
    fs::write(&partial, torn).unwrap();
    source.touched.lock().unwrap().clear();
    build_all(&source, &path).unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    assert_eq!(source.touched.lock().unwrap().iter().min(), Some(&BLOCK));
}

#[test]
fn a_damaged_or_shortened_cache_is_refused_by_name_and_rebuilt_when_asked() {
    let (_folder, path) = folder();
    let source = source(9, &[]);
    build_all(&source, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let index = HEADER_BYTES + 9 * ROW;
    let change = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let unusable = [
        (change(3), "expected a packed cache, found another kind of file"),
        (change(16), "expected a packed cache of version 1, found 5"),
        (change(30), "the header is damaged"),
        (change(index + 20), "expected block 0 of 2 at offset 4324096, found other bytes"),
        (change(whole.len() - 1), "expected the end record and nothing more"),
        (vec![], "expected at least 1 bytes, found 0: cut short"),
        (whole[..200].to_vec(), "expected at least 4096 bytes, found 200: cut short"),
        (whole[..9999].to_vec(), "expected at least 4324096 bytes, found 9999: cut short"),
        (whole[..whole.len() - 1].to_vec(), "expected the end record and nothing more"),
        ([&whole[..], b"x"].concat(), "expected the end record and nothing more"),
        (b"a letter, not a cache".to_vec(), "expected a packed cache, found another kind of file"),
    ];
    for (bytes, expected) in unusable {
        fs::write(&path, &bytes).unwrap();
        let error = Cache::open(&path).unwrap_err().to_string();
        assert!(error.contains("levels.cache: ") && error.contains(expected), "{error}");
        let error = build_all(&source, &path).unwrap_err();
        assert!(matches!(error, CacheBuildError::Unusable(_)), "{error}");
        assert!(fs::read(&path).unwrap() == bytes, "a refused file is left as it is");
        is_whole(&build(&source, &path, |c| c.rebuild = true, usize::MAX).unwrap(), &source);
    }
}

#[test]
fn any_changed_byte_of_header_and_index_and_any_shorter_index_is_refused() {
    let (_folder, path) = folder();
    build_all(&source(9, &[2]), &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let index = HEADER_BYTES + 9 * ROW;
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut put = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    for at in (0..HEADER_BYTES).step_by(3).chain(index..whole.len()) {
        put(at, whole[at] ^ (1 << (at % 8)));
        assert!(Cache::open(&path).is_err(), "byte {at}");
        put(at, whole[at]);
    }
    Cache::open(&path).unwrap().verify().unwrap();
    for len in (0..whole.len() - index).rev() {
        file.set_len((index + len) as u64).unwrap();
        assert!(Cache::open(&path).is_err(), "{len} bytes of the index");
    }
}

#[test]
fn changed_levels_are_found_when_they_are_used() {
    let (_folder, path) = folder();
    let source = source(9, &[]);
    build_all(&source, &path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 5 * ROW + 1000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let cache = Arc::new(Cache::open(&path).unwrap());
    assert!(cache.levels(4).is_ok() && cache.levels(6).is_ok());
    let error = cache.levels(5).unwrap_err().to_string();
    assert!(error.contains("image 5 (image 5): expected levels with CRC-32"), "{error}");
    assert_eq!(cache.verify().unwrap_err().to_string(), error);
    // That ends a run which would set a bad image aside.
    let eval = Eval { size: (400, 400), ..eval() };
    let cached = Cached::new(cache, Evaluate::new(&eval).unwrap()).unwrap();
    let loader = Loader::new(Arc::new(cached), LoaderConfig::new(4)).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    assert_eq!(epoch.next_batch().unwrap().unwrap().indices, [0, 1, 2, 3]);
    let found = epoch.next_batch().unwrap_err();
    assert!(matches!(&found, EpochError::Source { batch: 1, image } if image.reason == error));
}

#[test]
fn a_cache_of_other_data_or_another_transform_is_refused() {
    let (_folder, path) = folder();
    let source = source(2, &[]);
    build_all(&source, &path).unwrap();
    for (key, part) in [
        (CacheKey { data: [9; 32], ..KEY }, "a cache of another data set: expected 0909"),
        (CacheKey { transform: [9; 32], ..KEY }, "a cache of another transform: expected 0101"),
    ] {
        let error = Cache::open_for(&path, key).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_stranger_in_the_place_of_the_half_built_cache_is_left_alone() {
    let (_folder, path) = folder();
    let partial = path.with_file_name("levels.cache.partial");
    fs::write(&partial, "the only copy of a letter").unwrap();
    let source = source(2, &[]);
    let error = build_all(&source, &path).unwrap_err().to_string();
    assert!(error.contains("levels.cache.partial: expected a packed cache"), "{error}");
    assert_eq!(fs::read(&partial).unwrap(), b"the only copy of a letter");
}

#[test]
fn images_that_change_meanwhile_make_no_cache() {
    let (_folder, path) = folder();
    let config = CacheConfig::new(1);
    let mut go_on = |_| ControlFlow::Continue(());
    let built =
        Cache::build_from(&source(2, &[]), KEY, &path, config, &mut || Ok(false), &mut go_on);
    assert!(matches!(built, Err(CacheBuildError::Changed { .. })));
    assert!(!path.exists());
}

#[test]
fn builders_at_the_same_time_make_one_cache_between_them() {
    let (_folder, path) = folder();
    let source = source(20, &[3]);
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                is_whole(&build_all(&source, &path).unwrap(), &source);
            });
        }
    });
    assert_eq!(source.touched.lock().unwrap().len(), 20);
}

fn eval() -> Eval {
    Eval {
        size: (8, 6),
        channels: 3,
        mean: vec![0.4, 0.5, 0.6],
        std: vec![0.2; 3],
        interpolation: Interpolation::Bicubic,
        crop_pct: 0.9,
        crop_mode: CropMode::Center,
    }
}

/// A folder with `n` images as uncompressed bitmaps, one of them cut short and one missing.
fn files(folder: &Path, n: usize) -> Arc<ListedPart> {
    let sample = |index: usize| {
        let path = folder.join(format!("{index}.bmp"));
        let mut bytes = bitmap(9 + index % 4, 11 + index % 3, index);
        if index == 2 {
            bytes.truncate(70);
        }
        if index != 5 {
            fs::write(&path, bytes).unwrap();
        }
        Sample {
            name: format!("{index}.bmp"),
            pixels: Pixels::File(path),
            region: (index == 7).then_some(Region { top: 1, left: 2, height: 8, width: 7 }),
            target: Target::Class(index % 2),
            mask: None,
        }
    };
    Arc::new(ListedPart { split: Split::Test, samples: (0..n).map(sample).collect() })
}

/// 24-bit rows, from the bottom, each padded to four bytes.
fn bitmap(width: usize, height: usize, seed: usize) -> Vec<u8> {
    let row = (3 * width).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    for number in [54 + row * height, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend((number as u32).to_le_bytes());
    }
    bytes.extend((0..row * height).map(|at| ((at + 1) * (seed + 5) % 251) as u8));
    bytes
}

type Batches = Vec<(Vec<usize>, Vec<f32>)>;

fn all_batches<S: Source>(source: S) -> (Batches, LoaderReport) {
    let config = LoaderConfig { threads: 2, ..LoaderConfig::new(4) };
    let loader = Loader::new(Arc::new(source), config).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = epoch.next_batch().unwrap() {
        batches.push((batch.indices.to_vec(), batch.images.iter().copied().collect()));
    }
    (batches, epoch.report())
}

#[test]
fn batches_from_a_cache_are_those_from_the_files_to_the_last_bit() {
    let (folder, path) = folder();
    let part = files(folder.path(), 10);
    let evaluate = || Evaluate::new(&eval()).unwrap();
    let samples = Samples::new(Arc::clone(&part), DecodeOptions::default(), evaluate());
    let (from_files, files_report) = all_batches(samples);
    let open = |eval: &Eval| {
        let mut go_on = |_| ControlFlow::Continue(());
        Cache::open_or_build(&part, eval, &path, CacheConfig::new(2), &mut go_on)
    };
    let cache = Arc::new(open(&eval()).unwrap());
    let cached = Cached::new(Arc::clone(&cache), evaluate()).unwrap();
    let (from_cache, cache_report) = all_batches(cached.labelled(Arc::clone(&part)).unwrap());
    assert_eq!(from_cache, from_files);
    assert_eq!(cache_report.quarantined, files_report.quarantined);
    assert!(cache_report.decode_s <= 0.0, "{cache_report}");
    let named: Vec<_> = cache.quarantine().into_iter().map(|q| q.name).collect();
    assert_eq!(named, ["2.bmp", "5.bmp"]);

    // Other statistics need no other cache; another crop does.
    let other = Eval { mean: vec![0.0; 3], ..eval() };
    assert_eq!(open(&other).unwrap().key(), cache.key());
    let other = Eval { crop_pct: 1.0, ..eval() };
    assert!(open(&other).unwrap_err().to_string().contains("another transform"));
    let wrong = Evaluate::new(&Eval { size: (8, 8), ..eval() }).unwrap();
    let error = Cached::new(cache, wrong).unwrap_err().to_string();
    assert!(error.ends_with("expected levels [C, H, W] of [3, 8, 8], found [3, 8, 6]"), "{error}");
}

#[test]
fn the_key_follows_files_names_order_and_regions_but_no_labels() {
    let (folder, _) = folder();
    let part = files(folder.path(), 8);
    let key = |part: &ListedPart, identity| CacheKey::of(part, identity, "t").unwrap();
    let both = |part: &ListedPart| [Identity::Metadata, Identity::Content].map(|i| key(part, i));
    let base = both(&part);
    let changed = |change: &dyn Fn(&mut Vec<Sample>)| {
        let mut part = (*part).clone();
        change(&mut part.samples);
        both(&part)
    };
    assert_eq!(changed(&|s| s[0].target = Target::Unlabelled), base);
    for change in [
        &(|s: &mut Vec<Sample>| s.swap(0, 1)) as &dyn Fn(&mut Vec<Sample>),
        &|s| s[0].name = "other".into(),
        &|s| s[7].region = None,
        &|s| s.truncate(7),
    ] {
        let found = changed(change);
        assert!(found[0] != base[0] && found[1] != base[1]);
    }
    // Rewritten with the same bytes, at another time: only the metadata differ.
    let first = folder.path().join("0.bmp");
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::options().write(true).open(&first).unwrap().set_modified(later).unwrap();
    let found = both(&part);
    assert!(found[0] != base[0] && found[1] == base[1]);
    // The missing image appears.
    fs::write(folder.path().join("5.bmp"), &bytes).unwrap();
    assert!(both(&part)[1] != base[1]);
    assert_ne!(CacheKey::of(&part, Identity::Content, "u").unwrap(), both(&part)[1]);
}

#[test]
fn levels_in_memory_count_by_content() {
    let part = |level: u8| {
        let images = Arc::new(Array4::from_elem((2, 1, 3, 3), level));
        let sample = |index: usize| Sample {
            name: format!("digits#{index}"),
            pixels: Pixels::Levels { images: Arc::clone(&images), index },
            region: None,
            target: Target::Unlabelled,
            mask: None,
        };
        ListedPart { split: Split::Train, samples: (0..2).map(sample).collect() }
    };
    let key = |level| CacheKey::of(&part(level), Identity::Metadata, "t").unwrap();
    assert_eq!(key(3), key(3));
    assert_ne!(key(3), key(4));
}

#[test]
fn training_from_a_cache_augments_the_cached_pixels_by_epoch_and_index() {
    let (folder, path) = folder();
    let part = files(folder.path(), 10);
    let mut go_on = |_| ControlFlow::Continue(());
    let cache = Cache::open_or_build(&part, &eval(), &path, CacheConfig::new(2), &mut go_on);
    let cache = Arc::new(cache.unwrap());
    let augment = Augment { size: (6, 6), ..Augment::cifar() };
    let prepare = FromImage(Augmented::new(&augment, 3).unwrap());
    let cached = Cached::new(Arc::clone(&cache), prepare).unwrap();
    let order = Order::Shuffled { seed: 8 };
    let config = LoaderConfig { threads: 3, order, ..LoaderConfig::new(4) };
    let loader = Loader::new(Arc::new(cached), config).unwrap();
    let mut augmenter = Augmenter::new(&augment).unwrap();
    let [channels, height, width] = cache.shape();
    let mut seen = 0;
    for epoch in 0..2 {
        let mut batches = loader.epoch(epoch).unwrap();
        while let Some(batch) = batches.next_batch().unwrap() {
            for (&index, image) in batch.indices.iter().zip(batch.images.outer_iter()) {
                let plane = height * width;
                let levels = cache.levels(index).unwrap();
                let levels = (0..levels.len())
                    .map(|at| levels[at % channels * plane + at / channels])
                    .collect();
                let levels = Image::new((height, width), channels, levels).unwrap();
                let mut expected = vec![0.0; 3 * 6 * 6];
                let draw = Draw { seed: 3, epoch, index: index as u64 };
                augmenter.run(&levels, draw, &mut expected).unwrap();
                assert!(image.iter().eq(&expected), "epoch {epoch}, image {index}");
                seen += 1;
            }
        }
        assert!(batches.report().augment_s > 0.0);
    }
    assert_eq!(seen, 16);
}
