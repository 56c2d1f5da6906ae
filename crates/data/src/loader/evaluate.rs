//! The evaluation transform as what prepares a loader's images.

use std::time::Instant;

use super::samples::Prepare;
use super::source::{Place, Stage, StageTimes};
use crate::{
    CropMode, DecodeOptions, Eval, EvalError, EvalTransform, Image, Interpolation, Orientation,
    PreprocessError,
};

/// To be raised when decoding or resizing comes to give other levels.
const LEVELS_VERSION: u32 = 1;

/// Prepares images for evaluation, as [`EvalTransform`]: to values, or to the levels before.
#[derive(Clone, Debug)]
pub struct Evaluate {
    transform: EvalTransform,
    shape: [usize; 3],
}

impl Evaluate {
    /// Checks `eval`.
    ///
    /// # Errors
    /// As [`EvalTransform::new`].
    pub fn new(eval: &Eval) -> Result<Self, PreprocessError> {
        let shape = [eval.channels, eval.size.0, eval.size.1];
        Ok(Self { transform: EvalTransform::new(eval)?, shape })
    }

    /// All that levels depend on apart from the image, in words. Mean and deviation do not count,
    /// but for a border of the mean colour.
    pub fn levels_key(eval: &Eval, decode: DecodeOptions) -> String {
        let Eval { size, channels, mean, std: _, interpolation, crop_pct, crop_mode } = eval;
        let DecodeOptions { max_pixels, orientation } = decode;
        // Written out, so that a new name in the code is no new transform.
        let interpolation = match interpolation {
            Interpolation::Nearest => "nearest",
            Interpolation::Box => "box",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Hamming => "hamming",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
        };
        let crop = match crop_mode {
            CropMode::Center => "center".into(),
            CropMode::Squash => "squash".into(),
            CropMode::Border => format!("border of {mean:?}"),
        };
        let orientation = match orientation {
            Orientation::Ignore => "as stored",
            Orientation::Apply => "upright",
        };
        format!(
            "levels {LEVELS_VERSION}: at most {max_pixels} pixels, {orientation}, {channels} \
             channels, {interpolation}, {crop} {crop_pct:?} to {size:?}"
        )
    }

    pub(crate) fn normalise(&self, levels: &[u8], out: &mut [f32]) {
        self.transform.normalise(levels, out);
    }
}

impl Prepare<f32> for Evaluate {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn stage(&self) -> Stage {
        Stage::Resize
    }

    fn run(&mut self, image: &Image, _: Place, out: &mut [f32]) -> Result<(), String> {
        self.transform.run(image, out).map_err(|error| error.to_string())
    }

    fn run_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [f32],
        times: &mut StageTimes,
    ) -> Option<Result<(), String>> {
        let run = |t: &mut EvalTransform| t.run_file(bytes, options, out);
        Some(timed(&mut self.transform, times, run))
    }
}

impl Prepare<u8> for Evaluate {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn stage(&self) -> Stage {
        Stage::Resize
    }

    fn run(&mut self, image: &Image, _: Place, out: &mut [u8]) -> Result<(), String> {
        self.transform.levels(image, out).map_err(|error| error.to_string())
    }

    fn run_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [u8],
        times: &mut StageTimes,
    ) -> Option<Result<(), String>> {
        let run = |t: &mut EvalTransform| t.levels_of_file(bytes, options, out);
        Some(timed(&mut self.transform, times, run))
    }
}

/// Runs what decodes and resizes in one, and counts each where it belongs.
fn timed(
    transform: &mut EvalTransform,
    times: &mut StageTimes,
    run: impl FnOnce(&mut EvalTransform) -> Result<(), EvalError>,
) -> Result<(), String> {
    let start = Instant::now();
    let done = run(transform);
    let decode = transform.decode_time();
    times.decode += decode;
    times.resize += start.elapsed().saturating_sub(decode);
    done.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval() -> Eval {
        Eval {
            size: (224, 192),
            channels: 3,
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
            interpolation: Interpolation::Bicubic,
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
        }
    }

    fn key(change: impl Fn(&mut Eval, &mut DecodeOptions)) -> String {
        let (mut eval, mut decode) = (eval(), DecodeOptions::default());
        change(&mut eval, &mut decode);
        Evaluate::levels_key(&eval, decode)
    }

    #[test]
    fn what_changes_levels_changes_the_key_and_statistics_do_not() {
        let base = key(|_, _| {});
        assert_eq!(
            base,
            "levels 1: at most 178956970 pixels, as stored, 3 channels, bicubic, center 0.875 to \
             (224, 192)"
        );
        assert_eq!(key(|e, _| (e.mean, e.std) = (vec![0.4; 3], vec![0.3; 3])), base);
        let others = [
            key(|e, _| e.size = (192, 224)),
            key(|e, _| e.channels = 1),
            key(|e, _| e.interpolation = Interpolation::Bilinear),
            key(|e, _| e.crop_pct = 0.9),
            key(|e, _| e.crop_mode = CropMode::Squash),
            key(|e, _| e.crop_mode = CropMode::Border),
            key(|e, _| (e.crop_mode, e.mean[1]) = (CropMode::Border, 0.4)),
            key(|_, d| d.max_pixels = 1000),
            key(|_, d| d.orientation = Orientation::Apply),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, base);
            assert!(!others[..at].contains(other), "{other}");
        }
    }
}
