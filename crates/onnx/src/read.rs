//! ONNX protobuf → [`Model`].

use crate::graph::{
    Attribute, AttributeValue, Graph, GraphError, GraphRest, Node, NodeRest, Value, ValueId,
};
use crate::model::Model;
use crate::proto::{self, DimensionValue, TypeValue};
use crate::scan::{self, Finding};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::{ElementType, ExternalData, Tensor, TensorData, element_count};
use bytes::Bytes;
use prost::Message;
use std::path::{Component, Path};

/// The newest IR version this crate knows.
pub const MAX_IR_VERSION: i64 = 13;

/// A file that is not ONNX, is damaged, or holds what this crate does not know.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No protobuf.
    #[error("not an ONNX file: no protobuf message at byte {offset}")]
    Malformed {
        /// Where decoding stopped making sense.
        offset: usize,
    },
    /// The decoder refused what the scan let through.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A field of a newer ONNX.
    #[error("{message} has field {field} at byte {offset}, which this version does not know")]
    UnknownField {
        /// The message type.
        message: &'static str,
        /// The field's number.
        field: u32,
        /// Its place.
        offset: usize,
    },
    /// No graph.
    #[error("the file holds no graph (ModelProto.graph is absent)")]
    NoGraph,
    /// A newer IR.
    #[error("IR version {found}, at most {MAX_IR_VERSION} is known")]
    IrVersion {
        /// What the file says.
        found: i64,
    },
    /// An element type without a meaning here.
    #[error("{place}: unknown element type {code}")]
    ElementType {
        /// The value or attribute.
        place: String,
        /// ONNX's number.
        code: i32,
    },
    /// A tensor whose parts disagree.
    #[error("tensor {name:?}: expected {expected}, found {found}")]
    Tensor {
        /// Its name.
        name: String,
        /// What its dims and type ask for.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// An external file outside the model's folder.
    #[error("tensor {name:?}: external data at {location:?} is not inside the model's folder")]
    Location {
        /// The tensor.
        name: String,
        /// The offending path.
        location: String,
    },
    /// A value read before anything makes it.
    #[error("node {node} reads {value:?}, which no input, initialiser or earlier node provides")]
    Dangling {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// An output that nothing makes.
    #[error("output {0:?} is made by nothing")]
    NoProducer(String),
    /// Names that clash.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Model {
    /// Reads an ONNX file; bulk data shares `bytes` where it is `Bytes` already.
    ///
    /// Fields that this crate does not model are kept and written again; fields that it does not
    /// know are refused by message and number.
    ///
    /// # Errors
    /// [`ReadError`] says what is wrong and where.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, ReadError> {
        let bytes = bytes.into();
        scan::check_model(&bytes).map_err(|finding| match finding {
            Finding::Malformed { offset } => ReadError::Malformed { offset },
            Finding::Unknown { message, field, offset } => {
                ReadError::UnknownField { message, field, offset }
            }
        })?;
        let mut model = proto::ModelProto::decode(bytes)?;
        let graph = model.graph.take().ok_or(ReadError::NoGraph)?;
        let ir_version = model.ir_version();
        if ir_version > MAX_IR_VERSION {
            return Err(ReadError::IrVersion { found: ir_version });
        }
        let opsets = std::mem::take(&mut model.opset_import)
            .into_iter()
            .map(|o| (o.domain().to_owned(), o.version()))
            .collect();
        let metadata = pairs(&std::mem::take(&mut model.metadata_props));
        model.ir_version = None;
        Ok(Self { ir_version, opsets, metadata, graph: read_graph(graph)?, rest: Box::new(model) })
    }

    /// Replaces every external tensor by its bytes: `load(location, offset, length)` returns them.
    ///
    /// # Errors
    /// What `load` returns; [`ReadError::Tensor`] (through `E: From`) if the length is wrong.
    pub fn load_external<E: From<ReadError>>(
        &mut self,
        mut load: impl FnMut(&str, u64, Option<u64>) -> Result<Bytes, E>,
    ) -> Result<(), E> {
        for (id, tensor) in &mut self.graph.initialisers {
            let TensorData::External(place) = &tensor.data else { continue };
            let bytes = load(&place.location, place.offset, place.length)?;
            let name = &self.graph.values[id.index()].name;
            check_length(name, tensor.element, &tensor.dims, bytes.len())?;
            tensor.data = TensorData::Inline(bytes);
        }
        Ok(())
    }
}

pub(crate) fn pairs(entries: &[proto::StringStringEntryProto]) -> Vec<(String, String)> {
    entries.iter().map(|e| (e.key().to_owned(), e.value().to_owned())).collect()
}

