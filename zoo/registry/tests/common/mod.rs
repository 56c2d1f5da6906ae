//! What the tests of training share.

use nearkin_loss::{CrossEntropy, onnx};
use nearkin_nn::{LOGITS, Scope, Value};
use nearkin_onnx::{Dim, ElementType, Graph, Model, Shape, TensorType};

/// The graph with the cross-entropy of its logits and `labels [N]` as one more output, `loss`.
pub(crate) fn with_loss(graph: &Graph) -> Model {
    let logits = Value::of(graph.find(LOGITS).unwrap());
    let s = Scope::over(graph.clone());
    let labels =
        TensorType { element: ElementType::Int64, shape: Some(Shape(vec![Dim::symbol("N")])) };
    let labels = s.input("labels", labels);
    let loss = onnx::cross_entropy(&s, logits, labels, &CrossEntropy::default());
    let loss = s.rename(loss, "loss").id().unwrap();
    let mut graph = s.finish().unwrap();
    graph.set_outputs(vec![loss]);
    Model::new(graph)
}
