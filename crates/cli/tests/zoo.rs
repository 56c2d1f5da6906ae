//! `nearkin zoo` as a user calls it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise and says what it leaves out"
)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn nearkin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearkin")).arg("zoo").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/references")
}

fn reference(name: &str) -> Value {
    let path = references().join(name).with_extension("json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Verifies one changed reference on tract, which is always there.
fn verify(changed: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("changed.json"), changed.to_string()).unwrap();
    let folder = folder.path().to_str().unwrap();
    nearkin(&["verify", "--references", folder, "--runtime", "tract"])
}

#[test]
fn every_family_is_timms_on_tract() {
    let output =
        nearkin(&["verify", "--references", references().to_str().unwrap(), "--runtime", "tract"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("8 passed with outputs"), "{}", stdout(&output));
}

#[test]
fn every_family_is_timms_on_onnx_runtime() {
    let output =
        nearkin(&["verify", "--references", references().to_str().unwrap(), "--runtime", "ort"]);
    if output.status.code() == Some(4) || stdout(&output).contains("cargo xtask setup") {
        println!("ONNX Runtime is not here, so this test says nothing: {}", stdout(&output));
        return;
    }
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("8 passed with outputs"), "{}", stdout(&output));
}

#[test]
fn a_changed_weight_is_found_at_the_first_module_that_uses_it() {
    let mut changed = reference("resnet/resnet18");
    changed.as_object_mut().unwrap().remove("weights_sum");
    let tensors = changed["state_dict"].as_array_mut().unwrap();
    let tensor = tensors.iter_mut().find(|t| t[0] == "layer2.1.conv1.weight").unwrap();
    let half = tensor[5].as_f64().unwrap();
    tensor[5] = json!(half * 1.5);
    let output = verify(&changed);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let text = stdout(&output);
    assert!(text.contains("FAIL") && text.contains("logits: relative L2"), "{text}");
    assert!(text.contains("first stage that diverges: layer2.1,"), "{text}");
}

#[test]
fn names_shapes_costs_and_epsilons_are_compared() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (|r| r["params"] = json!(1), "params: expected 1, found 11689512"),
        (|r| r["macs"] = json!(1), "MACs: expected 1, found 1814073344"),
        (|r| r["norm_eps"]["BatchNorm2d"] = json!([1e-3]), "norm eps"),
        (|r| r["state_dict"][0][0] = json!("stem.weight"), "1 tensors missing: stem.weight"),
        (
            |r| r["state_dict"][0][1] = json!([64, 3, 3, 3]),
            "tensors of another shape: conv1.weight",
        ),
        (|r| r["state_dict"].as_array_mut().unwrap().swap(0, 1), "order of tensors"),
        (|r| r["model"] = json!("resnet81"), "no variant is called \"resnet81\""),
    ];
    for (change, says) in cases {
        let mut changed = reference("resnet/resnet18");
        changed.as_object_mut().unwrap().remove("outputs");
        change(&mut changed);
        let output = verify(&changed);
        assert_eq!(output.status.code(), Some(1), "{says}: {}", stdout(&output));
        assert!(stdout(&output).contains(says), "{says}: {}", stdout(&output));
    }
}

#[test]
fn a_folder_without_references_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_nearkin"))
        .args(["zoo", "verify"])
        .env("NEARKIN_SHARED", "/does/not/exist")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("skipped: no reference files"), "{}", stdout(&output));
    let output = nearkin(&["verify", "--references", "/does/not/exist"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_no_reference_fails_by_name() {
    let output = verify(&json!({"model": 1}));
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("changed.json"), "{}", stdout(&output));
}

#[test]
fn the_list_is_computed_from_the_graphs() {
    let output = nearkin(&["list", "resnet50", "vit", "--json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["params"], 25_557_032);
    assert_eq!(rows[0]["macs"], 4_089_184_256u64);
    assert_eq!(rows[0]["embedding_width"], 2048);
    assert_eq!(rows.as_array().unwrap().len(), 16);
}

#[test]
fn an_unknown_variant_offers_the_nearest_names() {
    let output = nearkin(&["list", "resnet81"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("resnet18"), "{}", stderr(&output));
}

#[test]
fn an_exported_file_is_read_back_with_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (path("first.onnx"), path("second.onnx"));
    let small = ["--num-classes", "10", "--img-size", "32"];
    let export = |weights: &str, to: &str| {
        nearkin(
            &[&["export", "convnext_atto", "--weights", weights, "-o", to], &small[..]].concat(),
        )
    };
    assert!(export("init:5", &first).status.success());
    assert!(export(&first, &second).status.success());
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn weights_of_another_model_are_refused_with_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let other = path("fcnn.onnx");
    assert!(nearkin(&["export", "fcnn_16", "-o", &other]).status.success());
    let output = nearkin(&["export", "fcnn_16_8", "--weights", &other, "-o", &path("x.onnx")]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("missing: layers.1.weight, layers.1.bias"), "{text}");
    std::fs::write(path("broken.safetensors"), b"nothing").unwrap();
    let broken = path("broken.safetensors");
    let output = nearkin(&["export", "fcnn_16", "--weights", &broken, "-o", &path("x.onnx")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("broken.safetensors"), "{}", stderr(&output));
    assert!(!Path::new(&path("x.onnx")).exists());
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let output = nearkin(&["export", "fcnn_16", "-o", "/does/not/exist/x.onnx"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("/does/not/exist/x.onnx"), "{}", stderr(&output));
}
