//! [`Model`] → ONNX protobuf.

use crate::graph::{Attribute, AttributeValue, Graph, Node, Value};
use crate::model::Model;
use crate::proto::{self, DimensionValue, TypeValue};
use crate::read::read_type;
use crate::shape::{Dim, TensorType};
use crate::tensor::{ExternalData, Tensor, TensorData};
use prost::Message;
use std::io::{self, Write};

/// Protobuf readers refuse messages above this size in bytes.
pub const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// Bytes in an external file start at multiples of this, so that they can be memory-mapped.
pub const EXTERNAL_ALIGNMENT: u64 = 4096;

/// A model that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A tensor that was declared but never filled.
    #[error("initialiser {0:?} has no data: weights were not loaded")]
    NoData(String),
    /// More than protobuf allows.
    #[error(
        "the model takes {bytes} bytes, protobuf allows {MAX_MESSAGE_BYTES}: write its weights as external data"
    )]
    TooLarge {
        /// What it would take.
        bytes: usize,
    },
    /// The external file could not be written.
    #[error("writing external data: {0}")]
    External(#[from] io::Error),
}

impl Model {
    /// The ONNX file, weights inside. Writing what was read from here gives the same bytes.
    ///
    /// # Errors
    /// [`WriteError::NoData`]; [`WriteError::TooLarge`] above 2 GB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        encode(&self.to_proto(Tensor::to_proto)?)
    }

    /// The ONNX file with each tensor of at least `threshold` bytes in the file `location`, which
    /// lies beside it and whose content goes to `sink`.
    ///
    /// # Errors
    /// As [`Model::to_bytes`], and what `sink` returns.
    pub fn to_bytes_with_external(
        &self,
        location: &str,
        threshold: usize,
        mut sink: impl Write,
    ) -> Result<Vec<u8>, WriteError> {
        let mut offset = 0u64;
        let model = self.to_proto(|tensor, name| {
            let TensorData::Inline(bytes) = &tensor.data else { return tensor.to_proto(name) };
            if bytes.len() < threshold.max(1) {
                return tensor.to_proto(name);
            }
            let start = offset.next_multiple_of(EXTERNAL_ALIGNMENT);
            let gap = usize::try_from(start - offset).unwrap_or(0);
            sink.write_all(&vec![0; gap])?;
            sink.write_all(bytes)?;
            offset = start + bytes.len() as u64;
            let place = ExternalData {
                location: location.to_owned(),
                offset: start,
                length: Some(bytes.len() as u64),
                other: Vec::new(),
            };
            let moved = Tensor {
                element: tensor.element,
                dims: tensor.dims.clone(),
                data: TensorData::External(place),
                doc_string: tensor.doc_string.clone(),
                metadata: tensor.metadata.clone(),
            };
            moved.to_proto(name)
        })?;
        sink.flush()?;
        encode(&model)
    }

    fn to_proto(
        &self,
        mut tensor: impl FnMut(&Tensor, &str) -> Result<proto::TensorProto, WriteError>,
    ) -> Result<proto::ModelProto, WriteError> {
        let mut model = (*self.rest).clone();
        model.ir_version = Some(self.ir_version);
        model.opset_import = self
            .opsets
            .iter()
            .map(|(domain, version)| proto::OperatorSetIdProto {
                domain: (!domain.is_empty()).then(|| domain.clone()),
                version: Some(*version),
            })
            .collect();
        model.metadata_props = entries(&self.metadata);
        model.graph = Some(write_graph(&self.graph, &mut tensor)?);
        Ok(model)
    }
}

