//! ImageNet folders, their lists, and photos named by lemma or synset.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{
    Format, GroundTruth, Listing, LookupError, OpenOptions, Split, Vocabulary, VocabularyError,
    read_imagenet,
};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/imagenet").join(name)
}

fn open(path: &Path) -> Result<Listing, String> {
    Listing::open(path, &OpenOptions::default()).map_err(|error| error.to_string())
}

/// The flat validation folder with these lists beside it.
fn flat(lists: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("val");
    fs::create_dir(&images).unwrap();
    for number in 1..=4 {
        let name = format!("ILSVRC2012_val_{number:08}.JPEG");
        fs::copy(fixture("flat").join(&name), images.join(&name)).unwrap();
    }
    for list in lists {
        fs::copy(fixture("lists").join(list), root.path().join(list)).unwrap();
    }
    root
}

#[test]
fn every_label_file_says_the_same() {
    let files: [&[&str]; 4] = [
        &["LOC_val_solution.csv", "LOC_synset_mapping.txt"],
        &["synset_labels.txt", "imagenet_class_index.json"],
        &["val.txt", "LOC_synset_mapping.txt"],
        &["ILSVRC2012_validation_ground_truth.txt", "map_clsloc.txt"],
    ];
    for lists in files {
        let root = flat(lists);
        let listing = open(root.path()).unwrap();
        assert_eq!(listing.format, Format::ImageNet);
        let part = listing.part(Split::Validation).unwrap();
        assert_eq!(part.classes(), Some(vec![2, 0, 4, 1]), "{lists:?}");
        let ids = ["n02012849", "n02084071", "n02123045", "n02123159", "n03126707"];
        assert_eq!(listing.class_ids, ids);
        // The folder of images itself is the same set.
        assert_eq!(open(&root.path().join("val")).unwrap().parts[0].classes(), part.classes());
    }
}

#[test]
fn validation_images_need_labels_that_fit() {
    let check = |root: &tempfile::TempDir, expected: &str| {
        let error = open(root.path()).unwrap_err();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    };
    check(&flat(&[]), "expected folders of WordNet ids, or LOC_val_solution.csv");
    let numbers = flat(&["ILSVRC2012_validation_ground_truth.txt", "LOC_synset_mapping.txt"]);
    check(&numbers, "expected map_clsloc.txt beside it");
    let short = flat(&["LOC_synset_mapping.txt"]);
    fs::write(short.path().join("synset_labels.txt"), "n02123045\nn02012849\n").unwrap();
    check(&short, "expected a line for image 3, found 2 lines");
    fs::write(short.path().join("synset_labels.txt"), "n99999999\n".repeat(4)).unwrap();
    check(&short, "synset_labels.txt: expected one of 5 classes, found n99999999");
    fs::write(short.path().join("synset_labels.txt"), "n02123045\ntench\n").unwrap();
    check(&short, "line 2: expected a WordNet id or a number from 1, found \"tench\"");
    let unlisted = flat(&["LOC_synset_mapping.txt"]);
    let solution = "ImageId,PredictionString\nILSVRC2012_val_00000002,n02012849 1 2 3 4\n";
    fs::write(unlisted.path().join("LOC_val_solution.csv"), solution).unwrap();
    let listing = open(unlisted.path()).unwrap();
    assert_eq!((listing.count(), listing.quarantine.len()), (1, 3));
}

#[test]
fn a_vocabulary_is_read_from_each_list() {
    let mapping = Vocabulary::read(&fixture("lists/LOC_synset_mapping.txt")).unwrap();
    let json = Vocabulary::read(&fixture("lists/imagenet_class_index.json")).unwrap();
    assert_eq!(json.wnids(), mapping.wnids());
    let (synsets, lemmas) = (fixture("lists/synsets.txt"), fixture("lists/lemmas.txt"));
    assert_eq!(Vocabulary::read_lists(&synsets, &lemmas).unwrap(), mapping);
    let bare = Vocabulary::read(&synsets).unwrap();
    assert_eq!(bare.name(1), Some("n02084071"));
    assert_eq!(bare.with_lemmas_of(&mapping), mapping);
    assert_eq!(Vocabulary::read(&lemmas).unwrap().find("domestic dog"), Ok(1));
}

