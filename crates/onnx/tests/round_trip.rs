//! Nothing is lost between reading and writing, and nothing foreign makes the reader panic.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_onnx::{
    Bytes, Dim, ElementType, Graph, Model, Node, ReadError, Shape, Tensor, TensorData, TensorType,
    WriteError, proto,
};
use proptest::prelude::*;
use prost::Message;

const FOREIGN: &[u8] = include_bytes!("../../../fixtures/onnx/foreign.onnx");

fn small() -> Model {
    let mut graph = Graph::new("small");
    let x = graph
        .add_input("x", TensorType::f32(Shape(vec![Dim::symbol("N"), Dim::Known(2)])))
        .unwrap();
    let w = graph.add_initialiser("w", Tensor::from_f32(vec![2], &[1.0, 2.0]).unwrap()).unwrap();
    let mut node = Node::new("Mul", &[x, w]);
    let types = nearkin_onnx::infer(&graph, &node).unwrap();
    let y = graph.add_value("y", types.into_iter().next()).unwrap();
    node.outputs = vec![Some(y)];
    graph.add_node(node).unwrap();
    graph.set_outputs(vec![y]);
    Model::new(graph)
}

/// The file with every tensor's data in `raw_data`, as the writer has it.
fn with_raw_data(mut file: proto::ModelProto) -> proto::ModelProto {
    let written = proto::ModelProto::decode(
        Model::from_bytes(file.encode_to_vec()).unwrap().to_bytes().unwrap().as_slice(),
    )
    .unwrap();
    let (graph, after) = (file.graph.as_mut().unwrap(), written.graph.unwrap());
    for (tensor, after) in graph.initializer.iter_mut().zip(after.initializer) {
        if !tensor.float_data.is_empty()
            || !tensor.int32_data.is_empty()
            || !tensor.int64_data.is_empty()
        {
            tensor.float_data.clear();
            tensor.int32_data.clear();
            tensor.int64_data.clear();
            tensor.raw_data = after.raw_data;
        }
    }
    file
}

#[test]
fn a_foreign_file_is_written_with_all_that_it_held() {
    let before = proto::ModelProto::decode(FOREIGN).unwrap();
    let model = Model::from_bytes(FOREIGN).unwrap();
    let after = proto::ModelProto::decode(model.to_bytes().unwrap().as_slice()).unwrap();
    let expected = with_raw_data(before);
    let (mut a, mut b) = (expected.clone(), after.clone());
    // The order of descriptions has no meaning.
    for graph in [a.graph.as_mut().unwrap(), b.graph.as_mut().unwrap()] {
        graph.value_info.sort_by_key(|info| info.name.clone());
    }
    // An absent domain is the empty one.
    for set in &mut a.opset_import {
        set.domain = set.domain.take().filter(|domain| !domain.is_empty());
    }
    assert_eq!(a, b);
    let fancy = model.graph.nodes().iter().find(|node| node.op == "Fancy").unwrap();
    assert_eq!(fancy.float("strength"), Some(0.25));
    assert!(fancy.attribute("table").is_some());
    assert_eq!(fancy.outputs.len(), 2);
    assert_eq!(fancy.outputs[1], None);
}

#[test]
fn typed_data_becomes_little_endian_bytes() {
    let model = Model::from_bytes(FOREIGN).unwrap();
    let tensor = |name: &str| model.graph.initialiser(model.graph.find(name).unwrap()).unwrap();
    assert_eq!(tensor("typed").to_f32(), Some(vec![0.5, -1.0, 2.0]));
    assert_eq!(tensor("ints").to_i64(), Some(vec![1, -1]));
    assert_eq!(tensor("half").element, ElementType::Float16);
    assert_eq!(tensor("half").data, TensorData::Inline(Bytes::from_static(&[0, 0x3c, 0, 0x40])));
    assert_eq!(tensor("raw").doc_string, "ones");
}

#[test]
fn what_was_written_is_written_again_to_the_byte() {
    for model in [small(), Model::from_bytes(FOREIGN).unwrap()] {
        let first = model.to_bytes().unwrap();
        let second = Model::from_bytes(first.clone()).unwrap();
        assert_eq!(second.to_bytes().unwrap(), first);
    }
}

#[test]
fn inferred_types_survive_the_file() {
    let model = Model::from_bytes(small().to_bytes().unwrap()).unwrap();
    let y = model.graph.find("y").unwrap();
    assert_eq!(model.graph.shape(y).unwrap().to_string(), "[N, 2]");
}

