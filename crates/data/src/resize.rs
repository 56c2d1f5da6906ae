//! Resizing equal to Pillow's, bit for bit.
//!
//! `Image.resize` of Pillow 13 for 8-bit images: two passes; the kernel widens with the scale when
//! shrinking (antialias); coefficients in 22-bit fixed point, sums in i32, and a rounding to 8 bits
//! between the passes (<https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c>).
//! The horizontal pass comes first, except where the height shrinks by more than twice what the
//! width does: there Pillow 13 begins vertically (<https://github.com/python-pillow/Pillow/pull/9549>),
//! and earlier versions differ from it by a level. Other resamplers differ by up to 16 levels, which
//! moves a model's output. It does not keep the aspect ratio: the caller names both output sides.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod passes;
mod taps;

use ndarray::{Array3, ArrayView3};
use thiserror::Error;

pub(crate) use passes::{Resampler, Source, Target};

/// How new pixels are made from old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The pixel under the centre; no antialias, as in Pillow.
    Nearest,
    /// The mean of the pixels covered, support ½.
    Box,
    /// Triangle kernel, support 1.
    Bilinear,
    /// Hamming's window times sinc, support 1.
    Hamming,
    /// Keys' cubic kernel with a = −0.5, support 2.
    Bicubic,
    /// Lanczos' window times sinc, support 3.
    Lanczos,
}

impl Interpolation {
    /// The name that timm's configurations use; `None` for another word, `random` among them.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "nearest" => Self::Nearest,
            "box" => Self::Box,
            "bilinear" => Self::Bilinear,
            "hamming" => Self::Hamming,
            "bicubic" => Self::Bicubic,
            "lanczos" => Self::Lanczos,
            _ => return None,
        })
    }
}

/// Why an image cannot be resized.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResizeError {
    /// A side of the image or of the result is empty or beyond [`MAX_SIDE`].
    #[error("{side}: expected 1 to {MAX_SIDE} pixels, found {found}")]
    Side {
        /// Which side.
        side: &'static str,
        /// Its length in pixels.
        found: usize,
    },
}

/// The longest side accepted, in pixels; sums of coefficients stay far inside i32.
pub const MAX_SIDE: usize = 1 << 16;

pub(crate) fn check_sides(from: (usize, usize), to: (usize, usize)) -> Result<(), ResizeError> {
    let sides = [
        ("image height", from.0),
        ("image width", from.1),
        ("height to resize to", to.0),
        ("width to resize to", to.1),
    ];
    match sides.into_iter().find(|(_, n)| !(1..=MAX_SIDE).contains(n)) {
        Some((side, found)) => Err(ResizeError::Side { side, found }),
        None => Ok(()),
    }
}

/// Resizes the planes of one image, `[C, H, W]` levels to `[C, size.0, size.1]` levels.
///
/// Cost: O(C · W' · (H · taps + H' · taps)), where taps grows with the reduction. For many images
/// of one shape make a [`Resizer`] once.
///
/// # Errors
/// [`ResizeError::Side`] if a side is 0 or above [`MAX_SIDE`].
///
/// # Examples
/// ```
/// use nearkin_data::{Interpolation, resize};
/// let image = ndarray::arr3(&[[[0_u8, 100], [100, 200]]]);
/// let wide = resize(image.view(), (2, 4), Interpolation::Bilinear)?;
/// assert_eq!(wide.as_slice(), Some(&[0, 25, 75, 100, 100, 125, 175, 200][..]));
/// # Ok::<(), nearkin_data::ResizeError>(())
/// ```
pub fn resize(
    image: ArrayView3<'_, u8>,
    size: (usize, usize),
    interpolation: Interpolation,
) -> Result<Array3<u8>, ResizeError> {
    let (channels, height, width) = image.dim();
    let mut resizer = Resizer::new((height, width), size, interpolation)?;
    let mut out = Array3::zeros((channels, size.0, size.1));
    let image = image.as_standard_layout();
    let planes = image.as_slice().unwrap_or_default().chunks_exact(height * width);
    let targets = out.as_slice_mut().unwrap_or_default().chunks_exact_mut(size.0 * size.1);
    for (plane, target) in planes.zip(targets) {
        resizer.run(plane, target);
    }
    Ok(out)
}

/// Resizes planes from one fixed size to another, with coefficients and scratch memory made once.
#[derive(Clone, Debug)]
pub struct Resizer {
    from: (usize, usize),
    to: (usize, usize),
    resampler: Resampler,
}

impl Resizer {
    /// A resizer of `from` = (H, W) to `to` = (H', W') pixels.
    ///
    /// # Errors
    /// [`ResizeError::Side`] if a side is 0 or above [`MAX_SIDE`].
    pub fn new(
        from: (usize, usize),
        to: (usize, usize),
        interpolation: Interpolation,
    ) -> Result<Self, ResizeError> {
        check_sides(from, to)?;
        let mut resampler = Resampler::default();
        resampler.plan(from, &Target::whole(to), interpolation);
        Ok(Self { from, to, resampler })
    }

    /// Resizes one plane: `plane` is `[H, W]`, `target` is `[H', W']`, both row-major.
    ///
    /// # Panics
    /// If a slice's length is not the number of its pixels.
    pub fn run(&mut self, plane: &[u8], target: &mut [u8]) {
        assert_eq!(plane.len(), self.from.0 * self.from.1, "plane: expected H · W levels");
        assert_eq!(target.len(), self.to.0 * self.to.1, "target: expected H' · W' levels");
        self.resampler.run(&Source::whole(plane, self.from.1, 1), target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_without_pixels_and_giants_are_refused() {
        let image = Array3::<u8>::zeros((1, 2, 0));
        let error = resize(image.view(), (4, 4), Interpolation::Bilinear).unwrap_err();
        assert_eq!(error, ResizeError::Side { side: "image width", found: 0 });
        let error = Resizer::new((2, 2), (1 << 20, 2), Interpolation::Nearest).unwrap_err();
        assert_eq!(
            error.to_string(),
            "height to resize to: expected 1 to 65536 pixels, found 1048576"
        );
    }

    fn kinds() -> impl Strategy<Value = Interpolation> {
        use Interpolation::{Bicubic, Bilinear, Box, Hamming, Lanczos, Nearest};
        prop::sample::select(vec![Nearest, Box, Bilinear, Hamming, Bicubic, Lanczos])
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(
            level: u8, h in 1_usize..20, w in 1_usize..20, to_h in 1_usize..40, to_w in 1_usize..40,
            kind in kinds(),
        ) {
            let image = Array3::from_elem((2, h, w), level);
            let out = resize(image.view(), (to_h, to_w), kind).unwrap();
            prop_assert!(out.iter().all(|&p| p == level), "{level} became {out}");
        }

        #[test]
        fn the_same_size_changes_nothing(
            pixels in prop::collection::vec(any::<u8>(), 12), kind in kinds(),
        ) {
            let image = Array3::from_shape_vec((1, 3, 4), pixels).unwrap();
            prop_assert_eq!(resize(image.view(), (3, 4), kind).unwrap(), image);
        }

        #[test]
        fn a_transposed_view_is_resized_as_its_copy(
            pixels in prop::collection::vec(any::<u8>(), 15), kind in kinds(),
        ) {
            let image = Array3::from_shape_vec((1, 3, 5), pixels).unwrap();
            let turned = image.view().permuted_axes([0, 2, 1]);
            prop_assert_eq!(
                resize(turned, (7, 4), kind).unwrap(),
                resize(turned.to_owned().as_standard_layout().view(), (7, 4), kind).unwrap()
            );
        }
    }
}
