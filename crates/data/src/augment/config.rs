//! What is done to training images, as plain data.

use super::error::{AugmentError, check_number, check_probability, check_range};
use super::{
    ColorJitter, Cutout, Framing, GaussianNoise, RandAugment, RandomAffine, RandomErasing,
    RandomRotation, Sampling, Warp,
};
use crate::{IMAGENET_MEAN, IMAGENET_STD, Interpolation};

/// The augmentation of a training set. Operations run in the order of the fields.
///
/// Levels, as Pillow would change them: framing, flips, rotation, affine map, RandAugment, colour
/// jitter, greying, blur. Then (level / 255 − mean) / std. Then, on these values: noise, erasing,
/// cutout. The order is timm's `transforms_imagenet_train`.
#[derive(Clone, Debug, PartialEq)]
pub struct Augment {
    /// Height and width of the model's input, in pixels.
    pub size: (usize, usize),
    /// How an image gets this size.
    pub framing: Framing,
    /// The kernel of resizing; one is drawn uniformly if there are several (timm's `random`).
    pub interpolation: Vec<Interpolation>,
    /// Probability of left becoming right.
    pub horizontal_flip: f64,
    /// Probability of top becoming bottom.
    pub vertical_flip: f64,
    /// A random turn.
    pub rotation: Option<RandomRotation>,
    /// A random affine map.
    pub affine: Option<RandomAffine>,
    /// RandAugment.
    pub rand_augment: Option<RandAugment>,
    /// Colour jitter.
    pub color_jitter: Option<ColorJitter>,
    /// Probability of greying all channels.
    pub grayscale: f64,
    /// A Gaussian blur.
    pub gaussian_blur: Option<RandomBlur>,
    /// Mean per channel, finite, in units of 255 levels; as many values as the model has channels, 1
    /// or 3.
    pub mean: Vec<f32>,
    /// Standard deviation per channel, above 0, in units of 255 levels.
    pub std: Vec<f32>,
    /// Gaussian noise.
    pub gaussian_noise: Option<GaussianNoise>,
    /// Random erasing.
    pub erasing: Option<RandomErasing>,
    /// Cutout.
    pub cutout: Option<Cutout>,
}

/// A Gaussian blur of random width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomBlur {
    /// Probability of a blur.
    pub probability: f64,
    /// The standard deviation is uniform in this range, 0 to 1000 pixels. SimCLR has 0.1 to 2.
    pub sigma: (f64, f64),
}

impl Augment {
    /// Nothing random: images are resized with a bilinear kernel and normalised.
    pub fn none(size: (usize, usize), mean: &[f32], std: &[f32]) -> Self {
        Self {
            size,
            framing: Framing::Resize,
            interpolation: vec![Interpolation::Bilinear],
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            rotation: None,
            affine: None,
            rand_augment: None,
            color_jitter: None,
            grayscale: 0.0,
            gaussian_blur: None,
            mean: mean.to_vec(),
            std: std.to_vec(),
            gaussian_noise: None,
            erasing: None,
            cutout: None,
        }
    }

    /// timm's defaults for training at `size` = (H, W), with ImageNet's mean and deviation.
    ///
    /// Random resized crop of 8 to 100 % of the area and a ratio of 3/4 to 4/3, bilinear or bicubic;
    /// half of the images flipped; brightness, contrast and saturation jittered by 0.4.
    pub fn timm(size: (usize, usize)) -> Self {
        Self {
            framing: Framing::RandomResizedCrop {
                scale: (0.08, 1.0),
                ratio: (3.0 / 4.0, 4.0 / 3.0),
            },
            interpolation: vec![Interpolation::Bilinear, Interpolation::Bicubic],
            horizontal_flip: 0.5,
            color_jitter: Some(ColorJitter {
                probability: 1.0,
                brightness: 0.4,
                contrast: 0.4,
                saturation: 0.4,
                hue: 0.0,
            }),
            ..Self::none(size, &IMAGENET_MEAN, &IMAGENET_STD)
        }
    }

    /// timm's recipe with RandAugment: `text` as in `rand-m9-mstd0.5-inc1`, filled with the mean, in
    /// place of the colour jitter, which timm turns off then.
    ///
    /// # Errors
    /// As [`RandAugment::from_text`].
    pub fn timm_rand_augment(size: (usize, usize), text: &str) -> Result<Self, AugmentError> {
        let fill = IMAGENET_MEAN.map(|mean| (255.0 * mean).round_ties_even() as u8);
        let rand = RandAugment { fill, ..RandAugment::from_text(text)? };
        Ok(Self { rand_augment: Some(rand), color_jitter: None, ..Self::timm(size) })
    }

