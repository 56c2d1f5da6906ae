//! The loader itself: settings, epochs, batches.

use std::io;
use std::mem;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ndarray::ArrayView4;
use thiserror::Error;

use super::order::{Order, Plan, Shard};
use super::pool::{Filled, Pool, RowFault};
use super::report::LoaderReport;
use super::source::{Fault, Source};
use crate::{Quarantined, Target};

/// How a [`Loader`] makes batches.
///
/// Memory: `queue` + 1 batches, and what each thread needs for one image, whatever the number of
/// images. The batches are the same for any `threads` and `queue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Images in a batch, at least 1.
    pub batch_size: usize,
    /// Threads that prepare images, at least 1.
    pub threads: usize,
    /// Batches prepared ahead of the one in use, at least 1.
    pub queue: usize,
    /// The order of the images.
    pub order: Order,
    /// The batches that this process works on.
    pub shard: Shard,
    /// Batches of this shard to leave out at the beginning, so that a run goes on where it was cut
    /// off. Their images are not touched.
    pub first_batch: usize,
    /// Whether a last batch of fewer images is left out. With several shards, each then makes as
    /// many batches as the others.
    pub drop_last: bool,
    /// Whether the first bad image ends the run.
    pub strict: bool,
}

impl LoaderConfig {
    /// All images in order, on as many threads as there are processors, two batches ahead, not
    /// strict.
    ///
    /// - `batch_size`: images in a batch, at least 1.
    pub fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            threads: cores(),
            queue: 2,
            order: Order::Sequential,
            shard: Shard::WHOLE,
            first_batch: 0,
            drop_last: false,
            strict: false,
        }
    }
}

