//! `nearkin bench` when processes are killed, stopped or interrupted.

use std::path::Path;
use std::time::Duration;

use crate::support::{Place, SUITE, case_of, expect, ran, run, signal, start, wait_for};

/// The first case takes about two seconds, the second half a minute if it is let.
fn slow() -> Place {
    let batches: Vec<_> = (1..=30).map(|batch: usize| batch.to_string()).collect();
    let second = "variant = \"fcnn_32_16\"";
    let suite = SUITE
        .replace("batch = [1, 4]", "batch = [1]")
        .replace("runs = 10", "runs = 1000000000")
        .replace("seconds = 0.2", "seconds = 1.0")
        .replace(second, &format!("{second}\nbatch = [{}]", batches.join(", ")));
    Place::with(&suite)
}

#[test]
fn a_killed_case_costs_one_row_and_is_named_with_its_log() {
    let place = slow();
    let parent = start(&mut place.bench(&[]));
    signal(case_of(parent.id()), "KILL");
    wait_for("the failure", &place.out().join("results.jsonl"), |text| {
        text.contains("\"record\":\"failure\"")
    });
    signal(case_of(parent.id()), "ABRT");
    let ran = ran(parent.wait_with_output().unwrap());
    expect(&ran, 1, &["FAILED fcnn_16", "killed by signal 9, probably out of memory", ".log"]);
    expect(&ran, 1, &["FAILED fcnn_32_16", "crashed with signal 6"]);
}

#[test]
fn an_interruption_keeps_what_was_measured_and_resuming_completes_it() {
    let place = slow();
    let parent = start(&mut place.bench(&[]));
    wait_for("the first row", &place.out().join("results.jsonl"), |text| {
        text.contains("\"record\":\"row\"")
    });
    let child = case_of(parent.id());
    signal(parent.id(), "INT");
    let ran = ran(parent.wait_with_output().unwrap());
    expect(&ran, 130, &["fcnn_16", "Not reached: fcnn_32_16", "--resume"]);
    assert!(!Path::new(&format!("/proc/{child}/stat")).exists(), "child was left");
    assert_eq!(place.rows(), ["fcnn_16"]);
    let ran = run(&mut place.bench(&["--resume", "--batch", "1"]));
    expect(&ran, 0, &["fcnn_16: measured earlier", "fcnn_32_16: done"]);
    assert_eq!(place.rows(), ["fcnn_16", "fcnn_32_16"]);
}

#[test]
fn a_killed_parent_takes_its_child_along_and_loses_no_row() {
    let place = slow();
    let mut parent = start(&mut place.bench(&[]));
    wait_for("the first row", &place.out().join("results.jsonl"), |text| {
        text.contains("\"record\":\"row\"")
    });
    let child = case_of(parent.id());
    signal(parent.id(), "KILL");
    parent.wait().unwrap();
    let stat = format!("/proc/{child}/stat");
    let is_gone = || match std::fs::read_to_string(&stat) {
        Err(_) => true,
        Ok(text) => text.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")),
    };
    let gone = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_gone()
    });
    assert!(gone, "the child outlived its parent");
    assert_eq!(place.rows(), ["fcnn_16"]);
}

#[test]
fn a_case_over_its_time_is_given_up() {
    let place = slow();
    let ran = run(&mut place.bench(&["--timeout", "0.5"]));
    expect(&ran, 1, &["FAILED fcnn_16", "time limit"]);
}
