//! Augmentation as what prepares a loader's images.

use super::samples::Prepare;
use super::source::{Place, Stage};
use crate::{Augment, AugmentError, Augmenter, Draw, Image};

/// Prepares images for training, as [`Augmenter`]: by seed, epoch and index of the image, so that
/// neither the order nor the number of threads matters.
#[derive(Clone, Debug)]
pub struct Augmented {
    augmenter: Augmenter,
    seed: u64,
}

impl Augmented {
    /// Checks `augment`.
    ///
    /// - `seed`: of all that is drawn; the epoch is the loader's.
    ///
    /// # Errors
    /// As [`Augmenter::new`].
    pub fn new(augment: &Augment, seed: u64) -> Result<Self, AugmentError> {
        Ok(Self { augmenter: Augmenter::new(augment)?, seed })
    }
}

impl Prepare for Augmented {
    fn shape(&self) -> [usize; 3] {
        self.augmenter.shape()
    }

    fn stage(&self) -> Stage {
        Stage::Augment
    }

    fn run(&mut self, image: &Image, place: Place, out: &mut [f32]) -> Result<(), String> {
        let Place { index, epoch } = place;
        let draw = Draw { seed: self.seed, epoch, index: index as u64 };
        self.augmenter.run(image, draw, out).map_err(|error| error.to_string())
    }
}
