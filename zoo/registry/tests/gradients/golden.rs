//! What PyTorch says, from `fixtures/gradients/gradients.json`.

use ndarray::ArrayD;
use nearkin_nn::reference::fill;
use serde_json::Value;

/// A gradient below this share of the model's largest is not told from 0.
const FLOOR: f64 = 1e-3;

/// One network's case.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) batch: usize,
    pub(crate) side: usize,
    /// The formula's name of the images.
    pub(crate) input: String,
    pub(crate) loss: f64,
    pub(crate) gradients: Vec<Gradient>,
}

/// What is known of one parameter's gradient.
pub(crate) struct Gradient {
    pub(crate) name: String,
    norm: f64,
    projections: [f64; 2],
    /// PyTorch's own error in f32.
    f32_error: f64,
}

pub(crate) fn all() -> Vec<Golden> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/gradients/gradients.json");
    let text = std::fs::read_to_string(path).unwrap();
    let whole: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    whole.iter().map(|(name, case)| golden(name, case)).collect()
}

fn golden(name: &str, case: &Value) -> Golden {
    let size = |key: &str| case[key].as_u64().unwrap() as usize;
    let gradient = |row: &Value| {
        let number = |i: usize| row[i].as_f64().unwrap();
        Gradient {
            name: row[0].as_str().unwrap().to_owned(),
            norm: number(1),
            projections: [number(2), number(3)],
            f32_error: number(4),
        }
    };
    Golden {
        name: name.to_owned(),
        batch: size("batch"),
        side: size("side"),
        input: case["input"].as_str().unwrap().to_owned(),
        loss: case["loss"].as_f64().unwrap(),
        gradients: case["parameters"].as_array().unwrap().iter().map(gradient).collect(),
    }
}

impl Golden {
    /// How far these gradients, in the order of the file, are from PyTorch's in f64: the largest
    /// difference of a norm or a projection, over the parameter's norm or the floor.
    pub(crate) fn distance(&self, found: &[ArrayD<f64>]) -> f64 {
        assert_eq!(found.len(), self.gradients.len(), "{}", self.name);
        let largest = self.gradients.iter().fold(0.0_f64, |a, g| a.max(g.norm));
        let mut worst = 0.0_f64;
        for (expected, found) in self.gradients.iter().zip(found) {
            let norm = found.iter().map(|g| g * g).sum::<f64>().sqrt();
            let projection = |j: usize| {
                let name = format!("{}/projection{j}", expected.name);
                let direction = fill(&name, found.len(), 0.0, 1.0);
                found.iter().zip(direction).map(|(g, d)| g * f64::from(d)).sum::<f64>()
            };
            let floor = expected.norm.max(FLOOR * largest);
            let pairs = [
                (norm, expected.norm),
                (projection(0), expected.projections[0]),
                (projection(1), expected.projections[1]),
            ];
            for (found, expected) in pairs {
                // NaN is as far as can be.
                let off = (found - expected).abs() / floor;
                worst = if off.is_nan() { f64::INFINITY } else { worst.max(off) };
            }
        }
        worst
    }

    /// PyTorch's own error in f32.
    pub(crate) fn f32_error(&self) -> Errors {
        Errors::of(self.gradients.iter().map(|gradient| gradient.f32_error).collect())
    }
}

/// Errors of all parameters of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errors {
    pub(crate) median: f64,
    pub(crate) largest: f64,
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.1e}, largest {:.1e}", self.median, self.largest)
    }
}

impl Errors {
    fn of(mut errors: Vec<f64>) -> Self {
        errors.sort_by(f64::total_cmp);
        Self { median: errors[errors.len() / 2], largest: *errors.last().unwrap() }
    }

    /// The errors of `found` next to `exact`: for each parameter the largest difference, over its
    /// largest gradient or the floor.
    pub(crate) fn between(found: &[ArrayD<f64>], exact: &[ArrayD<f64>]) -> Self {
        let peak = |x: &ArrayD<f64>| x.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        let largest = exact.iter().map(peak).fold(0.0, f64::max);
        let error = |(found, exact): (&ArrayD<f64>, &ArrayD<f64>)| {
            let off = (found - exact)
                .iter()
                .fold(0.0_f64, |a, b| if b.is_nan() { f64::INFINITY } else { a.max(b.abs()) });
            off / peak(exact).max(FLOOR * largest)
        };
        Self::of(found.iter().zip(exact).map(error).collect())
    }
}
