//! ONNX Runtime's operators on images in blocks of channels, `com.microsoft.nchwc`.
//!
//! An image `[N, C, H, W]` lies as `[N, C/b, H, W, b]` under ONNX's dimensions. Each operator here
//! puts its inputs into ONNX's order, does what ONNX's operator does, and puts the result back.
//! `fixtures/nchwc` holds what ONNX Runtime gave, and refused.

use super::{Array, Call, Outputs, window};
use ndarray::IxDyn;
use nearkin_onnx::{AttributeValue, Node};

pub(super) const DOMAIN: &str = "com.microsoft.nchwc";

/// Its domain of further operators.
pub(super) const CONTRIB: &str = "com.microsoft";

/// GELU, as ONNX's own.
pub(super) fn contrib(call: &Call<'_>) -> Option<Outputs> {
    if call.node.op != "Gelu" {
        return None;
    }
    let node = Node::new("Gelu", &[]);
    let inputs = call.inputs.clone();
    super::elementwise::run(&Call { graph: call.graph, node: &node, inputs, block: None })
}

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    let Some(block) = call.block else {
        return Some(Err("blocked operators need interpret_blocked".to_owned()));
    };
    Some(match call.node.op.as_str() {
        "ReorderInput" => reorder_input(call, block),
        "ReorderOutput" => reorder_output(call, block),
        "Conv" => conv(call, block),
        "GlobalAveragePool" => pool(call, block),
        _ => return None,
    })
}

/// `x` seen as `split`, its axes in `order`, under the dimensions `dims`.
fn turned(x: &Array, split: &[usize], order: &[usize], dims: &[usize]) -> Result<Array, String> {
    let standard = x.as_standard_layout().into_owned();
    let view = standard.into_shape_with_order(IxDyn(split)).map_err(|e| e.to_string())?;
    let turned = view.permuted_axes(IxDyn(order)).as_standard_layout().into_owned();
    turned.into_shape_with_order(IxDyn(dims)).map_err(|e| e.to_string())
}

fn four(x: &Array) -> Result<[usize; 4], String> {
    <[usize; 4]>::try_from(x.shape()).map_err(|_| format!("{:?}: not four axes", x.shape()))
}

fn into_blocks(x: &Array, block: usize) -> Result<Array, String> {
    let [n, c, h, w] = four(x)?;
    if c % block != 0 {
        return Err(format!("{c} channels are no whole blocks of {block}"));
    }
    turned(x, &[n, c / block, block, h, w], &[0, 1, 3, 4, 2], &[n, c, h, w])
}

fn out_of_blocks(x: &Array, block: usize) -> Result<Array, String> {
    let [n, c, h, w] = four(x)?;
    if c % block != 0 {
        return Err(format!("{c} channels are no whole blocks of {block}"));
    }
    turned(x, &[n, c / block, h, w, block], &[0, 1, 4, 2, 3], &[n, c, h, w])
}

fn reorder_input(call: &Call<'_>, block: usize) -> Outputs {
    let mut x = call.get(0)?.clone();
    if call.int("channels_last", 0) == 1 {
        x = x.permuted_axes(IxDyn(&[0, 3, 1, 2])).as_standard_layout().into_owned();
    }
    let [n, c, h, w] = four(&x)?;
    if c % 4 != 0 {
        return Err(format!("{c} channels are no multiple of 4"));
    }
    let filled = c.div_ceil(block) * block;
    let more = Array::zeros(IxDyn(&[n, filled - c, h, w]));
    let all = ndarray::concatenate(ndarray::Axis(1), &[x.view(), more.view()]);
    into_blocks(&all.map_err(|e| e.to_string())?, block).map(|y| vec![y])
}

fn reorder_output(call: &Call<'_>, block: usize) -> Outputs {
    let x = out_of_blocks(call.get(0)?, block)?;
    let channels = call.int("channels", 0) as usize;
    if channels == 0 || channels > x.shape()[1] || channels.div_ceil(block) * block != x.shape()[1]
    {
        return Err(format!("{channels} of {} channels", x.shape()[1]));
    }
    let x = x.slice_axis(ndarray::Axis(1), (0..channels).into()).to_owned();
    if call.int("channels_last", 0) == 1 {
        let last = x.permuted_axes(IxDyn(&[0, 2, 3, 1]));
        return Ok(vec![last.as_standard_layout().into_owned()]);
    }
    Ok(vec![x])
}

fn pool(call: &Call<'_>, block: usize) -> Outputs {
    let x = out_of_blocks(call.get(0)?, block)?;
    let mean = x.mean_axis(ndarray::Axis(3)).and_then(|x| x.mean_axis(ndarray::Axis(2)));
    let mean = mean.ok_or("an image without pixels")?;
    into_blocks(&mean.insert_axis(ndarray::Axis(2)).insert_axis(ndarray::Axis(3)), block)
        .map(|y| vec![y])
}

/// The filter `[K, C/groups, kh, kw]` in ONNX's order, and whether the image lies in blocks.
fn filter(call: &Call<'_>, block: usize) -> Result<(Array, bool), String> {
    let w = call.get(1)?;
    let [k, inner, high, wide] = four(w)?;
    let channels = call.get(0)?.shape()[1];
    let groups = call.int("group", 1) as usize;
    let whole = |n: usize| n.is_multiple_of(block);
    if k % block != 0 || inner * groups != channels {
        return Err(format!("{k} kernels of {inner} in {groups} groups over {channels} channels"));
    }
    let outside = || turned(w, &[k / block, inner, high, wide, block], &[0, 4, 1, 2, 3], w.shape());
    if groups == channels && k == channels && whole(channels) {
        return Ok((outside()?, true));
    }
    if groups == 1 && channels < block {
        return Ok((outside()?, false));
    }
    if !whole(inner) || !whole(k / groups) {
        return Err("groups that are no whole blocks".to_owned());
    }
    let split = [k / block, inner / block, high, wide, block, block];
    Ok((turned(w, &split, &[0, 5, 1, 4, 2, 3], w.shape())?, true))
}

fn conv(call: &Call<'_>, block: usize) -> Outputs {
    let (w, in_blocks) = filter(call, block)?;
    let x = call.get(0)?;
    let x = if in_blocks { out_of_blocks(x, block)? } else { x.clone() };
    // ONNX's operator, without what this one adds.
    let mut node = Node::new("Conv", &[]);
    node.attributes = call.node.attributes.clone();
    let plain = Call {
        graph: call.graph,
        node: &node,
        inputs: vec![Some(&x), Some(&w), call.optional(2)],
        block: None,
    };
    let mut y = window::run(&plain).ok_or("no convolution")??.remove(0);
    if let Some(sum) = call.optional(3) {
        y = y + out_of_blocks(sum, block)?;
    }
    let parameters = match call.attribute("activation_params") {
        Some(AttributeValue::Floats(values)) => values.iter().map(|&v| f64::from(v)).collect(),
        _ => Vec::new(),
    };
    match (call.node.string("activation"), &parameters[..]) {
        (None, _) => {}
        (Some("Relu"), _) => y.mapv_inplace(|y| y.max(0.0)),
        (Some("Clip"), &[min, max]) => y.mapv_inplace(|y| y.clamp(min, max)),
        (Some("HardSigmoid"), &[alpha, beta]) => {
            y.mapv_inplace(|y| (alpha * y + beta).clamp(0.0, 1.0));
        }
        (Some(other), _) => return Err(format!("activation {other}")),
    }
    into_blocks(&y, block).map(|y| vec![y])
}
