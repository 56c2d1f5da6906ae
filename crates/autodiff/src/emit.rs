//! Appends nodes to a graph whose shapes are all numbers; the rules are written in it.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{
    Attribute, AttributeValue, ElementType, Graph, Node, Shape, Tensor, TensorType, ValueId, infer,
};

use crate::error::Problem;

/// A graph being extended, with the constants and nodes that were emitted, each stored once.
pub(crate) struct Emit {
    pub(crate) graph: Graph,
    constants: BTreeMap<(i32, Vec<usize>, Vec<u8>), ValueId>,
    known: BTreeMap<String, Vec<ValueId>>,
    prefix: &'static str,
    count: usize,
    /// Outputs of batch normalisations that use the batch's own statistics.
    of_batch: BTreeSet<ValueId>,
    /// Small values that are kept for the backward pass even where others are computed again.
    kept: BTreeSet<ValueId>,
}

impl Emit {
    pub(crate) fn new(graph: Graph, prefix: &'static str) -> Self {
        Self {
            graph,
            constants: BTreeMap::new(),
            known: BTreeMap::new(),
            prefix,
            count: 0,
            of_batch: BTreeSet::new(),
            kept: BTreeSet::new(),
        }
    }

    /// The dimensions of a value.
    pub(crate) fn dims(&self, id: ValueId) -> Result<Vec<usize>, Problem> {
        let shape = self.graph.shape(id);
        shape.and_then(|shape| shape.to_known()).ok_or_else(|| Problem::Shape {
            value: self.graph.value(id).name.clone(),
            found: shape.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        })
    }

    pub(crate) fn element(&self, id: ValueId) -> Option<ElementType> {
        self.graph.value(id).ty.as_ref().map(|ty| ty.element)
    }

    /// A node with `count` outputs; the same node on the same inputs is emitted once.
    pub(crate) fn many(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attributes: Vec<Attribute>,
        count: usize,
    ) -> Result<Vec<ValueId>, Problem> {
        let key = format!("{op} {inputs:?} {attributes:?} {count}");
        if let Some(ids) = self.known.get(&key) {
            return Ok(ids.clone());
        }
        let mut node = Node::new(op, &[]);
        node.inputs = inputs.to_vec();
        node.attributes = attributes;
        node.outputs = vec![None; count];
        let ids = self.append(node, count)?;
        self.known.insert(key, ids.clone());
        Ok(ids)
    }

    /// An operator of another domain than ONNX's own with one f32 output of these dimensions, which
    /// no shape rule knows; the same on the same inputs is emitted once.
    pub(crate) fn foreign(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[Option<ValueId>],
        attributes: Vec<Attribute>,
        dims: &[usize],
    ) -> Result<ValueId, Problem> {
        let key = format!("{domain}.{op} {inputs:?} {attributes:?} {dims:?}");
        if let Some(ids) = self.known.get(&key) {
            return ids.first().copied().ok_or(Problem::NoOutput);
        }
        let mut node = Node::new(op, &[]);
        domain.clone_into(&mut node.domain);
        node.inputs = inputs.to_vec();
        node.attributes = attributes;
        let ids = self.typed(node, vec![TensorType::f32(Shape::known(dims))])?;
        self.known.insert(key, ids.clone());
        ids.first().copied().ok_or(Problem::NoOutput)
    }

    /// Infers the types of a node's outputs, names them, and appends it.
    pub(crate) fn append(&mut self, node: Node, count: usize) -> Result<Vec<ValueId>, Problem> {
        let mut types = infer(&self.graph, &node)?;
        types.truncate(count);
        self.typed(node, types)
    }

    /// Appends a node with outputs of these types, and names them.
    fn typed(&mut self, mut node: Node, types: Vec<TensorType>) -> Result<Vec<ValueId>, Problem> {
        let base = loop {
            self.count += 1;
            let name = format!("{}/{}_{}", self.prefix, node.op, self.count);
            if self.graph.find(&name).is_none() {
                break name;
            }
        };
        node.name.clone_from(&base);
        let mut ids = Vec::with_capacity(types.len());
        for (i, ty) in types.into_iter().enumerate() {
            let name = if i == 0 { base.clone() } else { format!("{base}#{i}") };
            ids.push(self.graph.add_value(&name, Some(ty))?);
        }
        node.outputs = ids.iter().copied().map(Some).collect();
        self.graph.add_node(node)?;
        Ok(ids)
    }

