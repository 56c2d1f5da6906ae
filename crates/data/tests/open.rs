//! Opening whole data sets by what is in them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{Format, Listing, OpenError, OpenOptions, Pixels, Split, Target};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn open(path: &Path) -> Result<Listing, OpenError> {
    Listing::open(path, &OpenOptions::default())
}

/// A folder with empty files at these paths.
fn tree(paths: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, []).unwrap();
    }
    root
}

fn names(listing: &Listing, split: Split) -> Vec<&str> {
    listing.part(split).unwrap().samples.iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn idx_files_are_listed_with_their_levels() {
    let digits = open(&fixtures("digits")).unwrap();
    assert_eq!((digits.format, digits.count()), (Format::Idx, 1797));
    let test = digits.part(Split::Test).unwrap();
    assert_eq!(test.samples[7].name, "t10k-images-idx3-ubyte.gz#7");
    let Pixels::Levels { images, index } = &test.samples[7].pixels else { panic!("no levels") };
    assert_eq!((images.dim(), *index), ((450, 1, 8, 8), 7));
}

#[test]
fn classes_are_numbered_over_all_splits() {
    let root = tree(&["train/b/1.png", "train/b/deep/2.JPG", "val/a/3.webp", "val/b/4.txt"]);
    let listing = open(root.path()).unwrap();
    assert_eq!((listing.format, listing.ignored), (Format::Folder, 1));
    assert_eq!(listing.class_names, ["a", "b"]);
    assert_eq!(names(&listing, Split::Train), ["train/b/1.png", "train/b/deep/2.JPG"]);
    assert_eq!(listing.part(Split::Train).unwrap().classes(), Some(vec![1, 1]));
    assert_eq!(listing.part(Split::Validation).unwrap().classes(), Some(vec![0]));
}

#[test]
fn a_class_may_be_called_train() {
    let root = tree(&["train/1.png", "car/2.png"]);
    let listing = open(root.path()).unwrap();
    assert_eq!(listing.class_names, ["car", "train"]);
    assert_eq!(listing.parts.len(), 1);
}

#[test]
fn images_in_no_folder_are_unlabelled_or_set_aside() {
    let flat = tree(&["b.png", "a.png", "notes.txt", ".hidden.png"]);
    let listing = open(flat.path()).unwrap();
    assert_eq!(names(&listing, Split::Train), ["a.png", "b.png"]);
    assert_eq!(listing.parts[0].samples[0].target, Target::Unlabelled);
    assert_eq!(listing.ignored, 2);
    let stray = tree(&["a/1.png", "stray.png"]);
    let listing = open(stray.path()).unwrap();
    assert_eq!((listing.count(), listing.quarantine[0].name.as_str()), (1, "stray.png"));
    let strict = OpenOptions { strict: true, ..OpenOptions::default() };
    let error = Listing::open(stray.path(), &strict).unwrap_err().to_string();
    assert_eq!(
        error,
        "stray.png: expected an image in a folder of its class, found it beside them"
    );
}

#[cfg(unix)]
#[test]
fn an_image_whose_name_is_no_text_is_kept() {
    use std::os::unix::ffi::OsStrExt;
    let root = tree(&["a/1.png"]);
    let name = |bytes| root.path().join("a").join(std::ffi::OsStr::from_bytes(bytes));
    fs::write(name(b"caf\xe9.png"), []).unwrap();
    fs::write(name(b"caf\xe8.png"), []).unwrap();
    let listing = open(root.path()).unwrap();
    assert_eq!(names(&listing, Split::Train), ["a/1.png", "a/caf\\xE8.png", "a/caf\\xE9.png"]);
    let Pixels::File(path) = &listing.parts[0].samples[2].pixels else { panic!("no file") };
    assert!(path.exists());
}

#[test]
fn folders_without_images_and_paths_to_nothing_are_refused() {
    let empty = tree(&["a/notes.txt"]);
    let error = open(empty.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected image files, found none, and 1 other files"), "{error}");
    assert!(matches!(open(&fixtures("no-such")), Err(OpenError::Io { .. })));
    let twice = tree(&["val/a/1.png", "dev/a/1.png"]);
    let error = open(twice.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected one folder of validation images, found dev and val"));
}

#[test]
fn synset_folders_take_their_numbers_from_the_list() {
    let root = tree(&["val/n02123159/1.JPEG", "train/n02123045/2.JPEG"]);
    let bare = open(root.path()).unwrap();
    assert_eq!(bare.format, Format::ImageNet);
    assert_eq!(bare.class_ids, ["n02123045", "n02123159"]);
    let list = "n01440764 tench, Tinca tinca\nn02123045 tabby, tabby cat\nn02123159 tiger cat\n";
    fs::write(root.path().join("LOC_synset_mapping.txt"), list).unwrap();
    let listing = open(root.path()).unwrap();
    assert_eq!(listing.class_names, ["tench", "tabby", "tiger cat"]);
    assert_eq!(listing.part(Split::Validation).unwrap().classes(), Some(vec![2]));
    fs::create_dir(root.path().join("train/n99999999")).unwrap();
    let error = open(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected a folder called as one of 3 synsets, found \"n99999999\""));
}
