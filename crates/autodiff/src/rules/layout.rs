//! Operators that move elements: the gradient moves back.

use super::resample::{Map, padded_from, transposed};
use super::{Call, Grads, axis};
use crate::emit::Emit;
use crate::error::Problem;

/// ∂x = g.
pub(super) fn identity(_: &mut Emit, call: &Call) -> Grads {
    call.first(call.grad()?)
}

/// ∂x = g. Only f32 has gradients: a cast to another type and back stops them.
pub(super) fn cast(_: &mut Emit, call: &Call) -> Grads {
    call.first(call.grad()?)
}

/// ∂x = g in the shape of x.
pub(super) fn reshape(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let grad = e.reshape(call.grad()?, &dims)?;
    call.first(grad)
}

/// ∂x = g with the axes put back.
pub(super) fn transpose(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    let rank = e.dims(g)?.len();
    let order: Vec<usize> = match call.node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| p as usize).collect(),
        None => (0..rank).rev().collect(),
    };
    let mut back = vec![0; rank];
    order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    let grad = e.transpose(g, &back)?;
    call.first(grad)
}

/// ∂x = g summed over the axes that were widened.
pub(super) fn expand(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let grad = e.sum_to(call.grad()?, &dims)?;
    call.first(grad)
}

/// ∂x = the sum of g's copies.
pub(super) fn tile(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let g = call.grad()?;
    let tiled = e.dims(g)?;
    let split: Vec<usize> =
        dims.iter().zip(&tiled).flat_map(|(&n, &t)| [t / n.max(1), n]).collect();
    let apart = e.reshape(g, &split)?;
    let copies: Vec<usize> = (0..dims.len()).map(|i| 2 * i).collect();
    let grad = e.sum(apart, &copies, false)?;
    call.first(grad)
}

/// ∂xᵢ = the part of g that came from xᵢ.
pub(super) fn concat(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    let along = axis(call.node.int("axis").unwrap_or(0), e.dims(g)?.len());
    let mut grads = call.none();
    let mut start = 0;
    for (index, slot) in grads.iter_mut().enumerate() {
        let end = start + e.dims(call.input(index)?)?[along];
        if call.needs(index) {
            *slot = Some(e.slice(g, along, start, end)?);
        }
        start = end;
    }
    Ok(grads)
}

/// ∂x = the gradients of all parts, joined; zeros where the loss does not depend on a part.
pub(super) fn split(e: &mut Emit, call: &Call) -> Grads {
    let rank = e.dims(call.input(0)?)?.len();
    let along = axis(call.node.int("axis").unwrap_or(0), rank);
    let mut parts = Vec::new();
    for (index, grad) in call.grads.iter().enumerate() {
        parts.push(match grad {
            Some(grad) => *grad,
            None => {
                let dims = e.dims(call.output(index)?)?;
                e.zeros(&dims)?
            }
        });
    }
    let grad = e.concat(&parts, along)?;
    call.first(grad)
}

/// ∂x = g where x was taken, 0 elsewhere. Steps above 1 are undone by zeros between.
pub(super) fn slice(e: &mut Emit, call: &Call) -> Grads {
    let mut g = call.grad()?;
    let dims = e.dims(call.input(0)?)?;
    let absent = || Problem::NoRuleFor("bounds that are not constant".to_owned());
    let starts = call.ints(e, 1, "starts").ok_or_else(absent)?;
    let axes = match call.node.inputs.get(3).copied().flatten() {
        Some(_) => call.ints(e, 3, "axes").ok_or_else(absent)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match call.node.inputs.get(4).copied().flatten() {
        Some(_) => call.ints(e, 4, "steps").ok_or_else(absent)?,
        None => vec![1; starts.len()],
    };
    let (mut before, mut after) = (vec![0; dims.len()], vec![0; dims.len()]);
    for ((&start, &at), &step) in starts.iter().zip(&axes).zip(&steps) {
        let step = usize::try_from(step)
            .ok()
            .filter(|&step| step > 0)
            .ok_or_else(|| Problem::NoRuleFor(format!("a step of {step}")))?;
        let along = axis(at, dims.len());
        let size = dims[along] as i64;
        let start =
            (if start < 0 { start.saturating_add(size) } else { start }).clamp(0, size) as usize;
        g = spread(e, g, along, step)?;
        let taken = e.dims(g)?[along];
        before[along] = start;
        after[along] = dims[along] - start - taken;
    }
    let grad = e.pad(g, &before, &after)?;
    call.first(grad)
}

/// Puts `step` − 1 zeros between the positions of an axis.
pub(super) fn spread(
    e: &mut Emit,
    x: nearkin_onnx::ValueId,
    along: usize,
    step: usize,
) -> Result<nearkin_onnx::ValueId, Problem> {
    let dims = e.dims(x)?;
    if step == 1 || dims[along] <= 1 {
        return Ok(x);
    }
    let mut apart = dims.clone();
    apart.insert(along + 1, 1);
    let x = e.reshape(x, &apart)?;
    let (before, mut after) = (vec![0; apart.len()], vec![0; apart.len()]);
    after[along + 1] = step - 1;
    let x = e.pad(x, &before, &after)?;
    let mut joined = dims.clone();
    joined[along] = dims[along] * step;
    let x = e.reshape(x, &joined)?;
    e.slice(x, along, 0, (dims[along] - 1) * step + 1)
}

/// ∂x = g without what was padded; where padding repeated pixels, they take its gradient too.
pub(super) fn pad(e: &mut Emit, call: &Call) -> Grads {
    let mode = call.node.string("mode").unwrap_or("constant");
    let dims = e.dims(call.input(0)?)?;
    let absent = || Problem::NoRuleFor("pads that are not constant".to_owned());
    let pads = call.ints(e, 1, "pads").ok_or_else(absent)?;
    let axes = match call.node.inputs.get(3).copied().flatten() {
        Some(_) => call.ints(e, 3, "axes").ok_or_else(absent)?,
        None => (0..dims.len() as i64).collect(),
    };
    if mode == "constant" && pads.iter().all(|&n| n >= 0) {
        let ranges: Vec<_> = (axes.iter().zip(&pads))
            .map(|(&at, &before)| {
                let (along, before) = (axis(at, dims.len()), before as usize);
                (along, before, before + dims[along], 1)
            })
            .collect();
        let grad = e.slice_steps(call.grad()?, &ranges)?;
        return call.first(grad);
    }
    let mut maps = Vec::new();
    for (i, &at) in axes.iter().enumerate() {
        let along = axis(at, dims.len());
        let (before, after) = (pads[i], pads[i + axes.len()]);
        let size = dims[along] as i64;
        if (before, after) == (0, 0) {
            continue;
        }
        let row = |at: i64| {
            let from = padded_from(mode, at, size).and_then(|from| usize::try_from(from).ok());
            from.map(|from| (from, 1.0)).into_iter().collect()
        };
        let rows = (-before..size + after).map(row).collect();
        maps.push(Map { axis: along, inputs: dims[along], rows });
    }
    let grad = transposed(e, call.grad()?, &maps)?;
    call.first(grad)
}
