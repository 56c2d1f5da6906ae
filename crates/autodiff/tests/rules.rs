//! Gradients that the conformance suite has no case for, and the step as a whole.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{append_loss, check, input, numbers, op};
use ndarray::ArrayD;
use nearkin_autodiff::{
    BatchNorm, Optimiser, Problem, Trainable, Training, gradients, training_step,
};
use nearkin_onnx::{Einsum, ElementType, Graph, Model, Node, Tensor, ValueId};
use nearkin_testkit::interpreter::interpret;

fn model(build: impl Fn(&mut Graph) -> ValueId) -> Model {
    let mut graph = Graph::new("test");
    let y = build(&mut graph);
    graph.set_outputs(vec![y]);
    let mut model = Model::new(graph);
    assert!(append_loss(&mut model));
    model
}

fn weight(graph: &mut Graph, name: &str, dims: &[usize], seed: u64) -> ValueId {
    let values: Vec<f32> = numbers(dims, seed).iter().map(|&v| v as f32).collect();
    graph.add_initialiser(name, Tensor::from_f32(dims.to_vec(), &values).unwrap()).unwrap()
}

/// A node with attributes, and one output called `name`.
fn node(graph: &mut Graph, mut node: Node, name: &str) -> ValueId {
    node.outputs = vec![None];
    let ty = nearkin_onnx::infer(graph, &node).unwrap().remove(0);
    let id = graph.add_value(name, Some(ty)).unwrap();
    node.outputs = vec![Some(id)];
    node.name = name.to_owned();
    graph.add_node(node).unwrap();
    id
}

#[test]
fn functions_of_one_input() {
    for name in ["Cos", "Sin", "ReduceSumSquare"] {
        let model = model(|g| {
            let x = input(g, "x", &[2, 3]);
            op(g, name, &[x], "y")
        });
        check(&model, &["x"], &[("x", numbers(&[2, 3], 1))], BatchNorm::Frozen);
    }
}

#[test]
fn a_cast_between_equal_types_passes_the_gradient_and_one_to_f64_stops_it() {
    for (to, slope) in [(ElementType::Float, 1.0), (ElementType::Double, 0.0)] {
        let model = model(|g| {
            let x = input(g, "x", &[2]);
            let cast =
                |to: ElementType, x| Node::new("Cast", &[x]).with("to", i64::from(to.code()));
            let y = node(g, cast(to, x), "there");
            let y = node(g, cast(ElementType::Float, y), "back");
            op(g, "Add", &[x, y], "y")
        });
        let found = gradients(&model, "loss", &["x"], 2, BatchNorm::Frozen).unwrap();
        let out = interpret(&found.model.graph, &[("x", numbers(&[2], 1))]).unwrap();
        assert_eq!(
            out["gradient/x"].as_slice(),
            Some(&[-0.5 * (1.0 + slope), 0.375 * (1.0 + slope)][..])
        );
    }
}

/// A label that is summed alone, one that all inputs share, and three inputs.
#[test]
fn sums_of_products_by_labels() {
    for equation in ["nab,bc->nac", "nab,nb", "nab,c->nc", "nab,bc,ac->n", "nab->bna"] {
        let labels = Einsum::parse(equation).unwrap();
        let size = |label: &char| match label {
            'n' => 2,
            'a' => 3,
            'b' => 4,
            _ => 5,
        };
        let dims: Vec<Vec<usize>> =
            labels.inputs.iter().map(|part| part.iter().map(size).collect()).collect();
        let names = ["x", "y", "z"];
        let model = model(|g| {
            let inputs: Vec<_> =
                dims.iter().zip(names).map(|(dims, name)| input(g, name, dims)).collect();
            let text = nearkin_onnx::AttributeValue::String(equation.into());
            node(g, Node::new("Einsum", &inputs).with("equation", text), "product")
        });
        let feeds: Vec<_> = dims
            .iter()
            .zip(names)
            .enumerate()
            .map(|(i, (dims, name))| (name, numbers(dims, 20 + i as u64)))
            .collect();
        check(&model, &names[..dims.len()], &feeds, BatchNorm::Frozen);
    }
}

