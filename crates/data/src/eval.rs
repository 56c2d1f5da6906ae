//! timm's evaluation transform: resize, crop at the centre, normalise.
//!
//! As `timm.data.create_transform(is_training=False)` of timm 1.0 and torchvision build it for one
//! image of 8-bit levels (<https://github.com/huggingface/pytorch-image-models/blob/main/timm/data/transforms_factory.py>),
//! equal to the last bit. Only the pixels that the crop needs are resized. Nothing is drawn at random.

use std::ops::Range;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::decode::decode_part;
use crate::preprocess::{grey, normalise, tables};
use crate::resize::{Resampler, Source, Target, check_sides};
use crate::{DecodeError, DecodeOptions, Image, Interpolation, PreprocessError};

/// How an image comes to have the sides of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CropMode {
    /// The shorter side to size / `crop_pct`, the aspect ratio kept, then the centre; timm's default.
    #[default]
    Center,
    /// Both sides to size / `crop_pct`, the aspect ratio lost, then the centre.
    Squash,
    /// The longer side to size / `crop_pct`, then the centre with borders of the mean colour.
    Border,
}

impl CropMode {
    /// timm's name: `center`, `squash`, `border`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "center" => Self::Center,
            "squash" => Self::Squash,
            "border" => Self::Border,
            _ => return None,
        })
    }
}

/// timm's data configuration of a model, as far as evaluation needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Eval {
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
    /// Share of the resized side that is kept, in (0, 1]. The exact number of the decimal text:
    /// f64 of an f32 0.8 resizes to 279 where 280 is meant.
    pub crop_pct: f64,
    /// How the crop is placed.
    pub crop_mode: CropMode,
}

/// A checked [`Eval`] with its tables and scratch memory, for images of any size.
#[derive(Clone, Debug)]
pub struct EvalTransform {
    eval: Eval,
    /// size / `crop_pct`, rounded down.
    scaled: (usize, usize),
    /// Normalised value of each level, per output channel.
    tables: Vec<[f32; 256]>,
    fill: Vec<u8>,
    resampler: Resampler,
    decoded: Vec<u8>,
    /// How long the last file took to decode.
    decode_time: Duration,
    window: Vec<u8>,
}

/// Why a file could not be prepared.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// It cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its image cannot be resized, or the output does not fit.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
}

/// Where the pixels of one image go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Placement {
    /// Height and width of the whole image once resized.
    resized: (usize, usize),
    /// Rows and columns of the resized image that the output shows.
    shown: (Range<usize>, Range<usize>),
    /// Row and column of the output at which they begin.
    at: (usize, usize),
}

impl EvalTransform {
    /// Checks `eval`.
    ///
    /// # Errors
    /// [`PreprocessError`]: channels other than 1 or 3, statistics that are not one finite value per
    /// channel, a deviation not above 0, a crop outside (0, 1], an empty or a giant side.
    pub fn new(eval: &Eval) -> Result<Self, PreprocessError> {
        let found = eval.channels;
        if found != 1 && found != 3 {
            return Err(PreprocessError::Channels { of: "model", found });
        }
        let tables = tables(found, &eval.mean, &eval.std)?;
        if !(eval.crop_pct > 0.0 && eval.crop_pct <= 1.0) {
            return Err(PreprocessError::CropPct { found: eval.crop_pct });
        }
        check_sides((1, 1), eval.size)?;
        let scale = |side: usize| (side as f64 / eval.crop_pct).floor() as usize;
        let scaled = (scale(eval.size.0), scale(eval.size.1));
        check_sides((1, 1), scaled)?;
        let fill = match eval.crop_mode {
            CropMode::Border => eval
                .mean
                .iter()
                .map(|&mean| round(255.0 * decimal(mean)).clamp(0, 255) as u8)
                .collect(),
            CropMode::Center | CropMode::Squash => vec![0; found],
        };
        Ok(Self {
            eval: eval.clone(),
            scaled,
            tables,
            fill,
            resampler: Resampler::default(),
            decoded: Vec::new(),
            decode_time: Duration::ZERO,
            window: Vec::new(),
        })
    }

    /// Levels or values of one output: C · H · W.
    pub fn output_len(&self) -> usize {
        self.eval.channels * self.eval.size.0 * self.eval.size.1
    }

