//! Weights made for other options, adapted as timm does.

use crate::parameter::{Parameter, Role};

/// The values of `parameter` made from a tensor of other dimensions; `None` if there is no rule.
pub(crate) fn adapt(parameter: &Parameter, dims: &[usize], values: &[f32]) -> Option<Vec<f32>> {
    match parameter.role {
        Role::FirstConv => first_conv(parameter, dims, values),
        Role::PositionEmbedding { prefix, grid } => position(parameter, dims, values, prefix, grid),
        Role::Plain | Role::Classifier => None,
    }
}

/// timm's `adapt_input_conv`: one channel takes the sum over RGB; more channels repeat RGB, scaled
/// by 3 / channels so that activations keep their size.
fn first_conv(parameter: &Parameter, dims: &[usize], values: &[f32]) -> Option<Vec<f32>> {
    let ([outputs, channels, kernel @ ..], [from_outputs, from, from_kernel @ ..]) =
        (&parameter.dims[..], dims)
    else {
        return None;
    };
    if outputs != from_outputs || kernel != from_kernel || *from != 3 {
        return None;
    }
    let area: usize = kernel.iter().product();
    let scale = 3.0 / *channels as f32;
    let mut adapted = Vec::with_capacity(outputs * channels * area);
    for filter in values.chunks(3 * area) {
        for channel in 0..*channels {
            adapted.extend((0..area).map(|i| match channels {
                1 => filter[i] + filter[area + i] + filter[2 * area + i],
                _ => filter[channel % 3 * area + i] * scale,
            }));
        }
    }
    Some(adapted)
}

/// timm's `resample_abs_pos_embed`: the prefix stays, the square grid is resampled bicubically
/// with antialiasing.
fn position(
    parameter: &Parameter,
    dims: &[usize],
    values: &[f32],
    prefix: usize,
    grid: (usize, usize),
) -> Option<Vec<f32>> {
    let (&[1, _, width], &[1, tokens, from_width]) = (&parameter.dims[..], dims) else {
        return None;
    };
    let side = tokens.checked_sub(prefix)?.isqrt();
    if width != from_width || side == 0 || side * side + prefix != tokens {
        return None;
    }
    let (head, body) = values.split_at(prefix * width);
    // [rows, columns, width]: first along columns, then along rows, as the reference does.
    let across = weights(side, grid.1);
    let down = weights(side, grid.0);
    let mut rows = vec![0.0f32; side * grid.1 * width];
    for row in 0..side {
        for (column, (start, kernel)) in across.iter().enumerate() {
            let out = &mut rows[(row * grid.1 + column) * width..][..width];
            for (k, &weight) in kernel.iter().enumerate() {
                let from = &body[(row * side + start + k) * width..][..width];
                out.iter_mut().zip(from).for_each(|(o, &v)| *o += weight * v);
            }
        }
    }
    let mut resampled = head.to_vec();
    for (start, kernel) in &down {
        for column in 0..grid.1 {
            let mut out = vec![0.0f32; width];
            for (k, &weight) in kernel.iter().enumerate() {
                let from = &rows[((start + k) * grid.1 + column) * width..][..width];
                out.iter_mut().zip(from).for_each(|(o, &v)| *o += weight * v);
            }
            resampled.extend(out);
        }
    }
    Some(resampled)
}

/// For each output place the first input and the weights: Keys' cubic with a = −0.5, widened by
/// the scale when shrinking, normalised to one.
fn weights(inputs: usize, outputs: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = inputs as f64 / outputs as f64;
    let widening = scale.max(1.0);
    let support = 2.0 * widening;
    (0..outputs)
        .map(|i| {
            let centre = scale * (i as f64 + 0.5);
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(inputs);
            let kernel: Vec<f64> =
                (start..end).map(|j| cubic((j as f64 - centre + 0.5) / widening)).collect();
            let total: f64 = kernel.iter().sum();
            (start, kernel.iter().map(|weight| (weight / total) as f32).collect())
        })
        .collect()
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::parameter::ParameterKind;

    fn parameter(dims: &[usize], role: Role) -> Parameter {
        Parameter {
            name: "p".to_owned(),
            dims: dims.to_vec(),
            kind: ParameterKind::Weight,
            init: Init::Constant(0.0),
            role,
            value: None,
        }
    }

    #[test]
    fn one_channel_takes_the_sum_over_rgb() {
        let rgb = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0]; // [1, 3, 1, 2]
        let grey = adapt(&parameter(&[1, 1, 1, 2], Role::FirstConv), &[1, 3, 1, 2], &rgb);
        assert_eq!(grey, Some(vec![111.0, 222.0]));
        let four = adapt(&parameter(&[1, 4, 1, 2], Role::FirstConv), &[1, 3, 1, 2], &rgb);
        assert_eq!(four, Some(vec![0.75, 1.5, 7.5, 15.0, 75.0, 150.0, 0.75, 1.5]));
    }

    /// Against timm itself; the script that made the values stands beside them.
    #[test]
    fn position_embeddings_are_resampled_as_timm_does() {
        let file = include_str!("../../../../fixtures/resample/position_embeddings.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let floats = |value: &serde_json::Value| -> Vec<f32> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
        };
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        let cases = file["cases"].as_array().unwrap();
        assert!(cases.len() >= 4);
        for case in cases {
            let (side, prefix) = (number(&case["side"]), number(&case["prefix"]));
            let grid = (number(&case["grid"][0]), number(&case["grid"][1]));
            let to = parameter(
                &[1, prefix + grid.0 * grid.1, 2],
                Role::PositionEmbedding { prefix, grid },
            );
            let found = adapt(&to, &[1, prefix + side * side, 2], &floats(&case["values"]));
            let (found, expected) = (found.unwrap(), floats(&case["expected"]));
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6, "{side} to {grid:?}: {a} for {b}");
            }
        }
    }

    #[test]
    fn a_constant_grid_stays_constant_and_the_prefix_stays() {
        let role = Role::PositionEmbedding { prefix: 1, grid: (5, 3) };
        let mut values = vec![7.0, 8.0];
        values.extend([2.0, -1.0].repeat(16));
        let adapted = adapt(&parameter(&[1, 16, 2], role), &[1, 17, 2], &values);
        let adapted = adapted.unwrap_or_default();
        assert_eq!(adapted.len(), 32);
        assert_eq!(&adapted[..2], &[7.0, 8.0]);
        for pair in adapted[2..].chunks(2) {
            assert!((pair[0] - 2.0).abs() < 1e-6 && (pair[1] + 1.0).abs() < 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn a_grid_that_is_no_square_has_no_rule() {
        let role = Role::PositionEmbedding { prefix: 1, grid: (2, 2) };
        assert_eq!(adapt(&parameter(&[1, 5, 1], role), &[1, 4, 1], &[0.0; 4]), None);
    }
}
