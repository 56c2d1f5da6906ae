//! Leaves out what no output depends on.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{Graph, ValueId};

use crate::error::Problem;

/// Operators of which all outputs but the first may be left out.
const OPTIONAL: [&str; 4] = ["BatchNormalization", "Dropout", "LayerNormalization", "MaxPool"];

/// The part of `from` that `outputs` depend on, with all its inputs but those of `optional` that are
/// not read; names stay.
pub(crate) fn prune(
    from: &Graph,
    outputs: &[ValueId],
    optional: &BTreeSet<ValueId>,
) -> Result<Graph, Problem> {
    let mut wanted: BTreeSet<ValueId> = outputs.iter().copied().collect();
    let mut kept = Vec::new();
    let ids: Vec<_> = from.node_ids().collect();
    for id in ids.into_iter().rev() {
        let node = from.node(id);
        if node.outputs.iter().flatten().any(|output| wanted.contains(output)) {
            wanted.extend(node.inputs.iter().flatten());
            kept.push(node);
        }
    }
    let mut graph = Graph::new(&from.name);
    let mut map = BTreeMap::new();
    for &id in from.inputs() {
        if optional.contains(&id) && !wanted.contains(&id) {
            continue;
        }
        let value = from.value(id);
        let ty = value.ty.clone().ok_or_else(|| Problem::NoSuchValue(value.name.clone()))?;
        map.insert(id, graph.add_input(&value.name, ty)?);
    }
    for (id, tensor) in from.initialisers() {
        if wanted.contains(id) {
            map.insert(*id, graph.add_initialiser(&from.value(*id).name, tensor.clone())?);
        }
    }
    for node in kept.into_iter().rev() {
        let mut new = node.clone();
        for input in new.inputs.iter_mut().flatten() {
            let name = || Problem::NoSuchValue(from.value(*input).name.clone());
            *input = *map.get(input).ok_or_else(name)?;
        }
        for (index, output) in new.outputs.iter_mut().enumerate() {
            let Some(id) = *output else { continue };
            if !wanted.contains(&id) && index > 0 && OPTIONAL.contains(&node.op.as_str()) {
                *output = None;
                continue;
            }
            let value = from.value(id);
            let new_id = graph.add_value(&value.name, value.ty.clone())?;
            map.insert(id, new_id);
            *output = Some(new_id);
        }
        while new.outputs.len() > 1 && new.outputs.last() == Some(&None) {
            new.outputs.pop();
        }
        graph.add_node(new)?;
    }
    let place = |id: &ValueId| {
        let name = || Problem::NoSuchValue(from.value(*id).name.clone());
        map.get(id).copied().ok_or_else(name)
    };
    graph.set_outputs(outputs.iter().map(place).collect::<Result<_, _>>()?);
    Ok(graph)
}
