//! Tensors that go in and come out, and the ports they go through.

use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension};
use nearkin_onnx::{Dim, ElementType, Shape};
use std::borrow::Cow;
use std::fmt;

/// The element types that sessions take and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Its element type as ONNX names it.
    pub element: ElementType,
    /// Its dimensions, `None` where not even their number is known.
    pub shape: Option<Shape>,
}

/// A borrowed tensor of any rank.
///
/// A view in row-major order without gaps goes to ONNX Runtime as it is; any other is copied into
/// that order once.
#[derive(Clone, Debug)]
pub enum TensorView<'a> {
    /// 32-bit floats.
    F32(ArrayViewD<'a, f32>),
    /// 64-bit integers.
    I64(ArrayViewD<'a, i64>),
}

/// A tensor that a model returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers.
    I64(ArrayD<i64>),
}

/// A tensor and the input it is for.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The input's name in the model.
    pub name: &'a str,
    /// What it is fed.
    pub value: TensorView<'a>,
}

impl<'a> Input<'a> {
    /// Feeds `value` to the input `name`.
    pub fn new(name: &'a str, value: impl Into<TensorView<'a>>) -> Self {
        Self { name, value: value.into() }
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, f32, D>> for TensorView<'a> {
    fn from(view: ArrayView<'a, f32, D>) -> Self {
        Self::F32(view.into_dyn())
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, i64, D>> for TensorView<'a> {
    fn from(view: ArrayView<'a, i64, D>) -> Self {
        Self::I64(view.into_dyn())
    }
}

impl<D: Dimension> From<Array<f32, D>> for Tensor {
    fn from(array: Array<f32, D>) -> Self {
        Self::F32(array.into_dyn())
    }
}

impl<D: Dimension> From<Array<i64, D>> for Tensor {
    fn from(array: Array<i64, D>) -> Self {
        Self::I64(array.into_dyn())
    }
}

impl TensorView<'_> {
    /// A view of the same elements that lives as long as this one is borrowed.
    pub fn view(&self) -> TensorView<'_> {
        match self {
            Self::F32(view) => TensorView::F32(view.view()),
            Self::I64(view) => TensorView::I64(view.view()),
        }
    }

    /// A copy.
    pub fn to_tensor(&self) -> Tensor {
        match self {
            Self::F32(view) => Tensor::F32(view.to_owned()),
            Self::I64(view) => Tensor::I64(view.to_owned()),
        }
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(view) => view.shape(),
            Self::I64(view) => view.shape(),
        }
    }

    /// The element type.
    pub fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::I64(_) => Element::I64,
        }
    }
}

impl Tensor {
    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
        }
    }

    /// The element type.
    pub fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::I64(_) => Element::I64,
        }
    }

    /// The floats, if that is what it holds.
    pub fn into_f32(self) -> Option<ArrayD<f32>> {
        match self {
            Self::F32(array) => Some(array),
            Self::I64(_) => None,
        }
    }

    /// The integers, if that is what it holds.
    pub fn into_i64(self) -> Option<ArrayD<i64>> {
        match self {
            Self::F32(_) => None,
            Self::I64(array) => Some(array),
        }
    }

    /// A view of it.
    pub fn view(&self) -> TensorView<'_> {
        match self {
            Self::F32(array) => TensorView::F32(array.view()),
            Self::I64(array) => TensorView::I64(array.view()),
        }
    }
}

impl Element {
    /// ONNX's element type.
    pub fn onnx(self) -> ElementType {
        match self {
            Self::F32 => ElementType::Float,
            Self::I64 => ElementType::Int64,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::I64 => "i64",
        })
    }
}

impl Port {
    /// True if a tensor of these dimensions may go through; unknown dimensions take any.
    pub(crate) fn takes(&self, dims: &[usize]) -> bool {
        self.shape.as_ref().is_none_or(|shape| {
            shape.rank() == dims.len()
                && shape.0.iter().zip(dims).all(|(dim, &size)| match dim {
                    Dim::Known(known) => *known == size,
                    Dim::Symbol { factor, .. } => size % factor == 0,
                    Dim::Unknown => true,
                })
        })
    }

    /// The dimensions as text, such as `[N, 3, 224, 224]`.
    pub(crate) fn describe(&self) -> String {
        self.shape.as_ref().map_or_else(|| "any shape".to_owned(), Shape::to_string)
    }

    /// The number its first dimension is fixed at.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        self.shape.as_ref()?.0.first()?.known()
    }
}

/// The elements in row-major order: borrowed where they lie so already, copied once otherwise.
pub(crate) fn contiguous<'a, T: Copy>(view: &'a ArrayViewD<'_, T>) -> Cow<'a, [T]> {
    match view.as_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(view.iter().copied().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn only_a_view_with_gaps_is_copied() {
        let array = Array2::from_shape_fn((4, 6), |(i, j)| (6 * i + j) as f32);
        let whole = array.view().into_dyn();
        assert!(matches!(contiguous(&whole), Cow::Borrowed(_)));
        let rows = array.slice(ndarray::s![1..3, ..]).into_dyn();
        assert!(matches!(contiguous(&rows), Cow::Borrowed(_)));
        let transposed = array.t().into_dyn();
        let copied = contiguous(&transposed);
        assert!(matches!(copied, Cow::Owned(_)));
        assert_eq!(copied[..3], [0.0, 6.0, 12.0]);
    }

    #[test]
    fn a_symbolic_dimension_takes_any_multiple_of_its_factor() {
        let shape = Shape(vec![Dim::from_parameter("4*N"), Dim::Known(3), Dim::Unknown]);
        let port = Port { name: "x".into(), element: ElementType::Float, shape: Some(shape) };
        assert!(port.takes(&[8, 3, 1]));
        assert!(!port.takes(&[6, 3, 1]));
        assert!(!port.takes(&[8, 4, 1]));
        assert!(!port.takes(&[8, 3]));
        assert_eq!(port.fixed_batch(), None);
    }
}
