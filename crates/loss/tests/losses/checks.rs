//! One check for all losses: the gradient against differences of the value, and the ONNX form
//! against both. Everything is in f64.

use ndarray::{Array1, Array2, ArrayD, Dimension, Ix2, IxDyn};
use nearkin_loss::{Graded, GradedPair, LossError};
#[cfg(feature = "onnx")]
use nearkin_nn::{Scope, Value};

/// A loss and its gradients, in the order of its inputs.
pub(crate) type Result = (f64, Vec<ArrayD<f64>>);

/// An input that is not differentiated, such as labels.
#[cfg_attr(not(feature = "onnx"), expect(dead_code, reason = "only graphs are fed"))]
pub(crate) enum Feed {
    Float(ArrayD<f64>),
    Int(ArrayD<f64>),
}

pub(crate) fn float<D: Dimension>(x: &ndarray::Array<f64, D>) -> Feed {
    Feed::Float(x.clone().into_dyn())
}

pub(crate) fn ints(x: &[usize]) -> Feed {
    Feed::Int(x.iter().map(|&v| v as f64).collect::<Array1<f64>>().into_dyn())
}

pub(crate) fn one<D: Dimension>(found: std::result::Result<Graded<f64, D>, LossError>) -> Result {
    let found = found.unwrap();
    (found.value, vec![found.gradient.into_dyn()])
}

pub(crate) fn two<D: Dimension>(
    found: std::result::Result<GradedPair<f64, D>, LossError>,
) -> Result {
    let found = found.unwrap();
    (found.value, vec![found.first.into_dyn(), found.second.into_dyn()])
}

pub(crate) fn matrix(x: &ArrayD<f64>) -> Array2<f64> {
    x.clone().into_dimensionality::<Ix2>().unwrap()
}

/// Irregular numbers in [−1, 1) that f32 holds exactly.
pub(crate) fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(((state >> 40) as f32) / (1 << 23) as f32 - 1.0)
    };
    for _ in 0..20 {
        next();
    }
    let values: Array1<f64> = (0..shape.iter().product()).map(|_| next()).collect();
    values.into_shape_with_order(IxDyn(shape)).unwrap()
}

/// Differences of the fourth order: exact to h⁴.
fn differences(
    inputs: &[ArrayD<f64>],
    place: usize,
    value: impl Fn(&[ArrayD<f64>]) -> f64,
) -> ArrayD<f64> {
    let step = 1e-4;
    let mut moved = inputs.to_vec();
    let slopes = (0..inputs[place].len()).map(|element| {
        let before = inputs[place].as_slice().unwrap()[element];
        let mut at = |steps: f64| {
            moved[place].as_slice_mut().unwrap()[element] = before + steps * step;
            let found = value(&moved);
            moved[place].as_slice_mut().unwrap()[element] = before;
            found
        };
        (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step)
    });
    let slopes: Vec<f64> = slopes.collect();
    ArrayD::from_shape_vec(inputs[place].raw_dim(), slopes).unwrap()
}

pub(crate) fn assert_close(what: &str, found: &ArrayD<f64>, expected: &ArrayD<f64>, share: f64) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= share * largest,
            "{what}, element {index}: expected {expected}, found {found}"
        );
    }
}

/// Compares gradients with differences of the value.
pub(crate) fn check(inputs: &[ArrayD<f64>], loss: impl Fn(&[ArrayD<f64>]) -> Result) {
    let (value, gradients) = loss(inputs);
    assert!(value.is_finite());
    assert_eq!(gradients.len(), inputs.len());
    for (place, gradient) in gradients.iter().enumerate() {
        let expected = differences(inputs, place, |inputs| loss(inputs).0);
        assert_close(&format!("gradient of input {place}"), gradient, &expected, 1e-7);
    }
}

/// [`check`], and the same of what `build` emits for these inputs and further feeds.
#[cfg(feature = "onnx")]
pub(crate) fn check_both(
    inputs: &[ArrayD<f64>],
    feeds: &[Feed],
    loss: impl Fn(&[ArrayD<f64>]) -> Result,
    build: impl Fn(&Scope, &[Value], &[Value]) -> Value,
) {
    check_both_within(1e-9, inputs, feeds, loss, build);
}

