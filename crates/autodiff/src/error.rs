//! Why a graph cannot be differentiated.

use nearkin_onnx::{GraphError, InferError};

/// A node, and why it has no gradient.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {problem}")]
pub struct AutodiffError {
    /// Operator and name, such as `Conv "layer1.0.conv1"`; empty for the graph as a whole.
    pub node: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a node or a graph.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operator has no rule.
    #[error("no rule for the gradient of this operator")]
    NoRule,
    /// A form of the operator that its rule does not cover.
    #[error("no rule for the gradient of this operator with {0}")]
    NoRuleFor(String),
    /// A value whose dimensions are not all numbers.
    #[error(
        "expected {value} with dimensions that are numbers, found {found}; fix the batch first"
    )]
    Shape {
        /// The value.
        value: String,
        /// What is known of its shape.
        found: String,
    },
    /// The loss is no scalar.
    #[error("loss {name}: expected one number, found dimensions {found:?}")]
    Loss {
        /// The value.
        name: String,
        /// Its dimensions.
        found: Vec<usize>,
    },
    /// A parameter that the loss does not depend on.
    #[error("parameter {name}: the loss does not depend on it")]
    Unused {
        /// The parameter.
        name: String,
    },
    /// A setting outside its range.
    #[error("{field}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its range.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A value that is not there.
    #[error("expected a value called {0:?}, found none")]
    NoSuchValue(String),
    /// A node that gives nothing.
    #[error("a node without outputs")]
    NoOutput,
    /// A node that cannot be emitted.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A name or producer that stands in the way.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Problem {
    /// The error at this node.
    pub(crate) fn at(self, node: impl Into<String>) -> AutodiffError {
        AutodiffError { node: node.into(), problem: self }
    }
}
