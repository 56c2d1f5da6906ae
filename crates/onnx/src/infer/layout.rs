//! Operators that move elements without changing them, and constants.

use super::elementwise::broadcast;
use super::{Call, InferError, Types, show};
use crate::graph::AttributeValue;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::ElementType;

pub(super) fn infer(call: &Call<'_>) -> Option<Types> {
    Some(match call.op() {
        "Transpose" => transpose(call),
        "Reshape" => reshape(call),
        "Flatten" => flatten(call),
        "Squeeze" => squeeze(call),
        "Unsqueeze" => unsqueeze(call),
        "Concat" => concat(call),
        "Split" => split(call),
        "Slice" => slice(call),
        "Gather" => gather(call),
        "OneHot" => one_hot(call),
        "GatherElements" => gather_elements(call),
        "GatherND" => gather_nd(call),
        "ScatterElements" | "ScatterND" => {
            call.shape(0).map(<[Dim]>::to_vec).and_then(|dims| call.one(call.element(0)?, dims))
        }
        "Expand" => expand(call),
        "Tile" => tile(call),
        "Shape" => shape_of(call),
        "Size" => call.one(ElementType::Int64, vec![]),
        "Range" => range(call),
        "Constant" => constant(call),
        "ConstantOfShape" => constant_of_shape(call),
        _ => return None,
    })
}

fn transpose(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let order: Vec<usize> = match call.node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| call.axis(p, dims.len())).collect::<Result<_, _>>()?,
        None => (0..dims.len()).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..dims.len()) {
        return Err(call.mismatch(format!("an order of {} axes", dims.len()), format!("{order:?}")));
    }
    call.one(call.element(0)?, order.iter().map(|&axis| dims[axis].clone()).collect())
}

/// The product of dimensions as `factor · symbol`; `None` if more than one symbol or unknown.
fn product(dims: &[Dim]) -> Option<(usize, Option<Dim>)> {
    let mut factor = 1usize;
    let mut symbol = None;
    for dim in dims {
        match dim {
            Dim::Known(size) => factor = factor.checked_mul(*size)?,
            Dim::Symbol { name, factor: times } if symbol.is_none() => {
                factor = factor.checked_mul(*times)?;
                symbol = Some(Dim::Symbol { name: name.clone(), factor: 1 });
            }
            _ => return None,
        }
    }
    Some((factor, symbol))
}

/// The dimension that makes `(factor, symbol)` of the rest.
fn quotient(whole: (usize, Option<Dim>), rest: (usize, Option<Dim>)) -> Option<Dim> {
    if !whole.0.is_multiple_of(rest.0) || rest.0 == 0 {
        return None;
    }
    let factor = whole.0 / rest.0;
    match (whole.1, rest.1) {
        (symbol, other) if symbol == other => Some(Dim::Known(factor)),
        (Some(Dim::Symbol { name, .. }), None) if factor > 0 => Some(Dim::Symbol { name, factor }),
        _ => None,
    }
}

/// The target may hold 0 (copy the input's dimension) and one −1 (what is left).
fn reshape(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let target = call
        .constant_ints(1)
        .ok_or_else(|| InferError::UnknownInput { op: call.node.op.clone(), index: 1 })?;
    let wrong = || call.mismatch(format!("{} elements", show(dims)), format!("target {target:?}"));
    let copies = call.node.int("allowzero") != Some(1);
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, &size) in target.iter().enumerate() {
        shape.push(match size {
            0 if copies => dims.get(i).cloned().ok_or_else(wrong)?,
            -1 if open.is_none() => {
                open = Some(i);
                Dim::Known(1)
            }
            _ => Dim::Known(usize::try_from(size).map_err(|_| wrong())?),
        });
    }
    let (whole, rest) = (product(dims), product(&shape));
    if let Some(open) = open {
        shape[open] = match (whole, rest) {
            (Some(whole), Some(rest)) => quotient(whole, rest).ok_or_else(wrong)?,
            _ => Dim::Unknown,
        };
    } else if let (Some(whole), Some(rest)) = (whole, rest)
        && whole != rest
        && (whole.1 == rest.1)
    {
        return Err(wrong());
    }
    call.one(call.element(0)?, shape)
}

