//! Which engine a run uses, found out before anything is measured by trying it in a child process.
//!
//! The child loads ONNX Runtime's library, or a GPU's, so that the parent never does: a library
//! that crashes costs an error message, and a GPU's memory is not held while cases are measured.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ndarray::Array4;
use nearkin_nn::Weights;
use nearkin_runtime::{Options, ParseOptionError, Session, SessionReport};
use nearkin_zoo::Registry;
use serde::{Deserialize, Serialize};

use crate::bench::Children;
use crate::child::{self, ChildCommand, Ending};
use crate::environment::EngineFound;
use crate::plan;

/// What a child process is told of the engine: [`Options`] in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSpec {
    /// `auto`, `ort` or `tract`.
    pub runtime: String,
    /// `auto`, `cpu`, `cuda` or `cuda:INDEX`.
    pub device: String,
    /// Threads of one run, at least 1.
    pub threads: NonZeroUsize,
    /// ONNX Runtime's library, or its folder; `None` to look for it.
    pub library: Option<PathBuf>,
}

/// Why there is no engine to measure with.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine, its library or the device cannot be used.
    #[error("{reason}")]
    Unavailable {
        /// The runtime's own words.
        reason: String,
    },
    /// The trial did not end as it should.
    #[error("the trial of runtime {runtime} on device {device} {ending}")]
    Trial {
        /// The runtime.
        runtime: String,
        /// The device.
        device: String,
        /// How it ended.
        ending: String,
    },
    /// The trial could not be started.
    #[error("cannot start a process to try the engine: {0}")]
    Start(#[source] io::Error),
    /// The run was interrupted before it began.
    #[error("interrupted")]
    Interrupted,
}

impl From<&Options> for EngineSpec {
    fn from(options: &Options) -> Self {
        let every = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            runtime: options.engine.to_string(),
            device: options.device.to_string(),
            threads: options.threads.unwrap_or_else(every),
            library: options.library.clone(),
        }
    }
}

impl EngineSpec {
    /// What the runtime is told.
    ///
    /// # Errors
    /// [`ParseOptionError`] for a word that is no runtime or no device.
    pub fn options(&self) -> Result<Options, ParseOptionError> {
        Ok(Options {
            engine: self.runtime.parse()?,
            device: self.device.parse()?,
            threads: Some(self.threads),
            library: self.library.clone(),
            embedding: None,
            frugal_memory: false,
        })
    }
}

impl From<&SessionReport> for EngineFound {
    fn from(report: &SessionReport) -> Self {
        Self {
            runtime: report.engine.to_owned(),
            version: report.engine_version.clone(),
            library: report.library.as_ref().map(|path| path.display().to_string()),
            device: report.device_asked.clone(),
            provider: report.provider.clone(),
            notice: report.notice.clone(),
        }
    }
}

/// A trial's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Found(EngineFound),
    Failed(String),
}

/// Tries what was asked for on a small model, in a child process.
///
/// # Errors
/// [`EngineError`].
pub fn find(
    spec: EngineSpec,
    children: &Children,
    interrupted: &AtomicBool,
) -> Result<EngineFound, EngineError> {
    let folder = tempfile::tempdir().map_err(EngineError::Start)?;
    let command = ChildCommand {
        program: children.program.clone(),
        arguments: children.engine.clone(),
        input: serde_json::to_string(&spec).map_err(|e| EngineError::Start(e.into()))?,
        log: folder.path().join("engine.log"),
        timeout_s: None,
    };
    let mut answer = None;
    let ending = child::run(&command, interrupted, &mut |line| {
        answer = serde_json::from_str(line).ok().or(answer.take());
    })
    .map_err(EngineError::Start)?;
    match (answer, ending) {
        (_, Ending::Interrupted) => Err(EngineError::Interrupted),
        (Some(Answer::Found(found)), Ending::Exited(0)) => Ok(found),
        (Some(Answer::Failed(reason)), _) => Err(EngineError::Unavailable { reason }),
        _ => Err(EngineError::Trial {
            runtime: spec.runtime,
            device: spec.device,
            ending: ending.reason(&command.log),
        }),
    }
}

/// The child's side of [`find`]: reads an [`EngineSpec`] from standard input and answers on `out`.
/// Returns whether the engine works.
///
/// # Errors
/// The system's, of reading or answering.
pub fn serve(mut out: impl Write) -> io::Result<bool> {
    let line = child::first_line()?;
    let spec: EngineSpec = serde_json::from_str(&line)?;
    let answer = match trial(&spec) {
        Ok(found) => Answer::Found(found),
        Err(reason) => Answer::Failed(reason.to_string()),
    };
    writeln!(out, "{}", serde_json::to_string(&answer)?)?;
    out.flush()?;
    Ok(matches!(answer, Answer::Found(_)))
}

fn trial(spec: &EngineSpec) -> Result<EngineFound, Box<dyn std::error::Error>> {
    let architecture = Registry::standard().variant("fcnn_4")?.build(&plan::options([1, 2, 2]))?;
    let model = architecture.to_model(&Weights::init(&architecture, 0))?.to_bytes()?;
    let mut session = Session::load(model, &spec.options()?)?;
    session.embed(Array4::zeros((1, 1, 2, 2)).view())?;
    Ok(session.report().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_runtime::Device;

    fn spec(runtime: &str, device: &str) -> EngineSpec {
        let threads = NonZeroUsize::MIN;
        EngineSpec {
            runtime: runtime.to_owned(),
            device: device.to_owned(),
            threads,
            library: None,
        }
    }

    #[test]
    fn a_spec_survives_its_line() {
        let asked = Options { device: Device::Cuda(1), ..Options::default() };
        let line = serde_json::to_string(&EngineSpec::from(&asked)).unwrap();
        let back: EngineSpec = serde_json::from_str(&line).unwrap();
        assert_eq!(back.options().unwrap().device, Device::Cuda(1));
    }

    #[test]
    fn tract_is_found_and_has_no_other_device() {
        let found = trial(&spec("tract", "cpu")).unwrap();
        assert_eq!((found.runtime.as_str(), found.library), ("tract", None));
        assert!(!found.version.is_empty() && !found.provider.is_empty());
        assert!(trial(&spec("tract", "cuda")).unwrap_err().to_string().contains("cuda"));
    }

    #[test]
    fn a_word_that_is_no_runtime_is_refused() {
        assert!(trial(&spec("torch", "cpu")).unwrap_err().to_string().contains("torch"));
    }
}
