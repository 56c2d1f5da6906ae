//! Operators that work element by element, and the normalisations.

use super::{Array, Call, Outputs, axis};
use ndarray::{Axis, IxDyn, Zip};
use nearkin_onnx::ElementType;

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    let unary = |f: &dyn Fn(f64) -> f64| call.get(0).map(|x| vec![x.mapv(f)]);
    let alpha = |default| call.float("alpha", default);
    Some(match call.node.op.as_str() {
        "Identity" => unary(&|x| x),
        "Relu" => unary(&|x| x.max(0.0)),
        "Sigmoid" => unary(&sigmoid),
        "Tanh" => unary(&f64::tanh),
        "Erf" => unary(&erf),
        "Sqrt" => unary(&f64::sqrt),
        "Exp" => unary(&f64::exp),
        "Log" => unary(&f64::ln),
        "Neg" => unary(&|x| -x),
        "Abs" => unary(&f64::abs),
        "Reciprocal" => unary(&f64::recip),
        "Floor" => unary(&f64::floor),
        "Ceil" => unary(&f64::ceil),
        "Round" => unary(&f64::round_ties_even),
        "Sin" => unary(&f64::sin),
        "Cos" => unary(&f64::cos),
        "Sign" => unary(&|x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Not" => unary(&|x| truth(x == 0.0)),
        "IsNaN" => unary(&|x| truth(x.is_nan())),
        "IsInf" => unary(&|x| truth(x.is_infinite())),
        "Softplus" => unary(&|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "Softsign" => unary(&|x| x / (1.0 + x.abs())),
        "Mish" => unary(&|x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()),
        "HardSigmoid" => {
            let beta = call.float("beta", 0.5);
            unary(&|x| (alpha(0.2) * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => unary(&|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "LeakyRelu" => unary(&|x| if x < 0.0 { alpha(0.01) * x } else { x }),
        "Elu" => unary(&|x| if x < 0.0 { alpha(1.0) * x.exp_m1() } else { x }),
        "Celu" => unary(&|x| x.max(0.0) + (alpha(1.0) * (x / alpha(1.0)).exp_m1()).min(0.0)),
        "Selu" => {
            let (a, gamma) = (alpha(1.673_263_192_176_818_8), call.float("gamma", 1.050_700_990));
            unary(&|x| gamma * if x > 0.0 { x } else { a * x.exp_m1() })
        }
        "Gelu" if call.node.string("approximate") == Some("tanh") => unary(&|x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }),
        "Gelu" => unary(&|x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
        "Clip" => clip(call),
        "Cast" => cast(call),
        "Dropout" => call.get(0).map(|x| vec![x.clone(), x.mapv(|_| 1.0)]),
        "Add" | "Sum" => fold(call, |a, b| a + b),
        "Sub" => fold(call, |a, b| a - b),
        "Mul" => fold(call, |a, b| a * b),
        "Div" if call.is_integer() => fold(call, |a, b| (a / b).trunc()),
        "Div" => fold(call, |a, b| a / b),
        "Pow" => fold(call, f64::powf),
        "Min" => fold(call, f64::min),
        "Max" => fold(call, f64::max),
        "Mean" => {
            let count = call.inputs.len() as f64;
            fold(call, |a, b| a + b).map(|sum| sum.into_iter().map(|x| x / count).collect())
        }
        "PRelu" => fold(call, |x, slope| if x < 0.0 { slope * x } else { x }),
        "And" => fold(call, |a, b| truth(a != 0.0 && b != 0.0)),
        "Or" => fold(call, |a, b| truth(a != 0.0 || b != 0.0)),
        "Equal" => fold(call, |a, b| truth(a == b)),
        "Greater" => fold(call, |a, b| truth(a > b)),
        "GreaterOrEqual" => fold(call, |a, b| truth(a >= b)),
        "Less" => fold(call, |a, b| truth(a < b)),
        "LessOrEqual" => fold(call, |a, b| truth(a <= b)),
        "Where" => choose(call),
        "Softmax" => softmax(call, |x, max, sum| (x - max).exp() / sum),
        "LogSoftmax" => softmax(call, |x, max, sum| x - max - sum.ln()),
        _ => return None,
    })
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function to f64's precision: the series near 0, the continued fraction of erfc beyond.
/// Abramowitz and Stegun 7.1.5 and 7.1.14.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..100 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        2.0 / std::f64::consts::PI.sqrt() * sum
    } else if z < 7.0 {
        let fraction = (1..=80).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (z + tail));
        1.0 - (-z * z).exp() / std::f64::consts::PI.sqrt() / (z + fraction)
    } else {
        1.0
    };
    value.copysign(x)
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, other) | (other, 1) => Ok(other),
            (x, y) if x == y => Ok(x),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

fn fold(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Outputs {
    let mut result = call.get(0)?.clone();
    for index in 1..call.inputs.len() {
        let other = call.get(index)?;
        let shape = broadcast(result.shape(), other.shape())?;
        let wrong = || format!("cannot broadcast to {shape:?}");
        let left = result.broadcast(IxDyn(&shape)).ok_or_else(wrong)?;
        let right = other.broadcast(IxDyn(&shape)).ok_or_else(wrong)?;
        result = Zip::from(&left).and(&right).map_collect(|&a, &b| f(a, b));
    }
    Ok(vec![result])
}

fn choose(call: &Call<'_>) -> Outputs {
    let (condition, x, y) = (call.get(0)?, call.get(1)?, call.get(2)?);
    let shape = broadcast(&broadcast(condition.shape(), x.shape())?, y.shape())?;
    let view = |array: &Array| {
        array.broadcast(IxDyn(&shape)).map(|view| view.to_owned()).ok_or("cannot broadcast")
    };
    let (condition, x, y) = (view(condition)?, view(x)?, view(y)?);
    let pick = |&c: &f64, &x: &f64, &y: &f64| if c != 0.0 { x } else { y };
    Ok(vec![Zip::from(&condition).and(&x).and(&y).map_collect(pick)])
}

fn clip(call: &Call<'_>) -> Outputs {
    let bound = |index, name: &str, default| {
        call.optional(index)
            .and_then(|array| array.iter().next().copied())
            .unwrap_or_else(|| call.float(name, default))
    };
    let (low, high) = (bound(1, "min", f64::NEG_INFINITY), bound(2, "max", f64::INFINITY));
    Ok(vec![call.get(0)?.mapv(|x| x.max(low).min(high))])
}

fn cast(call: &Call<'_>) -> Outputs {
    let element = i32::try_from(call.int("to", 0)).ok().and_then(ElementType::from_code);
    let x = call.get(0)?;
    Ok(vec![match element {
        Some(ElementType::Bool) => x.mapv(|x| truth(x != 0.0)),
        Some(ElementType::Float | ElementType::Double) => x.clone(),
        Some(ElementType::Int64 | ElementType::Int32) => x.mapv(f64::trunc),
        other => return Err(format!("cast to {other:?}")),
    }])
}

fn softmax(call: &Call<'_>, f: impl Fn(f64, f64, f64) -> f64) -> Outputs {
    let mut x = call.get(0)?.clone();
    let axis = axis(call.int("axis", -1), x.ndim())?;
    for mut lane in x.lanes_mut(Axis(axis)) {
        let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = lane.iter().map(|x| (x - max).exp()).sum();
        lane.mapv_inplace(|x| f(x, max, sum));
    }
    Ok(vec![x])
}