fn flatten(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let axis = call.node.int("axis").unwrap_or(1);
    let axis = if usize::try_from(axis) == Ok(dims.len()) {
        dims.len()
    } else {
        call.axis(axis, dims.len())?
    };
    let join = |dims: &[Dim]| match product(dims) {
        Some((factor, None)) => Dim::Known(factor),
        Some((factor, Some(Dim::Symbol { name, .. }))) => Dim::Symbol { name, factor },
        _ => Dim::Unknown,
    };
    call.one(call.element(0)?, vec![join(&dims[..axis]), join(&dims[axis..])])
}

fn squeeze(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let axes: Vec<usize> = match call.ints_at(1, "axes")? {
        Some(axes) => axes.iter().map(|&a| call.axis(a, dims.len())).collect::<Result<_, _>>()?,
        None => (0..dims.len()).filter(|&i| dims[i] == Dim::Known(1)).collect(),
    };
    for &axis in &axes {
        if !matches!(dims[axis], Dim::Known(1) | Dim::Unknown) {
            return Err(call.mismatch(format!("size 1 at axis {axis}"), show(dims)));
        }
    }
    let kept = dims.iter().enumerate().filter(|(i, _)| !axes.contains(i));
    call.one(call.element(0)?, kept.map(|(_, dim)| dim.clone()).collect())
}

fn unsqueeze(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let axes = call.ints_at(1, "axes")?.unwrap_or_default();
    let rank = dims.len() + axes.len();
    let mut axes = axes.iter().map(|&a| call.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    for axis in axes {
        dims.insert(axis.min(dims.len()), Dim::Known(1));
    }
    call.one(call.element(0)?, dims)
}

fn concat(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let axis = call.axis(call.node.int("axis").unwrap_or(0), dims.len())?;
    for index in 1..call.node.inputs.len() {
        let other = call.shape(index)?;
        let fits = other.len() == dims.len()
            && (0..dims.len()).all(|i| {
                i == axis
                    || !matches!((&dims[i], &other[i]), (Dim::Known(a), Dim::Known(b)) if a != b)
            });
        if !fits {
            let expected = format!("shapes equal but for axis {axis}");
            return Err(call.mismatch(expected, format!("{} and {}", show(&dims), show(other))));
        }
        dims[axis] = match (&dims[axis], &other[axis]) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(a + b),
            _ => Dim::Unknown,
        };
        for i in (0..dims.len()).filter(|&i| i != axis) {
            if dims[i].known().is_none() && other[i].known().is_some() {
                dims[i] = other[i].clone();
            }
        }
    }
    call.one(call.element(0)?, dims)
}

fn split(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let axis = call.axis(call.node.int("axis").unwrap_or(0), dims.len())?;
    let parts = call.node.outputs.len();
    let sizes: Vec<Dim> = match call.ints_at(1, "split")? {
        Some(sizes) => {
            sizes.iter().map(|&s| usize::try_from(s).map_or(Dim::Unknown, Dim::Known)).collect()
        }
        None => match dims[axis] {
            Dim::Known(size) => {
                let chunk = size.div_ceil(parts.max(1));
                let part = |i: usize| Dim::Known(chunk.min(size.saturating_sub(i * chunk)));
                (0..parts).map(part).collect()
            }
            _ => vec![Dim::Unknown; parts],
        },
    };
    let total: Option<usize> = sizes.iter().map(Dim::known).sum();
    if sizes.len() != parts || dims[axis].known().is_some_and(|size| total != Some(size)) {
        let found = format!("{} parts of {}", show(&sizes), dims[axis]);
        return Err(call.mismatch(format!("{parts} parts that fill axis {axis}"), found));
    }
    let element = call.element(0)?;
    Ok(sizes
        .into_iter()
        .map(|size| {
            let mut dims = dims.to_vec();
            dims[axis] = size;
            TensorType { element, shape: Some(Shape(dims)) }
        })
        .collect())
}

