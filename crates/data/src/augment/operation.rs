//! One operation with its factors known: nothing is drawn here.

use super::canvas::Canvas;
use super::error::{AugmentError, check_number};
use super::geometry::Warp;
use super::{blur, enhance, geometry, hue, tables};
use crate::Image;

/// A change of an image's levels, equal to Pillow 13's bit for bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// `ImageOps.autocontrast`: each channel's levels are stretched to 0..=255.
    AutoContrast,
    /// `ImageOps.equalize`: each channel's cumulative histogram is made straight.
    Equalize,
    /// `ImageOps.invert`: 255 − level.
    Invert,
    /// `ImageOps.posterize`: the upper bits of each level.
    Posterize {
        /// Bits to keep, 0 to 8; 0, which Pillow refuses, gives black, as timm's mapping means it.
        bits: u8,
    },
    /// `ImageOps.solarize`: inverts levels from a threshold on.
    Solarize {
        /// 0 (all are inverted) to 256 (none).
        threshold: u16,
    },
    /// timm's `solarize_add`: adds to the levels below a threshold, up to 255.
    SolarizeAdd {
        /// What is added.
        add: u8,
        /// 128 in timm.
        threshold: u16,
    },
    /// `ImageEnhance.Brightness`: black + factor · (image − black).
    Brightness(f64),
    /// `ImageEnhance.Contrast`: from the grey image's mean.
    Contrast(f64),
    /// `ImageEnhance.Color`, the saturation: from the grey image.
    Color(f64),
    /// `ImageEnhance.Sharpness`: from the smoothed image.
    Sharpness(f64),
    /// torchvision's `adjust_hue` on PIL images, in turns, −0.5 to 0.5.
    Hue(f64),
    /// `convert("L")`, in all channels.
    Grayscale,
    /// `ImageFilter.GaussianBlur`.
    GaussianBlur {
        /// Standard deviation in pixels, 0 to 1000.
        sigma: f64,
    },
    /// Left becomes right.
    FlipHorizontal,
    /// Top becomes bottom.
    FlipVertical,
    /// `Image.rotate` about the centre, the size kept.
    Rotate {
        /// Counter-clockwise.
        degrees: f64,
        /// Sampling and fill.
        warp: Warp,
    },
    /// `Image.transform(AFFINE)`, the size kept.
    Affine {
        /// From output to input: x' = a₀x + a₁y + a₂, y' = a₃x + a₄y + a₅, at pixel centres.
        matrix: [f64; 6],
        /// Sampling and fill.
        warp: Warp,
    },
}

impl Operation {
    /// A changed copy of `image`.
    ///
    /// # Errors
    /// [`AugmentError::Number`] or [`AugmentError::Count`] if a factor is outside the range stated
    /// with it, or not finite.
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{Image, Operation};
    /// let image = Image::new((1, 3), 1, vec![10, 100, 200])?;
    /// assert_eq!(Operation::Invert.run(&image)?.levels(), [245, 155, 55]);
    /// assert_eq!(Operation::Brightness(0.5).run(&image)?.levels(), [5, 50, 100]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&self, image: &Image) -> Result<Image, AugmentError> {
        self.check()?;
        let mut canvas = Canvas::of(image);
        self.apply(&mut canvas);
        // No operation changes the shape.
        Ok(canvas.to_image().unwrap_or_else(|_| image.clone()))
    }

    fn check(&self) -> Result<(), AugmentError> {
        let finite = |field, value| check_number(field, value, "a finite number", |_| true);
        match *self {
            Self::Posterize { bits } if bits > 8 => Err(AugmentError::Count {
                field: "posterize bits",
                expected: "0 to 8",
                found: usize::from(bits),
            }),
            Self::Brightness(factor) => finite("brightness factor", factor),
            Self::Contrast(factor) => finite("contrast factor", factor),
            Self::Color(factor) => finite("color factor", factor),
            Self::Sharpness(factor) => finite("sharpness factor", factor),
            Self::Hue(turns) => {
                check_number("hue", turns, "-0.5 to 0.5 turns", |t| (-0.5..=0.5).contains(&t))
            }
            Self::GaussianBlur { sigma } => {
                check_number("sigma", sigma, "0 to 1000 pixels", |s| (0.0..=1000.0).contains(&s))
            }
            Self::Rotate { degrees, .. } => finite("degrees", degrees),
            Self::Affine { matrix, .. } => {
                matrix.into_iter().try_for_each(|value| finite("affine matrix", value))
            }
            _ => Ok(()),
        }
    }

    /// The factors are trusted.
    pub(super) fn apply(self, canvas: &mut Canvas) {
        match self {
            Self::AutoContrast => tables::auto_contrast(canvas),
            Self::Equalize => tables::equalize(canvas),
            Self::Invert => tables::invert(canvas),
            Self::Posterize { bits } => tables::posterize(canvas, bits),
            Self::Solarize { threshold } => tables::solarize(canvas, threshold),
            Self::SolarizeAdd { add, threshold } => tables::solarize_add(canvas, add, threshold),
            Self::Brightness(factor) => enhance::brightness(canvas, factor),
            Self::Contrast(factor) => enhance::contrast(canvas, factor),
            Self::Color(factor) => enhance::color(canvas, factor),
            Self::Sharpness(factor) => enhance::sharpness(canvas, factor),
            Self::Hue(turns) => hue::hue(canvas, turns),
            Self::Grayscale => enhance::grayscale(canvas),
            Self::GaussianBlur { sigma } => blur::gaussian_blur(canvas, sigma),
            Self::FlipHorizontal => geometry::flip_horizontal(canvas),
            Self::FlipVertical => geometry::flip_vertical(canvas),
            Self::Rotate { degrees, warp } => geometry::rotate(canvas, degrees, warp),
            Self::Affine { matrix, warp } => geometry::affine(canvas, matrix, warp),
        }
    }
}
