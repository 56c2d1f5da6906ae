//! Images of a listing as a loader's source: read, decoded, cropped to their region, prepared.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array4, Axis};
use thiserror::Error;

use super::source::{Fault, Place, Source, Stage, StageTimes, Worker};
use crate::{
    DecodeError, DecodeOptions, Image, ImageError, ListedPart, Pixels, Sample, Target, decode,
};

/// Bytes of an image file beyond which it is refused unread: 1 GiB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// What turns a decoded image into the values of a batch. Each thread has a clone.
pub trait Prepare<T = f32>: Clone + Send + Sync + 'static {
    /// `[C, H, W]` of what it makes, no side empty.
    fn shape(&self) -> [usize; 3];
    /// Where its time is counted.
    fn stage(&self) -> Stage;
    /// Writes `image`, prepared, into `out`, row-major `[C, H, W]`. What it writes may depend on
    /// `image` and `place` only.
    ///
    /// # Errors
    /// Why this image cannot be prepared; it is then set aside.
    fn run(&mut self, image: &Image, place: Place, out: &mut [T]) -> Result<(), String>;

    /// Decodes a file's bytes and prepares its whole image in one, to the values that [`decode`] and
    /// [`Prepare::run`] give; `None` where that is no faster.
    fn run_file(
        &mut self,
        _bytes: &[u8],
        _options: &DecodeOptions,
        _out: &mut [T],
        _times: &mut StageTimes,
    ) -> Option<Result<(), String>> {
        None
    }
}

