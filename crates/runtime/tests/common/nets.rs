//! Small models, built for the tests.

#![allow(dead_code, reason = "not every test target uses every model")]

use nearkin_onnx::{Dim, Graph, Model, Node, Shape, Tensor, TensorType, ValueId};

/// A graph that grows at its end.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    last: ValueId,
}

impl Net {
    /// A net fed `input` of these dimensions.
    pub(crate) fn new(dims: &[Dim]) -> Self {
        let mut graph = Graph::new("net");
        let last = graph.add_input("input", TensorType::f32(Shape(dims.to_vec()))).unwrap();
        Self { graph, last }
    }

    /// Applies `op` to the last value and these constants.
    pub(crate) fn op(mut self, op: &str, weights: &[&[usize]], output: &str) -> Self {
        let mut inputs = vec![self.last];
        for (i, dims) in weights.iter().enumerate() {
            let count: usize = dims.iter().product();
            let values: Vec<f32> =
                (0..count).map(|i| ((i * 7 + 3) % 11) as f32 / 11.0 - 0.4).collect();
            let tensor = Tensor::from_f32(dims.to_vec(), &values).unwrap();
            inputs.push(self.graph.add_initialiser(&format!("{output}.{i}"), tensor).unwrap());
        }
        let value = self.graph.add_value(output, None).unwrap();
        let mut node = Node::new(op, &inputs);
        node.name = format!("node {output}");
        node.outputs = vec![Some(value)];
        self.graph.add_node(node).unwrap();
        self.last = value;
        self
    }

    /// The model with these values as outputs.
    pub(crate) fn model(mut self, outputs: &[&str]) -> Model {
        self.graph.infer_types().unwrap();
        let outputs = outputs.iter().map(|name| self.graph.find(name).unwrap()).collect();
        self.graph.set_outputs(outputs);
        Model::new(self.graph)
    }
}

/// A classifier as others export it: images `[batch, 2, 6, 6]` in, only probabilities out.
pub(crate) fn classifier(batch: Dim) -> Net {
    Net::new(&[batch, Dim::Known(2), Dim::Known(6), Dim::Known(6)])
        .op("Conv", &[&[3, 2, 3, 3], &[3]], "conv")
        .op("Relu", &[], "relu")
        .op("GlobalAveragePool", &[], "pool")
        .op("Flatten", &[], "features")
        .op("Gemm", &[&[3, 4], &[4]], "scores")
        .op("Softmax", &[], "probabilities")
}

/// A classifier without convolutions: `[N, 5]` in, `logits` out.
pub(crate) fn dense() -> Net {
    Net::new(&[Dim::symbol("N"), Dim::Known(5)])
        .op("MatMul", &[&[5, 6]], "hidden")
        .op("Tanh", &[], "active")
        .op("MatMul", &[&[6, 3]], "product")
        .op("Add", &[&[3]], "logits")
}
