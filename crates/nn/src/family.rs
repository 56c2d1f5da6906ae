//! The plug-in API: a family of architectures is a value.

use crate::architecture::{self, Architecture};
use crate::init::Scheme;
use crate::scope::{BuildError, Scope, Value};
use std::borrow::Cow;

/// Maps images `[N, C, H, W]` to features `[N, D]`.
pub type Build = fn(&Scope, Value) -> Value;

/// The same for architectures whose layer sizes are given by the user.
pub type BuildSized = fn(&Scope, Value, &[usize]) -> Value;

/// Architectures that share a builder.
#[derive(Debug)]
pub struct Family {
    /// timm's group, such as `resnet`.
    pub name: &'static str,
    /// Where the head goes in timm's names, such as `fc`.
    pub classifier: &'static str,
    /// How its layers start.
    pub scheme: Scheme,
    /// Its named members.
    pub variants: &'static [Variant],
    /// Members whose name says their sizes, such as `fcnn_256_64`.
    pub sized: Option<Sized>,
}

/// A rule that makes variants from names.
#[derive(Clone, Copy, Debug)]
pub struct Sized {
    /// How such names look, for messages: `fcnn_<width>[_<width>…]`.
    pub pattern: &'static str,
    /// The sizes in a name, `None` if it is not of this family.
    pub parse: fn(&str) -> Option<Vec<usize>>,
    /// The builder they are given to.
    pub build: BuildSized,
    /// What such variants expect of images.
    pub config: Config,
}

/// One architecture of a family.
#[derive(Clone, Debug)]
pub struct Variant {
    /// timm's name.
    pub name: Cow<'static, str>,
    /// What it expects of images.
    pub config: Config,
    builder: Builder,
}

#[derive(Clone, Debug)]
enum Builder {
    Plain(Build),
    Sized(BuildSized, Vec<usize>),
}

/// How an image is made smaller or larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Linear in both directions.
    Bilinear,
    /// Cubic in both directions, a = −0.5.
    Bicubic,
}

/// How a resized image is cut to the input's sides, as timm names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CropMode {
    /// The shorter side is resized, the aspect ratio kept, and the centre shown.
    #[default]
    Center,
    /// Both sides are resized, the aspect ratio lost, and the centre shown.
    Squash,
    /// The longer side is resized, and borders of the mean colour fill the rest.
    Border,
}

/// How images are prepared for a variant's default weights: timm's data configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Height and width, in pixels.
    pub image: (usize, usize),
    /// Mean of each channel, of pixels in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of pixels in [0, 1].
    pub std: [f32; 3],
    /// Share of the resized side that is kept, in (0, 1]; in f64, because side / `crop_pct` is rounded
    /// down, and f32's nearest number to 0.8 makes 279 of 224 where 280 is meant.
    pub crop_pct: f64,
    /// How the resized image is cut.
    pub crop_mode: CropMode,
    /// How images are resized.
    pub interpolation: Interpolation,
    /// Width of the logits; 0 where the default weights have no head.
    pub num_classes: usize,
}

impl Config {
    /// 224 × 224, ImageNet's mean and deviation, bicubic, 87.5 % crop.
    pub const IMAGENET: Self = Self {
        image: (224, 224),
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
        interpolation: Interpolation::Bicubic,
        num_classes: 1000,
    };

    /// 224 × 224, mean and deviation one half, bicubic, 90 % crop.
    pub const INCEPTION: Self =
        Self { mean: [0.5; 3], std: [0.5; 3], crop_pct: 0.9, ..Self::IMAGENET };

    /// The same for square images of this side.
    pub const fn image(self, side: usize) -> Self {
        Self { image: (side, side), ..self }
    }

    /// The same with this crop.
    pub const fn crop(self, crop_pct: f64) -> Self {
        Self { crop_pct, ..self }
    }

    /// The same, with both sides resized to the input's.
    pub const fn squash(self) -> Self {
        Self { crop_mode: CropMode::Squash, ..self }
    }

    /// The same with a head of this width.
    pub const fn num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    /// The same, resized bilinearly.
    pub const fn bilinear(self) -> Self {
        Self { interpolation: Interpolation::Bilinear, ..self }
    }
}

impl Variant {
    /// A variant that expects [`Config::IMAGENET`].
    pub const fn new(name: &'static str, build: Build) -> Self {
        Self { name: Cow::Borrowed(name), config: Config::IMAGENET, builder: Builder::Plain(build) }
    }

    /// The same with another configuration.
    pub const fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    pub(crate) fn features(&self, s: &Scope, image: Value) -> Value {
        match &self.builder {
            Builder::Plain(build) => build(s, image),
            Builder::Sized(build, sizes) => build(s, image, sizes),
        }
    }
}

/// What users choose beside the variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Width of the logits; 0 leaves the head out; `None` is the variant's own.
    pub num_classes: Option<usize>,
    /// Channels of the images.
    pub in_chans: usize,
    /// Height and width of the images; `None` is the variant's own.
    pub img_size: Option<(usize, usize)>,
}

impl Default for Options {
    /// 3 channels, and the variant's own size and head.
    fn default() -> Self {
        Self { num_classes: None, in_chans: 3, img_size: None }
    }
}

impl Family {
    /// The variant of this name: a listed one, or one whose sizes the name gives.
    pub fn variant(&'static self, name: &str) -> Option<Entry> {
        let listed = self.variants.iter().find(|variant| variant.name == name);
        let variant = match (listed, self.sized) {
            (Some(variant), _) => variant.clone(),
            (None, Some(sized)) => Variant {
                name: Cow::Owned(name.to_owned()),
                config: sized.config,
                builder: Builder::Sized(sized.build, (sized.parse)(name)?),
            },
            (None, None) => return None,
        };
        Some(Entry { family: self, variant })
    }

    /// All listed variants.
    pub fn entries(&'static self) -> impl Iterator<Item = Entry> {
        self.variants.iter().map(move |variant| Entry { family: self, variant: variant.clone() })
    }
}

/// A variant with the family that builds it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The family.
    pub family: &'static Family,
    /// The variant.
    pub variant: Variant,
}

impl Entry {
    /// timm's name.
    pub fn name(&self) -> &str {
        &self.variant.name
    }

    /// Builds the graph, without weights.
    ///
    /// # Errors
    /// [`BuildError`] names the first layer that cannot be built with these options.
    pub fn build(&self, options: &Options) -> Result<Architecture, BuildError> {
        architecture::build(self.family, &self.variant, options)
    }
}
