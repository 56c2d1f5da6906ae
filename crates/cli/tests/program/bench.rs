//! `nearkin bench` as a user runs it: results, files, resumption.

use crate::support::{Place, expect, run};

#[test]
fn a_run_prints_a_table_and_leaves_json_lines_markdown_and_csv() {
    let place = Place::new();
    let json = place.folder.path().join("all.json");
    let ran = run(place.bench(&[]).arg("--json").arg(&json));
    expect(&ran, 0, &["fcnn_16", "fcnn_32_16", "untrained (init seed 0)", "tract", "Results: "]);
    expect(&ran, 0, &["points cannot be told apart on these 450 test images"]);
    assert!(ran.stderr.contains("[2/2] fcnn_32_16: done"), "{}", ran.stderr);

    let records = place.records();
    assert_eq!(records[0]["record"], "environment");
    assert_eq!(records[0]["engine"]["runtime"], "tract");
    assert_eq!(records[0]["threads"], 1);
    assert!(records[0]["build"]["rustc"].as_str().unwrap().starts_with("rustc"));
    assert_eq!(place.rows(), ["fcnn_16", "fcnn_32_16"]);
    let row = &records[1];
    // 64 inputs, 16 outputs: a matrix and a bias.
    assert_eq!((&row["params"], &row["macs"]), (&(64 * 16 + 16).into(), &(64 * 16).into()));
    assert_eq!(row["embedding_width"], 16);
    assert_eq!(row["quality"]["top1"]["total"], 450);
    assert!(row["quality"]["top1"]["value"].as_f64().unwrap() > 0.5, "{row}");
    assert!(row["quality"]["knn"]["value"].as_f64().unwrap() > 0.5, "{row}");
    assert_eq!(row["speed"]["throughput"][1]["batch"], 4);
    assert_eq!(row["fairness"]["pretraining"], "none");
    if cfg!(target_os = "linux") {
        let (peak, empty) = (&row["memory"]["peak_bytes"], &row["memory"]["empty_bytes"]);
        assert!(peak.as_u64().unwrap() >= empty.as_u64().unwrap(), "{row}");
    }

    assert!(place.file("results.md").contains("| fcnn_16 | untrained (init seed 0) |"));
    assert_eq!(place.file("results.csv").lines().count(), 3);
    assert!(place.out().join("logs").is_dir());
    assert!(!place.out().join("work").exists(), "model files are removed");
    let whole: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(whole["rows"].as_array().unwrap().len(), 2);
}

#[test]
fn accuracies_are_the_same_in_every_run_of_a_seed() {
    let quality = || {
        let place = Place::new();
        expect(&run(&mut place.bench(&["--arch", "fcnn_16"])), 0, &[]);
        place.records()[1]["quality"].clone()
    };
    assert_eq!(quality(), quality());
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let place = Place::new();
    let ran = run(&mut place.bench(&["--dry-run"]));
    expect(&ran, 0, &["fcnn_32_16", "1347 training, 450 test", "Nothing was measured"]);
    assert!(!place.out().exists());
}

#[test]
fn quiet_leaves_only_the_table() {
    let place = Place::new();
    let ran = run(&mut place.bench(&["--quiet", "--arch", "fcnn_16"]));
    expect(&ran, 0, &["fcnn_16"]);
    assert_eq!(ran.stderr, "");
}

#[test]
fn resuming_measures_only_what_is_missing() {
    let place = Place::new();
    expect(&run(&mut place.bench(&["--arch", "fcnn_16"])), 0, &[]);
    let first = place.file("results.jsonl");
    let ran = run(&mut place.bench(&["--resume"]));
    expect(&ran, 0, &["fcnn_16: measured earlier", "fcnn_32_16: done"]);
    assert_eq!(place.rows(), ["fcnn_16", "fcnn_32_16"]);
    assert!(place.file("results.jsonl").starts_with(&first), "earlier lines stay as they are");
}

#[test]
fn a_torn_last_line_is_moved_aside_and_measured_again() {
    let place = Place::new();
    expect(&run(&mut place.bench(&[])), 0, &[]);
    let text = place.file("results.jsonl");
    let log = place.out().join("results.jsonl");
    std::fs::write(&log, &text[..text.len() - 40]).unwrap();
    let ran = run(&mut place.bench(&["--resume"]));
    expect(&ran, 0, &["fcnn_16: measured earlier", "fcnn_32_16: done", "torn"]);
    assert_eq!(place.rows(), ["fcnn_16", "fcnn_32_16"]);
    assert!(place.out().join("results.torn").exists());
}

#[test]
fn a_folder_with_results_is_neither_overwritten_nor_mixed() {
    let place = Place::new();
    expect(&run(&mut place.bench(&["--arch", "fcnn_16"])), 0, &[]);
    let before = place.file("results.jsonl");
    expect(&run(&mut place.bench(&[])), 2, &["already holds results"]);
    expect(&run(&mut place.bench(&["--resume", "--seed", "5"])), 2, &["seed: 0 there, 5 now"]);
    assert_eq!(place.file("results.jsonl"), before);
}
