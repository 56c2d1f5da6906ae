//! The check of a data set that has every fault, and of real ones where they are there.
#![expect(clippy::unwrap_used, reason = "what a test cannot read ends it")]

mod shared_folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array4;
use nearkin_data::{
    Check, CheckError, CheckOptions, DecodeOptions, Format, ListedPart, Listing, Match,
    OpenOptions, Pixels, Region, Sample, Split, Target, check,
};

fn fixture(name: &str) -> Listing {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    Listing::open(&path, &OpenOptions::default()).unwrap()
}

fn checked(listing: &Listing) -> Check {
    check(listing, None, &CheckOptions::default(), |_, _| {}).unwrap()
}

fn pairs(found: &[Match]) -> Vec<(&str, &str, bool)> {
    found
        .iter()
        .map(|m| (m.image.name.as_str(), m.same_as.name.as_str(), m.distance.is_none()))
        .collect()
}

#[test]
fn every_fault_of_the_shapes_is_named() {
    let report = checked(&fixture("check/shapes"));
    let broken: Vec<_> = report.broken.iter().map(|b| (b.name.as_str(), b.part.unwrap())).collect();
    let expected = [
        ("train/dog/cut.png", Split::Train),
        ("train/dog/empty.png", Split::Train),
        ("test/cat/words.jpg", Split::Test),
    ];
    assert_eq!(broken, expected);
    assert_eq!(report.broken[1].reason, "expected an image, found an empty file");
    let groups: Vec<(Vec<&str>, bool)> = report
        .duplicates
        .iter()
        .map(|g| (g.images.iter().map(|image| image.name.as_str()).collect(), g.same_bytes))
        .collect();
    let expected = [
        (vec!["train/cat/cat0-copy.png", "train/cat/cat0.png"], true),
        (vec!["train/cat/cat2.png", "test/cat/leaked.png"], true),
        (vec!["train/cat/is-a-dog.png", "train/dog/dog0.png"], true),
        (vec!["train/dog/dog1-other-format.bmp", "train/dog/dog1.png"], false),
    ];
    assert_eq!(groups, expected);
    let near: Vec<Vec<&str>> = report
        .near_duplicates
        .iter()
        .map(|g| g.images.iter().map(|near| near.image.name.as_str()).collect())
        .collect();
    let expected = [
        ["train/cat/cat1-larger.jpg", "train/cat/cat1.png"],
        ["train/dog/dog2.png", "test/dog/leaked-near.jpg"],
    ];
    assert_eq!(near, expected);
    let expected = [
        ("test/cat/leaked.png", "train/cat/cat2.png", true),
        ("test/dog/leaked-near.jpg", "train/dog/dog2.png", false),
    ];
    assert_eq!(pairs(&report.leakage), expected);
    let expected = [("train/cat/is-a-dog.png", "train/dog/dog0.png", true)];
    assert_eq!(pairs(&report.conflicts), expected);
    assert_eq!(report.conflicts[0].image.label.as_deref(), Some("cat"));
    let flat: Vec<&str> = report.flat.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(flat, ["train/cat/blank.png", "train/dog/blank.png"]);
    assert!(report.has_problems());
}

#[test]
fn parts_are_described_by_size_kind_and_balance() {
    let report = checked(&fixture("check/shapes"));
    let [train, test] = &report.parts[..] else { panic!("two parts") };
    assert_eq!((train.images, train.broken, test.images, test.broken), (14, 2, 4, 1));
    let sizes = train.sizes.as_ref().unwrap();
    assert_eq!((sizes.width.min, sizes.width.median, sizes.width.max), (16, 64, 96));
    assert_eq!((sizes.different, sizes.height.max), (4, 72));
    assert!((sizes.aspect.max - 1.5).abs() < 1e-12);
    let formats: Vec<_> =
        train.file_formats.iter().map(|kind| (kind.name.as_str(), kind.images)).collect();
    assert_eq!(formats, [("PNG", 10), ("BMP", 1), ("JPEG", 1)]);
    assert_eq!(train.modes[0].name, "RGB");
    assert_eq!(train.imbalance, Some(1.0));
    let counts: Vec<_> = report.classes.iter().map(|c| (c.name.as_str(), &c.images[..])).collect();
    assert_eq!(counts, [("cat", &[7, 2][..]), ("dog", &[7, 2][..])]);
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    let shapes = fixture("check/shapes");
    let with = |threads: usize| {
        let options =
            CheckOptions { threads: threads.try_into().unwrap(), ..CheckOptions::default() };
        let mut told = Vec::new();
        let report = check(&shapes, Some(&shapes), &options, |done, all| told.push((done, all)));
        assert_eq!(told, (1..=36).map(|done| (done, 36)).collect::<Vec<_>>());
        report.unwrap()
    };
    assert_eq!(with(1), with(5));
    assert_eq!(with(1).found_in_against.len(), 15);
}

