//! The order in which ONNX Runtime runs a step, and what it holds on the way.
//!
//! Without a priority it goes depth first from the nodes that nothing reads, the last of the file
//! first, and from a node to the last of its inputs first.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_autodiff::{Checkpoint, TrainingStep, training_step};
use nearkin_onnx::{Graph, NodeId, ValueId};

use super::{Norm, SGD, network, training};

fn order(graph: &Graph) -> Vec<NodeId> {
    let reads = |id: NodeId| graph.node(id).inputs.iter().flatten();
    let read: BTreeSet<ValueId> = graph.node_ids().flat_map(reads).copied().collect();
    let is_leaf =
        |id: &NodeId| graph.node(*id).outputs.iter().flatten().all(|output| !read.contains(output));
    let mut stack: Vec<(NodeId, bool)> =
        graph.node_ids().filter(is_leaf).map(|id| (id, false)).collect();
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    while let Some((id, is_done)) = stack.pop() {
        if is_done {
            order.push(id);
        } else if seen.insert(id) {
            stack.push((id, true));
            let before: BTreeSet<NodeId> =
                reads(id).filter_map(|&input| graph.producer(input)).collect();
            stack.extend(before.into_iter().filter(|id| !seen.contains(id)).map(|id| (id, false)));
        }
    }
    assert_eq!(order.len(), graph.nodes().len());
    order
}

/// The most numbers that are held at once, what is fed not counted.
fn peak(graph: &Graph) -> usize {
    let size = |id: ValueId| graph.shape(id).unwrap().to_known().unwrap().iter().product::<usize>();
    let order = order(graph);
    let mut last = BTreeMap::new();
    for (place, &id) in order.iter().enumerate() {
        let node = graph.node(id);
        let touched = node.inputs.iter().chain(&node.outputs).flatten();
        last.extend(touched.map(|&value| (value, place)));
    }
    last.extend(graph.outputs().iter().map(|&output| (output, usize::MAX)));
    let (mut held, mut most) = (BTreeSet::new(), 0);
    for (place, &id) in order.iter().enumerate() {
        held.extend(graph.node(id).outputs.iter().flatten().copied());
        most = most.max(held.iter().map(|&id| size(id)).sum());
        held.retain(|id| last[id] > place);
    }
    most
}

fn step(clip: Option<f32>, checkpoint: Checkpoint) -> TrainingStep {
    let model = network(Norm::Batch, 12);
    let mut training = training(&model, 16, SGD);
    training.clip_norm = clip;
    training.checkpoint = checkpoint;
    training_step(&model, "loss", &training).unwrap()
}

#[test]
fn gradients_are_made_from_the_last_parameter_to_the_first() {
    for clip in [None, Some(1.0)] {
        let step = step(clip, Checkpoint::Off);
        let graph = &step.model.graph;
        let squares = order(graph).into_iter().map(|id| graph.node(id));
        let squares = squares.filter(|node| node.op == "ReduceSumSquare");
        let sizes: Vec<Vec<usize>> = squares
            .map(|node| graph.shape(node.inputs[0].unwrap()).unwrap().to_known().unwrap())
            .collect();
        // The classifier's and the stem's have shapes of their own.
        let place = |dims: &[usize]| sizes.iter().position(|found| found == dims).unwrap();
        assert!(place(&[3, 3]) < 2, "{sizes:?}");
        assert!(place(&[3, 2, 3, 3]) > sizes.len() - 4, "{sizes:?}");
    }
}

#[test]
fn checkpoints_halve_what_is_held() {
    for clip in [None, Some(1.0)] {
        let [all, some] = [Checkpoint::Off, Checkpoint::Auto]
            .map(|checkpoint| peak(&step(clip, checkpoint).model.graph));
        assert!(some * 2 < all, "{some} of {all}");
    }
}
