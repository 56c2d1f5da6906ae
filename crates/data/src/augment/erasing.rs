//! What is done to normalised values: noise, random erasing, cutout.
//!
//! Random erasing: Zhong et al., 2017, <https://arxiv.org/abs/1708.04896>, by timm's `RandomErasing`.
//! Cutout: DeVries and Taylor, 2017, <https://arxiv.org/abs/1708.04552>. Values are changed after
//! normalisation, as in timm, so a constant 0 is the data set's mean.

use super::draw::Stream;
use super::error::{AugmentError, check_number, check_probability, check_range};

/// Gaussian noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNoise {
    /// Probability of noise.
    pub probability: f64,
    /// The standard deviation is uniform in this range, 0 to 255 levels. The noise is added after
    /// normalisation (divided by 255 · std of the channel), so it is neither rounded nor clipped.
    pub std: (f64, f64),
}

/// What an erased region becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseFill {
    /// `const`: 0, the mean.
    Const,
    /// `rand`: one standard normal number per channel and region.
    Rand,
    /// `pixel`: a standard normal number for each value.
    Pixel,
}

/// timm's random erasing; its defaults are [`RandomErasing::timm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomErasing {
    /// Probability of erasing.
    pub probability: f64,
    /// The erased share of the area is uniform in this range, 0 to 1, divided by the count of regions.
    pub area: (f64, f64),
    /// ln(height / width) is uniform between the logarithms of these, above 0.
    pub aspect: (f64, f64),
    /// The number of regions is uniform in this range, ends included, 1 to 1000.
    pub count: (usize, usize),
    /// What is put there.
    pub fill: EraseFill,
}

/// A square of zeros, its centre anywhere in the image, so that part of it may lie outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutout {
    /// Probability of the square.
    pub probability: f64,
    /// Its side in pixels, at least 1.
    pub side: usize,
}

/// Normalised values `[C, H, W]`.
pub(super) struct Values<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) size: (usize, usize),
}

impl Values<'_> {
    /// Sets rows `top..bottom`, columns `left..right` of each channel.
    fn fill(
        &mut self,
        (top, bottom): (usize, usize),
        (left, right): (usize, usize),
        mut value: impl FnMut(usize) -> f32,
    ) {
        let (height, width) = self.size;
        for (channel, plane) in self.values.chunks_exact_mut(height * width).enumerate() {
            for row in plane.chunks_exact_mut(width).take(bottom).skip(top) {
                row[left..right].iter_mut().for_each(|v| *v = value(channel));
            }
        }
    }
}

impl GaussianNoise {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("gaussian_noise probability", self.probability)?;
        check_range(
            "gaussian_noise std",
            self.std,
            "low ≤ high, both from 0 to 255 levels",
            |s| (0.0..=255.0).contains(&s),
        )
    }

    /// `std`: the normalisation's standard deviation per channel.
    pub(super) fn run(&self, stream: &mut Stream, image: Values<'_>, std: &[f32]) {
        if !stream.chance(self.probability) {
            return;
        }
        let levels = stream.between(self.std);
        let planes = image.values.chunks_exact_mut(image.size.0 * image.size.1);
        for (plane, &std) in planes.zip(std) {
            let scale = levels / (255.0 * f64::from(std));
            plane.iter_mut().for_each(|value| *value += (scale * stream.normal()) as f32);
        }
    }
}

impl RandomErasing {
    /// timm's region sizes and count: 2 % to a third of the area, height : width from 0.3 to 1 / 0.3.
    pub fn timm(probability: f64, fill: EraseFill) -> Self {
        Self { probability, area: (0.02, 1.0 / 3.0), aspect: (0.3, 1.0 / 0.3), count: (1, 1), fill }
    }

    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("erasing probability", self.probability)?;
        check_range("erasing area", self.area, "low ≤ high, both from 0 to 1", |a| {
            (0.0..=1.0).contains(&a)
        })?;
        check_range("erasing aspect", self.aspect, "low ≤ high, both above 0", |a| a > 0.0)?;
        let (low, high) = self.count;
        if low < 1 || low > high || high > 1000 {
            let expected = "1 ≤ low ≤ high ≤ 1000";
            let (low, high) = (low as f64, high as f64);
            return Err(AugmentError::Range { field: "erasing count", expected, low, high });
        }
        Ok(())
    }

    pub(super) fn run(&self, stream: &mut Stream, mut image: Values<'_>) {
        if !stream.chance(self.probability) {
            return;
        }
        let (height, width) = image.size;
        let area = (height * width) as f64;
        let count = self.count.0 + stream.below(self.count.1 - self.count.0 + 1);
        let ln_aspect = (self.aspect.0.ln(), self.aspect.1.ln());
        for _ in 0..count {
            // Ten attempts at a region that fits, as in timm; then none.
            for _ in 0..10 {
                let target = stream.between(self.area) * area / count as f64;
                let aspect = stream.between(ln_aspect).exp();
                let h = (target * aspect).sqrt().round_ties_even() as usize;
                let w = (target / aspect).sqrt().round_ties_even() as usize;
                if h >= height || w >= width {
                    continue;
                }
                let (top, left) = (stream.below(height - h + 1), stream.below(width - w + 1));
                let (rows, columns) = ((top, top + h), (left, left + w));
                match self.fill {
                    EraseFill::Const => image.fill(rows, columns, |_| 0.0),
                    EraseFill::Rand => {
                        let colour = [(); 3].map(|()| stream.normal() as f32);
                        image.fill(rows, columns, |channel| colour[channel]);
                    }
                    EraseFill::Pixel => image.fill(rows, columns, |_| stream.normal() as f32),
                }
                break;
            }
        }
    }
}

