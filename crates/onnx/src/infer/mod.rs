//! Shape inference: the types of a node's outputs from those of its inputs.
//!
//! The rules are those of ONNX's operator documentation, <https://onnx.ai/onnx/operators/>, for the
//! operators that image models use. An operator without a rule is [`InferError::NoRule`], which a
//! reader of foreign files may take as "unknown"; a builder takes every error as a mistake.

mod elementwise;
mod layout;
mod matrix;
mod window;

use crate::graph::{AttributeValue, Graph, Node};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::{ElementType, Tensor};

/// Why the outputs of a node have no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// The operator has no rule here.
    #[error("no shape rule for operator {0}")]
    NoRule(String),
    /// An input whose type is not known.
    #[error("{op} needs the shape of input {index}, which is not known")]
    UnknownInput {
        /// The operator.
        op: String,
        /// Position of the input.
        index: usize,
    },
    /// Inputs or attributes that the operator does not take.
    #[error("{op} needs {expected}, got {found}")]
    Mismatch {
        /// The operator.
        op: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
}

/// A node with what is known of its inputs.
pub(crate) struct Call<'a> {
    graph: &'a Graph,
    node: &'a Node,
}

type Types = Result<Vec<TensorType>, InferError>;

/// The types of the outputs of `node`, whose inputs are values of `graph`.
///
/// # Errors
/// [`InferError`]: no rule, an input of unknown shape, or a mismatch.
pub fn infer(graph: &Graph, node: &Node) -> Result<Vec<TensorType>, InferError> {
    let call = Call { graph, node };
    if !node.is_standard() {
        return Err(InferError::NoRule(node.describe()));
    }
    for rules in [elementwise::infer, window::infer, matrix::infer, layout::infer] {
        if let Some(types) = rules(&call) {
            return types;
        }
    }
    Err(InferError::NoRule(node.op.clone()))
}

impl Graph {
    /// Infers what is not known yet of every value, in node order; what has no rule stays unknown.
    ///
    /// # Errors
    /// [`InferError::Mismatch`] of the first node that cannot work, with its name.
    pub fn infer_types(&mut self) -> Result<(), InferError> {
        for id in self.node_ids() {
            let node = self.node(id);
            let types = match infer(self, node) {
                Ok(types) => types,
                Err(InferError::Mismatch { expected, found, .. }) => {
                    return Err(InferError::Mismatch { op: node.describe(), expected, found });
                }
                Err(_) => continue,
            };
            let outputs = node.outputs.clone();
            for (output, ty) in outputs.into_iter().zip(types) {
                let Some(output) = output else { continue };
                let known = &self.value(output).ty;
                if known.as_ref().is_none_or(|ty| ty.shape.is_none()) {
                    self.set_type(output, ty);
                }
            }
        }
        Ok(())
    }
}

impl Call<'_> {
    fn op(&self) -> &str {
        &self.node.op
    }

    fn mismatch(&self, expected: impl Into<String>, found: impl Into<String>) -> InferError {
        InferError::Mismatch {
            op: self.node.op.clone(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn has(&self, index: usize) -> bool {
        matches!(self.node.inputs.get(index), Some(Some(_)))
    }

    fn element(&self, index: usize) -> Result<ElementType, InferError> {
        let unknown = || InferError::UnknownInput { op: self.node.op.clone(), index };
        let id = self.node.inputs.get(index).copied().flatten().ok_or_else(unknown)?;
        Ok(self.graph.value(id).ty.as_ref().ok_or_else(unknown)?.element)
    }

    fn shape(&self, index: usize) -> Result<&[Dim], InferError> {
        let unknown = || InferError::UnknownInput { op: self.node.op.clone(), index };
        let id = self.node.inputs.get(index).copied().flatten().ok_or_else(unknown)?;
        Ok(&self.graph.shape(id).ok_or_else(unknown)?.0)
    }

    /// The constant at this input, an initialiser or the output of a `Constant` node.
    fn constant(&self, index: usize) -> Option<&Tensor> {
        let id = self.node.inputs.get(index).copied().flatten()?;
        if let Some(tensor) = self.graph.initialiser(id) {
            return Some(tensor);
        }
        let producer = self.graph.node(self.graph.producer(id)?);
        match (producer.op.as_str(), producer.attribute("value")?) {
            ("Constant", AttributeValue::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    fn constant_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.constant(index)?.to_i64()
    }

    /// Integers that are an input since some opset and an attribute before it.
    fn ints_at(&self, index: usize, attribute: &str) -> Result<Option<Vec<i64>>, InferError> {
        if self.has(index) {
            return match self.constant_ints(index) {
                Some(values) => Ok(Some(values)),
                None => Err(InferError::UnknownInput { op: self.node.op.clone(), index }),
            };
        }
        Ok(self.node.ints(attribute).map(<[i64]>::to_vec))
    }

    /// A possibly negative axis as an index below `rank`.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize, InferError> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let index = if axis < 0 { axis + signed } else { axis };
        usize::try_from(index)
            .ok()
            .filter(|&index| index < rank)
            .ok_or_else(|| self.mismatch(format!("an axis of {rank} dimensions"), axis.to_string()))
    }

    fn one(&self, element: ElementType, dims: Vec<Dim>) -> Types {
        Ok(vec![TensorType { element, shape: Some(Shape(dims)) }])
    }
}

/// `[N, 3, 8]` of dimensions.
fn show(dims: &[Dim]) -> String {
    Shape(dims.to_vec()).to_string()
}
