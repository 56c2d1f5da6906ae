//! Activation functions, all of one input x.

use std::f32::consts::FRAC_2_SQRT_PI;

use super::{Call, Grads, constant_floats};
use crate::emit::Emit;

/// ∂x = g where y > 0, else 0.
pub(super) fn relu(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let grad = e.gate(g, y, None)?;
    call.first(grad)
}

/// ∂x = g where x > 0, else α·g.
pub(super) fn leaky_relu(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let zero = e.scalar(0.0)?;
    let active = e.op("Greater", &[x, zero], vec![])?;
    let small = e.scale(g, call.node.float("alpha").unwrap_or(0.01))?;
    let grad = e.op("Where", &[active, g, small], vec![])?;
    call.first(grad)
}

/// ∂x = g where x > 0, else g·(y + α).
pub(super) fn elu(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, y) = (call.grad()?, call.input(0)?, call.output(0)?);
    let zero = e.scalar(0.0)?;
    let active = e.op("Greater", &[x, zero], vec![])?;
    let alpha = e.scalar(call.node.float("alpha").unwrap_or(1.0))?;
    let slope = e.add(y, alpha)?;
    let bent = e.mul(g, slope)?;
    let grad = e.op("Where", &[active, g, bent], vec![])?;
    call.first(grad)
}

/// ∂x = g·y·(1 − y).
pub(super) fn sigmoid(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let one = e.scalar(1.0)?;
    let rest = e.sub(one, y)?;
    let slope = e.mul(y, rest)?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = g·(1 − y²).
pub(super) fn tanh(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let one = e.scalar(1.0)?;
    let square = e.mul(y, y)?;
    let slope = e.sub(one, square)?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = g·σ(x).
pub(super) fn softplus(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let slope = e.op("Sigmoid", &[x], vec![])?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = g·2/√π·e^(−x²).
pub(super) fn erf(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let square = e.mul(x, x)?;
    let negative = e.neg(square)?;
    let bell = e.op("Exp", &[negative], vec![])?;
    let slope = e.scale(bell, FRAC_2_SQRT_PI)?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = g·(Φ(x) + x·φ(x)); with `approximate = tanh` the derivative of that formula.
pub(super) fn gelu(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    if call.node.string("approximate") != Some("tanh") {
        let grad = e.gelu_grad(g, x)?;
        return call.first(grad);
    }
    // y = x/2·(1 + t), t = tanh u, u = c·(x + k·x³); y' = (1 + t)/2 + x/2·(1 − t²)·c·(1 + 3k·x²).
    let (c, k) = ((2.0 / std::f32::consts::PI).sqrt(), 0.044_715);
    let one = e.scalar(1.0)?;
    let square = e.mul(x, x)?;
    let cubic = e.scale(square, k)?;
    let cubic = e.add(cubic, one)?;
    let u = e.mul(x, cubic)?;
    let u = e.scale(u, c)?;
    let t = e.op("Tanh", &[u], vec![])?;
    let rise = e.scale(square, 3.0 * k)?;
    let rise = e.add(rise, one)?;
    let rise = e.scale(rise, c)?;
    let t_square = e.mul(t, t)?;
    let fall = e.sub(one, t_square)?;
    let steep = e.mul(rise, fall)?;
    let steep = e.mul(x, steep)?;
    let level = e.add(one, t)?;
    let both = e.add(level, steep)?;
    let slope = e.scale(both, 0.5)?;
    let grad = e.mul(g, slope)?;
    call.first(grad)
}

/// ∂x = g where x lies between the bounds, else 0.
///
/// Of ReLU and ReLU6, bounds 0 and a number, the output tells: strictly between, as PyTorch has it.
pub(super) fn clip(e: &mut Emit, call: &Call) -> Grads {
    let (mut g, x) = (call.grad()?, call.input(0)?);
    let constant = |index: usize, name: &str| match call.node.inputs.get(index).copied().flatten() {
        Some(id) => constant_floats(e, id).and_then(|values| values.first().copied()),
        None => call.node.float(name),
    };
    if let (Some(0.0), Some(max)) = (constant(1, "min"), constant(2, "max"))
        && max > 0.0
    {
        let grad = e.gate(g, call.output(0)?, Some(max))?;
        return call.first(grad);
    }
    for (index, name, op) in [(1, "min", "GreaterOrEqual"), (2, "max", "LessOrEqual")] {
        let bound = match call.node.inputs.get(index).copied().flatten() {
            Some(id) => Some(id),
            None => call.node.float(name).map(|value| e.scalar(value)).transpose()?,
        };
        if let Some(bound) = bound {
            let inside = e.op(op, &[x, bound], vec![])?;
            g = e.keep_where(inside, g)?;
        }
    }
    call.first(g)
}

/// ∂x = α·g where 0 < y < 1, else 0.
pub(super) fn hard_sigmoid(e: &mut Emit, call: &Call) -> Grads {
    let (g, y) = (call.grad()?, call.output(0)?);
    let (zero, one) = (e.scalar(0.0)?, e.scalar(1.0)?);
    let above = e.op("Greater", &[y, zero], vec![])?;
    let below = e.op("Less", &[y, one], vec![])?;
    let inside = e.op("And", &[above, below], vec![])?;
    let scaled = e.scale(g, call.node.float("alpha").unwrap_or(0.2))?;
    let grad = e.keep_where(inside, scaled)?;
    call.first(grad)
}

/// y = x·clip(x/6 + ½, 0, 1): ∂x = g·(x/3 + ½) for −3 < x < 3, g above, 0 below.
pub(super) fn hard_swish(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    let (low, high, half) = (e.scalar(-3.0)?, e.scalar(3.0)?, e.scalar(0.5)?);
    let slope = e.scale(x, 1.0 / 3.0)?;
    let slope = e.add(slope, half)?;
    let bent = e.mul(g, slope)?;
    let above = e.op("Greater", &[x, low], vec![])?;
    let bent = e.keep_where(above, bent)?;
    let below = e.op("Less", &[x, high], vec![])?;
    let grad = e.op("Where", &[below, bent, g], vec![])?;
    call.first(grad)
}
