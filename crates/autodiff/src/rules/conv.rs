//! Convolutions in standard operators.
//!
//! ∂x is the transposed convolution of g with w. ∂w is, for each kernel position, the product of g
//! with the pixels under that position, summed over images and positions of the output: a matrix
//! product for dense kernels, a product and a sum for depthwise ones. ∂b is g summed.

use nearkin_onnx::ValueId;

use super::{Call, Grads};
use crate::emit::{Emit, attr, attr_sizes};
use crate::error::Problem;

/// Numbers of one convolution.
struct Windows {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    /// Padding before each axis, then after each.
    pads: Vec<usize>,
    groups: usize,
}

impl Windows {
    fn new(call: &Call, kernel: &[usize], image: &[usize]) -> Self {
        let rank = kernel.len();
        let stride = call.sizes("strides", rank, 1);
        let dilation = call.sizes("dilations", rank, 1);
        let mut pads = call.sizes("pads", 2 * rank, 0);
        let auto = call.node.string("auto_pad").unwrap_or("NOTSET");
        if auto.starts_with("SAME") {
            for i in 0..rank {
                let out = image[i].div_ceil(stride[i]);
                let reach = (out - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1;
                let total = reach.saturating_sub(image[i]);
                let before = if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                pads[i] = before;
                pads[rank + i] = total - before;
            }
        }
        let groups = call.node.int("group").unwrap_or(1).max(1) as usize;
        Self { kernel: kernel.to_vec(), stride, dilation, pads, groups }
    }

    fn rank(&self) -> usize {
        self.kernel.len()
    }
}

pub(super) fn conv(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, w) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (x_dims, w_dims) = (e.dims(x)?, e.dims(w)?);
    let windows = Windows::new(call, &w_dims[2..], &x_dims[2..]);
    let mut grads = call.none();
    if call.needs(0) {
        grads[0] = Some(input_grad(e, g, w, &x_dims, &windows)?);
    }
    if call.needs(1) {
        grads[1] = Some(weight_grad(e, g, x, &w_dims, &windows)?);
    }
    if call.needs(2) {
        let axes: Vec<usize> = (0..x_dims.len()).filter(|&i| i != 1).collect();
        grads[2] = Some(e.sum(g, &axes, false)?);
    }
    Ok(grads)
}

/// ∂x: each output spreads the kernel, weighted by its gradient, over the pixels it saw.
fn input_grad(
    e: &mut Emit,
    g: ValueId,
    w: ValueId,
    x_dims: &[usize],
    windows: &Windows,
) -> Result<ValueId, Problem> {
    let rank = windows.rank();
    let out = e.dims(g)?;
    // The transposed convolution ends at the last pixel that any window saw; beyond it is nothing.
    let extra: Vec<usize> = (0..rank)
        .map(|i| {
            let reach = (out[2 + i] - 1) * windows.stride[i]
                + (windows.kernel[i] - 1) * windows.dilation[i]
                + 1;
            (x_dims[2 + i] + windows.pads[i] + windows.pads[rank + i]).saturating_sub(reach)
        })
        .collect();
    let fits = (0..rank).all(|i| extra[i] < windows.stride[i].max(windows.dilation[i]));
    let mut attributes = vec![
        attr_sizes("kernel_shape", &windows.kernel),
        attr_sizes("strides", &windows.stride),
        attr_sizes("dilations", &windows.dilation),
        attr("group", windows.groups as i64),
    ];
    if fits {
        attributes.push(attr_sizes("pads", &windows.pads));
        attributes.push(attr_sizes("output_padding", &extra));
        return e.op("ConvTranspose", &[g, w], attributes);
    }
    attributes.push(attr_sizes("pads", &vec![0; 2 * rank]));
    let spread = e.op("ConvTranspose", &[g, w], attributes)?;
    fit(e, spread, &x_dims[2..], &windows.pads[..rank])
}

/// Drops `before` positions of each spatial axis and cuts or fills what follows to `image`.
pub(super) fn fit(
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

/// ∂w, one kernel position after the other.
fn weight_grad(
    e: &mut Emit,
    g: ValueId,
    x: ValueId,
    w_dims: &[usize],
    windows: &Windows,
) -> Result<ValueId, Problem> {
    let (x_dims, out) = (e.dims(x)?, e.dims(g)?);
    let rank = windows.rank();
    let (batch, channels, outputs) = (x_dims[0], x_dims[1], w_dims[0]);
    let (groups, inner) = (windows.groups, w_dims[1]);
    let pixels: usize = out[2..].iter().product();
    let before = [&[0, 0], &windows.pads[..rank]].concat();
    let after = [&[0, 0], &windows.pads[rank..]].concat();
    let padded = e.pad(x, &before, &after)?;
    let depthwise = inner == 1 && outputs == channels;
    let per_group = outputs / groups;
    let grad_rows = if depthwise { g } else { e.reshape(g, &[batch, groups, per_group, pixels])? };
    let taps: usize = windows.kernel.iter().product();
    let mut parts = Vec::with_capacity(taps);
    for tap in 0..taps {
        let mut rest = tap;
        let mut place = vec![0; rank];
        for i in (0..rank).rev() {
            place[i] = rest % windows.kernel[i];
            rest /= windows.kernel[i];
        }
        let ranges: Vec<_> = (0..rank)
            .map(|i| {
                let start = place[i] * windows.dilation[i];
                (2 + i, start, start + (out[2 + i] - 1) * windows.stride[i] + 1, windows.stride[i])
            })
            .collect();
        let seen = e.slice_steps(padded, &ranges)?;
        parts.push(if depthwise {
            let product = e.mul(grad_rows, seen)?;
            let axes: Vec<usize> = (0..2 + rank).filter(|&i| i != 1).collect();
            let sum = e.sum(product, &axes, false)?;
            e.reshape(sum, &[outputs, 1, 1])?
        } else {
            let seen = e.reshape(seen, &[batch, groups, inner, pixels])?;
            let turned = e.swap(seen)?;
            let product = e.matmul(grad_rows, turned)?;
            let sum = e.sum(product, &[0], false)?;
            e.reshape(sum, &[outputs, inner, 1])?
        });
    }
    let all = e.concat(&parts, 2)?;
    e.reshape(all, w_dims)
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
    let windows = Windows::new(call, &w_dims[2..], &out[2..]);
    let mut grads = call.none();
    if call.needs(0) {
        let attributes = vec![
            attr_sizes("kernel_shape", &windows.kernel),
            attr_sizes("strides", &windows.stride),
            attr_sizes("dilations", &windows.dilation),
            attr_sizes("pads", &windows.pads),
            attr("group", windows.groups as i64),
        ];
        let grad = e.op("Conv", &[g, w], attributes)?;
        // Output padding lets one more window fit: it has no pixel of x.
        let ranges: Vec<_> = (2..x_dims.len()).map(|i| (i, 0, x_dims[i], 1)).collect();
        grads[0] = Some(e.slice_steps(grad, &ranges)?);
    }
    if call.needs(1) {
        grads[1] = Some(weight_grad(e, x, g, &w_dims, &windows)?);
    }
    if call.needs(2) {
        let axes: Vec<usize> = (0..out.len()).filter(|&i| i != 1).collect();
        grads[2] = Some(e.sum(g, &axes, false)?);
    }
    Ok(grads)
}
