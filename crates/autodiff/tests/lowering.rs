//! Blocked lowerings against the standard one, both interpreted in f64.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{append_loss, input, numbers, op};
use ndarray::ArrayD;
use nearkin_autodiff::{
    BatchNorm, Checkpoint, Lowering, Optimiser, Trainable, Training, TrainingStep,
    gradients_lowered, training_step,
};
use nearkin_nn::{
    Conv, Family, INPUT, Init, LOGITS, Options, ParameterKind, Pool, Scheme, Scope, Value, Variant,
    Weights,
};
use nearkin_onnx::{Graph, Model, Node, Tensor, ValueId};
use nearkin_testkit::interpreter::{interpret, interpret_blocked};
use std::collections::{BTreeMap, BTreeSet};

const BLOCKS: [usize; 2] = [8, 16];
/// Sums run in another order; constants of the forms are f32, and differ.
const TOLERANCE: f64 = 1e-6;

fn near(found: &ArrayD<f64>, expected: &ArrayD<f64>, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    let error = found.iter().zip(expected).fold(0.0_f64, |a, (x, y)| a.max((x - y).abs()));
    assert!(error <= TOLERANCE * largest.max(1e-3), "{what}: {error:e} of {largest:e}");
}

fn foreign(graph: &Graph) -> BTreeSet<&str> {
    graph.nodes().iter().filter(|n| !n.is_standard()).map(|n| n.op.as_str()).collect()
}

/// Image, kernel, stride, dilation, pads, groups, batch, channels in, channels out.
type Shape = (usize, usize, i64, i64, [i64; 4], usize, usize, usize, usize);

/// One convolution of this shape between two others, so that its own image and gradient are blocked
/// where that is possible: x → 1×1 → convolution → y.
fn convolution(shape: Shape) -> Model {
    let (image, kernel, stride, dilation, pads, groups, batch, inputs, outputs) = shape;
    let mut graph = Graph::new("convolution");
    let weight = |graph: &mut Graph, name: &str, dims: &[usize], seed: u64| {
        let values: Vec<f32> = numbers(dims, seed).iter().map(|&v| v as f32).collect();
        graph.add_initialiser(name, Tensor::from_f32(dims.to_vec(), &values).unwrap()).unwrap()
    };
    let node = |graph: &mut Graph, mut node: Node, name: &str| -> ValueId {
        node.outputs = vec![None];
        let ty = nearkin_onnx::infer(graph, &node).unwrap().remove(0);
        let id = graph.add_value(name, Some(ty)).unwrap();
        node.outputs = vec![Some(id)];
        node.name = name.to_owned();
        graph.add_node(node).unwrap();
        id
    };
    let x = input(&mut graph, "x", &[batch, inputs, image, image]);
    let v = weight(&mut graph, "v", &[inputs, inputs, 1, 1], 1);
    let a = weight(&mut graph, "a", &[inputs], 2);
    let x = node(&mut graph, Node::new("Conv", &[x, v, a]), "first");
    let x = op(&mut graph, "Relu", &[x], "relu");
    let w = weight(&mut graph, "w", &[outputs, inputs / groups, kernel, kernel], 3);
    let b = weight(&mut graph, "b", &[outputs], 4);
    let conv = Node::new("Conv", &[x, w, b])
        .with("strides", vec![stride; 2])
        .with("dilations", vec![dilation; 2])
        .with("pads", pads.to_vec())
        .with("group", groups as i64);
    let y = node(&mut graph, conv, "second");
    graph.set_outputs(vec![y]);
    let mut model = Model::new(graph);
    assert!(append_loss(&mut model));
    model
}

