//! What can go wrong when a model is loaded, and when it runs.

use crate::library::LibraryError;
use crate::value::Element;
use nearkin_onnx::{ElementType, ReadError};
use std::path::PathBuf;

/// A model that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model's file, or one it refers to, cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no ONNX model, or a damaged one.
    #[error("{model}: {source}")]
    NotOnnx {
        /// The file, or `the model in memory`.
        model: String,
        /// What is wrong, and at which byte.
        source: ReadError,
    },
    /// An operator that the engine lacks.
    #[error("{model}: {engine} has no operator {operator} (node {node})")]
    UnknownOperator {
        /// The model.
        model: String,
        /// The engine.
        engine: &'static str,
        /// The operator, with its domain if it is not ONNX's own.
        operator: String,
        /// The first node that uses it.
        node: String,
    },
    /// The engine refused the model.
    #[error("{model}: {engine} cannot load it: {reason}")]
    Engine {
        /// The model.
        model: String,
        /// The engine.
        engine: &'static str,
        /// The engine's own words.
        reason: String,
    },
    /// No usable ONNX Runtime.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The device cannot be used.
    #[error("device {device}: {source}")]
    Device {
        /// The device that was asked for.
        device: String,
        /// Why not.
        source: DeviceError,
    },
    /// The value named as the embedding is not in the graph.
    #[error("{model}: no value is called {name:?}; the graph's outputs are {}", known.join(", "))]
    NoSuchValue {
        /// The model.
        model: String,
        /// The name that was given.
        name: String,
        /// The graph's outputs.
        known: Vec<String>,
    },
    /// The graph had to be changed to give out its embedding, and cannot be written again.
    #[error("{model}: cannot expose {value:?} as its embedding: {reason}")]
    Expose {
        /// The model.
        model: String,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
    },
    /// tract was asked for, and this build is without it.
    #[error("this build is without tract (the crate's feature `tract` is off)")]
    NoTract,
    /// The threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// tract knows no other device.
    #[error("tract runs on the CPU only; ONNX Runtime is needed")]
    TractIsCpuOnly,
    /// A build of ONNX Runtime without the provider.
    #[error(
        "{library} was built without CUDA; `{}` brings a build with it",
        crate::library::SETUP_CUDA_COMMAND
    )]
    NotBuiltIn {
        /// The library.
        library: String,
    },
    /// The library that holds the provider is not there.
    #[error("the provider library {library} cannot be loaded: {reason}")]
    MissingProvider {
        /// Its file.
        library: String,
        /// The system's reason.
        reason: String,
    },
    /// A library of CUDA or cuDNN is not there.
    #[error("the CUDA provider needs {library}, which cannot be loaded: {reason}")]
    MissingCudaLibrary {
        /// Its file name.
        library: String,
        /// The system's reason.
        reason: String,
    },
    /// No GPU, or a driver too old to see it.
    #[error("no usable GPU: {reason}")]
    NoGpu {
        /// CUDA's own words.
        reason: String,
    },
    /// ONNX Runtime would compute a part of the model on the CPU.
    #[error("{} of its nodes would run on the CPU: {}", nodes.len(), nodes.iter().take(8).cloned().collect::<Vec<_>>().join(", "))]
    CpuFallback {
        /// The nodes, with their operators.
        nodes: Vec<String>,
    },
    /// Any other refusal.
    #[error("{reason}")]
    Other {
        /// The engine's own words.
        reason: String,
    },
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An input was left out.
    #[error("input {name:?} is missing; the model takes {}", known.join(", "))]
    MissingInput {
        /// The input.
        name: String,
        /// All inputs.
        known: Vec<String>,
    },
    /// An input that the model does not have.
    #[error("the model has no input {name:?}; it takes {}", known.join(", "))]
    UnknownInput {
        /// The name that was given.
        name: String,
        /// All inputs.
        known: Vec<String>,
    },
    /// An input that was given twice.
    #[error("input {name:?} is given twice")]
    InputTwice {
        /// The input.
        name: String,
    },
    /// An input of the wrong dimensions.
    #[error("input {name:?}: expected {expected}, found {found:?}")]
    InputShape {
        /// The input.
        name: String,
        /// What the model takes.
        expected: String,
        /// What it was given.
        found: Vec<usize>,
    },
    /// An input of the wrong element type.
    #[error("input {name:?}: expected elements {expected:?}, found {found}")]
    InputElement {
        /// The input.
        name: String,
        /// What the model takes.
        expected: ElementType,
        /// What it was given.
        found: Element,
    },
    /// A tensor without elements.
    #[error("input {name:?} has no elements: its shape is {found:?}")]
    Empty {
        /// The input.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor that the state does not hold.
    #[error("the state holds no tensor {name:?}; it holds {}", known.join(", "))]
    NotKept {
        /// The name that was asked for.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// An output that the model does not have.
    #[error("the model has no output {name:?}; it gives {}", known.join(", "))]
    UnknownOutput {
        /// The name that was asked for.
        name: String,
        /// All outputs.
        known: Vec<String>,
    },
    /// The model has no embedding.
    #[error("the model has no embedding: {reason}")]
    NoEmbedding {
        /// Why none was found.
        reason: String,
    },
    /// An output of another element type than f32 or i64, or not the one needed.
    #[error("output {name:?}: expected elements f32 or i64, found {found}")]
    OutputElement {
        /// The output.
        name: String,
        /// Its element type.
        found: String,
    },
    /// An output whose dimensions do not fit the batch.
    #[error("output {name:?}: expected {expected}, found {found:?}")]
    OutputShape {
        /// The output.
        name: String,
        /// What was expected.
        expected: String,
        /// Its dimensions.
        found: Vec<usize>,
    },
    /// The engine failed.
    #[error("{engine}: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// The engine's own words.
        reason: String,
    },
}
