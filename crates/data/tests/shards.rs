//! Tar shards, sound and broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nearkin_data::{
    Format, Listing, OpenOptions, Pixels, Sample, Split, Target, read_shard, read_shards,
};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/shards").join(name)
}

fn open(name: &str) -> Listing {
    Listing::open(&fixture(name), &OpenOptions::default()).unwrap()
}

/// The bytes that a sample points to.
fn bytes(sample: &Sample) -> Vec<u8> {
    let Pixels::Slice { path, offset, len } = &sample.pixels else { panic!("no slice") };
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(*offset)).unwrap();
    let mut bytes = Vec::new();
    file.take(*len).read_to_end(&mut bytes).unwrap();
    bytes
}

fn faults(name: &str) -> Vec<String> {
    let shard = read_shard(File::open(fixture(name)).unwrap()).unwrap();
    shard.faults.into_iter().map(|fault| format!("{}: {}", fault.name, fault.reason)).collect()
}

#[test]
fn a_folder_of_shards_is_one_set_with_the_splits_of_their_names() {
    let listing = open("numbers");
    assert_eq!((listing.format, listing.count(), listing.ignored), (Format::Tar, 4, 2));
    assert_eq!(listing.class_names, ["0", "1", "2", "3"]);
    let train = listing.part(Split::Train).unwrap();
    let names: Vec<_> = train.samples.iter().map(|sample| sample.name.as_str()).collect();
    let expected = [
        "train-000000.tar/000000.jpg",
        "train-000000.tar/000001.JPEG",
        "train-000001.tar/sub/000000.png",
    ];
    assert_eq!(names, expected);
    assert_eq!(train.classes(), Some(vec![3, 0, 1]));
    assert_eq!(listing.part(Split::Validation).unwrap().classes(), Some(vec![2]));
    assert_eq!(bytes(&train.samples[1]), b"\xff\xd8 stands for a JPEG \xff\xd91");
    assert_eq!(bytes(&train.samples[2]), b"stands for a PNG");
    assert!(listing.quarantine.is_empty(), "{:?}", listing.quarantine);
}

#[test]
fn braces_name_shards_that_must_all_be_there() {
    assert_eq!(open("numbers/train-{000000..000001}.tar").count(), 3);
    let path = fixture("numbers/train-{000000..000002}.tar");
    let error = read_shards(&path, Split::Train).unwrap_err().to_string();
    assert!(error.contains("train-000002.tar: cannot be read"), "{error}");
}

#[test]
fn labels_come_from_json_or_text_too() {
    let listing = open("names/names.tar");
    assert_eq!(listing.class_names, ["cat", "dog"]);
    let targets: Vec<_> = listing.parts[0].samples.iter().map(|s| s.target.clone()).collect();
    let several =
        |present: &[usize]| Target::Classes { present: present.to_vec(), difficult: Vec::new() };
    assert_eq!(targets, [several(&[0]), several(&[1]), several(&[0, 1]), Target::Unlabelled]);
}

#[test]
fn long_names_are_read_in_both_styles() {
    for name in ["long/gnu.tar", "long/pax.tar"] {
        let listing = open(name);
        let samples = &listing.parts[0].samples;
        assert!(
            samples[0].name.ends_with("a-folder-with-a-long-name/é.jpg"),
            "{}",
            samples[0].name
        );
        assert_eq!(bytes(&samples[0]), b"\xff\xd8 stands for a JPEG \xff\xd9");
        assert_eq!(bytes(&samples[1]), b"\xff\xd8 stands for a JPEG \xff\xd92");
        assert!(listing.quarantine.is_empty(), "{:?}", listing.quarantine);
    }
}

#[test]
fn what_is_whole_in_a_broken_archive_is_kept() {
    let cut = open("broken/cut.tar");
    assert_eq!((cut.count(), cut.quarantine.len()), (1, 1));
    assert_eq!(cut.quarantine[0].name, "cut.tar/b.jpg");
    let expected = "expected 2000 bytes from byte 2560 on, found 100: the archive is cut short";
    assert_eq!(cut.quarantine[0].reason, expected);
    let expected =
        ": expected two blocks of zeros at the end, found none: the archive may be cut short";
    assert_eq!(faults("broken/no-end.tar"), [expected]);
    let damaged = &faults("broken/header-damaged.tar")[0];
    assert!(damaged.starts_with(": after byte 535: expected a tar header, found: "), "{damaged}");
    let expected = [
        "a.png: expected one image with this key, found another before",
        "b: expected an image with this key, found only a label",
    ];
    assert_eq!(faults("broken/two-images.tar"), expected);
    let json = faults("broken/bad-json.tar");
    assert!(json[0].starts_with("a.json: expected JSON: "), "{}", json[0]);
    assert_eq!(json[1], "b.json: expected a label of text or a number, found {}");
    let strict = OpenOptions { strict: true, ..OpenOptions::default() };
    assert!(Listing::open(&fixture("broken/cut.tar"), &strict).is_err());
}

#[test]
fn archives_without_images_are_refused() {
    let error = |name| read_shards(&fixture(name), Split::Train).unwrap_err().to_string();
    let zeros = error("broken/only-zeros.tar");
    assert!(zeros.ends_with("expected images, found none in 1 archives"), "{zeros}");
    let gzip = error("broken/gzip.tar");
    assert!(gzip.contains("found none in 1 archives, the first: gzip.tar: after byte 0"), "{gzip}");
    assert!(error("make.py").ends_with("expected tar archives, found none"));
    assert!(error("a{1..x}.tar").contains("expected braces"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..1500), place in 0_usize..6000, byte: u8,
        cut in 0_usize..6000,
    ) {
        drop(read_shard(Cursor::new(bytes)));
        let mut whole = fs::read(fixture("long/pax.tar")).unwrap();
        let len = whole.len();
        whole[place % len] = byte;
        whole.truncate(cut % len);
        if let Ok(shard) = read_shard(Cursor::new(&whole)) {
            for member in shard.members {
                prop_assert!(member.offset + member.len <= whole.len() as u64);
            }
        }
    }
}