#[test]
fn gradients_of_convolutions_are_those_of_the_standard_lowering() {
    let same = [1, 1, 1, 1];
    let none = [0, 0, 0, 0];
    // Dense, narrow, depthwise, grouped and pointwise; strides that do and do not fill the image;
    // channels that do and do not fill their blocks; batches that are and are not split.
    let shapes: [Shape; 20] = [
        (5, 3, 1, 1, same, 1, 2, 16, 16),
        (4, 3, 1, 1, same, 1, 20, 16, 32),
        (6, 3, 2, 1, same, 1, 3, 16, 48),
        (5, 3, 2, 1, same, 1, 2, 32, 16),
        (6, 2, 2, 1, none, 1, 2, 16, 16),
        (7, 2, 3, 1, none, 1, 2, 16, 16),
        (6, 5, 2, 1, [2, 2, 2, 2], 1, 2, 16, 16),
        (5, 3, 1, 2, [2, 2, 2, 2], 1, 2, 16, 16),
        (6, 3, 2, 1, [0, 1, 1, 0], 1, 2, 16, 16),
        (5, 3, 1, 1, same, 1, 2, 3, 16),
        (6, 7, 2, 1, [3, 3, 3, 3], 1, 3, 4, 12),
        (5, 3, 1, 1, same, 1, 2, 12, 28),
        (5, 3, 1, 1, same, 16, 2, 16, 16),
        (6, 3, 2, 1, same, 24, 2, 24, 24),
        (5, 7, 1, 1, [3, 3, 3, 3], 32, 3, 32, 32),
        (4, 3, 1, 1, same, 2, 2, 32, 64),
        (4, 1, 1, 1, none, 1, 3, 16, 48),
        (4, 1, 1, 1, none, 1, 3, 60, 24),
        (5, 1, 1, 1, none, 1, 2, 48, 64),
        (6, 1, 2, 1, none, 1, 2, 16, 32),
    ];
    let wrt = ["x", "v", "a", "w", "b"];
    let mut used = BTreeSet::new();
    for shape in shapes {
        let model = convolution(shape);
        let (image, batch, inputs) = (shape.0, shape.6, shape.7);
        let mut feeds = vec![("x", numbers(&[batch, inputs, image, image], 5))];
        for name in &wrt[1..] {
            let tensor = model.graph.initialiser(model.graph.find(name).unwrap()).unwrap();
            let values = tensor.to_f32().unwrap().into_iter().map(f64::from).collect();
            feeds.push((name, ArrayD::from_shape_vec(&tensor.dims[..], values).unwrap()));
        }
        let make = |lowering| {
            gradients_lowered(&model, "loss", &wrt, batch, BatchNorm::OfBatch, lowering).unwrap()
        };
        let standard = make(Lowering::Standard);
        assert_eq!(foreign(&standard.model.graph), BTreeSet::new());
        let expected = interpret(&standard.model.graph, &feeds).unwrap();
        for block in BLOCKS {
            let blocked = make(Lowering::CpuNchwc { block });
            used.extend(foreign(&blocked.model.graph).into_iter().map(str::to_owned));
            let found = interpret_blocked(&blocked.model.graph, &feeds, block)
                .unwrap_or_else(|error| panic!("{shape:?} in blocks of {block}: {error}"));
            for (name, expected) in &expected {
                near(&found[name], expected, &format!("{shape:?} in blocks of {block}: {name}"));
            }
        }
    }
    assert!(used.contains("Conv") && used.contains("ReorderInput"), "{used:?}");
}

static FAMILY: Family = Family {
    name: "lowering",
    classifier: "head",
    scheme: Scheme::TORCH,
    variants: &[
        Variant::new("residual", residual),
        Variant::new("inverted", inverted),
        Variant::new("convnext", convnext),
        Variant::new("tokens", tokens),
    ],
    sized: None,
};

/// Batch normalisation, ReLU, shortcuts, pooling, and as much before a layer that is not blocked.
fn residual(s: &Scope, x: Value) -> Value {
    let x = s.relu(s.batch_norm("bn0", s.conv("conv0", x, Conv::new(16, 3))));
    let x = s.max_pool(x, Pool::new(3).stride(2).pad(1));
    let y = s.relu(s.batch_norm("bn1", s.conv("conv1", x, Conv::new(32, 3).stride(2))));
    let y = s.batch_norm("bn2", s.conv("conv2", y, Conv::new(32, 3)));
    let short = s.batch_norm("bn3", s.conv("conv3", x, Conv::new(32, 1).stride(2)));
    let y = s.relu(s.add(y, short));
    let odd = s.sigmoid(s.conv("odd", y, Conv::new(5, 1).bias()));
    let wide = s.conv("wide", odd, Conv::new(32, 1));
    s.global_avg_pool(s.add(wide, y))
}

