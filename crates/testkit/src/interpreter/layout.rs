//! Operators that move elements.

use super::{Array, Call, Outputs, axis, constant, filled};
use ndarray::{ArrayViewD, Axis, IxDyn};
use nearkin_onnx::AttributeValue;

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    Some(match call.node.op.as_str() {
        "Constant" => constant_node(call),
        "ConstantOfShape" => constant_of_shape(call),
        "Shape" => shape(call),
        "Reshape" => reshape(call),
        "Flatten" => flatten(call),
        "Squeeze" => squeeze(call),
        "Unsqueeze" => unsqueeze(call),
        "Transpose" => transpose(call),
        "Concat" => concat(call),
        "Split" => split(call),
        "Slice" => slice(call),
        "Pad" => pad(call),
        "Expand" => expand(call),
        "Tile" => tile(call),
        "Gather" => gather(call),
        "GatherElements" => gather_elements(call),
        "GatherND" => gather_nd(call),
        "ScatterElements" => scatter_elements(call),
        "ScatterND" => scatter_nd(call),
        "OneHot" => one_hot(call),
        _ => return None,
    })
}

fn shaped(x: &Array, shape: &[usize]) -> Outputs {
    let standard = x.as_standard_layout().into_owned();
    standard
        .into_shape_with_order(IxDyn(shape))
        .map(|y| vec![y])
        .map_err(|_| format!("{:?} as {shape:?}", x.shape()))
}

fn constant_node(call: &Call<'_>) -> Outputs {
    match call.attribute("value") {
        Some(AttributeValue::Tensor(tensor)) => {
            constant(tensor).map(|array| vec![array]).ok_or("a constant of this type".to_owned())
        }
        _ => Err("a constant of this kind".to_owned()),
    }
}

fn constant_of_shape(call: &Call<'_>) -> Outputs {
    let value = match call.attribute("value") {
        Some(AttributeValue::Tensor(tensor)) => {
            constant(tensor).and_then(|array| array.iter().next().copied()).unwrap_or(0.0)
        }
        _ => 0.0,
    };
    let shape: Vec<usize> = call.get(0)?.iter().map(|&n| n as usize).collect();
    Ok(vec![Array::from_elem(IxDyn(&shape), value)])
}

fn shape(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let rank = x.ndim() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(call.int("start", 0)), place(call.int("end", rank)));
    let dims: Vec<f64> = x.shape()[start..end.max(start)].iter().map(|&n| n as f64).collect();
    Ok(vec![ndarray::Array1::from(dims).into_dyn()])
}

fn reshape(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let mut shape = Vec::new();
    let target = call.ints(1, "shape").ok_or("no shape")?;
    for (i, &n) in target.iter().enumerate() {
        shape.push(match n {
            0 if call.int("allowzero", 0) == 0 => *x.shape().get(i).ok_or("no such axis")?,
            -1 => usize::MAX,
            n => usize::try_from(n).map_err(|error| error.to_string())?,
        });
    }
    let known: usize = shape.iter().filter(|&&n| n != usize::MAX).product();
    for n in &mut shape {
        if *n == usize::MAX {
            *n = x.len() / known.max(1);
        }
    }
    shaped(x, &shape)
}

fn flatten(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let at = call.int("axis", 1);
    let at = if at < 0 { at + x.ndim() as i64 } else { at } as usize;
    let (outer, inner) = x.shape().split_at(at);
    shaped(x, &[outer.iter().product(), inner.iter().product()])
}

fn squeeze(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let axes: Option<Vec<usize>> = call
        .ints(1, "axes")
        .map(|axes| axes.iter().map(|&a| axis(a, x.ndim())).collect())
        .transpose()?;
    let dropped = |i: usize, n: usize| axes.as_ref().map_or(n == 1, |axes| axes.contains(&i));
    let shape: Vec<usize> =
        x.shape().iter().enumerate().filter(|&(i, &n)| !dropped(i, n)).map(|(_, &n)| n).collect();
    shaped(x, &shape)
}

fn unsqueeze(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let axes = call.ints(1, "axes").ok_or("no axes")?;
    let rank = x.ndim() + axes.len();
    let axes: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?;
    let mut rest = x.shape().iter().copied();
    let shape: Vec<usize> =
        (0..rank).map(|i| if axes.contains(&i) { 1 } else { rest.next().unwrap_or(1) }).collect();
    shaped(x, &shape)
}