fn read_graph(proto: proto::GraphProto) -> Result<Graph, ReadError> {
    let mut graph = Graph::new(proto.name());
    for info in proto.input {
        let id = declare(&mut graph, info)?;
        graph.inputs.push(id);
    }
    for tensor in proto.initializer {
        let name = tensor.name().to_owned();
        let tensor = read_tensor(tensor)?;
        match graph.find(&name) {
            // Before IR version 4 an initialiser is an input too.
            Some(id) if !graph.initialiser_of.contains_key(&id) => {
                graph.initialiser_of.insert(id, graph.initialisers.len());
                graph.initialisers.push((id, tensor));
            }
            _ => {
                graph.add_initialiser(&name, tensor)?;
            }
        }
    }
    for sparse in &proto.sparse_initializer {
        let name = sparse.values.as_ref().map(proto::TensorProto::name).unwrap_or_default();
        if graph.find(name).is_none() {
            graph.add_value(name, None)?;
        }
    }
    for node in proto.node {
        read_node(&mut graph, node)?;
    }
    let mut outputs = Vec::with_capacity(proto.output.len());
    for info in proto.output {
        let id =
            graph.find(info.name()).ok_or_else(|| ReadError::NoProducer(info.name().to_owned()))?;
        describe(&mut graph, id, info)?;
        outputs.push(id);
    }
    graph.outputs = outputs;
    let mut stray = Vec::new();
    for info in proto.value_info {
        match graph.find(info.name()) {
            Some(id) if graph.values[id.index()].declared.is_none() => {
                describe(&mut graph, id, info)?;
            }
            _ => stray.push(info),
        }
    }
    graph.rest = GraphRest {
        doc_string: proto.doc_string,
        sparse_initializer: proto.sparse_initializer,
        quantization_annotation: proto.quantization_annotation,
        metadata_props: proto.metadata_props,
        value_info: stray,
    };
    Ok(graph)
}

fn declare(graph: &mut Graph, info: proto::ValueInfoProto) -> Result<ValueId, ReadError> {
    let id = graph.add_value(info.name(), None)?;
    describe(graph, id, info)?;
    Ok(id)
}

/// Takes over what the file says of a value; an initialiser's own type wins.
fn describe(graph: &mut Graph, id: ValueId, info: proto::ValueInfoProto) -> Result<(), ReadError> {
    let ty = read_type(&info)?;
    let Value { ty: known, declared, .. } = &mut graph.values[id.index()];
    if known.is_none() {
        *known = ty;
    }
    *declared = Some(Box::new(info));
    Ok(())
}

/// The tensor type in a value's description; `None` where it is no tensor or not stated.
pub(crate) fn read_type(info: &proto::ValueInfoProto) -> Result<Option<TensorType>, ReadError> {
    let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Ok(None);
    };
    if tensor.elem_type() == 0 {
        return Ok(None);
    }
    let element = element_type(tensor.elem_type(), info.name())?;
    let shape = tensor.shape.as_ref().map(|shape| {
        Shape(
            shape
                .dim
                .iter()
                .map(|dim| match &dim.value {
                    Some(DimensionValue::Value(size)) => {
                        usize::try_from(*size).map_or(Dim::Unknown, Dim::Known)
                    }
                    Some(DimensionValue::Parameter(name)) => Dim::from_parameter(name),
                    None => Dim::Unknown,
                })
                .collect(),
        )
    });
    Ok(Some(TensorType { element, shape }))
}

fn element_type(code: i32, place: &str) -> Result<ElementType, ReadError> {
    ElementType::from_code(code)
        .ok_or_else(|| ReadError::ElementType { place: place.to_owned(), code })
}

fn read_node(graph: &mut Graph, proto: proto::NodeProto) -> Result<(), ReadError> {
    let mut node = Node {
        name: proto.name().to_owned(),
        op: proto.op_type().to_owned(),
        domain: proto.domain().to_owned(),
        ..Node::default()
    };
    for name in &proto.input {
        node.inputs.push(if name.is_empty() {
            None
        } else {
            Some(graph.find(name).ok_or_else(|| ReadError::Dangling {
                node: node.describe(),
                value: name.clone(),
            })?)
        });
    }
    for name in &proto.output {
        node.outputs.push(if name.is_empty() { None } else { Some(graph.add_value(name, None)?) });
    }
    for attribute in proto.attribute {
        node.attributes.push(Attribute {
            name: attribute.name().to_owned(),
            value: read_attribute(attribute)?,
        });
    }
    node.rest = NodeRest {
        doc_string: proto.doc_string,
        overload: proto.overload,
        metadata_props: proto.metadata_props,
        device_configurations: proto.device_configurations,
    };
    graph.add_node(node)?;
    Ok(())
}

