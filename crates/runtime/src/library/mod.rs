//! Finds ONNX Runtime's library and loads it, once for the process.
//!
//! The order is: a path given by the caller, the environment's `ORT_DYLIB_PATH`, what
//! `cargo xtask setup` put under `target/onnxruntime/`, an installed Python package, the system's
//! loader. Where the caller or the environment names a library, nothing else is tried: another
//! library than the one that was named is no help. It deliberately downloads nothing.

mod places;
mod probe;

use crate::options::Device;
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The command that brings ONNX Runtime.
pub const SETUP_COMMAND: &str = "cargo xtask setup";

/// The command that brings the build of ONNX Runtime with CUDA.
pub(crate) const SETUP_CUDA_COMMAND: &str = "cargo xtask setup --device cuda";

/// The loaded library: one per process, whichever asks first.
#[derive(Clone, Debug)]
pub struct Library {
    /// The file, or the name that the system's loader knows it by.
    pub path: PathBuf,
    /// Its version, such as `1.31.1`.
    pub version: String,
    pub(crate) environment: Environment,
}

/// A place where the library was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The place, and how it was come by.
    pub place: String,
    /// Why it did not serve.
    pub reason: String,
    /// Whether there was a file that did not load, rather than none.
    pub broken: bool,
}

/// Why there is no library.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No place held one that loads.
    #[error("no ONNX Runtime library; looked in:{}\n`{SETUP_COMMAND}` brings one", List(attempts))]
    NotFound {
        /// Every place, in order.
        attempts: Vec<Attempt>,
    },
    /// The process has loaded another one already.
    #[error("the process has loaded {} already and cannot load {} beside it", loaded.display(), asked.display())]
    Other {
        /// The one in use.
        loaded: PathBuf,
        /// The one asked for.
        asked: PathBuf,
    },
    /// It loads but does not start.
    #[error("{}: {reason}", path.display())]
    Start {
        /// The library.
        path: PathBuf,
        /// Its own words.
        reason: String,
    },
}

struct List<'a>(&'a [Attempt]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|attempt| write!(f, "\n  {}: {}", attempt.place, attempt.reason))
    }
}

/// ONNX Runtime allows one environment per process and cannot be unloaded.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// The process's library, loaded now if none is.
    ///
    /// - `named`: a library, or the folder it is in; nothing else is tried then.
    /// - `device`: for CUDA, builds with it are preferred.
    ///
    /// # Errors
    /// [`LibraryError`] lists every place and why it did not serve.
    pub fn find(named: Option<&Path>, device: Device) -> Result<Self, LibraryError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.as_ref() {
            return match named {
                Some(asked) if !library.is(asked) => Err(LibraryError::Other {
                    loaded: library.path.clone(),
                    asked: asked.to_owned(),
                }),
                _ => Ok(library.clone()),
            };
        }
        let mut attempts = Vec::new();
        for place in places::Places::of_process(named, device) {
            for candidate in place.candidates() {
                match candidate.and_then(|(path, origin)| load(&path, &origin)) {
                    Ok(library) => {
                        *loaded = Some(library.clone());
                        return Ok(library);
                    }
                    Err(attempt) => attempts.push(attempt),
                }
            }
        }
        Err(LibraryError::NotFound { attempts })
    }

    fn is(&self, asked: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (own, asked) = (real(&self.path), real(asked));
        own == asked || own.parent() == Some(&asked)
    }
}

fn load(path: &Path, origin: &str) -> Result<Library, Attempt> {
    let place = || format!("{} ({origin})", path.display());
    let fail = |reason: String| Attempt { place: place(), reason, broken: true };
    let probed = probe::probe(path).map_err(|error| Attempt {
        place: place(),
        reason: error.to_string(),
        // A bare name that the system's loader does not find is nothing broken.
        broken: path.components().count() > 1 || !matches!(error, probe::ProbeError::Open(_)),
    })?;
    let builder = ort::init_from(path).map_err(|error| fail(error.to_string()))?;
    let environment =
        builder.with_telemetry(false).build().map_err(|error| fail(error.to_string()))?;
    // Failures come back as errors; only who asks for ONNX Runtime's log gets it on stderr too.
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(LogLevel::Fatal);
    }
    Ok(Library { path: path.to_owned(), version: probed.version, environment })
}

impl LibraryError {
    /// In one line, for a notice: what was there but did not load, if anything.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::NotFound { attempts } => match attempts.iter().find(|attempt| attempt.broken) {
                Some(attempt) => format!("{}: {}", attempt.place, attempt.reason),
                None => "its library was not found".to_owned(),
            },
            other => other.to_string(),
        }
    }

    /// True if a library that the user named failed: that is a mistake to report, not to work around.
    pub(crate) fn is_users(&self) -> bool {
        match self {
            Self::NotFound { attempts } => attempts.iter().any(|attempt| {
                attempt.place.ends_with(places::GIVEN)
                    || attempt.place.ends_with(places::ENVIRONMENT)
            }),
            Self::Other { .. } | Self::Start { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_every_place_and_the_command() {
        let attempt = |place: &str, reason: &str, broken| Attempt {
            place: place.into(),
            reason: reason.into(),
            broken,
        };
        let error = LibraryError::NotFound {
            attempts: vec![
                attempt("a (setup)", "no such folder", false),
                attempt("b (python)", "too old", true),
            ],
        };
        let text = error.to_string();
        assert!(text.contains("\n  a (setup): no such folder\n  b (python): too old\n"), "{text}");
        assert!(text.ends_with("`cargo xtask setup` brings one"), "{text}");
        assert_eq!(error.brief(), "b (python): too old");
        assert!(!error.is_users());
    }
}
