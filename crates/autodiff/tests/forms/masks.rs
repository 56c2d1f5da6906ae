//! Dropout and stochastic depth.

use ndarray::ArrayD;
use nearkin_autodiff::{Mask, MaskInput, MaskKind, TrainingStep, dropout_nodes, training_step};
use nearkin_onnx::{AttributeValue, Model, Node, Tensor, TensorType};

use super::{
    Arrays, Norm, SGD, assert_near, check, feeds, gradients, network, rows, run, training,
};

fn mask(value: &str, kind: MaskKind, rate: f32) -> Mask {
    Mask { value: value.to_owned(), reader: None, kind, rate }
}

fn step(model: &Model, masks: Vec<Mask>) -> TrainingStep {
    let mut training = training(model, 4, SGD);
    training.masks = masks;
    training_step(model, "loss", &training).unwrap()
}

fn with_masks(step: &TrainingStep, mut feeds: Arrays, t: u64) -> Arrays {
    for (name, dims, values) in step.masks_at(5, t) {
        let values = values.into_iter().map(f64::from).collect();
        feeds.insert(name.to_owned(), ArrayD::from_shape_vec(dims, values).unwrap());
    }
    feeds
}

/// Branches as a whole, elements, and elements for the classifier alone.
fn masks() -> Vec<Mask> {
    vec![
        mask("blocks.0.bn2", MaskKind::Row, 0.25),
        mask("blocks.1.bn2", MaskKind::Row, 0.5),
        mask("blocks.1.act1", MaskKind::Element, 0.3),
        Mask { reader: Some("fc".to_owned()), ..mask("embedding", MaskKind::Element, 0.4) },
        mask("bn1", MaskKind::Element, 0.0),
    ]
}

#[test]
fn gradients_flow_through_what_masks_leave() {
    for norm in [Norm::Batch, Norm::Layer] {
        let step = step(&network(norm, 2), masks());
        let found: Vec<(&str, &[usize])> =
            step.masks.iter().map(|m| (m.input.as_str(), m.dims.as_slice())).collect();
        let expected: [(&str, &[usize]); 4] = [
            ("mask/blocks.0.bn2", &[4, 1, 1, 1]),
            ("mask/blocks.1.act1", &[4, 3, 4, 4]),
            ("mask/blocks.1.bn2", &[4, 1, 1, 1]),
            ("mask/embedding/fc", &[4, 3]),
        ];
        assert_eq!(found, expected);
        check(&step, &with_masks(&step, feeds(&step, &rows(0, 4), 1.0), 1));
    }
}

#[test]
fn masks_of_one_change_nothing_and_of_zero_remove_a_branch() {
    let model = network(Norm::Layer, 2);
    let (plain, masked) = (step(&model, vec![]), step(&model, masks()));
    let plain_feeds = feeds(&plain, &rows(0, 4), 1.0);
    let mut ones = with_masks(&masked, plain_feeds.clone(), 1);
    for mask in &masked.masks {
        ones.get_mut(&mask.input).unwrap().fill(1.0);
    }
    let expected = gradients(&plain, &plain_feeds);
    assert_near(&gradients(&masked, &ones), &expected, 1e-13);
    // Without its branch, the second block is a sigmoid.
    ones.get_mut("mask/blocks.1.bn2").unwrap().fill(0.0);
    let without = gradients(&masked, &ones);
    assert!(without["blocks.1.conv2.weight"].iter().all(|&g| g == 0.0));
    assert!(without["blocks.0.conv2.weight"].iter().any(|&g| g != 0.0));
}

#[test]
fn an_embedding_is_whole_where_only_its_classifier_drops() {
    let model = network(Norm::Layer, 1);
    let (plain, masked) = (step(&model, vec![]), step(&model, masks()[3..4].to_vec()));
    let plain_feeds = feeds(&plain, &rows(0, 4), 1.0);
    let masked_feeds = with_masks(&masked, plain_feeds.clone(), 3);
    let (plain, masked) = (run(&plain.model, &plain_feeds), run(&masked.model, &masked_feeds));
    assert_eq!(plain["embedding"], masked["embedding"]);
    assert_ne!(plain["fc"], masked["fc"]);
}

#[test]
fn masks_of_what_the_step_does_not_need_are_not_drawn() {
    let model = network(Norm::Layer, 1);
    let mut training = training(&model, 4, SGD);
    training.trainable.retain(|parameter| !parameter.name.starts_with("fc"));
    training.masks = masks()[3..4].to_vec();
    let mut alone = model.clone();
    let pooled = alone.graph.find("embedding").unwrap();
    let mut sum = Node::new("ReduceSum", &[pooled]).with("keepdims", 0i64);
    let total =
        alone.graph.add_value("total", Some(TensorType::f32(nearkin_onnx::Shape::known(&[]))));
    let total = total.unwrap();
    sum.outputs = vec![Some(total)];
    alone.graph.add_node(sum).unwrap();
    alone.graph.set_outputs(vec![total]);
    let step = training_step(&alone, "total", &training).unwrap();
    assert!(step.masks.is_empty() && step.model.graph.find("mask/embedding/fc").is_none());
}

