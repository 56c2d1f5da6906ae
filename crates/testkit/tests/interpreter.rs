//! The interpreter against ONNX's own reference implementation, on the conformance suite.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::ArrayD;
use nearkin_onnx::Model;
use nearkin_testkit::conformance::{self, Case, Skip, Value};
use nearkin_testkit::interpreter::interpret;

/// Operators that neither losses nor training steps use.
const UNKNOWN: &[&str] = &["grid_sample", "hardmax", "lp_normalization", "top_k"];

fn run(case: &Case) -> Result<Vec<Value>, String> {
    let mut model = Model::from_bytes(case.model.clone()).map_err(|error| error.to_string())?;
    model.graph.infer_types().map_err(|error| error.to_string())?;
    let f64s = |value: &Value| match value {
        Value::F32(array) => array.mapv(f64::from),
        Value::I64(array) => array.mapv(|v| v as f64),
    };
    let feeds: Vec<(&str, ArrayD<f64>)> =
        case.inputs.iter().map(|(name, value)| (name.as_str(), f64s(value))).collect();
    let found = interpret(&model.graph, &feeds).map_err(|error| error.to_string())?;
    Ok(case
        .outputs
        .iter()
        .map(|(name, value)| match value {
            Value::F32(_) => Value::F32(found[name].mapv(|v| v as f32)),
            Value::I64(_) => Value::I64(found[name].mapv(|v| v as i64)),
        })
        .collect())
}

#[test]
fn the_interpreter_conforms() {
    let skips: Vec<Skip> =
        UNKNOWN.iter().map(|case| Skip { case, reason: "not an operator of training" }).collect();
    let failures = conformance::failures(&skips, run).unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
