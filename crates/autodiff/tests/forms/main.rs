//! Training forms of a small residual network: masks, accumulated gradients, recomputed values.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accumulate;
mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod masks;
mod order;

use std::collections::BTreeMap;

use common::numbers;
use ndarray::ArrayD;
use nearkin_autodiff::{Optimiser, Selection, Slot, Training, TrainingStep, select, training_step};
use nearkin_onnx::{Dim, Graph, Model, Node, Shape, Tensor, TensorType, ValueId};
use nearkin_testkit::interpreter::interpret;

/// Arrays by name.
type Arrays = BTreeMap<String, ArrayD<f64>>;

const SGD: Optimiser = Optimiser::Sgd { momentum: 0.0, nesterov: false };

/// What is between a residual network's convolutions.
#[derive(Clone, Copy, PartialEq)]
enum Norm {
    Batch,
    Layer,
}

struct Net(Graph);

impl Net {
    fn add(&mut self, node: Node, name: &str) -> ValueId {
        let mut node = node;
        node.outputs = vec![None];
        let ty = nearkin_onnx::infer(&self.0, &node).unwrap().remove(0);
        let id = self.0.add_value(name, Some(ty)).unwrap();
        node.outputs = vec![Some(id)];
        node.name = name.to_owned();
        self.0.add_node(node).unwrap();
        id
    }

