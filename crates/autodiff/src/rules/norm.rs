//! Normalisations.

use nearkin_onnx::ValueId;

use super::{Call, Grads, axis};
use crate::emit::Emit;
use crate::error::Problem;

/// Batch normalisation, y = γ·x̂ + β with x̂ = (x − μ)/√(σ² + ε).
///
/// With the batch's own statistics (marked when the graph was put into training form), over the m
/// elements of each channel: ∂β = Σ g, ∂γ = Σ g·x̂, ∂x = γ/√(σ² + ε)·(g − ∂β/m − x̂·∂γ/m).
/// With given statistics: ∂x = g·γ/√(σ² + ε), ∂μ = −γ·∂β/√(σ² + ε), ∂σ² = −½·γ·∂γ/(σ² + ε).
/// Ioffe and Szegedy, 2015, <https://arxiv.org/abs/1502.03167>.
pub(super) fn batch(e: &mut Emit, call: &Call) -> Grads {
    let (g, x) = (call.grad()?, call.input(0)?);
    if call.node.int("training_mode") == Some(1) {
        return Err(Problem::NoRuleFor("training_mode".to_owned()));
    }
    let of_batch = e.is_of_batch(call.output(0)?);
    let dims = e.dims(x)?;
    let count: usize = dims.iter().enumerate().filter(|&(i, _)| i != 1).map(|(_, &n)| n).product();
    let [scale, mean, var] = [call.input(1)?, call.input(3)?, call.input(4)?];
    let inverse = inverse_deviation(e, var, call.node.float("epsilon").unwrap_or(1e-5))?;
    let slope = e.mul(scale, inverse)?;
    let mut grads = call.none();
    let (wants_mean, wants_var) = (!of_batch && call.needs(3), !of_batch && call.needs(4));
    // Σ g·x̂ = Σ g·(x − μ)/√(σ² + ε), so that x̂ itself is never written.
    let sums = if of_batch || call.needs(1) || wants_var {
        let centred = centred(e, x, mean)?;
        let dot = e.channel_dot(g, centred)?;
        Some((centred, e.mul(dot, inverse)?))
    } else {
        None
    };
    let beta = if of_batch || call.needs(2) || wants_mean { Some(e.channel_sum(g)?) } else { None };
    if call.needs(0) {
        grads[0] = Some(match (of_batch, sums, beta) {
            (true, Some((centred, gamma)), Some(beta)) => {
                // a·g + b·(x − μ) + c, with one number a, b, c for each channel.
                let share = -(count as f32).recip();
                let level = e.scale(beta, share)?;
                let level = e.mul(level, slope)?;
                let tilt = e.scale(gamma, share)?;
                let tilt = e.mul(tilt, inverse)?;
                let tilt = e.mul(tilt, slope)?;
                let zeros = e.tensor(&[dims[1]], &vec![0.0; dims[1]])?;
                let steep = e.channel_affine(g, slope, zeros)?;
                let rest = e.channel_affine(centred, tilt, level)?;
                e.add(steep, rest)?
            }
            _ => {
                let zeros = e.tensor(&[dims[1]], &vec![0.0; dims[1]])?;
                e.channel_affine(g, slope, zeros)?
            }
        });
    }
    if let (true, Some(beta)) = (wants_mean, beta) {
        let moved = e.mul(slope, beta)?;
        grads[3] = Some(e.neg(moved)?);
    }
    if let (true, Some((_, gamma))) = (wants_var, sums) {
        let wider = e.mul(slope, inverse)?;
        let wider = e.mul(wider, gamma)?;
        grads[4] = Some(e.scale(wider, -0.5)?);
    }
    if let (true, Some((_, gamma))) = (call.needs(1), sums) {
        grads[1] = Some(gamma);
    }
    if let (true, Some(beta)) = (call.needs(2), beta) {
        grads[2] = Some(beta);
    }
    Ok(grads)
}

/// x − μ.
pub(crate) fn centred(e: &mut Emit, x: ValueId, mean: ValueId) -> Result<ValueId, Problem> {
    let channels = e.dims(x)?[1];
    let ones = e.tensor(&[channels], &vec![1.0; channels])?;
    let shift = e.neg(mean)?;
    e.channel_affine(x, ones, shift)
}

/// 1/√(σ² + ε)
pub(crate) fn inverse_deviation(e: &mut Emit, var: ValueId, eps: f32) -> Result<ValueId, Problem> {
    let eps = e.scalar(eps)?;
    let shifted = e.add(var, eps)?;
    let deviation = e.op("Sqrt", &[shifted], vec![])?;
    e.op("Reciprocal", &[deviation], vec![])
}

