//! Arithmetic. Where inputs were broadcast, gradients are summed back to their shapes.

use nearkin_onnx::{ElementType, ValueId};

use super::{Call, Grads, constant_floats};
use crate::emit::Emit;
use crate::error::Problem;

/// ∂a and ∂b of an operator with two inputs, summed to their shapes; only what is wanted is made.
fn pair(
    e: &mut Emit,
    call: &Call,
    mut left: impl FnMut(&mut Emit) -> Result<ValueId, Problem>,
    mut right: impl FnMut(&mut Emit) -> Result<ValueId, Problem>,
) -> Grads {
    let mut grads = call.none();
    for (index, slot) in grads.iter_mut().take(2).enumerate() {
        if call.needs(index) {
            let grad = if index == 0 { left(e)? } else { right(e)? };
            let dims = e.dims(call.input(index)?)?;
            *slot = Some(e.sum_to(grad, &dims)?);
        }
    }
    Ok(grads)
}

/// ∂a = g, ∂b = g.
pub(super) fn add(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    pair(e, call, |_| Ok(g), |_| Ok(g))
}

/// ∂a = g, ∂b = −g.
pub(super) fn sub(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    pair(e, call, |_| Ok(g), |e| e.neg(g))
}

/// ∂a = g·b, ∂b = g·a.
pub(super) fn mul(e: &mut Emit, call: &Call) -> Grads {
    let (g, a, b) = (call.grad()?, call.input(0)?, call.input(1)?);
    pair(e, call, |e| e.mul(g, b), |e| e.mul(g, a))
}

/// ∂a = g/b, ∂b = −g·y/b.
pub(super) fn div(e: &mut Emit, call: &Call) -> Grads {
    let (g, b, y) = (call.grad()?, call.input(1)?, call.output(0)?);
    let right = |e: &mut Emit| {
        let product = e.mul(g, y)?;
        let quotient = e.div(product, b)?;
        e.neg(quotient)
    };
    pair(e, call, |e| e.div(g, b), right)
}

/// ∂x = g·p·x^(p−1) for a constant exponent p.
pub(super) fn pow(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, exponent) = (call.grad()?, call.input(0)?, call.input(1)?);
    if call.needs(1) {
        return Err(Problem::NoRuleFor("an exponent that is trained".to_owned()));
    }
    let Some([p]) = constant_floats(e, exponent)
        .as_deref()
        .map(<&[f32; 1]>::try_from)
        .and_then(Result::ok)
        .copied()
    else {
        return Err(Problem::NoRuleFor("an exponent that is not one constant".to_owned()));
    };
    let power = if (p - 2.0).abs() < f32::EPSILON {
        x
    } else {
        let less = e.scalar(p - 1.0)?;
        e.op("Pow", &[x, less], vec![])?
    };
    let slope = e.scale(power, p)?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = −g.
pub(super) fn neg(e: &mut Emit, call: &Call) -> Grads {
    let g = call.grad()?;
    let grad = e.neg(g)?;
    call.first(grad)
}

/// ∂x = g·sign(x), 0 at 0.
pub(super) fn abs(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let sign = e.op("Sign", &[x], vec![])?;
    let grad = e.mul(g, sign)?;
    call.first(grad)
}

/// ∂x = g·y.
pub(super) fn exp(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let grad = e.mul(g, y)?;
    call.first(grad)
}

/// ∂x = g/x.
pub(super) fn log(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let grad = e.div(g, x)?;
    call.first(grad)
}

/// ∂x = g/(2y).
pub(super) fn sqrt(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let twice = e.scale(y, 2.0)?;
    let grad = e.div(g, twice)?;
    call.first(grad)
}

/// ∂x = −g·y².
pub(super) fn reciprocal(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let square = e.mul(y, y)?;
    let product = e.mul(g, square)?;
    let grad = e.neg(product)?;
    call.first(grad)
}

/// ∂x = g·cos x.
pub(super) fn sin(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let slope = e.op("Cos", &[x], vec![])?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = −g·sin x.
pub(super) fn cos(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let sin = e.op("Sin", &[x], vec![])?;
    let product = e.mul(g, sin)?;
    let grad = e.neg(product)?;
    call.first(grad)
}

/// The larger input takes g; equal ones half of it each, as in PyTorch.
pub(super) fn max(e: &mut Emit, call: &Call) -> Grads {
    extreme(e, call, "Greater")
}

/// The smaller input takes g; equal ones half of it each, as in PyTorch.
pub(super) fn min(e: &mut Emit, call: &Call) -> Grads {
    extreme(e, call, "Less")
}

fn extreme(e: &mut Emit, call: &Call, wins: &str) -> Grads {
    if call.node.inputs.len() != 2 {
        return Err(Problem::NoRuleFor(format!("{} inputs", call.node.inputs.len())));
    }
    let (g, a, b) = (call.grad()?, call.input(0)?, call.input(1)?);
    let share = |e: &mut Emit, x: ValueId, other: ValueId| {
        let over = e.op(wins, &[x, other], vec![])?;
        let equal = e.op("Equal", &[x, other], vec![])?;
        let half = e.cast(equal, ElementType::Float)?;
        let half = e.scale(half, 0.5)?;
        let whole = e.cast(over, ElementType::Float)?;
        let share = e.add(whole, half)?;
        e.mul(g, share)
    };
    pair(e, call, |e| share(e, a, b), |e| share(e, b, a))
}

/// ∂x = g where the condition holds, ∂y = g where it does not.
pub(super) fn choose(e: &mut Emit, call: &Call) -> Grads {
    let (g, condition) = (call.grad()?, call.input(0)?);
    let mut grads = call.none();
    for index in [1, 2] {
        if call.needs(index) {
            let zero = e.scalar(0.0)?;
            let branches = if index == 1 { [condition, g, zero] } else { [condition, zero, g] };
            let grad = e.op("Where", &branches, vec![])?;
            let dims = e.dims(call.input(index)?)?;
            grads[index] = Some(e.sum_to(grad, &dims)?);
        }
    }
    Ok(grads)
}