/// Why a loader cannot start.
#[derive(Debug, Error)]
pub enum LoaderError {
    /// A number is 0.
    #[error("{field}: expected at least 1, found 0")]
    Zero {
        /// The field of [`LoaderConfig`] or side of the source's shape.
        field: &'static str,
    },
    /// A shard that is none of them.
    #[error("shard: expected one below {count}, found {index}")]
    Shard {
        /// The shard asked for.
        index: usize,
        /// The number of shards.
        count: usize,
    },
    /// An explicit index names no image.
    #[error("index {position} of the order: expected one below {count}, found {found}")]
    Index {
        /// Where in the order.
        position: usize,
        /// The images there are.
        count: usize,
        /// The index.
        found: usize,
    },
    /// A batch would not fit into the address space.
    #[error("batch: {images} images of {row_len} values each are more than memory can hold")]
    TooLarge {
        /// Images in a batch.
        images: usize,
        /// Values of an image.
        row_len: usize,
    },
    /// The system starts no more threads.
    #[error("thread {number} of {threads}: {source}")]
    Thread {
        /// How many had started.
        number: usize,
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why an epoch ended early.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EpochError {
    /// An image is bad, and the run is strict.
    #[error("batch {batch}: {}: {}", image.name, image.reason)]
    Image {
        /// Number of the batch.
        batch: usize,
        /// The image and the reason.
        image: Quarantined,
    },
    /// Not this image but what all come from is at fault, such as a damaged cache.
    #[error("batch {batch}: {}: {}", image.name, image.reason)]
    Source {
        /// Number of the batch.
        batch: usize,
        /// The image at which it was found, and the reason.
        image: Quarantined,
    },
    /// The code that prepares images panicked.
    #[error("batch {batch}: {name}: a worker panicked: {message}")]
    Panic {
        /// Number of the batch.
        batch: usize,
        /// The image it was at.
        name: String,
        /// What it said.
        message: String,
    },
}

/// Batches of a source's images, prepared by threads ahead of their use.
#[derive(Debug)]
pub struct Loader<S> {
    source: Arc<S>,
    config: LoaderConfig,
}

impl<S: Source<f32>> Loader<S> {
    /// Checks the settings; nothing is read yet.
    ///
    /// # Errors
    /// [`LoaderError`] for numbers that are 0, a shard or an index that does not exist, a batch
    /// beyond the address space.
    pub fn new(source: Arc<S>, config: LoaderConfig) -> Result<Self, LoaderError> {
        check(&*source, &config)?;
        Ok(Self { source, config })
    }

    /// The settings.
    pub fn config(&self) -> &LoaderConfig {
        &self.config
    }

    /// Where the images come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The number of batches of each epoch, from the first to be made on.
    pub fn batches(&self) -> usize {
        self.plan(0).batches()
    }

    /// Starts to prepare the batches of epoch `epoch`.
    ///
    /// # Errors
    /// [`LoaderError::Thread`].
    pub fn epoch(&self, epoch: u64) -> Result<Epoch<S>, LoaderError> {
        let LoaderConfig { threads, queue, .. } = self.config;
        let pool = Pool::start(&self.source, self.plan(epoch), epoch, threads, queue + 1)
            .map_err(|(number, source)| LoaderError::Thread { number, threads, source })?;
        Ok(Epoch {
            source: Arc::clone(&self.source),
            pool,
            strict: self.config.strict,
            start: Instant::now(),
            report: LoaderReport { threads, cores: cores(), ..LoaderReport::default() },
            current: Current::default(),
            failed: None,
        })
    }

    fn plan(&self, epoch: u64) -> Plan {
        let LoaderConfig { batch_size, shard, first_batch, drop_last, .. } = self.config;
        let options = (first_batch, drop_last);
        Plan::new(&self.config.order, self.source.count(), epoch, batch_size, shard, options)
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn check<S: Source<f32>>(source: &S, config: &LoaderConfig) -> Result<(), LoaderError> {
    let [channels, height, width] = source.shape();
    let numbers = [
        ("batch_size", config.batch_size),
        ("threads", config.threads),
        ("queue", config.queue),
        ("shard.count", config.shard.count),
        ("channels", channels),
        ("height", height),
        ("width", width),
    ];
    if let Some(&(field, _)) = numbers.iter().find(|&&(_, number)| number == 0) {
        return Err(LoaderError::Zero { field });
    }
    let Shard { index, count } = config.shard;
    if index >= count {
        return Err(LoaderError::Shard { index, count });
    }
    let count = source.count();
    let images = match &config.order {
        Order::Indices(indices) => {
            if let Some((position, &found)) =
                indices.iter().enumerate().find(|&(_, &index)| index >= count)
            {
                return Err(LoaderError::Index { position, count, found });
            }
            indices.len()
        }
        Order::Sequential | Order::Shuffled { .. } => count,
    };
    let images = images.min(config.batch_size);
    let row_len = channels.saturating_mul(height).saturating_mul(width);
    match images.checked_mul(row_len).and_then(|values| values.checked_mul(size_of::<f32>())) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(LoaderError::TooLarge { images, row_len }),
    }
}

/// One pass over the images. Dropping it ends its threads, after at most one image each.
pub struct Epoch<S> {
    source: Arc<S>,
    pool: Pool<f32>,
    strict: bool,
    start: Instant,
    report: LoaderReport,
    current: Current,
    failed: Option<EpochError>,
}

/// The batch that is lent out.
#[derive(Default)]
struct Current {
    number: usize,
    buffer: Vec<f32>,
    indices: Vec<usize>,
    targets: Vec<Target>,
}

/// One batch; its values are overwritten by the next.
#[derive(Clone, Debug)]
pub struct LoadedBatch<'a> {
    /// Its number in the epoch, among the batches of all shards.
    pub number: usize,
    /// `[B, C, H, W]`, row-major, at least one image.
    pub images: ArrayView4<'a, f32>,
    /// Which images of the source these are, `[B]`: bad ones are missing.
    pub indices: &'a [usize],
    /// What they show, `[B]`.
    pub targets: &'a [Target],
}

impl LoadedBatch<'_> {
    /// The class of every image, `[B]`; `None` if one has no or several.
    pub fn classes(&self) -> Option<Vec<usize>> {
        let class = |target: &Target| match target {
            Target::Class(class) => Some(*class),
            _ => None,
        };
        self.targets.iter().map(class).collect()
    }
}

impl<S: Source<f32>> Epoch<S> {
    /// The next batch, or `None` after the last. A batch of which every image is bad is passed
    /// over.
    ///
    /// # Errors
    /// [`EpochError`], again at each further call. Which image it names depends on the order of
    /// images only, and all batches before its own were handed over.
    pub fn next_batch(&mut self) -> Result<Option<LoadedBatch<'_>>, EpochError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            let buffer = mem::take(&mut self.current.buffer);
            if !buffer.is_empty() {
                self.pool.recycle(buffer);
            }
            let Some(filled) = self.pool.take() else { return Ok(None) };
            if let Err(error) = self.accept(filled) {
                self.pool.stop();
                self.failed = Some(error.clone());
                return Err(error);
            }
            if !self.current.indices.is_empty() {
                break;
            }
        }
        self.report.wall_s = self.start.elapsed().as_secs_f64();
        self.report.batches += 1;
        self.report.images += self.current.indices.len();
        let [channels, height, width] = self.source.shape();
        let Current { number, buffer, indices, targets } = &self.current;
        let shape = (indices.len(), channels, height, width);
        let values = &buffer[..indices.len() * channels * height * width];
        // The lengths agree by the line above, so this is never an error.
        let images = ArrayView4::from_shape(shape, values).ok();
        Ok(images.map(|images| LoadedBatch { number: *number, images, indices, targets }))
    }

    /// What was done so far.
    pub fn report(&self) -> LoaderReport {
        let counts = self.pool.counts();
        let mut report = self.report.clone();
        report.set_times(counts.times);
        report.wait_for_model_s = counts.waited_for_space.as_secs_f64();
        report.wait_for_data_s = counts.waited_for_data.as_secs_f64();
        report.buffers = counts.buffers;
        report.buffer_bytes = counts.buffer_bytes;
        report
    }

    /// Makes a finished batch the current one, without the rows that have a fault.
    fn accept(&mut self, filled: Filled<f32>) -> Result<(), EpochError> {
        let Filled { k, mut buffer, faults } = filled;
        let plan = self.pool.plan();
        let (number, rows) = (plan.number(k), plan.rows(k));
        let row_len: usize = self.source.shape().iter().product();
        self.current.indices.clear();
        self.current.targets.clear();
        let mut faults = faults.into_iter().peekable();
        for (row, position) in rows.enumerate() {
            let index = plan.index(position);
            if let Some((_, fault)) = faults.next_if(|&(at, _)| at == row) {
                let bad = refuse(number, self.source.name(index), fault, self.strict)?;
                self.report.quarantined.push(bad);
                continue;
            }
            let kept = self.current.indices.len();
            if kept < row {
                buffer.copy_within(row * row_len..(row + 1) * row_len, kept * row_len);
            }
            self.current.indices.push(index);
            self.current.targets.push(self.source.target(index).clone());
        }
        self.current.number = number;
        self.current.buffer = buffer;
        Ok(())
    }
}

/// What becomes of a bad image: set aside, or the end.
fn refuse(
    batch: usize,
    name: &str,
    fault: RowFault,
    strict: bool,
) -> Result<Quarantined, EpochError> {
    let name = name.to_owned();
    match fault {
        RowFault::Fault(Fault::Image(reason)) => {
            let image = Quarantined { name, reason };
            if strict { Err(EpochError::Image { batch, image }) } else { Ok(image) }
        }
        RowFault::Fault(Fault::Source(reason)) => {
            Err(EpochError::Source { batch, image: Quarantined { name, reason } })
        }
        RowFault::Panic(message) => Err(EpochError::Panic { batch, name, message }),
    }
}
