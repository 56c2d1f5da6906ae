//! What a loader loads from: anything that can make the values of one image, given its index.

use std::time::{Duration, Instant};

use crate::Target;

/// Images that a [`crate::Loader`] makes batches of, shared by all its threads.
///
/// `T` is `f32` for a model's input; a cache is built from sources of `u8` levels.
pub trait Source<T = f32>: Send + Sync + 'static {
    /// What one thread works with.
    type Worker: Worker<T>;

    /// The number of images.
    fn count(&self) -> usize;
    /// `[C, H, W]` of every image, no side empty.
    fn shape(&self) -> [usize; 3];
    /// The name of image `index`, below [`Source::count`].
    fn name(&self, index: usize) -> &str;
    /// What image `index` shows.
    fn target(&self, index: usize) -> &Target;
    /// A worker for one thread, with scratch memory of its own.
    fn worker(&self) -> Self::Worker;
}

/// Makes the values of images, one at a time.
pub trait Worker<T> {
    /// Writes image `place.index` into `out`, row-major `[C, H, W]`.
    ///
    /// What it writes may depend on `place` only: then a run is the same for any number of
    /// threads. Time spent is counted by running each stage under [`StageTimes::time`].
    ///
    /// # Errors
    /// A [`Fault`] if there is no such image to be had.
    fn run(&mut self, place: Place, out: &mut [T], times: &mut StageTimes) -> Result<(), Fault>;
}

/// Which image of which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the source.
    pub index: usize,
    /// The epoch, from 0.
    pub epoch: u64,
}

/// Why an image is not in its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This image is bad: it is set aside with the reason, and the run goes on.
    Image(String),
    /// The source is: the run ends.
    Source(String),
}

/// A stage of preparing an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the disk, or from levels in memory.
    Read,
    /// From bytes to levels.
    Decode,
    /// Cropping, resizing, normalising.
    Resize,
    /// Random changes for training, with the resizing that is part of them.
    Augment,
}

/// Time spent in each stage, summed over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// [`Stage::Read`].
    pub read: Duration,
    /// [`Stage::Decode`].
    pub decode: Duration,
    /// [`Stage::Resize`].
    pub resize: Duration,
    /// [`Stage::Augment`].
    pub augment: Duration,
}

impl StageTimes {
    /// Runs `work` and adds the time it took to `stage`.
    pub fn time<R>(&mut self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        *self.of(stage) += start.elapsed();
        result
    }

    /// All stages together.
    pub fn total(&self) -> Duration {
        self.read + self.decode + self.resize + self.augment
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.decode += other.decode;
        self.resize += other.resize;
        self.augment += other.augment;
    }

    fn of(&mut self, stage: Stage) -> &mut Duration {
        match stage {
            Stage::Read => &mut self.read,
            Stage::Decode => &mut self.decode,
            Stage::Resize => &mut self.resize,
            Stage::Augment => &mut self.augment,
        }
    }
}
