//! Dimensions that may be symbolic, and tensor types.

use crate::tensor::ElementType;
use std::fmt;
use std::sync::Arc;

/// One dimension of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number.
    Known(usize),
    /// `factor · name`, such as the batch `N` or `4·N` windows of a batch.
    Symbol {
        /// What is not known until the graph runs.
        name: Arc<str>,
        /// The number it is multiplied by, ≥ 1.
        factor: usize,
    },
    /// Nothing is known.
    Unknown,
}

impl Dim {
    /// The symbol `name`.
    pub fn symbol(name: &str) -> Self {
        Self::Symbol { name: name.into(), factor: 1 }
    }

    /// The number, if it is one.
    pub fn known(&self) -> Option<usize> {
        match self {
            Self::Known(size) => Some(*size),
            _ => None,
        }
    }

    /// The number, or a symbol's factor: the dimension of a batch of one.
    pub fn per_item(&self) -> Option<usize> {
        match self {
            Self::Known(size) => Some(*size),
            Self::Symbol { factor, .. } => Some(*factor),
            Self::Unknown => None,
        }
    }

    /// As ONNX's `dim_param` writes it: `N`, or `4*N`; `None` where there is no name.
    pub fn to_parameter(&self) -> Option<String> {
        match self {
            Self::Symbol { name, factor: 1 } => Some(name.to_string()),
            Self::Symbol { name, factor } => Some(format!("{factor}*{name}")),
            _ => None,
        }
    }

    /// Reads what [`Dim::to_parameter`] writes; any other text is a symbol of that name.
    pub fn from_parameter(text: &str) -> Self {
        if text.is_empty() {
            return Self::Unknown;
        }
        if let Some((factor, name)) = text.split_once('*')
            && let Ok(factor @ 2..) = factor.parse::<usize>()
            && factor.to_string() == text[..text.len() - name.len() - 1]
            && !name.is_empty()
        {
            return Self::Symbol { name: name.into(), factor };
        }
        Self::symbol(text)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol { name, factor: 1 } => write!(f, "{name}"),
            Self::Symbol { name, factor } => write!(f, "{factor}*{name}"),
            Self::Unknown => write!(f, "?"),
        }
    }
}

/// A shape as `[N, 3, 224, 224]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of numbers.
    pub fn known(dims: &[usize]) -> Self {
        Self(dims.iter().map(|&dim| Dim::Known(dim)).collect())
    }

    /// The dimensions, if all are numbers.
    pub fn to_known(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::known).collect()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "]")
    }
}

/// Element type and shape of a value; the shape is `None` where not even the rank is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// The type of the elements.
    pub element: ElementType,
    /// The dimensions.
    pub shape: Option<Shape>,
}

impl TensorType {
    /// An f32 tensor of this shape.
    pub fn f32(shape: Shape) -> Self {
        Self { element: ElementType::Float, shape: Some(shape) }
    }
}
