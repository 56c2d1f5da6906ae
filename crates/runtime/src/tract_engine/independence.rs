//! Proves that a model treats the images of a batch one by one, where that can be seen.
//!
//! tract runs convolutions faster image by image than as a batch, but a model may mix its images
//! (normalise over the batch, compare each with each). The proof goes by shapes: the batch is a
//! symbol, and a value belongs to it where exactly one of its dimensions is that symbol. An
//! operator that sums over the batch or joins along it loses the symbol; what keeps the symbol and
//! mixes all the same (softmax along the batch, a reshape that moves it) is looked for by name.
//! What is not known to be harmless counts as mixing. It deliberately proves nothing about models
//! that compute shapes while they run.

use nearkin_onnx::{Dim, Graph, Node, Shape, TensorType, ValueId};

/// Operators that work on each element, with broadcasting.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
    "Where",
];

/// Operators that treat their first axis as the batch.
const BATCHED: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "MaxPool",
    "Resize",
    "SpaceToDepth",
];

/// Operators that lose the batch's symbol if they touch its axis.
const LOSING: &[&str] = &[
    "Concat",
    "Expand",
    "Gather",
    "Pad",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Slice",
    "Split",
    "Tile",
    "Transpose",
];

/// True if every image's outputs depend on that image alone, as far as the graph shows.
pub(super) fn images_are_independent(graph: &Graph) -> bool {
    let mut graph = graph.clone();
    let Some(batch) = name_batch(&mut graph) else { return false };
    if graph.infer_types().is_err() {
        return false;
    }
    let axis = |value: ValueId| batch_axis(&graph, value, &batch);
    graph.nodes().iter().all(|node| keeps_apart(&graph, node, axis))
        && graph.outputs().iter().all(|&output| axis(output) == Some(Some(0)))
}

/// The symbol of the inputs' first dimension; one that is unknown is given a name.
fn name_batch(graph: &mut Graph) -> Option<Dim> {
    let inputs: Vec<ValueId> = graph
        .inputs()
        .iter()
        .copied()
        .filter(|&input| graph.initialiser(input).is_none())
        .collect();
    let mut batch = None;
    for input in inputs {
        let ty = graph.value(input).ty.clone()?;
        let mut dims = ty.shape?.0;
        let first = dims.first_mut()?;
        if *first == Dim::Unknown {
            *first = batch.clone().unwrap_or_else(|| Dim::symbol("batch"));
        }
        if !matches!(first, Dim::Symbol { factor: 1, .. })
            || batch.as_ref().is_some_and(|batch| batch != first)
        {
            return None;
        }
        batch = Some(first.clone());
        graph.set_type(input, TensorType { element: ty.element, shape: Some(Shape(dims)) });
    }
    batch
}

/// The axis of the batch in a value, `Some(None)` if it has none, `None` if that is not known.
fn batch_axis(graph: &Graph, value: ValueId, batch: &Dim) -> Option<Option<usize>> {
    let mut axis = None;
    for (i, dim) in graph.shape(value)?.0.iter().enumerate() {
        match dim {
            Dim::Known(_) => {}
            dim if dim == batch && axis.is_none() => axis = Some(i),
            _ => return None,
        }
    }
    Some(axis)
}

/// True if `node` passes every image through on its own.
fn keeps_apart(
    graph: &Graph,
    node: &Node,
    axis: impl Fn(ValueId) -> Option<Option<usize>>,
) -> bool {
    let inputs: Option<Vec<Option<usize>>> =
        node.inputs.iter().map(|input| input.map_or(Some(None), &axis)).collect();
    let outputs: Option<Vec<Option<usize>>> =
        node.outputs.iter().flatten().map(|&output| axis(output)).collect();
    let (Some(inputs), Some(outputs)) = (inputs, outputs) else { return false };
    if inputs.iter().all(Option::is_none) {
        return outputs.iter().all(Option::is_none);
    }
    // The batch reaches this node: it must come out again, whole.
    if !node.is_standard() || outputs.iter().any(Option::is_none) {
        return false;
    }
    let (Some(&first), Some(&result)) = (inputs.first(), outputs.first()) else { return false };
    let only_first = inputs[1..].iter().all(Option::is_none);
    let rank = || Some(graph.shape(node.inputs.first().copied().flatten()?)?.rank());
    // An axis attribute, counted from the front.
    let attribute = |default: i64| {
        let axis = node.int("axis").unwrap_or(default);
        let rank = i64::try_from(rank()?).ok()?;
        usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()
    };
    // Broadcasting aligns the last axes.
    let from_the_end = |value: Option<ValueId>| {
        let value = value?;
        Some(graph.shape(value)?.rank() - axis(value)??)
    };
    let whole = from_the_end(node.outputs[0]);
    match node.op.as_str() {
        op if ELEMENTWISE.contains(&op) => node
            .inputs
            .iter()
            .map(|&input| from_the_end(input))
            .all(|place| place.is_none() || place == whole),
        op if BATCHED.contains(&op) => {
            first == Some(0) && only_first && node.int("training_mode").unwrap_or(0) == 0
        }
        // Concat joins values of the batch with each other; the rest take the batch as data only.
        "Concat" => inputs.iter().all(|&input| input == result),
        op if LOSING.contains(&op) => only_first,
        "Gemm" => first == Some(0) && only_first && node.int("transA").unwrap_or(0) == 0,
        "MatMul" => true,
        // Before opset 13 softmax ran over this axis and all that follow.
        "Softmax" | "LogSoftmax" => first < attribute(-1),
        "LayerNormalization" => only_first && first < attribute(-1),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            only_first
                && leading(graph, node.inputs[0], first) == leading(graph, node.outputs[0], result)
        }
        _ => false,
    }
}

