//! Multiply–accumulates of a graph, from its shapes alone.

use crate::graph::{Graph, Node};
use crate::shape::Dim;

/// A product whose cost cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{node}: the shape of {value:?} is not known, so its cost is not")]
pub struct CostError {
    /// The node.
    pub node: String,
    /// The value of unknown shape.
    pub value: String,
}

/// Multiply–accumulates for one item of the batch.
///
/// Counts every convolution, linear layer and matrix product, attention included, as half of the
/// FLOPs of PyTorch's `FlopCounterMode`; element-wise work, pooling and normalisation count
/// nothing. A symbolic dimension `4·N` counts as 4.
///
/// # Errors
/// [`CostError`] where a product's shape is unknown.
pub fn macs_per_item(graph: &Graph) -> Result<u64, CostError> {
    graph.nodes().iter().map(|node| node_macs(graph, node)).sum()
}

fn node_macs(graph: &Graph, node: &Node) -> Result<u64, CostError> {
    if !node.is_standard() {
        return Ok(0);
    }
    let size = |value: Option<&Option<crate::ValueId>>| -> Result<Vec<u64>, CostError> {
        let id = value.copied().flatten();
        let shape = id.and_then(|id| graph.shape(id));
        shape
            .and_then(|shape| shape.0.iter().map(Dim::per_item).collect::<Option<Vec<_>>>())
            .map(|dims| dims.into_iter().map(|dim| dim as u64).collect())
            .ok_or_else(|| CostError {
                node: node.describe(),
                value: id.map(|id| graph.value(id).name.clone()).unwrap_or_default(),
            })
    };
    let output = || size(node.outputs.first());
    Ok(match node.op.as_str() {
        // Each output element sums over one kernel: C/group · h · w.
        "Conv" => {
            let weights = size(node.inputs.get(1))?;
            output()?.iter().product::<u64>() * weights[1..].iter().product::<u64>()
        }
        "ConvTranspose" => {
            let weights = size(node.inputs.get(1))?;
            size(node.inputs.first())?.iter().product::<u64>()
                * weights[1..].iter().product::<u64>()
        }
        "MatMul" => {
            let left = size(node.inputs.first())?;
            output()?.iter().product::<u64>() * left.last().copied().unwrap_or(1)
        }
        "Gemm" => {
            let left = size(node.inputs.first())?;
            let inner = if node.int("transA") == Some(1) { left[0] } else { left[1] };
            output()?.iter().product::<u64>() * inner
        }
        _ => 0,
    })
}
