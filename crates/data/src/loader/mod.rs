//! Batches prepared by threads, ahead of the model that takes them.

mod augmented;
mod evaluate;
mod order;
mod pool;
mod report;
mod run;
mod samples;
mod source;

pub use augmented::Augmented;
pub use evaluate::Evaluate;
pub(crate) use order::Plan;
pub use order::{Order, Shard};
pub(crate) use pool::{Filled, Pool, RowFault};
pub use report::LoaderReport;
pub use run::{Epoch, EpochError, LoadedBatch, Loader, LoaderConfig, LoaderError};
pub(crate) use samples::interleave_planes;
pub use samples::{MAX_FILE_BYTES, Prepare, SampleError, SampleReader, SampleWorker, Samples};
pub use source::{Fault, Place, Source, Stage, StageTimes, Worker};

#[cfg(test)]
mod tests;
