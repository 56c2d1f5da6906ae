//! Shape inference against ONNX's operator documentation.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_onnx::{
    AttributeValue, Dim, Graph, InferError, Node, Shape, Tensor, TensorType, infer,
};

/// A shape such as `N,3,8`, where letters are symbols and `4*N` is four times one.
fn shape(text: &str) -> Shape {
    let dims = text.split(',').filter(|part| !part.is_empty());
    Shape(
        dims.map(|part| part.parse().map_or_else(|_| Dim::from_parameter(part), Dim::Known))
            .collect(),
    )
}

enum In<'a> {
    Shape(&'a str),
    Ints(&'a [i64]),
}

fn run(
    op: &str,
    inputs: &[In<'_>],
    attributes: &[(&str, AttributeValue)],
    outputs: usize,
) -> Result<Vec<String>, InferError> {
    let mut graph = Graph::new("g");
    let ids: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| match input {
            In::Shape(text) => {
                graph.add_input(&format!("x{i}"), TensorType::f32(shape(text))).unwrap()
            }
            In::Ints(values) => graph
                .add_initialiser(
                    &format!("c{i}"),
                    Tensor::from_i64(vec![values.len()], values).unwrap(),
                )
                .unwrap(),
        })
        .collect();
    let mut node = Node::new(op, &ids);
    for (name, value) in attributes {
        node = node.with(name, value.clone());
    }
    node.outputs = vec![None; outputs];
    let types = infer(&graph, &node)?;
    Ok(types.into_iter().take(outputs).map(|ty| ty.shape.unwrap().to_string()).collect())
}

fn check(op: &str, inputs: &[In<'_>], attributes: &[(&str, AttributeValue)], expect: &[&str]) {
    assert_eq!(run(op, inputs, attributes, expect.len()).unwrap(), expect, "{op}");
}

fn refused(op: &str, inputs: &[In<'_>], attributes: &[(&str, AttributeValue)], says: &str) {
    let error = run(op, inputs, attributes, 1).unwrap_err().to_string();
    assert!(error.contains(says), "{op}: {error}");
}

fn ints(values: &[i64]) -> AttributeValue {
    values.to_vec().into()
}

use In::{Ints, Shape as S};

#[test]
fn windows_slide_as_the_specification_says() {
    let attributes = [("pads", ints(&[3; 4])), ("strides", ints(&[2; 2]))];
    check("Conv", &[S("N,3,224,224"), S("64,3,7,7")], &attributes, &["[N, 64, 112, 112]"]);
    check(
        "Conv",
        &[S("N,8,9,9"), S("16,4,3,3")],
        &[("group", 2i64.into()), ("dilations", ints(&[2, 2]))],
        &["[N, 16, 5, 5]"],
    );
    let pool = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    check("AveragePool", &[S("N,8,7,7")], &pool, &["[N, 8, 3, 3]"]);
    let ceil = [pool[0].clone(), pool[1].clone(), ("ceil_mode", 1i64.into())];
    check("AveragePool", &[S("N,8,7,7")], &ceil, &["[N, 8, 4, 4]"]);
    // A window that would begin in the padding behind the image is dropped.
    let padded = [
        ("kernel_shape", ints(&[2, 2])),
        ("strides", ints(&[3, 3])),
        ("pads", ints(&[0, 0, 1, 1])),
        ("ceil_mode", 1i64.into()),
    ];
    check("MaxPool", &[S("N,8,3,3")], &padded, &["[N, 8, 1, 1]", "[N, 8, 1, 1]"]);
    check("GlobalAveragePool", &[S("N,8,7,7")], &[], &["[N, 8, 1, 1]"]);
    check(
        "ConvTranspose",
        &[S("N,8,7,7"), S("8,4,3,3")],
        &[("strides", ints(&[2, 2]))],
        &["[N, 4, 15, 15]"],
    );
}

#[test]
fn convolutions_that_do_not_fit_are_refused() {
    refused("Conv", &[S("1,64"), S("8,64,3,3")], &[], "[N, C, H, W], got [1, 64]");
    refused("Conv", &[S("N,4,8,8"), S("8,3,3,3")], &[], "3 channels");
    refused("Conv", &[S("N,3,2,2"), S("8,3,3,3")], &[], "at least 3 pixels");
    refused("Conv", &[S("N,3,8,8"), S("8,3,3,3"), S("7")], &[], "bias [8]");
    refused("Conv", &[S("N,3,8,8"), S("8,3,3,3")], &[("strides", ints(&[0, 0]))], "≥ 1");
}

#[test]
fn products_follow_numpy() {
    check("MatMul", &[S("N,6,197,64"), S("N,6,64,197")], &[], &["[N, 6, 197, 197]"]);
    check("MatMul", &[S("N,5,3"), S("3,7")], &[], &["[N, 5, 7]"]);
    check("MatMul", &[S("3"), S("N,3,7")], &[], &["[N, 7]"]);
    check("Gemm", &[S("N,3"), S("7,3"), S("7")], &[("transB", 1i64.into())], &["[N, 7]"]);
    refused("Gemm", &[S("N,3"), S("7,4")], &[("transB", 1i64.into())], "[N, 3] × [7, 4]ᵀ");
    refused("MatMul", &[S("N,5,3"), S("4,7")], &[], "inner sizes");
}

#[test]
fn broadcasting_keeps_the_batch() {
    check("Add", &[S("N,1,8"), S("4,1")], &[], &["[N, 4, 8]"]);
    check("Mul", &[S("N,3"), S("N,3")], &[], &["[N, 3]"]);
    refused("Add", &[S("N,3"), S("4")], &[], "[N, 3] and [4]");
}

#[test]
fn moves_keep_the_elements() {
    check("Reshape", &[S("N,197,576"), Ints(&[0, 197, 9, 64])], &[], &["[N, 197, 9, 64]"]);
    check("Reshape", &[S("N,56,56,96"), Ints(&[-1, 7, 7, 96])], &[], &["[64*N, 7, 7, 96]"]);
    check("Reshape", &[S("64*N,7,7,96"), Ints(&[-1, 56, 56, 96])], &[], &["[N, 56, 56, 96]"]);
    refused("Reshape", &[S("N,6"), Ints(&[0, 4])], &[], "[N, 6] elements");
    refused("Reshape", &[S("2,6"), Ints(&[5, -1])], &[], "[2, 6] elements");
    check("Transpose", &[S("N,3,4")], &[("perm", ints(&[0, 2, 1]))], &["[N, 4, 3]"]);
    refused("Transpose", &[S("N,3,4")], &[("perm", ints(&[0, 1, 1]))], "an order of 3 axes");
    check("Flatten", &[S("N,3,4")], &[], &["[N, 12]"]);
    check("Concat", &[S("N,1,8"), S("N,4,8")], &[("axis", 1i64.into())], &["[N, 5, 8]"]);
    check("Split", &[S("N,9"), Ints(&[4, 5])], &[("axis", 1i64.into())], &["[N, 4]", "[N, 5]"]);
    refused("Split", &[S("N,9"), Ints(&[4, 4])], &[("axis", 1i64.into())], "parts");
    check("Slice", &[S("N,10"), Ints(&[1]), Ints(&[-1]), Ints(&[1]), Ints(&[3])], &[], &["[N, 3]"]);
    check(
        "Slice",
        &[S("N,10"), Ints(&[-1]), Ints(&[i64::MIN]), Ints(&[1]), Ints(&[-4])],
        &[],
        &["[N, 3]"],
    );
    check("Squeeze", &[S("N,1,4"), Ints(&[1])], &[], &["[N, 4]"]);
    refused("Squeeze", &[S("N,2,4"), Ints(&[1])], &[], "size 1 at axis 1");
    check("Unsqueeze", &[S("N,4"), Ints(&[0, 3])], &[], &["[1, N, 4, 1]"]);
    check("Expand", &[S("1,4"), Ints(&[3, 1])], &[], &["[3, 4]"]);
    check("Pad", &[S("N,4"), Ints(&[1, 2]), S(""), Ints(&[1])], &[], &["[N, 7]"]);
    check("Gather", &[S("N,9,4"), Ints(&[0, 2])], &[("axis", 1i64.into())], &["[N, 2, 4]"]);
}

#[test]
fn reductions_drop_or_keep_their_axes() {
    check("ReduceMean", &[S("N,4,5"), Ints(&[-1])], &[], &["[N, 4, 1]"]);
    check("ReduceMean", &[S("N,4,5"), Ints(&[1])], &[("keepdims", 0i64.into())], &["[N, 5]"]);
    check("ReduceSum", &[S("N,4,5")], &[], &["[1, 1, 1]"]);
    check(
        "LayerNormalization",
        &[S("N,4,5"), S("5"), S("5")],
        &[],
        &["[N, 4, 5]", "[N, 4, 1]", "[N, 4, 1]"],
    );
    refused("LayerNormalization", &[S("N,4,5"), S("4")], &[], "a scale of [5]");
}

#[test]
fn an_operator_without_a_rule_is_named() {
    refused("Einsum", &[S("N,4")], &[], "Einsum");
}
