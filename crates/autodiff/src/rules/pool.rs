//! Pooling: each window's gradient goes back to what it was made of.

use super::{Call, Grads};
use crate::emit::{Emit, attr, attr_sizes};
use crate::error::Problem;

/// ∂x = g/(H·W), spread.
pub(super) fn global_average(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let pixels: usize = dims[2..].iter().product();
    let g = e.scale(call.grad()?, (pixels.max(1) as f32).recip())?;
    let grad = e.expand(g, &dims)?;
    call.first(grad)
}

/// ∂x = zeros with g added at each window's largest element, which the `Indices` output names.
pub(super) fn max(e: &mut Emit, call: &Call) -> Grads {
    let (g, indices) = (call.grad()?, call.output(1)?);
    if call.node.int("storage_order") == Some(1) {
        return Err(Problem::NoRuleFor("column-major indices".to_owned()));
    }
    let dims = e.dims(call.input(0)?)?;
    let count: usize = dims.iter().product();
    let windows: usize = e.dims(g)?.iter().product();
    let zeros = e.zeros(&[count])?;
    let g = e.reshape(g, &[windows])?;
    let indices = e.reshape(indices, &[windows])?;
    let attributes = vec![attr("axis", 0i64), attr("reduction", "add")];
    let grad = e.op("ScatterElements", &[zeros, indices, g], attributes)?;
    let grad = e.reshape(grad, &dims)?;
    call.first(grad)
}

/// ∂x = a transposed convolution of g with windows of 1/count.
pub(super) fn average(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    let (dims, out) = (e.dims(call.input(0)?)?, e.dims(g)?);
    let rank = dims.len() - 2;
    if call.node.string("auto_pad").is_some_and(|pad| pad != "NOTSET" && pad != "VALID") {
        return Err(Problem::NoRuleFor("auto_pad".to_owned()));
    }
    let kernel = call.sizes("kernel_shape", rank, 1);
    let stride = call.sizes("strides", rank, 1);
    let dilation = call.sizes("dilations", rank, 1);
    let pads = call.sizes("pads", 2 * rank, 0);
    let counts = window_counts(
        &dims[2..],
        &out[2..],
        &Windows { kernel: &kernel, stride: &stride, dilation: &dilation, pads: &pads },
        call.node.int("count_include_pad") == Some(1),
    );
    let shape = [&[1, 1], &out[2..]].concat();
    let inverse: Vec<f32> = counts.iter().map(|count| (count.max(1.0)).recip()).collect();
    let inverse = if inverse.windows(2).all(|w| (w[0] - w[1]).abs() < f32::EPSILON) {
        e.scalar(inverse.first().copied().unwrap_or(1.0))?
    } else {
        e.tensor(&shape, &inverse)?
    };
    let g = e.mul(g, inverse)?;
    // All channels as images of one channel: one small kernel serves them all.
    let planes: usize = dims[..2].iter().product();
    let g = e.reshape(g, &[&[planes, 1], &out[2..]].concat())?;
    let ones = e.tensor(&[&[1, 1], &kernel[..]].concat(), &vec![1.0; kernel.iter().product()])?;
    // The transposed image with its padding, cut or filled to the size of x.
    let attributes = vec![
        attr_sizes("kernel_shape", &kernel),
        attr_sizes("strides", &stride),
        attr_sizes("dilations", &dilation),
        attr_sizes("pads", &vec![0; 2 * rank]),
    ];
    let spread = e.op("ConvTranspose", &[g, ones], attributes)?;
    let grad = super::conv::fit(e, spread, &dims[2..], &pads[..rank])?;
    let grad = e.reshape(grad, &dims)?;
    call.first(grad)
}

struct Windows<'a> {
    kernel: &'a [usize],
    stride: &'a [usize],
    dilation: &'a [usize],
    pads: &'a [usize],
}

/// How many elements each window's mean is of, row-major over the output.
fn window_counts(image: &[usize], out: &[usize], w: &Windows<'_>, count_pad: bool) -> Vec<f32> {
    let rank = image.len();
    let per_axis: Vec<Vec<usize>> = (0..rank)
        .map(|i| {
            let (before, after) = (w.pads[i], w.pads[rank + i]);
            (0..out[i])
                .map(|place| {
                    let counts = |tap: &usize| {
                        let at = place * w.stride[i] + tap * w.dilation[i];
                        let inside = at >= before && at < before + image[i];
                        inside || (count_pad && at < before + image[i] + after)
                    };
                    (0..w.kernel[i]).filter(counts).count()
                })
                .collect()
        })
        .collect();
    let total: usize = out.iter().product();
    (0..total)
        .map(|mut flat| {
            let mut count = 1;
            for i in (0..rank).rev() {
                count *= per_axis[i][flat % out[i]];
                flat /= out[i];
            }
            count as f32
        })
        .collect()
}
