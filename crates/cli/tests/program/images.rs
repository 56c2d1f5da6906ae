//! Models on images: `nearkin embed`, `nearkin predict`, and `nearkin bench --data`.

use std::path::Path;

use crate::support::{Place, expect, nearkin, run};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

/// A network of 8 × 8 pixels that tells `classes` apart.
fn model(place: &Path, classes: &str) -> String {
    let path = place.join("model.onnx").to_str().unwrap().to_owned();
    let size = ["--img-size", "8", "--num-classes", classes];
    let ran = run(nearkin(&["zoo", "export", "fcnn_16", "-o", &path]).args(size));
    expect(&ran, 0, &[]);
    path
}

#[test]
fn embeddings_names_and_labels_lie_line_by_line() {
    let place = tempfile::tempdir().unwrap();
    let model = model(place.path(), "2");
    let out = place.path().join("e.npy");
    let shapes = fixture("check/shapes");
    let run_it = || {
        let arguments = ["embed", &model, &shapes, "--runtime", "tract", "--batch", "4", "-o"];
        run(nearkin(&arguments).arg(&out))
    };
    // Three files are no images: they are named, and their rows are not there.
    let ran = run_it();
    let parts = ["15 embeddings of 16", "3 images set aside:", "train/dog/empty.png: "];
    expect(&ran, 1, &parts);
    let bytes = std::fs::read(&out).unwrap();
    assert_eq!(bytes.len(), 128 + 15 * 16 * 4);
    let names = std::fs::read_to_string(place.path().join("e.tsv")).unwrap();
    let labels = std::fs::read_to_string(place.path().join("e.labels")).unwrap();
    assert_eq!((names.lines().count(), labels.lines().count()), (16, 15));
    assert!(names.starts_with("name\tlabel\ntrain/cat/blank.png\tcat\n"), "{names}");
    run_it();
    assert_eq!(std::fs::read(&out).unwrap(), bytes, "the same bytes again");
    let arguments = ["embed", &model, &shapes, "--runtime", "tract", "--strict", "-o"];
    expect(&run(nearkin(&arguments).arg(&out)), 3, &["train/dog/cut.png"]);
}

#[test]
fn folders_named_by_lemma_are_scored_with_the_models_own_classes() {
    let place = tempfile::tempdir().unwrap();
    let words = place.path().join("words.txt");
    std::fs::write(&words, "n02084071 dog\nn02123045 tabby, tabby cat\n").unwrap();
    let words = words.to_str().unwrap();
    let model = model(place.path(), "2");
    let photos = fixture("imagenet/by-lemma");
    let arguments = ["predict", &model, &photos, "--runtime", "tract", "--vocabulary", words];
    let ran = run(&mut nearkin(&arguments));
    expect(&ran, 0, &["top-1 ", " of 3)", "top-5 100.0 %", "images/s"]);
    assert_eq!(ran.stdout.lines().filter(|line| line.contains('\t')).count(), 3);
    let ran = run(&mut nearkin(&["predict", &model, &fixture("digits"), "--runtime", "tract"]));
    expect(&ran, 3, &["the model tells 2 classes apart, the names are of 10"]);
}

#[test]
fn a_data_set_of_files_is_compared_and_its_broken_images_are_told() {
    let place = Place::new();
    let shapes = fixture("check/shapes");
    let ran = run(&mut place.bench(&["--data", &shapes, "--arch", "fcnn_16"]));
    let parts = ["fcnn_16: 3 images were set aside and count nowhere", "train/dog/"];
    expect(&ran, 0, &parts);
    let row = &place.records()[1];
    assert_eq!(row["images"]["from_files"], true);
    assert_eq!(row["images"]["quarantined"].as_array().unwrap().len(), 3);
    assert_eq!(row["quality"]["top1"]["total"], 3);
    assert_eq!(row["quality"]["knn_neighbours"], 12, "of 20 asked for");
    let strict = Place::new();
    let ran = run(&mut strict.bench(&["--data", &shapes, "--arch", "fcnn_16", "--strict"]));
    expect(&ran, 1, &["FAILED fcnn_16", "train/dog/"]);
    let none = run(&mut nearkin(&["bench", "--suite", "photos"]));
    expect(&none, 2, &["give one with --data PATH"]);
}
