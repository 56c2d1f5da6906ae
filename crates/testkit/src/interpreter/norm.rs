//! Normalisations.

use super::{Array, Call, Outputs, axis, filled};
use ndarray::{Axis, IxDyn};

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    Some(match call.node.op.as_str() {
        "BatchNormalization" => batch_norm(call),
        "LayerNormalization" => layer_norm(call),
        "InstanceNormalization" => groups(call, None),
        "GroupNormalization" => groups(call, Some(call.int("num_groups", 1) as usize)),
        _ => return None,
    })
}

/// With given statistics, or in training form with the batch's own (whose running statistics, of the
/// biased variance, follow the output).
fn batch_norm(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let [scale, bias, mean, var] = [call.get(1)?, call.get(2)?, call.get(3)?, call.get(4)?];
    let eps = call.float("epsilon", 1e-5);
    let normalise = |mean: &Array, var: &Array| {
        filled(x.shape(), |index| {
            let c = index[1];
            (x[index] - mean[[c]]) / (var[[c]] + eps).sqrt() * scale[[c]] + bias[[c]]
        })
    };
    if call.int("training_mode", 0) == 0 {
        return Ok(vec![normalise(mean, var)]);
    }
    let channel = |c: usize| x.index_axis(Axis(1), c);
    let count = (x.len() / x.shape()[1].max(1)) as f64;
    let means = filled(mean.shape(), |index| channel(index[0]).sum() / count);
    let vars = filled(mean.shape(), |index| {
        channel(index[0]).iter().map(|v| (v - means[index]).powi(2)).sum::<f64>() / count
    });
    let keep = call.float("momentum", 0.9);
    let run = |old: &Array, new: &Array| old * keep + new * (1.0 - keep);
    Ok(vec![normalise(&means, &vars), run(mean, &means), run(var, &vars)])
}

/// Output, mean and inverse standard deviation over the dimensions from `axis` on.
fn layer_norm(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let axis = axis(call.int("axis", -1), x.ndim())?;
    let eps = call.float("epsilon", 1e-5);
    let (outer, inner) = x.shape().split_at(axis);
    let width: usize = inner.iter().product();
    let rows = x.as_standard_layout().into_owned();
    let rows = rows.into_shape_with_order((outer.iter().product::<usize>(), width));
    let rows = rows.map_err(|error| error.to_string())?;
    let mean = rows.mean_axis(Axis(1)).ok_or("no elements")?;
    let mut normed = rows.clone();
    let mut inverse = mean.clone();
    for (i, mut row) in normed.rows_mut().into_iter().enumerate() {
        let variance = row.iter().map(|x| (x - mean[i]).powi(2)).sum::<f64>() / width as f64;
        inverse[i] = (variance + eps).sqrt().recip();
        row.mapv_inplace(|x| (x - mean[i]) * inverse[i]);
    }
    let shaped = |array: ndarray::Array1<f64>| {
        let shape = [outer, &vec![1; inner.len()]].concat();
        array.into_shape_with_order(IxDyn(&shape)).map_err(|error| error.to_string())
    };
    let y = normed.into_shape_with_order(x.raw_dim()).map_err(|error| error.to_string())?;
    let mut y = y * call.get(1)?;
    if let Some(bias) = call.optional(2) {
        y += bias;
    }
    Ok(vec![y, shaped(mean)?, shaped(inverse)?])
}

/// Every group of channels of every image by itself; without `groups` every channel.
fn groups(call: &Call<'_>, groups: Option<usize>) -> Outputs {
    let (x, scale, bias) = (call.get(0)?, call.get(1)?, call.get(2)?);
    let eps = call.float("epsilon", 1e-5);
    let channels = x.shape()[1];
    let rows = x.shape()[0] * groups.unwrap_or(channels);
    let flat = x.as_standard_layout().into_owned();
    let mut flat = flat
        .into_shape_with_order((rows, x.len() / rows.max(1)))
        .map_err(|error| error.to_string())?;
    for mut row in flat.rows_mut() {
        let mean = row.mean().ok_or("no elements")?;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        row.mapv_inplace(|x| (x - mean) / (variance + eps).sqrt());
    }
    let normed = flat.into_shape_with_order(x.raw_dim()).map_err(|error| error.to_string())?;
    // One scale for each channel, or before opset 21 one for each group.
    let shared = channels / scale.len().max(1);
    Ok(vec![filled(x.shape(), |index| {
        let at = index[1] / shared.max(1);
        normed[index] * scale[[at]] + bias[[at]]
    })])
}
