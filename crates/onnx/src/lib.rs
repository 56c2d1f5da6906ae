#![doc = include_str!("../README.md")]

mod cost;
mod einsum;
mod graph;
mod infer;
mod model;
pub mod proto;
mod read;
mod scan;
mod shape;
mod tensor;
mod write;

pub use bytes::Bytes;
pub use cost::{CostError, macs_per_item};
pub use einsum::Einsum;
pub use graph::{Attribute, AttributeValue, Graph, GraphError, Node, NodeId, Value, ValueId};
pub use infer::{InferError, infer};
pub use model::{IR_VERSION, Model, OPSET};
pub use read::{MAX_IR_VERSION, ReadError};
pub use shape::{Dim, Shape, TensorType};
pub use tensor::{ElementType, ExternalData, Tensor, TensorData, element_count};
pub use write::{EXTERNAL_ALIGNMENT, MAX_MESSAGE_BYTES, WriteError};
