//! `nearkin data` on the small data set that has every fault.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{expect, nearkin, run};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_check_names_every_problem_and_ends_with_its_own_code() {
    let ran = run(&mut nearkin(&["data", "check", &fixture("check/shapes")]));
    let parts = [
        "shapes (folder): 18 images, 2 classes",
        "train/dog/empty.png: expected an image, found an empty file",
        "train train/cat/is-a-dog.png [cat] = train train/dog/dog0.png [dog]",
        "test test/cat/leaked.png [cat] = train train/cat/cat2.png [cat]",
        "problems: 3 broken; 2 leaked, 1 of them near only; 1 labelled differently",
    ];
    expect(&ran, 6, &parts);
    assert_eq!(ran.stderr, "", "no bar where nobody looks");
}

#[test]
fn json_goes_to_a_file_beside_the_table_or_alone_to_standard_output() {
    let place = tempfile::tempdir().unwrap();
    let file: PathBuf = place.path().join("report.json");
    let shapes = fixture("check/shapes");
    let ran = run(nearkin(&["data", "check", &shapes, "--json"]).arg(&file));
    expect(&ran, 6, &["problems: "]);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&report["version"], &report["data"]["images"]), (&1.into(), &18.into()));
    assert_eq!(report["leakage"][0]["distance"], Value::Null);
    let ran = run(&mut nearkin(&["data", "check", &shapes, "--exact", "--json", "-"]));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["near_distance"]), (Some(6), &Value::Null));
}

#[test]
fn a_sound_data_set_ends_with_0_and_one_held_against_itself_with_6() {
    let digits = fixture("digits");
    expect(&run(&mut nearkin(&["data", "check", &digits, "--exact"])), 0, &["no problems"]);
    let ran = run(&mut nearkin(&["data", "check", &digits, "--exact", "--against", &digits]));
    expect(&ran, 6, &["1797 in the other data set", "and 1787 more"]);
}

#[test]
fn strict_checks_end_at_the_first_broken_image() {
    let ran = run(&mut nearkin(&["data", "check", &fixture("check/shapes"), "--strict"]));
    expect(&ran, 3, &["error: "]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn wrong_paths_formats_and_distances_are_told() {
    let digits = fixture("digits");
    expect(&run(&mut nearkin(&["data", "check", "no/such/place"])), 3, &["no/such/place"]);
    expect(
        &run(&mut nearkin(&["data", "check", &digits, "--format", "cifar-10"])),
        3,
        &["error: "],
    );
    expect(&run(&mut nearkin(&["data", "check", &digits, "--format", "zip"])), 2, &["idx"]);
    expect(&run(&mut nearkin(&["data", "check", &digits, "--near-distance", "17"])), 2, &["16"]);
    expect(&run(&mut nearkin(&["data", "split", &digits, "-o", "-"])), 2, &["--stratified"]);
    let ran = run(&mut nearkin(&["data", "check", &digits, "--exact", "--json", "no/such/f.json"]));
    expect(&ran, 5, &["error: "]);
}

#[test]
fn a_list_has_a_line_for_each_image() {
    let ran = run(&mut nearkin(&["data", "list", &fixture("digits"), "--part", "test"]));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!((ran.code, lines.len()), (Some(0), 451));
    assert_eq!(lines[0], "part\tname\tlabel\tsource\tregion");
    assert!(lines[1].starts_with("test\tt10k-images-idx3-ubyte.gz#0\t"), "{}", lines[1]);
    let ran = run(&mut nearkin(&["data", "list", &fixture("check/shapes"), "--json"]));
    let row: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&row["part"], &row["label"]), (&"train".into(), &"cat".into()));
}

#[test]
fn a_split_beside_the_data_is_a_manifest_of_it() {
    let place = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(place.path().join(class)).unwrap();
        for i in 0..5 {
            let to = place.path().join(format!("{class}/{i}.png"));
            std::fs::copy(fixture("check/shapes/train/cat/cat0.png"), to).unwrap();
        }
    }
    let file = place.path().join("split.tsv");
    let folder = place.path().to_str().unwrap();
    let split = |arguments: &[&str]| {
        let mut command = nearkin(&["data", "split", folder, "--format", "folder", "-o"]);
        let ran = run(command.arg(&file).args(arguments));
        (ran, std::fs::read_to_string(&file).unwrap())
    };
    let (ran, text) = split(&["--stratified", "0.2", "--seed", "3"]);
    expect(&ran, 0, &["train 8, validation 2; 10 with a label"]);
    assert_eq!(text.matches("\tvalidation\n").count(), 2);
    let listed = run(nearkin(&["data", "list"]).arg(&file));
    expect(&listed, 0, &["validation\t"]);
    assert_eq!(listed.stdout.lines().count(), 11);
    expect(&split(&["--folds", "5"]).0, 0, &["0 2, 1 2, 2 2, 3 2, 4 2"]);
    expect(&split(&["--per-class", "1"]).0, 0, &["train 2, validation 8"]);
    let (ran, text) = split(&["--labels", "4"]);
    expect(&ran, 0, &["train 10; 4 with a label"]);
    assert_eq!(text.matches("\t\ttrain\n").count(), 6);
}
