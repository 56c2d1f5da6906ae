//! Random numbers that depend on what is drawn, not on when.
//!
//! Every operation of every image has a stream of its own, keyed by (seed, epoch, index, purpose):
//! no draw can move another, whatever the order, the number of threads, or which operations are on.
//! The logarithms and exponentials inside come from the platform's mathematics library, so that
//! machines may differ in the last bit of a drawn factor, but not in the stream. It keeps no state
//! between images.

use crate::random::SplitMix64;

/// Which image of which pass is augmented; the same draw gives the same result, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// The pass over the data.
    pub epoch: u64,
    /// The image's place in the data set (not in the batch or the shuffled order).
    pub index: u64,
}

/// What a stream is for. The numbers are part of the stream's definition: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Purpose {
    Crop = 1,
    Interpolation = 2,
    HorizontalFlip = 3,
    VerticalFlip = 4,
    Rotation = 5,
    Affine = 6,
    RandAugment = 7,
    ColorJitter = 8,
    Grayscale = 9,
    Blur = 10,
    Noise = 11,
    Erasing = 12,
    Cutout = 13,
    Mix = 14,
}

impl Draw {
    /// Each word is mixed in by one step of SplitMix64, which is a bijection of it: two draws that
    /// differ in one word alone never share a stream.
    pub(super) fn stream(self, purpose: Purpose) -> Stream {
        let words = [self.seed, self.epoch, self.index, purpose as u64];
        let key = words.into_iter().fold(0, |key, word| SplitMix64(key ^ word).next_u64());
        Stream { bits: SplitMix64(key), second_normal: None }
    }
}

/// One purpose's random numbers for one image.
pub(super) struct Stream {
    bits: SplitMix64,
    second_normal: Option<f64>,
}

impl Stream {
    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with the given probability: never for 0, always for 1.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Uniform among 0..n, n ≥ 1.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.bits.below(n)
    }

    /// One of `items`, which is not empty.
    pub(super) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// `value` or its negative, equally likely.
    pub(super) fn randomly_negate(&mut self, value: f64) -> f64 {
        if self.chance(0.5) { -value } else { value }
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.bits.shuffle(items);
    }

    /// Standard normal by Marsaglia's polar method (SIAM Review 6, 1964,
    /// <https://doi.org/10.1137/1006063>).
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(second) = self.second_normal.take() {
            return second;
        }
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.second_normal = Some(v * scale);
                return u * scale;
            }
        }
    }

    /// Beta(α, α), α above 0, as G / (G + G') of two Gamma(α, 1) variates.
    ///
    /// In logarithms, so that a small α, whose variates underflow, still gives a number in [0, 1].
    pub(super) fn beta(&mut self, alpha: f64) -> f64 {
        let (first, second) = (self.ln_gamma_variate(alpha), self.ln_gamma_variate(alpha));
        1.0 / (1.0 + (second - first).exp())
    }

    /// ln of a Gamma(α, 1) variate: Marsaglia and Tsang, 2000, <https://doi.org/10.1145/358407.358414>.
    fn ln_gamma_variate(&mut self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            let boost = (1.0 - self.uniform()).ln() / alpha;
            return self.ln_gamma_variate(alpha + 1.0) + boost;
        }
        let d = alpha - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 {
                let ln_u = (1.0 - self.uniform()).ln();
                if ln_u < 0.5 * x * x + d - d * v + d * v.ln() {
                    return (d * v).ln();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(index: u64) -> Stream {
        Draw { seed: 3, epoch: 1, index }.stream(Purpose::Mix)
    }

    #[test]
    fn the_stream_is_the_one_written_here() {
        let mut crop = Draw { seed: 1, epoch: 2, index: 3 }.stream(Purpose::Crop);
        let first: Vec<u64> = (0..2).map(|_| crop.bits.next_u64()).collect();
        // Computed apart, with Python's integers: four steps of splitmix64.c over 1, 2, 3, 1.
        assert_eq!(first, GOLDEN);
    }

    const GOLDEN: [u64; 2] = [14_204_330_627_254_623_631, 15_983_645_766_754_398_901];

    #[test]
    fn every_word_of_a_draw_and_every_purpose_moves_the_stream() {
        let base = Draw { seed: 5, epoch: 5, index: 5 };
        let draws =
            [base, Draw { seed: 6, ..base }, Draw { epoch: 6, ..base }, Draw { index: 6, ..base }];
        let mut first: Vec<u64> = draws
            .into_iter()
            .flat_map(|draw| [Purpose::Crop, Purpose::Mix].map(|purpose| draw.stream(purpose)))
            .map(|mut stream| stream.bits.next_u64())
            .collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 8);
    }

    #[test]
    fn uniform_numbers_fill_their_range_evenly() {
        // χ² over 50 bins of 50,000 numbers, one from each of as many streams: 99.9 % lie below 86.
        let mut bins = [0_i32; 50];
        (0..50_000).for_each(|index| bins[(stream(index).uniform() * 50.0) as usize] += 1);
        let chi2: f64 = bins.iter().map(|&n| f64::from((n - 1000).pow(2)) / 1000.0).sum();
        assert!(chi2 < 86.0, "χ² {chi2}");
    }

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / 40_000.0;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 40_000.0)
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = stream(0);
        let (mean, variance) = moments(|| stream.normal());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean}, {variance}");
    }

    #[test]
    fn beta_numbers_have_the_variance_of_their_alpha() {
        for alpha in [0.2, 1.0, 4.0] {
            let mut stream = stream(1);
            let (mean, variance) = moments(|| stream.beta(alpha));
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "α {alpha}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "α {alpha}: variance {variance}");
        }
        let mut stream = stream(2);
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&stream.beta(1e-6))));
    }
}
