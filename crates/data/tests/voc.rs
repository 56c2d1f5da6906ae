//! Pascal VOC folders, sound and broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{
    Format, Listing, OpenOptions, Region, Split, Target, VOC_BORDER, VocLists, VocObjects,
    VocOptions, VocTask, read_mask, read_voc,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/voc").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A copy of the sound folder with one change made to it.
fn changed(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    copy(&fixture("VOCdevkit/VOC2007"), root.path());
    change(root.path());
    root
}

fn check(expected_error: &str, change: impl FnOnce(&Path)) {
    let root = changed(change);
    let error = read_voc(root.path(), &VocOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with(expected_error), "{error}\nexpected: {expected_error}");
}

fn classes(present: &[usize], difficult: &[usize]) -> Target {
    Target::Classes { present: present.to_vec(), difficult: difficult.to_vec() }
}

#[test]
fn the_devkit_its_parent_and_the_year_are_the_same_set() {
    for inside in ["", "VOCdevkit", "VOCdevkit/VOC2007"] {
        let listing = Listing::open(&fixture(inside), &OpenOptions::default()).unwrap();
        assert_eq!((listing.format, listing.count()), (Format::Voc, 6));
        assert_eq!(listing.class_names, ["cat", "dog", "train"]);
        assert!(listing.quarantine.is_empty());
    }
}

#[test]
fn a_class_with_difficult_objects_only_is_neither_there_nor_absent() {
    let listing = read_voc(&fixture(""), &VocOptions::default()).unwrap();
    let targets = |split| -> Vec<_> {
        listing.part(split).unwrap().samples.iter().map(|s| s.target.clone()).collect()
    };
    assert_eq!(targets(Split::Train), [classes(&[0], &[]), classes(&[0], &[1])]);
    assert_eq!(targets(Split::Validation), [classes(&[1], &[]), classes(&[], &[2])]);
    assert_eq!(targets(Split::Test), [classes(&[2], &[0]), classes(&[], &[])]);
}

#[test]
fn objects_are_cut_out_as_asked() {
    let count = |objects| {
        let options = VocOptions { task: VocTask::Objects, objects, ..VocOptions::default() };
        read_voc(&fixture(""), &options).unwrap()
    };
    let all = count(VocObjects::KeepAll);
    assert_eq!(all.count(), 8);
    assert_eq!(count(VocObjects::DropDifficult).count(), 4);
    assert_eq!(count(VocObjects::DropDifficultAndTruncated).count(), 3);
    let object = &all.part(Split::Train).unwrap().samples[1];
    assert_eq!((object.name.as_str(), &object.target), ("000002.jpg#0", &Target::Class(1)));
    assert_eq!(object.region, Some(Region { top: 1, left: 1, height: 5, width: 4 }));
}

#[test]
fn train_and_val_may_be_one_part() {
    let options = VocOptions { lists: VocLists::TrainVal, ..VocOptions::default() };
    let listing = read_voc(&fixture(""), &options).unwrap();
    assert_eq!(listing.part(Split::Train).unwrap().samples.len(), 4);
    assert!(listing.part(Split::Validation).is_none());
}

#[test]
fn masks_keep_their_indices() {
    let options = VocOptions { task: VocTask::Segmentation, ..VocOptions::default() };
    let listing = read_voc(&fixture(""), &options).unwrap();
    assert_eq!(listing.count(), 3);
    let mask = read_mask(listing.parts[0].samples[0].mask.as_ref().unwrap()).unwrap();
    assert_eq!(mask.dim(), (8, 12));
    assert_eq!((mask[[0, 0]], mask[[1, 1]], mask[[2, 2]]), (0, VOC_BORDER, 1));
    let two_bits = read_mask(&fixture("two-bits.png")).unwrap();
    assert_eq!(
        (two_bits.dim(), two_bits[[0, 0]], two_bits[[3, 8]], two_bits[[3, 4]]),
        ((7, 9), 0, 0, 3)
    );
}

