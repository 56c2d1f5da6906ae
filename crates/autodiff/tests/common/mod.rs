//! Gradients of a graph against central differences, both interpreted in f64.

use ndarray::{Array1, ArrayD, IxDyn};
use nearkin_autodiff::{BatchNorm, gradients};
use nearkin_onnx::{ElementType, Graph, Model, Node, Shape, Tensor, TensorType, ValueId};
use nearkin_testkit::interpreter::interpret;

/// Appends a node with one output.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn op(graph: &mut Graph, op: &str, inputs: &[ValueId], name: &str) -> ValueId {
    let mut node = Node::new(op, inputs);
    node.outputs = vec![None];
    let ty = nearkin_onnx::infer(graph, &node).unwrap().remove(0);
    let id = graph.add_value(name, Some(ty)).unwrap();
    node.outputs = vec![Some(id)];
    node.name = name.to_owned();
    graph.add_node(node).unwrap();
    id
}

/// Appends `loss` = Σ c·y over all f32 outputs, c irregular, so that no gradient is hidden; false if
/// no output is f32.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn append_loss(model: &mut Model) -> bool {
    let graph = &mut model.graph;
    let outputs = graph.outputs().to_vec();
    let mut total: Option<ValueId> = None;
    for (i, &output) in outputs.iter().enumerate() {
        let ty = graph.value(output).ty.clone().unwrap();
        if ty.element != ElementType::Float {
            continue;
        }
        let dims = ty.shape.unwrap().to_known().unwrap();
        let count = dims.iter().product::<usize>();
        let values: Vec<f32> =
            (0..count).map(|j| ((j * 7 + i * 3) % 11) as f32 / 8.0 - 0.5).collect();
        let tensor = Tensor::from_f32(dims, &values).unwrap();
        let factor = graph.add_initialiser(&format!("loss/factor{i}"), tensor).unwrap();
        let product = op(graph, "Mul", &[output, factor], &format!("loss/product{i}"));
        let sum = op(graph, "ReduceSum", &[product], &format!("loss/sum{i}"));
        let sum = {
            let shape = Tensor::from_i64(vec![1], &[1]).unwrap();
            let shape = graph.add_initialiser(&format!("loss/shape{i}"), shape).unwrap();
            op(graph, "Reshape", &[sum, shape], &format!("loss/flat{i}"))
        };
        total = Some(match total {
            None => sum,
            Some(before) => op(graph, "Add", &[before, sum], &format!("loss/total{i}")),
        });
    }
    let Some(total) = total else { return false };
    graph.rename(total, "loss").unwrap();
    graph.set_outputs(vec![total]);
    true
}

/// Compares the gradients of `loss` with respect to `wrt` at `feeds` with central differences.
///
/// The step is 1e-5 and the result is compared to 2e-6 of the largest gradient, or of 1.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn check(
    model: &Model,
    wrt: &[&str],
    feeds: &[(&str, ArrayD<f64>)],
    batch_norm: BatchNorm,
) {
    let batch = feeds.first().map_or(1, |(_, x)| x.shape().first().copied().unwrap_or(1));
    let found = gradients(model, "loss", wrt, batch, batch_norm).unwrap_or_else(|e| panic!("{e}"));
    // Constants that are differentiated are inputs now.
    let mut feeds = feeds.to_vec();
    for &name in wrt {
        let constant = model.graph.find(name).and_then(|id| model.graph.initialiser(id));
        if let Some(tensor) = constant {
            let values = tensor.to_f32().unwrap().into_iter().map(f64::from).collect();
            feeds.push((name, ArrayD::from_shape_vec(IxDyn(&tensor.dims), values).unwrap()));
        }
    }
    let given = interpret(&found.model.graph, &feeds).unwrap_or_else(|error| panic!("{error}"));
    // The forward graph alone is quicker; with statistics of the batch it is another function.
    let forward = match batch_norm {
        BatchNorm::Frozen => &model.graph,
        BatchNorm::OfBatch => &found.model.graph,
    };
    let loss = |feeds: &[(&str, ArrayD<f64>)]| {
        interpret(forward, feeds).unwrap()["loss"].iter().sum::<f64>()
    };
    for (&name, output) in wrt.iter().zip(&found.outputs) {
        let place = feeds.iter().position(|(known, _)| *known == name).unwrap();
        let gradient = &given[output];
        assert_eq!(gradient.shape(), feeds[place].1.shape(), "{name}");
        let largest = gradient.iter().fold(1.0_f64, |a, b| a.max(b.abs()));
        let count = feeds[place].1.len();
        // A prime stride visits a large tensor evenly.
        let stride = if count > 40 { count / 31 + 1 } else { 1 };
        for element in (0..count).step_by(stride) {
            let mut moved = feeds.clone();
            let mut at = |shift: f64| {
                let values = moved[place].1.as_slice_mut().unwrap();
                let before = values[element];
                values[element] = before + shift;
                let value = loss(&moved);
                moved[place].1.as_slice_mut().unwrap()[element] = before;
                value
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let found = gradient.iter().nth(element).copied().unwrap();
            assert!(
                (expected - found).abs() <= 2e-6 * largest,
                "gradient of {name}, element {element}: expected {expected}, found {found}"
            );
        }
    }
}

/// `count` irregular numbers in [−1, 1] without ties.
#[allow(dead_code, reason = "not every test makes its own numbers")]
pub(crate) fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // As f32 holds it, so that constants and inputs agree.
        f64::from(((state >> 40) as f32) / (1 << 23) as f32 - 1.0)
    };
    let values: Array1<f64> = (0..shape.iter().product()).map(|_| next()).collect();
    values.into_shape_with_order(IxDyn(shape)).unwrap()
}

#[allow(dead_code, reason = "not every test has inputs of its own")]
pub(crate) fn input(graph: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    graph.add_input(name, TensorType::f32(Shape::known(dims))).unwrap()
}