    /// Resizes and crops, without normalising: what a cache stores.
    ///
    /// - `image`: grey or RGB; channels are converted as Pillow's `convert`, before resizing.
    /// - `out`: receives `[C, H, W]` levels.
    ///
    /// # Errors
    /// [`PreprocessError::Output`] for a buffer of another length; [`PreprocessError::Size`] for an
    /// image that is, or becomes, longer than [`crate::MAX_SIDE`].
    pub fn levels(&mut self, image: &Image, out: &mut [u8]) -> Result<(), PreprocessError> {
        self.check_output(out.len())?;
        let placement = self.resample(image)?;
        self.spread(&placement, out, |_, level| level);
        Ok(())
    }

    /// [`crate::decode()`] and [`EvalTransform::levels`] of a file's bytes in one: faster, because what
    /// of a JPEG file the crop does not need is not decoded to pixels, and memory is used again.
    ///
    /// # Errors
    /// [`EvalError`]: the file cannot be decoded, or as [`EvalTransform::levels`].
    pub fn levels_of_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [u8],
    ) -> Result<(), EvalError> {
        self.check_output(out.len())?;
        let placement = self.resample_file(bytes, options)?;
        self.spread(&placement, out, |_, level| level);
        Ok(())
    }

    /// Normalises `[C, H, W]` levels: (level / 255 − mean) / std in f32, as torchvision's `Normalize`.
    ///
    /// # Panics
    /// If a slice's length is not [`EvalTransform::output_len`].
    pub fn normalise(&self, levels: &[u8], out: &mut [f32]) {
        assert_eq!(levels.len(), self.output_len(), "levels: expected C · H · W");
        assert_eq!(out.len(), self.output_len(), "out: expected C · H · W values");
        let plane = self.eval.size.0 * self.eval.size.1;
        let planes = levels.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for ((levels, out), table) in planes.zip(&self.tables) {
            normalise(levels, table, out);
        }
    }

    /// [`EvalTransform::levels`], then [`EvalTransform::normalise`].
    ///
    /// # Errors
    /// As [`EvalTransform::levels`].
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{CropMode, Eval, EvalTransform, Image, Interpolation};
    /// let eval = Eval {
    ///     size: (4, 4),
    ///     channels: 1,
    ///     mean: vec![0.5],
    ///     std: vec![0.5],
    ///     interpolation: Interpolation::Bicubic,
    ///     crop_pct: 0.8,
    ///     crop_mode: CropMode::Center,
    /// };
    /// let image = Image::new((10, 20), 1, vec![255; 200])?;
    /// let mut out = [0.0; 16];
    /// EvalTransform::new(&eval)?.run(&image, &mut out)?;
    /// assert_eq!(out, [1.0; 16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&mut self, image: &Image, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.check_output(out.len())?;
        let placement = self.resample(image)?;
        self.spread(&placement, out, |channel, level| self.tables[channel][usize::from(level)]);
        Ok(())
    }

    /// [`EvalTransform::levels_of_file`], then [`EvalTransform::normalise`].
    ///
    /// # Errors
    /// As [`EvalTransform::levels_of_file`].
    pub fn run_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [f32],
    ) -> Result<(), EvalError> {
        self.check_output(out.len())?;
        let placement = self.resample_file(bytes, options)?;
        self.spread(&placement, out, |channel, level| self.tables[channel][usize::from(level)]);
        Ok(())
    }

    /// How long the last file took to decode, of all that was done to it.
    pub(crate) fn decode_time(&self) -> Duration {
        self.decode_time
    }

    fn check_output(&self, found: usize) -> Result<(), PreprocessError> {
        let expected = self.output_len();
        if found == expected { Ok(()) } else { Err(PreprocessError::Output { expected, found }) }
    }

    /// Fills the window from an image.
    fn resample(&mut self, image: &Image) -> Result<Placement, PreprocessError> {
        let placement = self.plan(image.size())?;
        let (channels, columns) = (image.channels(), image.size().1);
        self.fill_window(&placement, &Source::whole(image.levels(), columns, channels));
        Ok(placement)
    }

    /// Fills the window from a file.
    fn resample_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
    ) -> Result<Placement, EvalError> {
        let mut decoded = std::mem::take(&mut self.decoded);
        let mut placement = Placement::default();
        let start = Instant::now();
        let part = decode_part(bytes, options, &mut decoded, |size| {
            placement = self.plan(size)?;
            Ok::<_, EvalError>(self.resampler.inputs())
        });
        self.decode_time = start.elapsed();
        if let Ok(part) = &part {
            let source = Source {
                levels: &decoded,
                columns: part.columns.len(),
                channels: 3,
                origin: (part.rows.start, part.columns.start),
            };
            self.fill_window(&placement, &source);
        }
        self.decoded = decoded;
        part.map(|_| placement)
    }

    fn plan(&mut self, size: (usize, usize)) -> Result<Placement, PreprocessError> {
        let placement = self.place(size)?;
        let (rows, columns) = placement.shown.clone();
        let target = Target { size: placement.resized, rows, columns };
        self.resampler.plan(size, &target, self.eval.interpolation);
        Ok(placement)
    }

    fn fill_window(&mut self, placement: &Placement, source: &Source<'_>) {
        let pixels = placement.shown.0.len() * placement.shown.1.len();
        // Grey made of RGB is resized as grey; RGB made of grey is three times the same.
        if self.eval.channels == 1 && source.channels == 3 {
            let levels = source.levels.chunks_exact(3);
            let grey: Vec<u8> = levels.map(|p| grey([p[0], p[1], p[2]])).collect();
            self.window.resize(pixels, 0);
            let source = Source { levels: &grey, channels: 1, ..*source };
            self.resampler.run(&source, &mut self.window);
        } else {
            self.window.resize(pixels * source.channels, 0);
            self.resampler.run(source, &mut self.window);
        }
    }

    /// Interleaved window to planes, with the fill around it.
    fn spread<T: Copy>(
        &self,
        placement: &Placement,
        out: &mut [T],
        value: impl Fn(usize, u8) -> T,
    ) {
        let (height, width) = self.eval.size;
        let (top, left) = placement.at;
        let (rows, columns) = (placement.shown.0.len(), placement.shown.1.len());
        let channels = self.window.len() / (rows * columns);
        for (channel, plane) in out.chunks_exact_mut(height * width).enumerate() {
            if (rows, columns) != (height, width) {
                plane.fill(value(channel, self.fill[channel]));
            }
            let from = if channels == 1 { 0 } else { channel };
            let targets = plane.chunks_exact_mut(width).skip(top);
            for (target, row) in targets.zip(self.window.chunks_exact(columns * channels)) {
                let target = &mut target[left..left + columns];
                for (to, pixel) in target.iter_mut().zip(row.chunks_exact(channels)) {
                    *to = value(channel, pixel[from]);
                }
            }
        }
    }

    /// Sides after resizing, and what of them is shown where, for an image of `size`.
    fn place(&self, size: (usize, usize)) -> Result<Placement, PreprocessError> {
        let resized = match self.eval.crop_mode {
            CropMode::Squash => self.scaled,
            CropMode::Center if self.scaled.0 == self.scaled.1 => shorter_side(size, self.scaled.0),
            CropMode::Center => keep_ratio(size, self.scaled, f64::min),
            CropMode::Border => keep_ratio(size, self.scaled, f64::max),
        };
        check_sides(size, resized)?;
        let (rows, top) = centre(resized.0, self.eval.size.0);
        let (columns, left) = centre(resized.1, self.eval.size.1);
        Ok(Placement { resized, shown: (rows, columns), at: (top, left) })
    }
}

