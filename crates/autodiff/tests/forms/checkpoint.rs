//! Values that are computed again in the backward pass.

use nearkin_autodiff::{Checkpoint, Mask, MaskKind, Training, TrainingStep, training_step};
use nearkin_onnx::Graph;

use super::{Arrays, Norm, SGD, assert_near, check, feeds, gradients, network, rows, training};

fn at(names: &[&str]) -> Checkpoint {
    Checkpoint::At(names.iter().map(|&name| name.to_owned()).collect())
}

/// Names of the nodes that are computed again.
fn again(step: &TrainingStep) -> Vec<&str> {
    let nodes = step.model.graph.nodes().iter().map(|node| node.name.as_str());
    nodes.filter_map(|name| name.strip_prefix("again/")).collect()
}

fn with(norm: Norm, change: impl Fn(&mut Training)) -> TrainingStep {
    let model = network(norm, 3);
    let mut training = training(&model, 3, SGD);
    change(&mut training);
    training_step(&model, "loss", &training).unwrap()
}

fn masks() -> Vec<Mask> {
    let mask = |value: &str, kind| Mask { value: value.to_owned(), reader: None, kind, rate: 0.3 };
    vec![mask("blocks.0.bn2", MaskKind::Row), mask("blocks.1.act1", MaskKind::Element)]
}

fn fed(step: &TrainingStep) -> Arrays {
    let mut fed = feeds(step, &rows(0, 3), 1.0);
    for (name, dims, values) in step.masks_at(5, 1) {
        let values = values.into_iter().map(f64::from).collect();
        fed.insert(name.to_owned(), ndarray::ArrayD::from_shape_vec(dims, values).unwrap());
    }
    fed
}

#[test]
fn gradients_are_those_without_checkpoints() {
    for norm in [Norm::Batch, Norm::Layer] {
        let plain = with(norm, |training| training.masks = masks());
        let expected = gradients(&plain, &fed(&plain));
        for checkpoint in [
            at(&["blocks.0", "blocks.1", "blocks.2"]),
            // In the middle of a block, where a shortcut crosses; in any order; twice.
            at(&["blocks.1.act1", "bn1", "blocks.1.act1"]),
            at(&["loss"]),
            Checkpoint::Auto,
        ] {
            let step = with(norm, |training| {
                training.masks = masks();
                training.checkpoint = checkpoint.clone();
            });
            assert!(!again(&step).is_empty(), "{checkpoint:?}");
            assert_near(&gradients(&step, &fed(&step)), &expected, 1e-15);
        }
    }
    let step = with(Norm::Batch, |training| training.checkpoint = at(&["blocks.0", "blocks.1"]));
    check(&step, &fed(&step));
}

/// Nodes that read `name`, by their names.
fn readers<'a>(graph: &'a Graph, name: &str) -> Vec<&'a str> {
    let id = graph.find(name).unwrap();
    graph.consumers(id).map(|node| graph.node(node).name.as_str()).collect()
}

#[test]
fn the_backward_pass_reads_nothing_between_checkpoints() {
    let step = with(Norm::Batch, |training| training.checkpoint = at(&["blocks.0", "blocks.1"]));
    let graph = &step.model.graph;
    let kept = ["blocks.0", "blocks.1"];
    let forward = |name: &str| !name.starts_with("backward") && !name.starts_with("again");
    for name in ["conv1", "act1", "blocks.0.conv1", "blocks.0.act1", "blocks.1.bn2", "blocks.1.add"]
    {
        let read: Vec<&str> = readers(graph, name);
        // Statistics of the batch are emitted beside the forward pass.
        let statistic = |node: &str| ["Sub", "ReduceMean"].iter().any(|op| node.contains(op));
        assert!(read.iter().all(|node| forward(node) || statistic(node)), "{name}: {read:?}");
    }
    // What follows the last checkpoint is not computed twice, nor are statistics of a batch.
    let copies = again(&step);
    assert!(copies.contains(&"conv1") && copies.contains(&"blocks.1.conv2"), "{copies:?}");
    assert!(!copies.iter().any(|name| name.starts_with("blocks.2") || *name == "fc"), "{copies:?}");
    assert!(!copies.iter().any(|name| name.contains("ReduceMean")), "{copies:?}");
    // Every copy waits for the gradient: going back from it one meets the zero.
    for name in kept {
        let read = readers(graph, name);
        let late: Vec<_> = read.iter().filter(|node| node.starts_with("backward/Add")).collect();
        assert_eq!(late.len(), usize::from(name == "blocks.0"), "{name}: {read:?}");
    }
}

#[test]
fn checkpoints_are_chosen_at_the_outputs_of_blocks() {
    let model = network(Norm::Layer, 16);
    let mut chosen = training(&model, 2, SGD);
    chosen.checkpoint = Checkpoint::Auto;
    let step = training_step(&model, "loss", &chosen).unwrap();
    // Where a segment begins, its first value is added to a zero of its own.
    let graph = &step.model.graph;
    let name = |id: &Option<nearkin_onnx::ValueId>| graph.value(id.unwrap()).name.as_str();
    let is_late = |node: &&nearkin_onnx::Node| {
        node.op == "Add" && node.inputs.get(1).is_some_and(|id| name(id).contains("/Where"))
    };
    let bounds: Vec<&str> =
        graph.nodes().iter().filter(is_late).map(|node| name(&node.inputs[0])).collect();
    // Seven values in each of 16 blocks: √112 of them, give or take the ends. A block ends with an
    // addition and its activation.
    assert!((6..=12).contains(&bounds.len()), "{bounds:?}");
    assert!(bounds.contains(&"input"), "{bounds:?}");
    let is_block = |name: &&str| {
        let inner = name.strip_prefix("blocks.").unwrap_or("input");
        ["input", "add"]
            .contains(&inner.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'))
            || !inner.contains('.')
    };
    assert!(bounds.iter().all(is_block), "{bounds:?}");
    let copied = again(&step);
    assert!(copied.len() > 60, "{}", copied.len());
    assert!(!copied.iter().any(|name| name.starts_with("blocks.15")), "{copied:?}");
}

#[test]
fn what_is_frozen_is_not_computed_again() {
    let model = network(Norm::Layer, 4);
    let mut late = training(&model, 2, SGD);
    late.trainable.retain(|p| p.name.starts_with("blocks.3") || p.name.starts_with("fc"));
    late.checkpoint = at(&["blocks.0", "blocks.2", "blocks.3"]);
    let step = training_step(&model, "loss", &late).unwrap();
    let copied = again(&step);
    assert!(!copied.is_empty() && copied.iter().all(|name| name.starts_with("blocks.3")));
}

#[test]
fn checkpoints_that_no_node_makes_are_refused() {
    let model = network(Norm::Layer, 1);
    let refused = |names: &[&str]| {
        let mut training = training(&model, 2, SGD);
        training.checkpoint = at(names);
        training_step(&model, "loss", &training).unwrap_err().to_string()
    };
    assert!(refused(&["blocks.7"]).contains("\"blocks.7\""));
    let input = refused(&["blocks.0", "input"]);
    assert!(
        input
            .contains("checkpoint: expected a value that a node of the network makes, found input"),
        "{input}"
    );
}
