//! The interpreter's blocked operators against what ONNX Runtime gave, and refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::ArrayD;
use nearkin_onnx::{Attribute, AttributeValue, Bytes, Graph, Node, Shape, TensorType};
use nearkin_testkit::interpreter::interpret_blocked;
use serde_json::Value;

/// The formula of `fixtures/nchwc/make.py`.
fn values(dims: &[usize]) -> ArrayD<f64> {
    let count: usize = dims.iter().product();
    let numbers = (0..count).map(|i| (((7 * i + 3) % 11) as f64 - 5.0) / 4.0).collect();
    ArrayD::from_shape_vec(dims, numbers).unwrap()
}

fn dims(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

fn attribute(name: &str, value: &Value) -> Attribute {
    let value = match value {
        Value::String(text) => AttributeValue::String(Bytes::from(text.clone())),
        Value::Number(number) => AttributeValue::Int(number.as_i64().unwrap()),
        Value::Array(list) if name == "activation_params" => {
            AttributeValue::Floats(list.iter().map(|v| v.as_f64().unwrap() as f32).collect())
        }
        other => AttributeValue::Ints(dims(other).iter().map(|&d| d as i64).collect()),
    };
    Attribute { name: name.to_owned(), value }
}

#[test]
fn blocked_operators_give_what_onnx_runtime_gives() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/nchwc/operators.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let block = file["block"].as_u64().unwrap() as usize;
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.iter().filter(|case| case["refused"] == true).count(), 3);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut graph = Graph::new(name);
        let mut node = Node::new(case["op"].as_str().unwrap(), &[]);
        node.domain = "com.microsoft.nchwc".to_owned();
        let mut feeds = Vec::new();
        for (i, input) in case["inputs"].as_array().unwrap().iter().enumerate() {
            if input.is_null() {
                node.inputs.push(None);
                continue;
            }
            let dims = dims(input);
            let ty = TensorType::f32(Shape::known(&dims));
            node.inputs.push(Some(graph.add_input(&format!("x{i}"), ty).unwrap()));
            feeds.push((format!("x{i}"), values(&dims)));
        }
        let attributes = case["attributes"].as_object().unwrap();
        node.attributes = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        let y = graph.add_value("y", None).unwrap();
        node.outputs = vec![Some(y)];
        graph.add_node(node).unwrap();
        graph.set_outputs(vec![y]);
        let feeds: Vec<_> = feeds.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
        let found = interpret_blocked(&graph, &feeds, block);
        if case["refused"] == true {
            assert!(found.is_err(), "{name}: {found:?}");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = case["output"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let expected = ArrayD::from_shape_vec(dims(&case["dims"]), expected.collect()).unwrap();
        assert_eq!(found["y"].shape(), expected.shape(), "{name}");
        let error =
            found["y"].iter().zip(&expected).fold(0.0_f64, |a, (x, y)| a.max((x - y).abs()));
        assert!(error <= 0.0, "{name}: {error:e}");
    }
}
