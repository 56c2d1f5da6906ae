//! GELU as exporters and the zoo write it, x/2·(1 + erf(x/√2)), found again.
//!
//! Five operators become one, whose gradient is written as a whole: fewer passes over memory, and
//! less that is kept from forward to backward.

use std::collections::BTreeMap;
use std::f32::consts::SQRT_2;

use nearkin_onnx::{AttributeValue, Graph, Node, ValueId};

/// For each value that is a GELU, its x.
pub(crate) fn gelus(graph: &Graph) -> BTreeMap<ValueId, ValueId> {
    let erfs = graph.nodes().iter().filter(|node| node.is_standard() && node.op == "Erf");
    erfs.filter_map(|node| of_erf(graph, node)).collect()
}

fn of_erf(graph: &Graph, erf: &Node) -> Option<(ValueId, ValueId)> {
    let scaled = producer(graph, erf.inputs.first().copied().flatten()?)?;
    let x = match scaled.op.as_str() {
        "Div" => times(graph, scaled, SQRT_2).filter(|x| scaled.inputs[0] == Some(*x)),
        "Mul" => times(graph, scaled, SQRT_2.recip()),
        _ => None,
    }?;
    let level = only_reader(graph, output(erf)?, "Add")?;
    times(graph, level, 1.0)?;
    let product = only_reader(graph, output(level)?, "Mul")?;
    let other = product.inputs.iter().flatten().copied().find(|id| Some(*id) != output(level))?;
    if other == x {
        let half = only_reader(graph, output(product)?, "Mul")?;
        times(graph, half, 0.5)?;
        return Some((output(half)?, x));
    }
    let half = producer(graph, other).filter(|node| node.op == "Mul")?;
    (times(graph, half, 0.5)? == x).then_some((output(product)?, x))
}

fn output(node: &Node) -> Option<ValueId> {
    node.outputs.first().copied().flatten()
}

fn producer(graph: &Graph, id: ValueId) -> Option<&Node> {
    graph.producer(id).map(|node| graph.node(node)).filter(|node| node.is_standard())
}

/// The one node that reads `id`, if it is this operator.
fn only_reader<'a>(graph: &'a Graph, id: ValueId, op: &str) -> Option<&'a Node> {
    let mut readers = graph.consumers(id);
    let reader = graph.node(readers.next()?);
    let alone = readers.next().is_none() && !graph.outputs().contains(&id);
    (alone && reader.is_standard() && reader.op == op).then_some(reader)
}

/// The input of an operator of two that is not the constant `number`.
fn times(graph: &Graph, node: &Node, number: f32) -> Option<ValueId> {
    let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
    let is = |id| constant(graph, id).is_some_and(|value| (value / number - 1.0).abs() < 1e-6);
    if is(b) {
        return Some(a);
    }
    is(a).then_some(b)
}

fn constant(graph: &Graph, id: ValueId) -> Option<f32> {
    let one = |values: Vec<f32>| <[f32; 1]>::try_from(values).ok().map(|[value]| value);
    if let Some(tensor) = graph.initialiser(id) {
        return tensor.to_f32().and_then(one);
    }
    match producer(graph, id)?.attribute("value")? {
        AttributeValue::Tensor(tensor) => tensor.to_f32().and_then(one),
        _ => None,
    }
}