#[test]
fn a_strict_check_ends_at_a_broken_image_and_a_small_limit_breaks_large_ones() {
    let shapes = fixture("check/shapes");
    let strict = CheckOptions { strict: true, ..CheckOptions::default() };
    let error = check(&shapes, None, &strict, |_, _| {}).unwrap_err();
    assert!(matches!(&error, CheckError::Broken { name, .. } if name.contains("/")), "{error}");
    let decode = DecodeOptions { max_pixels: 64 * 48, ..DecodeOptions::default() };
    let limited = CheckOptions { decode, ..CheckOptions::default() };
    let report = check(&shapes, None, &limited, |_, _| {}).unwrap();
    let large = report.broken.iter().find(|b| b.name == "train/cat/cat1-larger.jpg").unwrap();
    assert!(large.reason.contains("72 × 96") && large.reason.contains("3072"), "{}", large.reason);
    let far = CheckOptions { near_distance: Some(17), ..CheckOptions::default() };
    let error = check(&shapes, None, &far, |_, _| {}).unwrap_err().to_string();
    assert_eq!(error, "near distance: expected at most 16 bits, found 17");
}

#[test]
fn without_a_distance_only_equal_pixels_are_found() {
    let exact = CheckOptions { near_distance: None, ..CheckOptions::default() };
    let report = check(&fixture("check/shapes"), None, &exact, |_, _| {}).unwrap();
    assert_eq!((report.duplicates.len(), report.near_duplicates.len()), (4, 0));
    assert_eq!(pairs(&report.leakage), [("test/cat/leaked.png", "train/cat/cat2.png", true)]);
    assert!(report.flat.is_empty());
}

