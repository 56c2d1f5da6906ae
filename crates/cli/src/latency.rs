//! `nearkin latency`: times one model on request, so that a script can interleave it with peers.

use std::io;
use std::path::PathBuf;

use nearkin_bench::latency::{self, LatencyError};
use nearkin_runtime::LoadError;

use crate::Ended;
use crate::engine_arguments::EngineArguments;
use crate::exit::{Exit, Failure};

/// Time a model on request: `go N` on standard input runs it N times.
///
/// First prints one line of JSON, {"ready": true, "engine": …, "input": […]}; then, for every line
/// `go N` on standard input, one line with a list of N times in milliseconds. The input is
/// pseudo-random, uniform in [-1, 1), the same in every run. Ends with its standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The ONNX file; its input must be [N, C, H, W] with C, H and W known.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    #[command(flatten)]
    engine: EngineArguments,

    /// Images in a run.
    #[arg(long, value_name = "B", default_value = "1")]
    batch: std::num::NonZeroUsize,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let engine = self.engine.options();
        let (requests, answers) = (io::stdin().lock(), io::stdout());
        let served = latency::serve(&self.model, &engine, self.batch.get(), requests, answers);
        match served {
            Ok(()) => Ok(Exit::Done),
            Err(error) => {
                let exit = match &error {
                    LatencyError::Load(
                        LoadError::Library(_)
                        | LoadError::Device { .. }
                        | LoadError::NoTract
                        | LoadError::Threads { .. },
                    ) => Exit::Unavailable,
                    LatencyError::Request { .. } => Exit::Usage,
                    LatencyError::Load(_) | LatencyError::Input { .. } => Exit::BadInput,
                    LatencyError::Run(_) => Exit::SomeFailed,
                    LatencyError::Pipe(_) => Exit::NotWritable,
                };
                Err(Failure { exit, error: error.into() })
            }
        }
    }
}
