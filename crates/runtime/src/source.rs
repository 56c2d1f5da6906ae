//! A model as the engines load it: a file or bytes, with its embedding among its outputs.

use crate::embedding;
use crate::error::LoadError;
use crate::report::EmbeddingOrigin;
use nearkin_onnx::{Bytes, Graph, Model, Node, ReadError, TensorData};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where a model comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file; its external data lie beside it.
    File(PathBuf),
    /// The bytes of a file, with all weights inside.
    Bytes(Bytes),
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// What an engine is given to load.
pub(crate) struct Prepared {
    /// The file's path, or `the model in memory`.
    pub(crate) name: String,
    pub(crate) content: Content,
    /// The graph, where this workspace's reader understands all of it; its weights are not copied.
    pub(crate) graph: Option<Graph>,
    pub(crate) model_bytes: u64,
    pub(crate) embedding: EmbeddingOrigin,
}

/// The model itself.
pub(crate) enum Content {
    /// To be loaded from where it lies.
    File(PathBuf),
    /// To be loaded from memory, external data from `folder`.
    Memory { bytes: Bytes, folder: Option<PathBuf> },
}

impl Prepared {
    /// Reads the structure of `source`, finds its embedding (`named`, or by itself) and, if that is
    /// no output yet, makes it one in memory.
    pub(crate) fn new(source: Source, named: Option<&str>) -> Result<Self, LoadError> {
        let (name, bytes, file) = match source {
            Source::File(path) => (path.display().to_string(), map(&path)?, Some(path)),
            Source::Bytes(bytes) => ("the model in memory".to_owned(), bytes, None),
        };
        let own_bytes = bytes.len() as u64;
        let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned);
        let as_is = |bytes: Bytes| match file.clone() {
            Some(path) => Content::File(path),
            None => Content::Memory { bytes, folder: None },
        };
        let mut model = match Model::from_bytes(bytes.clone()) {
            Ok(model) => model,
            Err(error) if understood_by_engines(&error) => {
                let reason = format!("its graph could not be read: {error}");
                let embedding = match named {
                    Some(name) => EmbeddingOrigin::Output { name: name.to_owned() },
                    None => EmbeddingOrigin::None { reason },
                };
                let content = as_is(bytes);
                return Ok(Self { name, content, graph: None, model_bytes: own_bytes, embedding });
            }
            Err(source) => return Err(LoadError::NotOnnx { model: name, source }),
        };
        let model_bytes = own_bytes + external_bytes(&model.graph);
        let embedding = embedding::locate(&model.graph, named)
            .map_err(|known| no_such_value(&name, named, known))?;
        let hidden = embedding.value().and_then(|value| model.graph.find(value));
        let content = match hidden.filter(|value| !model.graph.outputs().contains(value)) {
            Some(value) => {
                embedding::expose(&mut model, value);
                let bytes = model.to_bytes().map_err(|error| LoadError::Expose {
                    model: name.clone(),
                    value: model.graph.value(value).name.clone(),
                    reason: error.to_string(),
                })?;
                Content::Memory { bytes: bytes.into(), folder }
            }
            None => as_is(bytes),
        };
        Ok(Self { name, content, graph: Some(model.graph), model_bytes, embedding })
    }
}

/// An operator's name, with its domain if that is not ONNX's own.
pub(crate) fn operator_name(node: &Node) -> String {
    if node.is_standard() { node.op.clone() } else { format!("{}.{}", node.domain, node.op) }
}

/// The first node of every operator, by the operator's name.
pub(crate) fn first_nodes(graph: &Graph) -> BTreeMap<String, String> {
    let mut first = BTreeMap::new();
    for node in graph.nodes().iter().rev().filter(|node| !node.name.is_empty()) {
        first.insert(operator_name(node), node.name.clone());
    }
    first
}

fn no_such_value(model: &str, named: Option<&str>, known: Vec<String>) -> LoadError {
    LoadError::NoSuchValue {
        model: model.to_owned(),
        name: named.unwrap_or_default().to_owned(),
        known,
    }
}

/// True for a file that is ONNX but says more than the reader knows: the engines may know it.
fn understood_by_engines(error: &ReadError) -> bool {
    match error {
        ReadError::Malformed { .. } | ReadError::Decode(_) | ReadError::NoGraph => false,
        ReadError::UnknownField { .. }
        | ReadError::IrVersion { .. }
        | ReadError::ElementType { .. }
        | ReadError::Tensor { .. }
        | ReadError::Location { .. }
        | ReadError::Dangling { .. }
        | ReadError::NoProducer(_)
        | ReadError::Graph(_) => true,
    }
}

fn external_bytes(graph: &Graph) -> u64 {
    let length = |data: &TensorData, bytes: Option<usize>| match data {
        TensorData::External(place) => place.length.or(bytes.map(|bytes| bytes as u64)),
        _ => None,
    };
    graph
        .initialisers()
        .iter()
        .filter_map(|(_, tensor)| {
            let bytes = tensor.count().and_then(|count| tensor.element.byte_length(count));
            length(&tensor.data, bytes)
        })
        .sum()
}

/// The file's bytes without reading them: only what the reader looks at comes into memory.
#[expect(unsafe_code, reason = "memory-mapping the model's file")]
fn map(path: &Path) -> Result<Bytes, LoadError> {
    let fail = |source| LoadError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and private to this process. A file that another process cuts
    // short while it is mapped raises a signal, as with every engine that maps its models; a file
    // that is rewritten in place gives other bytes, which the reader checks as it checks any.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
    Ok(Bytes::from_owner(map))
}
