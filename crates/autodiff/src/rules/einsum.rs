//! Sums of products by labels.

use nearkin_onnx::{AttributeValue, Einsum};

use super::{Call, Grads};
use crate::emit::{Emit, attr};
use crate::error::Problem;

/// ∂xₖ is the sum of products of g with all the other inputs, to the labels of xₖ; along a label that
/// only xₖ has, it is the same everywhere.
pub(super) fn einsum(e: &mut Emit, call: &Call) -> Grads {
    let equation = call.node.string("equation").unwrap_or_default();
    let no_rule = || Problem::NoRuleFor(format!("equation {equation:?}"));
    let labels = Einsum::parse(equation).ok_or_else(no_rule)?;
    let repeats = |part: &Vec<char>| (1..part.len()).any(|i| part[..i].contains(&part[i]));
    if labels.inputs.iter().chain([&labels.output]).any(repeats) {
        return Err(no_rule());
    }
    let g = call.grad()?;
    let mut grads = call.none();
    for (index, own) in labels.inputs.iter().enumerate().filter(|(index, _)| call.needs(*index)) {
        let (mut values, mut inputs) = (vec![g], vec![labels.output.clone()]);
        for (other, part) in labels.inputs.iter().enumerate().filter(|(other, _)| *other != index) {
            values.push(call.input(other)?);
            inputs.push(part.clone());
        }
        let found = |label: &char| inputs.iter().any(|part| part.contains(label));
        let output: Vec<char> = own.iter().copied().filter(|label| found(label)).collect();
        let dims = e.dims(call.input(index)?)?;
        let kept = own.iter().zip(&dims).map(|(label, &dim)| if found(label) { dim } else { 1 });
        let kept: Vec<usize> = kept.collect();
        let equation = Einsum { inputs, output }.to_equation();
        let equation = AttributeValue::String(equation.into_bytes().into());
        let grad = e.op("Einsum", &values, vec![attr("equation", equation)])?;
        let grad = e.reshape(grad, &kept)?;
        grads[index] = Some(e.expand(grad, &dims)?);
    }
    Ok(grads)
}
