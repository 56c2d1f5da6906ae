//! Runs an ONNX graph the slow and obvious way, every number in f64.
//!
//! An oracle for tests: what losses and training steps emit as ONNX is run here and compared with
//! arrays, with central differences, and with the engines. Loops follow ONNX's operator
//! documentation; nothing is fast. Integers and booleans are f64 too, which holds them exactly.

#![expect(clippy::float_cmp, reason = "integers and booleans are compared exactly")]

mod blocked;
mod elementwise;
mod layout;
mod matrix;
mod norm;
mod resample;
mod window;

use ndarray::{ArrayD, IxDyn};
use nearkin_onnx::{AttributeValue, ElementType, Graph, Node, Tensor, ValueId};
use std::collections::BTreeMap;

/// A tensor of any rank.
pub type Array = ArrayD<f64>;

/// Why a graph cannot be interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// An operator that is not known here, or a form of it that is not.
    #[error("{node}: {problem}")]
    Node {
        /// Operator and name.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// An input or constant without a value.
    #[error("{name:?} has no value")]
    NoValue {
        /// Its name.
        name: String,
    },
}

/// The outputs of `graph` by name, for these inputs by name.
///
/// # Errors
/// [`InterpretError`]: an input that is not fed, an operator that is not known.
///
/// # Examples
/// ```
/// use nearkin_onnx::{Graph, Node, Shape, TensorType};
/// let mut graph = Graph::new("double");
/// let x = graph.add_input("x", TensorType::f32(Shape::known(&[2])))?;
/// let y = graph.add_value("y", None)?;
/// let mut node = Node::new("Add", &[x, x]);
/// node.outputs = vec![Some(y)];
/// graph.add_node(node)?;
/// graph.set_outputs(vec![y]);
/// let x = ndarray::arr1(&[1.0, 2.5]).into_dyn();
/// let out = nearkin_testkit::interpreter::interpret(&graph, &[("x", x)])?;
/// assert_eq!(out["y"].as_slice(), Some(&[2.0, 5.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn interpret(
    graph: &Graph,
    feeds: &[(&str, Array)],
) -> Result<BTreeMap<String, Array>, InterpretError> {
    run_graph(graph, feeds, None, |_, _| ())
}

/// The same with ONNX Runtime's operators on images in blocks of `block` channels, which is 16 or 8
/// by the processor that a graph is made for.
///
/// # Errors
/// As [`interpret`].
pub fn interpret_blocked(
    graph: &Graph,
    feeds: &[(&str, Array)],
    block: usize,
) -> Result<BTreeMap<String, Array>, InterpretError> {
    run_graph(graph, feeds, Some(block), |_, _| ())
}

/// The same with every output of an operator rounded to its element type, f32: what an engine would
/// give whose operators are exact.
///
/// # Errors
/// As [`interpret`].
pub fn interpret_rounded(
    graph: &Graph,
    feeds: &[(&str, Array)],
) -> Result<BTreeMap<String, Array>, InterpretError> {
    run_graph(graph, feeds, None, |id, array| {
        if graph.value(id).ty.as_ref().is_some_and(|ty| ty.element == ElementType::Float) {
            array.mapv_inplace(|x| f64::from(x as f32));
        }
    })
}

fn run_graph(
    graph: &Graph,
    feeds: &[(&str, Array)],
    block: Option<usize>,
    finish: impl Fn(ValueId, &mut Array),
) -> Result<BTreeMap<String, Array>, InterpretError> {
    let mut values: BTreeMap<ValueId, Array> = BTreeMap::new();
    for &(id, ref tensor) in graph.initialisers() {
        if let Some(array) = constant(tensor) {
            values.insert(id, array);
        }
    }
    for (name, array) in feeds {
        if let Some(id) = graph.find(name) {
            values.insert(id, array.clone());
        }
    }
    let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
    let read = graph.nodes().iter().flat_map(|node| node.inputs.iter().flatten());
    for &id in read.chain(graph.outputs()) {
        *readers.entry(id).or_default() += 1;
    }
    for node in graph.nodes() {
        let inputs: Vec<Option<&Array>> = node
            .inputs
            .iter()
            .map(|id| id.map(|id| value(graph, &values, id)).transpose())
            .collect::<Result<_, _>>()?;
        let outputs = run(&Call { graph, node, inputs, block })
            .map_err(|problem| InterpretError::Node { node: node.describe(), problem })?;
        for (id, mut array) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                finish(*id, &mut array);
                values.insert(*id, array);
            }
        }
        // What nobody reads any more makes room.
        for id in node.inputs.iter().flatten() {
            let left = readers.entry(*id).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                values.remove(id);
            }
        }
    }
    let named =
        |&id: &ValueId| Ok((graph.value(id).name.clone(), value(graph, &values, id)?.clone()));
    graph.outputs().iter().map(named).collect()
}

