//! Every variant can be trained: its graph with a loss over the logits becomes a step graph, in every
//! lowering.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use common::with_loss;
use nearkin_autodiff::{Lowering, Optimiser, Trainable, Training, TrainingStep, training_step};
use nearkin_nn::{Architecture, Entry, Options, Parameter};
use nearkin_onnx::Node;
use nearkin_zoo::Registry;

/// A step of plain gradient descent on every parameter: no state, so that no variant, however
/// large, needs memory for its tensors.
fn step(architecture: &Architecture, lowering: Lowering) -> TrainingStep {
    let trained = |p: &&Parameter| !p.kind.is_buffer();
    let trainable = |p: &Parameter| Trainable { name: p.name.clone(), decay: 0.0, rate: 1.0 };
    let trainable = architecture.parameters().iter().filter(trained).map(trainable).collect();
    let sgd = Optimiser::Sgd { momentum: 0.0, nesterov: false };
    let training = Training { lowering, ..Training::new(2, trainable, sgd) };
    training_step(&with_loss(architecture.graph()), "loss", &training)
        .unwrap_or_else(|error| panic!("{}: {error}", architecture.name))
}

fn check(entry: &Entry) {
    let name = entry.name();
    let options = Options { num_classes: Some(10), ..Options::default() };
    let architecture = entry.build(&options).unwrap();
    let standard = step(&architecture, Lowering::Standard);
    check_step(&architecture, &standard);
    let blocked = step(&architecture, Lowering::CpuNchwc { block: 16 });
    check_step(&architecture, &blocked);
    let is_conv = |node: &Node| !node.is_standard() && node.op == "Conv";
    // Plain layers on few images have nothing to gain.
    let expected = architecture.group != "fcnn";
    assert_eq!(blocked.model.graph.nodes().iter().any(is_conv), expected, "{name}");
    let foreign = standard.model.graph.nodes().iter().find(|node| !node.is_standard());
    assert_eq!(foreign.map(Node::describe), None, "{name}");
}

/// Slots for all that is kept, of the parameters' shapes.
fn check_step(architecture: &Architecture, step: &TrainingStep) {
    let name = &architecture.name;
    // Parameters follow their gradients, running statistics the batch: all but the counters.
    let kept = architecture.parameters().iter().filter(|p| p.value.is_some());
    assert_eq!(step.slots.len(), kept.clone().count(), "{name}");
    for parameter in kept {
        let slot = step.slots.iter().find(|slot| slot.input == parameter.name).unwrap();
        assert_eq!(slot.start.dims, parameter.dims, "{name}: {}", parameter.name);
        let graph = &step.model.graph;
        let shape = |value: &str| graph.shape(graph.find(value).unwrap()).unwrap().to_known();
        assert_eq!(shape(&slot.input).as_ref(), Some(&parameter.dims), "{name}: {}", slot.input);
        assert_eq!(shape(&slot.output).as_ref(), Some(&parameter.dims), "{name}: {}", slot.output);
    }
}

#[test]
fn every_variant_has_a_training_step() {
    let entries: Vec<Entry> = Registry::standard().entries().collect();
    let (left, right) = entries.split_at(entries.len() / 2);
    std::thread::scope(|threads| {
        threads.spawn(|| left.iter().for_each(check));
        right.iter().for_each(check);
    });
}
