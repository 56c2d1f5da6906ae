//! Finds the embedding of a model that has no output of that name.
//!
//! The embedding is the input of the last linear layer: from the output that holds the class
//! scores, back through what only reshapes or rescales them, to the product with a constant matrix
//! (a `Gemm`, or a `MatMul` with or without an added bias).

use crate::report::EmbeddingOrigin;
use nearkin_onnx::{Graph, Model, Node, ValueId};

/// The output that is taken as the embedding wherever a model has it.
pub(crate) const EMBEDDING: &str = "embedding";

/// Where the embedding is. `Err` lists the graph's outputs if `named` is not in the graph.
pub(crate) fn locate(graph: &Graph, named: Option<&str>) -> Result<EmbeddingOrigin, Vec<String>> {
    if let Some(name) = named {
        let value = graph.find(name).filter(|value| graph.producer(*value).is_some());
        return match value {
            Some(value) if graph.outputs().contains(&value) => {
                Ok(EmbeddingOrigin::Output { name: name.to_owned() })
            }
            Some(_) => Ok(EmbeddingOrigin::Named { name: name.to_owned() }),
            None => Err(output_names(graph)),
        };
    }
    if graph.outputs().iter().any(|&output| graph.value(output).name == EMBEDDING) {
        return Ok(EmbeddingOrigin::Output { name: EMBEDDING.to_owned() });
    }
    let mut outputs: Vec<ValueId> = graph.outputs().to_vec();
    outputs.sort_by_key(|&output| graph.value(output).name != "logits");
    let found = outputs.into_iter().find_map(|output| last_linear(graph, output));
    Ok(match found {
        Some((value, layer)) => EmbeddingOrigin::LastLinear {
            name: graph.value(value).name.clone(),
            layer: layer.describe(),
        },
        None => EmbeddingOrigin::None {
            reason: "no linear layer leads to its outputs; name the value to take".to_owned(),
        },
    })
}

/// The name of the value of `graph` that a session takes as the embedding, in the same order: `named`,
/// the output `embedding`, the input of the last linear layer.
///
/// # Errors
/// What is there instead, in words.
pub fn embedding_name(graph: &Graph, named: Option<&str>) -> Result<String, String> {
    match locate(graph, named) {
        Ok(EmbeddingOrigin::None { reason }) => Err(reason),
        Ok(origin) => Ok(origin.value().unwrap_or(EMBEDDING).to_owned()),
        Err(outputs) => {
            let named = named.unwrap_or(EMBEDDING);
            Err(format!(
                "the graph computes no value {named:?}; its outputs are {}",
                outputs.join(", ")
            ))
        }
    }
}

/// Makes `value` an output, of the type that can be inferred for it.
pub(crate) fn expose(model: &mut Model, value: ValueId) {
    if model.graph.value(value).ty.is_none() {
        let mut typed = model.graph.clone();
        // What cannot be inferred stays unknown; the engines infer on their own.
        if typed.infer_types().is_ok()
            && let Some(ty) = typed.value(value).ty.clone()
        {
            model.graph.set_type(value, ty);
        }
    }
    let mut outputs = model.graph.outputs().to_vec();
    outputs.push(value);
    model.graph.set_outputs(outputs);
}

fn output_names(graph: &Graph) -> Vec<String> {
    graph.outputs().iter().map(|&output| graph.value(output).name.clone()).collect()
}

/// The input of the linear layer that `output` comes from, and the layer.
fn last_linear(graph: &Graph, output: ValueId) -> Option<(ValueId, &Node)> {
    let mut value = output;
    loop {
        let node = graph.node(graph.producer(value)?);
        if !node.is_standard() {
            return None;
        }
        match node.op.as_str() {
            "Gemm" | "MatMul" => {
                let constant = is_constant(graph, *node.inputs.get(1)?);
                return constant.then(|| embedding_of(graph, node, 0)).flatten();
            }
            // A bias, a scale or a temperature: the other side is constant.
            "Add" | "Sub" | "Mul" | "Div" => {
                let &[left, right] = node.inputs.as_slice() else { return None };
                value = if is_constant(graph, right) { left? } else { right? };
                if !is_constant(graph, left) && !is_constant(graph, right) {
                    return None;
                }
            }
            "Softmax" | "LogSoftmax" | "Sigmoid" | "Identity" | "Flatten" | "Reshape"
            | "Squeeze" | "Unsqueeze" | "Cast" | "Dropout" | "Clip" => {
                value = node.inputs.first().copied().flatten()?;
            }
            _ => return None,
        }
    }
}