#[test]
fn external_data_goes_out_and_comes_back() {
    let model = small();
    let mut file = Vec::new();
    let bytes = model.to_bytes_with_external("small.onnx.data", 1, &mut file).unwrap();
    assert_eq!(file.len(), 8);
    let mut read = Model::from_bytes(bytes).unwrap();
    let w = read.graph.find("w").unwrap();
    assert!(matches!(&read.graph.initialiser(w).unwrap().data, TensorData::External(place)
        if place.location == "small.onnx.data" && place.length == Some(8)));
    read.load_external(|location, offset, length| -> Result<Bytes, ReadError> {
        assert_eq!((location, offset, length), ("small.onnx.data", 0, Some(8)));
        Ok(file.clone().into())
    })
    .unwrap();
    assert_eq!(read.graph.initialiser(w).unwrap().to_f32(), Some(vec![1.0, 2.0]));
    assert_eq!(read.to_bytes().unwrap(), model.to_bytes().unwrap());
}

#[test]
fn external_data_of_the_wrong_length_is_refused_by_name() {
    let bytes = small().to_bytes_with_external("d", 1, Vec::new()).unwrap();
    let mut read = Model::from_bytes(bytes).unwrap();
    let error = read
        .load_external(|_, _, _| -> Result<Bytes, ReadError> { Ok(Bytes::from_static(&[0; 7])) })
        .unwrap_err();
    assert!(
        error.to_string().contains("\"w\"") && error.to_string().contains("7 bytes"),
        "{error}"
    );
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    for location in ["../secret", "/etc/passwd", "a/../../b", "", "a\\b"] {
        let bytes = small().to_bytes_with_external(location, 1, Vec::new()).unwrap();
        let error = Model::from_bytes(bytes).unwrap_err();
        assert!(matches!(error, ReadError::Location { .. }), "{location}: {error}");
    }
}

#[test]
fn a_model_without_weights_is_not_written() {
    let mut graph = Graph::new("g");
    graph.add_initialiser("w", Tensor::absent(ElementType::Float, vec![2])).unwrap();
    let error = Model::new(graph).to_bytes().unwrap_err();
    assert!(matches!(error, WriteError::NoData(name) if name == "w"));
}

fn changed(change: impl Fn(&mut proto::ModelProto)) -> ReadError {
    let mut file = proto::ModelProto::decode(FOREIGN).unwrap();
    change(&mut file);
    Model::from_bytes(file.encode_to_vec()).unwrap_err()
}

#[test]
fn mistakes_are_named_with_their_place() {
    let error = changed(|file| file.ir_version = Some(99));
    assert!(error.to_string().contains("99"), "{error}");
    let error = changed(|file| file.graph = None);
    assert!(matches!(error, ReadError::NoGraph), "{error}");
    let error = changed(|file| file.graph.as_mut().unwrap().node[0].input[0] = "ghost".into());
    assert!(error.to_string().contains("scale") && error.to_string().contains("ghost"), "{error}");
    let error = changed(|file| file.graph.as_mut().unwrap().initializer[0].dims[0] = 4);
    assert!(
        error.to_string().contains("typed") && error.to_string().contains("16 bytes"),
        "{error}"
    );
    let error =
        changed(|file| file.graph.as_mut().unwrap().initializer[0].dims = vec![i64::MAX; 3]);
    assert!(error.to_string().contains("typed"), "{error}");
    let error = changed(|file| file.graph.as_mut().unwrap().initializer[0].data_type = Some(77));
    assert!(error.to_string().contains("typed") && error.to_string().contains("77"), "{error}");
    let error = changed(|file| {
        let graph = file.graph.as_mut().unwrap();
        graph.node[1].output[0] = "scaled".into();
    });
    assert!(error.to_string().contains("scaled"), "{error}");
    assert!(matches!(
        Model::from_bytes(&b"not a model at all"[..]),
        Err(ReadError::Malformed { .. })
    ));
}

proptest! {
    #[test]
    fn damaged_files_give_errors_not_panics(at in 0..FOREIGN.len(), byte: u8, keep in 0..FOREIGN.len()) {
        let mut bytes = FOREIGN.to_vec();
        bytes[at] = byte;
        let _ = Model::from_bytes(bytes.clone());
        bytes.truncate(keep);
        if let Ok(mut model) = Model::from_bytes(bytes) {
            let _ = model.graph.infer_types();
            let _ = model.to_bytes();
        }
    }

    #[test]
    fn dimension_names_survive(factor in 1usize..100, name in "[a-zA-Z_*0-9]{1,8}") {
        let dim = Dim::Symbol { name: name.as_str().into(), factor };
        let text = dim.to_parameter().unwrap();
        prop_assert_eq!(Dim::from_parameter(&text).to_parameter(), Some(text));
    }
}
