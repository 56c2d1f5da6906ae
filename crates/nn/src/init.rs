//! Seeded initialisation, by the schemes of the papers and of timm.

use crate::weights::formula::{fnv1a64, splitmix};

/// How one parameter starts. `fan_in` is the product of all dimensions after the first, `fan_out`
/// the first times those after the second (times nothing more for grouped weights, as in timm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element this number.
    Constant(f32),
    /// N(0, std²).
    Normal(f32),
    /// N(0, std²) cut at ±2 (not at ±2 std), as timm's `trunc_normal_`.
    TruncNormal(f32),
    /// N(0, 2 / fan_out): He et al. 2015, for layers followed by ReLU.
    KaimingNormalFanOut,
    /// U(−b, b) with b = 1/√fan_in: PyTorch's default for convolution and linear weights.
    TorchUniform,
    /// U(−b, b) with b = 1/√(this fan_in): PyTorch's default for their biases.
    UniformFanIn(usize),
}

/// The initialisation of a family's convolution and linear layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    /// Convolution weights.
    pub conv: Init,
    /// Convolution biases; `None` is PyTorch's default.
    pub conv_bias: Option<Init>,
    /// Linear weights.
    pub linear: Init,
    /// Linear biases; `None` is PyTorch's default.
    pub linear_bias: Option<Init>,
}

impl Scheme {
    /// PyTorch's own.
    pub const TORCH: Self = Self {
        conv: Init::TorchUniform,
        conv_bias: None,
        linear: Init::TorchUniform,
        linear_bias: None,
    };
}

impl Init {
    /// `count` elements of the parameter `name` with these dimensions; the same for the same seed,
    /// whatever else is drawn.
    pub fn draw(self, name: &str, dims: &[usize], seed: u64) -> Vec<f32> {
        let count = dims.iter().product();
        let fan_in = dims.iter().skip(1).product::<usize>().max(1);
        let fan_out = dims.iter().skip(2).product::<usize>() * dims.first().copied().unwrap_or(1);
        let mut random = Random::new(name, seed);
        match self {
            Self::Constant(value) => vec![value; count],
            Self::Normal(std) => random.normal(count, f64::from(std), f64::INFINITY),
            Self::TruncNormal(std) => random.normal(count, f64::from(std), 2.0),
            Self::KaimingNormalFanOut => {
                random.normal(count, (2.0 / fan_out.max(1) as f64).sqrt(), f64::INFINITY)
            }
            Self::TorchUniform => random.uniform(count, (fan_in as f64).sqrt().recip()),
            Self::UniformFanIn(fan_in) => {
                random.uniform(count, (fan_in.max(1) as f64).sqrt().recip())
            }
        }
    }
}

struct Random {
    seed: u64,
    next: u64,
}

impl Random {
    fn new(name: &str, seed: u64) -> Self {
        Self { seed: splitmix(fnv1a64(name) ^ splitmix(seed)), next: 0 }
    }

    /// Uniform in (0, 1).
    fn unit(&mut self) -> f64 {
        self.next += 1;
        let z = splitmix(self.seed.wrapping_add(self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        ((z >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn uniform(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect()
    }

    /// Box and Muller's pairs; those beyond `cut` are drawn again.
    fn normal(&mut self, count: usize, std: f64, cut: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = std * (-2.0 * self.unit().ln()).sqrt();
            let angle = std::f64::consts::TAU * self.unit();
            let pair = [radius * angle.cos(), radius * angle.sin()];
            values.extend(pair.into_iter().filter(|v| v.abs() <= cut).map(|v| v as f32));
        }
        values.truncate(count);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    #[test]
    fn draws_have_the_moments_of_their_scheme() {
        let dims = [64, 32, 5, 5];
        for (init, std) in [
            (Init::Normal(0.01), 0.01),
            (Init::TruncNormal(0.02), 0.02),
            (Init::KaimingNormalFanOut, (2.0f64 / (64.0 * 25.0)).sqrt()),
            (Init::TorchUniform, (1.0f64 / (32.0 * 25.0) / 3.0).sqrt()),
        ] {
            let (mean, found) = moments(&init.draw("w", &dims, 7));
            assert!(mean.abs() < 0.02 * std, "{init:?}: mean {mean}");
            assert!((found / std - 1.0).abs() < 0.02, "{init:?}: std {found}, expected {std}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_name_only() {
        let draw = |name: &str, seed| Init::Normal(1.0).draw(name, &[8], seed);
        assert_eq!(draw("a", 1), draw("a", 1));
        assert_ne!(draw("a", 1), draw("a", 2));
        assert_ne!(draw("a", 1), draw("b", 1));
    }
}
