//! From stored levels to what a model takes: channels, size, normalisation.

use ndarray::{Array4, ArrayView4};
use thiserror::Error;

use crate::{Interpolation, ResizeError, Resizer};

/// Mean of ImageNet's training pixels per channel, in units of 255 levels; timm's default.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training pixels per channel; timm's default.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How images become the input of a model.
///
/// In this order: channels (RGB to grey by ITU-R 601 as Pillow's `convert("L")`, grey to RGB by
/// repetition), then resizing to `size` ([`crate::resize`]; the aspect ratio is not kept), then
/// (level / 255 − mean) / std in f32, in the order of operations of torchvision's `Normalize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Height and width of the model's input, in pixels.
    pub size: (usize, usize),
    /// Channels of the model's input: 1 or 3.
    pub channels: usize,
    /// Mean per channel, `[channels]`, finite, in units of 255 levels.
    pub mean: Vec<f32>,
    /// Standard deviation per channel, `[channels]`, above 0, in units of 255 levels.
    pub std: Vec<f32>,
    /// The resampling kernel.
    pub interpolation: Interpolation,
}

/// Why a [`Preprocess`] cannot be applied.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PreprocessError {
    /// Channels other than grey or RGB.
    #[error("{of} channels: expected 1 or 3, found {found}")]
    Channels {
        /// Which side: the images or the model.
        of: &'static str,
        /// Channels found.
        found: usize,
    },
    /// A mean or deviation per channel is missing or superfluous.
    #[error("{field}: expected {expected} values, one per channel, found {found}")]
    PerChannel {
        /// `mean` or `std`.
        field: &'static str,
        /// The channels.
        expected: usize,
        /// The values given.
        found: usize,
    },
    /// A mean is not finite, or a deviation not finite and above 0.
    #[error("{field}[{channel}]: expected {expected}, found {found}")]
    Value {
        /// `mean` or `std`.
        field: &'static str,
        /// Which channel.
        channel: usize,
        /// The rule.
        expected: &'static str,
        /// The value given.
        found: f32,
    },
    /// A crop that keeps no share of the image in (0, 1].
    #[error("crop_pct: expected a share above 0 and at most 1, found {found}")]
    CropPct {
        /// The share given.
        found: f64,
    },
    /// A buffer has another length than the transform's output.
    #[error("output: expected {expected} values, found {found}")]
    Output {
        /// C · H · W.
        expected: usize,
        /// The buffer's length.
        found: usize,
    },
    /// Batches of no images were asked for.
    #[error("batch size: expected at least 1, found 0")]
    BatchSize,
    /// A side is empty or too long.
    #[error(transparent)]
    Size(#[from] ResizeError),
}

impl Preprocess {
    /// Applies it to all images at once: `[N, C, H, W]` levels to `[N, channels, size.0, size.1]`.
    ///
    /// For more images than fit into memory as f32 use [`crate::Part::batches`].
    ///
    /// # Errors
    /// As [`Transform::new`].
    pub fn apply(&self, images: ArrayView4<'_, u8>) -> Result<Array4<f32>, PreprocessError> {
        let (n, c, h, w) = images.dim();
        let mut transform = Transform::new(self, [c, h, w])?;
        let mut out = Array4::zeros((n, self.channels, self.size.0, self.size.1));
        let images = images.as_standard_layout();
        let levels = images.as_slice().unwrap_or_default().chunks_exact(c * h * w);
        let inputs = out.as_slice_mut().unwrap_or_default();
        let inputs = inputs.chunks_exact_mut(transform.output_len());
        levels.zip(inputs).for_each(|(image, out)| transform.run(image, out));
        Ok(out)
    }
}

/// A checked [`Preprocess`] for images of one shape, with its tables and scratch memory.
#[derive(Clone, Debug)]
pub struct Transform {
    channels_in: usize,
    channels_out: usize,
    resizer: Resizer,
    /// Normalised value of each level, per output channel.
    tables: Vec<[f32; 256]>,
    grey: Vec<u8>,
    resized: Vec<u8>,
}

impl Transform {
    /// Checks `preprocess` for images of `shape` = `[C, H, W]`.
    ///
    /// # Errors
    /// [`PreprocessError`]: channels other than 1 or 3, statistics that are not one finite value
    /// per channel, a deviation not above 0, an empty side.
    pub fn new(preprocess: &Preprocess, shape: [usize; 3]) -> Result<Self, PreprocessError> {
        let Preprocess { size, channels, mean, std, interpolation } = preprocess;
        let [channels_in, height, width] = shape;
        for (of, found) in [("image", channels_in), ("model", *channels)] {
            if found != 1 && found != 3 {
                return Err(PreprocessError::Channels { of, found });
            }
        }
        Ok(Self {
            channels_in,
            channels_out: *channels,
            resizer: Resizer::new((height, width), *size, *interpolation)?,
            tables: tables(*channels, mean, std)?,
            grey: vec![0; if channels_in > *channels { height * width } else { 0 }],
            resized: vec![0; size.0 * size.1],
        })
    }

    /// Values that [`Transform::run`] writes for one image.
    pub fn output_len(&self) -> usize {
        self.channels_out * self.resized.len()
    }