#[test]
fn parts_taken_and_put_by_lists_of_indices() {
    let chosen = |g: &mut Graph| {
        let values = Tensor::from_i64(vec![3, 2], &[0, 1, 1, -1, 0, 1]).unwrap();
        g.add_initialiser("chosen", values).unwrap()
    };
    let x = ("x", numbers(&[2, 3, 2], 1));
    let taken = model(|g| {
        let (x, chosen) = (input(g, "x", &[2, 3, 2]), chosen(g));
        op(g, "GatherND", &[x, chosen], "y")
    });
    check(&taken, &["x"], std::slice::from_ref(&x), BatchNorm::Frozen);
    for reduction in ["none", "add"] {
        // Only a sum may name one place twice.
        let count = if reduction == "add" { 3 } else { 2 };
        let put = model(|g| {
            let (x, u) = (input(g, "x", &[2, 3, 2]), input(g, "u", &[count, 2]));
            let values = Tensor::from_i64(vec![count, 2], &[0, 1, 1, -1, 0, 1][..2 * count]);
            let chosen = g.add_initialiser("chosen", values.unwrap()).unwrap();
            node(g, Node::new("ScatterND", &[x, chosen, u]).with("reduction", reduction), "y")
        });
        let feeds = [x.clone(), ("u", numbers(&[count, 2], 2))];
        check(&put, &["x", "u"], &feeds, BatchNorm::Frozen);
    }
}

#[test]
fn blocks_of_pixels_as_channels_and_back() {
    for (op, mode, channels) in
        [("DepthToSpace", "DCR", 8), ("DepthToSpace", "CRD", 8), ("SpaceToDepth", "DCR", 2)]
    {
        let model = model(|g| {
            let x = input(g, "x", &[2, channels, 4, 2]);
            let mut block = Node::new(op, &[x]).with("blocksize", 2i64);
            if op == "DepthToSpace" {
                block = block.with("mode", mode);
            }
            node(g, block, "moved")
        });
        let x = numbers(&[2, channels, 4, 2], 3);
        check(&model, &["x"], &[("x", x)], BatchNorm::Frozen);
    }
}

/// Strides, pads, dilations and groups whose windows do and do not reach the last pixel.
#[test]
fn convolutions_of_every_shape() {
    // Image, kernel, stride, dilation, pads, groups, channels in, channels out.
    type Shape = (usize, usize, i64, i64, [i64; 4], i64, usize, usize);
    let shapes: [Shape; 8] = [
        (5, 3, 1, 1, [1, 1, 1, 1], 1, 2, 3),
        (6, 3, 2, 1, [1, 1, 1, 1], 1, 2, 2),
        (7, 2, 3, 1, [0, 0, 0, 0], 1, 1, 2),
        (7, 1, 4, 1, [0, 0, 0, 0], 1, 2, 2),
        (6, 3, 1, 2, [2, 2, 2, 2], 2, 4, 2),
        (6, 3, 2, 1, [0, 1, 1, 0], 3, 3, 3),
        (5, 3, 1, 1, [1, 1, 1, 1], 2, 2, 6),
        (8, 2, 2, 3, [1, 0, 0, 2], 1, 2, 1),
    ];
    for (image, kernel, stride, dilation, pads, groups, inputs, outputs) in shapes {
        let model = model(|g| {
            let x = input(g, "x", &[2, inputs, image, image]);
            let dims = [outputs, inputs / groups as usize, kernel, kernel];
            let w = weight(g, "w", &dims, 3);
            let b = weight(g, "b", &[outputs], 4);
            let conv = Node::new("Conv", &[x, w, b])
                .with("strides", vec![stride; 2])
                .with("dilations", vec![dilation; 2])
                .with("pads", pads.to_vec())
                .with("group", groups);
            node(g, conv, "y")
        });
        let x = numbers(&[2, inputs, image, image], 5);
        check(&model, &["x", "w", "b"], &[("x", x)], BatchNorm::Frozen);
    }
}

/// ONNX Runtime 1.31 runs a step with `axes` wrongly where a transpose stands beside the padding.
#[test]
fn padding_of_some_axes_is_written_as_padding_of_all() {
    let model = model(|g| {
        let x = input(g, "x", &[2, 3, 4]);
        let constant = |g: &mut Graph, name: &str, values: &[i64]| {
            let tensor = Tensor::from_i64(vec![values.len()], values).unwrap();
            g.add_initialiser(name, tensor).unwrap()
        };
        let (pads, axes) = (constant(g, "pads", &[1, 0, 0, 2]), constant(g, "axes", &[-1, 1]));
        let mut pad = Node::new("Pad", &[x, pads]);
        pad.inputs.extend([None, Some(axes)]);
        node(g, pad, "y")
    });
    let x = numbers(&[2, 3, 4], 1);
    check(&model, &["x"], &[("x", x.clone())], BatchNorm::Frozen);
    let found = gradients(&model, "loss", &["x"], 2, BatchNorm::Frozen).unwrap().model.graph;
    let pad = found.nodes().iter().find(|node| node.op == "Pad").unwrap();
    assert!(pad.inputs.get(3).copied().flatten().is_none());
    let pads = found.initialiser(pad.inputs[1].unwrap()).unwrap();
    assert_eq!(pads.to_i64().unwrap(), [0, 0, 1, 0, 2, 0]);
    let loss = |graph: &Graph| interpret(graph, &[("x", x.clone())]).unwrap()["loss"].sum();
    assert!((loss(&found) - loss(&model.graph)).abs() < 1e-12);
}

