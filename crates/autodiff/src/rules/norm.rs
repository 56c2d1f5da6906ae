//! Normalisations.

use nearkin_onnx::ValueId;

use super::{Call, Grads, axis};
use crate::emit::Emit;
use crate::error::Problem;

/// Batch normalisation, y = γ·x̂ + β with x̂ = (x − μ)/√(σ² + ε).
///
/// With the batch's own statistics (marked when the graph was put into training form), over the m
/// elements of each channel: ∂β = Σ g, ∂γ = Σ g·x̂, ∂x = γ/√(σ² + ε)·(g − ∂β/m − x̂·∂γ/m).
/// With given statistics: ∂x = g·γ/√(σ² + ε). Ioffe and Szegedy, 2015,
/// <https://arxiv.org/abs/1502.03167>.
pub(super) fn batch(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    if call.node.int("training_mode") == Some(1) {
        return Err(Problem::NoRuleFor("training_mode".to_owned()));
    }
    let of_batch = e.is_of_batch(call.output(0)?);
    if !of_batch && (call.needs(3) || call.needs(4)) {
        return Err(Problem::NoRuleFor("statistics that are trained".to_owned()));
    }
    let dims = e.dims(x)?;
    let mut row = vec![1; dims.len()];
    row[1] = dims[1];
    let axes: Vec<usize> = (0..dims.len()).filter(|&i| i != 1).collect();
    let [scale, mean, var] = [call.input(1)?, call.input(3)?, call.input(4)?];
    let [scale, mean, var] =
        [e.reshape(scale, &row)?, e.reshape(mean, &row)?, e.reshape(var, &row)?];
    let inverse = inverse_deviation(e, var, call.node.float("epsilon").unwrap_or(1e-5))?;
    let mut grads = call.none();
    let wants_sums = of_batch || call.needs(1);
    let normed = if wants_sums {
        let centred = e.sub(x, mean)?;
        Some(e.mul(centred, inverse)?)
    } else {
        None
    };
    let beta = if of_batch || call.needs(2) { Some(e.sum(g, &axes, true)?) } else { None };
    let gamma = match normed {
        Some(normed) => {
            let product = e.mul(g, normed)?;
            Some(e.sum(product, &axes, true)?)
        }
        None => None,
    };
    if call.needs(0) {
        let slope = e.mul(scale, inverse)?;
        grads[0] = Some(match (of_batch, normed, beta, gamma) {
            (true, Some(normed), Some(beta), Some(gamma)) => {
                let share = (axes.iter().map(|&i| dims[i]).product::<usize>() as f32).recip();
                let level = e.scale(beta, share)?;
                let tilt = e.scale(gamma, share)?;
                let tilted = e.mul(normed, tilt)?;
                let rest = e.sub(g, level)?;
                let rest = e.sub(rest, tilted)?;
                e.mul(slope, rest)?
            }
            _ => e.mul(g, slope)?,
        });
    }
    if let (true, Some(gamma)) = (call.needs(1), gamma) {
        grads[1] = Some(e.reshape(gamma, &[dims[1]])?);
    }
    if let (true, Some(beta)) = (call.needs(2), beta) {
        grads[2] = Some(e.reshape(beta, &[dims[1]])?);
    }
    Ok(grads)
}

/// 1/√(σ² + ε)
fn inverse_deviation(e: &mut Emit, var: ValueId, eps: f32) -> Result<ValueId, Problem> {
    let eps = e.scalar(eps)?;
    let shifted = e.add(var, eps)?;
    let deviation = e.op("Sqrt", &[shifted], vec![])?;
    e.op("Reciprocal", &[deviation], vec![])
}

/// Layer normalisation over the axes from `axis` on, y = γ·x̂ + β, from the saved mean and inverse
/// deviation r: with h = g·γ, ∂x = r·(h − mean(h) − x̂·mean(h·x̂)); ∂γ = Σ g·x̂, ∂β = Σ g.
/// Ba et al., 2016, <https://arxiv.org/abs/1607.06450>.
pub(super) fn layer(e: &mut Emit, call: &Call) -> Grads {
    let (g, x, scale) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (mean, inverse) = (call.output(1)?, call.output(2)?);
    let dims = e.dims(x)?;
    let first = axis(call.node.int("axis").unwrap_or(-1), dims.len());
    let normalised: Vec<usize> = (first..dims.len()).collect();
    let centred = e.sub(x, mean)?;
    let normed = e.mul(centred, inverse)?;
    let mut grads = call.none();
    if call.needs(0) {
        let h = e.mul(g, scale)?;
        let level = e.mean(h, &normalised, true)?;
        let product = e.mul(h, normed)?;
        let tilt = e.mean(product, &normalised, true)?;
        let tilted = e.mul(normed, tilt)?;
        let rest = e.sub(h, level)?;
        let rest = e.sub(rest, tilted)?;
        grads[0] = Some(e.mul(inverse, rest)?);
    }
    if call.needs(1) {
        let product = e.mul(g, normed)?;
        let dims = e.dims(scale)?;
        grads[1] = Some(e.sum_to(product, &dims)?);
    }
    if call.needs(2) {
        let dims = e.dims(call.input(2)?)?;
        grads[2] = Some(e.sum_to(g, &dims)?);
    }
    Ok(grads)
}