#[test]
fn broken_lists_are_refused() {
    let error = |text: &str| Vocabulary::parse(text).unwrap_err().to_string();
    assert_eq!(error(""), "expected one class a line, found none");
    let twice = "class 1: expected a new WordNet id, found n02084071, which is class 0";
    assert_eq!(error("n02084071 dog\nn02084071 cat\n"), twice);
    assert_eq!(error("n02084071 dog\ncat\n"), "line 2: expected a WordNet id, found \"cat\"");
    assert_eq!(error("cat\n, ,"), "line 2: expected names, found \", ,\"");
    assert_eq!(error("cat\n\ndog"), "line 2: expected names, found \"\"");
    let number = "entry \"2\": expected a number below the number of entries, found \"2\"";
    assert_eq!(error("{\"0\": [\"n02084071\", \"dog\"], \"2\": [\"n02123045\", \"cat\"]}"), number);
    let wnid = "entry \"0\": expected a WordNet id, found \"dog\"";
    assert_eq!(error("{\"0\": [\"dog\", \"dog\"]}"), wnid);
    assert!(error("{").starts_with("expected JSON: "));
    let (short, lemmas) = (fixture("lists/val.txt"), fixture("lists/lemmas.txt"));
    assert!(Vocabulary::read(&short).is_ok_and(|v| v.wnids().is_none()));
    let lengths = Vocabulary::read_lists(&fixture("lists/synset_labels.txt"), &lemmas);
    let lengths = lengths.unwrap_err().to_string();
    assert!(lengths.ends_with("lemmas: expected 4, one for each synset, found 5"), "{lengths}");
    assert!(matches!(Vocabulary::read(&fixture("none")), Err(VocabularyError::Io { .. })));
}

#[test]
fn photos_named_by_lemma_or_synset_get_the_models_classes() {
    let words = Vocabulary::read(&fixture("lists/LOC_synset_mapping.txt")).unwrap();
    let by_folder = words.label(open(&fixture("by-lemma")).unwrap());
    assert_eq!(by_folder.parts[0].classes(), Some(vec![1, 2, 2]));
    let by_name = words.label(open(&fixture("by-file-name")).unwrap());
    let labelled: Vec<_> = by_name.parts[0].samples.iter().map(|s| s.name.as_str()).collect();
    let expected = ["Domestic_Dog (2).jpg", "n02084071_17.JPEG", "tabby cat 3.jpg"];
    assert_eq!(labelled, expected);
    assert_eq!(by_name.parts[0].classes(), Some(vec![1, 1, 2]));
    let aside: Vec<_> = by_name.quarantine.iter().map(|q| q.reason.as_str()).collect();
    let expected = [
        "expected the name of one class, found \"crane\", which is any of: class 0 (n02012849: \
         crane); class 4 (n03126707: crane)",
        "expected the WordNet id or a name of one of 5 classes, found \"griffin 1\"",
    ];
    assert_eq!(aside, expected);
}

#[test]
fn a_name_that_may_mean_several_classes_gives_them_all() {
    let words = Vocabulary::read(&fixture("lists/LOC_synset_mapping.txt")).unwrap();
    assert_eq!(words.candidates("Crane"), [0, 4]);
    assert!(matches!(words.find("crane"), Err(LookupError::Ambiguous { .. })));
    assert_eq!(words.find("N03126707"), Ok(4));
    assert_eq!(words.find("dog, domestic dog, canis familiaris"), Ok(1));
    assert!(matches!(words.find_stem("é"), Err(LookupError::Unknown { classes: 5, .. })));
}

#[test]
fn another_vocabulary_numbers_the_classes() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("val/n02123045");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("1.JPEG"), []).unwrap();
    let mut options = OpenOptions::default();
    let vocabulary = Vocabulary::parse("n00004475 organism\nn02123045 tabby\n").unwrap();
    options.imagenet.vocabulary = Some(vocabulary);
    let listing = read_imagenet(root.path(), Split::Train, &options.imagenet).unwrap();
    assert_eq!(listing.part(Split::Validation).unwrap().classes(), Some(vec![1]));
    assert_eq!(listing.class_names, ["organism", "tabby"]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[n0-9a-z ,\n\t{}\":\\[\\]]{0,60}") {
        if let Ok(words) = Vocabulary::parse(&text) {
            for class in 0..words.len() {
                prop_assert!(words.name(class).is_some());
            }
        }
        drop(GroundTruth::parse(&text));
        drop(GroundTruth::parse(&format!("ImageId,PredictionString\n{text}")));
    }
}
