//! Softmax and its logarithm, from the saved output.

use super::{Call, Grads, axis};
use crate::emit::Emit;

/// ∂x = y·(g − Σ g·y), summed along the axis.
pub(super) fn softmax(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let along = axis(call.node.int("axis").unwrap_or(-1), e.dims(y)?.len());
    let product = e.mul(g, y)?;
    let sum = e.sum(product, &[along], true)?;
    let centred = e.sub(g, sum)?;
    let grad = e.mul(y, centred)?;
    call.first(grad)
}

/// ∂x = g − e^y·Σ g, summed along the axis.
pub(super) fn log_softmax(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let along = axis(call.node.int("axis").unwrap_or(-1), e.dims(y)?.len());
    let sum = e.sum(g, &[along], true)?;
    let probabilities = e.op("Exp", &[y], vec![])?;
    let share = e.mul(probabilities, sum)?;
    let grad = e.sub(g, share)?;
    call.first(grad)
}