fn read_attribute(proto: proto::AttributeProto) -> Result<AttributeValue, ReadError> {
    // Documentation and references have no place in the typed forms.
    if proto.doc_string.is_some() || proto.ref_attr_name.is_some() {
        return Ok(AttributeValue::Other(Box::new(proto)));
    }
    Ok(match proto.r#type() {
        1 => AttributeValue::Float(proto.f()),
        2 => AttributeValue::Int(proto.i()),
        3 => AttributeValue::String(proto.s.unwrap_or_default()),
        4 => match proto.t {
            Some(tensor) if tensor.name.is_none() => {
                AttributeValue::Tensor(Box::new(read_tensor(tensor)?))
            }
            _ => AttributeValue::Other(Box::new(proto)),
        },
        6 => AttributeValue::Floats(proto.floats),
        7 => AttributeValue::Ints(proto.ints),
        8 => AttributeValue::Strings(proto.strings),
        _ => AttributeValue::Other(Box::new(proto)),
    })
}

/// Reads a tensor; typed fields become little-endian bytes.
fn read_tensor(proto: proto::TensorProto) -> Result<Tensor, ReadError> {
    let name = proto.name().to_owned();
    let wrong =
        |expected: String, found: String| ReadError::Tensor { name: name.clone(), expected, found };
    if proto.segment.is_some() {
        return Err(wrong("a whole tensor".into(), "a segment (TensorProto.segment)".into()));
    }
    let element = element_type(proto.data_type(), &name)?;
    let dims = proto
        .dims
        .iter()
        .map(|&dim| usize::try_from(dim).map_err(|_| wrong("dims ≥ 0".into(), dim.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    let data = if proto.data_location() == 1 {
        TensorData::External(read_external(&name, &proto.external_data)?)
    } else if element == ElementType::String {
        let count = element_count(&dims);
        if count != Some(proto.string_data.len()) {
            return Err(wrong(format!("{count:?} strings"), proto.string_data.len().to_string()));
        }
        TensorData::Strings(proto.string_data)
    } else {
        let bytes = match proto.raw_data {
            Some(raw) => raw,
            None => typed_bytes(&proto, element),
        };
        check_length(&name, element, &dims, bytes.len())?;
        TensorData::Inline(bytes)
    };
    Ok(Tensor {
        element,
        dims,
        data,
        doc_string: proto.doc_string.unwrap_or_default(),
        metadata: pairs(&proto.metadata_props),
    })
}

fn check_length(
    name: &str,
    element: ElementType,
    dims: &[usize],
    found: usize,
) -> Result<(), ReadError> {
    let expected = element_count(dims).and_then(|count| element.byte_length(count));
    if expected == Some(found) {
        return Ok(());
    }
    Err(ReadError::Tensor {
        name: name.to_owned(),
        expected: match expected {
            Some(bytes) => format!("{bytes} bytes for {element:?} {dims:?}"),
            None => format!("a size that fits memory, dims {dims:?}"),
        },
        found: format!("{found} bytes"),
    })
}

fn typed_bytes(proto: &proto::TensorProto, element: ElementType) -> Bytes {
    fn spread<T: Copy, const B: usize>(values: &[T], bytes: impl Fn(T) -> [u8; B]) -> Bytes {
        values.iter().flat_map(|&value| bytes(value)).collect::<Vec<u8>>().into()
    }
    match element {
        ElementType::Float | ElementType::Complex64 => spread(&proto.float_data, f32::to_le_bytes),
        ElementType::Double | ElementType::Complex128 => {
            spread(&proto.double_data, f64::to_le_bytes)
        }
        ElementType::Int64 => spread(&proto.int64_data, i64::to_le_bytes),
        ElementType::Uint64 => spread(&proto.uint64_data, u64::to_le_bytes),
        ElementType::Uint32 => spread(&proto.uint64_data, |v| (v as u32).to_le_bytes()),
        ElementType::Int32 => spread(&proto.int32_data, i32::to_le_bytes),
        ElementType::Uint16 | ElementType::Int16 | ElementType::Float16 | ElementType::Bfloat16 => {
            spread(&proto.int32_data, |v| (v as u16).to_le_bytes())
        }
        _ => spread(&proto.int32_data, |v| [v as u8]),
    }
}

fn read_external(
    name: &str,
    entries: &[proto::StringStringEntryProto],
) -> Result<ExternalData, ReadError> {
    let mut data =
        ExternalData { location: String::new(), offset: 0, length: None, other: Vec::new() };
    let number = |key: &str, text: &str| {
        text.parse::<u64>().map_err(|_| ReadError::Tensor {
            name: name.to_owned(),
            expected: format!("a number for external {key}"),
            found: format!("{text:?}"),
        })
    };
    for (key, value) in pairs(entries) {
        match key.as_str() {
            "location" => data.location = value,
            "offset" => data.offset = number(&key, &value)?,
            "length" => data.length = Some(number(&key, &value)?),
            _ => data.other.push((key, value)),
        }
    }
    let path = Path::new(&data.location);
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if data.location.is_empty() || !inside || data.location.contains('\\') {
        return Err(ReadError::Location { name: name.to_owned(), location: data.location });
    }
    Ok(data)
}