fn slice(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let unknown = |index| InferError::UnknownInput { op: call.node.op.clone(), index };
    let starts = call.ints_at(1, "starts")?.ok_or_else(|| unknown(1))?;
    let ends = call.ints_at(2, "ends")?.ok_or_else(|| unknown(2))?;
    let axes = match call.ints_at(3, "axes")? {
        Some(axes) => axes,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = call.ints_at(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        let found = format!("starts {starts:?} ends {ends:?} axes {axes:?} steps {steps:?}");
        return Err(call.mismatch("as many ends, axes and steps ≠ 0 as starts", found));
    }
    for i in 0..starts.len() {
        let axis = call.axis(axes[i], dims.len())?;
        let Dim::Known(size) = dims[axis] else {
            // The whole of a symbolic axis stays that axis.
            if !(starts[i] == 0 && ends[i] >= i64::from(i32::MAX) && steps[i] == 1) {
                dims[axis] = Dim::Unknown;
            }
            continue;
        };
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let place = |at: i64, low: i64, high: i64| {
            (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high)
        };
        let length = if steps[i] > 0 {
            let (start, end) = (place(starts[i], 0, size), place(ends[i], 0, size));
            (end - start).max(0).div_ceil_positive(steps[i])
        } else {
            let (start, end) = (place(starts[i], 0, size - 1), place(ends[i], -1, size - 1));
            (start - end).max(0).div_ceil_positive(steps[i].saturating_neg())
        };
        dims[axis] = Dim::Known(usize::try_from(length).unwrap_or(0));
    }
    call.one(call.element(0)?, dims)
}

trait DivCeil {
    fn div_ceil_positive(self, step: i64) -> i64;
}

impl DivCeil for i64 {
    /// ⌈self / step⌉ for self ≥ 0 and step > 0.
    fn div_ceil_positive(self, step: i64) -> i64 {
        self / step + i64::from(self % step != 0)
    }
}

fn gather(call: &Call<'_>) -> Types {
    let (data, indices) = (call.shape(0)?, call.shape(1)?);
    let axis = call.axis(call.node.int("axis").unwrap_or(0), data.len())?;
    call.one(call.element(0)?, [&data[..axis], indices, &data[axis + 1..]].concat())
}

/// A new axis of `depth` before or after the indices' own.
fn one_hot(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let axis = call.axis(call.node.int("axis").unwrap_or(-1), dims.len() + 1)?;
    let depth = call.constant_ints(1).and_then(|depth| usize::try_from(*depth.first()?).ok());
    dims.insert(axis, depth.map_or(Dim::Unknown, Dim::Known));
    call.one(call.element(2)?, dims)
}

fn gather_elements(call: &Call<'_>) -> Types {
    let (data, indices) = (call.shape(0)?, call.shape(1)?.to_vec());
    if data.len() != indices.len() {
        let found = format!("{} and {}", show(data), show(&indices));
        return Err(call.mismatch("data and indices of one rank", found));
    }
    call.one(call.element(0)?, indices)
}

/// Each row of indices names a part of the data; `batch_dims` leading dimensions are shared.
fn gather_nd(call: &Call<'_>) -> Types {
    let (data, indices) = (call.shape(0)?, call.shape(1)?);
    let shared = usize::try_from(call.node.int("batch_dims").unwrap_or(0)).unwrap_or(usize::MAX);
    let depth = indices.last().and_then(Dim::known);
    let named = depth.and_then(|depth| data.get(shared.checked_add(depth)?..));
    let Some((named, (_, places))) = named.zip(indices.split_last()) else {
        let found = format!("{} of {}", show(indices), show(data));
        return Err(call.mismatch("indices that fit the data", found));
    };
    call.one(call.element(0)?, [places, named].concat())
}

fn expand(call: &Call<'_>) -> Types {
    let dims = call.shape(0)?;
    let target = call
        .constant_ints(1)
        .ok_or_else(|| InferError::UnknownInput { op: call.node.op.clone(), index: 1 })?;
    let size = |&size: &i64| usize::try_from(size).map_or(Dim::Unknown, Dim::Known);
    let shape: Vec<Dim> = target.iter().map(size).collect();
    let dims = broadcast(dims, &shape)
        .ok_or_else(|| call.mismatch(format!("a shape that expands to {target:?}"), show(dims)))?;
    call.one(call.element(0)?, dims)
}

fn tile(call: &Call<'_>) -> Types {
    let mut dims = call.shape(0)?.to_vec();
    let repeats = call
        .constant_ints(1)
        .ok_or_else(|| InferError::UnknownInput { op: call.node.op.clone(), index: 1 })?;
    if repeats.len() != dims.len() {
        return Err(call.mismatch(format!("{} repeats", dims.len()), format!("{repeats:?}")));
    }
    for (dim, &times) in dims.iter_mut().zip(&repeats) {
        let times = usize::try_from(times).unwrap_or(0);
        *dim = match dim {
            Dim::Known(size) => Dim::Known(*size * times),
            Dim::Symbol { name, factor } if times > 0 => {
                Dim::Symbol { name: name.clone(), factor: *factor * times }
            }
            _ => Dim::Unknown,
        };
    }
    call.one(call.element(0)?, dims)
}

fn shape_of(call: &Call<'_>) -> Types {
    let rank = call.shape(0)?.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank);
    let start = place(call.node.int("start").unwrap_or(0));
    let end = place(call.node.int("end").unwrap_or(rank));
    let length = usize::try_from((end - start).max(0)).unwrap_or(0);
    call.one(ElementType::Int64, vec![Dim::Known(length)])
}

