//! Reading the stored values.

#![expect(clippy::unwrap_used, reason = "a fixture that does not read fails its test")]

use ndarray::Array2;
use serde_json::Value;

pub(crate) fn load(name: &str) -> Value {
    let path = format!("{}/../../fixtures/metrics/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Rows of numbers that were f32.
pub(crate) fn rows(value: &Value) -> Array2<f32> {
    rows_f64(value).mapv(|v| v as f32)
}

pub(crate) fn rows_f64(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let flat: Vec<f64> = rows.concat();
    Array2::from_shape_vec((rows.len(), rows[0].len()), flat).unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub(crate) fn labels(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

pub(crate) fn close(what: &str, found: f64, expected: &Value) {
    within(what, found, expected.as_f64().unwrap(), 1e-6);
}

/// Relative to 1 or to the value, whichever is larger.
pub(crate) fn within(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found}, expected {expected}");
}
