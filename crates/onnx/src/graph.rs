//! The graph: values, nodes and initialisers, addressed by number.

use crate::proto;
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A value of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

/// A node of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl ValueId {
    /// The position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What flows along an edge of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in its graph; the name in the file.
    pub name: String,
    /// Its type, if it is known and is a tensor.
    pub ty: Option<TensorType>,
    /// What the file said of it, kept so that nothing of it is lost.
    pub(crate) declared: Option<Box<proto::ValueInfoProto>>,
}

/// An operator applied to values.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Node {
    /// Name in the file; may be empty.
    pub name: String,
    /// ONNX's operator name, such as `Conv`.
    pub op: String,
    /// The operator set it is from; empty for ONNX's own.
    pub domain: String,
    /// Inputs by position; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs by position; `None` where one is not wanted.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes in the order of the file.
    pub attributes: Vec<Attribute>,
    /// The parts of a foreign node that the IR does not model.
    pub(crate) rest: NodeRest,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct NodeRest {
    pub(crate) doc_string: Option<String>,
    pub(crate) overload: Option<String>,
    pub(crate) metadata_props: Vec<proto::StringStringEntryProto>,
    pub(crate) device_configurations: Vec<proto::NodeDeviceConfigurationProto>,
}

/// A named attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// ONNX's attribute name, such as `kernel_shape`.
    pub name: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an [`Attribute`].
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// `FLOAT`.
    Float(f32),
    /// `INT`.
    Int(i64),
    /// `STRING`.
    String(Bytes),
    /// `FLOATS`.
    Floats(Vec<f32>),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `STRINGS`.
    Strings(Vec<Bytes>),
    /// `TENSOR`.
    Tensor(Box<Tensor>),
    /// Any other kind (subgraphs, sparse tensors, types, references), as the file has it.
    Other(Box<proto::AttributeProto>),
}

