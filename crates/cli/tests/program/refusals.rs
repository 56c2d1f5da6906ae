//! What is wrong is told in one block, with the documented exit code, before anything is measured.

use std::path::Path;

use crate::support::{Place, SUITE, expect, nearkin, run};

fn copy_digits(to: &Path) {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/digits");
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(digits).unwrap().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|ext| ext == "gz") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A place whose suite reads the folder `images`, a copy of the digits.
fn with_folder() -> Place {
    let place = Place::with(&SUITE.replace("set = \"digits\"", "folder = \"images\""));
    copy_digits(&place.folder.path().join("images"));
    place
}

#[test]
fn an_unknown_variant_comes_with_the_nearest_names() {
    let ran = run(&mut Place::new().bench(&["--arch", "resnet81"]));
    expect(&ran, 2, &["error: ", "resnet81", "resnet18"]);
}

#[test]
fn a_pattern_without_match_and_an_unknown_suite_are_usage_errors() {
    expect(&run(&mut Place::new().bench(&["--arch", "nothing*"])), 2, &["nothing*"]);
    expect(&run(&mut nearkin(&["bench", "--suite", "qiuck"])), 2, &["qiuck", "quick"]);
}

#[test]
fn words_that_clap_refuses_are_usage_errors() {
    for arguments in [
        &["bench", "--runtime", "torch"][..],
        &["bench", "--device", "gpu"],
        &["bench", "--threads", "0"],
        &["bench", "--timeout", "0"],
        &["bench", "--batch", "x"],
        &["bunch"],
        &[],
    ] {
        expect(&run(&mut nearkin(arguments)), 2, &[]);
    }
    expect(&run(&mut Place::new().bench(&["--batch", "8,1"])), 2, &["ascending"]);
}

#[test]
fn a_misspelt_key_of_a_suite_is_bad_input_with_its_line() {
    let place = Place::with(&SUITE.replace("warm_up", "warmup"));
    expect(&run(&mut place.bench(&[])), 3, &["suite.toml", "warmup", "line"]);
}

#[test]
fn a_suite_reads_a_folder_of_idx_files() {
    let ran = run(&mut with_folder().bench(&["--dry-run"]));
    expect(&ran, 0, &["1347 training, 450 test"]);
}

#[test]
fn a_truncated_file_of_images_is_bad_input_with_its_name() {
    let place = with_folder();
    let file = place.folder.path().join("images/t10k-images-idx3-ubyte.gz");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    expect(&run(&mut place.bench(&[])), 3, &["error: ", "t10k-images-idx3-ubyte.gz"]);
    assert!(!place.out().exists());
}

#[test]
fn labels_of_another_count_are_bad_input_with_both_counts() {
    let place = with_folder();
    let images = place.folder.path().join("images");
    let (from, to) = ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz");
    std::fs::copy(images.join(from), images.join(to)).unwrap();
    expect(&run(&mut place.bench(&[])), 3, &["450", "1347"]);
}

#[test]
fn a_folder_that_is_not_there_is_bad_input() {
    let place = Place::with(&SUITE.replace("set = \"digits\"", "folder = \"absent\""));
    expect(&run(&mut place.bench(&[])), 3, &["absent"]);
}

#[test]
fn a_device_that_the_runtime_lacks_is_unavailable_and_nothing_else_runs() {
    let place = Place::new();
    expect(&run(&mut place.bench(&["--device", "cuda"])), 4, &["error: ", "cuda"]);
    assert!(!place.out().exists());
}

#[test]
fn a_library_that_is_not_there_or_none_is_unavailable() {
    let place = Place::new();
    let library = place.folder.path().join("suite.toml");
    for file in [library.as_path(), Path::new("/nonexistent/libonnxruntime.so")] {
        let mut command = nearkin(&["bench", "--runtime", "ort", "--onnxruntime"]);
        let ran = run(command.arg(file).current_dir(place.folder.path()));
        expect(&ran, 4, &["error: ", &file.display().to_string()]);
    }
}

#[test]
fn an_output_folder_that_cannot_be_made_is_told_before_measuring() {
    let place = Place::new();
    std::fs::write(place.out(), "a file stands here").unwrap();
    let ran = run(&mut place.bench(&[]));
    expect(&ran, 5, &["error: ", "cannot create the folder"]);
    assert!(!ran.stderr.contains("[1/2]"), "{}", ran.stderr);
}

#[test]
fn nothing_to_resume_is_a_usage_error() {
    let place = Place::new();
    let mut command = nearkin(&["bench", "--resume", "--runtime", "tract"]);
    expect(&run(command.current_dir(place.folder.path())), 2, &["no run of suite quick"]);
}

#[test]
fn results_that_are_no_results_are_bad_input_with_their_line() {
    let place = Place::new();
    std::fs::create_dir(place.out()).unwrap();
    std::fs::write(place.out().join("results.jsonl"), "a shopping list\nmilk\n").unwrap();
    expect(&run(&mut place.bench(&["--resume"])), 3, &["results.jsonl, line 1"]);
    assert_eq!(place.file("results.jsonl"), "a shopping list\nmilk\n");
}

#[test]
fn completions_are_printed_for_a_shell() {
    expect(&run(&mut nearkin(&["completions", "bash"])), 0, &["nearkin", "bench"]);
}