/// torchvision's `Resize(side)`: the longer side is cut to an integer.
fn shorter_side((height, width): (usize, usize), side: usize) -> (usize, usize) {
    let long = |long: usize, short: usize| ((side * long) as f64 / short as f64) as usize;
    if width <= height { (long(height, width), side) } else { (side, long(width, height)) }
}

/// timm's `ResizeKeepRatio`, by the smaller or the larger of the two ratios.
fn keep_ratio(
    (height, width): (usize, usize),
    to: (usize, usize),
    choose: fn(f64, f64) -> f64,
) -> (usize, usize) {
    let (height, width) = (height as f64, width as f64);
    let ratio = choose(height / to.0 as f64, width / to.1 as f64);
    (round(height / ratio) as usize, round(width / ratio) as usize)
}

/// Of one side: what the centre crop shows, and where it begins in the output.
///
/// torchvision pads first and crops then, and rounds halves to even.
fn centre(resized: usize, wanted: usize) -> (Range<usize>, usize) {
    if wanted > resized {
        return (0..resized, (wanted - resized) / 2);
    }
    let start = round((resized - wanted) as f64 / 2.0) as usize;
    (start..start + wanted, 0)
}

/// Python's `round`: halves to even.
fn round(value: f64) -> i64 {
    value.round_ties_even() as i64
}

/// The number that the shortest decimal text of `value` names, as Python would read it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