/// ReLU6, depthwise convolutions, and channels that do not fill their blocks.
fn inverted(s: &Scope, x: Value) -> Value {
    let relu6 = |x| s.onnx("Clip", &[x, s.scalar(0.0), s.scalar(6.0)], &[]);
    let x = relu6(s.batch_norm("bn0", s.conv("conv0", x, Conv::new(12, 3))));
    let y = relu6(s.scale(s.batch_norm("bn1", s.conv("conv1", x, Conv::new(28, 1))), 4.0));
    let y = s.conv("conv2", y, Conv::new(28, 3).stride(2).groups(28));
    let y = relu6(s.batch_norm("bn2", y));
    let z = s.batch_norm("bn3", s.conv("conv3", y, Conv::new(28, 1)));
    let z = s.mul(
        z,
        s.view(s.parameter("scale", &[28], ParameterKind::LayerScale, HALF), &[1, 28, 1, 1]),
    );
    s.global_avg_pool(s.add(z, y))
}

const HALF: Init = Init::Constant(0.5);

/// Channels last and first in turn, GELU, layer normalisation.
fn convnext(s: &Scope, x: Value) -> Value {
    let x =
        s.layer_norm_2d("norm0", s.conv("stem", x, Conv::new(32, 2).stride(2).pad(0).bias()), 1e-6);
    let y = s.conv("dw", x, Conv::new(32, 7).groups(32).bias());
    let y = s.layer_norm("norm", s.permute(y, &[0, 2, 3, 1]), 1e-6);
    let y = s.linear("fc2", s.gelu(s.linear("fc1", y, 64)), 32);
    let y = s.mul(y, s.parameter("gamma", &[32], ParameterKind::LayerScale, HALF));
    s.global_avg_pool(s.add(s.permute(y, &[0, 3, 1, 2]), x))
}

/// A transformer block over enough tokens to be worth blocks.
fn tokens(s: &Scope, x: Value) -> Value {
    let x = s.tokens(s.conv("patch", x, Conv::new(32, 2).stride(2).pad(0).bias()));
    let [q, k, v] = s.split_heads(s.linear("qkv", s.layer_norm("norm1", x, 1e-6), 96), 2);
    let y = s.matmul(s.softmax(s.scale(s.matmul(q, s.transpose(k)), 0.25)), v);
    let x = s.add(x, s.linear("proj", s.merge_heads(y), 32));
    let y = s.linear("fc1", s.layer_norm("norm2", x, 1e-6), 64);
    s.mean(s.add(x, s.linear("fc2", s.gelu(y), 32)), 1)
}

fn network(name: &str) -> (Model, Vec<Trainable>) {
    let options = Options { num_classes: Some(3), img_size: Some((16, 16)), ..Options::default() };
    let built = FAMILY.variant(name).unwrap().build(&options).unwrap();
    let mut model = built.to_model(&Weights::formula(&built, None)).unwrap();
    let logits = Value::of(model.graph.find(LOGITS).unwrap());
    let s = Scope::over(std::mem::take(&mut model.graph));
    let loss = s.rename(s.sum_all(s.pow(s.log_softmax(logits), 2.0)), "loss");
    model.graph = s.finish().unwrap();
    model.graph.set_outputs(vec![loss.id().unwrap()]);
    let trained = built.parameters().iter().filter(|p| !p.kind.is_buffer());
    let trainable = trained.map(|p| Trainable { name: p.name.clone(), decay: 0.01, rate: 1.0 });
    (model, trainable.collect())
}

