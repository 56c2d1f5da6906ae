//! Matrix products and reductions.

use super::elementwise::broadcast;
use super::{Call, InferError, Types, show};
use crate::einsum::Einsum;
use crate::shape::Dim;
use crate::tensor::ElementType;
use std::collections::BTreeMap;

pub(super) fn infer(call: &Call<'_>) -> Option<Types> {
    Some(match call.op() {
        "MatMul" => matmul(call),
        "Gemm" => gemm(call),
        "Einsum" => einsum(call),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSumExp" => reduce(call),
        "ArgMax" | "ArgMin" => arg(call),
        _ => return None,
    })
}

/// NumPy's `matmul`; vectors are given a dimension that is dropped again.
fn matmul(call: &Call<'_>) -> Types {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    let wrong =
        || call.mismatch("matrices whose inner sizes agree", format!("{} × {}", show(a), show(b)));
    if a.is_empty() || b.is_empty() {
        return Err(wrong());
    }
    let one = [Dim::Known(1)];
    let left = if a.len() == 1 { [&one, a].concat() } else { a.to_vec() };
    let right = if b.len() == 1 { [b, &one].concat() } else { b.to_vec() };
    let (left_batch, left_matrix) = left.split_at(left.len() - 2);
    let (right_batch, right_matrix) = right.split_at(right.len() - 2);
    let (inner, other) = (&left_matrix[1], &right_matrix[0]);
    if let (Dim::Known(k), Dim::Known(l)) = (inner, other)
        && k != l
    {
        return Err(wrong());
    }
    let mut dims = broadcast(left_batch, right_batch).ok_or_else(wrong)?;
    if a.len() > 1 {
        dims.push(left_matrix[0].clone());
    }
    if b.len() > 1 {
        dims.push(right_matrix[1].clone());
    }
    call.one(call.element(0)?, dims)
}

/// α·A′B′ + β·C with A′ and B′ transposed on request.
fn gemm(call: &Call<'_>) -> Types {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    let turned = |name: &str| call.node.int(name) == Some(1);
    let wrong = || {
        let transposed =
            |name, shape| format!("{}{}", show(shape), if turned(name) { "ᵀ" } else { "" });
        let found = format!("{} × {}", transposed("transA", a), transposed("transB", b));
        call.mismatch("two matrices whose inner sizes agree", found)
    };
    let ([a0, a1], [b0, b1]) = (a, b) else { return Err(wrong()) };
    let (rows, inner) = if turned("transA") { (a1, a0) } else { (a0, a1) };
    let (other, columns) = if turned("transB") { (b1, b0) } else { (b0, b1) };
    if let (Dim::Known(k), Dim::Known(l)) = (inner, other)
        && k != l
    {
        return Err(wrong());
    }
    let dims = vec![rows.clone(), columns.clone()];
    if call.has(2) && broadcast(&dims, call.shape(2)?).is_none_or(|d| d != dims) {
        return Err(call.mismatch(format!("a bias for {}", show(&dims)), show(call.shape(2)?)));
    }
    call.one(call.element(0)?, dims)
}

fn einsum(call: &Call<'_>) -> Types {
    let equation = call.node.string("equation").unwrap_or_default();
    let Some(labels) = Einsum::parse(equation) else {
        return Err(InferError::NoRule(format!("Einsum of {equation:?}")));
    };
    let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
    for (index, labels) in labels.inputs.iter().enumerate() {
        let dims = call.shape(index)?;
        if dims.len() != labels.len() {
            return Err(call.mismatch(format!("{} dimensions", labels.len()), show(dims)));
        }
        for (&label, dim) in labels.iter().zip(dims) {
            let known = sizes.entry(label).or_insert_with(|| dim.clone());
            match (&*known, dim) {
                (Dim::Known(a), Dim::Known(b)) if a != b => {
                    return Err(call.mismatch(format!("{label} of {a}"), show(dims)));
                }
                (Dim::Known(_), _) => {}
                _ => *known = dim.clone(),
            }
        }
    }
    let dims = labels.output.iter().map(|label| sizes[label].clone()).collect();
    call.one(call.element(0)?, dims)
}

fn reduce(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let axes = call.ints_at(1, "axes")?.filter(|axes| !axes.is_empty());
    let none = call.node.int("noop_with_empty_axes") == Some(1);
    let axes: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&a| call.axis(a, dims.len())).collect::<Result<_, _>>()?,
        None if none => Vec::new(),
        None => (0..dims.len()).collect(),
    };
    let reduced = without(dims, &axes, call.node.int("keepdims") != Some(0));
    call.one(call.element(0)?, reduced)
}

fn arg(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let axis = call.axis(call.node.int("axis").unwrap_or(0), dims.len())?;
    let reduced = without(dims, &[axis], call.node.int("keepdims") != Some(0));
    call.one(ElementType::Int64, reduced)
}

fn without(dims: &[Dim], axes: &[usize], keep: bool) -> Vec<Dim> {
    let reduced = |i: &usize| axes.contains(i);
    if keep {
        let keep = |(i, dim): (usize, &Dim)| if reduced(&i) { Dim::Known(1) } else { dim.clone() };
        dims.iter().enumerate().map(keep).collect()
    } else {
        dims.iter().enumerate().filter(|(i, _)| !reduced(i)).map(|(_, d)| d.clone()).collect()
    }
}
