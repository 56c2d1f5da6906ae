//! What a session says of itself.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which engine runs, where, and what it cost to load.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    /// `ort` or `tract`.
    pub engine: &'static str,
    /// The engine's own version.
    pub engine_version: String,
    /// ONNX Runtime's library; `None` on tract.
    pub library: Option<PathBuf>,
    /// The device that was asked for.
    pub device_asked: String,
    /// The provider that runs the model: the one with the most nodes.
    pub provider: String,
    /// Nodes by the provider that runs them, as the engine placed them.
    pub nodes_per_provider: BTreeMap<String, usize>,
    /// Threads within an operator.
    pub threads: usize,
    /// From the call of [`crate::Session::load`] until the session could run, in seconds.
    pub load_s: f64,
    /// The model's size with its external data, in bytes.
    pub model_bytes: u64,
    /// Where the embedding comes from.
    pub embedding: EmbeddingOrigin,
    /// What the user should know, in one line: another engine or device than the best one.
    pub notice: Option<String>,
}

/// Where a session's `embedding` comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum EmbeddingOrigin {
    /// The model has an output of this name.
    Output {
        /// The output.
        name: String,
    },
    /// The user named a value inside the graph.
    Named {
        /// The value.
        name: String,
    },
    /// The input of the last linear layer.
    LastLinear {
        /// The value.
        name: String,
        /// The layer that reads it.
        layer: String,
    },
    /// The model has none that could be found.
    None {
        /// Why not.
        reason: String,
    },
}

impl EmbeddingOrigin {
    /// The value that holds the embedding.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Output { name } | Self::Named { name } | Self::LastLinear { name, .. } => {
                Some(name)
            }
            Self::None { .. } => None,
        }
    }
}