macro_rules! attribute_from {
    ($($source:ty => $variant:ident),* $(,)?) => {$(
        impl From<$source> for AttributeValue {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
attribute_from!(f32 => Float, i64 => Int, &'static str => String, Vec<f32> => Floats, Vec<i64> => Ints);

impl Node {
    /// An operator of ONNX's own set on these inputs, its outputs not yet named.
    pub fn new(op: &str, inputs: &[ValueId]) -> Self {
        let inputs = inputs.iter().copied().map(Some).collect();
        Self { op: op.to_owned(), inputs, ..Self::default() }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<AttributeValue>) -> Self {
        self.attributes.push(Attribute { name: name.to_owned(), value: value.into() });
        self
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|a| a.name == name).map(|a| &a.value)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name) {
            Some(AttributeValue::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attribute(name) {
            Some(AttributeValue::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name) {
            Some(AttributeValue::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// A string attribute, if it is UTF-8.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.attribute(name) {
            Some(AttributeValue::String(value)) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// True for an operator of ONNX's own set.
    pub fn is_standard(&self) -> bool {
        self.domain.is_empty() || self.domain == "ai.onnx"
    }

    /// Name and operator, for messages: `Conv "layer1.0.conv1"`.
    pub fn describe(&self) -> String {
        let op = if self.is_standard() {
            self.op.clone()
        } else {
            format!("{}.{}", self.domain, self.op)
        };
        if self.name.is_empty() { op } else { format!("{op} \"{}\"", self.name) }
    }
}

/// A graph in single-assignment form: every value has one name and at most one producer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name in the file.
    pub name: String,
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) initialisers: Vec<(ValueId, Tensor)>,
    pub(crate) by_name: BTreeMap<String, ValueId>,
    pub(crate) producers: BTreeMap<ValueId, NodeId>,
    pub(crate) initialiser_of: BTreeMap<ValueId, usize>,
    pub(crate) rest: GraphRest,
}

/// The parts of a foreign graph that the IR does not model, kept as the file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GraphRest {
    pub(crate) doc_string: Option<String>,
    pub(crate) sparse_initializer: Vec<proto::SparseTensorProto>,
    pub(crate) quantization_annotation: Vec<proto::TensorAnnotation>,
    pub(crate) metadata_props: Vec<proto::StringStringEntryProto>,
    /// `value_info` of names that occur nowhere else in this graph.
    pub(crate) value_info: Vec<proto::ValueInfoProto>,
}

/// A graph that cannot be made so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// Two values of one name.
    #[error("value {0:?} exists already")]
    DuplicateName(String),
    /// A value written by two nodes.
    #[error("value {0:?} has a producer already")]
    SecondProducer(String),
    /// An initialiser whose dims or type disagree with its value.
    #[error("initialiser {name:?} is declared as {expected}, its tensor is {found}")]
    InitialiserType {
        /// The value.
        name: String,
        /// Dimensions declared.
        expected: String,
        /// Dimensions of the tensor.
        found: String,
    },
    /// A name that no value has.
    #[error("no value is called {0:?}")]
    NoSuchValue(String),
}

impl Graph {
    /// An empty graph of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// All values, in order of their ids.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All nodes, in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Ids of all nodes, in order.
    pub fn node_ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// What the graph is fed.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// What the graph returns.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Constants by value, in order of declaration.
    pub fn initialisers(&self) -> &[(ValueId, Tensor)] {
        &self.initialisers
    }

    /// A value.
    ///
    /// # Panics
    /// If `id` is of another graph and out of range here.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// A node.
    ///
    /// # Panics
    /// If `id` is of another graph and out of range here.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The node that writes this value; none for inputs and initialisers.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        self.producers.get(&id).copied()
    }

    /// The nodes that read this value, in order.
    pub fn consumers(&self, id: ValueId) -> impl Iterator<Item = NodeId> + '_ {
        self.node_ids().filter(move |node| self.node(*node).inputs.contains(&Some(id)))
    }

    /// The constant behind this value.
    pub fn initialiser(&self, id: ValueId) -> Option<&Tensor> {
        self.initialiser_of.get(&id).map(|&position| &self.initialisers[position].1)
    }

    /// The shape of this value, if known.
    pub fn shape(&self, id: ValueId) -> Option<&Shape> {
        self.value(id).ty.as_ref()?.shape.as_ref()
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn add_value(&mut self, name: &str, ty: Option<TensorType>) -> Result<ValueId, GraphError> {
        if self.by_name.contains_key(name) {
            return Err(GraphError::DuplicateName(name.to_owned()));
        }
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.by_name.insert(name.to_owned(), id);
        self.values.push(Value { name: name.to_owned(), ty, declared: None });
        Ok(id)
    }

    /// Adds a value that the graph is fed.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, Some(ty))?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a constant.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn add_initialiser(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, GraphError> {
        let ty = TensorType { element: tensor.element, shape: Some(Shape::known(&tensor.dims)) };
        let id = self.add_value(name, Some(ty))?;
        self.initialiser_of.insert(id, self.initialisers.len());
        self.initialisers.push((id, tensor));
        Ok(id)
    }

    /// Replaces the elements of a constant; element type and dimensions must stay.
    ///
    /// # Errors
    /// [`GraphError::InitialiserType`]; [`GraphError::NoSuchValue`] if it is no initialiser.
    pub fn set_initialiser(&mut self, id: ValueId, tensor: Tensor) -> Result<(), GraphError> {
        let name = &self.values[id.index()].name;
        let Some(&position) = self.initialiser_of.get(&id) else {
            return Err(GraphError::NoSuchValue(name.clone()));
        };
        let old = &self.initialisers[position].1;
        if (old.element, &old.dims) != (tensor.element, &tensor.dims) {
            return Err(GraphError::InitialiserType {
                name: name.clone(),
                expected: format!("{:?} {:?}", old.element, old.dims),
                found: format!("{:?} {:?}", tensor.element, tensor.dims),
            });
        }
        self.initialisers[position].1 = tensor;
        Ok(())
    }

    /// Makes constants of values that nodes of one output gave; those nodes go, and the numbers of the
    /// nodes after them change.
    pub fn replace_by_constants(&mut self, constants: impl IntoIterator<Item = (ValueId, Tensor)>) {
        for (id, tensor) in constants {
            let shape = Some(Shape::known(&tensor.dims));
            self.values[id.index()].ty = Some(TensorType { element: tensor.element, shape });
            self.initialiser_of.insert(id, self.initialisers.len());
            self.initialisers.push((id, tensor));
        }
        let initialiser_of = &self.initialiser_of;
        let is_constant =
            |id: &Option<ValueId>| id.is_some_and(|id| initialiser_of.contains_key(&id));
        self.nodes.retain(|node| node.outputs.is_empty() || !node.outputs.iter().all(is_constant));
        self.producers.clear();
        for (position, node) in self.nodes.iter().enumerate() {
            let id = NodeId(u32::try_from(position).unwrap_or(u32::MAX));
            self.producers.extend(node.outputs.iter().flatten().map(|&output| (output, id)));
        }
    }

    /// Adds a node; its outputs must have no producer yet.
    ///
    /// # Errors
    /// [`GraphError::SecondProducer`].
    pub fn add_node(&mut self, node: Node) -> Result<NodeId, GraphError> {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        for &output in node.outputs.iter().flatten() {
            let fed = self.inputs.contains(&output) || self.initialiser_of.contains_key(&output);
            if fed || self.producers.contains_key(&output) {
                return Err(GraphError::SecondProducer(self.values[output.index()].name.clone()));
            }
        }
        for &output in node.outputs.iter().flatten() {
            self.producers.insert(output, id);
        }
        self.nodes.push(node);
        Ok(id)
    }

    /// Sets what the graph returns.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Sets a value's type, as shape inference found it.
    pub fn set_type(&mut self, id: ValueId, ty: TensorType) {
        self.values[id.index()].ty = Some(ty);
    }

    /// Renames a value.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn rename(&mut self, id: ValueId, name: &str) -> Result<(), GraphError> {
        let value = &mut self.values[id.index()];
        if value.name == name {
            return Ok(());
        }
        if self.by_name.contains_key(name) {
            return Err(GraphError::DuplicateName(name.to_owned()));
        }
        self.by_name.remove(&value.name);
        self.by_name.insert(name.to_owned(), id);
        name.clone_into(&mut value.name);
        value.declared = None;
        Ok(())
    }
}
