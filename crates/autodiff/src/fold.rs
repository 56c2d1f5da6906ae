//! Arithmetic on shapes: whole numbers that are known once the batch is fixed become constants.
//!
//! Exporters write `Reshape` targets as `Shape → Gather → Concat` chains. With every dimension a
//! number, such a chain has one value.

use std::collections::BTreeMap;

use nearkin_onnx::{AttributeValue, ElementType, Graph, Node, Tensor, ValueId};

/// Longest vector that is taken for a shape.
const LONGEST: usize = 64;

/// Whole numbers known so far: a scalar has no dimension, a vector one.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<ValueId, (Vec<usize>, Vec<i64>)>);

impl Known {
    /// Takes note of a constant, if it is a short one of whole numbers.
    pub(crate) fn note(&mut self, id: ValueId, tensor: &Tensor) {
        if tensor.dims.len() <= 1
            && let Some(values) = tensor.to_i64()
            && values.len() <= LONGEST
        {
            self.0.insert(id, (tensor.dims.clone(), values));
        }
    }

    /// The output of `node`, whose inputs are values of `graph`, if it is known.
    pub(crate) fn value(&self, graph: &Graph, node: &Node) -> Option<Tensor> {
        if !node.is_standard() || node.outputs.len() != 1 {
            return None;
        }
        let (dims, values) = self.run(graph, node)?;
        (values.len() <= LONGEST).then(|| Tensor::from_i64(dims, &values)).flatten()
    }

    fn get(&self, node: &Node, index: usize) -> Option<&(Vec<usize>, Vec<i64>)> {
        self.0.get(&node.inputs.get(index).copied().flatten()?)
    }

    fn run(&self, graph: &Graph, node: &Node) -> Option<(Vec<usize>, Vec<i64>)> {
        let vector = |values: Vec<i64>| Some((vec![values.len()], values));
        match node.op.as_str() {
            "Constant" => match node.attribute("value")? {
                AttributeValue::Tensor(tensor) if tensor.dims.len() <= 1 => {
                    Some((tensor.dims.clone(), tensor.to_i64()?))
                }
                _ => None,
            },
            "Shape" => {
                let dims = graph.shape(node.inputs.first().copied().flatten()?)?.to_known()?;
                let rank = dims.len() as i64;
                let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
                let start = place(node.int("start").unwrap_or(0));
                let end = place(node.int("end").unwrap_or(rank)).max(start);
                vector(dims[start..end].iter().map(|&n| n as i64).collect())
            }
            "Gather" if node.int("axis").unwrap_or(0) == 0 => {
                let ((dims, values), (index_dims, indices)) =
                    (self.get(node, 0)?, self.get(node, 1)?);
                let [size] = dims[..] else { return None };
                let take = |&i: &i64| {
                    let at = if i < 0 { i + size as i64 } else { i };
                    values.get(usize::try_from(at).ok()?).copied()
                };
                Some((index_dims.clone(), indices.iter().map(take).collect::<Option<_>>()?))
            }
            "Concat" => {
                let parts = (0..node.inputs.len()).map(|i| self.get(node, i));
                let parts: Vec<_> = parts.collect::<Option<_>>()?;
                vector(parts.iter().flat_map(|(_, values)| values).copied().collect())
            }
            "Unsqueeze" => {
                let (dims, values) = self.get(node, 0)?;
                dims.is_empty().then(|| (vec![1], values.clone()))
            }
            "Squeeze" => {
                let (dims, values) = self.get(node, 0)?;
                (dims[..] == [1]).then(|| (vec![], values.clone()))
            }
            "Cast" => {
                let code = i32::try_from(node.int("to")?).ok()?;
                (ElementType::from_code(code)? == ElementType::Int64)
                    .then(|| self.get(node, 0).cloned())
                    .flatten()
            }
            "Slice" => {
                let (dims, values) = self.get(node, 0)?;
                let [size] = dims[..] else { return None };
                let one = |index| match self.get(node, index)?.1[..] {
                    [value] => Some(value),
                    _ => None,
                };
                if node.inputs.len() > 4 && one(4)? != 1 {
                    return None;
                }
                let place = |at: i64| {
                    (if at < 0 { at.saturating_add(size as i64) } else { at }).clamp(0, size as i64)
                        as usize
                };
                let (start, end) = (place(one(1)?), place(one(2)?));
                vector(values[start..end.max(start)].to_vec())
            }
            "Add" => self.both(node, i64::checked_add),
            "Sub" => self.both(node, i64::checked_sub),
            "Mul" => self.both(node, i64::checked_mul),
            "Div" => self.both(node, i64::checked_div),
            _ => None,
        }
    }

    fn both(&self, node: &Node, f: fn(i64, i64) -> Option<i64>) -> Option<(Vec<usize>, Vec<i64>)> {
        let ((a_dims, a), (b_dims, b)) = (self.get(node, 0)?, self.get(node, 1)?);
        let dims = if a_dims.len() >= b_dims.len() { a_dims } else { b_dims };
        let count = a.len().max(b.len());
        let at =
            |values: &[i64], i: usize| values.get(if values.len() == 1 { 0 } else { i }).copied();
        let values = (0..count).map(|i| f(at(a, i)?, at(b, i)?)).collect::<Option<Vec<_>>>()?;
        let dims = if dims.is_empty() { vec![] } else { vec![count] };
        Some((dims, values))
    }
}
