//! Matrix products and reductions.

use super::{Array, Call, Outputs, axis, elementwise::broadcast};
use ndarray::{Axis, Ix2, IxDyn};
use nearkin_onnx::Einsum;
use std::collections::BTreeMap;

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    Some(match call.node.op.as_str() {
        "MatMul" => matmul(call),
        "Gemm" => gemm(call),
        "Einsum" => einsum(call),
        "ReduceSum" => sum(call, |sum, _| sum),
        "ReduceMean" => sum(call, |sum, count| sum / count),
        "ReduceMax" => reduce(call, |x, _| x.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "ReduceMin" => reduce(call, |x, _| x.iter().copied().fold(f64::INFINITY, f64::min)),
        "ReduceProd" => reduce(call, |x, _| x.iter().product()),
        "ReduceL1" => reduce(call, |x, _| x.iter().map(|x| x.abs()).sum()),
        "ReduceL2" => reduce(call, |x, _| x.iter().map(|x| x * x).sum::<f64>().sqrt()),
        "ReduceSumSquare" => reduce(call, |x, _| x.iter().map(|x| x * x).sum()),
        "ReduceLogSumExp" => reduce(call, |x, _| {
            let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
        }),
        "ArgMax" => arg(call, |a, b| a > b),
        "ArgMin" => arg(call, |a, b| a < b),
        "CumSum" => cumulative(call),
        _ => return None,
    })
}

fn matmul(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.get(0)?, call.get(1)?);
    if a.ndim() == 0 || b.ndim() == 0 {
        return Err("a scalar in a matrix product".to_owned());
    }
    let left = if a.ndim() == 1 { a.clone().insert_axis(Axis(0)) } else { a.clone() };
    let right = if b.ndim() == 1 { b.clone().insert_axis(Axis(1)) } else { b.clone() };
    let (left_batch, left_matrix) = left.shape().split_at(left.ndim() - 2);
    let (right_batch, right_matrix) = right.shape().split_at(right.ndim() - 2);
    let batch = broadcast(left_batch, right_batch)?;
    let whole = |array: &Array, matrix: &[usize]| {
        let shape = [&batch[..], matrix].concat();
        array.broadcast(IxDyn(&shape)).map(|view| view.to_owned()).ok_or("cannot broadcast")
    };
    let (left, right) = (whole(&left, left_matrix)?, whole(&right, right_matrix)?);
    let flat = |array: Array, matrix: &[usize]| {
        let count = batch.iter().product::<usize>();
        let standard = array.as_standard_layout().into_owned();
        standard
            .into_shape_with_order((count, matrix[0], matrix[1]))
            .map_err(|error| error.to_string())
    };
    let (l, r) = (flat(left, left_matrix)?, flat(right, right_matrix)?);
    if l.dim().2 != r.dim().1 {
        return Err(format!("{left_matrix:?} × {right_matrix:?}"));
    }
    let mut values = Vec::new();
    for (l, r) in l.outer_iter().zip(r.outer_iter()) {
        values.extend(l.dot(&r).iter().copied());
    }
    let mut shape = batch.clone();
    if a.ndim() > 1 {
        shape.push(left_matrix[0]);
    }
    if b.ndim() > 1 {
        shape.push(right_matrix[1]);
    }
    Array::from_shape_vec(IxDyn(&shape), values).map(|y| vec![y]).map_err(|error| error.to_string())
}

