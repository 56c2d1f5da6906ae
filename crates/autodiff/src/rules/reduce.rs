//! Reductions: the gradient is spread over what was reduced.

use nearkin_onnx::{ElementType, ValueId};

use super::{Call, Grads, axis};
use crate::emit::Emit;
use crate::error::Problem;

/// A reduction's axes, and its input's and its kept output's dimensions.
struct Reduced {
    axes: Vec<usize>,
    from: Vec<usize>,
    kept: Vec<usize>,
}

fn reduced(e: &Emit, call: &Call) -> Result<Reduced, Problem> {
    let from = e.dims(call.input(0)?)?;
    let rank = from.len();
    let given = call.ints(e, 1, "axes").filter(|axes| !axes.is_empty());
    let axes: Vec<usize> = match given {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect(),
        None if call.node.int("noop_with_empty_axes") == Some(1) => Vec::new(),
        None => (0..rank).collect(),
    };
    let kept = from.iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n });
    let kept = kept.collect();
    Ok(Reduced { axes, from, kept })
}

/// A value of the output's shape with the reduced axes as ones.
fn keep(e: &mut Emit, x: ValueId, reduced: &Reduced) -> Result<ValueId, Problem> {
    e.reshape(x, &reduced.kept)
}

/// ∂x = g, spread.
pub(super) fn sum(e: &mut Emit, call: &Call) -> Grads {
    let reduced = reduced(e, call)?;
    let g = keep(e, call.grad()?, &reduced)?;
    let grad = e.expand(g, &reduced.from)?;
    call.first(grad)
}

/// ∂x = g/count, spread.
pub(super) fn mean(e: &mut Emit, call: &Call) -> Grads {
    let reduced = reduced(e, call)?;
    let count: usize = reduced.axes.iter().map(|&axis| reduced.from[axis]).product();
    let g = keep(e, call.grad()?, &reduced)?;
    let g = e.scale(g, (count.max(1) as f32).recip())?;
    let grad = e.expand(g, &reduced.from)?;
    call.first(grad)
}

/// ∂x = 2·g·x.
pub(super) fn sum_square(e: &mut Emit, call: &Call) -> Grads {
    let reduced = reduced(e, call)?;
    let g = keep(e, call.grad()?, &reduced)?;
    let g = e.scale(g, 2.0)?;
    let grad = e.mul(g, call.input(0)?)?;
    call.first(grad)
}

/// ∂x = g·x/y, and 0 where y = 0.
pub(super) fn l2(e: &mut Emit, call: &Call) -> Grads {
    let reduced = reduced(e, call)?;
    let g = keep(e, call.grad()?, &reduced)?;
    let y = keep(e, call.output(0)?, &reduced)?;
    let (zero, one) = (e.scalar(0.0)?, e.scalar(1.0)?);
    let positive = e.op("Greater", &[y, zero], vec![])?;
    let divisor = e.op("Where", &[positive, y, one], vec![])?;
    let ratio = e.div(g, divisor)?;
    let grad = e.mul(ratio, call.input(0)?)?;
    call.first(grad)
}

/// ∂x = g shared equally among the elements that equal the largest, as PyTorch's `amax`.
pub(super) fn max(e: &mut Emit, call: &Call) -> Grads {
    let reduced = reduced(e, call)?;
    let g = keep(e, call.grad()?, &reduced)?;
    let y = keep(e, call.output(0)?, &reduced)?;
    let largest = e.op("Equal", &[call.input(0)?, y], vec![])?;
    let largest = e.cast(largest, ElementType::Float)?;
    let count = e.sum(largest, &reduced.axes, true)?;
    let share = e.div(g, count)?;
    let grad = e.mul(share, largest)?;
    call.first(grad)
}
