//! Operators that exchange blocks of pixels with channels: the gradient goes the way back.

use super::{Call, Grads};
use crate::emit::Emit;
use crate::error::Problem;

/// ∂x = g with each block's pixels as channels again: before the channel (`DCR`) or after it (`CRD`).
pub(super) fn depth_to_space(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let block = size(call)?;
    let [n, c, h, w] = image(&dims)?;
    let apart = e.reshape(call.grad()?, &[n, c / (block * block), h, block, w, block])?;
    let after = call.node.string("mode") == Some("CRD");
    let order = if after { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let turned = e.transpose(apart, &order)?;
    let grad = e.reshape(turned, &dims)?;
    call.first(grad)
}

/// ∂x = g with the channels of each block as pixels again.
pub(super) fn space_to_depth(e: &mut Emit, call: &Call) -> Grads {
    let dims = e.dims(call.input(0)?)?;
    let block = size(call)?;
    let [n, c, h, w] = image(&dims)?;
    let apart = e.reshape(call.grad()?, &[n, block, block, c, h / block, w / block])?;
    let turned = e.transpose(apart, &[0, 3, 4, 1, 5, 2])?;
    let grad = e.reshape(turned, &dims)?;
    call.first(grad)
}

fn size(call: &Call) -> Result<usize, Problem> {
    let size = call.node.int("blocksize").and_then(|size| usize::try_from(size).ok());
    size.filter(|&size| size > 0).ok_or_else(|| Problem::NoRuleFor("no block size".to_owned()))
}

fn image(dims: &[usize]) -> Result<[usize; 4], Problem> {
    dims.try_into().map_err(|_| Problem::NoRuleFor(format!("an input of {dims:?}")))
}
