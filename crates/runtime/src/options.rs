//! What a user may ask of a session.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

/// Which engine runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime if its library is found, else tract; the report says which and why.
    #[default]
    Auto,
    /// ONNX Runtime, or an error.
    Ort,
    /// tract, or an error.
    Tract,
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// CUDA if it works, else the CPU; the report says which and why.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this index, or an error: there is no silent fall-back.
    Cuda(u32),
}

/// How a session is opened.
///
/// ```
/// use nearkin_runtime::{Device, Options};
/// let options = Options { device: Device::Cpu, ..Options::default() };
/// assert!(options.threads.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The engine.
    pub engine: EngineChoice,
    /// The device.
    pub device: Device,
    /// Threads within an operator; `None` means as many as the process may use at once.
    /// Operators never run beside each other.
    pub threads: Option<NonZeroUsize>,
    /// ONNX Runtime's library, or the folder it is in; nothing else is tried then.
    pub library: Option<PathBuf>,
    /// The value of the graph to take as `embedding`; `None` means the output of that name, or the
    /// input of the last linear layer.
    pub embedding: Option<String>,
    /// Lets ONNX Runtime allocate as it goes, and use again what is free, instead of planning one block
    /// for a whole run. The block comes on top of what the first run has taken: a training step held
    /// 1.1 to 1.9 times the memory with it, and took the same time to within a tenth.
    pub frugal_memory: bool,
}

/// A word that names no engine or device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {found:?}: expected {expected}")]
pub struct ParseOptionError {
    what: &'static str,
    found: String,
    expected: &'static str,
}

impl FromStr for EngineChoice {
    type Err = ParseOptionError;

    /// Reads `auto`, `ort` or `tract`.
    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        match text {
            "auto" => Ok(Self::Auto),
            "ort" => Ok(Self::Ort),
            "tract" => Ok(Self::Tract),
            _ => Err(ParseOptionError {
                what: "runtime",
                found: text.to_owned(),
                expected: "auto, ort or tract",
            }),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Ort => "ort",
            Self::Tract => "tract",
        })
    }
}

impl FromStr for Device {
    type Err = ParseOptionError;

    /// Reads `auto`, `cpu`, `cuda` (device 0) or `cuda:1`.
    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => {}
        }
        text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda).ok_or_else(
            || ParseOptionError {
                what: "device",
                found: text.to_owned(),
                expected: "auto, cpu, cuda or cuda:INDEX",
            },
        )
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Options {
    /// The number of threads to use, ≥ 1.
    pub(crate) fn thread_count(&self) -> usize {
        let default = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(default, NonZeroUsize::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_engines_read_back_what_they_print() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for engine in [EngineChoice::Auto, EngineChoice::Ort, EngineChoice::Tract] {
            assert_eq!(engine.to_string().parse(), Ok(engine));
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_known_ones() {
        let error = "gpu".parse::<Device>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown device \"gpu\": expected auto, cpu, cuda or cuda:INDEX"
        );
        assert!("cuda:-1".parse::<Device>().is_err());
        assert!("onnx".parse::<EngineChoice>().is_err());
    }
}