fn gemm(call: &Call<'_>) -> Outputs {
    let matrix = |index, name| {
        let matrix = call.get(index)?.view().into_dimensionality::<Ix2>();
        let matrix = matrix.map_err(|error| error.to_string())?;
        Ok::<_, String>(if call.int(name, 0) == 1 { matrix.reversed_axes() } else { matrix })
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if a.ncols() != b.nrows() {
        return Err(format!("{:?} × {:?}", a.shape(), b.shape()));
    }
    let mut y = (a.dot(&b) * call.float("alpha", 1.0)).into_dyn();
    if let Some(c) = call.optional(2) {
        y = y + c * call.float("beta", 1.0);
    }
    Ok(vec![y])
}

/// Every product of elements whose labels agree is added where the output's labels say.
fn einsum(call: &Call<'_>) -> Outputs {
    let equation = call.node.string("equation").unwrap_or_default();
    let labels = Einsum::parse(equation).ok_or_else(|| format!("equation {equation:?}"))?;
    let xs: Vec<&Array> =
        (0..labels.inputs.len()).map(|i| call.get(i)).collect::<Result<_, _>>()?;
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (labels, x) in labels.inputs.iter().zip(&xs) {
        sizes.extend(labels.iter().copied().zip(x.shape().iter().copied()));
    }
    let names: Vec<char> = sizes.keys().copied().collect();
    let all: Vec<usize> = sizes.values().copied().collect();
    let shape: Vec<usize> = labels.output.iter().map(|label| sizes[label]).collect();
    let mut y = Array::zeros(IxDyn(&shape));
    for index in super::indices(&all) {
        let at = |labels: &[char]| -> Vec<usize> {
            let place = |label| names.iter().position(|name| name == label);
            labels.iter().filter_map(place).map(|place| index[place]).collect()
        };
        let factors = labels.inputs.iter().zip(&xs).map(|(labels, x)| x[&at(labels)[..]]);
        y[&at(&labels.output)[..]] += factors.product::<f64>();
    }
    Ok(vec![y])
}

/// The axes to reduce, all of them by default.
fn axes(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let given = call.ints(1, "axes").filter(|axes| !axes.is_empty());
    match given {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect(),
        None if call.int("noop_with_empty_axes", 0) == 1 => Ok(Vec::new()),
        None => Ok((0..rank).collect()),
    }
}

fn reduce(call: &Call<'_>, f: impl Fn(&[f64], f64) -> f64) -> Outputs {
    let x = call.get(0)?;
    let axes = axes(call, x.ndim())?;
    let reduced = |i: &usize| axes.contains(i);
    let kept: Vec<usize> =
        x.shape().iter().enumerate().map(|(i, &n)| if reduced(&i) { 1 } else { n }).collect();
    // What is reduced together lies together once its axes are last.
    let (last, first): (Vec<usize>, Vec<usize>) = (0..x.ndim()).partition(reduced);
    let together = x.view().permuted_axes(IxDyn(&[first, last].concat()));
    let values: Vec<f64> = together.iter().copied().collect();
    let count = axes.iter().map(|&axis| x.shape()[axis]).product::<usize>();
    let y: Vec<f64> = values.chunks(count.max(1)).map(|part| f(part, count as f64)).collect();
    let y = Array::from_shape_vec(IxDyn(&kept), y).map_err(|error| error.to_string())?;
    keep_or_drop(call, y, &axes)
}

/// Sums one axis after the other: most of what a training step reduces, and the quickest way.
fn sum(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Outputs {
    let x = call.get(0)?;
    let axes = axes(call, x.ndim())?;
    let count = axes.iter().map(|&axis| x.shape()[axis]).product::<usize>() as f64;
    let sum = axes.iter().fold(x.clone(), |y, &at| y.sum_axis(Axis(at)).insert_axis(Axis(at)));
    keep_or_drop(call, sum.mapv(|sum| f(sum, count)), &axes)
}

/// The reduced axes of `y` have length 1 and stay, or go.
fn keep_or_drop(call: &Call<'_>, y: Array, axes: &[usize]) -> Outputs {
    if call.int("keepdims", 1) == 1 {
        return Ok(vec![y]);
    }
    let left = y.shape().iter().enumerate().filter(|(i, _)| !axes.contains(i));
    let shape: Vec<usize> = left.map(|(_, &n)| n).collect();
    y.into_shape_with_order(IxDyn(&shape)).map(|y| vec![y]).map_err(|error| error.to_string())
}

fn arg(call: &Call<'_>, better: impl Fn(f64, f64) -> bool) -> Outputs {
    let x = call.get(0)?;
    let axis = axis(call.int("axis", 0), x.ndim())?;
    let y = x.map_axis(Axis(axis), |lane| {
        let mut best = 0;
        for i in 1..lane.len() {
            if better(lane[i], lane[best]) {
                best = i;
            }
        }
        best as f64
    });
    Ok(vec![if call.int("keepdims", 1) == 1 { y.insert_axis(Axis(axis)) } else { y }])
}

fn cumulative(call: &Call<'_>) -> Outputs {
    let mut x = call.get(0)?.clone();
    let at = call.get(1)?.iter().next().copied().unwrap_or(0.0);
    let axis = axis(at as i64, x.ndim())?;
    if call.int("exclusive", 0) + call.int("reverse", 0) != 0 {
        return Err("exclusive or reverse sums".to_owned());
    }
    x.accumulate_axis_inplace(Axis(axis), |&before, here| *here += before);
    Ok(vec![x])
}
