//! A graph with what a file says around it.

use crate::graph::Graph;
use crate::proto;

/// The operator set that graphs of this crate are written in.
pub const OPSET: i64 = 18;

/// The IR version that graphs of this crate are written in; both runtimes accept it.
pub const IR_VERSION: i64 = 8;

/// A graph, its operator sets, and the rest of an ONNX file.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The IR version of the file.
    pub ir_version: i64,
    /// Operator sets by domain (empty for ONNX's own), in the order of the file.
    pub opsets: Vec<(String, i64)>,
    /// Key–value pairs of the file.
    pub metadata: Vec<(String, String)>,
    /// The computation.
    pub graph: Graph,
    /// What the IR does not model, as the file has it; its graph is empty.
    pub(crate) rest: Box<proto::ModelProto>,
}

impl Model {
    /// A model around `graph`, in [`OPSET`] and [`IR_VERSION`].
    pub fn new(graph: Graph) -> Self {
        Self {
            ir_version: IR_VERSION,
            opsets: vec![(String::new(), OPSET)],
            metadata: Vec::new(),
            graph,
            rest: Box::new(proto::ModelProto {
                producer_name: Some("nearkin".to_owned()),
                producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                ..proto::ModelProto::default()
            }),
        }
    }

    /// The version of ONNX's own operators.
    pub fn opset(&self) -> Option<i64> {
        self.opsets
            .iter()
            .find(|(d, _)| d.is_empty() || d == "ai.onnx")
            .map(|(_, version)| *version)
    }

    /// Who wrote the file, empty if it does not say.
    pub fn producer(&self) -> &str {
        self.rest.producer_name()
    }
}
