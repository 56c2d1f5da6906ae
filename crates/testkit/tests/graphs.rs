//! The graph crate reads every case, and infers the shapes that ONNX's reference found.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nearkin_onnx::{Dim, Model};
use nearkin_testkit::conformance::{Case, Value};

fn shape(value: &Value) -> &[usize] {
    match value {
        Value::F32(array) => array.shape(),
        Value::I64(array) => array.shape(),
    }
}

#[test]
fn every_case_is_read_and_written_again_alike() {
    for case in Case::all().unwrap() {
        let model = Model::from_bytes(case.model.clone()).unwrap();
        let written = model.to_bytes().unwrap();
        let again = Model::from_bytes(written.clone()).unwrap();
        assert_eq!(again.to_bytes().unwrap(), written, "{}", case.name);
        assert_eq!(again, model, "{}", case.name);
    }
}

#[test]
fn inferred_shapes_are_those_of_the_expected_outputs() {
    let (mut told, mut all) = (0, 0);
    for case in Case::all().unwrap() {
        let mut model = Model::from_bytes(case.model.clone()).unwrap();
        let outputs = model.graph.outputs().to_vec();
        // The file tells the outputs' shapes: forget them.
        for &output in &outputs {
            let mut ty = model.graph.value(output).ty.clone().unwrap();
            ty.shape = None;
            model.graph.set_type(output, ty);
        }
        model.graph.infer_types().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let batch = case.inputs.first().and_then(|(_, value)| shape(value).first()).copied();
        for output in outputs {
            all += 1;
            let name = &model.graph.value(output).name;
            let (_, expected) = case.outputs.iter().find(|(known, _)| known == name).unwrap();
            let Some(inferred) = model.graph.shape(output) else { continue };
            told += 1;
            let sizes: Vec<Option<usize>> = inferred
                .0
                .iter()
                .map(|dim| match dim {
                    Dim::Known(size) => Some(*size),
                    Dim::Symbol { factor, .. } => batch.map(|batch| factor * batch),
                    Dim::Unknown => None,
                })
                .collect();
            let found = shape(expected);
            let fits = sizes.len() == found.len()
                && sizes
                    .iter()
                    .zip(found)
                    .all(|(size, found)| size.is_none_or(|size| size == *found));
            assert!(fits, "{}: inferred {inferred}, found {found:?}", case.name);
        }
    }
    // Operators without a rule are those that the zoo does not write.
    assert!(told * 10 >= all * 8, "shapes of only {told} of {all} outputs were inferred");
}