/// [`check_both`], where settings are rounded to f32 and the forms agree to `share` only.
#[cfg(feature = "onnx")]
pub(crate) fn check_both_within(
    share: f64,
    inputs: &[ArrayD<f64>],
    feeds: &[Feed],
    loss: impl Fn(&[ArrayD<f64>]) -> Result,
    build: impl Fn(&Scope, &[Value], &[Value]) -> Value,
) {
    check(inputs, &loss);
    check_emitted(Some(share), share, inputs, feeds, &loss, &build);
}

/// Compares what `build` emits with the array form: values to `share`, gradients to `differentiate`,
/// which is none where a side holds still on purpose: then differences are not the gradient.
#[cfg(feature = "onnx")]
pub(crate) fn check_emitted(
    differentiate: Option<f64>,
    share: f64,
    inputs: &[ArrayD<f64>],
    feeds: &[Feed],
    loss: &impl Fn(&[ArrayD<f64>]) -> Result,
    build: &impl Fn(&Scope, &[Value], &[Value]) -> Value,
) {
    use nearkin_onnx::ElementType;
    let (value, gradients) = loss(inputs);
    for symbolic in [false, true] {
        let s = Scope::over(nearkin_onnx::Graph::new("loss"));
        let input = |name: String, x: &ArrayD<f64>, element, open| {
            s.input(&name, typed(x.shape(), element, open))
        };
        // Centres and proxies beside a batch keep their number.
        let batch = inputs[0].shape()[0];
        let values: Vec<_> = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let open = symbolic && x.shape()[0] == batch;
                input(format!("input{i}"), x, ElementType::Float, open)
            })
            .collect();
        let others: Vec<_> = feeds
            .iter()
            .enumerate()
            .map(|(i, feed)| match feed {
                Feed::Float(x) => input(format!("feed{i}"), x, ElementType::Float, symbolic),
                Feed::Int(x) => input(format!("feed{i}"), x, ElementType::Int64, symbolic),
            })
            .collect();
        let emitted = build(&s, &values, &others);
        s.rename(emitted, "loss");
        let (dims, id) = (s.dims(emitted), emitted.id());
        let mut graph = s.finish().unwrap_or_else(|error| panic!("{error}"));
        assert!(dims.is_empty(), "a scalar, not {dims:?}");
        graph.set_outputs(vec![id.unwrap()]);
        let run = |inputs: &[ArrayD<f64>]| interpret(&graph, inputs, feeds);
        let found = run(inputs);
        assert!(
            (found - value).abs() <= share * value.abs().max(1e-3),
            "emitted: {found}, of arrays: {value}"
        );
        if let (false, Some(share)) = (symbolic, differentiate) {
            for (place, gradient) in gradients.iter().enumerate() {
                let expected = differences(inputs, place, run);
                assert_close(
                    &format!("emitted, input {place}"),
                    gradient,
                    &expected,
                    share.max(1e-7),
                );
            }
        }
    }
}

#[cfg(feature = "onnx")]
fn interpret(graph: &nearkin_onnx::Graph, inputs: &[ArrayD<f64>], feeds: &[Feed]) -> f64 {
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("input{i}")).collect();
    let others: Vec<String> = (0..feeds.len()).map(|i| format!("feed{i}")).collect();
    let mut fed: Vec<(&str, ArrayD<f64>)> =
        names.iter().map(String::as_str).zip(inputs.iter().cloned()).collect();
    for (name, feed) in others.iter().zip(feeds) {
        let (Feed::Float(x) | Feed::Int(x)) = feed;
        fed.push((name, x.clone()));
    }
    let found = nearkin_testkit::interpreter::interpret(graph, &fed);
    found.unwrap_or_else(|error| panic!("{error}"))["loss"].sum()
}

/// The first dimension as a symbol of its size, so that batches and edges differ.
#[cfg(feature = "onnx")]
fn typed(
    shape: &[usize],
    element: nearkin_onnx::ElementType,
    symbolic: bool,
) -> nearkin_onnx::TensorType {
    use nearkin_onnx::{Dim, Shape, TensorType};
    let mut dims = Shape::known(shape);
    if let (true, Some(first)) = (symbolic, dims.0.first_mut()) {
        *first = Dim::symbol(&format!("N{}", shape[0]));
    }
    TensorType { element, shape: Some(dims) }
}
