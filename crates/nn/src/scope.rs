//! The builder: scopes that own operators, values that are plain numbers, the first mistake kept.

use crate::drop_site::Mark;
use crate::init::{Init, Scheme};
use crate::parameter::{Parameter, ParameterKind, Role};
use nearkin_onnx::{
    Attribute, AttributeValue, Dim, ElementType, Graph, GraphError, InferError, Node, Shape,
    Tensor, TensorType, ValueId, infer,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value of the graph being built; copied freely. After a mistake it stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub(crate) Option<ValueId>);

impl Value {
    /// A value of the graph that a [`Scope::over`] adds to.
    pub fn of(id: ValueId) -> Self {
        Self(Some(id))
    }

    /// The graph's own number of it; none after a mistake.
    pub fn id(self) -> Option<ValueId> {
        self.0
    }
}

/// The first mistake of a building, with the path of the layer that made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BuildError {
    /// Dotted path of the layer, such as `layer2.0.conv2`.
    pub path: String,
    /// What was wrong there.
    pub problem: Box<Problem>,
}

/// What can be wrong with a layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Inputs or attributes that the operator does not take.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A name used twice.
    #[error("{0}")]
    Name(String),
    /// An argument out of its range.
    #[error("expected {expected}, got {found}")]
    Argument {
        /// What the layer takes.
        expected: String,
        /// What it was given.
        found: String,
    },
}

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        Self::Name(error.to_string())
    }
}

/// The class of a normalisation layer, as its epsilon is compared with a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the layers' own")]
pub enum NormKind {
    BatchNorm,
    LayerNorm,
    GroupNorm,
    GlobalResponseNorm,
}

pub(crate) struct Builder {
    pub(crate) graph: Graph,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) stages: Vec<(String, ValueId)>,
    pub(crate) norms: BTreeMap<NormKind, Vec<f32>>,
    pub(crate) drops: Vec<Mark>,
    pub(crate) error: Option<BuildError>,
    pub(crate) image: Option<ValueId>,
    scheme: Scheme,
    constants: BTreeMap<(i32, Vec<usize>, Vec<u8>), ValueId>,
    anonymous: usize,
}

/// A module of the network: parameters and layers made in it are named below its path.
pub struct Scope {
    path: String,
    builder: Rc<RefCell<Builder>>,
}

impl Scope {
    pub(crate) fn root(graph: Graph, image: ValueId, scheme: Scheme) -> Self {
        Self::start(graph, Some(image), scheme)
    }

    fn start(graph: Graph, image: Option<ValueId>, scheme: Scheme) -> Self {
        let builder = Builder {
            graph,
            parameters: Vec::new(),
            stages: Vec::new(),
            norms: BTreeMap::new(),
            drops: Vec::new(),
            error: None,
            image,
            scheme,
            constants: BTreeMap::new(),
            anonymous: 0,
        };
        Self { path: String::new(), builder: Rc::new(RefCell::new(builder)) }
    }

    /// A scope that adds to a graph which is there already, such as a loss to a network's outputs.
    ///
    /// [`Scope::finish`] gives the graph back. Names that the graph has are not given again.
    pub fn over(graph: Graph) -> Self {
        Self::start(graph, None, Scheme::TORCH)
    }

    /// The graph with all that was added; scopes made of this one must be gone.
    ///
    /// # Errors
    /// [`BuildError`]: the first mistake, or a scope that was kept.
    pub fn finish(self) -> Result<Graph, BuildError> {
        let kept = || BuildError {
            path: String::new(),
            problem: Box::new(Problem::Argument {
                expected: "scopes that end with the building".to_owned(),
                found: "one that was kept".to_owned(),
            }),
        };
        let builder = self.into_builder().ok_or_else(kept)?;
        builder.error.map_or(Ok(builder.graph), Err)
    }

    /// A further input of the graph.
    pub fn input(&self, name: &str, ty: TensorType) -> Value {
        let added = self.builder.borrow_mut().graph.add_input(name, ty);
        match added {
            Ok(id) => Value(Some(id)),
            Err(error) => self.fail(name, error),
        }
    }

    /// Calls `x` by this name in the file; what `x` was called before is free again.
    pub fn rename(&self, x: Value, name: &str) -> Value {
        let Value(Some(id)) = x else { return x };
        let renamed = self.builder.borrow_mut().graph.rename(id, name);
        match renamed {
            Ok(()) => x,
            Err(error) => self.fail(name, error),
        }
    }

    /// Takes the builder back; other scopes must be gone.
    pub(crate) fn into_builder(self) -> Option<Builder> {
        Rc::into_inner(self.builder).map(RefCell::into_inner)
    }

    /// The module `name` below this one; `name` may be dotted.
    pub fn scope(&self, name: impl AsRef<str>) -> Self {
        Self { path: self.path_of(name.as_ref()), builder: Rc::clone(&self.builder) }
    }

    /// Marks `x` as what this module returns, so that it can be compared with a reference.
    pub fn output(&self, x: Value) -> Value {
        self.mark(&self.path, x);
        x
    }