/// x → batch normalisation → ReLU, with its parameters and running statistics.
fn normalised() -> Model {
    model(|g| {
        let x = input(g, "x", &[3, 2, 2, 2]);
        let scale = weight(g, "bn.weight", &[2], 7);
        let bias = weight(g, "bn.bias", &[2], 8);
        let one = |values: [f32; 2]| Tensor::from_f32(vec![2], &values).unwrap();
        let mean = g.add_initialiser("bn.running_mean", one([0.5, -0.5])).unwrap();
        let var = g.add_initialiser("bn.running_var", one([1.0, 2.0])).unwrap();
        let bn = Node::new("BatchNormalization", &[x, scale, bias, mean, var]);
        let y = node(g, bn.with("epsilon", 1e-3), "bn");
        op(g, "Relu", &[y], "y")
    })
}

#[test]
fn batch_normalisation_by_the_batch_and_by_running_statistics() {
    let x = numbers(&[3, 2, 2, 2], 9);
    for batch_norm in [BatchNorm::OfBatch, BatchNorm::Frozen] {
        check(&normalised(), &["x", "bn.weight", "bn.bias"], &[("x", x.clone())], batch_norm);
    }
}

/// As one exporter writes standardised weights: their mean and variance before the node.
#[test]
fn batch_normalisation_by_statistics_that_are_worked_out() {
    let model = model(|g| {
        let [x, mean, var] = [("x", vec![3, 2, 4]), ("mean", vec![2]), ("var", vec![2])]
            .map(|(name, dims)| input(g, name, &dims));
        let scale = weight(g, "bn.weight", &[2], 7);
        let bias = weight(g, "bn.bias", &[2], 8);
        op(g, "BatchNormalization", &[x, scale, bias, mean, var], "bn")
    });
    let var = numbers(&[2], 12).mapv(|v| 1.5 + v);
    let feeds = [("x", numbers(&[3, 2, 4], 10)), ("mean", numbers(&[2], 11)), ("var", var)];
    for batch_norm in [BatchNorm::OfBatch, BatchNorm::Frozen] {
        let names = ["x", "bn.weight", "bn.bias", "mean", "var"];
        check(&model, &names, &feeds, batch_norm);
    }
}

#[test]
fn running_statistics_follow_with_the_unbiased_variance() {
    let model = normalised();
    let step = training_step(&model, "loss", &training(&["bn.weight"], sgd(0.0))).unwrap();
    let x = numbers(&[3, 2, 2, 2], 9);
    let out = run(&step.model, &step.slots, &[("x", x.clone())], &step.scalars_at(1, 0.1));
    // Channel 0, by hand: 12 values.
    let values: Vec<f64> = x.index_axis(ndarray::Axis(1), 0).iter().copied().collect();
    let mean = values.iter().sum::<f64>() / 12.0;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 11.0;
    let near =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    near(out["next/bn.running_mean"][[0]], 0.9 * 0.5 + 0.1 * mean);
    near(out["next/bn.running_var"][[0]], 0.9 * 1.0 + 0.1 * var);
    let mut frozen = training(&["bn.weight"], sgd(0.0));
    frozen.batch_norm = BatchNorm::Frozen;
    let step = training_step(&model, "loss", &frozen).unwrap();
    assert_eq!(step.slots.len(), 1, "running statistics stay");
}

const fn sgd(momentum: f32) -> Optimiser {
    Optimiser::Sgd { momentum, nesterov: false }
}

fn training(names: &[&str], optimiser: Optimiser) -> Training {
    let parameter = |name: &&str| Trainable { name: (*name).to_owned(), decay: 0.0, rate: 1.0 };
    Training::new(3, names.iter().map(parameter).collect(), optimiser)
}

