//! Augmentation: what training images become, by seed, epoch and index.
//!
//! Levels change exactly as Pillow changes them; distributions are timm's and torchvision's, the random
//! numbers our own, so that a run can be repeated on any number of threads. It does not read images,
//! nor decide which are trained on.

mod affine;
mod augmenter;
mod blur;
mod canvas;
mod config;
mod crop;
mod draw;
mod enhance;
mod erasing;
mod error;
mod geometry;
mod hue;
mod jitter;
mod mix;
mod operation;
mod rand_augment;
mod tables;

pub use affine::{RandomAffine, RandomRotation};
pub use augmenter::Augmenter;
pub use config::{Augment, RandomBlur};
pub use crop::Framing;
pub use draw::Draw;
pub use erasing::{Cutout, EraseFill, GaussianNoise, RandomErasing};
pub use error::AugmentError;
pub use geometry::{Sampling, Warp};
pub use jitter::ColorJitter;
pub use mix::{Mix, MixMode, MixTargets};
pub use operation::Operation;
pub use rand_augment::{RandAugment, RandChoice};
