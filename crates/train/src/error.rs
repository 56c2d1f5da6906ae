//! What can stop a training.

use nearkin_autodiff::AutodiffError;
use nearkin_data::{EpochError, LoaderError};
use nearkin_graph::SampleError;
use nearkin_nn::BuildError;
use nearkin_runtime::{LoadError, RunError};

use crate::checkpoint::CheckpointError;
use crate::log::LogError;
use crate::recipe::RecipeError;

/// Why a training could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting outside its range, or settings that do not go together.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A network that cannot be trained so.
    #[error("{name}: {reason}")]
    Network {
        /// The model.
        name: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A set whose images, labels or graph do not belong together.
    #[error("{what}: expected {expected}, found {found}")]
    Data {
        /// What of it.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The objective could not be added to the network.
    #[error("the objective: {0}")]
    Objective(#[from] BuildError),
    /// The network has no step graph.
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
    /// The engine refuses the step graph or the network.
    #[error("{what}: {source}")]
    Load {
        /// Which graph.
        what: &'static str,
        /// The engine's reason.
        source: LoadError,
    },
    /// A step failed.
    #[error("step {step}: {source}")]
    Step {
        /// The step, from 0.
        step: u64,
        /// The engine's reason.
        source: RunError,
    },
    /// An evaluation failed.
    #[error("evaluation: {0}")]
    Evaluation(RunError),
    /// NaN or infinity.
    #[error("step {step}: {term} is {value}; {first}")]
    NotFinite {
        /// The step, from 0.
        step: u64,
        /// The first term that is not finite, or the gradient's norm.
        term: String,
        /// Its value.
        value: f32,
        /// The first tensor of the step that is not finite, in words.
        first: String,
    },
    /// Images cannot be loaded.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// An image is missing or broken.
    #[error(transparent)]
    Images(#[from] EpochError),
    /// No edges can be drawn.
    #[error("the graph: {0}")]
    Edges(#[from] SampleError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A number that describes an embedding could not be computed.
    #[error("quality of the embedding: {0}")]
    Quality(String),
}