#[test]
fn what_is_no_mask_is_refused() {
    let error = read_mask(&fixture("colours.png")).unwrap_err().to_string();
    let expected = "expected an image with a palette, or 8-bit grey, found Rgb, 8 bits";
    assert!(error.ends_with(expected), "{error}");
    let error = read_mask(&fixture("make.py")).unwrap_err().to_string();
    assert!(error.contains("expected a PNG image"), "{error}");
    let whole = fs::read(fixture("two-bits.png")).unwrap();
    assert!(nearkin_data::read_mask_bytes(&whole[..whole.len() - 20]).is_err());
}

#[test]
fn lists_that_disagree_with_annotations_are_errors() {
    check("dog_val.txt: line 1: expected 1 for image 000003 by its annotation, found -1", |root| {
        fs::write(root.join("ImageSets/Main/dog_val.txt"), "000003 -1\n000004 -1").unwrap()
    });
    check("dog_val.txt: expected a line for image 000004, found none", |root| {
        fs::write(root.join("ImageSets/Main/dog_val.txt"), "000003 1\n").unwrap();
    });
    check("dog_val.txt: line 2: expected an image and 1, 0 or -1, found \"000004 2\"", |root| {
        fs::write(root.join("ImageSets/Main/dog_val.txt"), "000003 1\n000004 2\n").unwrap();
    });
    check("000001.xml: expected one of the 3 classes with a list, found \"cow\"", |root| {
        let path = root.join("Annotations/000001.xml");
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("cat", "cow")).unwrap();
    });
}

#[test]
fn broken_lists_are_errors() {
    let list = |root: &Path, text: &str| {
        fs::write(root.join("ImageSets/Main/val.txt"), text).unwrap();
    };
    check("line 2: expected an image that is not in line 1, found \"000003\"", |root| {
        list(root, "000003\n000003\n");
    });
    check("found \"../../secret\"", |root| list(root, "../../secret\n"));
    check(
        "line 1: expected an image of the validation part only, found 000001, which is in the \
         train part too",
        |root| list(root, "000001\n"),
    );
    check("expected one of train.txt, val.txt, test.txt, found none", |root| {
        for name in ["train", "val", "trainval", "test"] {
            fs::remove_file(root.join(format!("ImageSets/Main/{name}.txt"))).unwrap();
        }
    });
    check(
        "expected images, found none, the first: 000001.jpg: expected the image of line 1 of \
         train.txt in JPEGImages, found none",
        |root| {
            fs::remove_dir_all(root.join("JPEGImages")).unwrap();
        },
    );
}

#[test]
fn one_bad_image_is_set_aside() {
    let root = changed(|root| {
        fs::remove_file(root.join("JPEGImages/000001.jpg")).unwrap();
        fs::write(root.join("Annotations/000003.xml"), "<annotation>").unwrap();
        fs::write(root.join("Annotations/000005.xml"), [0xff, 0xfe, 0]).unwrap();
    });
    let listing = read_voc(root.path(), &VocOptions::default()).unwrap();
    let aside: Vec<_> = listing.quarantine.iter().map(|q| q.name.as_str()).collect();
    assert_eq!((listing.count(), aside), (3, vec!["000001.jpg", "000003.jpg", "000005.jpg"]));
    let strict = OpenOptions { strict: true, ..OpenOptions::default() };
    let error = Listing::open(root.path(), &strict).unwrap_err().to_string();
    assert!(error.ends_with("(and 2 more set aside)"), "{error}");
}

#[test]
fn without_annotations_the_lists_are_believed() {
    let root = changed(|root| fs::remove_dir_all(root.join("Annotations")).unwrap());
    let listing = read_voc(root.path(), &VocOptions::default()).unwrap();
    assert_eq!(listing.parts[0].samples[1].target, classes(&[0], &[1]));
}

#[test]
fn several_years_must_be_chosen_from() {
    let root = tempfile::tempdir().unwrap();
    for year in ["VOC2007", "VOC2012"] {
        copy(&fixture("VOCdevkit/VOC2007"), &root.path().join(year));
    }
    let error = read_voc(root.path(), &VocOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("found VOC2007 and VOC2012"), "{error}");
}
