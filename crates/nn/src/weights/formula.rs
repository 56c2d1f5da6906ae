//! Weights that need no file: every element is a function of the tensor's name and its index.
//!
//! The values are those of the reference corpus, bit for bit in every language; see
//! [`crate::reference`].

use crate::parameter::ParameterKind;

/// FNV-1a, 64 bit, over the UTF-8 bytes of `name`.
pub(crate) fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The output function of SplitMix64.
pub(crate) fn splitmix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first `count` elements of the tensor `name`: c + h·t with t in [−1, 1), the centre c and the
/// half-width h.
///
/// ```
/// let values = nearkin_nn::reference::fill("conv1.weight", 9408, 0.0, 0.202_030_51);
/// assert_eq!(values[9407], 0.112_266_8);
/// ```
pub fn fill(name: &str, count: usize, centre: f32, half: f32) -> Vec<f32> {
    let seed = fnv1a64(name);
    (0..count as u64)
        .map(|i| {
            let z = splitmix(seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let unit = (z >> 40) as f32 * (1.0 / 16_777_216.0);
            centre + half * (2.0 * unit - 1.0)
        })
        .collect()
}

/// Centre and half-width by kind, for an uncalibrated batch normalisation.
pub(crate) fn range(kind: ParameterKind, dims: &[usize]) -> (f32, f32) {
    match kind {
        ParameterKind::Weight => {
            let fan_in: usize = dims.iter().skip(1).product();
            (0.0, (6.0 / fan_in.max(1) as f64).sqrt() as f32)
        }
        ParameterKind::NormWeight | ParameterKind::RunningVar => (1.0, 0.25),
        ParameterKind::Bias | ParameterKind::RunningMean => (0.0, 0.125),
        ParameterKind::LayerScale => (0.25, 0.125),
        ParameterKind::Table => (0.0, 0.25),
        ParameterKind::BatchesTracked => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the corpus's own self-test.
    #[test]
    fn values_are_those_of_the_reference_corpus() {
        assert_eq!(fnv1a64("conv1.weight"), 0x69a2_9a2c_ee47_d254);
        let values = fill("conv1.weight", 9408, 0.0, 0.202_030_51);
        let bits: Vec<u32> = values[..4].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0xbd96_2c76, 0x3c95_337c, 0x3dca_e01f, 0xbe45_652c]);
        assert_eq!(values[9406].to_bits(), 0xbdfe_3d8e);
        assert_eq!(values[9407].to_bits(), 0x3de5_ec23);
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        assert!((sum - -10.534_407_711_826).abs() < 1e-9, "{sum}");
        let var = fill("layer1.0.bn1.running_var", 64, 1.0, 0.25);
        assert_eq!(var[0].to_bits(), 0x3f97_c59a);
    }

    #[test]
    fn the_width_of_weights_follows_their_fan_in() {
        let (_, half) = range(ParameterKind::Weight, &[64, 3, 7, 7]);
        assert_eq!(half.to_bits(), 0.202_030_51f32.to_bits());
    }
}
