//! Operators whose output has the shape of their inputs, broadcast.

use super::{Call, Types, show};
use crate::shape::{Dim, TensorType};
use crate::tensor::ElementType;

pub(super) fn infer(call: &Call<'_>) -> Option<Types> {
    Some(match call.op() {
        "Relu"
        | "Sigmoid"
        | "Tanh"
        | "Erf"
        | "Sqrt"
        | "Exp"
        | "Log"
        | "Neg"
        | "Abs"
        | "Identity"
        | "HardSigmoid"
        | "HardSwish"
        | "Elu"
        | "Celu"
        | "Selu"
        | "LeakyRelu"
        | "Softplus"
        | "Softsign"
        | "Clip"
        | "Softmax"
        | "LogSoftmax"
        | "Gelu"
        | "Mish"
        | "Reciprocal"
        | "Ceil"
        | "Floor"
        | "Round"
        | "Sin"
        | "Cos"
        | "Sign"
        | "Not"
        | "PRelu"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LpNormalization"
        | "LRN"
        | "ThresholdedRelu"
        | "CumSum"
        | "Trilu" => same(call, None),
        "Dropout" => dropout(call),
        "BatchNormalization" => batch_norm(call),
        "LayerNormalization" => layer_norm(call),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Min" | "Max" | "Sum" | "Mean" => {
            broadcast_all(call, 0, None)
        }
        "And" | "Or" | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            broadcast_all(call, 0, Some(ElementType::Bool))
        }
        "IsNaN" | "IsInf" => same(call, Some(ElementType::Bool)),
        "Where" => broadcast_all(call, 1, None),
        "Cast" => cast(call),
        _ => return None,
    })
}

fn same(call: &Call<'_>, element: Option<ElementType>) -> Types {
    let dims = call.shape(0)?.to_vec();
    if matches!(call.op(), "Softmax" | "LogSoftmax") {
        call.axis(call.node.int("axis").unwrap_or(-1), dims.len())?;
    }
    call.one(element.map_or_else(|| call.element(0), Ok)?, dims)
}

fn cast(call: &Call<'_>) -> Types {
    let code = call.node.int("to").unwrap_or(0);
    let element = i32::try_from(code).ok().and_then(ElementType::from_code);
    let element =
        element.ok_or_else(|| call.mismatch("a known element type", format!("to = {code}")))?;
    same(call, Some(element))
}

fn dropout(call: &Call<'_>) -> Types {
    let mut types = same(call, None)?;
    let mask = TensorType { element: ElementType::Bool, ..types[0].clone() };
    types.push(mask);
    Ok(types)
}

/// `x [N, C, …]` with four vectors `[C]`.
fn batch_norm(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let Some(channels) = dims.get(1) else {
        return Err(call.mismatch("[N, C, …]", show(dims)));
    };
    for index in 1..5 {
        let vector = call.shape(index)?;
        if vector != std::slice::from_ref(channels) {
            return Err(call.mismatch(format!("a vector [{channels}]"), show(vector)));
        }
    }
    let vector = TensorType::f32(crate::Shape(vec![channels.clone()]));
    let mut types = same(call, None)?;
    types.resize(call.node.outputs.len().max(1), vector);
    Ok(types)
}

/// Output, mean and inverse standard deviation over the dimensions from `axis` on.
fn layer_norm(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?.to_vec();
    let axis = call.axis(call.node.int("axis").unwrap_or(-1), dims.len())?;
    for index in [1, 2] {
        if call.has(index) {
            let scale = call.shape(index)?;
            if broadcast(&dims[axis..], scale).is_none_or(|d| d != dims[axis..]) {
                return Err(
                    call.mismatch(format!("a scale of {}", show(&dims[axis..])), show(scale))
                );
            }
        }
    }
    let mut types = same(call, None)?;
    let mut reduced = dims;
    reduced[axis..].fill(Dim::Known(1));
    let statistics = TensorType::f32(crate::Shape(reduced));
    types.resize(3, statistics);
    Ok(types)
}

fn broadcast_all(call: &Call<'_>, first: usize, element: Option<ElementType>) -> Types {
    let element = match element {
        Some(element) => element,
        None => {
            let element = call.element(first)?;
            for index in first + 1..call.node.inputs.len() {
                let other = call.element(index)?;
                if other != element && call.op() != "Pow" {
                    return Err(call.mismatch(format!("{element:?}"), format!("{other:?}")));
                }
            }
            element
        }
    };
    let mut dims = call.shape(0)?.to_vec();
    for index in 1..call.node.inputs.len() {
        let other = call.shape(index)?;
        dims = broadcast(&dims, other).ok_or_else(|| {
            call.mismatch("shapes that broadcast", format!("{} and {}", show(&dims), show(other)))
        })?;
    }
    call.one(element, dims)
}

/// The shape of `a ∘ b` by NumPy's rule; `None` if they do not fit.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], i: usize| {
        (i + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |j| dims[j].clone())
    };
    (0..rank).map(|i| broadcast_dim(at(a, i), at(b, i))).collect()
}

fn broadcast_dim(a: Dim, b: Dim) -> Option<Dim> {
    Some(match (a, b) {
        (Dim::Known(1), other) | (other, Dim::Known(1)) => other,
        (Dim::Known(x), Dim::Known(y)) => return (x == y).then_some(Dim::Known(x)),
        // A symbol beside a number above one can only be that number (or one).
        (Dim::Known(x), _) | (_, Dim::Known(x)) => Dim::Known(x),
        (a, b) if a == b => a,
        _ => Dim::Unknown,
    })
}
