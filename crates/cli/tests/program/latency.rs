//! `nearkin latency`, which scripts drive line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nearkin_nn::{Options, Weights};
use nearkin_zoo::Registry;
use serde_json::Value;

use crate::support::{expect, nearkin, ran, run};

fn model(folder: &Path) -> PathBuf {
    let options = Options { img_size: Some((8, 8)), ..Options::default() };
    let entry = Registry::standard().variant("fcnn_16").unwrap();
    let architecture = entry.build(&options).unwrap();
    let model = architecture.to_model(&Weights::init(&architecture, 0)).unwrap();
    let path = folder.join("model.onnx");
    std::fs::write(&path, model.to_bytes().unwrap()).unwrap();
    path
}

fn latency(model: &Path) -> Command {
    let mut command = nearkin(&["latency", "--runtime", "tract", "--threads", "1", "--batch", "3"]);
    command.arg("--model").arg(model);
    command
}

#[test]
fn it_says_when_it_is_ready_and_answers_each_request_with_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = latency(&model(folder.path()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let ready = next();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["engine"], "tract");
    assert_eq!(ready["input"], serde_json::json!([3, 3, 8, 8]));
    for runs in [1, 5] {
        writeln!(stdin, "go {runs}").unwrap();
        let times = next();
        let times = times.as_array().unwrap();
        assert_eq!(times.len(), runs);
        assert!(times.iter().all(|ms| ms.as_f64().unwrap() > 0.0), "{times:?}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_wrong_request_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = latency(&model(folder.path()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    expect(&ran(child.wait_with_output().unwrap()), 2, &["error: ", "go N", "stop"]);
}

#[test]
fn a_file_that_is_no_model_is_bad_input_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, "not ONNX").unwrap();
    expect(&run(&mut latency(&path)), 3, &["error: ", "model.onnx"]);
    expect(&run(&mut latency(&folder.path().join("absent.onnx"))), 3, &["absent.onnx"]);
}
