//! Building on a graph that is there already, as a loss does on a network's outputs.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_nn::{Scope, Value};
use nearkin_onnx::{Dim, ElementType, Graph, Shape, TensorType};

/// A graph with the input `logits [N, 3]`.
fn network() -> Graph {
    let mut graph = Graph::new("network");
    let shape = Shape(vec![Dim::symbol("N"), Dim::Known(3)]);
    let logits = graph.add_input("logits", TensorType::f32(shape)).unwrap();
    graph.set_outputs(vec![logits]);
    graph
}

#[test]
fn names_of_the_graph_are_not_given_again() {
    let twice = |graph: Graph| {
        let logits = Value::of(graph.find("logits").unwrap());
        let s = Scope::over(graph);
        s.scale(s.exp(logits), 2.0);
        s.finish().unwrap()
    };
    let graph = twice(twice(network()));
    let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["Exp_1", "Mul_2", "Exp_2", "Mul_3"]);
    assert_eq!(graph.initialisers().len(), 2);
}

#[test]
fn labels_become_rows_of_one_and_zero() {
    let graph = network();
    let s = Scope::over(graph);
    let ty = TensorType { element: ElementType::Int64, shape: Some(Shape(vec![Dim::symbol("N")])) };
    let labels = s.input("labels", ty);
    let rows = s.one_hot(labels, 3);
    assert_eq!(s.dims(rows), [Dim::symbol("N"), Dim::Known(3)]);
    s.rename(rows, "targets");
    assert!(s.finish().unwrap().find("targets").is_some());
}

#[test]
fn a_mistake_is_told_at_the_end() {
    let s = Scope::over(network());
    s.input("logits", TensorType::f32(Shape::known(&[1])));
    let error = s.finish().unwrap_err().to_string();
    assert!(error.contains("\"logits\" exists already"), "{error}");
}

#[test]
fn marks_of_what_training_drops_change_no_graph() {
    let graph = network();
    let logits = Value::of(graph.find("logits").unwrap());
    let s = Scope::over(graph.clone());
    assert_eq!(s.drop_path(logits), logits);
    assert_eq!(s.dropout(logits), logits);
    assert_eq!(s.finish().unwrap(), graph);
}
