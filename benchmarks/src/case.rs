//! What the parent tells the child process of a case, and what the child tells back.
//!
//! The parent writes one [`CaseSpec`] as a line of JSON; the child answers with [`Message`]s, a
//! line each: the stage it enters, and at the end what it measured or why it could not.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::EngineSpec;
use crate::images::Reading;
use crate::record::Measured;
use crate::suite::{Probe, Timing};
use crate::transform::Transform;

/// Everything that the child process of a case needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseSpec {
    /// The ONNX file.
    pub model: PathBuf,
    /// Channels, height and width of its input.
    pub input: [usize; 3],
    /// How images are brought to it.
    pub transform: Transform,
    /// What runs it, and where.
    pub engine: EngineSpec,
    /// Batch sizes to try for throughput, ascending.
    pub batch: Vec<usize>,
    /// The data set.
    pub data: PathBuf,
    /// How it is read.
    pub reading: Reading,
    /// How embeddings are judged.
    pub probe: Probe,
    /// How often the model is run.
    pub timing: Timing,
    /// Seed of the probe's split.
    pub seed: u64,
}

/// A line from the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// It enters a stage.
    Stage(Stage),
    /// It is done.
    Measured(Box<Measured>),
    /// It cannot go on, for this reason.
    Failed(String),
}

/// What the child does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Finds the engine and loads its library.
    Engine,
    /// Loads the model.
    Load,
    /// Times single images.
    Latency,
    /// Times batches.
    Throughput {
        /// Images in a run.
        batch: usize,
    },
    /// Reads the images and computes their embeddings.
    Embed,
    /// Fits and scores the linear probe.
    Probe,
    /// Scores the kNN vote.
    Neighbours,
}

impl Stage {
    /// A word for keys of JSON: batches of throughput share one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Load => "load",
            Self::Latency => "latency",
            Self::Throughput { .. } => "throughput",
            Self::Embed => "embed",
            Self::Probe => "probe",
            Self::Neighbours => "neighbours",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throughput { batch } => write!(f, "throughput at batch {batch}"),
            stage => f.write_str(stage.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_that_reads_back() {
        for message in [
            Message::Stage(Stage::Load),
            Message::Stage(Stage::Throughput { batch: 8 }),
            Message::Failed("a\nb".to_owned()),
        ] {
            let line = serde_json::to_string(&message).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
        }
    }
}