/// The number of elements before the batch's axis: it is the same where a reshape leaves it alone.
fn leading(graph: &Graph, value: Option<ValueId>, axis: Option<usize>) -> Option<usize> {
    graph.shape(value?)?.0[..axis?].iter().map(Dim::known).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_onnx::{AttributeValue, Tensor};

    struct Net(Graph, ValueId);

    impl Net {
        /// A net fed images `[N, 2, 4, 4]`.
        fn new() -> Self {
            let mut graph = Graph::new("net");
            let dims = [Dim::symbol("N"), Dim::Known(2), Dim::Known(4), Dim::Known(4)];
            let x = graph.add_input("x", TensorType::f32(Shape(dims.to_vec()))).unwrap();
            Self(graph, x)
        }

        fn op(mut self, op: &str, more: &[ValueId], attributes: &[(&str, AttributeValue)]) -> Self {
            let mut node = Node::new(op, &[&[self.1], more].concat());
            for (name, value) in attributes {
                node = node.with(name, value.clone());
            }
            let name = format!("v{}", self.0.nodes().len());
            self.1 = self.0.add_value(&name, None).unwrap();
            node.outputs = vec![Some(self.1)];
            self.0.add_node(node).unwrap();
            self
        }

        fn ints(&mut self, name: &str, values: &[i64]) -> ValueId {
            let tensor = Tensor::from_i64(vec![values.len()], values).unwrap();
            self.0.add_initialiser(name, tensor).unwrap()
        }

        fn floats(&mut self, name: &str, dims: &[usize]) -> ValueId {
            let values = vec![1.0; dims.iter().product()];
            let tensor = Tensor::from_f32(dims.to_vec(), &values).unwrap();
            self.0.add_initialiser(name, tensor).unwrap()
        }
    }

    fn check(mut net: Net, independent: bool) {
        net.0.set_outputs(vec![net.1]);
        assert_eq!(images_are_independent(&net.0), independent);
    }

    #[test]
    fn a_small_convolutional_net_keeps_its_images_apart() {
        let mut net = Net::new();
        let (conv, fc) = (net.floats("conv", &[3, 2, 3, 3]), net.floats("fc", &[5, 3]));
        let net =
            net.op("Conv", &[conv], &[]).op("Relu", &[], &[]).op("GlobalAveragePool", &[], &[]);
        let net = net.op("Flatten", &[], &[]).op("Gemm", &[fc], &[("transB", 1i64.into())]);
        check(net.op("Softmax", &[], &[]), true);
    }

    #[test]
    fn tokens_and_heads_keep_their_images_apart() {
        let mut net = Net::new();
        let shape = net.ints("shape", &[0, 2, 16]);
        let w = net.floats("w", &[16, 16]);
        let net = net.op("Reshape", &[shape], &[]).op("MatMul", &[w], &[]);
        let tokens = net.1;
        let net = net.op("Transpose", &[], &[("perm", vec![0i64, 2, 1].into())]);
        let net = net.op("MatMul", &[tokens], &[]).op("Softmax", &[], &[]);
        check(net, true);
    }

    #[test]
    fn softmax_along_the_batch_mixes() {
        check(Net::new().op("Softmax", &[], &[("axis", 0i64.into())]), false);
        check(Net::new().op("Softmax", &[], &[("axis", 1i64.into())]), true);
        check(Net::new().op("Softmax", &[], &[("axis", (-4i64).into())]), false);
    }

    #[test]
    fn a_mean_over_the_batch_mixes_even_beside_a_direct_path() {
        let mut net = Net::new();
        let axes = net.ints("axes", &[0]);
        let images = net.1;
        check(net.op("ReduceMean", &[axes], &[]).op("Sub", &[images], &[]), false);
    }

    #[test]
    fn a_reshape_that_moves_the_batch_mixes() {
        let mut net = Net::new();
        let (wrong, right) = (net.ints("wrong", &[32, -1]), net.ints("right", &[-1, 32]));
        let perm = || [("perm", vec![1i64, 0].into())];
        check(net.op("Reshape", &[wrong], &[]).op("Transpose", &[], &perm()), false);
        let mut net = Net::new();
        let shape = net.ints("right", &[-1, 32]);
        check(net.op("Reshape", &[shape], &[]), true);
        let _ = right;
    }

    #[test]
    fn a_table_of_similarities_mixes() {
        let net = Net::new().op("Flatten", &[], &[]);
        let flat = net.1;
        let net = net.op("Transpose", &[], &[("perm", vec![1i64, 0].into())]);
        let mut node = Node::new("MatMul", &[flat, net.1]);
        let mut net = net;
        let table = net.0.add_value("table", None).unwrap();
        node.outputs = vec![Some(table)];
        net.0.add_node(node).unwrap();
        net.1 = table;
        check(net, false);
    }

    #[test]
    fn an_unknown_operator_and_a_fixed_batch_prove_nothing() {
        check(Net::new().op("Mystery", &[], &[]), false);
        let mut graph = Graph::new("fixed");
        let x = graph.add_input("x", TensorType::f32(Shape::known(&[1, 2]))).unwrap();
        check(Net(graph, x).op("Relu", &[], &[]), false);
    }
}
