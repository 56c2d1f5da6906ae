//! What PyTorch and pytorch-metric-learning say, from `fixtures/losses/references.json`.

use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

use crate::checks::{Result, assert_close};

/// Inputs and cases of one group of losses.
pub(crate) struct Group {
    name: &'static str,
    whole: Value,
}

pub(crate) fn group(name: &'static str) -> Group {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/losses/references.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    Group { name, whole: whole[name].take() }
}

impl Group {
    /// An input of the group.
    pub(crate) fn array(&self, name: &str) -> ArrayD<f64> {
        array(&self.whole["inputs"][name], name)
    }

    /// Labels or indices.
    pub(crate) fn indices(&self, name: &str) -> Vec<usize> {
        self.array(name).iter().map(|&v| v as usize).collect()
    }

    /// Compares with the reference's value and gradients to 1e-6, relative.
    pub(crate) fn check(&self, case: &str, (value, gradients): Result) {
        let expected = &self.whole["cases"][case];
        let reference = expected["value"].as_f64();
        let reference = reference.unwrap_or_else(|| panic!("no case {case} in {}", self.name));
        assert!(
            (value - reference).abs() <= 1e-6 * reference.abs(),
            "{case}: expected {reference}, found {value}"
        );
        let listed = expected["gradients"].as_array().unwrap();
        assert_eq!(listed.len(), gradients.len(), "{case}");
        for (found, expected) in gradients.iter().zip(listed) {
            assert_close(case, found, &array(expected, case), 1e-6);
        }
    }
}

/// `{"shape": [..], "values": [..]}`.
fn array(value: &Value, name: &str) -> ArrayD<f64> {
    let list = |key: &str| -> Vec<f64> {
        let list = value[key].as_array().unwrap_or_else(|| panic!("{name} has no {key}"));
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let shape: Vec<usize> = list("shape").into_iter().map(|n| n as usize).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), list("values")).unwrap()
}
