//! Taking by index: the gradient is added where elements were taken from.

use nearkin_onnx::ElementType;

use super::{Call, Grads, axis};
use crate::emit::{Emit, attr};
use crate::error::Problem;

/// ∂x = Hᵀ·g, H the one-hot matrix of the indices along the axis.
pub(super) fn gather(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, chosen) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (dims, index_dims) = (e.dims(x)?, e.dims(chosen)?);
    let along = axis(call.node.int("axis").unwrap_or(0), dims.len());
    let (outer, inner) = (&dims[..along], &dims[along + 1..]);
    let (before, size) = (outer.iter().product::<usize>(), dims[along]);
    let (after, count) = (inner.iter().product::<usize>(), index_dims.iter().product::<usize>());
    let flat = e.reshape(chosen, &[count])?;
    let one_hot = one_hot(e, flat, size)?;
    let turned = e.swap(one_hot)?;
    let g = e.reshape(g, &[before, count, after])?;
    let grad = e.matmul(turned, g)?;
    let grad = e.reshape(grad, &dims)?;
    call.first(grad)
}

/// `[count]` indices as `[count, size]`.
fn one_hot(
    e: &mut Emit,
    indices: nearkin_onnx::ValueId,
    size: usize,
) -> Result<nearkin_onnx::ValueId, Problem> {
    let depth = e.ints(&[size as i64])?;
    let values = e.tensor(&[2], &[0.0, 1.0])?;
    let indices = if e.element(indices) == Some(ElementType::Int64) {
        indices
    } else {
        e.cast(indices, ElementType::Int64)?
    };
    e.op("OneHot", &[indices, depth, values], vec![attr("axis", -1i64)])
}

/// ∂x = zeros with g added at the indices.
pub(super) fn gather_elements(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, chosen) = (call.grad()?, call.input(0)?, call.input(1)?);
    let dims = e.dims(x)?;
    let along = call.node.int("axis").unwrap_or(0);
    let zeros = e.zeros(&dims)?;
    let attributes = vec![attr("axis", along), attr("reduction", "add")];
    let grad = e.op("ScatterElements", &[zeros, chosen, g], attributes)?;
    call.first(grad)
}

/// ∂x = zeros with g added at the places that the indices name.
pub(super) fn gather_nd(e: &mut Emit, call: &Call) -> Grads {
    if call.node.int("batch_dims").unwrap_or(0) != 0 {
        return Err(Problem::NoRuleFor("batch_dims".to_owned()));
    }
    let dims = e.dims(call.input(0)?)?;
    let zeros = e.zeros(&dims)?;
    let inputs = [zeros, call.input(1)?, call.grad()?];
    let grad = e.op("ScatterND", &inputs, vec![attr("reduction", "add")])?;
    call.first(grad)
}

/// ∂x = g, with zeros where x was replaced; ∂u = g at the places that the indices name.
pub(super) fn scatter_nd(e: &mut Emit, call: &Call) -> Grads {
    let replaces = match call.node.string("reduction").unwrap_or("none") {
        "none" => true,
        "add" => false,
        other => return Err(Problem::NoRuleFor(format!("reduction {other}"))),
    };
    let (g, chosen) = (call.grad()?, call.input(1)?);
    let mut grads = call.none();
    if call.needs(0) {
        let dims = e.dims(call.input(2)?)?;
        grads[0] = Some(if replaces {
            let zeros = e.zeros(&dims)?;
            e.op("ScatterND", &[g, chosen, zeros], vec![])?
        } else {
            g
        });
    }
    if call.needs(2) {
        grads[2] = Some(e.op("GatherND", &[g, chosen], vec![])?);
    }
    Ok(grads)
}
