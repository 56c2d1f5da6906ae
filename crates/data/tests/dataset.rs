//! Loading whole folders, sound and broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{Dataset, LoadError, Split, read_images};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A folder with copies of IDX fixtures under other names.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (fixture, name) in files {
        fs::copy(fixtures("idx").join(fixture), folder.path().join(name)).unwrap();
    }
    folder
}

fn check(files: &[(&str, &str)], expected_error: &str) {
    let folder = folder_of(files);
    let error = Dataset::load(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with(expected_error), "{error}\nexpected: {expected_error}");
    assert!(error.starts_with(&folder.path().display().to_string()), "{error}");
}

const IMAGES: (&str, &str) = ("grey-images-idx3-ubyte", "train-images-idx3-ubyte");
const LABELS: (&str, &str) = ("grey-labels-idx1-ubyte", "train-labels-idx1-ubyte");

#[test]
fn the_digits_are_as_their_readme_says() {
    let digits = Dataset::load(&fixtures("digits")).unwrap();
    assert_eq!(digits.name, "digits");
    assert_eq!(digits.class_names.concat(), "0123456789");
    let (train, test) = (digits.train.unwrap(), digits.test.unwrap());
    assert_eq!((train.len(), test.len()), (1347, 450));
    assert_eq!((train.split(), test.split()), (Split::Train, Split::Test));
    assert_eq!(test.image_shape(), [1, 8, 8]);
    assert_eq!(test.class_counts(), [45, 46, 44, 46, 45, 46, 45, 45, 43, 45]);
    assert_eq!(train.images().iter().max(), Some(&255));
}

#[test]
fn a_test_part_alone_and_names_with_a_dot_are_accepted() {
    let folder = folder_of(&[
        ("gzip-without-suffix", "t10k-images.idx3-ubyte"),
        ("grey-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
    ]);
    let set = Dataset::load(folder.path()).unwrap();
    assert!(set.train.is_none());
    assert_eq!(set.test.unwrap().labels(), [1, 0]);
}

#[test]
fn channels_last_become_channels_first() {
    let images = read_images(&fixtures("idx/colour-images-idx4-ubyte")).unwrap();
    assert_eq!(images.dim(), (2, 3, 2, 3));
    // Image 1, channel 2, row 1, column 0 is byte ((1·2 + 1)·3 + 0)·3 + 2.
    assert_eq!(images[[1, 2, 1, 0]], 29);
}

#[test]
fn folders_that_hold_no_whole_part_are_refused() {
    check(
        &[],
        "expected train-images-idx3-ubyte or t10k-images-idx3-ubyte or data_batch_1.bin or \
         test_batch.bin, found none of them",
    );
    check(&[IMAGES], "expected train-labels-idx1-ubyte beside train-images-idx3-ubyte, found none");
    check(&[LABELS], "expected train-images-idx3-ubyte beside train-labels-idx1-ubyte, found none");
}

#[test]
fn counts_shapes_and_ranks_that_disagree_are_refused() {
    let one_label = {
        let folder = folder_of(&[IMAGES]);
        fs::write(folder.path().join(LABELS.1), [0, 0, 8, 1, 0, 0, 0, 1, 4]).unwrap();
        folder
    };
    let error = Dataset::load(one_label.path()).unwrap_err().to_string();
    assert!(error.ends_with("train labels: expected 2, one per image, found 1"), "{error}");
    check(
        &[
            IMAGES,
            LABELS,
            ("colour-images-idx4-ubyte", "t10k-images-idx4-ubyte"),
            ("grey-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"),
        ],
        "test images: expected shape [1, 2, 3] as in training, found [3, 2, 3]",
    );
    check(
        &[IMAGES, ("grey-images-idx3-ubyte", "train-labels-idx1-ubyte")],
        "train-labels-idx1-ubyte: offset 3: expected 1 dimensions, found 3",
    );
    check(
        &[LABELS, ("grey-labels-idx1-ubyte", "train-images-idx3-ubyte")],
        "train-images-idx3-ubyte: offset 3: expected 3 or 4 dimensions, found 1",
    );
}

#[test]
fn a_path_that_is_no_folder_is_refused() {
    let file = fixtures("digits/README.md");
    assert!(matches!(Dataset::load(&file), Err(LoadError::NotAFolder { found: "a file", .. })));
    let nothing = fixtures("no-such-folder");
    assert!(matches!(Dataset::load(&nothing), Err(LoadError::NotAFolder { found: "nothing", .. })));
}
