//! `Resize`, and the operators that move pixels between channels and the image.

use super::{Array, Call, Outputs, filled, indices};

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    Some(match call.node.op.as_str() {
        "Resize" => resize(call),
        "DepthToSpace" => depth_to_space(call),
        "SpaceToDepth" => space_to_depth(call),
        _ => return None,
    })
}

/// What one position of the output is made of, along one axis.
type Parts = Vec<(usize, f64)>;

fn resize(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    if call.node.ints("axes").is_some() || call.node.string("keep_aspect_ratio_policy").is_some() {
        return Err("axes or a kept aspect ratio".to_owned());
    }
    let given = |index| call.optional(index).filter(|array: &&Array| !array.is_empty());
    let scales: Vec<f64>;
    let shape: Vec<usize>;
    match (given(2), given(3)) {
        (Some(given), None) => {
            scales = given.iter().copied().collect();
            let sizes = x.shape().iter().zip(&scales);
            shape = sizes.map(|(&n, scale)| (n as f64 * scale).floor() as usize).collect();
        }
        (None, Some(sizes)) => {
            shape = sizes.iter().map(|&n| n as usize).collect();
            scales = shape.iter().zip(x.shape()).map(|(&m, &n)| m as f64 / n as f64).collect();
        }
        _ => return Err("neither scales nor sizes, or both".to_owned()),
    }
    let axes = (0..x.ndim()).map(|axis| {
        let (inputs, outputs) = (x.shape()[axis], shape[axis]);
        (0..outputs).map(|i| parts(call, i, inputs, outputs, scales[axis])).collect()
    });
    let axes: Vec<Vec<Parts>> = axes.collect::<Result<_, String>>()?;
    Ok(vec![filled(&shape, |place| {
        let made_of: Vec<&Parts> = place.iter().zip(&axes).map(|(&i, axis)| &axis[i]).collect();
        let counts: Vec<usize> = made_of.iter().map(|parts| parts.len()).collect();
        indices(&counts)
            .map(|choice| {
                let chosen = choice.iter().zip(&made_of).map(|(&i, parts)| parts[i]);
                let (source, weights): (Vec<usize>, Vec<f64>) = chosen.unzip();
                weights.iter().product::<f64>() * x[&source[..]]
            })
            .sum()
    })])
}

/// Where an output lies in the input, the nearest inputs there, and their weights.
fn parts(
    call: &Call<'_>,
    i: usize,
    inputs: usize,
    outputs: usize,
    scale: f64,
) -> Result<Parts, String> {
    let i = i as f64;
    let half_pixel = (i + 0.5) / scale - 0.5;
    let at = match call.node.string("coordinate_transformation_mode").unwrap_or("half_pixel") {
        "half_pixel" => half_pixel,
        "pytorch_half_pixel" => {
            if outputs > 1 {
                half_pixel
            } else {
                0.0
            }
        }
        "align_corners" if outputs == 1 => 0.0,
        "align_corners" => i * (inputs as f64 - 1.0) / (outputs as f64 - 1.0),
        "asymmetric" => i / scale,
        other => return Err(format!("coordinates {other}")),
    };
    let inside = |place: f64| place.max(0.0).min(inputs as f64 - 1.0) as usize;
    let mode = call.node.string("mode").unwrap_or("nearest");
    if mode == "nearest" {
        let place = match call.node.string("nearest_mode").unwrap_or("round_prefer_floor") {
            "floor" => at.floor(),
            "ceil" => at.ceil(),
            "round_prefer_floor" => {
                if at.fract() == 0.5 {
                    at.floor()
                } else {
                    at.round()
                }
            }
            "round_prefer_ceil" => (at + 0.5).floor(),
            other => return Err(format!("nearest_mode {other}")),
        };
        return Ok(vec![(inside(place), 1.0)]);
    }
    let narrow = if call.int("antialias", 0) == 1 { scale.min(1.0) } else { 1.0 };
    let a = call.float("cubic_coeff_a", -0.75);
    let weight = |x: f64| match mode {
        "linear" if x < 1.0 => 1.0 - x,
        "cubic" if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
        "cubic" if x < 2.0 => a * x.powi(3) - 5.0 * a * x.powi(2) + 8.0 * a * x - 4.0 * a,
        _ => 0.0,
    };
    let reach = (2.0 / narrow).ceil() + 1.0;
    let mut parts = Vec::new();
    let mut place = at.floor() - reach;
    while place <= at.floor() + reach {
        let value = weight((place - at).abs() * narrow);
        let outside = place < 0.0 || place >= inputs as f64;
        if value != 0.0 && !(outside && call.int("exclude_outside", 0) == 1) {
            parts.push((inside(place), value));
        }
        place += 1.0;
    }
    let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
    Ok(parts.into_iter().map(|(place, weight)| (place, weight / total)).collect())
}

/// Channels as pixels: `DCR` has the block before the channel, `CRD` after it.
fn depth_to_space(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let block = call.int("blocksize", 1) as usize;
    let column_first = call.node.string("mode") == Some("CRD");
    let [n, c, h, w] = image(x)?;
    let channels = c / (block * block);
    Ok(vec![filled(&[n, channels, h * block, w * block], |index| {
        let (row, column) = (index[2] % block, index[3] % block);
        let channel = if column_first {
            (index[1] * block + row) * block + column
        } else {
            (row * block + column) * channels + index[1]
        };
        x[[index[0], channel, index[2] / block, index[3] / block]]
    })])
}

/// Pixels as channels.
fn space_to_depth(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let block = call.int("blocksize", 1) as usize;
    let [n, c, h, w] = image(x)?;
    Ok(vec![filled(&[n, c * block * block, h / block, w / block], |index| {
        let (place, channel) = (index[1] / c, index[1] % c);
        let (row, column) = (place / block, place % block);
        x[[index[0], channel, index[2] * block + row, index[3] * block + column]]
    })])
}

fn image(x: &Array) -> Result<[usize; 4], String> {
    x.shape().try_into().map_err(|_| format!("{:?} is no [N, C, H, W]", x.shape()))
}
