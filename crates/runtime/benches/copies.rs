//! What a session costs beside the model: copies of inputs and outputs.
//!
//! `input` runs a model that looks at one element of each image, so its time is that of handing the
//! images over; `both` runs one that returns them, which adds the way back. `memory` copies the same
//! number of bytes once, for comparison.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use nearkin_onnx::{Dim, Graph, Model, Node, Shape, Tensor, TensorType};
use nearkin_runtime::{Device, EngineChoice, Input, Options, Session};
use std::hint::black_box;
use std::num::NonZeroUsize;

const PIXELS: usize = 3 * 224 * 224;

/// `[N, pixels]` in; out the first pixel of each image, or all.
fn model(first_only: bool) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut graph = Graph::new("copies");
    let shape = Shape(vec![Dim::symbol("N"), Dim::Known(PIXELS)]);
    let x = graph.add_input("x", TensorType::f32(shape))?;
    let mut node = if first_only {
        let index = Tensor::from_i64(vec![1], &[0]).ok_or("one index")?;
        let index = graph.add_initialiser("index", index)?;
        Node::new("Gather", &[x, index]).with("axis", 1i64)
    } else {
        Node::new("Neg", &[x])
    };
    let y = graph.add_value("y", None)?;
    node.outputs = vec![Some(y)];
    graph.add_node(node)?;
    graph.set_outputs(vec![y]);
    Ok(Model::new(graph).to_bytes()?)
}

fn copies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("copies");
    for n in [1, 8, 32] {
        let images = Array2::<f32>::ones((n, PIXELS));
        group.throughput(Throughput::Bytes((n * PIXELS * 4) as u64));
        group.bench_function(BenchmarkId::new("memory", n), |b| {
            b.iter(|| black_box(black_box(&images).to_owned()));
        });
        for engine in [EngineChoice::Ort, EngineChoice::Tract] {
            for (what, first_only) in [("input", true), ("both", false)] {
                let options = Options {
                    engine,
                    device: Device::Cpu,
                    threads: NonZeroUsize::new(1),
                    ..Options::default()
                };
                // An engine that is not at hand is left out of the report.
                let Ok(bytes) = model(first_only) else { continue };
                let Ok(mut session) = Session::load(bytes, &options) else { continue };
                group.bench_function(BenchmarkId::new(format!("{engine} {what}"), n), |b| {
                    b.iter(|| session.run(&[Input::new("x", images.view())], &["y"]));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, copies);
criterion_main!(benches);