fn transpose(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let order: Vec<usize> = match call.node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| p as usize).collect(),
        None => (0..x.ndim()).rev().collect(),
    };
    Ok(vec![x.clone().permuted_axes(IxDyn(&order)).as_standard_layout().into_owned()])
}

fn concat(call: &Call<'_>) -> Outputs {
    let views: Vec<ArrayViewD<'_, f64>> =
        (0..call.inputs.len()).map(|i| Ok(call.get(i)?.view())).collect::<Result<_, String>>()?;
    let axis = axis(call.int("axis", 0), call.get(0)?.ndim())?;
    ndarray::concatenate(Axis(axis), &views).map(|y| vec![y]).map_err(|error| error.to_string())
}

fn split(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let axis = axis(call.int("axis", 0), x.ndim())?;
    let parts = call.node.outputs.len();
    let length = x.shape()[axis];
    let sizes: Vec<usize> = match call.ints(1, "split") {
        Some(sizes) => sizes.iter().map(|&n| n as usize).collect(),
        None => {
            let chunk = length.div_ceil(parts);
            (0..parts).map(|i| chunk.min(length.saturating_sub(i * chunk))).collect()
        }
    };
    let mut start = 0;
    let part = |size: usize| {
        let part = x.slice_axis(Axis(axis), ndarray::Slice::from(start..start + size)).to_owned();
        start += size;
        part
    };
    Ok(sizes.into_iter().map(part).collect())
}