/// Input `index` of `node`, unless nothing computes it.
fn embedding_of<'a>(graph: &Graph, node: &'a Node, index: usize) -> Option<(ValueId, &'a Node)> {
    let value = node.inputs.get(index).copied().flatten()?;
    graph.producer(value).map(|_| (value, node))
}

/// True if the value is the same in every run.
fn is_constant(graph: &Graph, value: Option<ValueId>) -> bool {
    let Some(value) = value else { return false };
    if graph.initialiser(value).is_some() {
        return true;
    }
    let Some(producer) = graph.producer(value) else { return false };
    let node = graph.node(producer);
    match node.op.as_str() {
        "Constant" => true,
        "Transpose" | "Identity" | "Reshape" | "Cast" | "DequantizeLinear" => {
            node.inputs.iter().flatten().all(|&input| is_constant(graph, Some(input)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_onnx::{Shape, Tensor, TensorType};

    struct Net(Graph);

    impl Net {
        fn new() -> (Self, ValueId) {
            let mut graph = Graph::new("net");
            let x = graph.add_input("x", TensorType::f32(Shape::known(&[1, 3]))).unwrap();
            (Self(graph), x)
        }

        fn node(&mut self, op: &str, inputs: &[ValueId], output: &str) -> ValueId {
            let value = self.0.add_value(output, None).unwrap();
            let mut node = Node::new(op, inputs);
            node.outputs = vec![Some(value)];
            self.0.add_node(node).unwrap();
            value
        }

        fn weight(&mut self, name: &str, dims: &[usize]) -> ValueId {
            let values = vec![0.5; dims.iter().product()];
            self.0.add_initialiser(name, Tensor::from_f32(dims.to_vec(), &values).unwrap()).unwrap()
        }
    }

    fn check(outputs: &[ValueId], mut net: Net, expect: &str) {
        net.0.set_outputs(outputs.to_vec());
        match locate(&net.0, None).unwrap() {
            EmbeddingOrigin::LastLinear { name, .. } => assert_eq!(name, expect),
            other => assert_eq!(expect, "none", "{other:?}"),
        }
    }

    #[test]
    fn the_input_of_the_last_gemm_is_found_through_softmax() {
        let (mut net, x) = Net::new();
        let features = net.node("Relu", &[x], "features");
        let w = net.weight("w", &[3, 5]);
        let scores = net.node("Gemm", &[features, w], "scores");
        let output = net.node("Softmax", &[scores], "probabilities");
        check(&[output], net, "features");
    }

    #[test]
    fn a_matmul_with_a_bias_on_either_side_is_a_linear_layer() {
        for bias_first in [false, true] {
            let (mut net, x) = Net::new();
            let features = net.node("Relu", &[x], "features");
            let (w, b) = (net.weight("w", &[3, 5]), net.weight("b", &[5]));
            let product = net.node("MatMul", &[features, w], "product");
            let operands = if bias_first { [b, product] } else { [product, b] };
            let output = net.node("Add", &operands, "scores");
            check(&[output], net, "features");
        }
    }

    #[test]
    fn a_product_of_two_computed_values_is_no_linear_layer() {
        let (mut net, x) = Net::new();
        let (a, b) = (net.node("Relu", &[x], "a"), net.node("Sigmoid", &[x], "b"));
        let output = net.node("MatMul", &[a, b], "scores");
        check(&[output], net, "none");
    }

    #[test]
    fn a_linear_model_of_the_input_has_no_embedding() {
        let (mut net, x) = Net::new();
        let w = net.weight("w", &[3, 5]);
        let output = net.node("Gemm", &[x, w], "scores");
        check(&[output], net, "none");
    }

    #[test]
    fn the_output_called_logits_goes_before_others() {
        let (mut net, x) = Net::new();
        let (first, second) = (net.node("Relu", &[x], "first"), net.node("Tanh", &[x], "second"));
        let w = net.weight("w", &[3, 5]);
        let other = net.node("Gemm", &[first, w], "other");
        let logits = net.node("Gemm", &[second, w], "logits");
        check(&[other, logits], net, "second");
    }

    #[test]
    fn a_named_value_must_be_computed_by_the_graph() {
        let (mut net, x) = Net::new();
        let features = net.node("Relu", &[x], "features");
        let output = net.node("Tanh", &[features], "out");
        net.0.set_outputs(vec![output]);
        let named = |name: &str| locate(&net.0, Some(name));
        assert_eq!(named("features"), Ok(EmbeddingOrigin::Named { name: "features".into() }));
        assert_eq!(named("out"), Ok(EmbeddingOrigin::Output { name: "out".into() }));
        assert_eq!(named("x"), Err(vec!["out".to_owned()]));
        assert_eq!(named("typo"), Err(vec!["out".to_owned()]));
    }
}