/// Runs one step; slots are fed their start.
fn run(
    model: &Model,
    slots: &[nearkin_autodiff::Slot],
    feeds: &[(&str, ArrayD<f64>)],
    scalars: &[(&'static str, f32)],
) -> std::collections::BTreeMap<String, ArrayD<f64>> {
    let mut all = feeds.to_vec();
    for slot in slots {
        let values = slot.start.to_f32().unwrap().into_iter().map(f64::from).collect();
        let array = ArrayD::from_shape_vec(slot.start.dims.clone(), values).unwrap();
        all.push((slot.input.as_str(), array));
    }
    for &(name, value) in scalars {
        all.push((name, ndarray::arr0(f64::from(value)).into_dyn()));
    }
    interpret(&model.graph, &all).unwrap_or_else(|error| panic!("{error}"))
}

/// loss = c·w with c = (−½, ⅜): the gradient of w is c, whatever w.
fn linear() -> Model {
    model(|g| {
        let w = weight(g, "w", &[2], 11);
        op(g, "Identity", &[w], "y")
    })
}

#[test]
fn each_optimiser_takes_its_first_step_as_defined() {
    let start: Vec<f64> = numbers(&[2], 11).iter().copied().collect();
    let c = [-0.5, 0.375];
    let adam = |g: f64| g / (g.abs() + 1e-8);
    /// From a parameter and its gradient to the parameter after the step.
    type Step = Box<dyn Fn(f64, f64) -> f64>;
    let cases: Vec<(Optimiser, Step)> = vec![
        (sgd(0.0), Box::new(|w, g| w - 0.1 * (g + 0.01 * w))),
        (sgd(0.9), Box::new(|w, g| w - 0.1 * (g + 0.01 * w))),
        (
            Optimiser::Sgd { momentum: 0.9, nesterov: true },
            Box::new(|w, g| w - 0.1 * 1.9 * (g + 0.01 * w)),
        ),
        (
            Optimiser::Adam { betas: (0.9, 0.999), eps: 1e-8 },
            Box::new(move |w, g| w - 0.1 * adam(g + 0.01 * w)),
        ),
        (Optimiser::ADAM_W, Box::new(move |w, g| w - 0.1 * 0.01 * w - 0.1 * adam(g))),
        (
            Optimiser::RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0 },
            Box::new(|w, g| {
                let g = g + 0.01 * w;
                w - 0.1 * g / ((0.01 * g * g).sqrt() + 1e-8)
            }),
        ),
        (
            Optimiser::Lion { betas: (0.9, 0.99) },
            Box::new(|w, g| w - 0.1 * 0.01 * w - 0.1 * g.signum()),
        ),
    ];
    for (optimiser, expected) in cases {
        let mut training = training(&["w"], optimiser);
        training.trainable[0].decay = 0.01;
        let step = training_step(&linear(), "loss", &training).unwrap();
        assert_eq!(step.slots.len(), 1 + optimiser.state().len(), "{optimiser:?}");
        let out = run(&step.model, &step.slots, &[], &step.scalars_at(1, 0.1));
        for i in 0..2 {
            let (found, expected) = (out["next/w"][[i]], expected(start[i], c[i]));
            assert!((found - expected).abs() < 1e-6, "{optimiser:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn gradients_are_clipped_together_and_averages_follow() {
    let mut training = training(&["w"], sgd(0.0));
    training.clip_norm = Some(0.25);
    training.average = Some(0.5);
    let step = training_step(&linear(), "loss", &training).unwrap();
    let out = run(&step.model, &step.slots, &[], &step.scalars_at(1, 1.0));
    let norm = 0.625;
    assert!((out["step/gradient_norm"].sum() - norm).abs() < 1e-9);
    let start = numbers(&[2], 11)[[0]];
    let next = out["next/w"][[0]];
    assert!((next - (start + 0.5 * 0.25 / (norm + 1e-6))).abs() < 1e-6, "{next}");
    assert!((out["next/w/average"][[0]] - 0.5 * (start + next)).abs() < 1e-6);
}

#[test]
fn what_cannot_be_trained_is_told_with_its_place() {
    let unknown = model(|g| {
        let x = input(g, "x", &[2, 3]);
        op(g, "Round", &[x], "rounded")
    });
    let error = gradients(&unknown, "loss", &["x"], 2, BatchNorm::OfBatch).unwrap_err();
    assert_eq!(error.to_string(), "Round \"rounded\": no rule for the gradient of this operator");
    let error = training_step(&linear(), "loss", &training(&["v"], sgd(0.0))).unwrap_err();
    assert!(matches!(error.problem, Problem::NoSuchValue(name) if name == "v"));
    let two = model(|g| {
        weight(g, "idle", &[2], 1);
        let w = weight(g, "w", &[2], 2);
        op(g, "Neg", &[w], "y")
    });
    let error = training_step(&two, "loss", &training(&["idle"], sgd(0.0))).unwrap_err();
    assert!(matches!(error.problem, Problem::Unused { name } if name == "idle"));
    let error = training_step(&two, "y", &training(&["w"], sgd(0.0))).unwrap_err();
    assert!(error.to_string().contains("expected one number, found dimensions [2]"), "{error}");
    let error = training_step(&two, "loss", &training(&["w"], sgd(1.0))).unwrap_err();
    assert!(error.to_string().contains("momentum: expected at least 0 and below 1"), "{error}");
}