fn slice(call: &Call<'_>) -> Outputs {
    let mut x = call.get(0)?.clone();
    let starts = call.ints(1, "starts").ok_or("no starts")?;
    let ends = call.ints(2, "ends").ok_or("no ends")?;
    let axes = call.ints(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.ints(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    for (((&start, &end), &at), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = axis(at, x.ndim())?;
        let size = x.shape()[axis] as i64;
        let place = |at: i64, low: i64, high: i64| {
            (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high)
        };
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let end = place(end, low, high);
        let mut chosen = Vec::new();
        let mut at = place(start, 0, if step > 0 { size } else { size - 1 });
        while if step > 0 { at < end } else { at > end } {
            chosen.push(at as usize);
            at += step;
        }
        x = x.select(Axis(axis), &chosen);
    }
    Ok(vec![x])
}

fn pad(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let pads = call.ints(1, "pads").ok_or("no pads")?;
    let rank = x.ndim();
    let axes = call.ints(3, "axes").unwrap_or_else(|| (0..rank as i64).collect());
    let (mut before, mut after) = (vec![0i64; rank], vec![0i64; rank]);
    for (i, &a) in axes.iter().enumerate() {
        let at = axis(a, rank)?;
        before[at] = pads[i];
        after[at] = pads[i + axes.len()];
    }
    let shape: Vec<usize> =
        (0..rank).map(|i| (x.shape()[i] as i64 + before[i] + after[i]) as usize).collect();
    let value = call.optional(2).and_then(|v| v.iter().next().copied()).unwrap_or(0.0);
    let mode = call.node.string("mode").unwrap_or("constant").to_owned();
    Ok(vec![filled(&shape, |index| {
        let mut source = Vec::with_capacity(rank);
        for i in 0..rank {
            let (at, size) = (index[i] as i64 - before[i], x.shape()[i] as i64);
            let inside = (0..size).contains(&at);
            source.push(match mode.as_str() {
                _ if inside => at as usize,
                "edge" => at.clamp(0, size - 1) as usize,
                "reflect" => (if at < 0 { -at } else { 2 * (size - 1) - at }) as usize,
                _ => return value,
            });
        }
        x[&source[..]]
    })])
}

fn expand(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let target: Vec<usize> = call.get(1)?.iter().map(|&n| n as usize).collect();
    let shape = super::elementwise::broadcast(x.shape(), &target)?;
    let view = x.broadcast(IxDyn(&shape)).ok_or("cannot expand")?;
    Ok(vec![view.to_owned()])
}

fn tile(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let repeats = call.ints(1, "repeats").ok_or("no repeats")?;
    let shape: Vec<usize> =
        x.shape().iter().zip(&repeats).map(|(&n, &times)| n * times as usize).collect();
    Ok(vec![filled(&shape, |index| {
        let source: Vec<usize> = index.iter().zip(x.shape()).map(|(&i, &n)| i % n).collect();
        x[&source[..]]
    })])
}

fn wrapped(index: f64, size: usize) -> Result<usize, String> {
    let at = if index < 0.0 { index + size as f64 } else { index };
    if at >= 0.0 && at < size as f64 {
        Ok(at as usize)
    } else {
        Err(format!("index {index} of {size}"))
    }
}

fn gather(call: &Call<'_>) -> Outputs {
    let (x, chosen) = (call.get(0)?, call.get(1)?);
    let axis = axis(call.int("axis", 0), x.ndim())?;
    let size = x.shape()[axis];
    let rows: Vec<usize> = chosen.iter().map(|&i| wrapped(i, size)).collect::<Result<_, _>>()?;
    let y = x.select(Axis(axis), &rows);
    let shape = [&x.shape()[..axis], chosen.shape(), &x.shape()[axis + 1..]].concat();
    shaped(&y, &shape)
}

fn gather_elements(call: &Call<'_>) -> Outputs {
    let (x, chosen) = (call.get(0)?, call.get(1)?);
    let axis = axis(call.int("axis", 0), x.ndim())?;
    let mut failure = None;
    let y = filled(chosen.shape(), |index| {
        let mut source = index.to_vec();
        match wrapped(chosen[index], x.shape()[axis]) {
            Ok(at) => source[axis] = at,
            Err(problem) => failure = Some(problem),
        }
        x[&source[..]]
    });
    failure.map_or(Ok(vec![y]), Err)
}

fn scatter_elements(call: &Call<'_>) -> Outputs {
    let (mut x, chosen, updates) = (call.get(0)?.clone(), call.get(1)?, call.get(2)?);
    let axis = axis(call.int("axis", 0), x.ndim())?;
    let reduction = call.node.string("reduction").unwrap_or("none").to_owned();
    for index in super::indices(chosen.shape()) {
        let mut target = index.clone();
        target[axis] = wrapped(chosen[&index[..]], x.shape()[axis])?;
        let update = updates[&index[..]];
        match reduction.as_str() {
            "add" => x[&target[..]] += update,
            "none" => x[&target[..]] = update,
            other => return Err(format!("reduction {other}")),
        }
    }
    Ok(vec![x])
}

/// The place in `x` that the last dimension of `chosen` names at `index`.
fn named(chosen: &Array, index: &[usize], shape: &[usize]) -> Result<Vec<usize>, String> {
    let depth = chosen.shape().last().copied().unwrap_or(0);
    let at = |i: usize| wrapped(chosen[&[index, &[i]].concat()[..]], shape[i]);
    (0..depth).map(at).collect()
}

fn gather_nd(call: &Call<'_>) -> Outputs {
    let (x, chosen) = (call.get(0)?, call.get(1)?);
    if call.int("batch_dims", 0) != 0 {
        return Err("batch_dims".to_owned());
    }
    let depth = chosen.shape().last().copied().ok_or("indices without dimensions")?;
    let places = &chosen.shape()[..chosen.ndim() - 1];
    let mut failure = None;
    let y = filled(&[places, &x.shape()[depth..]].concat(), |index| {
        match named(chosen, &index[..places.len()], x.shape()) {
            Ok(start) => x[&[&start[..], &index[places.len()..]].concat()[..]],
            Err(problem) => {
                failure = Some(problem);
                0.0
            }
        }
    });
    failure.map_or(Ok(vec![y]), Err)
}

fn scatter_nd(call: &Call<'_>) -> Outputs {
    let (mut x, chosen, updates) = (call.get(0)?.clone(), call.get(1)?, call.get(2)?);
    let adds = match call.node.string("reduction").unwrap_or("none") {
        "add" => true,
        "none" => false,
        other => return Err(format!("reduction {other}")),
    };
    let count = chosen.ndim() - 1;
    for index in super::indices(updates.shape()) {
        let start = named(chosen, &index[..count], x.shape())?;
        let target = &mut x[&[&start[..], &index[count..]].concat()[..]];
        *target = if adds { *target } else { 0.0 } + updates[&index[..]];
    }
    Ok(vec![x])
}

fn one_hot(call: &Call<'_>) -> Outputs {
    let (chosen, values) = (call.get(0)?, call.get(2)?);
    let depth = call.get(1)?.iter().next().copied().ok_or("no depth")? as usize;
    let axis = axis(call.int("axis", -1), chosen.ndim() + 1)?;
    let mut shape = chosen.shape().to_vec();
    shape.insert(axis, depth);
    Ok(vec![filled(&shape, |index| {
        let mut source = index.to_vec();
        let class = source.remove(axis) as f64;
        let label = chosen[&source[..]];
        let label = if label < 0.0 { label + depth as f64 } else { label };
        if label == class { values[[1]] } else { values[[0]] }
    })])
}
