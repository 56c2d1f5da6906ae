//! A cache as a loader's source.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::Cache;
use crate::loader::interleave_planes;
use crate::{
    Evaluate, Fault, Image, ListedPart, Place, Prepare, Source, Stage, StageTimes, Target, Worker,
};

/// What turns cached levels into the values of a batch. Each thread has a clone.
pub trait FromLevels: Clone + Send + Sync + 'static {
    /// `[C, H, W]` of the levels that it takes; `None` for any.
    fn expects(&self) -> Option<[usize; 3]>;
    /// `[C, H, W]` of what it makes, no side empty.
    fn shape(&self) -> [usize; 3];
    /// Where its time is counted.
    fn stage(&self) -> Stage;
    /// Writes `levels`, `[C, H, W]` of `shape`, prepared, into `out`.
    ///
    /// # Errors
    /// Why this image cannot be prepared; it is then set aside.
    fn run(
        &mut self,
        levels: &[u8],
        shape: [usize; 3],
        place: Place,
        out: &mut [f32],
    ) -> Result<(), String>;
}

/// Normalises: what a cache of the same [`crate::Eval`] leaves to do.
impl FromLevels for Evaluate {
    fn expects(&self) -> Option<[usize; 3]> {
        Some(Prepare::<f32>::shape(self))
    }

    fn shape(&self) -> [usize; 3] {
        Prepare::<f32>::shape(self)
    }

    fn stage(&self) -> Stage {
        Stage::Resize
    }

    fn run(
        &mut self,
        levels: &[u8],
        _: [usize; 3],
        _: Place,
        out: &mut [f32],
    ) -> Result<(), String> {
        self.normalise(levels, out);
        Ok(())
    }
}

/// Any [`Prepare`], on cached levels as if they were a decoded image: for augmentation.
#[derive(Clone, Debug)]
pub struct FromImage<P>(pub P);

impl<P: Prepare> FromLevels for FromImage<P> {
    fn expects(&self) -> Option<[usize; 3]> {
        None
    }

    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn stage(&self) -> Stage {
        self.0.stage()
    }

    fn run(
        &mut self,
        levels: &[u8],
        [channels, height, width]: [usize; 3],
        place: Place,
        out: &mut [f32],
    ) -> Result<(), String> {
        let levels = interleave_planes(levels, channels);
        let image = Image::new((height, width), channels, levels).map_err(|e| e.to_string())?;
        self.0.run(&image, place, out)
    }
}

/// The images of a cache, prepared by `P`. Bad images are those that were bad when it was built.
#[derive(Debug)]
pub struct Cached<P> {
    cache: Arc<Cache>,
    part: Option<Arc<ListedPart>>,
    prepare: P,
}

/// Why a cache cannot be prepared so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CachedError {
    /// The levels have other sides.
    #[error("{}: expected levels [C, H, W] of {expected:?}, found {found:?}", path.display())]
    Shape {
        /// The cache.
        path: PathBuf,
        /// What is asked for.
        expected: [usize; 3],
        /// What the cache holds.
        found: [usize; 3],
    },
    /// The labels are those of another list of images.
    #[error(
        "{}: image {index}: expected {}, found {}",
        path.display(),
        expected.as_deref().unwrap_or("no more images"),
        found.as_deref().unwrap_or("no more images")
    )]
    Names {
        /// The cache.
        path: PathBuf,
        /// The first image that differs.
        index: usize,
        /// Its name in the list, if it has as many.
        expected: Option<String>,
        /// Its name in the cache, if it has as many.
        found: Option<String>,
    },
}

impl<P: FromLevels> Cached<P> {
    /// With the targets that the cache has on record.
    ///
    /// # Errors
    /// [`CachedError::Shape`].
    pub fn new(cache: Arc<Cache>, prepare: P) -> Result<Self, CachedError> {
        match prepare.expects() {
            Some(expected) if expected != cache.shape() => {
                let (path, found) = (cache.path().to_owned(), cache.shape());
                Err(CachedError::Shape { path, expected, found })
            }
            _ => Ok(Self { cache, part: None, prepare }),
        }
    }

    /// With the targets of `part`, as after a change of labels.
    ///
    /// # Errors
    /// [`CachedError::Shape`]; [`CachedError::Names`] if its images are not those of the cache, in
    /// the same order.
    pub fn labelled(self, part: Arc<ListedPart>) -> Result<Self, CachedError> {
        let names = self.cache.names();
        let count = names.len().max(part.samples.len());
        let differs =
            |&index: &usize| part.samples.get(index).map(|sample| &sample.name) != names.get(index);
        if let Some(index) = (0..count).find(differs) {
            let path = self.cache.path().to_owned();
            let expected = part.samples.get(index).map(|sample| sample.name.clone());
            return Err(CachedError::Names {
                path,
                index,
                expected,
                found: names.get(index).cloned(),
            });
        }
        Ok(Self { part: Some(part), ..self })
    }
}

/// One thread's work on [`Cached`].
#[derive(Debug)]
pub struct CachedWorker<P> {
    cache: Arc<Cache>,
    prepare: P,
}

impl<P: FromLevels> Source<f32> for Cached<P> {
    type Worker = CachedWorker<P>;

    fn count(&self) -> usize {
        self.cache.count()
    }

    fn shape(&self) -> [usize; 3] {
        self.prepare.shape()
    }

    fn name(&self, index: usize) -> &str {
        &self.cache.names()[index]
    }

    fn target(&self, index: usize) -> &Target {
        match &self.part {
            Some(part) => &part.samples[index].target,
            None => &self.cache.targets()[index],
        }
    }

    fn worker(&self) -> CachedWorker<P> {
        CachedWorker { cache: Arc::clone(&self.cache), prepare: self.prepare.clone() }
    }
}

impl<P: FromLevels> Worker<f32> for CachedWorker<P> {
    fn run(&mut self, place: Place, out: &mut [f32], times: &mut StageTimes) -> Result<(), Fault> {
        if let Some(reason) = self.cache.reason(place.index) {
            return Err(Fault::Image(reason.to_owned()));
        }
        // Checking the sum is what brings the levels from the disk.
        let levels = times.time(Stage::Read, || self.cache.levels(place.index));
        let levels = levels.map_err(|error| Fault::Source(error.to_string()))?;
        let (shape, stage) = (self.cache.shape(), self.prepare.stage());
        times.time(stage, || self.prepare.run(levels, shape, place, out)).map_err(Fault::Image)
    }
}