fn outputs(
    step: &TrainingStep,
    images: &ArrayD<f64>,
    block: Option<usize>,
) -> BTreeMap<String, ArrayD<f64>> {
    let mut feeds = vec![(INPUT, images.clone())];
    for slot in &step.slots {
        let values = slot.start.to_f32().unwrap().into_iter().map(f64::from).collect();
        feeds.push((&slot.input, ArrayD::from_shape_vec(&slot.start.dims[..], values).unwrap()));
    }
    for (name, value) in step.scalars_at(1, 0.1) {
        feeds.push((name, ndarray::arr0(f64::from(value)).into_dyn()));
    }
    match block {
        None => interpret(&step.model.graph, &feeds),
        Some(block) => interpret_blocked(&step.model.graph, &feeds, block),
    }
    .unwrap_or_else(|error| panic!("{error}"))
}

/// Steps of small networks, with everything that follows from the gradients.
#[test]
fn steps_of_networks_are_those_of_the_standard_lowering() {
    let images = numbers(&[4, 3, 16, 16], 9);
    for variant in FAMILY.entries() {
        let name = variant.name();
        let (model, trainable) = network(name);
        for (batch_norm, checkpoint) in
            [(BatchNorm::OfBatch, Checkpoint::Off), (BatchNorm::Frozen, Checkpoint::Auto)]
        {
            let sgd = Optimiser::Sgd { momentum: 0.9, nesterov: false };
            let make = |lowering| {
                let training = Training {
                    batch_norm,
                    checkpoint: checkpoint.clone(),
                    lowering,
                    ..Training::new(4, trainable.clone(), sgd)
                };
                training_step(&model, "loss", &training).unwrap()
            };
            let standard = make(Lowering::Standard);
            assert_eq!(foreign(&standard.model.graph), BTreeSet::new(), "{name}");
            let expected = outputs(&standard, &images, None);
            for block in BLOCKS {
                let blocked = make(Lowering::CpuNchwc { block });
                assert!(foreign(&blocked.model.graph).contains("Conv"), "{name}");
                assert!(blocked.model.opsets.iter().any(|(d, _)| d == "com.microsoft.nchwc"));
                let found = outputs(&blocked, &images, Some(block));
                assert_eq!(found.len(), expected.len(), "{name}");
                for (output, expected) in &expected {
                    near(&found[output], expected, &format!("{name} in {block}: {output}"));
                }
            }
        }
    }
}

/// Between the first convolution and the pooled features nothing leaves its blocks.
#[test]
fn images_stay_in_blocks_between_convolutions() {
    let (model, trainable) = network("inverted");
    let sgd = Optimiser::Sgd { momentum: 0.0, nesterov: false };
    let training =
        Training { lowering: Lowering::CpuNchwc { block: 16 }, ..Training::new(4, trainable, sgd) };
    let step = training_step(&model, "loss", &training).unwrap();
    let graph = &step.model.graph;
    // Whole images of the network's inside: [4, at least 12, at least 8, at least 8].
    let is_image = |id: ValueId| {
        graph.shape(id).and_then(|shape| shape.to_known()).is_some_and(|dims| {
            dims.len() == 4 && dims[0] == 4 && dims[1] >= 12 && dims[2] * dims[3] >= 64
        })
    };
    let moved: Vec<String> = graph
        .nodes()
        .iter()
        .filter(|node| node.op == "ReorderInput" || node.op == "ReorderOutput")
        .filter(|node| node.outputs[0].is_some_and(is_image))
        .map(Node::describe)
        .collect();
    assert!(moved.is_empty(), "{moved:?}");
}

#[test]
fn blocks_of_other_lengths_are_refused() {
    let (model, trainable) = network("residual");
    let sgd = Optimiser::Sgd { momentum: 0.0, nesterov: false };
    let training =
        Training { lowering: Lowering::CpuNchwc { block: 4 }, ..Training::new(4, trainable, sgd) };
    let error = training_step(&model, "loss", &training).unwrap_err().to_string();
    assert!(error.contains("block: expected 8 or 16 channels, found 4"), "{error}");
}
