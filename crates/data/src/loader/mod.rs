//! Batches prepared by threads, ahead of the model that takes them.

mod order;
mod pool;
mod report;
mod run;
mod source;

pub use order::{Order, Shard};
pub use report::LoaderReport;
pub use run::{Epoch, EpochError, LoadedBatch, Loader, LoaderConfig, LoaderError};
pub use source::{Fault, Place, Source, Stage, StageTimes, Worker};

#[cfg(test)]
mod tests;
