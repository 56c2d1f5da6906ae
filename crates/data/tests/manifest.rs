//! Tables of paths and labels, sound and broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{
    Format, Listing, ManifestError, ManifestPaths, OpenOptions, Split, Target, read_manifest,
    read_manifest_rows, read_parquet_rows,
};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/manifests").join(name)
}

fn read(name: &str) -> Result<Listing, ManifestError> {
    read_manifest(&fixture(name), Split::Train, ManifestPaths::Inside)
}

fn check(name: &str, expected_error: &str) {
    let error = read(name).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains(expected_error), "{error}\n{expected_error}");
}

/// Names and targets of a part.
fn rows(listing: &Listing, split: Split) -> Vec<(&str, &Target)> {
    let part = listing.part(split).unwrap();
    part.samples.iter().map(|sample| (sample.name.as_str(), &sample.target)).collect()
}

fn several(present: &[usize]) -> Target {
    Target::Classes { present: present.to_vec(), difficult: Vec::new() }
}

#[test]
fn names_become_classes_in_the_order_of_their_bytes() {
    let listing = Listing::open(&fixture("names.csv"), &OpenOptions::default()).unwrap();
    assert_eq!((listing.format, listing.name.as_str()), (Format::Manifest, "names.csv"));
    assert_eq!(listing.class_names, ["cat", "dog"]);
    let dog = &Target::Class(1);
    assert_eq!(rows(&listing, Split::Train), [("a.png", dog), ("sub/c, d.png", dog)]);
    assert_eq!(rows(&listing, Split::Validation), [("b.png", &Target::Class(0))]);
}

#[test]
fn tabs_numbers_and_empty_labels_are_read() {
    let listing = read("numbers.tsv").unwrap();
    assert_eq!(listing.class_names, ["0", "1", "2"]);
    let train = [("a.png", &Target::Class(2)), ("sub/c, d.png", &Target::Unlabelled)];
    assert_eq!(rows(&listing, Split::Train), train);
    assert_eq!(rows(&listing, Split::Test), [("b.png", &Target::Class(0))]);
    let bare = read("paths-only.csv").unwrap();
    assert_eq!(rows(&bare, Split::Train)[1], ("b.png", &Target::Unlabelled));
}

#[test]
fn several_labels_make_sets_and_paths_are_made_plain() {
    let listing = read("several.csv").unwrap();
    assert_eq!(listing.class_names, ["bird", "cat", "dog"]);
    let (first, second, third) = (several(&[1, 2]), several(&[0, 1]), several(&[1]));
    let expected = [("a.png", &first), ("b.png", &second), ("sub/c, d.png", &third)];
    assert_eq!(rows(&listing, Split::Train), expected);
}

#[test]
fn parquet_says_the_same_as_text() {
    for name in ["names-snappy.parquet", "names-gzip.parquet"] {
        let listing = read(name).unwrap();
        assert_eq!(listing.class_names, ["cat", "dog"]);
        let targets = [Target::Class(1), Target::Class(0), Target::Unlabelled];
        let expected =
            [("a.png", &targets[0]), ("b.png", &targets[1]), ("sub/c, d.png", &targets[2])];
        assert_eq!(rows(&listing, Split::Train), expected);
    }
    let numbers = read("numbers-plain.parquet").unwrap();
    assert_eq!(rows(&numbers, Split::Test), [("b.png", &Target::Class(0))]);
    let lists = read("several.parquet").unwrap();
    let targets: Vec<_> = rows(&lists, Split::Train).into_iter().map(|(_, t)| t.clone()).collect();
    assert_eq!(targets, [several(&[0, 1]), Target::Unlabelled, several(&[1])]);
}

#[test]
fn rows_of_repeated_or_absent_files_are_set_aside() {
    let listing = read("repeated.csv").unwrap();
    let aside: Vec<_> =
        listing.quarantine.iter().map(|q| (q.name.as_str(), q.reason.as_str())).collect();
    let expected = [
        ("a.png", "line 3: expected a new path, found that of line 2"),
        ("nowhere.png", "line 4: expected a file, found none"),
    ];
    assert_eq!((listing.count(), aside), (1, expected.to_vec()));
}

#[test]
fn paths_stay_inside_unless_allowed_to_leave() {
    let outside =
        "line 3: expected a path inside the manifest's folder, found \"../idx/README.md\"";
    check("outside.csv", outside);
    let anywhere =
        read_manifest(&fixture("outside.csv"), Split::Train, ManifestPaths::Anywhere).unwrap();
    assert_eq!(rows(&anywhere, Split::Train)[1].0, "../idx/README.md");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("a.png"), folder.path().join("a.png")).unwrap();
    let absolute = folder.path().join("a.png");
    let manifest = folder.path().join("manifest.csv");
    fs::write(&manifest, format!("path,label\n{},dog\n", absolute.display())).unwrap();
    let listing = Listing::open(folder.path(), &OpenOptions::default()).unwrap();
    assert_eq!(rows(&listing, Split::Train), [("a.png", &Target::Class(0))]);
    fs::write(folder.path().join("classes.txt"), "cat\ndog\n").unwrap();
    let listing = Listing::open(folder.path(), &OpenOptions::default()).unwrap();
    assert_eq!(rows(&listing, Split::Train), [("a.png", &Target::Class(1))]);
}

#[test]
fn broken_tables_say_what_is_wrong() {
    check("no-path.csv", "expected a column path or filepath");
    check("no-path.csv", "found picture, label");
    check(
        "no-label.csv",
        "expected a column label or labels or class or target, found path, species",
    );
    check("odd-split.csv", "line 2: split: expected train, val or test, found \"holdout\"");
    check("ragged.csv", "expected a table: CSV error: record 2 (line: 3, byte: 21)");
    check("negative.csv", "line 3: expected a class from 0 to 0, found -1");
    check("empty.csv", "expected a column path");
    check("not-text.csv", "expected a table: CSV parse error: record 1 (line 2");
    check("cut.parquet", "expected a Parquet table");
    check("damaged.parquet", "expected a Parquet table");
    check("names-zstd.parquet", "zstd");
    check("floats.parquet", "line 1: label: expected text or whole numbers, found \"0.5\"");
    check("no-such.csv", "cannot be read");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_manifest_rows(bytes.as_slice()));
        let table = ["path,label,split\n".as_bytes(), &bytes].concat();
        drop(read_manifest_rows(table.as_slice()));
    }

    #[test]
    fn a_parquet_table_with_wrong_bytes_is_read_or_refused(
        place in 0_usize..4000, byte: u8, cut in 0_usize..4000,
    ) {
        let mut bytes = fs::read(fixture("names-gzip.parquet")).unwrap();
        let len = bytes.len();
        bytes[place % len] = byte;
        drop(read_parquet_rows(bytes::Bytes::from(bytes[cut % len..].to_vec())));
        drop(read_parquet_rows(bytes::Bytes::from(bytes)));
    }
}