fn range(call: &Call<'_>) -> Types {
    let one = |index| Some(i128::from(*call.constant_ints(index)?.first()?));
    let length = match (one(0), one(1), one(2)) {
        (Some(start), Some(limit), Some(step)) if step != 0 => {
            let (span, step) =
                if step > 0 { (limit - start, step) } else { (start - limit, -step) };
            let whole = span.max(0) / step + i128::from(span.max(0) % step != 0);
            usize::try_from(whole).map_or(Dim::Unknown, Dim::Known)
        }
        _ => Dim::Unknown,
    };
    call.one(call.element(0)?, vec![length])
}

fn constant(call: &Call<'_>) -> Types {
    let list = |element, length: usize| call.one(element, vec![Dim::Known(length)]);
    for attribute in &call.node.attributes {
        match (attribute.name.as_str(), &attribute.value) {
            ("value", AttributeValue::Tensor(tensor)) => {
                return call.one(tensor.element, Shape::known(&tensor.dims).0);
            }
            ("value_float", AttributeValue::Float(_)) => {
                return call.one(ElementType::Float, vec![]);
            }
            ("value_int", AttributeValue::Int(_)) => return call.one(ElementType::Int64, vec![]),
            ("value_floats", AttributeValue::Floats(v)) => {
                return list(ElementType::Float, v.len());
            }
            ("value_ints", AttributeValue::Ints(v)) => return list(ElementType::Int64, v.len()),
            _ => {}
        }
    }
    Err(InferError::NoRule("Constant of this kind".to_owned()))
}

fn constant_of_shape(call: &Call<'_>) -> Types {
    let element = match call.node.attribute("value") {
        Some(AttributeValue::Tensor(tensor)) => tensor.element,
        _ => ElementType::Float,
    };
    let sizes = call
        .constant_ints(0)
        .ok_or_else(|| InferError::UnknownInput { op: call.node.op.clone(), index: 0 })?;
    let dim = |&size: &i64| usize::try_from(size).map_or(Dim::Unknown, Dim::Known);
    call.one(element, sizes.iter().map(dim).collect())
}
