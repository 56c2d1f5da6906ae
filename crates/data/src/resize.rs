//! Resizing equal to Pillow's, bit for bit.
//!
//! `Image.resize` of Pillow 13 for 8-bit images: two passes; the kernel widens with the scale when
//! shrinking (antialias); coefficients in 22-bit fixed point, sums in i32, and a rounding to 8 bits
//! between the passes (<https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c>).
//! The horizontal pass comes first, except where the height shrinks by more than twice what the
//! width does: there Pillow 13 begins vertically (<https://github.com/python-pillow/Pillow/pull/9549>),
//! and earlier versions differ from it by a level. Other resamplers differ by up to 16 levels, which
//! moves a model's output. It does not crop and does not keep the aspect ratio: the caller names
//! both output sides.

use ndarray::{Array3, ArrayView3};
use thiserror::Error;

/// How new pixels are made from old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The pixel under the centre; no antialias, as in Pillow.
    Nearest,
    /// Triangle kernel, support 1.
    Bilinear,
    /// Keys' cubic kernel with a = −0.5, support 2.
    Bicubic,
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
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    Nearest {
        rows: Vec<usize>,
        columns: Vec<usize>,
    },
    /// A pass is absent where the side keeps its length, as in Pillow.
    Kernel {
        horizontal: Option<Taps>,
        vertical: Option<Taps>,
        first: Pass,
        between: Vec<u8>,
        sums: Vec<i32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Horizontal,
    Vertical,
}

impl Pass {
    /// Pillow 13's choice, found by comparing its output with either order over thousands of sizes.
    fn first(from: (usize, usize), to: (usize, usize)) -> Self {
        let shrinkage = |from: usize, to: usize| from as i64 - to as i64;
        let (of_height, of_width) = (shrinkage(from.0, to.0), shrinkage(from.1, to.1));
        if of_height > 0 && of_height > 2 * of_width { Pass::Vertical } else { Pass::Horizontal }
    }
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
        let sides = [
            ("image height", from.0),
            ("image width", from.1),
            ("height to resize to", to.0),
            ("width to resize to", to.1),
        ];
        if let Some((side, found)) = sides.into_iter().find(|(_, n)| !(1..=MAX_SIDE).contains(n)) {
            return Err(ResizeError::Side { side, found });
        }
        let method = match interpolation {
            Interpolation::Nearest => {
                Method::Nearest { rows: nearest(from.0, to.0), columns: nearest(from.1, to.1) }
            }
            Interpolation::Bilinear => Method::kernel(from, to, 1.0, triangle),
            Interpolation::Bicubic => Method::kernel(from, to, 2.0, cubic),
        };
        Ok(Self { from, to, method })
    }

    /// Resizes one plane: `plane` is H · W levels, `target` receives H' · W', both row-major.
    ///
    /// # Panics
    /// If either slice has another length than the sizes given to [`Resizer::new`].
    pub fn run(&mut self, plane: &[u8], target: &mut [u8]) {
        let ((height, width), (new_height, new_width)) = (self.from, self.to);
        assert_eq!(plane.len(), height * width, "plane: expected H · W levels");
        assert_eq!(target.len(), new_height * new_width, "target: expected H' · W' levels");
        match &mut self.method {
            Method::Nearest { rows, columns } => {
                for (row, out) in rows.iter().zip(target.chunks_exact_mut(new_width)) {
                    let source = &plane[row * width..][..width];
                    out.iter_mut().zip(columns.iter()).for_each(|(o, &c)| *o = source[c]);
                }
            }
            Method::Kernel { horizontal, vertical, first, between, sums } => {
                match (horizontal.as_ref(), vertical.as_ref()) {
                    (None, None) => target.copy_from_slice(plane),
                    (Some(h), None) => pass_along_rows(h, plane, width, target),
                    (None, Some(v)) => pass_along_columns(v, plane, width, target, sums),
                    (Some(h), Some(v)) if *first == Pass::Horizontal => {
                        between.resize(height * new_width, 0);
                        pass_along_rows(h, plane, width, between);
                        pass_along_columns(v, between, new_width, target, sums);
                    }
                    (Some(h), Some(v)) => {
                        between.resize(new_height * width, 0);
                        pass_along_columns(v, plane, width, between, sums);
                        pass_along_rows(h, between, width, target);
                    }
                }
            }
        }
    }
}

impl Method {
    fn kernel(
        from: (usize, usize),
        to: (usize, usize),
        support: f64,
        kernel: fn(f64) -> f64,
    ) -> Self {
        let taps = |from, to| (from != to).then(|| Taps::new(from, to, support, kernel));
        Method::Kernel {
            horizontal: taps(from.1, to.1),
            vertical: taps(from.0, to.0),
            first: Pass::first(from, to),
            between: Vec::new(),
            sums: Vec::new(),
        }
    }
}

const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// For each output pixel: the first input pixel and one fixed-point coefficient per input pixel.
#[derive(Clone, Debug)]
struct Taps(Vec<(usize, Vec<i32>)>);

impl Taps {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, operation by operation.
    fn new(from: usize, to: usize, support: f64, kernel: fn(f64) -> f64) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = support * filter_scale;
        let shrink = 1.0 / filter_scale;
        let taps = (0..to).map(|out| {
            let centre = (out as f64 + 0.5) * scale;
            // A cast to an unsigned integer truncates and stops at 0, as Pillow's clamp does.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let mut weights: Vec<f64> = (0..end - first)
                .map(|x| kernel((x as f64 + first as f64 - centre + 0.5) * shrink))
                .collect();
            let total = weights.iter().fold(0.0, |sum, w| sum + w);
            if total != 0.0 {
                weights.iter_mut().for_each(|w| *w /= total);
            }
            (first, weights.into_iter().map(to_fixed_point).collect())
        });
        Self(taps.collect())
    }
}

fn to_fixed_point(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1_u32 << PRECISION_BITS)) as i32
}

fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn pass_along_rows(taps: &Taps, plane: &[u8], width: usize, target: &mut [u8]) {
    let rows = plane.chunks_exact(width).zip(target.chunks_exact_mut(taps.0.len()));
    for (row, out) in rows {
        for ((first, weights), level) in taps.0.iter().zip(out) {
            let pixels = row[*first..].iter().zip(weights);
            *level = to_level(pixels.fold(HALF, |sum, (&p, w)| sum + i32::from(p) * w));
        }
    }
}

/// Sums whole rows at a time, so that the inner loop is over adjacent pixels.
fn pass_along_columns(
    taps: &Taps,
    plane: &[u8],
    width: usize,
    target: &mut [u8],
    sums: &mut Vec<i32>,
) {
    sums.resize(width, 0);
    for ((first, weights), out) in taps.0.iter().zip(target.chunks_exact_mut(width)) {
        sums.fill(HALF);
        for (row, &weight) in plane[first * width..].chunks_exact(width).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &p)| *sum += i32::from(p) * weight);
        }
        out.iter_mut().zip(sums.iter()).for_each(|(level, &sum)| *level = to_level(sum));
    }
}

/// Input indices of Pillow's nearest resampling; the running sum is part of its definition.
fn nearest(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut position = step * 0.5;
    let next = |_| {
        let index = (position as usize).min(from - 1);
        position += step;
        index
    };
    (0..to).map(next).collect()
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
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
        prop::sample::select(vec![
            Interpolation::Nearest,
            Interpolation::Bilinear,
            Interpolation::Bicubic,
        ])
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
