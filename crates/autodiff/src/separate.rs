//! Gives every copy of a constant a constant of its own.

use std::collections::BTreeMap;

use nearkin_onnx::{Model, Tensor, ValueId};

/// The same model, in which the output of an `Identity` of a constant is a constant, if the constant is
/// read elsewhere too.
///
/// PyTorch's exporter stores equal tensors once and lets an `Identity` with the parameter's name stand
/// for each further one: in a network that was never trained, all scales of batch normalisation are
/// copies of the first. They are parameters of their own all the same, and trained as one they would
/// stay equal. What two layers share in PyTorch has one name and no `Identity`.
/// [`select`](crate::select()), [`training_step`](crate::training_step) and
/// [`gradients`](crate::gradients) do this first, so that a copy can be named like any other parameter.
#[must_use]
pub fn separate(model: &Model) -> Model {
    let mut model = model.clone();
    let graph = &model.graph;
    let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
    for input in graph.nodes().iter().flat_map(|node| node.inputs.iter().flatten()) {
        *readers.entry(*input).or_default() += 1;
    }
    let mut copies: Vec<(ValueId, Tensor)> = Vec::new();
    let mut known: BTreeMap<ValueId, usize> = BTreeMap::new();
    for node in graph.nodes().iter().filter(|node| node.op == "Identity" && node.is_standard()) {
        let ([Some(input)], [Some(output)]) = (&node.inputs[..], &node.outputs[..]) else {
            continue;
        };
        if readers.get(input) == Some(&1) {
            continue;
        }
        let of_copy = || known.get(input).map(|&place| &copies[place].1);
        if let Some(tensor) = graph.initialiser(*input).or_else(of_copy).cloned() {
            known.insert(*output, copies.len());
            copies.push((*output, tensor));
        }
    }
    if !copies.is_empty() {
        model.graph.replace_by_constants(copies);
    }
    model
}
