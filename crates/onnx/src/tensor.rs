//! Element types and constant tensors.

use bytes::Bytes;

/// The type of a tensor's elements, with ONNX's names and numbers (`TensorProto.DataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub enum ElementType {
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Uint16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    Uint32 = 12,
    Uint64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    Bfloat16 = 16,
    Float8E4M3Fn = 17,
    Float8E4M3Fnuz = 18,
    Float8E5M2 = 19,
    Float8E5M2Fnuz = 20,
    Uint4 = 21,
    Int4 = 22,
    Float4E2M1 = 23,
    Float8E8M0 = 24,
    Uint2 = 25,
    Int2 = 26,
}

impl ElementType {
    const ALL: [Self; 26] = [
        Self::Float,
        Self::Uint8,
        Self::Int8,
        Self::Uint16,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::String,
        Self::Bool,
        Self::Float16,
        Self::Double,
        Self::Uint32,
        Self::Uint64,
        Self::Complex64,
        Self::Complex128,
        Self::Bfloat16,
        Self::Float8E4M3Fn,
        Self::Float8E4M3Fnuz,
        Self::Float8E5M2,
        Self::Float8E5M2Fnuz,
        Self::Uint4,
        Self::Int4,
        Self::Float4E2M1,
        Self::Float8E8M0,
        Self::Uint2,
        Self::Int2,
    ];

    /// The type with this number in ONNX, if there is one.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.code() == code)
    }

    /// The number of this type in ONNX.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// Bits of one element; `None` for strings.
    pub fn bits(self) -> Option<usize> {
        Some(match self {
            Self::String => return None,
            Self::Uint2 | Self::Int2 => 2,
            Self::Uint4 | Self::Int4 | Self::Float4E2M1 => 4,
            Self::Uint8
            | Self::Int8
            | Self::Bool
            | Self::Float8E4M3Fn
            | Self::Float8E4M3Fnuz
            | Self::Float8E5M2
            | Self::Float8E5M2Fnuz
            | Self::Float8E8M0 => 8,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 16,
            Self::Float | Self::Int32 | Self::Uint32 => 32,
            Self::Double | Self::Int64 | Self::Uint64 | Self::Complex64 => 64,
            Self::Complex128 => 128,
        })
    }

    /// Bytes of `count` elements as ONNX stores them; `None` for strings and on overflow.
    pub fn byte_length(self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits()?)?.div_ceil(8))
    }
}

/// Where the elements of a [`Tensor`] are.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Little-endian elements in row-major order.
    Inline(Bytes),
    /// Elements of a string tensor.
    Strings(Vec<Bytes>),
    /// In another file.
    External(ExternalData),
    /// Declared only; such a tensor can be neither written nor run.
    Absent,
}

/// The place of a tensor's bytes in a file beside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalData {
    /// The file, relative to the model's folder.
    pub location: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; `None` means the rest of the file.
    pub length: Option<u64>,
    /// Further keys, kept as they were.
    pub other: Vec<(String, String)>,
}

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type of its elements.
    pub element: ElementType,
    /// Its dimensions; empty for a scalar.
    pub dims: Vec<usize>,
    /// Its elements.
    pub data: TensorData,
    /// Its documentation, empty if none.
    pub doc_string: String,
    /// Key–value pairs kept from the file.
    pub metadata: Vec<(String, String)>,
}

impl Tensor {
    /// A tensor of these parts without documentation.
    pub fn new(element: ElementType, dims: Vec<usize>, data: TensorData) -> Self {
        Self { element, dims, data, doc_string: String::new(), metadata: Vec::new() }
    }

    /// A tensor that is declared but has no elements yet.
    pub fn absent(element: ElementType, dims: Vec<usize>) -> Self {
        Self::new(element, dims, TensorData::Absent)
    }

    /// An f32 tensor, `None` if `values.len()` is not the product of `dims`.
    ///
    /// ```
    /// let t = nearkin_onnx::Tensor::from_f32(vec![2], &[0.5, -1.0]).ok_or("length")?;
    /// assert_eq!(t.to_f32(), Some(vec![0.5, -1.0]));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn from_f32(dims: Vec<usize>, values: &[f32]) -> Option<Self> {
        let count = element_count(&dims)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (count == values.len())
            .then(|| Self::new(ElementType::Float, dims, TensorData::Inline(bytes.into())))
    }

    /// An i64 tensor, `None` if `values.len()` is not the product of `dims`.
    pub fn from_i64(dims: Vec<usize>, values: &[i64]) -> Option<Self> {
        let count = element_count(&dims)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (count == values.len())
            .then(|| Self::new(ElementType::Int64, dims, TensorData::Inline(bytes.into())))
    }

    /// Number of elements, `None` on overflow.
    pub fn count(&self) -> Option<usize> {
        element_count(&self.dims)
    }

    /// The elements of an inline f32 tensor.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.typed(ElementType::Float, f32::from_le_bytes)
    }

    /// The elements of an inline i64 tensor.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        self.typed(ElementType::Int64, i64::from_le_bytes)
    }

    fn typed<T, const B: usize>(
        &self,
        element: ElementType,
        read: fn([u8; B]) -> T,
    ) -> Option<Vec<T>> {
        match &self.data {
            TensorData::Inline(bytes) if self.element == element => {
                Some(bytes.as_chunks::<B>().0.iter().map(|chunk| read(*chunk)).collect())
            }
            _ => None,
        }
    }
}

/// The product of `dims`, `None` on overflow.
pub fn element_count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}