    /// Marks `x` as what the module `name` below this one returns.
    pub fn stage(&self, name: &str, x: Value) -> Value {
        self.mark(&self.path_of(name), x);
        x
    }

    fn mark(&self, path: &str, x: Value) {
        if let Value(Some(id)) = x {
            self.builder.borrow_mut().stages.push((path.to_owned(), id));
        }
    }

    /// The dotted path of `name` in this module.
    pub(crate) fn path_of(&self, name: &str) -> String {
        match (self.path.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{name}", self.path),
        }
    }

    /// Keeps the first mistake; later ones follow from it.
    pub(crate) fn fail(&self, path: &str, problem: impl Into<Problem>) -> Value {
        let mut builder = self.builder.borrow_mut();
        if builder.error.is_none() {
            let problem = Box::new(problem.into());
            builder.error = Some(BuildError { path: path.to_owned(), problem });
        }
        Value(None)
    }

    /// Reports an argument that `name` cannot take; the building goes on without effect.
    pub fn reject(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Value {
        let problem = Problem::Argument { expected: expected.into(), found: found.into() };
        self.fail(&self.path_of(name), problem)
    }

    pub(crate) fn builder(&self) -> &RefCell<Builder> {
        &self.builder
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.builder.borrow().scheme
    }

    pub(crate) fn is_image(&self, x: Value) -> bool {
        x.0.is_some() && x.0 == self.builder.borrow().image
    }

    pub(crate) fn note_norm(&self, kind: NormKind, eps: f32) {
        let mut builder = self.builder.borrow_mut();
        let known = builder.norms.entry(kind).or_default();
        if !known.iter().any(|e| e.to_bits() == eps.to_bits()) {
            known.push(eps);
        }
    }

    /// The dimensions of `x`; empty after a mistake.
    pub fn dims(&self, x: Value) -> Vec<Dim> {
        let shape = |id| self.builder.borrow().graph.shape(id).cloned();
        x.0.and_then(shape).map(|shape| shape.0).unwrap_or_default()
    }

    /// The size of `x` along `axis`, counted from the end if negative; 0 where it is no number.
    pub fn size(&self, x: Value, axis: isize) -> usize {
        let dims = self.dims(x);
        let index =
            if axis < 0 { dims.len().checked_add_signed(axis) } else { Some(axis as usize) };
        index.and_then(|index| dims.get(index)?.known()).unwrap_or(0)
    }

    /// Channels `C` of an image `[N, C, H, W]`.
    pub fn channels(&self, x: Value) -> usize {
        self.size(x, 1)
    }

    /// Height and width of an image `[N, C, H, W]`.
    pub fn spatial(&self, x: Value) -> (usize, usize) {
        (self.size(x, 2), self.size(x, 3))
    }

    /// The last dimension, the width `D` of tokens `[N, L, D]`.
    pub fn width(&self, x: Value) -> usize {
        self.size(x, -1)
    }

    /// A parameter of this module.
    pub fn parameter(&self, name: &str, dims: &[usize], kind: ParameterKind, init: Init) -> Value {
        self.parameter_in_role(name, dims, kind, init, Role::Plain)
    }

    pub(crate) fn parameter_in_role(
        &self,
        name: &str,
        dims: &[usize],
        kind: ParameterKind,
        init: Init,
        role: Role,
    ) -> Value {
        let path = self.path_of(name);
        let tensor = Tensor::absent(ElementType::Float, dims.to_vec());
        let added = self.builder.borrow_mut().graph.add_initialiser(&path, tensor);
        match added {
            Ok(id) => {
                let parameter = Parameter {
                    name: path,
                    dims: dims.to_vec(),
                    kind,
                    init,
                    role,
                    value: Some(id),
                };
                self.builder.borrow_mut().parameters.push(parameter);
                Value(Some(id))
            }
            Err(error) => self.fail(&path, error),
        }
    }

    /// A parameter with values already, for what is added to a network: a new head, the centres of a
    /// loss.
    pub fn weight(&self, name: &str, tensor: Option<Tensor>) -> Value {
        let path = self.path_of(name);
        let Some(tensor) = tensor else {
            return self.reject(name, "as many values as its dims hold", "another number");
        };
        let added = self.builder.borrow_mut().graph.add_initialiser(&path, tensor);
        match added {
            Ok(id) => Value(Some(id)),
            Err(error) => self.fail(&path, error),
        }
    }

    /// A tensor of timm's `state_dict` that takes no part in the computation.
    pub(crate) fn counter(&self, name: &str) {
        let parameter = Parameter {
            name: self.path_of(name),
            dims: Vec::new(),
            kind: ParameterKind::BatchesTracked,
            init: Init::Constant(0.0),
            role: Role::Plain,
            value: None,
        };
        self.builder.borrow_mut().parameters.push(parameter);
    }

    /// An i64 vector.
    pub fn ints(&self, values: &[i64]) -> Value {
        self.constant(Tensor::from_i64(vec![values.len()], values))
    }

    /// An f32 scalar.
    pub fn scalar(&self, value: f32) -> Value {
        self.constant(Tensor::from_f32(vec![], &[value]))
    }

    /// A constant f32 tensor.
    pub fn tensor(&self, dims: &[usize], values: &[f32]) -> Value {
        self.constant(Tensor::from_f32(dims.to_vec(), values))
    }

    /// Equal constants are stored once.
    fn constant(&self, tensor: Option<Tensor>) -> Value {
        let Some(tensor) = tensor else {
            return self.reject("constant", "as many values as its dims hold", "another number");
        };
        let mut builder = self.builder.borrow_mut();
        let bytes = match &tensor.data {
            nearkin_onnx::TensorData::Inline(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let key = (tensor.element.code(), tensor.dims.clone(), bytes);
        if let Some(&id) = builder.constants.get(&key) {
            return Value(Some(id));
        }
        let free = |number: &usize| builder.graph.find(&format!("constant/{number}")).is_none();
        let number = (builder.constants.len()..).find(free).unwrap_or_default();
        let name = format!("constant/{number}");
        let added = builder.graph.add_initialiser(&name, tensor);
        match added {
            Ok(id) => {
                builder.constants.insert(key, id);
                Value(Some(id))
            }
            Err(error) => {
                drop(builder);
                self.fail(&name, error)
            }
        }
    }

    /// An operator of ONNX's set with one output, by its ONNX name, for what has no layer here.
    ///
    /// Its shape rule must be known to [`nearkin_onnx::infer`].
    pub fn onnx(&self, op: &str, inputs: &[Value], attributes: &[(&str, AttributeValue)]) -> Value {
        let attributes = attributes.iter().map(|(name, value)| attr(name, value.clone()));
        self.op(None, op, inputs, attributes.collect())
    }

    /// One operator with one output, named `name` if it is a layer, else by its kind.
    pub(crate) fn op(
        &self,
        name: Option<&str>,
        op: &str,
        inputs: &[Value],
        attributes: Vec<Attribute>,
    ) -> Value {
        self.op_many(name, op, inputs, attributes, 1).first().copied().unwrap_or(Value(None))
    }

    /// One operator with `count` outputs.
    pub(crate) fn op_many(
        &self,
        name: Option<&str>,
        op: &str,
        inputs: &[Value],
        attributes: Vec<Attribute>,
        count: usize,
    ) -> Vec<Value> {
        let nothing = vec![Value(None); count];
        let path = match name {
            Some(name) => self.path_of(name),
            None => self.path.clone(),
        };
        if self.builder.borrow().error.is_some() || inputs.iter().any(|x| x.0.is_none()) {
            return nothing;
        }
        let added =
            self.builder.borrow_mut().add(&path, name.is_some(), op, inputs, attributes, count);
        match added {
            Ok(ids) => {
                if let (Some(_), Some(&id)) = (name, ids.first()) {
                    self.mark(&path, Value(Some(id)));
                }
                ids.into_iter().map(|id| Value(Some(id))).collect()
            }
            Err(problem) => {
                self.fail(&path, problem);
                nothing
            }
        }
    }
}

impl Builder {
    fn add(
        &mut self,
        path: &str,
        named: bool,
        op: &str,
        inputs: &[Value],
        attributes: Vec<Attribute>,
        count: usize,
    ) -> Result<Vec<ValueId>, Problem> {
        let ids: Vec<ValueId> = inputs.iter().filter_map(|x| x.0).collect();
        let mut node = Node::new(op, &ids);
        node.attributes = attributes;
        // The number of outputs steers the rules of Split and BatchNormalization.
        node.outputs = vec![None; count];
        let types = infer(&self.graph, &node)?;
        let base = if named {
            path.to_owned()
        } else {
            let prefix = if path.is_empty() { "" } else { "/" };
            loop {
                self.anonymous += 1;
                let name = format!("{path}{prefix}{op}_{}", self.anonymous);
                if self.graph.find(&name).is_none() {
                    break name;
                }
            }
        };
        node.name.clone_from(&base);
        let mut ids = Vec::with_capacity(count);
        for (i, ty) in types.into_iter().take(count).enumerate() {
            let name = if i == 0 { base.clone() } else { format!("{base}#{i}") };
            ids.push(self.graph.add_value(&name, Some(ty))?);
        }
        node.outputs = ids.iter().map(|&id| Some(id)).collect();
        self.graph.add_node(node)?;
        Ok(ids)
    }
}

/// An attribute of an operator.
pub(crate) fn attr(name: &str, value: impl Into<AttributeValue>) -> Attribute {
    Attribute { name: name.to_owned(), value: value.into() }
}

/// A list of integers as an attribute.
pub(crate) fn attr_ints(name: &str, values: &[usize]) -> Attribute {
    let values: Vec<i64> = values.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect();
    attr(name, values)
}

/// The type of an image batch `[N, C, H, W]`.
pub(crate) fn image_type(channels: usize, height: usize, width: usize) -> TensorType {
    let sizes = [channels, height, width].map(Dim::Known);
    TensorType::f32(Shape([vec![Dim::symbol("N")], sizes.to_vec()].concat()))
}
