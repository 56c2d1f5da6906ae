//! Gradients of small networks of every family are PyTorch's.
//!
//! In f64 the graph, interpreted, gives PyTorch's gradients of f64 to rounding. In f32, interpreted
//! with every output rounded and on ONNX Runtime, there in both lowerings, it is at most twice as far
//! from them as PyTorch's own f32 is: the median over a network's parameters, and the largest.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it leaves out"
)]

#[path = "../common/mod.rs"]
mod common;
mod golden;
mod models;

use golden::{Errors, Golden};
use ndarray::{Array1, ArrayD, IxDyn};
use nearkin_autodiff::{BatchNorm, Gradients, Lowering, gradients_lowered};
use nearkin_nn::reference::fill;
use nearkin_nn::{INPUT, Weights};
use nearkin_runtime::{Device, EngineChoice, Input, Library, Options, Session, TensorView};
use nearkin_testkit::interpreter::{interpret, interpret_rounded};

/// Constants of a graph are f32: 1/9 of an average, √2 of a GELU.
const ROUNDED_CONSTANTS: f64 = 2e-7;
/// Nothing but f64's own rounding, as ill-conditioned as the network is.
const EXACT: f64 = 1e-10;
/// What an engine's own exponential may be off by, however small a network is.
const FEW_ROUNDINGS: f64 = 4.0 * f32::EPSILON as f64;

/// A case with its graph and what that is fed, all of it exact in f32.
struct Network {
    golden: Golden,
    graph: Gradients,
    /// The same in the operators that are quickest on this processor.
    blocked: Gradients,
    feeds: Vec<(String, ArrayD<f64>)>,
}

fn network(golden: Golden) -> Network {
    let architecture = models::build(&golden.name, golden.side);
    let weights = Weights::formula(&architecture, None);
    let model = common::with_loss(&architecture.to_model(&weights).unwrap().graph);
    let names: Vec<&str> = golden.gradients.iter().map(|g| g.name.as_str()).collect();
    let trained = architecture.parameters().iter().filter(|p| !p.kind.is_buffer()).count();
    assert_eq!(trained, names.len(), "{}: a parameter without a golden gradient", golden.name);
    let make = |lowering| {
        gradients_lowered(&model, "loss", &names, golden.batch, BatchNorm::OfBatch, lowering)
            .unwrap_or_else(|error| panic!("{}: {error}", golden.name))
    };
    let graph = make(Lowering::Standard);
    let blocked = make(Lowering::of_this_processor());
    let float = |dims: &[usize], values: Vec<f32>| {
        let values = values.into_iter().map(f64::from).collect();
        ArrayD::from_shape_vec(IxDyn(dims), values).unwrap()
    };
    let dims = [golden.batch, 3, golden.side, golden.side];
    let images = fill(&golden.input, dims.iter().product(), 0.0, 2.0);
    let labels: Array1<f64> = (0..golden.batch).map(|i| (3 * i % 10) as f64).collect();
    let mut feeds =
        vec![(INPUT.to_owned(), float(&dims, images)), ("labels".to_owned(), labels.into_dyn())];
    for name in names {
        let tensor = weights.get(name).unwrap();
        feeds.push((name.to_owned(), float(&tensor.dims, tensor.to_f32().unwrap())));
    }
    Network { golden, graph, blocked, feeds }
}

/// Interprets the graph: the loss and the gradients.
fn interpreted(network: &Network, rounded: bool) -> (f64, Vec<ArrayD<f64>>) {
    let run = if rounded { interpret_rounded } else { interpret };
    let feeds: Vec<_> = network.feeds.iter().map(|(n, x)| (n.as_str(), x.clone())).collect();
    let mut out = run(&network.graph.model.graph, &feeds).unwrap_or_else(|e| panic!("{e}"));
    let loss = out["loss"].sum();
    (loss, network.graph.outputs.iter().map(|name| out.remove(name).unwrap()).collect())
}