fn value<'a>(
    graph: &Graph,
    values: &'a BTreeMap<ValueId, Array>,
    id: ValueId,
) -> Result<&'a Array, InterpretError> {
    let absent = || InterpretError::NoValue { name: graph.value(id).name.clone() };
    values.get(&id).ok_or_else(absent)
}

/// The elements of a constant of the types that image models use.
fn constant(tensor: &Tensor) -> Option<Array> {
    use nearkin_onnx::TensorData::Inline;
    let values: Vec<f64> = match (&tensor.data, tensor.element) {
        (_, ElementType::Float) => tensor.to_f32()?.into_iter().map(f64::from).collect(),
        (_, ElementType::Int64) => tensor.to_i64()?.into_iter().map(|v| v as f64).collect(),
        (Inline(bytes), ElementType::Bool | ElementType::Uint8) => {
            bytes.iter().map(|&v| f64::from(v)).collect()
        }
        (Inline(bytes), ElementType::Double) => {
            bytes.as_chunks().0.iter().map(|v| f64::from_le_bytes(*v)).collect()
        }
        (Inline(bytes), ElementType::Int32) => {
            bytes.as_chunks().0.iter().map(|v| f64::from(i32::from_le_bytes(*v))).collect()
        }
        _ => return None,
    };
    Array::from_shape_vec(IxDyn(&tensor.dims), values).ok()
}

/// A node with its inputs.
struct Call<'a> {
    graph: &'a Graph,
    node: &'a Node,
    inputs: Vec<Option<&'a Array>>,
    /// Channels in a block, where blocked operators are known.
    block: Option<usize>,
}

type Outputs = Result<Vec<Array>, String>;

fn run(call: &Call<'_>) -> Outputs {
    if call.node.domain == blocked::DOMAIN {
        return blocked::run(call).unwrap_or_else(|| Err("unknown operator".to_owned()));
    }
    if call.node.domain == blocked::CONTRIB {
        return blocked::contrib(call).unwrap_or_else(|| Err("unknown operator".to_owned()));
    }
    if !call.node.is_standard() {
        return Err("not an operator of ONNX's own set".to_owned());
    }
    let families =
        [elementwise::run, norm::run, matrix::run, layout::run, window::run, resample::run];
    for family in families {
        if let Some(outputs) = family(call) {
            return outputs;
        }
    }
    Err("unknown operator".to_owned())
}

impl Call<'_> {
    fn get(&self, index: usize) -> Result<&Array, String> {
        self.optional(index).ok_or_else(|| format!("input {index} is missing"))
    }

    fn optional(&self, index: usize) -> Option<&Array> {
        self.inputs.get(index).copied().flatten()
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f64) -> f64 {
        self.node.float(name).map_or(default, f64::from)
    }

    /// Integers that are an input since some opset and an attribute before it.
    fn ints(&self, index: usize, attribute: &str) -> Option<Vec<i64>> {
        match self.optional(index) {
            Some(array) => Some(array.iter().map(|&v| v as i64).collect()),
            None => self.node.ints(attribute).map(<[i64]>::to_vec),
        }
    }

    fn sizes(&self, attribute: &str, rank: usize, default: usize) -> Vec<usize> {
        let given = self.node.ints(attribute).unwrap_or_default();
        (0..rank).map(|i| given.get(i).map_or(default, |&v| v as usize)).collect()
    }

    /// Whether the first output holds whole numbers.
    fn is_integer(&self) -> bool {
        let id = self.node.inputs.first().copied().flatten();
        let ty = id.and_then(|id| self.graph.value(id).ty.as_ref());
        ty.is_some_and(|ty| matches!(ty.element, ElementType::Int64 | ElementType::Int32))
    }

    fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.node.attribute(name)
    }
}

/// A possibly negative axis as an index.
fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let index = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(index)
        .ok()
        .filter(|&index| index < rank.max(1))
        .ok_or_else(|| format!("axis {axis} of {rank} dimensions"))
}

/// Every index of a shape, in row-major order.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let shape = shape.to_vec();
    let count: usize = shape.iter().product();
    (0..count).map(move |mut flat| {
        let mut index = vec![0; shape.len()];
        for (place, &size) in index.iter_mut().zip(&shape).rev() {
            *place = flat % size;
            flat /= size;
        }
        index
    })
}

fn filled(shape: &[usize], at: impl FnMut(&[usize]) -> f64) -> Array {
    let mut at = at;
    let values: Vec<f64> = indices(shape).map(|index| at(&index)).collect();
    // As many values as indices.
    Array::from_shape_vec(IxDyn(shape), values).unwrap_or_else(|_| Array::zeros(IxDyn(shape)))
}