impl Cutout {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("cutout probability", self.probability)?;
        check_number("cutout side", self.side as f64, "at least 1 pixel", |side| side >= 1.0)
    }

    pub(super) fn run(&self, stream: &mut Stream, mut image: Values<'_>) {
        if !stream.chance(self.probability) {
            return;
        }
        let mut span = |side: usize| {
            let centre = stream.below(side);
            let end = centre.saturating_add(self.side.div_ceil(2)).min(side);
            (centre.saturating_sub(self.side / 2), end)
        };
        let (rows, columns) = (span(image.size.0), span(image.size.1));
        image.fill(rows, columns, |_| 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, Purpose};
    use super::*;

    fn erased(erasing: &RandomErasing, index: u64) -> Vec<f32> {
        let mut values = vec![9.0; 3 * 50 * 40];
        let mut stream = Draw { seed: 4, epoch: 0, index }.stream(Purpose::Erasing);
        erasing.run(&mut stream, Values { values: &mut values, size: (50, 40) });
        values
    }

    #[test]
    fn erased_shares_lie_in_their_range_around_its_middle() {
        let erasing = RandomErasing::timm(1.0, EraseFill::Const);
        let shares: Vec<f64> = (0..1000)
            .map(|index| {
                erased(&erasing, index).iter().filter(|&&v| v == 0.0).count() as f64 / 6000.0
            })
            .collect();
        // 2 % to a third, give or take half a pixel on each side.
        let (least, most) = (
            shares.iter().fold(1.0, |a: f64, &b| a.min(b)),
            shares.iter().fold(0.0, |a: f64, &b| a.max(b)),
        );
        assert!(least > 0.015 && most < 0.355, "{least} to {most}");
        let mean = shares.iter().sum::<f64>() / 1000.0;
        // The middle is 0.177; long regions that do not fit are drawn again, which favours small ones.
        assert!((0.15..0.18).contains(&mean), "{mean}");
    }

    #[test]
    fn fills_are_one_colour_or_noise() {
        let distinct = |fill, channel: usize| {
            let values = erased(&RandomErasing::timm(1.0, fill), 1);
            let mut plane = values[channel * 2000..][..2000].to_vec();
            plane.retain(|&v| (v - 9.0).abs() > 1e-6);
            plane.sort_by(f32::total_cmp);
            plane.dedup();
            plane
        };
        assert_eq!(distinct(EraseFill::Const, 2), [0.0]);
        assert_eq!(distinct(EraseFill::Rand, 0).len(), 1);
        assert_ne!(distinct(EraseFill::Rand, 0), distinct(EraseFill::Rand, 1));
        assert!(distinct(EraseFill::Pixel, 0).len() > 20);
    }

    #[test]
    fn noise_has_the_deviation_asked_for_in_levels() {
        let noise = GaussianNoise { probability: 1.0, std: (25.5, 25.5) };
        let mut values = vec![0.0; 200 * 200];
        let mut stream = Draw { seed: 4, epoch: 0, index: 0 }.stream(Purpose::Noise);
        noise.run(&mut stream, Values { values: &mut values, size: (200, 200) }, &[0.5]);
        let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / 40_000.0;
        // 25.5 / 255 / 0.5, squared.
        assert!((variance / 0.04 - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn a_cutout_is_its_square_or_what_lies_inside() {
        let mut sizes = [0; 17];
        for index in 0..500 {
            let mut values = vec![1.0; 64];
            let mut stream = Draw { seed: 4, epoch: 0, index }.stream(Purpose::Cutout);
            let cutout = Cutout { probability: 1.0, side: 4 };
            cutout.run(&mut stream, Values { values: &mut values, size: (8, 8) });
            sizes[values.iter().filter(|&&v| v == 0.0).count()] += 1;
        }
        assert!(sizes[16] > 100 && sizes[12] > 50 && sizes[8] > 20, "{sizes:?}");
        assert_eq!(
            sizes[16] + sizes[12] + sizes[8] + sizes[9] + sizes[6] + sizes[4],
            500,
            "{sizes:?}"
        );
    }
}
