//! CIFAR files and folders, sound and broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{CifarKind, Dataset, Format, Listing, OpenOptions, Pixels, Split, read_cifar};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cifar").join(name)
}

fn open(path: &Path) -> Listing {
    Listing::open(path, &OpenOptions::default()).unwrap()
}

#[test]
fn a_folder_with_some_of_its_files_is_one_set() {
    let set = Dataset::load(&fixture("cifar-10")).unwrap();
    assert_eq!(set.class_names[3], "cat");
    let train = set.train.unwrap();
    assert_eq!((train.labels(), train.image_shape()), (&[3, 9, 0][..], [3, 32, 32]));
    assert_eq!(set.test.unwrap().labels(), [1]);
    // Image 1 is the second record of the first file: level i of seed 2.
    let level = |i: usize| ((2 * 89 + i * 167 + i / 251) % 256) as u8;
    let images = train.images();
    assert_eq!(images[[1, 0, 0, 0]], level(0));
    assert_eq!(images[[1, 2, 31, 30]], level(2 * 1024 + 31 * 32 + 30));
}

#[test]
fn a_listing_names_the_file_and_the_record() {
    let listing = open(&fixture("cifar-10"));
    assert_eq!((listing.format, listing.count()), (Format::Cifar10, 4));
    let train = listing.part(Split::Train).unwrap();
    let names: Vec<_> = train.samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names, ["data_batch_1.bin#0", "data_batch_1.bin#1", "data_batch_3.bin#0"]);
    let Pixels::Levels { images, index: 2 } = &train.samples[2].pixels else { panic!("no levels") };
    assert_eq!(images.dim(), (3, 3, 32, 32));
}

#[test]
fn cifar_100_has_its_fine_classes() {
    let listing = open(&fixture("cifar-100"));
    assert_eq!(listing.format, Format::Cifar100);
    assert_eq!((listing.class_names.len(), listing.class_names[99].as_str()), (100, "fine 99"));
    assert_eq!(listing.part(Split::Train).unwrap().classes(), Some(vec![99, 1]));
    let file = read_cifar(&fixture("cifar-100/train.bin"), CifarKind::Cifar100).unwrap();
    assert_eq!(file.coarse, [19, 0]);
}

#[test]
fn the_folder_of_the_archive_is_found_and_names_may_be_absent() {
    let root = tempfile::tempdir().unwrap();
    let inside = root.path().join("cifar-10-batches-bin");
    fs::create_dir(&inside).unwrap();
    fs::copy(fixture("cifar-10/test_batch.bin"), inside.join("test_batch.bin")).unwrap();
    let listing = open(root.path());
    assert_eq!(
        (listing.format, listing.class_names.concat().as_str()),
        (Format::Cifar10, "0123456789")
    );
    assert!(listing.part(Split::Train).is_none());
}

#[test]
fn a_train_bin_of_something_else_is_no_cifar() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("train.bin"), [0; 100]).unwrap();
    fs::write(root.path().join("photo.png"), []).unwrap();
    assert_eq!(open(root.path()).format, Format::Folder);
}

#[test]
fn broken_files_say_where() {
    let check = |name: &str, expected: &str| {
        let error = read_cifar(&fixture(name), CifarKind::Cifar10).unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with(expected), "{error}");
    };
    check("broken/cut.bin", "offset 3073: expected a record of 3073 bytes, found 100");
    let label = "offset 3073: record 1: expected a class label below 10, found 10";
    check("broken/label-10.bin", label);
    check("broken/empty.bin", "expected records of 3073 bytes, found none");
    let root = tempfile::tempdir().unwrap();
    fs::copy(fixture("cifar-10/test_batch.bin"), root.path().join("test_batch.bin")).unwrap();
    fs::write(root.path().join("batches.meta.txt"), "airplane\n").unwrap();
    let error = Dataset::load(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected 10 class names, one a line, found 1"), "{error}");
}
