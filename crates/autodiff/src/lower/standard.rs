//! The portable lowering: ONNX's own operators, the oracle of every other.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use nearkin_onnx::{Node, ValueId};

use crate::emit::{Emit, attr, attr_sizes};
use crate::error::Problem;
use crate::primitive;
use crate::rules::fit;
use crate::windows::Windows;

/// A slope so steep that `HardSigmoid` is a step: 0 at 0, 1 from the smallest normal number on.
pub(super) const STEP: f32 = 3e38;

/// Whether an operator of ONNX is written in others, so that its gradient can share them.
pub(super) fn expands(node: &Node) -> bool {
    node.is_standard()
        && node.op == "Gelu"
        && node.string("approximate").is_none_or(|a| a == "none")
}

/// The output of a primitive, or of what [`expands`]; `dims` are its dimensions.
pub(super) fn expand(
    e: &mut Emit,
    node: &Node,
    inputs: &[ValueId],
    dims: &[usize],
) -> Result<ValueId, Problem> {
    match (node.op.as_str(), inputs) {
        (primitive::INPUT_GRAD, &[g, w]) => {
            let w_dims = e.dims(w)?;
            let windows = Windows::of(node, &w_dims[2..], &dims[2..]);
            input_grad(e, g, w, dims, &windows)
        }
        (primitive::WEIGHT_GRAD, &[g, x]) => {
            let x_dims = e.dims(x)?;
            let windows = Windows::of(node, &dims[2..], &x_dims[2..]);
            weight_grad(e, g, x, dims, &windows)
        }
        (primitive::CHANNEL_SUM, &[x]) => channel_sum(e, x),
        (primitive::CHANNEL_DOT, &[a, b]) => {
            let product = e.mul(a, b)?;
            channel_sum(e, product)
        }
        (primitive::CHANNEL_AFFINE, &[x, scale, shift]) => {
            // One pass where a product and a sum would be two.
            let channels = e.dims(x)?[1];
            let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
            let (zeros, ones) = (e.tensor(&[channels], &zeros)?, e.tensor(&[channels], &ones)?);
            let inputs = [x, scale, shift, zeros, ones];
            e.op("BatchNormalization", &inputs, vec![attr("epsilon", 0.0f32)])
        }
        ("Gelu", &[x]) => gelu(e, x),
        (primitive::GELU_GRAD, &[g, x]) => gelu_grad(e, g, x),
        (primitive::GATE, &[g, y]) => gate(e, g, y, node.float("max")),
        _ => Err(Problem::NoRule),
    }
}

/// x·Φ(x).
fn gelu(e: &mut Emit, x: ValueId) -> Result<ValueId, Problem> {
    let (_, share) = normal_share(e, x)?;
    e.mul(x, share)
}

/// x/√2 and its error function.
pub(super) fn erf(e: &mut Emit, x: ValueId) -> Result<(ValueId, ValueId), Problem> {
    let t = e.scale(x, SQRT_2.recip())?;
    Ok((t, e.op("Erf", &[t], vec![])?))
}

/// x/√2 and Φ(x) = (1 + erf(x/√2))/2.
fn normal_share(e: &mut Emit, x: ValueId) -> Result<(ValueId, ValueId), Problem> {
    let (t, erf) = erf(e, x)?;
    // One pass for the product and the sum: what it clips at 0 and 1 lies between them.
    let share = e.op("HardSigmoid", &[erf], vec![attr("alpha", 0.5f32), attr("beta", 0.5f32)])?;
    Ok((t, share))
}

/// g·(Φ(x) + x·φ(x)).
fn gelu_grad(e: &mut Emit, g: ValueId, x: ValueId) -> Result<ValueId, Problem> {
    let (t, share) = normal_share(e, x)?;
    let steep = steep(e, t)?;
    let slope = e.add(share, steep)?;
    e.mul(g, slope)
}

/// x·φ(x) = t·exp(ln(1/√π) − t²) for t = x/√2.
pub(super) fn steep(e: &mut Emit, t: ValueId) -> Result<ValueId, Problem> {
    let square = e.mul(t, t)?;
    let height = e.scalar((FRAC_2_SQRT_PI / 2.0).ln())?;
    let exponent = e.sub(height, square)?;
    let bell = e.op("Exp", &[exponent], vec![])?;
    e.mul(t, bell)
}

fn channel_sum(e: &mut Emit, x: ValueId) -> Result<ValueId, Problem> {
    let axes: Vec<usize> = (0..e.dims(x)?.len()).filter(|&i| i != 1).collect();
    e.sum(x, &axes, false)
}

/// The product with a mask of 0 and 1, which is quicker than a comparison and a choice.
fn gate(e: &mut Emit, g: ValueId, y: ValueId, max: Option<f32>) -> Result<ValueId, Problem> {
    let above = step(e, y)?;
    let kept = e.mul(g, above)?;
    let Some(max) = max else { return Ok(kept) };
    let max = e.scalar(max)?;
    let room = e.sub(max, y)?;
    let below = step(e, room)?;
    e.mul(kept, below)
}

/// 1 where x > 0, else 0.
fn step(e: &mut Emit, x: ValueId) -> Result<ValueId, Problem> {
    e.op("HardSigmoid", &[x], vec![attr("alpha", STEP), attr("beta", 0.0f32)])
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
            // The smaller factor on the right: engines copy that one into an order of their own.
            let sum = if per_group >= inner {
                let turned = e.swap(seen)?;
                let product = e.matmul(grad_rows, turned)?;
                e.sum(product, &[0], false)?
            } else {
                let turned = e.swap(grad_rows)?;
                let product = e.matmul(seen, turned)?;
                let sum = e.sum(product, &[0], false)?;
                e.swap(sum)?
            };
            e.reshape(sum, &[outputs, inner, 1])?
        });
    }
    let all = e.concat(&parts, 2)?;
    e.reshape(all, w_dims)
}