    /// Prepares one image: `image` is `[C, H, W]` levels, `out` receives `[C', H', W']` values.
    ///
    /// # Panics
    /// If a slice's length is not that of the shape given to [`Transform::new`].
    pub fn run(&mut self, image: &[u8], out: &mut [f32]) {
        assert_eq!(out.len(), self.output_len(), "out: expected C' · H' · W' values");
        let plane_len = image.len() / self.channels_in;
        let levels = self.resized.len();
        let targets = out.chunks_exact_mut(levels).zip(&self.tables);
        if self.channels_in == self.channels_out {
            for (plane, (target, table)) in image.chunks_exact(plane_len).zip(targets) {
                self.resizer.run(plane, &mut self.resized);
                normalise(&self.resized, table, target);
            }
        } else {
            // One plane is all there is to resize: the grey one.
            let plane = if self.channels_in == 3 {
                to_grey(image, &mut self.grey);
                &self.grey[..]
            } else {
                image
            };
            self.resizer.run(plane, &mut self.resized);
            targets.for_each(|(target, table)| normalise(&self.resized, table, target));
        }
    }
}

/// The normalised value of each level, per channel: (level / 255 − mean) / std in f32.
pub(crate) fn tables(
    channels: usize,
    mean: &[f32],
    std: &[f32],
) -> Result<Vec<[f32; 256]>, PreprocessError> {
    check_values("mean", mean, channels, "a finite value", f32::is_finite)?;
    check_values("std", std, channels, "a finite value above 0", |v| v.is_finite() && v > 0.0)?;
    let table = |(&mean, &std): (&f32, &f32)| {
        std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
    };
    Ok(mean.iter().zip(std).map(table).collect())
}

fn check_values(
    field: &'static str,
    values: &[f32],
    channels: usize,
    expected: &'static str,
    holds: impl Fn(f32) -> bool,
) -> Result<(), PreprocessError> {
    if values.len() != channels {
        let found = values.len();
        return Err(PreprocessError::PerChannel { field, expected: channels, found });
    }
    match values.iter().enumerate().find(|&(_, &v)| !holds(v)) {
        Some((channel, &found)) => Err(PreprocessError::Value { field, channel, expected, found }),
        None => Ok(()),
    }
}

pub(crate) fn normalise(levels: &[u8], table: &[f32; 256], out: &mut [f32]) {
    out.iter_mut().zip(levels).for_each(|(value, &level)| *value = table[usize::from(level)]);
}

/// Planes `[3, H, W]` to one of grey.
fn to_grey(rgb: &[u8], grey_levels: &mut [u8]) {
    let (red, rest) = rgb.split_at(grey_levels.len());
    let (green, blue) = rest.split_at(grey_levels.len());
    for (((level, &r), &g), &b) in grey_levels.iter_mut().zip(red).zip(green).zip(blue) {
        *level = grey([r, g, b]);
    }
}

/// Pillow's `convert("L")`: ITU-R 601 weights in 16-bit fixed point, rounded.
pub(crate) fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(channels: usize) -> Preprocess {
        Preprocess {
            size: (2, 2),
            channels,
            mean: IMAGENET_MEAN[..channels].to_vec(),
            std: IMAGENET_STD[..channels].to_vec(),
            interpolation: Interpolation::Bilinear,
        }
    }

    #[test]
    fn grey_is_repeated_and_each_channel_normalised_by_its_own_statistics() {
        let images = Array4::from_elem((1, 1, 4, 4), 255);
        let out = to(3).apply(images.view()).unwrap();
        assert_eq!(out.dim(), (1, 3, 2, 2));
        for channel in 0..3 {
            let expected = (1.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel];
            assert!((out[[0, channel, 1, 1]] - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn rgb_becomes_grey_as_pillow_does_it() {
        let bytes = include_bytes!("../tests/resize/grey.bin");
        let rgbl: Vec<&[u8]> = bytes.chunks_exact(4).collect();
        let rgb: Vec<u8> = (0..3).flat_map(|c| rgbl.iter().map(move |p| p[c])).collect();
        let mut grey = vec![0; rgbl.len()];
        to_grey(&rgb, &mut grey);
        assert_eq!(grey, rgbl.iter().map(|p| p[3]).collect::<Vec<u8>>());
        assert_eq!(grey[4], 76); // pure red: 0.299 · 255
    }

    fn check(change: impl Fn(&mut Preprocess), expected_error: &str) {
        let mut preprocess = to(3);
        change(&mut preprocess);
        let error = preprocess.apply(Array4::zeros((1, 1, 4, 4)).view()).unwrap_err();
        assert_eq!(error.to_string(), expected_error);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        check(|p| p.channels = 2, "model channels: expected 1 or 3, found 2");
        check(|p| p.channels = 1, "mean: expected 1 values, one per channel, found 3");
        check(|p| p.std[1] = 0.0, "std[1]: expected a finite value above 0, found 0");
        check(|p| p.mean[2] = f32::NAN, "mean[2]: expected a finite value, found NaN");
        check(|p| p.size.1 = 0, "width to resize to: expected 1 to 65536 pixels, found 0");
    }
}