    pub(crate) fn op(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: Vec<Attribute>,
    ) -> Result<ValueId, Problem> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let ids = self.many(op, &inputs, attributes, 1)?;
        ids.first().copied().ok_or(Problem::NoOutput)
    }

    fn constant(&mut self, tensor: Option<Tensor>) -> Result<ValueId, Problem> {
        let tensor = tensor.ok_or(Problem::NoOutput)?;
        let bytes = match &tensor.data {
            nearkin_onnx::TensorData::Inline(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let key = (tensor.element.code(), tensor.dims.clone(), bytes);
        if let Some(&id) = self.constants.get(&key) {
            return Ok(id);
        }
        let free = |graph: &Graph, n: usize| {
            let name = format!("{}/constant_{n}", self.prefix);
            graph.find(&name).is_none().then_some(name)
        };
        let name = (self.constants.len()..).find_map(|n| free(&self.graph, n));
        let id = self.graph.add_initialiser(&name.unwrap_or_default(), tensor)?;
        self.constants.insert(key, id);
        Ok(id)
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> Result<ValueId, Problem> {
        self.constant(Tensor::from_i64(vec![values.len()], values))
    }

    pub(crate) fn sizes(&mut self, values: &[usize]) -> Result<ValueId, Problem> {
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        self.ints(&values)
    }

    pub(crate) fn scalar(&mut self, value: f32) -> Result<ValueId, Problem> {
        self.constant(Tensor::from_f32(vec![], &[value]))
    }

    pub(crate) fn tensor(&mut self, dims: &[usize], values: &[f32]) -> Result<ValueId, Problem> {
        self.constant(Tensor::from_f32(dims.to_vec(), values))
    }

    pub(crate) fn zeros(&mut self, dims: &[usize]) -> Result<ValueId, Problem> {
        let zero = self.scalar(0.0)?;
        self.expand(zero, dims)
    }

    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        self.op("Add", &[a, b], vec![])
    }

    pub(crate) fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        self.op("Sub", &[a, b], vec![])
    }

    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        self.op("Mul", &[a, b], vec![])
    }

    pub(crate) fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        self.op("Div", &[a, b], vec![])
    }

    pub(crate) fn neg(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        self.op("Neg", &[x], vec![])
    }

    pub(crate) fn scale(&mut self, x: ValueId, factor: f32) -> Result<ValueId, Problem> {
        let factor = self.scalar(factor)?;
        self.mul(x, factor)
    }

    pub(crate) fn reshape(&mut self, x: ValueId, dims: &[usize]) -> Result<ValueId, Problem> {
        if self.dims(x)? == dims {
            return Ok(x);
        }
        let shape = self.sizes(dims)?;
        self.op("Reshape", &[x, shape], vec![])
    }

    pub(crate) fn transpose(&mut self, x: ValueId, order: &[usize]) -> Result<ValueId, Problem> {
        if order.iter().enumerate().all(|(i, &o)| i == o) {
            return Ok(x);
        }
        self.op("Transpose", &[x], vec![attr_sizes("perm", order)])
    }

    /// The last two dimensions exchanged.
    pub(crate) fn swap(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        let rank = self.dims(x)?.len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 1, rank - 2);
        self.transpose(x, &order)
    }

    pub(crate) fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        self.op("MatMul", &[a, b], vec![])
    }

    pub(crate) fn expand(&mut self, x: ValueId, dims: &[usize]) -> Result<ValueId, Problem> {
        if self.dims(x)? == dims {
            return Ok(x);
        }
        let shape = self.sizes(dims)?;
        self.op("Expand", &[x, shape], vec![])
    }

    /// The sum over `axes`, which stay with length 1 if `keep`.
    pub(crate) fn sum(
        &mut self,
        x: ValueId,
        axes: &[usize],
        keep: bool,
    ) -> Result<ValueId, Problem> {
        self.reduce("ReduceSum", x, axes, keep)
    }

    pub(crate) fn mean(
        &mut self,
        x: ValueId,
        axes: &[usize],
        keep: bool,
    ) -> Result<ValueId, Problem> {
        self.reduce("ReduceMean", x, axes, keep)
    }

    fn reduce(
        &mut self,
        op: &str,
        x: ValueId,
        axes: &[usize],
        keep: bool,
    ) -> Result<ValueId, Problem> {
        if axes.is_empty() {
            return Ok(x);
        }
        let axes = self.sizes(axes)?;
        self.op(op, &[x, axes], vec![attr("keepdims", i64::from(keep))])
    }

    /// Undoes broadcasting: sums `grad` down to `dims`.
    pub(crate) fn sum_to(&mut self, grad: ValueId, dims: &[usize]) -> Result<ValueId, Problem> {
        let from = self.dims(grad)?;
        if from == dims {
            return Ok(grad);
        }
        let added = from.len() - dims.len().min(from.len());
        let axes: Vec<usize> = (0..from.len())
            .filter(|&i| i < added || (dims[i - added] == 1 && from[i] != 1))
            .collect();
        let summed = self.sum(grad, &axes, true)?;
        self.reshape(summed, dims)
    }

    /// Positions `start..end` along one axis.
    pub(crate) fn slice(
        &mut self,
        x: ValueId,
        axis: usize,
        start: usize,
        end: usize,
    ) -> Result<ValueId, Problem> {
        self.slice_steps(x, &[(axis, start, end, 1)])
    }

    /// Positions `start..end` in steps, along several axes: (axis, start, end, step).
    pub(crate) fn slice_steps(
        &mut self,
        x: ValueId,
        ranges: &[(usize, usize, usize, usize)],
    ) -> Result<ValueId, Problem> {
        let dims = self.dims(x)?;
        let ranges: Vec<_> = ranges
            .iter()
            .filter(|&&(axis, start, end, step)| !(start == 0 && end >= dims[axis] && step == 1))
            .collect();
        if ranges.is_empty() {
            return Ok(x);
        }
        let parts: [Vec<usize>; 4] = [
            ranges.iter().map(|range| range.1).collect(),
            ranges.iter().map(|range| range.2).collect(),
            ranges.iter().map(|range| range.0).collect(),
            ranges.iter().map(|range| range.3).collect(),
        ];
        let mut inputs = vec![x];
        for part in parts {
            inputs.push(self.sizes(&part)?);
        }
        self.op("Slice", &inputs, vec![])
    }

    /// `before` and `after` zeros along each axis.
    pub(crate) fn pad(
        &mut self,
        x: ValueId,
        before: &[usize],
        after: &[usize],
    ) -> Result<ValueId, Problem> {
        if before.iter().chain(after).all(|&n| n == 0) {
            return Ok(x);
        }
        let pads = self.sizes(&[before, after].concat())?;
        let zero = self.scalar(0.0)?;
        self.op("Pad", &[x, pads, zero], vec![])
    }

    pub(crate) fn concat(&mut self, xs: &[ValueId], axis: usize) -> Result<ValueId, Problem> {
        match xs {
            [one] => Ok(*one),
            xs => self.op("Concat", xs, vec![attr("axis", axis as i64)]),
        }
    }

    /// `x` where `condition` holds, else 0.
    pub(crate) fn keep_where(
        &mut self,
        condition: ValueId,
        x: ValueId,
    ) -> Result<ValueId, Problem> {
        let zero = self.scalar(0.0)?;
        self.op("Where", &[condition, x, zero], vec![])
    }

    pub(crate) fn cast(&mut self, x: ValueId, element: ElementType) -> Result<ValueId, Problem> {
        self.op("Cast", &[x], vec![attr("to", i64::from(element.code()))])
    }

    /// `x` times a number, and `x` itself for 1.
    pub(crate) fn scale_unless_one(&mut self, x: ValueId, factor: f32) -> Result<ValueId, Problem> {
        if (factor - 1.0).abs() < f32::EPSILON { Ok(x) } else { self.scale(x, factor) }
    }

    /// A value of its own called `name`, equal to `x`, to be an output.
    pub(crate) fn output(&mut self, x: ValueId, name: &str) -> Result<ValueId, Problem> {
        let ty = self.graph.value(x).ty.clone();
        let id = self.graph.add_value(name, ty)?;
        let mut node = Node::new("Identity", &[x]);
        node.name = name.to_owned();
        node.outputs = vec![Some(id)];
        self.graph.add_node(node)?;
        Ok(id)
    }

    /// Begins the names of what is emitted from now on.
    pub(crate) fn set_prefix(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    pub(crate) fn mark_of_batch(&mut self, y: ValueId) {
        self.of_batch.insert(y);
    }

    pub(crate) fn is_of_batch(&self, y: ValueId) -> bool {
        self.of_batch.contains(&y)
    }

    pub(crate) fn keep(&mut self, x: ValueId) {
        self.kept.insert(x);
    }

    pub(crate) fn is_kept(&self, x: ValueId) -> bool {
        self.kept.contains(&x)
    }
}

pub(crate) fn attr(name: &str, value: impl Into<AttributeValue>) -> Attribute {
    Attribute { name: name.to_owned(), value: value.into() }
}

pub(crate) fn attr_sizes(name: &str, values: &[usize]) -> Attribute {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    attr(name, values)
}
