//! Every rule against central differences, on the models of the conformance suite.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use nearkin_autodiff::{BatchNorm, differentiable};
use nearkin_onnx::{ElementType, Model, Shape, ValueId};
use nearkin_testkit::conformance::{Case, Value};

/// Cases whose gradient has no rule, or none worth having.
const SKIPPED: &[(&str, &str)] = &[
    ("arg_max", "its output is an index"),
    ("slice_reversed", "a step below 0 has no rule"),
    ("pow_half", "its values below 0 have no derivative"),
    ("cast_to_integers", "it is constant almost everywhere"),
];

/// Whether a constant is the mean or variance of a batch normalisation.
fn is_statistic(model: &Model, id: ValueId) -> bool {
    let norms = model.graph.nodes().iter().filter(|node| node.op == "BatchNormalization");
    norms.flat_map(|node| node.inputs.iter().skip(3)).any(|input| *input == Some(id))
}

#[test]
fn every_rule_equals_central_differences() {
    let mut failures = Vec::new();
    let mut checked = std::collections::BTreeSet::new();
    for case in Case::all().unwrap() {
        let mut model = Model::from_bytes(case.model.clone()).unwrap();
        let ops: Vec<String> = model.graph.nodes().iter().map(|node| node.op.clone()).collect();
        let known = |op: &String| {
            differentiable().any(|known| known == op)
                || ["Constant", "Shape", "Greater", "Less", "Equal"].contains(&op.as_str())
        };
        if SKIPPED.iter().any(|(name, _)| *name == case.name) || !ops.iter().all(known) {
            continue;
        }
        // Shapes as they are fed, so that the loss can be written.
        let feeds: Vec<_> = case
            .inputs
            .iter()
            .map(|(name, value)| match value {
                Value::F32(array) => (name.as_str(), array.mapv(f64::from)),
                Value::I64(array) => (name.as_str(), array.mapv(|v| v as f64)),
            })
            .collect();
        for (name, array) in &feeds {
            let id = model.graph.find(name).unwrap();
            let mut ty = model.graph.value(id).ty.clone().unwrap();
            ty.shape = Some(Shape::known(array.shape()));
            model.graph.set_type(id, ty);
        }
        for &output in &model.graph.outputs().to_vec() {
            let name = model.graph.value(output).name.clone();
            let (_, expected) = case.outputs.iter().find(|(known, _)| *known == name).unwrap();
            let mut ty = model.graph.value(output).ty.clone().unwrap();
            ty.shape = Some(Shape::known(match expected {
                Value::F32(array) => array.shape(),
                Value::I64(array) => array.shape(),
            }));
            model.graph.set_type(output, ty);
        }
        model.graph.infer_types().unwrap();
        if !common::append_loss(&mut model) {
            continue;
        }
        let is_float = |name: &&str| {
            let id = model.graph.find(name).unwrap();
            model.graph.value(id).ty.as_ref().unwrap().element == ElementType::Float
        };
        let names = feeds.iter().map(|(name, _)| *name).filter(is_float);
        let weights = model.graph.initialisers().iter().filter_map(|(id, tensor)| {
            let name = model.graph.value(*id).name.as_str();
            let trained = tensor.element == ElementType::Float
                && !tensor.dims.is_empty()
                && name.starts_with('w')
                && !ops.iter().any(|op| ["Clip", "Pow", "Resize"].contains(&op.as_str()))
                && !is_statistic(&model, *id);
            trained.then_some(name)
        });
        let wrt: Vec<&str> = names.chain(weights).collect();
        if wrt.is_empty() {
            continue;
        }
        let result = std::panic::catch_unwind(|| {
            common::check(&model, &wrt, &feeds, BatchNorm::Frozen);
        });
        if let Err(payload) = result {
            let reason = payload.downcast_ref::<String>().cloned().unwrap_or_default();
            failures.push(format!("{}: {reason}", case.name));
        }
        checked.extend(ops);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let unchecked: Vec<&str> = differentiable().filter(|op| !checked.contains(*op)).collect();
    // The suite has no case of these; they are checked in rules.rs.
    assert_eq!(
        unchecked,
        ["Cast", "Cos", "GatherND", "ReduceSumSquare", "ScatterND", "Sin"],
        "rules without a case"
    );
}
