//! Parameters after 1, 2 and 10 steps of each optimiser are PyTorch's, from
//! `fixtures/optimisers/optimisers.json`, both in f64.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{input, op};
use ndarray::{ArrayD, IxDyn, arr0};
use nearkin_autodiff::{Optimiser, Slot, Trainable, Training, TrainingStep, training_step};
use nearkin_onnx::{Graph, Model, Tensor};
use nearkin_testkit::interpreter::interpret;
use serde_json::Value;
use std::collections::BTreeMap;

/// Of how far a parameter has moved. The learning rate and 1 − βᵗ are fed as f32.
const TOLERANCE: f64 = 1e-6;

const BETAS: (f32, f32) = (0.9, 0.999);
const ALPHA: f32 = 0.95;
const EPS: f32 = 1e-6;

/// The optimisers by the fixture's names.
const OPTIMISERS: [(&str, Optimiser); 8] = [
    ("sgd", Optimiser::Sgd { momentum: 0.0, nesterov: false }),
    ("sgd_momentum", Optimiser::Sgd { momentum: 0.9, nesterov: false }),
    ("sgd_nesterov", Optimiser::Sgd { momentum: 0.9, nesterov: true }),
    ("adam", Optimiser::Adam { betas: BETAS, eps: EPS }),
    ("adam_w", Optimiser::AdamW { betas: BETAS, eps: EPS }),
    ("rms_prop", Optimiser::RmsProp { alpha: ALPHA, eps: EPS, momentum: 0.0 }),
    ("rms_prop_momentum", Optimiser::RmsProp { alpha: ALPHA, eps: EPS, momentum: 0.9 }),
    ("lion", Optimiser::Lion { betas: (0.9, 0.99) }),
];

/// Parameters, whether they decay, and the factor on their learning rate.
const PARAMETERS: [(&str, bool, f32); 4] =
    [("w1", true, 0.5), ("b1", false, 1.0), ("w2", true, 1.0), ("b2", false, 1.0)];

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// `{"shape": [..], "values": [..]}`.
fn array(value: &Value) -> ArrayD<f64> {
    let shape: Vec<usize> = list(&value["shape"]).into_iter().map(|n| n as usize).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), list(&value["values"])).unwrap()
}

fn tensor(x: &ArrayD<f64>) -> Tensor {
    let values: Vec<f32> = x.iter().map(|&v| v as f32).collect();
    Tensor::from_f32(x.shape().to_vec(), &values).unwrap()
}

/// w₂ tanh(w₁ x + b₁) + b₂ and the mean squared error to a target.
fn model(inputs: &Value) -> Model {
    let mut graph = Graph::new("test");
    let g = &mut graph;
    let [x, target] = ["x", "target"].map(|name| input(g, name, array(&inputs[name]).shape()));
    let [w1, b1, w2, b2] = PARAMETERS
        .map(|(name, ..)| g.add_initialiser(name, tensor(&array(&inputs[name]))).unwrap());
    let y = op(g, "MatMul", &[x, w1], "first");
    let y = op(g, "Add", &[y, b1], "first biased");
    let y = op(g, "Tanh", &[y], "active");
    let y = op(g, "MatMul", &[y, w2], "second");
    let y = op(g, "Add", &[y, b2], "second biased");
    let y = op(g, "Sub", &[y, target], "off");
    let y = op(g, "Mul", &[y, y], "squared");
    let loss = op(g, "ReduceMean", &[y], "loss");
    graph.set_outputs(vec![loss]);
    Model::new(graph)
}

fn step(model: &Model, optimiser: Optimiser, case: &Value) -> TrainingStep {
    let number = |key: &str| case[key].as_f64().map(|v| v as f32);
    let decay = number("decay").unwrap();
    let trainable = PARAMETERS.map(|(name, decays, rate)| Trainable {
        name: name.to_owned(),
        decay: if decays { decay } else { 0.0 },
        rate,
    });
    let mut training = Training::new(4, trainable.to_vec(), optimiser);
    training.clip_norm = number("clip");
    training.average = number("average");
    training_step(model, "loss", &training).unwrap()
}

/// Feeds the step's slots their start, then what it gave.
struct Loop {
    step: TrainingStep,
    feeds: Vec<(&'static str, ArrayD<f64>)>,
    kept: BTreeMap<String, ArrayD<f64>>,
}

impl Loop {
    fn new(step: TrainingStep, inputs: &Value) -> Self {
        let start = |slot: &Slot| {
            let values = slot.start.to_f32().unwrap().into_iter().map(f64::from).collect();
            let start = ArrayD::from_shape_vec(IxDyn(&slot.start.dims), values).unwrap();
            (slot.input.clone(), start)
        };
        let kept = step.slots.iter().map(start).collect();
        let feeds = ["x", "target"].map(|name| (name, array(&inputs[name]))).to_vec();
        Self { step, feeds, kept }
    }

    /// The norm of the gradient.
    fn take(&mut self, t: u64, rate: f64) -> f64 {
        let mut feeds = self.feeds.clone();
        for (name, value) in self.step.scalars_at(t, rate) {
            feeds.push((name, arr0(f64::from(value)).into_dyn()));
        }
        let mut all: Vec<(&str, ArrayD<f64>)> = feeds;
        all.extend(self.kept.iter().map(|(name, x)| (name.as_str(), x.clone())));
        let mut out = interpret(&self.step.model.graph, &all).unwrap_or_else(|e| panic!("{e}"));
        for slot in &self.step.slots {
            self.kept.insert(slot.input.clone(), out.remove(&slot.output).unwrap());
        }
        out[TrainingStep::GRADIENT_NORM].sum()
    }
}

fn check(name: &str, optimiser: Optimiser, inputs: &Value, case: &Value) {
    let mut steps = Loop::new(step(&model(inputs), optimiser, case), inputs);
    let rate = case["rate"].as_f64().unwrap();
    let mut compared = 0;
    for t in 1..=10 {
        let norm = steps.take(t, rate);
        if t == 1 {
            let expected = case["norm"].as_f64().unwrap();
            assert!((norm - expected).abs() <= 1e-9 * expected, "{name}: {norm}, not {expected}");
        }
        let Some(after) = case["after"][t.to_string()].as_object() else { continue };
        for (parameter, expected) in after {
            let (found, expected) = (&steps.kept[parameter], list(expected));
            let start = array(&inputs[parameter.trim_end_matches("/average")]);
            let moved = expected.iter().zip(&start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * moved,
                    "{name}, {parameter} after {t}: expected {expected}, found {found}"
                );
            }
            compared += 1;
        }
    }
    let averages = if case["average"].is_null() { 1 } else { 2 };
    assert_eq!(compared, 3 * averages * PARAMETERS.len(), "{name}");
}

#[test]
fn parameters_after_1_2_and_10_steps_are_pytorchs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/optimisers/optimisers.json");
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = whole["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 10);
    for (name, case) in cases {
        let plain = name.split('/').next().unwrap();
        let known = OPTIMISERS.iter().find(|(known, _)| *known == plain);
        check(name, known.unwrap().1, &whole["inputs"], case);
    }
}