fn encode(model: &proto::ModelProto) -> Result<Vec<u8>, WriteError> {
    let bytes = model.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(WriteError::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

fn entries(pairs: &[(String, String)]) -> Vec<proto::StringStringEntryProto> {
    pairs
        .iter()
        .map(|(key, value)| proto::StringStringEntryProto {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect()
}

fn write_graph(
    graph: &Graph,
    tensor: &mut impl FnMut(&Tensor, &str) -> Result<proto::TensorProto, WriteError>,
) -> Result<proto::GraphProto, WriteError> {
    let info = |id: &crate::ValueId| write_info(graph.value(*id));
    let inner = |id: &crate::ValueId| !graph.outputs.contains(id);
    let mut value_info: Vec<_> = graph
        .nodes
        .iter()
        .flat_map(|node| node.outputs.iter().flatten())
        .filter(|id| inner(id))
        .map(|id| graph.value(*id))
        .filter(|value| value.ty.is_some() || value.declared.is_some())
        .map(write_info)
        .collect();
    // An initialiser needs no description, but one that the file had is kept.
    value_info.extend(
        graph
            .initialisers
            .iter()
            .filter(|(id, _)| inner(id) && !graph.inputs.contains(id))
            .filter_map(|(id, _)| graph.value(*id).declared.as_deref().cloned()),
    );
    value_info.extend(graph.rest.value_info.iter().cloned());
    Ok(proto::GraphProto {
        node: graph.nodes.iter().map(|node| write_node(graph, node)).collect::<Result<_, _>>()?,
        name: Some(graph.name.clone()),
        initializer: graph
            .initialisers
            .iter()
            .map(|(id, value)| tensor(value, &graph.value(*id).name))
            .collect::<Result<_, _>>()?,
        sparse_initializer: graph.rest.sparse_initializer.clone(),
        doc_string: graph.rest.doc_string.clone(),
        input: graph.inputs.iter().map(info).collect(),
        output: graph.outputs.iter().map(info).collect(),
        value_info,
        quantization_annotation: graph.rest.quantization_annotation.clone(),
        metadata_props: graph.rest.metadata_props.clone(),
    })
}

/// The file's own description where it still holds, else one made from the type.
fn write_info(value: &Value) -> proto::ValueInfoProto {
    if let Some(declared) = &value.declared
        && (value.ty.is_none() || read_type(declared).ok().flatten() == value.ty)
    {
        return (**declared).clone();
    }
    proto::ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: value.ty.as_ref().map(write_type),
        ..proto::ValueInfoProto::default()
    }
}

fn write_type(ty: &TensorType) -> proto::TypeProto {
    let dim = |dim: &Dim| proto::DimensionProto {
        value: match dim {
            Dim::Known(size) => i64::try_from(*size).ok().map(DimensionValue::Value),
            other => other.to_parameter().map(DimensionValue::Parameter),
        },
        denotation: None,
    };
    let shape = ty
        .shape
        .as_ref()
        .map(|shape| proto::TensorShapeProto { dim: shape.0.iter().map(dim).collect() });
    proto::TypeProto {
        value: Some(TypeValue::Tensor(proto::TensorTypeProto {
            elem_type: Some(ty.element.code()),
            shape,
        })),
        denotation: None,
    }
}

fn write_node(graph: &Graph, node: &Node) -> Result<proto::NodeProto, WriteError> {
    let name =
        |id: &Option<crate::ValueId>| id.map(|id| graph.value(id).name.clone()).unwrap_or_default();
    Ok(proto::NodeProto {
        input: node.inputs.iter().map(name).collect(),
        output: node.outputs.iter().map(name).collect(),
        name: (!node.name.is_empty()).then(|| node.name.clone()),
        op_type: Some(node.op.clone()),
        domain: (!node.domain.is_empty()).then(|| node.domain.clone()),
        overload: node.rest.overload.clone(),
        attribute: node.attributes.iter().map(write_attribute).collect::<Result<_, _>>()?,
        doc_string: node.rest.doc_string.clone(),
        metadata_props: node.rest.metadata_props.clone(),
        device_configurations: node.rest.device_configurations.clone(),
    })
}

fn write_attribute(attribute: &Attribute) -> Result<proto::AttributeProto, WriteError> {
    let mut proto =
        proto::AttributeProto { name: Some(attribute.name.clone()), ..Default::default() };
    let kind = match &attribute.value {
        AttributeValue::Float(value) => {
            proto.f = Some(*value);
            1
        }
        AttributeValue::Int(value) => {
            proto.i = Some(*value);
            2
        }
        AttributeValue::String(value) => {
            proto.s = Some(value.clone());
            3
        }
        AttributeValue::Tensor(value) => {
            proto.t = Some(proto::TensorProto { name: None, ..value.to_proto(&attribute.name)? });
            4
        }
        AttributeValue::Floats(values) => {
            proto.floats.clone_from(values);
            6
        }
        AttributeValue::Ints(values) => {
            proto.ints.clone_from(values);
            7
        }
        AttributeValue::Strings(values) => {
            proto.strings.clone_from(values);
            8
        }
        AttributeValue::Other(value) => return Ok((**value).clone()),
    };
    proto.r#type = Some(kind);
    Ok(proto)
}

impl Tensor {
    fn to_proto(&self, name: &str) -> Result<proto::TensorProto, WriteError> {
        let mut proto = proto::TensorProto {
            dims: self.dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
            data_type: Some(self.element.code()),
            name: Some(name.to_owned()),
            doc_string: (!self.doc_string.is_empty()).then(|| self.doc_string.clone()),
            metadata_props: entries(&self.metadata),
            ..proto::TensorProto::default()
        };
        match &self.data {
            TensorData::Inline(bytes) => proto.raw_data = Some(bytes.clone()),
            TensorData::Strings(strings) => proto.string_data.clone_from(strings),
            TensorData::External(place) => {
                let mut pairs = vec![
                    ("location".to_owned(), place.location.clone()),
                    ("offset".to_owned(), place.offset.to_string()),
                ];
                pairs.extend(place.length.map(|length| ("length".to_owned(), length.to_string())));
                pairs.extend(place.other.iter().cloned());
                proto.external_data = entries(&pairs);
                proto.data_location = Some(1);
            }
            TensorData::Absent => return Err(WriteError::NoData(name.to_owned())),
        }
        Ok(proto)
    }
}
