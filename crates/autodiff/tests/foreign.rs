//! Models as PyTorch's two exporters write them: `fixtures/foreign`. With no change to the file they
//! have a training step, and their gradients are PyTorch's in f64.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::op;
use ndarray::{ArrayD, IxDyn, arr0};
use nearkin_autodiff::{
    BatchNorm, Optimiser, Trainable, Training, gradients, separate, training_step,
};
use nearkin_onnx::{Model, Node, Shape, Tensor, TensorType};
use nearkin_testkit::interpreter::interpret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Constants of a graph are f32: √2 of a GELU, 1/9 of an average.
const TOLERANCE: f64 = 3e-7;
/// A gradient below this share of the model's largest is not told from 0.
const FLOOR: f64 = 1e-3;
const CLASSES: usize = 10;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/foreign"))
}

/// A file with its case.
struct Foreign {
    name: String,
    model: Model,
    batch: usize,
    loss: f64,
    /// Name, norm and two projections of the gradient of each constant.
    gradients: Vec<(String, [f64; 3])>,
    images: ArrayD<f64>,
}

fn all() -> Vec<Foreign> {
    let text = std::fs::read_to_string(folder().join("gradients.json")).unwrap();
    let cases: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    cases.iter().map(|(name, case)| foreign(name, case)).collect()
}

fn foreign(name: &str, case: &Value) -> Foreign {
    let size = |key: &str| case[key].as_u64().unwrap() as usize;
    let (batch, side) = (size("batch"), size("side"));
    let count = batch * 3 * side * side;
    let image = |i: usize| ((i * 7919 % 1024) as f64 - 512.0) / 256.0;
    let gradient = |row: &Value| {
        let number = |i: usize| row[i].as_f64().unwrap();
        (row[0].as_str().unwrap().to_owned(), [number(1), number(2), number(3)])
    };
    let bytes = std::fs::read(folder().join(format!("{name}.onnx"))).unwrap();
    let mut model = Model::from_bytes(bytes).unwrap();
    append_cross_entropy(&mut model, batch);
    Foreign {
        name: name.to_owned(),
        model,
        batch,
        loss: case["loss"].as_f64().unwrap(),
        gradients: case["parameters"].as_array().unwrap().iter().map(gradient).collect(),
        images: ArrayD::from_shape_vec(
            IxDyn(&[batch, 3, side, side]),
            (0..count).map(image).collect(),
        )
        .unwrap(),
    }
}

/// Appends `loss`, the cross-entropy of the output `logits` with label 3i mod 10 for image i.
fn append_cross_entropy(model: &mut Model, batch: usize) {
    let graph = &mut model.graph;
    let logits = graph.find("logits").unwrap();
    graph.set_type(logits, TensorType::f32(Shape::known(&[batch, CLASSES])));
    let share = |place: usize| {
        let is_label = place % CLASSES == 3 * (place / CLASSES) % CLASSES;
        if is_label { -(batch as f32).recip() } else { 0.0 }
    };
    let shares: Vec<f32> = (0..batch * CLASSES).map(share).collect();
    let shares = Tensor::from_f32(vec![batch, CLASSES], &shares).unwrap();
    let shares = graph.add_initialiser("loss/shares", shares).unwrap();
    let surprise = op(graph, "LogSoftmax", &[logits], "loss/surprise");
    let product = op(graph, "Mul", &[surprise, shares], "loss/product");
    let mut sum = Node::new("ReduceSum", &[product]).with("keepdims", 0i64);
    let loss = graph.add_value("loss", Some(TensorType::f32(Shape::known(&[])))).unwrap();
    sum.outputs = vec![Some(loss)];
    graph.add_node(sum).unwrap();
    graph.set_outputs(vec![loss]);
}

/// The values of the file's constants.
fn weights(model: &Model, names: &[&str]) -> Vec<(String, ArrayD<f64>)> {
    let graph = separate(model).graph;
    let array = |name: &&str| {
        let tensor = graph.initialiser(graph.find(name).unwrap()).unwrap();
        let values = tensor.to_f32().unwrap().into_iter().map(f64::from).collect();
        ((*name).to_owned(), ArrayD::from_shape_vec(IxDyn(&tensor.dims), values).unwrap())
    };
    names.iter().map(array).collect()
}

