//! Convolutions, pooling and padding: operators on windows of an image.

use super::{Call, InferError, Types, show};
use crate::shape::{Dim, TensorType};
use crate::tensor::ElementType;

pub(super) fn infer(call: &Call<'_>) -> Option<Types> {
    Some(match call.op() {
        "Conv" => conv(call),
        "ConvTranspose" => conv_transpose(call),
        "MaxPool" | "AveragePool" | "LpPool" => pool(call),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => global_pool(call),
        "Pad" => pad(call),
        "Resize" => resize(call),
        "DepthToSpace" | "SpaceToDepth" => depth_to_space(call),
        _ => return None,
    })
}

/// What the attributes of a convolution or pooling say of one spatial axis.
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

fn windows(call: &Call<'_>, kernel: &[usize]) -> Result<Vec<Window>, InferError> {
    let list = |name: &str, count: usize, default: i64| -> Result<Vec<usize>, InferError> {
        let values = match call.node.ints(name) {
            Some(values) => values.to_vec(),
            None => vec![default; count],
        };
        if values.len() != count {
            return Err(call.mismatch(format!("{count} {name}"), format!("{values:?}")));
        }
        values
            .iter()
            .map(|&v| {
                usize::try_from(v).map_err(|_| call.mismatch(format!("{name} ≥ 0"), v.to_string()))
            })
            .collect()
    };
    let rank = kernel.len();
    let strides = list("strides", rank, 1)?;
    let dilations = list("dilations", rank, 1)?;
    let pads = list("pads", 2 * rank, 0)?;
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(
            call.mismatch("strides and dilations ≥ 1", format!("{strides:?} {dilations:?}"))
        );
    }
    Ok((0..rank)
        .map(|i| Window {
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            before: pads[i],
            after: pads[rank + i],
        })
        .collect())
}

/// Length of the output along one axis.
fn slide(call: &Call<'_>, size: &Dim, window: &Window, ceil: bool) -> Result<Dim, InferError> {
    let Dim::Known(size) = *size else { return Ok(Dim::Unknown) };
    let same = call.node.string("auto_pad").filter(|&mode| mode != "NOTSET" && mode != "VALID");
    if same.is_some() {
        return Ok(Dim::Known(size.div_ceil(window.stride)));
    }
    let extent = window.dilation * window.kernel.saturating_sub(1) + 1;
    let padded = size + window.before + window.after;
    if extent > padded || window.kernel == 0 {
        return Err(call.mismatch(
            format!("at least {extent} pixels for its kernel"),
            format!("{size} with padding {}+{}", window.before, window.after),
        ));
    }
    let span = padded - extent;
    let mut steps = if ceil { span.div_ceil(window.stride) } else { span / window.stride };
    // A window that begins in the padding behind the image does not count.
    if ceil && steps * window.stride >= size + window.before {
        steps -= 1;
    }
    Ok(Dim::Known(steps + 1))
}

/// `x [N, C, …]`, weights `[M, C/group, …]`.
fn conv(call: &Call<'_>) -> Types {
    let (x, w) = (call.shape(0)?, call.shape(1)?);
    if x.len() < 3 || w.len() != x.len() {
        let found = format!("{} with weights {}", show(x), show(w));
        return Err(call.mismatch("[N, C, H, W]", found));
    }
    let group = usize::try_from(call.node.int("group").unwrap_or(1)).unwrap_or(0);
    let kernel: Option<Vec<usize>> = w[2..].iter().map(Dim::known).collect();
    let (Some(kernel), Some(outputs), Some(inputs)) = (kernel, w[0].known(), w[1].known()) else {
        return Err(InferError::UnknownInput { op: call.node.op.clone(), index: 1 });
    };
    if let Dim::Known(channels) = x[1]
        && (group == 0 || inputs * group != channels || outputs % group != 0)
    {
        return Err(call.mismatch(
            format!("{} channels in {group} groups for weights {}", inputs * group, show(w)),
            format!("{channels}"),
        ));
    }
    if call.has(2) && call.shape(2)? != [Dim::Known(outputs)] {
        return Err(call.mismatch(format!("a bias [{outputs}]"), show(call.shape(2)?)));
    }
    let mut dims = vec![x[0].clone(), Dim::Known(outputs)];
    for (size, window) in x[2..].iter().zip(windows(call, &kernel)?) {
        dims.push(slide(call, size, &window, false)?);
    }
    call.one(call.element(0)?, dims)
}

