//! PyMDE's two penalties, in arithmetic that a compiler turns into vector instructions.
//!
//! Attraction is w · log(1 + d^1.5), repulsion −w · log(1 − exp(−d)) with d = √(‖xᵢ − xⱼ‖² + ε²):
//! [`SOFTENING`] keeps coincident points finite. Only additions, products, quotients and square
//! roots are used, never fused, and each pair is computed alone: the same bits come out for every
//! width of vectors, so a map does not depend on the processor.

/// ε², far below any distance that matters: maps are a few units wide.
pub(super) const SOFTENING: f32 = 1e-12;

/// Pairs computed at once.
pub(super) const LANES: usize = 16;
type Lanes = [f32; LANES];

/// How a pair's distortion depends on its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Penalty {
    /// w · log(1 + d^1.5).
    Attraction,
    /// −w · log(1 − exp(−d)).
    Repulsion,
}

impl Penalty {
    /// Replaces softened squared distances by f′(d) / d, and adds the distortions up.
    ///
    /// - `squares`, `weights`: of equal length; what exceeds a multiple of [`LANES`] is left alone.
    pub(super) fn apply(self, squares: &mut [f32], weights: &[f32]) -> f64 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "the same code, compiled for wider registers")]
            // SAFETY: the processor has AVX2, as was just asked.
            return unsafe { self.apply_avx2(squares, weights) };
        }
        self.apply_inline(squares, weights)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_avx2(self, squares: &mut [f32], weights: &[f32]) -> f64 {
        self.apply_inline(squares, weights)
    }

    #[inline(always)]
    fn apply_inline(self, squares: &mut [f32], weights: &[f32]) -> f64 {
        match self {
            Self::Attraction => all(squares, weights, attraction),
            Self::Repulsion => all(squares, weights, repulsion),
        }
    }

    /// The distortion of one pair, in f64.
    pub(super) fn distortion(self, square: f64, weight: f64) -> f64 {
        let d = (square + f64::from(SOFTENING)).sqrt();
        match self {
            Self::Attraction => weight * d.powf(1.5).ln_1p(),
            Self::Repulsion => -weight * (-(-d).exp_m1()).ln(),
        }
    }
}

#[inline(always)]
fn all(squares: &mut [f32], weights: &[f32], pair: impl Fn(f32, f32) -> (f32, f32)) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (squares, _) = squares.as_chunks_mut::<LANES>();
    let (weights, _) = weights.as_chunks::<LANES>();
    for (squares, weights) in squares.iter_mut().zip(weights) {
        let mut values: Lanes = [0.0; LANES];
        for lane in 0..LANES {
            (values[lane], squares[lane]) = pair(squares[lane], weights[lane]);
        }
        for lane in 0..LANES {
            sums[lane] += f64::from(values[lane]);
        }
    }
    sums.iter().sum()
}

/// w · log(1 + d^1.5), and 1.5 w / (√d (1 + d^1.5)).
#[inline(always)]
fn attraction(square: f32, weight: f32) -> (f32, f32) {
    let d = square.sqrt();
    let root = d.sqrt();
    let y = 1.0 + d * root;
    (weight * ln(y), 1.5 * weight / (root * y))
}

/// w · log(1 + 1 / (eᵈ − 1)), which is −w · log(1 − e⁻ᵈ), and −w / (d (eᵈ − 1)).
#[inline(always)]
fn repulsion(square: f32, weight: f32) -> (f32, f32) {
    // Beyond this nothing is left of either in f32.
    let d = square.sqrt().min(60.0);
    let inverse = 1.0 / exp_m1(d);
    (weight * ln(1.0 + inverse), -weight * inverse / d)
}

/// ln(y) for finite y ≥ 1, to 1 ulp of f32: the method of FreeBSD's `e_logf.c`.
#[inline(always)]
fn ln(y: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = y.to_bits();
    let exponent = (bits.wrapping_sub(SQRT_HALF) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23)) - 1.0;
    let e = exponent as f32;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let odd = z * (0.666_666_6 + w * 0.284_987_87);
    let even = w * (0.400_009_72 + w * 0.242_790_8);
    let half = 0.5 * f * f;
    s * (half + odd + even) + e * 9.058_001e-6 - half + f + e * 0.693_138_1
}

/// eˣ − 1 for 0 ≤ x ≤ 60, accurate also near 0.
#[inline(always)]
fn exp_m1(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = x - k * 0.693_145_75 - k * 1.428_606_8e-6;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let power = f32::from_bits(exponent.wrapping_add(127) << 23);
    let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let series = r + r * r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail)));
    power * series + (power - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances from the softening's to where repulsion vanishes.
    fn distances() -> impl Iterator<Item = f32> {
        (0..4000).map(|i| 1e-6 * (i as f32 * 0.0048).exp())
    }

    fn check(penalty: Penalty, derivative: impl Fn(f64) -> f64) {
        for d in distances() {
            let mut squares = [d * d; LANES];
            let sum = penalty.apply(&mut squares, &[0.75; LANES]);
            let exact = f64::from(d * d).sqrt();
            let value = penalty.distortion(f64::from(d * d) - f64::from(SOFTENING), 0.75);
            let error = (sum / LANES as f64 - value).abs();
            assert!(error <= 2e-7 * (1.0 + value.abs()), "{penalty:?} {d}: {sum} {value}");
            let expected = 0.75 * derivative(exact) / exact;
            let error = (f64::from(squares[3]) - expected).abs();
            assert!(error <= 2e-6 * expected.abs() + 1e-25, "{penalty:?} {d}: {error:e}");
        }
    }

    #[test]
    fn both_penalties_and_their_slopes_are_those_of_f64() {
        check(Penalty::Attraction, |d| 1.5 * d.sqrt() / (1.0 + d.powf(1.5)));
        check(Penalty::Repulsion, |d| -1.0 / d.exp_m1());
    }

    #[test]
    fn wider_registers_change_no_bit() {
        for penalty in [Penalty::Attraction, Penalty::Repulsion] {
            let mut here: Vec<f32> = distances().map(|d| d * d).collect();
            let mut plain = here.clone();
            let weights: Vec<f32> = (0..here.len()).map(|i| (i % 7) as f32).collect();
            let sums =
                [penalty.apply(&mut here, &weights), penalty.apply_inline(&mut plain, &weights)];
            assert_eq!(sums[0].to_bits(), sums[1].to_bits());
            assert!(here.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