/// The gradients on ONNX Runtime, with the batch turned by `turn` images.
fn on_onnx_runtime(network: &Network, session: &mut Session, turn: usize) -> Vec<ArrayD<f64>> {
    let turned = |x: &ArrayD<f64>| {
        let axis = ndarray::Axis(0);
        let (front, back) = x.view().split_at(axis, x.shape()[0] - turn);
        ndarray::concatenate(axis, &[back, front]).unwrap()
    };
    let images = turned(&network.feeds[0].1).mapv(|x| x as f32);
    let labels = turned(&network.feeds[1].1).mapv(|x| x as i64);
    let weights: Vec<_> = network.feeds[2..].iter().map(|(_, x)| x.mapv(|x| x as f32)).collect();
    let mut inputs = vec![
        Input::new(INPUT, TensorView::from(images.view())),
        Input::new("labels", TensorView::from(labels.view())),
    ];
    for ((name, _), x) in network.feeds[2..].iter().zip(&weights) {
        inputs.push(Input::new(name, TensorView::from(x.view())));
    }
    let names: Vec<&str> = network.graph.outputs.iter().map(String::as_str).collect();
    let found = session.run(&inputs, &names).unwrap();
    found.into_iter().map(|x| x.into_f32().unwrap().mapv(f64::from)).collect()
}

/// Errors on ONNX Runtime, the mean over some rotations of the batch, as in the fixture.
fn errors_on_onnx_runtime(network: &Network, graph: &Gradients, exact: &[ArrayD<f64>]) -> Errors {
    let options = Options {
        engine: EngineChoice::Ort,
        device: Device::Cpu,
        threads: std::num::NonZeroUsize::new(1),
        ..Options::default()
    };
    let mut session = Session::load(graph.model.to_bytes().unwrap(), &options).unwrap();
    let turns = network.golden.batch;
    let all: Vec<Errors> = (0..turns)
        .map(|turn| Errors::between(&on_onnx_runtime(network, &mut session, turn), exact))
        .collect();
    let mean = |of: fn(&Errors) -> f64| all.iter().map(of).sum::<f64>() / turns as f64;
    Errors { median: mean(|e| e.median), largest: mean(|e| e.largest) }
}

fn at_most_twice(name: &str, engine: &str, found: Errors, torch: Errors) {
    eprintln!("{name}: f32 {engine} {found}; PyTorch {torch}");
    let fits = |found: f64, torch: f64| found <= (2.0 * torch).max(FEW_ROUNDINGS);
    assert!(
        fits(found.median, torch.median) && fits(found.largest, torch.largest),
        "{name} {engine}: {found} is more than twice PyTorch's {torch}"
    );
}

fn check(golden: Golden, has_onnx_runtime: bool) {
    let network = network(golden);
    let Golden { name, loss, .. } = &network.golden;
    let (found_loss, exact) = interpreted(&network, false);
    let nodes = network.graph.model.graph.nodes();
    let rounded_constants = nodes.iter().any(|n| matches!(n.op.as_str(), "Erf" | "AveragePool"));
    let tolerance = if rounded_constants { ROUNDED_CONSTANTS } else { EXACT };
    assert!((found_loss - loss).abs() <= tolerance * loss, "{name}: loss {found_loss}, not {loss}");
    let distance = network.golden.distance(&exact);
    eprintln!("{name}: f64 within {distance:.1e}");
    assert!(distance <= tolerance, "{name}: f64 gradients are {distance:e} from PyTorch's");
    let torch = network.golden.f32_error();
    let (_, rounded) = interpreted(&network, true);
    at_most_twice(name, "interpreted", Errors::between(&rounded, &exact), torch);
    if has_onnx_runtime {
        for (engine, graph) in
            [("on ONNX Runtime", &network.graph), ("on ONNX Runtime in blocks", &network.blocked)]
        {
            at_most_twice(name, engine, errors_on_onnx_runtime(&network, graph, &exact), torch);
        }
    }
}

#[test]
fn gradients_of_small_networks_are_pytorchs() {
    let has_onnx_runtime = match Library::find(None, Device::Cpu) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("left out on ONNX Runtime: {error}");
            false
        }
    };
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for (i, golden) in golden::all().into_iter().enumerate() {
        if i % 2 == 0 { &mut even } else { &mut odd }.push(golden);
    }
    assert!(even.len() + odd.len() >= 10, "one for each family at least");
    std::thread::scope(|threads| {
        threads.spawn(|| even.into_iter().for_each(|golden| check(golden, has_onnx_runtime)));
        odd.into_iter().for_each(|golden| check(golden, has_onnx_runtime));
    });
}