/// `x [N, C, …]`, weights `[C, M/group, …]`.
fn conv_transpose(call: &Call<'_>) -> Types {
    let (x, w) = (call.shape(0)?, call.shape(1)?);
    let kernel: Option<Vec<usize>> = w.iter().skip(2).map(Dim::known).collect();
    let group = usize::try_from(call.node.int("group").unwrap_or(1)).unwrap_or(0);
    let (Some(kernel), Some(outputs)) = (kernel, w.get(1).and_then(Dim::known)) else {
        return Err(InferError::UnknownInput { op: call.node.op.clone(), index: 1 });
    };
    if x.len() < 3 || w.len() != x.len() || x[1] != w[0] {
        let found = format!("{} with weights {}", show(x), show(w));
        return Err(call.mismatch("[N, C, H, W] and weights [C, M, h, w]", found));
    }
    let extra = call.node.ints("output_padding").unwrap_or(&[]);
    let fixed = call.node.ints("output_shape");
    let mut dims = vec![x[0].clone(), Dim::Known(outputs * group)];
    for (i, (size, window)) in x[2..].iter().zip(windows(call, &kernel)?).enumerate() {
        let extra = extra.get(i).and_then(|&v| usize::try_from(v).ok()).unwrap_or(0);
        let extent = window.dilation * (window.kernel.max(1) - 1) + 1;
        dims.push(match (fixed.and_then(|f| f.get(i)), size) {
            (Some(&size), _) => usize::try_from(size).map_or(Dim::Unknown, Dim::Known),
            (None, Dim::Known(size)) => {
                let full = window.stride * size.saturating_sub(1) + extra + extent;
                Dim::Known(full.saturating_sub(window.before + window.after))
            }
            _ => Dim::Unknown,
        });
    }
    call.one(call.element(0)?, dims)
}

fn pool(call: &Call<'_>) -> Types {
    let x = call.shape(0)?;
    let kernel = call.node.ints("kernel_shape").unwrap_or(&[]);
    if x.len() < 3 || kernel.len() != x.len() - 2 {
        return Err(call.mismatch(format!("an image for kernel {kernel:?}"), show(x)));
    }
    let kernel: Vec<usize> = kernel.iter().map(|&k| usize::try_from(k).unwrap_or(0)).collect();
    let ceil = call.node.int("ceil_mode") == Some(1);
    let mut dims = x[..2].to_vec();
    for (size, window) in x[2..].iter().zip(windows(call, &kernel)?) {
        dims.push(slide(call, size, &window, ceil)?);
    }
    let mut types = call.one(call.element(0)?, dims)?;
    let indices = TensorType { element: ElementType::Int64, ..types[0].clone() };
    types.push(indices);
    Ok(types)
}

fn global_pool(call: &Call<'_>) -> Types {
    let x = call.shape(0)?;
    if x.len() < 3 {
        return Err(call.mismatch("[N, C, H, W]", show(x)));
    }
    let mut dims = x.to_vec();
    dims[2..].fill(Dim::Known(1));
    call.one(call.element(0)?, dims)
}

fn pad(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let pads = call.ints_at(1, "pads")?.unwrap_or_default();
    let axes = match call.ints_at(3, "axes")? {
        Some(axes) => {
            axes.iter().map(|&a| call.axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..dims.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(call.mismatch(format!("{} pads", 2 * axes.len()), format!("{pads:?}")));
    }
    for (i, &axis) in axes.iter().enumerate() {
        let total = pads[i] + pads[axes.len() + i];
        if total != 0 {
            dims[axis] = match dims[axis] {
                Dim::Known(size) => Dim::Known(size.saturating_add_signed(total as isize)),
                _ => Dim::Unknown,
            };
        }
    }
    call.one(call.element(0)?, dims)
}

fn resize(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    if let Some(sizes) = call.constant_ints(3).filter(|s| s.len() == dims.len()) {
        for (dim, size) in dims.iter_mut().zip(sizes) {
            *dim = usize::try_from(size).map_or(Dim::Unknown, Dim::Known);
        }
    } else if let Some(scales) = call.constant(2).and_then(crate::Tensor::to_f32) {
        for (dim, scale) in dims.iter_mut().zip(scales) {
            *dim = match &*dim {
                Dim::Known(size) => Dim::Known((*size as f32 * scale).floor() as usize),
                other if scale.to_bits() == 1f32.to_bits() => other.clone(),
                _ => Dim::Unknown,
            };
        }
    } else {
        return Err(InferError::UnknownInput { op: call.node.op.clone(), index: 3 });
    }
    call.one(call.element(0)?, dims)
}

/// Blocks of pixels as channels, or channels as blocks of pixels.
fn depth_to_space(call: &Call<'_>) -> Types {
    let x = call.shape(0)?;
    let block = usize::try_from(call.node.int("blocksize").unwrap_or(0)).unwrap_or(0);
    let [n, Dim::Known(c), Dim::Known(h), Dim::Known(w)] = x else {
        return Err(call.mismatch("[N, C, H, W]", show(x)));
    };
    let fits = |size: &usize, block: usize| block > 0 && size.is_multiple_of(block);
    let area = block.saturating_mul(block);
    let dims = if call.op() == "DepthToSpace" {
        fits(c, area).then(|| [c / area, h * block, w * block])
    } else {
        (fits(h, block) && fits(w, block)).then(|| [c * area, h / block, w / block])
    };
    let wrong = || call.mismatch(format!("blocks of {block} × {block}"), show(x));
    let dims = dims.ok_or_else(wrong)?.map(Dim::Known);
    call.one(call.element(0)?, [vec![n.clone()], dims.to_vec()].concat())
}
