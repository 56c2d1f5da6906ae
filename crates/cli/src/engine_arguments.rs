//! Options of every command that runs a model.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use nearkin_runtime::{Device, EngineChoice, Options};

/// Which engine, on which device, with how many threads.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArguments {
    /// The engine: ort (ONNX Runtime), tract, or auto: ONNX Runtime if it is found, else tract.
    #[arg(long, value_name = "auto|ort|tract", default_value = "auto")]
    pub(crate) runtime: EngineChoice,

    /// The device: cpu, cuda (or an error: never something else in silence), or auto.
    #[arg(long, value_name = "cpu|cuda|auto", default_value = "cpu")]
    pub(crate) device: Device,

    /// Threads of one run; the default is every core this process may use.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// ONNX Runtime's shared library, or the folder it is in; by default it is looked for.
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) onnxruntime: Option<PathBuf>,
}

impl EngineArguments {
    /// The same, as a session takes it.
    pub(crate) fn options(&self) -> Options {
        Options {
            engine: self.runtime,
            device: self.device,
            threads: self.threads,
            library: self.onnxruntime.clone(),
            embedding: None,
            frugal_memory: false,
        }
    }
}
