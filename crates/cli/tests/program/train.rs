//! `nearkin train`: a run, its files, and what is refused.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ran, expect, nearkin, run, start};

fn digits() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/digits").to_owned()
}

fn train(folder: &Path, arguments: &[&str]) -> Ran {
    run(&mut command(folder, arguments))
}

fn command(folder: &Path, arguments: &[&str]) -> std::process::Command {
    let data = digits();
    let given = ["train", "--data", &data, "--arch", "fcnn_32_16", "--threads", "1"];
    let mut command = nearkin(&[&given[..], arguments].concat());
    command.current_dir(folder);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_leaves_a_network_that_other_verbs_use_its_numbers_and_its_logs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options =
        ["--labels", "100", "--graph", "knn:5", "--control", "--epochs", "4", "--edges", "32"];
    let ran = train(folder, &[&options[..], &["--learning-rate", "5e-3", "-o", "run"]].concat());
    expect(
        &ran,
        0,
        &[
            "| fcnn_32_16 | 100 of 1347 |",
            "| control | 100 of 1347 |",
            "epoch 4: train/cross-entropy",
        ],
    );
    let result = json(&folder.join("run/result.json"));
    let accuracy = result["test"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.6, "{accuracy}");
    let names = [
        "model.onnx",
        "model.safetensors",
        "config.toml",
        "log.jsonl",
        "epochs.csv",
        "curves.svg",
        "curves.html",
        "control/result.json",
    ];
    for name in names {
        assert!(folder.join("run").join(name).exists(), "{name}");
    }
    let table = std::fs::read_to_string(folder.join("run/epochs.csv")).unwrap();
    assert_eq!(table.lines().count(), 5);
    assert!(table.contains("train/graph_term") && table.contains("embedding/effective_rank"));
    let events = std::fs::read_dir(folder.join("run")).unwrap();
    let events =
        events.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("tfevents"));
    assert_eq!(events.count(), 1);
    let data = digits();
    let predict = ["predict", "run/model.onnx", &data, "--part", "test", "--top", "1"];
    let ran = run(nearkin(&predict).current_dir(folder));
    expect(&ran, 0, &[]);
    let right = result["test"]["right"].as_u64().unwrap();
    assert!(
        ran.stdout.contains(&format!("{right} of 450")),
        "{right}\n{}{}",
        ran.stdout,
        ran.stderr
    );
    let again = ["train", "--config", "run/config.toml", "-o", "again", "--quiet"];
    expect(&run(nearkin(&again).current_dir(folder)), 0, &[]);
    assert_eq!(json(&folder.join("again/result.json"))["test"], result["test"]);
}

#[test]
#[cfg(unix)]
fn a_killed_run_goes_on_to_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options = ["--graph", "knn:5", "--edges", "16", "--epochs", "60", "-o"];
    expect(&train(folder, &[&options[..], &["whole"]].concat()), 0, &[]);
    let arguments = [&options[..], &["killed"]].concat();
    let mut child = start(&mut command(folder, &arguments));
    let checkpoints = folder.join("killed/checkpoints");
    let finished = || {
        let entries = std::fs::read_dir(&checkpoints).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
        files.sort();
        files
    };
    while finished().len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("killed/model.onnx").exists());
    // The newest checkpoint is damaged: the one before it is taken.
    let files = finished();
    let newest = files.last().unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(newest, bytes).unwrap();
    let ran = train(folder, &arguments);
    expect(
        &ran,
        0,
        &["damaged: expected SHA-256", "the checkpoint before it is taken", "going on after step"],
    );
    let read = |name: &str| std::fs::read(folder.join(name).join("model.onnx")).unwrap();
    assert_eq!(read("whole"), read("killed"));
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |arguments: &[&str], code, said: &str| {
        expect(&train(folder, arguments), code, &[said]);
    };
    refused(&["--alpha", "1", "-o", "a"], 2, "options of the graph's term need --graph");
    refused(&["--labels", "5", "-o", "b"], 2, "");
    refused(&["--graph", "none.graph", "-o", "c"], 3, "none.graph");
    refused(
        &["--trainable", "layer9.*", "-o", "d"],
        3,
        "pattern: expected one that some parameter's name matches",
    );
    refused(&["--dropout", "1", "-o", "e"], 2, "dropout: expected at least 0 and below 1, found 1");
    refused(
        &["--distance", "kl", "--graph", "knn:3", "-o", "f"],
        2,
        "graph.layer: expected probabilities",
    );
    std::fs::write(folder.join("file"), "").unwrap();
    refused(&["-o", "file/run"], 5, "file/run");
    expect(&train(folder, &["--epochs", "1", "-o", "run"]), 0, &[]);
    refused(&["--epochs", "2", "-o", "run"], 2, "found one of others (compare run/config.toml)");
    let other = ["graph", "build", &digits(), "--part", "test", "--knn", "3", "-o", "test.graph"];
    expect(&run(nearkin(&other).current_dir(folder)), 0, &[]);
    refused(
        &["--graph", "test.graph", "-o", "g"],
        3,
        "a graph over other images: expected 1347 nodes",
    );
}

