//! How images are brought to a model's input, as suites say it and children are told it.

use nearkin_data::{CropMode, Eval, Interpolation};
use serde::{Deserialize, Serialize};

/// Which transform the cases of a suite share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preparation {
    /// The whole image, its aspect ratio lost, bilinear, with the suite's own mean and deviation:
    /// for small images of one shape.
    #[default]
    Squash,
    /// timm's evaluation transform of each variant: its own size, crop, interpolation, mean and
    /// deviation. For photographs.
    Timm,
}

/// One case's transform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// Mean of each channel, of pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// The resampling kernel.
    pub interpolation: Kernel,
    /// Share of the resized side that is kept, in (0, 1].
    pub crop_pct: f64,
    /// How the crop is placed.
    pub crop_mode: Crop,
}

/// A resampling kernel, as timm names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// Triangle.
    Bilinear,
    /// Keys' cubic.
    Bicubic,
}

/// How a crop is placed, as timm names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The shorter side is resized, then the centre shown.
    Center,
    /// Both sides are resized.
    Squash,
    /// The longer side is resized, then borders are added.
    Border,
}

impl Transform {
    /// The whole image, bilinear.
    #[must_use]
    pub fn squash(channels: usize, mean: f32, std: f32) -> Self {
        Self {
            mean: vec![mean; channels],
            std: vec![std; channels],
            interpolation: Kernel::Bilinear,
            crop_pct: 1.0,
            crop_mode: Crop::Squash,
        }
    }

    /// What a variant's default weights expect.
    #[must_use]
    pub fn timm(config: &nearkin_nn::Config) -> Self {
        Self {
            mean: config.mean.to_vec(),
            std: config.std.to_vec(),
            interpolation: match config.interpolation {
                nearkin_nn::Interpolation::Bilinear => Kernel::Bilinear,
                nearkin_nn::Interpolation::Bicubic => Kernel::Bicubic,
            },
            crop_pct: config.crop_pct,
            crop_mode: match config.crop_mode {
                nearkin_nn::CropMode::Center => Crop::Center,
                nearkin_nn::CropMode::Squash => Crop::Squash,
                nearkin_nn::CropMode::Border => Crop::Border,
            },
        }
    }

    /// The transform to images of `input` = channels, height, width.
    #[must_use]
    pub fn eval(&self, input: [usize; 3]) -> Eval {
        let [channels, height, width] = input;
        Eval {
            size: (height, width),
            channels,
            mean: self.mean.clone(),
            std: self.std.clone(),
            interpolation: match self.interpolation {
                Kernel::Bilinear => Interpolation::Bilinear,
                Kernel::Bicubic => Interpolation::Bicubic,
            },
            crop_pct: self.crop_pct,
            crop_mode: match self.crop_mode {
                Crop::Center => CropMode::Center,
                Crop::Squash => CropMode::Squash,
                Crop::Border => CropMode::Border,
            },
        }
    }

    /// In words, for the fairness key.
    #[must_use]
    pub fn label(&self) -> String {
        let kernel = match self.interpolation {
            Kernel::Bilinear => "bilinear",
            Kernel::Bicubic => "bicubic",
        };
        match self.crop_mode {
            Crop::Squash if self.crop_pct >= 1.0 => {
                format!("none; {kernel} resize of the whole image")
            }
            Crop::Squash => format!("squash {}; {kernel}", self.crop_pct),
            Crop::Center => format!("center {}; {kernel}", self.crop_pct),
            Crop::Border => format!("border {}; {kernel}", self.crop_pct),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variants_own_transform_is_timms() {
        let transform = Transform::timm(&nearkin_nn::Config::IMAGENET);
        assert_eq!(transform.label(), "center 0.875; bicubic");
        let eval = transform.eval([3, 224, 224]);
        assert_eq!((eval.size, eval.mean.as_slice()), ((224, 224), &[0.485, 0.456, 0.406][..]));
        let squash = Transform::squash(1, 0.5, 0.25);
        assert_eq!(squash.label(), "none; bilinear resize of the whole image");
        assert_eq!(squash.eval([1, 8, 8]).std, [0.25]);
    }
}
