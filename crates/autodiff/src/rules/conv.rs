//! Convolutions.
//!
//! ∂x is the transposed convolution of g with w. ∂w is, for each kernel position, the product of g
//! with the pixels under that position, summed over images and positions of the output. ∂b is g
//! summed. How the first two are computed is the lowering's choice.

use nearkin_onnx::ValueId;

use super::{Call, Grads};
use crate::emit::Emit;
use crate::error::Problem;
use crate::windows::Windows;

pub(super) fn conv(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, w) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (x_dims, w_dims) = (e.dims(x)?, e.dims(w)?);
    let windows = Windows::of(&call.node, &w_dims[2..], &x_dims[2..]);
    let mut grads = call.none();
    if call.needs(0) {
        grads[0] = Some(e.conv_input_grad(g, w, &x_dims, &windows)?);
    }
    if call.needs(1) {
        grads[1] = Some(e.conv_weight_grad(g, x, &w_dims, &windows)?);
    }
    if call.needs(2) {
        grads[2] = Some(e.channel_sum(g)?);
    }
    Ok(grads)
}

/// Drops `before` positions of each spatial axis and cuts or fills what follows to `image`.
pub(crate) fn fit(
    e: &mut Emit,
    x: ValueId,
    image: &[usize],
    before: &[usize],
) -> Result<ValueId, Problem> {
    let dims = e.dims(x)?;
    let mut ranges = Vec::new();
    let mut missing = vec![0; dims.len()];
    for (i, (&size, &before)) in image.iter().zip(before).enumerate() {
        let end = (before + size).min(dims[2 + i]);
        ranges.push((2 + i, before.min(end), end, 1));
        missing[2 + i] = size - end.saturating_sub(before);
    }
    let x = e.slice_steps(x, &ranges)?;
    e.pad(x, &vec![0; dims.len()], &missing)
}

/// y = the transposed convolution of x with w: ∂x is the convolution of g with w, ∂w that of the
/// mirrored roles.
pub(super) fn conv_transpose(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, w) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (x_dims, w_dims, out) = (e.dims(x)?, e.dims(w)?, e.dims(g)?);
    if call.node.ints("output_shape").is_some()
        || call.node.string("auto_pad").is_some_and(|pad| pad != "NOTSET")
    {
        return Err(Problem::NoRuleFor("output_shape or auto_pad".to_owned()));
    }
    let windows = Windows::of(&call.node, &w_dims[2..], &out[2..]);
    let mut grads = call.none();
    if call.needs(0) {
        let grad = e.op("Conv", &[g, w], windows.attributes())?;
        // Output padding lets one more window fit: it has no pixel of x.
        let ranges: Vec<_> = (2..x_dims.len()).map(|i| (i, 0, x_dims[i], 1)).collect();
        grads[0] = Some(e.slice_steps(grad, &ranges)?);
    }
    if call.needs(1) {
        grads[1] = Some(e.conv_weight_grad(x, g, &w_dims, &windows)?);
    }
    if call.needs(2) {
        grads[2] = Some(e.channel_sum(g)?);
    }
    Ok(grads)
}
