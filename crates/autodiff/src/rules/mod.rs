//! One rule for each operator: from the gradients of its outputs to those of its inputs.
//!
//! A rule emits standard operators only. In the formulas g is the gradient of the loss with respect
//! to the operator's output y, and ∂x that with respect to its input x.

mod activation;
mod arithmetic;
mod block;
mod conv;
mod einsum;
mod gather;
mod layout;
mod matrix;
mod norm;
mod pool;
mod reduce;
mod resample;
mod softmax;

use nearkin_onnx::{AttributeValue, Graph, Node, ValueId};

pub(crate) use conv::fit;
pub(crate) use norm::{centred, inverse_deviation};

use crate::emit::Emit;
use crate::error::Problem;

/// A node whose inputs want gradients.
pub(crate) struct Call {
    pub(crate) node: Node,
    /// For each output, the gradient that arrived; none where the loss does not depend on it.
    pub(crate) grads: Vec<Option<ValueId>>,
    /// For each input, whether its gradient is wanted.
    pub(crate) needs: Vec<bool>,
}

/// For each input, its gradient; none where it is not wanted or always zero.
pub(crate) type Grads = Result<Vec<Option<ValueId>>, Problem>;

type Rule = fn(&mut Emit, &Call) -> Grads;

/// Every operator with a rule, by ONNX's name.
const RULES: &[(&str, Rule)] = &[
    ("Abs", arithmetic::abs),
    ("Add", arithmetic::add),
    ("AveragePool", pool::average),
    ("BatchNormalization", norm::batch),
    ("Cast", layout::cast),
    ("Clip", activation::clip),
    ("Concat", layout::concat),
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("Cos", arithmetic::cos),
    ("DepthToSpace", block::depth_to_space),
    ("Div", arithmetic::div),
    ("Einsum", einsum::einsum),
    ("Elu", activation::elu),
    ("Erf", activation::erf),
    ("Exp", arithmetic::exp),
    ("Expand", layout::expand),
    ("Flatten", layout::reshape),
    ("Gather", gather::gather),
    ("GatherElements", gather::gather_elements),
    ("GatherND", gather::gather_nd),
    ("Gelu", activation::gelu),
    ("Gemm", matrix::gemm),
    ("GlobalAveragePool", pool::global_average),
    ("GroupNormalization", norm::group),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Identity", layout::identity),
    ("InstanceNormalization", norm::instance),
    ("LayerNormalization", norm::layer),
    ("LeakyRelu", activation::leaky_relu),
    ("Log", arithmetic::log),
    ("LogSoftmax", softmax::log_softmax),
    ("MatMul", matrix::matmul),
    ("Max", arithmetic::max),
    ("MaxPool", pool::max),
    ("Min", arithmetic::min),
    ("Mul", arithmetic::mul),
    ("Neg", arithmetic::neg),
    ("Pad", layout::pad),
    ("Pow", arithmetic::pow),
    ("Reciprocal", arithmetic::reciprocal),
    ("ReduceL2", reduce::l2),
    ("ReduceMax", reduce::max),
    ("ReduceMean", reduce::mean),
    ("ReduceSum", reduce::sum),
    ("ReduceSumSquare", reduce::sum_square),
    ("Relu", activation::relu),
    ("Reshape", layout::reshape),
    ("Resize", resample::resize),
    ("ScatterND", gather::scatter_nd),
    ("Sigmoid", activation::sigmoid),
    ("Sin", arithmetic::sin),
    ("Slice", layout::slice),
    ("Softmax", softmax::softmax),
    ("Softplus", activation::softplus),
    ("SpaceToDepth", block::space_to_depth),
    ("Split", layout::split),
    ("Sqrt", arithmetic::sqrt),
    ("Squeeze", layout::reshape),
    ("Sub", arithmetic::sub),
    ("Tanh", activation::tanh),
    ("Tile", layout::tile),
    ("Transpose", layout::transpose),
    ("Unsqueeze", layout::reshape),
    ("Where", arithmetic::choose),
];

/// Names of the operators that can be differentiated, in alphabetical order.
pub fn differentiable() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(op, _)| *op)
}

pub(crate) fn run(e: &mut Emit, call: &Call) -> Grads {
    if !call.node.is_standard() {
        return Err(Problem::NoRule);
    }
    let rule = RULES.iter().find(|(op, _)| *op == call.node.op);
    let (_, rule) = rule.ok_or(Problem::NoRule)?;
    rule(e, call)
}

impl Call {
    pub(crate) fn input(&self, index: usize) -> Result<ValueId, Problem> {
        self.node.inputs.get(index).copied().flatten().ok_or(Problem::NoOutput)
    }

    pub(crate) fn output(&self, index: usize) -> Result<ValueId, Problem> {
        self.node.outputs.get(index).copied().flatten().ok_or(Problem::NoOutput)
    }

    /// The gradient of the first output.
    pub(crate) fn grad(&self) -> Result<ValueId, Problem> {
        self.grads.first().copied().flatten().ok_or(Problem::NoOutput)
    }

    pub(crate) fn needs(&self, index: usize) -> bool {
        self.needs.get(index).copied().unwrap_or(false)
    }

    /// Integers that are a constant input since some opset and an attribute before it.
    pub(crate) fn ints(&self, e: &Emit, index: usize, attribute: &str) -> Option<Vec<i64>> {
        match self.node.inputs.get(index).copied().flatten() {
            Some(id) => constant_ints(e, id),
            None => self.node.ints(attribute).map(<[i64]>::to_vec),
        }
    }

    pub(crate) fn sizes(&self, attribute: &str, count: usize, default: usize) -> Vec<usize> {
        let given = self.node.ints(attribute).unwrap_or_default();
        (0..count).map(|i| given.get(i).map_or(default, |&v| v as usize)).collect()
    }

    /// No gradients at all.
    pub(crate) fn none(&self) -> Vec<Option<ValueId>> {
        vec![None; self.node.inputs.len()]
    }

    /// The gradient of the first input only.
    pub(crate) fn first(&self, grad: ValueId) -> Grads {
        let mut grads = self.none();
        grads[0] = Some(grad);
        Ok(grads)
    }
}

/// The whole numbers of a constant, an initialiser or the output of a `Constant` node.
pub(crate) fn constant_ints(e: &Emit, id: ValueId) -> Option<Vec<i64>> {
    if let Some(tensor) = e.graph.initialiser(id) {
        return tensor.to_i64();
    }
    let producer = e.graph.node(e.graph.producer(id)?);
    match (producer.op.as_str(), producer.attribute("value")?) {
        ("Constant", AttributeValue::Tensor(tensor)) => tensor.to_i64(),
        _ => None,
    }
}

/// The numbers of a constant.
pub(crate) fn constant_floats(e: &Emit, id: ValueId) -> Option<Vec<f32>> {
    floats_of(&e.graph, id)
}

/// The numbers of a constant of this graph.
pub(crate) fn floats_of(graph: &Graph, id: ValueId) -> Option<Vec<f32>> {
    if let Some(tensor) = graph.initialiser(id) {
        return tensor.to_f32();
    }
    let producer = graph.node(graph.producer(id)?);
    match (producer.op.as_str(), producer.attribute("value")?) {
        ("Constant", AttributeValue::Tensor(tensor)) => tensor.to_f32(),
        _ => None,
    }
}

/// A possibly negative axis as an index.
pub(crate) fn axis(axis: i64, rank: usize) -> usize {
    (if axis < 0 { axis + rank as i64 } else { axis }).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_listed_once_and_in_order() {
        let names: Vec<_> = differentiable().collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert!(names.contains(&"Conv"));
    }
}