#[test]
fn json_keeps_everything_and_the_table_cuts_long_lists() {
    let report = checked(&fixture("check/shapes"));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Check>(&json).unwrap(), report);
    assert!(json.starts_with(r#"{"version":1,"data":{"name":"shapes","#), "{json}");
    let table = report.to_string();
    assert!(table.starts_with("shapes (folder): 18 images, 2 classes"), "{table}");
    assert!(
        table.contains("train dog/empty.png: expected an image")
            || table.contains("train/dog/empty.png: expected an image"),
        "{table}"
    );
    assert!(
        table.ends_with(
            "problems: 3 broken; 2 leaked, 1 of them near only; 1 labelled differently\n"
        ),
        "{table}"
    );
    // Twenty copies of one image, named to upset a terminal.
    let images = Arc::new(Array4::from_shape_fn((1, 1, 8, 8), |(_, _, y, x)| (31 * y + x) as u8));
    let mut set = in_memory(vec![(images, Split::Train, Target::Class(0)); 20]);
    set.parts[0].samples.iter_mut().for_each(|sample| sample.name += "\u{1b}[2J");
    let table = checked(&set).to_string();
    assert!(table.contains("train 0\\u{1b}[2J = train 1\\u{1b}[2J"), "{table}");
    assert!(table.contains(" and 14 more (pixels)"), "{table}");
    assert!(table.ends_with("no problems\n"), "{table}");
}

fn in_memory(images: Vec<(Arc<Array4<u8>>, Split, Target)>) -> Listing {
    let mut parts: Vec<ListedPart> = Vec::new();
    for (index, (images, split, target)) in images.into_iter().enumerate() {
        let pixels = Pixels::Levels { images, index: 0 };
        let sample = Sample { name: index.to_string(), pixels, region: None, target, mask: None };
        match parts.iter_mut().find(|part| part.split == split) {
            Some(part) => part.samples.push(sample),
            None => parts.push(ListedPart { split, samples: vec![sample] }),
        }
    }
    Listing {
        name: "memory".into(),
        root: PathBuf::new(),
        format: Format::Idx,
        class_names: vec!["a".into(), "b".into()],
        class_ids: Vec::new(),
        parts,
        ignored: 0,
        quarantine: Vec::new(),
    }
}

#[test]
fn regions_are_images_of_their_own_and_a_region_outside_is_broken() {
    let images = Arc::new(Array4::from_shape_fn((1, 1, 8, 8), |(_, _, y, x)| (31 * y + x) as u8));
    let one = (images, Split::Train, Target::Unlabelled);
    let mut set = in_memory(vec![one.clone(), one.clone(), one]);
    let region = |top, height| Some(Region { top, left: 0, height, width: 8 });
    set.parts[0].samples[0].region = region(0, 4);
    set.parts[0].samples[1].region = region(4, 4);
    set.parts[0].samples[2].region = region(5, 4);
    let report = checked(&set);
    assert!(report.duplicates.is_empty());
    assert_eq!(report.parts[0].sizes.as_ref().unwrap().height.max, 4);
    assert_eq!(report.broken[0].name, "2");
    assert_eq!(report.parts[0].imbalance, None);
    assert!(report.parts[0].empty_classes.is_empty());
}

#[test]
fn an_empty_listing_has_an_empty_report() {
    let report = checked(&in_memory(Vec::new()));
    assert!(!report.has_problems() && report.parts.is_empty());
    assert!(report.to_string().contains("0 images"), "{report}");
}

#[test]
fn the_digits_hold_no_leak() {
    let report = checked(&fixture("digits"));
    assert_eq!(report.data.images, 1797);
    assert!(report.leakage.iter().all(|leak| leak.distance.is_some()), "{report}");
}

#[test]
fn mnist_repeats_no_image_and_has_a_few_ones_that_look_the_same() {
    let Some(folder) = shared_folder::shared("mnist") else { return };
    let mnist = Listing::open(&folder, &OpenOptions::default()).unwrap();
    let report = checked(&mnist);
    assert_eq!((report.data.images, report.duplicates.len()), (70_000, 0));
    assert!(report.broken.is_empty() && report.flat.is_empty() && report.conflicts.is_empty());
    // Of 45,000 pairs whose hashes differ in 2 bits at most, the correlation leaves a handful.
    let near: usize = report.near_duplicates.iter().map(|group| group.images.len()).sum();
    assert!(near < 100 && report.leakage.len() < 10, "{near} near, {report}");
    let one = |leak: &Match| leak.image.label.as_deref() == Some("1");
    assert!(report.leakage.iter().all(one), "{report}");
}

#[test]
fn the_subset_of_cifar_10_is_found_in_the_full_test_set() {
    let (subset, full) =
        (shared_folder::shared("cifar-10-10pct"), shared_folder::shared("cifar-10-test"));
    let (Some(subset), Some(full)) = (subset, full) else { return };
    let open = |folder: &Path| Listing::open(folder, &OpenOptions::default()).unwrap();
    let report = check(&open(&subset), Some(&open(&full)), &CheckOptions::default(), |_, _| {});
    let equal = |m: &&Match| m.distance.is_none() && m.image.part == Split::Test;
    assert_eq!(report.unwrap().found_in_against.iter().filter(equal).count(), 1000);
}

#[test]
fn the_photographs_of_imagenet_and_voc_are_sound() {
    for (name, images) in [("imagenet-sample/dev", 200), ("voc2007-sample/VOCdevkit", 184)] {
        let Some(folder) = shared_folder::shared(name) else { return };
        let report = checked(&Listing::open(&folder, &OpenOptions::default()).unwrap());
        assert_eq!(report.data.images, images);
        assert!(!report.has_problems() && report.near_duplicates.is_empty(), "{report}");
    }
}