#[test]
fn a_graph_of_other_pixels_is_refused_and_one_of_these_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let build = ["graph", "build", &digits(), "--part", "train", "--knn", "3", "-o", "own.graph"];
    expect(&run(nearkin(&build).current_dir(folder)), 0, &[]);
    expect(
        &train(folder, &["--graph", "own.graph", "--epochs", "1", "-o", "own"]),
        0,
        &["1347 images"],
    );
    // The same images in another order.
    std::fs::create_dir(folder.join("turned")).unwrap();
    for name in
        ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    {
        std::fs::copy(Path::new(&digits()).join(name), folder.join("turned").join(name)).unwrap();
    }
    let labels = Path::new(&digits()).join("train-labels-idx1-ubyte.gz");
    std::fs::copy(labels, folder.join("turned/train-labels-idx1-ubyte.gz")).unwrap();
    let turned = folder.join("turned").display().to_string();
    let images =
        nearkin_data::read_images(&folder.join("turned/train-images-idx3-ubyte.gz")).unwrap();
    let (n, _, h, w) = images.dim();
    let mut bytes = vec![0, 0, 8, 3];
    for size in [n, h, w] {
        bytes.extend((size as u32).to_be_bytes());
    }
    images.outer_iter().rev().for_each(|image| bytes.extend(image.iter().copied()));
    std::fs::remove_file(folder.join("turned/train-images-idx3-ubyte.gz")).unwrap();
    std::fs::write(folder.join("turned/train-images-idx3-ubyte"), bytes).unwrap();
    let given =
        ["train", "--data", &turned, "--arch", "fcnn_16", "--graph", "own.graph", "-o", "other"];
    let ran = run(nearkin(&given).current_dir(folder));
    expect(&ran, 3, &["own.graph: a graph over other images: expected the pixels"]);
}

#[test]
fn a_head_trains_on_tract_and_a_foreign_file_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let export = [
        "zoo",
        "export",
        "fcnn_24",
        "--num-classes",
        "0",
        "--in-chans",
        "1",
        "--img-size",
        "8",
        "-o",
        "b.onnx",
    ];
    expect(&run(nearkin(&export).current_dir(folder)), 0, &[]);
    let data = digits();
    let given = [
        "train",
        "--data",
        &data,
        "--arch",
        "b.onnx",
        "--runtime",
        "tract",
        "--trainable",
        "head",
        "--epochs",
        "3",
        "--learning-rate",
        "1e-2",
        "-o",
        "run",
    ];
    expect(&run(nearkin(&given).current_dir(folder)), 0, &["| b.onnx | 1347 of 1347 |"]);
    let accuracy = json(&folder.join("run/result.json"))["test"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.7, "{accuracy}");
}