/// Layer normalisation over the axes from `axis` on, y = γ·x̂ + β, from the saved mean and inverse
/// deviation r: with h = g·γ, ∂x = r·(h − mean(h) − x̂·mean(h·x̂)); ∂γ = Σ g·x̂, ∂β = Σ g.
/// Ba et al., 2016, <https://arxiv.org/abs/1607.06450>.
pub(super) fn layer(e: &mut Emit, call: &Call) -> Grads {
    let x = call.input(0)?;
    let (mean, inverse) = (call.output(1)?, call.output(2)?);
    let rank = e.dims(x)?.len();
    let first = axis(call.node.int("axis").unwrap_or(-1), rank);
    let axes: Vec<usize> = (first..rank).collect();
    let centred = e.sub(x, mean)?;
    let normed = e.mul(centred, inverse)?;
    let scale = call.input(1)?;
    let row = e.dims(scale)?;
    standardised(e, call, &Standardised { normed, inverse, axes, row })
}

/// Instance normalisation: every channel of every image by itself; gradients as of layer
/// normalisation. Ulyanov et al., 2016, <https://arxiv.org/abs/1607.08022>.
pub(super) fn instance(e: &mut Emit, call: &Call) -> Grads {
    let x = call.input(0)?;
    let dims = e.dims(x)?;
    let mut row = vec![1; dims.len()];
    row[1] = dims[1];
    let axes: Vec<usize> = (2..dims.len()).collect();
    let (normed, inverse) = standardise(e, call, x, &axes)?;
    standardised(e, call, &Standardised { normed, inverse, axes, row })
}

/// Group normalisation: the channels of a group together; gradients as of layer normalisation. γ and β
/// are one for each channel, and before opset 21 one for each group.
/// Wu and He, 2018, <https://arxiv.org/abs/1803.08494>.
pub(super) fn group(e: &mut Emit, call: &Call) -> Grads {
    let x = call.input(0)?;
    let dims = e.dims(x)?;
    let groups = call.node.int("num_groups").unwrap_or(1).max(1) as usize;
    let each = e.dims(call.input(1)?)?.iter().product::<usize>() / groups;
    let pixels = dims[2..].iter().product();
    let x = e.reshape(x, &[dims[0], groups, dims[1] / groups, pixels])?;
    let axes = vec![2, 3];
    let (normed, inverse) = standardise(e, call, x, &axes)?;
    standardised(e, call, &Standardised { normed, inverse, axes, row: vec![1, groups, each, 1] })
}

/// What was normalised: x̂, the inverse deviation, over which axes, and the shape of γ beside x̂.
struct Standardised {
    normed: ValueId,
    inverse: ValueId,
    axes: Vec<usize>,
    row: Vec<usize>,
}

/// x̂ and the inverse deviation over `axes`, which stay.
fn standardise(
    e: &mut Emit,
    call: &Call,
    x: ValueId,
    axes: &[usize],
) -> Result<(ValueId, ValueId), Problem> {
    let mean = e.mean(x, axes, true)?;
    let centred = e.sub(x, mean)?;
    let square = e.mul(centred, centred)?;
    let var = e.mean(square, axes, true)?;
    let inverse = inverse_deviation(e, var, call.node.float("epsilon").unwrap_or(1e-5))?;
    Ok((e.mul(centred, inverse)?, inverse))
}

/// The gradients of y = γ·x̂ + β, in the shape of x̂ and then of each input.
fn standardised(e: &mut Emit, call: &Call, of: &Standardised) -> Grads {
    let &Standardised { normed, inverse, ref axes, ref row } = of;
    let shape = e.dims(normed)?;
    let g = e.reshape(call.grad()?, &shape)?;
    let mut grads = call.none();
    if call.needs(0) {
        let scale = e.reshape(call.input(1)?, row)?;
        let h = e.mul(g, scale)?;
        let level = e.mean(h, axes, true)?;
        let product = e.mul(h, normed)?;
        let tilt = e.mean(product, axes, true)?;
        let tilted = e.mul(normed, tilt)?;
        let rest = e.sub(h, level)?;
        let rest = e.sub(rest, tilted)?;
        let grad = e.mul(inverse, rest)?;
        let dims = e.dims(call.input(0)?)?;
        grads[0] = Some(e.reshape(grad, &dims)?);
    }
    if call.needs(1) {
        let product = e.mul(g, normed)?;
        let sum = e.sum_to(product, row)?;
        let dims = e.dims(call.input(1)?)?;
        grads[1] = Some(e.reshape(sum, &dims)?);
    }
    if call.needs(2) {
        let sum = e.sum_to(g, row)?;
        let dims = e.dims(call.input(2)?)?;
        grads[2] = Some(e.reshape(sum, &dims)?);
    }
    Ok(grads)
}