/// Why the pixels of a sample cannot be had.
#[derive(Debug, Error)]
pub enum SampleError {
    /// The system does not give the file, or not whole.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder, a pipe or a device, which might never end.
    #[error("{}: expected a file, found something else", path.display())]
    NotFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is too long to be read whole.
    #[error("{}: expected at most {limit} bytes, found {found}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes that are read at most.
        limit: u64,
        /// Its bytes.
        found: u64,
    },
    /// The file ends before the image inside it.
    #[error("{}: expected {len} bytes at offset {offset}, found a file of {found}", path.display())]
    Slice {
        /// The file.
        path: PathBuf,
        /// First byte of the image.
        offset: u64,
        /// Bytes of the image.
        len: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// There is no such image in memory.
    #[error("image {index} in memory: expected one below {count}")]
    Index {
        /// The index.
        index: usize,
        /// The images there are.
        count: usize,
    },
    /// The bytes are no image.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The levels are no image, or have no such region.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Reads samples, one after another, reusing its buffer and the last file it opened.
#[derive(Debug, Default)]
pub struct SampleReader {
    options: DecodeOptions,
    bytes: Vec<u8>,
    /// The archive that the last image lay in, and its length.
    archive: Option<(Arc<Path>, File, u64)>,
}

impl SampleReader {
    /// Decodes with these options.
    pub fn new(options: DecodeOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// The sample's image, cropped to its region.
    ///
    /// # Errors
    /// [`SampleError`]; files longer than [`MAX_FILE_BYTES`] are not read.
    pub fn image(&mut self, sample: &Sample, times: &mut StageTimes) -> Result<Image, SampleError> {
        self.read(sample, times)?;
        self.decode(sample, times)
    }

    /// Reads the sample's file, if it is in one.
    fn read(&mut self, sample: &Sample, times: &mut StageTimes) -> Result<(), SampleError> {
        match &sample.pixels {
            Pixels::Levels { .. } => Ok(()),
            Pixels::File(path) => times.time(Stage::Read, || self.read_file(path)),
            Pixels::Slice { path, offset, len } => {
                times.time(Stage::Read, || self.read_slice(path, *offset, *len))
            }
        }
    }

    /// The image of the sample that was read last.
    fn decode(&self, sample: &Sample, times: &mut StageTimes) -> Result<Image, SampleError> {
        let image = match &sample.pixels {
            Pixels::Levels { images, index } => {
                times.time(Stage::Read, || interleave(images, *index))?
            }
            Pixels::File(_) | Pixels::Slice { .. } => {
                times.time(Stage::Decode, || decode(&self.bytes, &self.options))?
            }
        };
        match sample.region {
            None => Ok(image),
            Some(region) => Ok(times.time(Stage::Resize, || image.crop(region))?),
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<(), SampleError> {
        let fail = |source| SampleError::Read { path: path.to_owned(), source };
        let (file, len) = open(path)?;
        self.bytes.clear();
        // A file that grows meanwhile is read up to the limit and no further.
        self.bytes
            .try_reserve(len as usize)
            .map_err(|_| fail(io::ErrorKind::OutOfMemory.into()))?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut self.bytes).map_err(fail)?;
        Ok(())
    }

    fn read_slice(&mut self, path: &Arc<Path>, offset: u64, len: u64) -> Result<(), SampleError> {
        let fail = |source| SampleError::Read { path: path.to_path_buf(), source };
        if self.archive.as_ref().is_none_or(|(last, ..)| last != path) {
            let (file, found) = open_any(path)?;
            self.archive = Some((Arc::clone(path), file, found));
        }
        let Some((_, file, found)) = &mut self.archive else { return Ok(()) };
        let found = *found;
        if offset.checked_add(len).is_none_or(|end| end > found) {
            return Err(SampleError::Slice { path: path.to_path_buf(), offset, len, found });
        }
        limit(path, len)?;
        self.bytes.resize(len as usize, 0);
        let mut read = || {
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut self.bytes)
        };
        read().map_err(fail)
    }
}

fn open(path: &Path) -> Result<(File, u64), SampleError> {
    let (file, len) = open_any(path)?;
    limit(path, len)?;
    Ok((file, len))
}

fn limit(path: &Path, found: u64) -> Result<(), SampleError> {
    if found > MAX_FILE_BYTES {
        return Err(SampleError::TooLong { path: path.to_owned(), limit: MAX_FILE_BYTES, found });
    }
    Ok(())
}

/// Opens a file, and its length. A pipe is told by its metadata: to open it would wait for ever.
fn open_any(path: &Path) -> Result<(File, u64), SampleError> {
    let fail = |source| SampleError::Read { path: path.to_owned(), source };
    let metadata = path.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(SampleError::NotFile { path: path.to_owned() });
    }
    Ok((File::open(path).map_err(fail)?, metadata.len()))
}

/// Image `index` of `[N, C, H, W]` as `[H, W, C]`.
fn interleave(images: &Array4<u8>, index: usize) -> Result<Image, SampleError> {
    let (count, channels, height, width) = images.dim();
    if index >= count {
        return Err(SampleError::Index { index, count });
    }
    let image = images.index_axis(Axis(0), index);
    let levels = match image.as_slice() {
        Some(planes) => interleave_planes(planes, channels),
        None => image.permuted_axes([1, 2, 0]).iter().copied().collect(),
    };
    Ok(Image::new((height, width), channels, levels)?)
}

/// `[C, H, W]` to `[H, W, C]`.
pub(crate) fn interleave_planes(planes: &[u8], channels: usize) -> Vec<u8> {
    if channels == 1 {
        return planes.to_vec();
    }
    let mut levels = vec![0; planes.len()];
    for (channel, plane) in planes.chunks_exact((planes.len() / channels).max(1)).enumerate() {
        levels[channel..]
            .iter_mut()
            .step_by(channels)
            .zip(plane)
            .for_each(|(to, &from)| *to = from);
    }
    levels
}

/// The images of a listed part, prepared by `P`.
#[derive(Debug)]
pub struct Samples<P> {
    part: Arc<ListedPart>,
    options: DecodeOptions,
    prepare: P,
}

impl<P> Samples<P> {
    /// Joins them; nothing is read.
    pub fn new(part: Arc<ListedPart>, options: DecodeOptions, prepare: P) -> Self {
        Self { part, options, prepare }
    }
}

/// One thread's work on [`Samples`].
#[derive(Debug)]
pub struct SampleWorker<P> {
    part: Arc<ListedPart>,
    reader: SampleReader,
    prepare: P,
}

impl<T: 'static, P: Prepare<T>> Source<T> for Samples<P> {
    type Worker = SampleWorker<P>;

    fn count(&self) -> usize {
        self.part.samples.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.prepare.shape()
    }

    fn name(&self, index: usize) -> &str {
        &self.part.samples[index].name
    }

    fn target(&self, index: usize) -> &Target {
        &self.part.samples[index].target
    }

    fn worker(&self) -> SampleWorker<P> {
        let (part, prepare) = (Arc::clone(&self.part), self.prepare.clone());
        SampleWorker { part, reader: SampleReader::new(self.options), prepare }
    }
}

impl<T, P: Prepare<T>> Worker<T> for SampleWorker<P> {
    fn run(&mut self, place: Place, out: &mut [T], times: &mut StageTimes) -> Result<(), Fault> {
        let sample = &self.part.samples[place.index];
        let bad = |error: SampleError| Fault::Image(error.to_string());
        self.reader.read(sample, times).map_err(bad)?;
        let SampleReader { bytes, options, .. } = &self.reader;
        if !matches!(sample.pixels, Pixels::Levels { .. })
            && sample.region.is_none()
            && let Some(done) = self.prepare.run_file(bytes, options, out, times)
        {
            return done.map_err(Fault::Image);
        }
        let image = self.reader.decode(sample, times).map_err(bad)?;
        let stage = self.prepare.stage();
        times.time(stage, || self.prepare.run(&image, place, out)).map_err(Fault::Image)
    }
}