    fn weight(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let seed = name.bytes().fold(7, |h: u64, b| h.wrapping_mul(31) + u64::from(b));
        let shift = if name.ends_with("var") { 1.5 } else { 0.0 };
        let values: Vec<f32> =
            numbers(dims, seed).iter().map(|&v| 0.7 * v as f32 + shift).collect();
        self.0.add_initialiser(name, Tensor::from_f32(dims.to_vec(), &values).unwrap()).unwrap()
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> ValueId {
        let tensor = Tensor::from_i64(vec![values.len()], values).unwrap();
        self.0.add_initialiser(name, tensor).unwrap()
    }

    fn conv(&mut self, x: ValueId, name: &str, [outputs, inputs]: [usize; 2]) -> ValueId {
        let w = self.weight(&format!("{name}.weight"), &[outputs, inputs, 3, 3]);
        self.add(Node::new("Conv", &[x, w]).with("pads", vec![1, 1, 1, 1]), name)
    }

    fn norm(&mut self, x: ValueId, name: &str, norm: Norm) -> ValueId {
        let count = if norm == Norm::Batch { 4 } else { 2 };
        let parts = ["weight", "bias", "running_mean", "running_var"];
        let dims: &[usize] = if norm == Norm::Batch { &[3] } else { &[3, 4, 4] };
        let mut inputs = vec![x];
        for part in &parts[..count] {
            inputs.push(self.weight(&format!("{name}.{part}"), dims));
        }
        match norm {
            Norm::Batch => self.add(Node::new("BatchNormalization", &inputs), name),
            Norm::Layer => {
                self.add(Node::new("LayerNormalization", &inputs).with("axis", 1i64), name)
            }
        }
    }
}

/// Stem, `depth` residual blocks, an embedding, a classifier, and the mean cross-entropy to
/// `targets` as `loss`: images `[N, 2, 4, 4]`, 3 classes.
fn network(norm: Norm, depth: usize) -> Model {
    let mut net = Net(Graph::new("network"));
    let typed = |dims: &[usize]| {
        let rest = dims.iter().map(|&n| Dim::Known(n));
        TensorType::f32(Shape([Dim::symbol("N")].into_iter().chain(rest).collect()))
    };
    let image = net.0.add_input("input", typed(&[2, 4, 4])).unwrap();
    let targets = net.0.add_input("targets", typed(&[3])).unwrap();
    let x = net.conv(image, "conv1", [3, 2]);
    let x = net.norm(x, "bn1", norm);
    let mut x = net.add(Node::new("Tanh", &[x]), "act1");
    for block in 0..depth {
        let at = |part: &str| format!("blocks.{block}.{part}");
        let y = net.conv(x, &at("conv1"), [3, 3]);
        let y = net.norm(y, &at("bn1"), norm);
        let y = net.add(Node::new("Relu", &[y]), &at("act1"));
        let y = net.conv(y, &at("conv2"), [3, 3]);
        let y = net.norm(y, &at("bn2"), norm);
        let y = net.add(Node::new("Add", &[x, y]), &at("add"));
        x = net.add(Node::new("Sigmoid", &[y]), &format!("blocks.{block}"));
    }
    let x = net.add(Node::new("GlobalAveragePool", &[x]), "pool");
    let x = net.add(Node::new("Flatten", &[x]), "embedding");
    let (w, b) = (net.weight("fc.weight", &[3, 3]), net.weight("fc.bias", &[3]));
    let logits = net.add(Node::new("Gemm", &[x, w, b]).with("transB", 1i64), "fc");
    let scores = net.add(Node::new("LogSoftmax", &[logits]).with("axis", -1i64), "scores");
    let hits = net.add(Node::new("Mul", &[scores, targets]), "hits");
    let axes = net.ints("axes", &[1]);
    let hits = net.add(Node::new("ReduceSum", &[hits, axes]).with("keepdims", 0i64), "of_row");
    let axes = net.ints("all", &[0]);
    let mean = net.add(Node::new("ReduceMean", &[hits, axes]).with("keepdims", 0i64), "mean");
    let loss = net.add(Node::new("Neg", &[mean]), "loss");
    net.0.set_outputs(vec![x, logits, loss]);
    Model::new(net.0)
}

/// A training of all parameters of `model`.
fn training(model: &Model, batch: usize, optimiser: Optimiser) -> Training {
    let chosen = select(model, "loss", &Selection::default()).unwrap();
    Training::new(batch, chosen, optimiser)
}

/// Images and targets of the formula; rows `from..from + count` of one long list.
fn rows(from: usize, count: usize) -> Arrays {
    let all = [("input", numbers(&[64, 2, 4, 4], 3)), ("targets", numbers(&[64, 3], 4))];
    let cut = |array: &ArrayD<f64>| {
        array.slice_axis(ndarray::Axis(0), (from..from + count).into()).to_owned()
    };
    all.iter().map(|(name, array)| ((*name).to_owned(), cut(array))).collect()
}

fn start(slot: &Slot) -> ArrayD<f64> {
    let values = slot.start.to_f32().unwrap().into_iter().map(f64::from).collect();
    ArrayD::from_shape_vec(slot.start.dims.clone(), values).unwrap()
}

/// What is fed in the first step: rows, slots, scalars at this rate.
fn feeds(step: &TrainingStep, rows: &Arrays, rate: f64) -> Arrays {
    let mut all = rows.clone();
    all.extend(step.slots.iter().map(|slot| (slot.input.clone(), start(slot))));
    for (name, value) in step.scalars_at(1, rate) {
        all.insert(name.to_owned(), ndarray::arr0(f64::from(value)).into_dyn());
    }
    all
}

fn run(model: &Model, feeds: &Arrays) -> Arrays {
    let known = feeds.iter().filter(|(name, _)| model.graph.find(name).is_some());
    let feeds: Vec<(&str, ArrayD<f64>)> =
        known.map(|(name, array)| (name.as_str(), array.clone())).collect();
    interpret(&model.graph, &feeds).unwrap_or_else(|error| panic!("{error}"))
}

/// The gradient of every parameter: what a plain step of rate 1 takes away.
fn gradients(step: &TrainingStep, feeds: &Arrays) -> Arrays {
    let out = run(&step.model, feeds);
    let parameters = step.slots.iter().filter(|slot| !slot.input.contains("running"));
    parameters.map(|slot| (slot.input.clone(), &feeds[&slot.input] - &out[&slot.output])).collect()
}

fn assert_near(found: &Arrays, expected: &Arrays, tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (name, array) in expected {
        let largest = array.iter().fold(1.0_f64, |a, b| a.max(b.abs()));
        let off = (array - &found[name]).iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        assert!(off <= tolerance * largest, "{name}: off by {off}");
    }
}

/// Compares a step's gradients with central differences of its own loss.
fn check(step: &TrainingStep, feeds: &Arrays) {
    for (name, gradient) in gradients(step, feeds) {
        let stride = gradient.len() / 7 + 1;
        for element in (0..gradient.len()).step_by(stride) {
            let at = |shift: f64| {
                let mut moved = feeds.clone();
                let values = moved.get_mut(&name).unwrap();
                values.as_slice_mut().unwrap()[element] += shift;
                run(&step.model, &moved)["loss"].sum()
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let found = gradient.iter().nth(element).unwrap();
            assert!(
                (expected - found).abs() <= 2e-6,
                "{name}, element {element}: expected {expected}, found {found}"
            );
        }
    }
}

#[test]
fn a_plain_step_has_the_gradients_of_its_loss() {
    for norm in [Norm::Batch, Norm::Layer] {
        let model = network(norm, 2);
        let step = training_step(&model, "loss", &training(&model, 3, SGD)).unwrap();
        check(&step, &feeds(&step, &rows(0, 3), 1.0));
    }
}
