#![doc = include_str!("../README.md")]

mod embedding;
mod error;
mod library;
mod options;
mod ort_engine;
mod pieces;
mod report;
mod session;
mod source;
mod state;
#[cfg(feature = "tract")]
mod tract_engine;
mod value;

pub use embedding::embedding_name;
pub use error::{DeviceError, LoadError, RunError};
pub use library::{Attempt, Library, LibraryError, SETUP_COMMAND};
pub use options::{Device, EngineChoice, Options, ParseOptionError};
pub use report::{EmbeddingOrigin, SessionReport};
pub use session::{Engine, Session};
pub use source::Source;
pub use state::{Carried, Feed, Held, NextState, State};
pub use value::{Element, Input, Port, Tensor, TensorView};
