//! Sums and largest values of f64 in independent lanes, and logarithms without a branch.
//!
//! Everything is inlined where the instructions are on; the order of additions is the same for all.

/// Independent sums side by side: what a processor needs to add more than one number at a time.
const LANES: usize = 16;

/// Σ term(xᵢ, yᵢ); of unequal slices the shorter length counts.
#[inline(always)]
pub(super) fn sum(x: &[f64], y: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (lanes, rest) = fold(x, y, |sum, a, b| sum + term(a, b));
    lanes.iter().sum::<f64>() + rest
}

/// Σ xᵢ.
#[inline(always)]
pub(super) fn total(x: &[f64]) -> f64 {
    sum(x, x, |a, _| a)
}

/// max term(xᵢ, yᵢ), at least 0.
#[inline(always)]
pub(super) fn largest(x: &[f64], y: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let more = |most: f64, v: f64| if v > most { v } else { most };
    let (lanes, rest) = fold(x, y, |most, a, b| more(most, term(a, b)));
    lanes.into_iter().fold(rest, more)
}

#[inline(always)]
fn fold(x: &[f64], y: &[f64], step: impl Fn(f64, f64, f64) -> f64) -> ([f64; LANES], f64) {
    let d = x.len().min(y.len());
    let (x_chunks, x_rest) = x[..d].as_chunks::<LANES>();
    let (y_chunks, y_rest) = y[..d].as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], x[lane], y[lane]);
        }
    }
    let rest = x_rest.iter().zip(y_rest).fold(0.0, |rest, (&a, &b)| step(rest, a, b));
    (lanes, rest)
}

/// log₂ v of a normal v > 0, within about 3 units of the last place; anything else gives some number.
#[inline(always)]
pub(super) fn log2(v: f64) -> f64 {
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd; // √½
    let shifted = v.to_bits().wrapping_sub(HALF_ROOT);
    let exponent = shifted >> 52;
    let m = f64::from_bits(v.to_bits().wrapping_sub(exponent << 52));
    // The exponent is a 12-bit two's complement number: moved to be positive, it becomes the mantissa of 2⁵² + e.
    let e = f64::from_bits(0x4330_0000_0000_0000 | (exponent.wrapping_add(2048) & 0xfff))
        - (4_503_599_627_370_496.0 + 2048.0);
    // ln m = 2 (s + s³/3 + s⁵/5 + …), |s| ≤ 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut series = 1.0 / 23.0;
    for k in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * q + 1.0 / k;
    }
    e + 2.0 * std::f64::consts::LOG2_E * s * series
}

/// 2ˣ for x ≤ 0, within about 3 units of the last place; 0 below −1000.
#[inline(always)]
pub(super) fn exp2(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2⁵²
    let bounded = if x > -1000.0 { x } else { -1000.0 };
    let shifted = bounded + ROUND;
    let t = (bounded - (shifted - ROUND)) * std::f64::consts::LN_2;
    // Σ tᵏ / k!, |t| ≤ 0.35.
    let mut series = 1.0 / 87_178_291_200.0;
    for factorial in [
        6_227_020_800.0,
        479_001_600.0,
        39_916_800.0,
        3_628_800.0,
        362_880.0,
        40_320.0,
        5_040.0,
        720.0,
        120.0,
        24.0,
        6.0,
        2.0,
        1.0,
        1.0,
    ] {
        series = series * t + 1.0 / factorial;
    }
    // The whole part stands in the low bits of the shifted number.
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x > -1000.0 { series * scale } else { 0.0 }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logarithms_and_powers_are_the_libraries(v in 1e-90_f64..1e90, x in -990.0_f64..0.0) {
            prop_assert!((log2(v) - v.log2()).abs() <= 4e-16 * v.log2().abs().max(1.0));
            prop_assert!((exp2(x) / x.exp2() - 1.0).abs() < 2e-15);
        }

        #[test]
        fn logarithms_near_1_keep_their_digits(v in 0.5_f64..2.0) {
            prop_assert!((log2(v) - v.log2()).abs() <= 1e-15 * v.log2().abs());
        }
    }

    #[test]
    fn ends_of_the_range_are_exact() {
        assert_eq!([log2(1.0), log2(2.0), log2(0.25)], [0.0, 1.0, -2.0]);
        assert_eq!([exp2(0.0), exp2(-1.0), exp2(-2000.0)], [1.0, 0.5, 0.0]);
        assert_eq!(largest(&[1.0; 40], &[3.0; 40], |a, b| (a - b).abs()), 2.0);
    }
}