impl Foreign {
    fn names(&self) -> Vec<&str> {
        self.gradients.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn check_gradients(&self) {
        let names = self.names();
        let found = gradients(&self.model, "loss", &names, self.batch, BatchNorm::Frozen)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let weights = weights(&self.model, &names);
        let mut feeds = vec![("input", self.images.clone())];
        feeds.extend(weights.iter().map(|(name, x)| (name.as_str(), x.clone())));
        let out = interpret(&found.model.graph, &feeds).unwrap_or_else(|e| panic!("{e}"));
        let off = (out["loss"].sum() - self.loss).abs() / self.loss;
        assert!(off <= TOLERANCE, "{}: loss {off:e} from {}", self.name, self.loss);
        let largest = self.gradients.iter().fold(0.0_f64, |a, (_, [norm, ..])| a.max(*norm));
        for ((name, expected), output) in self.gradients.iter().zip(&found.outputs) {
            let g = &out[output];
            let along = |direction: fn(usize) -> f64| {
                g.iter().enumerate().map(|(i, g)| g * direction(i)).sum::<f64>()
            };
            let found = [
                g.iter().map(|g| g * g).sum::<f64>().sqrt(),
                along(|i| ((7 * i + 3) % 11) as f64 / 8.0 - 0.5),
                along(|i| ((3 * i + 1) % 13) as f64 / 8.0 - 0.75),
            ];
            let floor = expected[0].max(FLOOR * largest);
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * floor,
                    "{}, {name}: expected {expected}, found {found}",
                    self.name
                );
            }
        }
    }

    /// Three steps of gradient descent lower the loss.
    fn check_training(&self) {
        let trainable = |name: &&str| Trainable { name: (*name).to_owned(), decay: 0.0, rate: 1.0 };
        let trainable = self.names().iter().map(trainable).collect();
        let sgd = Optimiser::Sgd { momentum: 0.0, nesterov: false };
        let mut training = Training::new(self.batch, trainable, sgd);
        training.batch_norm = BatchNorm::Frozen;
        training.clip_norm = Some(1.0);
        let step = training_step(&self.model, "loss", &training)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut kept: BTreeMap<String, ArrayD<f64>> =
            weights(&self.model, &self.names()).into_iter().collect();
        let mut losses = Vec::new();
        for t in 1..=3 {
            let mut feeds = vec![("input", self.images.clone())];
            feeds.extend(kept.iter().map(|(name, x)| (name.as_str(), x.clone())));
            for (name, value) in step.scalars_at(t, 0.02) {
                feeds.push((name, arr0(f64::from(value)).into_dyn()));
            }
            let mut out = interpret(&step.model.graph, &feeds).unwrap_or_else(|e| panic!("{e}"));
            losses.push(out["loss"].sum());
            for slot in &step.slots {
                kept.insert(slot.input.clone(), out.remove(&slot.output).unwrap());
            }
        }
        assert!(losses.is_sorted_by(|a, b| a > b), "{}: {losses:?}", self.name);
    }
}

#[test]
fn gradients_of_exported_models_are_pytorchs() {
    let all = all();
    assert_eq!(all.len(), 8);
    all.iter().for_each(Foreign::check_gradients);
}

#[test]
fn exported_models_are_trained_as_they_are() {
    all().iter().for_each(Foreign::check_training);
}

/// An untrained transformer's scales are all 1: one exporter stores one of them.
#[test]
fn parameters_that_an_exporter_stored_once_are_parameters_of_their_own() {
    let all = all();
    let vit = all.iter().find(|case| case.name == "vit_script").unwrap();
    let stored = |graph: &nearkin_onnx::Graph, name: &str| {
        graph.find(name).is_some_and(|id| graph.initialiser(id).is_some())
    };
    let apart = separate(&vit.model).graph;
    for name in ["blocks.0.norm2.weight", "blocks.1.norm1.weight", "norm.weight"] {
        assert!(!stored(&vit.model.graph, name) && stored(&apart, name), "{name}");
    }
}
