//! Draws that others made with NumPy, and parts of listings made by draws.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{
    Listing, OpenOptions, RandomState, Split, SplitError, Target, draw_labels, read_labels,
};
use serde_json::Value;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn golden(key: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixtures("numpy-permutation/permutations.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json[key].as_array_mut().unwrap().drain(..).collect()
}

fn digits() -> Listing {
    Listing::open(&fixtures("digits"), &OpenOptions::default()).unwrap()
}

#[test]
fn permutations_are_numpys() {
    for case in golden("permutations") {
        let seed = u32::try_from(case["seed"].as_u64().unwrap()).unwrap();
        let items: Vec<usize> = (0..case["n"].as_u64().unwrap() as usize).collect();
        let mut random = RandomState::new(seed);
        assert_eq!(random.permutation(items.clone()), numbers(&case["first"]), "seed {seed}");
        assert_eq!(random.permutation(items), numbers(&case["second"]), "seed {seed}");
    }
}

#[test]
fn the_labels_of_the_published_tables_are_drawn() {
    let labels = read_labels(&fixtures("digits/train-labels-idx1-ubyte.gz")).unwrap();
    let labels: Vec<usize> = labels.into_iter().map(usize::from).collect();
    let draws = golden("draws");
    assert_eq!(draws.len(), 20);
    for case in &draws {
        let count = case["labels"].as_u64().unwrap() as usize;
        let seed = u32::try_from(case["seed"].as_u64().unwrap()).unwrap();
        let drawn = draw_labels(&labels, 10, count, seed).unwrap();
        assert_eq!(drawn, numbers(&case["drawn"]), "{count} labels, seed {seed}");
        assert_eq!(drawn.len(), count);
    }
}

#[test]
fn a_part_keeps_the_labels_that_were_drawn() {
    let digits = digits();
    let train = digits.part(Split::Train).unwrap();
    let drawn = train.draw_labels(10, 20, 0).unwrap();
    let masked = train.keep_labels(&drawn).unwrap();
    let labelled = masked.samples.iter().filter(|s| s.target != Target::Unlabelled).count();
    assert_eq!((labelled, masked.samples.len()), (20, 1347));
    assert_eq!(masked.samples[drawn[7]].target, train.samples[drawn[7]].target);
    assert_eq!(train.keep_labels(&[1347]), Err(SplitError::Index { images: 1347, found: 1347 }));
    let lone = masked.labels().unwrap_err().to_string();
    assert!(lone.ends_with("expected one class, found none or several"), "{lone}");
}

#[test]
fn a_listing_gets_a_validation_part() {
    let digits = digits();
    let train = digits.part(Split::Train).unwrap();
    let holdout = train.stratified_split(0.1, 3).unwrap();
    let first = train.samples[holdout.held_out[0]].name.clone();
    let split = digits.clone().hold_out(Split::Train, Split::Validation, &holdout).unwrap();
    let roles: Vec<_> = split.parts.iter().map(|part| part.split.as_str()).collect();
    assert_eq!(roles, ["train", "validation", "test"]);
    assert_eq!(split.count(), digits.count());
    assert_eq!(split.part(Split::Validation).unwrap().samples[0].name, first);
    let fold = &train.stratified_folds(5, 0).unwrap()[4];
    assert_eq!(fold.held_out.len(), 269);
    let few = train.draw_per_class(10, 0).unwrap();
    assert_eq!(train.select(Split::Train, &few.kept).unwrap().samples.len(), 100);
    let absent = digits.clone().hold_out(Split::Validation, Split::Test, &holdout);
    assert_eq!(absent, Err(SplitError::NoPart { split: Split::Validation }));
    let same = digits.hold_out(Split::Train, Split::Train, &holdout);
    assert_eq!(same, Err(SplitError::SameRole { split: Split::Train }));
}