/// The first draws as an independent program of the same formula found them.
#[test]
fn draws_depend_on_seed_step_and_name_alone() {
    let drawn = |input: &str, seed, t| {
        let mask = MaskInput { input: input.to_owned(), dims: vec![3, 4], rate: 0.25 };
        let values = mask.draw(seed, t);
        let allowed = [0.0_f32, 1.0 / 0.75].map(f32::to_bits);
        assert!(values.iter().all(|v| allowed.contains(&v.to_bits())), "{values:?}");
        values.iter().map(|&v| if v > 0.0 { '1' } else { '0' }).collect::<String>()
    };
    assert_eq!(drawn("mask/layer1.0.bn2", 1, 2), "111101111011");
    assert_eq!(drawn("mask/layer1.0.bn2", 1, 3), "111011011110");
    assert_ne!(drawn("mask/layer1.0.bn2", 2, 2), drawn("mask/layer1.0.bn2", 1, 2));
    assert_ne!(drawn("mask/layer1.1.bn2", 1, 2), drawn("mask/layer1.0.bn2", 1, 2));
    let many = MaskInput { input: "mask/x".to_owned(), dims: vec![100_000], rate: 0.3 };
    let values = many.draw(9, 1);
    let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / 1e5;
    // Three standard deviations of a share of 0.3.
    assert!((dropped - 0.3).abs() < 3.0 * (0.3_f64 * 0.7 / 1e5).sqrt(), "{dropped}");
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e5;
    assert!((mean - 1.0).abs() < 0.007, "{mean}");
}

/// The network with a `Dropout` of ratio 0.4 between embedding and classifier.
fn with_dropout(ratio: Option<f32>) -> Model {
    let mut model = network(Norm::Layer, 1);
    let graph = &model.graph;
    let mut new = nearkin_onnx::Graph::new("foreign");
    let mut map = std::collections::BTreeMap::new();
    for &id in graph.inputs() {
        let value = graph.value(id);
        map.insert(id, new.add_input(&value.name, value.ty.clone().unwrap()).unwrap());
    }
    for (id, tensor) in graph.initialisers() {
        map.insert(*id, new.add_initialiser(&graph.value(*id).name, tensor.clone()).unwrap());
    }
    for node in graph.nodes() {
        let mut node = node.clone();
        for input in node.inputs.iter_mut().flatten() {
            *input = map[input];
        }
        for output in node.outputs.iter_mut().flatten() {
            let value = graph.value(*output);
            let id = new.add_value(&value.name, value.ty.clone()).unwrap();
            map.insert(*output, id);
            *output = id;
        }
        let name = node.name.clone();
        new.add_node(node).unwrap();
        if name == "embedding" {
            let x = new.find("embedding").unwrap();
            let mut drop = Node::new("Dropout", &[x]).with("seed", AttributeValue::Int(1));
            if let Some(ratio) = ratio {
                let ratio = Tensor::from_f32(vec![], &[ratio]).unwrap();
                drop.inputs.push(Some(new.add_initialiser("ratio", ratio).unwrap()));
            }
            let y = new.add_value("dropped", new.value(x).ty.clone()).unwrap();
            drop.outputs = vec![Some(y)];
            new.add_node(drop).unwrap();
            map.insert(graph.find("embedding").unwrap(), y);
        }
    }
    let outputs = ["embedding", "fc", "loss"].map(|name| new.find(name).unwrap());
    new.set_outputs(outputs.to_vec());
    model.graph = new;
    model
}

#[test]
fn dropout_nodes_of_a_file_become_masks_when_asked() {
    let model = with_dropout(Some(0.4));
    let masks = dropout_nodes(&model).unwrap();
    assert_eq!(masks, [mask("dropped", MaskKind::Element, 0.4)]);
    assert_eq!(dropout_nodes(&with_dropout(None)).unwrap()[0].rate.to_string(), "0.5");
    let masked = step(&model, masks);
    assert_eq!(masked.masks[0].dims, [4, 3]);
    check(&masked, &with_masks(&masked, feeds(&masked, &rows(0, 4), 1.0), 1));
    // Unasked, such a node does nothing.
    let plain = step(&network(Norm::Layer, 1), vec![]);
    let unmasked = step(&model, vec![]);
    let fed = feeds(&plain, &rows(0, 4), 1.0);
    assert_near(&gradients(&unmasked, &fed), &gradients(&plain, &fed), 0.0);
}

#[test]
fn masks_that_cannot_be_are_refused() {
    let model = network(Norm::Layer, 1);
    let refused = |masks: Vec<Mask>| {
        let mut training = training(&model, 4, SGD);
        training.masks = masks;
        training_step(&model, "loss", &training).unwrap_err().to_string()
    };
    let whole = |rate| mask("bn1", MaskKind::Element, rate);
    assert!(
        refused(vec![whole(1.0)])
            .contains("drop rate: expected at least 0 and below 1, found 1 of bn1")
    );
    assert!(refused(vec![whole(f32::NAN)]).contains("drop rate"));
    assert!(refused(vec![mask("bn9", MaskKind::Row, 0.1)]).contains("\"bn9\""));
    assert!(refused(vec![whole(0.1), whole(0.2)]).contains("one mask for each value"));
    let reader = Mask { reader: Some("fc".to_owned()), ..whole(0.1) };
    let text = refused(vec![reader]);
    assert!(
        text.contains("the name of a node that reads the value, found \"fc\" for bn1"),
        "{text}"
    );
    assert!(refused(vec![mask("loss", MaskKind::Row, 0.1)]).contains("a value with rows to drop"));
    assert!(refused(vec![mask("axes", MaskKind::Row, 0.1)]).contains("a value of f32"));
}
