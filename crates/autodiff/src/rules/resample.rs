//! Operators that are linear along each axis: `Resize`, and `Pad` where it repeats pixels.
//!
//! Along one axis y = A·x, A with one row for each position of the output; ∂x = Aᵀ·g. The matrices
//! are constants.

use nearkin_onnx::ValueId;

use super::{Call, Grads, axis, constant_floats};
use crate::emit::Emit;
use crate::error::Problem;

/// A map along one axis, `[outputs, inputs]`.
pub(super) struct Map {
    pub(super) axis: usize,
    pub(super) inputs: usize,
    /// For each output, the inputs it is made of and their weights.
    pub(super) rows: Vec<Vec<(usize, f64)>>,
}

/// ∂x of all the maps, one after the other.
pub(super) fn transposed(e: &mut Emit, mut g: ValueId, maps: &[Map]) -> Result<ValueId, Problem> {
    for Map { axis, inputs, rows } in maps {
        let dims = e.dims(g)?;
        let (before, after) = (&dims[..*axis], &dims[axis + 1..]);
        let outputs = rows.len();
        let mut matrix = vec![0.0f64; inputs * outputs];
        for (output, row) in rows.iter().enumerate() {
            row.iter().for_each(|(input, weight)| matrix[input * outputs + output] += weight);
        }
        let matrix: Vec<f32> = matrix.into_iter().map(|weight| weight as f32).collect();
        let matrix = e.tensor(&[*inputs, outputs], &matrix)?;
        let flat = [before.iter().product(), outputs, after.iter().product()];
        let flat = e.reshape(g, &flat)?;
        let product = e.matmul(matrix, flat)?;
        g = e.reshape(product, &[before, &[*inputs], after].concat())?;
    }
    Ok(g)
}

/// The interpolation of one axis, as ONNX's `Resize` defines it.
struct Interpolation<'a> {
    mode: &'a str,
    nearest: &'a str,
    coordinates: &'a str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
}

/// ∂x = Aᵀ·g along every axis that is resized; the modes are those of
/// <https://onnx.ai/onnx/operators/onnx__Resize.html>.
pub(super) fn resize(e: &mut Emit, call: &Call) -> Grads {
    let (x, g) = (call.input(0)?, call.grad()?);
    let (dims, out) = (e.dims(x)?, e.dims(g)?);
    let node = &call.node;
    let flag = |name: &str| node.int(name) == Some(1);
    let interpolation = Interpolation {
        mode: node.string("mode").unwrap_or("nearest"),
        nearest: node.string("nearest_mode").unwrap_or("round_prefer_floor"),
        coordinates: node.string("coordinate_transformation_mode").unwrap_or("half_pixel"),
        cubic: f64::from(node.float("cubic_coeff_a").unwrap_or(-0.75)),
        exclude_outside: flag("exclude_outside"),
        antialias: flag("antialias"),
    };
    if node.string("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
        return Err(Problem::NoRuleFor("a kept aspect ratio".to_owned()));
    }
    let axes: Vec<usize> = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&at| axis(at, dims.len())).collect(),
        None => (0..dims.len()).collect(),
    };
    let given = node.inputs.get(2).copied().flatten();
    let scales = given.and_then(|id| constant_floats(e, id)).filter(|s| s.len() == axes.len());
    let mut maps = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let (inputs, outputs) = (dims[axis], out[axis]);
        let ratio = outputs as f64 / inputs.max(1) as f64;
        let scale = scales.as_ref().map_or(ratio, |scales| f64::from(scales[i]));
        if inputs != outputs {
            let rows = interpolation.rows(inputs, outputs, scale)?;
            maps.push(Map { axis, inputs, rows });
        }
    }
    let grad = transposed(e, g, &maps)?;
    call.first(grad)
}

impl Interpolation<'_> {
    fn rows(
        &self,
        inputs: usize,
        outputs: usize,
        scale: f64,
    ) -> Result<Vec<Vec<(usize, f64)>>, Problem> {
        (0..outputs).map(|i| self.row(i, inputs, outputs, scale)).collect()
    }

    /// Inputs and weights of output `i`.
    fn row(
        &self,
        i: usize,
        inputs: usize,
        outputs: usize,
        scale: f64,
    ) -> Result<Vec<(usize, f64)>, Problem> {
        let at = self.coordinate(i, inputs, outputs, scale)?;
        let clamp = |place: f64| place.clamp(0.0, (inputs - 1) as f64) as usize;
        if self.mode == "nearest" {
            let place = match self.nearest {
                "round_prefer_floor" => (at - 0.5).ceil(),
                "round_prefer_ceil" => (at + 0.5).floor(),
                "floor" => at.floor(),
                "ceil" => at.ceil(),
                other => return Err(Problem::NoRuleFor(format!("nearest_mode {other}"))),
            };
            return Ok(vec![(clamp(place), 1.0)]);
        }
        let (reach, kernel): (f64, &dyn Fn(f64) -> f64) = match self.mode {
            "linear" => (1.0, &|x: f64| (1.0 - x.abs()).max(0.0)),
            "cubic" => (2.0, &|x: f64| self.keys(x.abs())),
            other => return Err(Problem::NoRuleFor(format!("mode {other}"))),
        };
        // Shrinking with antialiasing widens the kernel to the pixels that are joined.
        let width = if self.antialias { scale.min(1.0) } else { 1.0 };
        let first = (at - reach / width).floor() as i64;
        let last = (at + reach / width).ceil() as i64;
        let mut row: Vec<(usize, f64)> = (first..=last)
            .filter(|&place| !self.exclude_outside || (0..inputs as i64).contains(&place))
            .map(|place| (clamp(place as f64), kernel((place as f64 - at) * width)))
            .filter(|&(_, weight)| weight != 0.0)
            .collect();
        let total: f64 = row.iter().map(|(_, weight)| weight).sum();
        row.iter_mut().for_each(|(_, weight)| *weight /= total);
        Ok(row)
    }

    /// Where output `i` lies in the input.
    fn coordinate(
        &self,
        i: usize,
        inputs: usize,
        outputs: usize,
        scale: f64,
    ) -> Result<f64, Problem> {
        let i = i as f64;
        let half_pixel = (i + 0.5) / scale - 0.5;
        Ok(match self.coordinates {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" if outputs > 1 => half_pixel,
            "half_pixel_symmetric" => {
                let adjustment = outputs as f64 / (scale * inputs as f64);
                inputs as f64 / 2.0 * (1.0 - adjustment) + half_pixel
            }
            "align_corners" if outputs > 1 => i * (inputs - 1) as f64 / (outputs - 1) as f64,
            "pytorch_half_pixel" | "align_corners" => 0.0,
            "asymmetric" => i / scale,
            other => return Err(Problem::NoRuleFor(format!("coordinates {other}"))),
        })
    }

    /// The cubic kernel of Keys, 1981, at a distance.
    fn keys(&self, x: f64) -> f64 {
        let a = self.cubic;
        if x <= 1.0 {
            ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
        } else {
            0.0
        }
    }
}

/// Where padding of `size` pixels takes position `at` from, which may lie outside; none where it is a
/// constant.
pub(super) fn padded_from(mode: &str, at: i64, size: i64) -> Option<i64> {
    match mode {
        _ if (0..size).contains(&at) => Some(at),
        "edge" => Some(at.clamp(0, size - 1)),
        "wrap" => Some(at.rem_euclid(size)),
        "reflect" if size > 1 => {
            let there_and_back = at.rem_euclid(2 * (size - 1));
            Some(there_and_back.min(2 * (size - 1) - there_and_back))
        }
        "reflect" => Some(0),
        _ => None,
    }
}
