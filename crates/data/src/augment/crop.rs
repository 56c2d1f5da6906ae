//! Where the training crop lies.
//!
//! The random resized crop is Inception's (Szegedy et al., 2014, section 6,
//! <https://arxiv.org/abs/1409.4842>) by the rule of torchvision's `RandomResizedCrop.get_params`; padding
//! and cropping is that of the CIFAR nets (He et al., 2015, section 4.2,
//! <https://arxiv.org/abs/1512.03385>). It looks at sizes only, never at pixels.

use super::draw::Stream;
use super::error::{AugmentError, check_range};
use crate::Region;

/// How an image of any size becomes one of the model's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    /// The whole image is resized; the aspect ratio is not kept.
    Resize,
    /// A random region is resized.
    ///
    /// Ten times: area A = s · H · W with s uniform in `scale`, aspect ratio r = w / h with ln r
    /// uniform in ln `ratio`, w = √(A r), h = √(A / r), rounded; the first that fits is placed
    /// uniformly. If none fits: the largest centred region whose ratio is in `ratio`.
    RandomResizedCrop {
        /// Share of the image's area, within 0 (excluded) to 1.
        scale: (f64, f64),
        /// Width over height, above 0.
        ratio: (f64, f64),
    },
    /// The whole image is resized to the model's size if it has another, then padded by `padding`
    /// on each side with `fill`, then cropped to the size again, anywhere uniformly.
    PadAndCrop {
        /// Pixels on each side, at most 1024.
        padding: usize,
        /// Level per channel; a grey image takes the first.
        fill: [u8; 3],
    },
}

impl Framing {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        match *self {
            Self::Resize => Ok(()),
            Self::RandomResizedCrop { scale, ratio } => {
                let expected = "low ≤ high, both above 0 and at most 1";
                check_range("crop scale", scale, expected, |s| s > 0.0 && s <= 1.0)?;
                check_range("crop ratio", ratio, "low ≤ high, both above 0", |r| r > 0.0)
            }
            Self::PadAndCrop { padding, .. } if padding > 1024 => Err(AugmentError::Count {
                field: "padding",
                expected: "at most 1024 pixels",
                found: padding,
            }),
            Self::PadAndCrop { .. } => Ok(()),
        }
    }
}

/// The region of [`Framing::RandomResizedCrop`] in an image of `size` = (H, W).
pub(super) fn random_resized_crop(
    stream: &mut Stream,
    size: (usize, usize),
    scale: (f64, f64),
    ratio: (f64, f64),
) -> Region {
    let (height, width) = size;
    let area = (height * width) as f64;
    let ln_ratio = (ratio.0.ln(), ratio.1.ln());
    let rounded = |side: f64| side.round_ties_even() as usize;
    for _ in 0..10 {
        let target = stream.between(scale) * area;
        let aspect = stream.between(ln_ratio).exp();
        let (w, h) = (rounded((target * aspect).sqrt()), rounded((target / aspect).sqrt()));
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = stream.below(height - h + 1);
            let left = stream.below(width - w + 1);
            return Region { top, left, height: h, width: w };
        }
    }
    let of_image = width as f64 / height as f64;
    let (h, w) = if of_image < ratio.0 {
        (rounded(width as f64 / ratio.0).clamp(1, height), width)
    } else if of_image > ratio.1 {
        (height, rounded(height as f64 * ratio.1).clamp(1, width))
    } else {
        (height, width)
    };
    Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, Purpose};
    use super::*;
    use proptest::prelude::*;

    fn crops(size: (usize, usize), scale: (f64, f64), ratio: (f64, f64)) -> Vec<Region> {
        let draw = |index| Draw { seed: 1, epoch: 0, index }.stream(Purpose::Crop);
        (0..4000).map(|index| random_resized_crop(&mut draw(index), size, scale, ratio)).collect()
    }

    #[test]
    fn areas_are_uniform_and_ratios_uniform_in_the_logarithm() {
        // Small crops of a large image always fit at once.
        let crops = crops((4000, 4000), (0.08, 0.5), (0.75, 4.0 / 3.0));
        let (mut areas, mut ratios) = ([0_i32; 10], [0_i32; 10]);
        for crop in crops {
            let share = (crop.height * crop.width) as f64 / 16e6;
            let log = (crop.width as f64 / crop.height as f64).ln() / (4.0_f64 / 3.0).ln();
            areas[(((share - 0.08) / 0.42 * 10.0) as usize).min(9)] += 1;
            ratios[(((log + 1.0) * 5.0) as usize).min(9)] += 1;
        }
        // χ² with 9 degrees of freedom: 99.9 % lie below 27.9.
        for bins in [areas, ratios] {
            let chi2: f64 = bins.iter().map(|&n| f64::from((n - 400).pow(2)) / 400.0).sum();
            assert!(chi2 < 27.9, "{bins:?}: χ² {chi2}");
        }
    }

    #[test]
    fn a_drawn_crop_is_the_one_computed_by_hand() {
        // With Python's integers and floats, from splitmix64.c and get_params alone.
        let mut stream = Draw { seed: 1, epoch: 2, index: 3 }.stream(Purpose::Crop);
        let found = random_resized_crop(&mut stream, (375, 500), (0.08, 1.0), (0.75, 4.0 / 3.0));
        assert_eq!(found, Region { top: 12, left: 60, height: 346, width: 427 });
    }

    #[test]
    fn what_never_fits_is_cropped_about_the_centre() {
        let expected = Region { top: 0, left: 33, height: 100, width: 133 };
        let crops = crops((100, 200), (1.0, 1.0), (0.75, 1.33));
        assert!(crops.iter().all(|&crop| crop == expected), "{:?}", crops[0]);
    }

    proptest! {
        #[test]
        fn a_crop_lies_inside_its_image(
            h in 1_usize..70, w in 1_usize..70, low in 0.001_f64..1.0, squeeze in 0.01_f64..1.0,
            seed: u64,
        ) {
            let mut stream = Draw { seed, epoch: 0, index: 0 }.stream(Purpose::Crop);
            let ratio = (squeeze, 1.0 / squeeze.sqrt());
            let crop = random_resized_crop(&mut stream, (h, w), (low, 1.0), ratio);
            prop_assert!(crop.height >= 1 && crop.top + crop.height <= h);
            prop_assert!(crop.width >= 1 && crop.left + crop.width <= w);
        }
    }
}