    /// The usual recipe for CIFAR: 32 × 32, padded by 4 black pixels and cropped, half flipped.
    ///
    /// Mean and deviation are CIFAR-10's. He et al., 2015, section 4.2,
    /// <https://arxiv.org/abs/1512.03385>.
    pub fn cifar() -> Self {
        Self {
            framing: Framing::PadAndCrop { padding: 4, fill: [0; 3] },
            horizontal_flip: 0.5,
            ..Self::none((32, 32), &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616])
        }
    }

    /// For MNIST's digits: 28 × 28 grey, turned by up to 10 degrees and shifted by up to 2 pixels;
    /// never flipped, since that makes other characters. Mean and deviation are MNIST's.
    pub fn mnist() -> Self {
        Self {
            affine: Some(RandomAffine {
                probability: 1.0,
                degrees: (-10.0, 10.0),
                translate: (2.0 / 28.0, 2.0 / 28.0),
                scale: (1.0, 1.0),
                shear_x: (0.0, 0.0),
                shear_y: (0.0, 0.0),
                warp: Warp { sampling: Sampling::Bilinear, fill: [0; 3] },
            }),
            ..Self::none((28, 28), &[0.1307], &[0.3081])
        }
    }

    pub(super) fn check(&self) -> Result<(), AugmentError> {
        let channels = self.mean.len();
        let count = |field, expected, found| Err(AugmentError::Count { field, expected, found });
        if channels != 1 && channels != 3 {
            return count("mean", "1 or 3 values, one per channel", channels);
        }
        if self.std.len() != channels {
            return count("std", "as many values as mean has", self.std.len());
        }
        for (&mean, &std) in self.mean.iter().zip(&self.std) {
            check_number("mean", f64::from(mean), "a finite number", |_| true)?;
            check_number("std", f64::from(std), "above 0", |std| std > 0.0)?;
        }
        if self.interpolation.is_empty() {
            return count("interpolation", "at least one kernel", 0);
        }
        self.framing.check()?;
        check_probability("horizontal_flip", self.horizontal_flip)?;
        check_probability("vertical_flip", self.vertical_flip)?;
        check_probability("grayscale", self.grayscale)?;
        self.rotation.iter().try_for_each(RandomRotation::check)?;
        self.affine.iter().try_for_each(RandomAffine::check)?;
        self.rand_augment.iter().try_for_each(RandAugment::check)?;
        self.color_jitter.iter().try_for_each(ColorJitter::check)?;
        self.gaussian_blur.iter().try_for_each(RandomBlur::check)?;
        self.gaussian_noise.iter().try_for_each(GaussianNoise::check)?;
        self.erasing.iter().try_for_each(RandomErasing::check)?;
        self.cutout.iter().try_for_each(Cutout::check)
    }
}

impl RandomBlur {
    fn check(&self) -> Result<(), AugmentError> {
        check_probability("gaussian_blur probability", self.probability)?;
        let expected = "low ≤ high, both from 0 to 1000 pixels";
        check_range("gaussian_blur sigma", self.sigma, expected, |s| (0.0..=1000.0).contains(&s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EraseFill;

    fn check(change: impl Fn(&mut Augment), expected_error: &str) {
        let mut augment = Augment::timm((8, 8));
        assert_eq!(augment.check(), Ok(()));
        change(&mut augment);
        assert_eq!(augment.check().unwrap_err().to_string(), expected_error);
    }

    #[test]
    fn presets_hold_no_mistakes() {
        for augment in [
            Augment::timm((224, 224)),
            Augment::timm_rand_augment((224, 224), "rand-m9-mstd0.5-inc1").unwrap(),
            Augment::cifar(),
            Augment::mnist(),
        ] {
            assert_eq!(augment.check(), Ok(()));
        }
        let augment = Augment::timm_rand_augment((8, 8), "rand-m9").unwrap();
        assert_eq!(augment.rand_augment.unwrap().fill, [124, 116, 104]);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let crop = |scale, ratio| Framing::RandomResizedCrop { scale, ratio };
        check(
            |a| a.framing = crop((0.08, 1.5), (1.0, 1.0)),
            "crop scale: expected low ≤ high, both above 0 and at most 1, found 0.08 to 1.5",
        );
        check(
            |a| a.framing = crop((0.5, 1.0), (2.0, 1.0)),
            "crop ratio: expected low ≤ high, both above 0, found 2 to 1",
        );
        check(
            |a| a.framing = crop((0.5, f64::NAN), (1.0, 1.0)),
            "crop scale: expected low ≤ high, both above 0 and at most 1, found 0.5 to NaN",
        );
        check(
            |a| a.framing = Framing::PadAndCrop { padding: 5000, fill: [0; 3] },
            "padding: expected at most 1024 pixels, found 5000",
        );
        check(
            |a| a.horizontal_flip = 1.5,
            "horizontal_flip: expected a probability from 0 to 1, found 1.5",
        );
        check(
            |a| a.grayscale = f64::NAN,
            "grayscale: expected a probability from 0 to 1, found NaN",
        );
        check(|a| a.interpolation.clear(), "interpolation: expected at least one kernel, found 0");
        check(|a| a.std[1] = 0.0, "std: expected above 0, found 0");
        check(|a| a.mean.truncate(2), "mean: expected 1 or 3 values, one per channel, found 2");
        check(
            |a| a.color_jitter.as_mut().unwrap().hue = 0.6,
            "color_jitter hue: expected 0 to 0.5, found 0.6",
        );
        check(
            |a| a.gaussian_blur = Some(RandomBlur { probability: 1.0, sigma: (-1.0, 2.0) }),
            "gaussian_blur sigma: expected low ≤ high, both from 0 to 1000 pixels, found -1 to 2",
        );
        check(
            |a| {
                let mut erasing = RandomErasing::timm(0.25, EraseFill::Pixel);
                erasing.count = (2, 1);
                a.erasing = Some(erasing);
            },
            "erasing count: expected 1 ≤ low ≤ high ≤ 1000, found 2 to 1",
        );
        check(
            |a| a.cutout = Some(Cutout { probability: 1.0, side: 0 }),
            "cutout side: expected at least 1 pixel, found 0",
        );
    }
}
