//! Every variant in training: what is chosen of it, and steps that drop, accumulate and recompute.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_autodiff::{
    Checkpoint, Mask, MaskKind, Optimiser, Selection, Training, Which, select, training_step,
};
use nearkin_nn::{Architecture, DropKind, Options, ParameterKind, Scope, Value};
use nearkin_onnx::Model;
use nearkin_zoo::Registry;

/// The variant with the sum of its logits as `loss`; weights are declared only.
fn with_loss(built: &Architecture) -> Model {
    let logits = Value::of(built.graph().find("logits").unwrap());
    let s = Scope::over(built.graph().clone());
    let loss = s.rename(s.sum_all(logits), "loss");
    let mut graph = s.finish().unwrap();
    graph.set_outputs(vec![loss.id().unwrap()]);
    Model::new(graph)
}

fn select_from(built: &Architecture, trainable: Which) -> Vec<nearkin_autodiff::Trainable> {
    let config = Selection {
        trainable,
        classifier: built.classifier.to_owned(),
        weight_decay: 0.5,
        layer_decay: Some(0.5),
    };
    select(&with_loss(built), "loss", &config).unwrap()
}

#[test]
fn what_is_trained_of_a_variant_are_its_parameters() {
    for entry in Registry::standard().entries() {
        let built = entry.build(&Options { num_classes: Some(10), ..Options::default() }).unwrap();
        let name = &built.name;
        let parameters: Vec<_> =
            built.parameters().iter().filter(|parameter| !parameter.kind.is_buffer()).collect();
        let chosen = select_from(&built, Which::All);
        let found: Vec<&str> = chosen.iter().map(|trained| trained.name.as_str()).collect();
        let expected: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(found, expected, "{name}");
        for (trained, parameter) in chosen.iter().zip(&parameters) {
            let decays = parameter.kind == ParameterKind::Weight;
            assert_eq!(trained.decay > 0.0, decays, "{name} {}", trained.name);
        }
        let of = |kinds: &[ParameterKind]| {
            let is_head = |path: &str| path.starts_with(&format!("{}.", built.classifier));
            let chosen = parameters.iter().filter(|p| kinds.contains(&p.kind) || is_head(&p.name));
            chosen.map(|p| p.name.clone()).collect::<Vec<_>>()
        };
        let names = |which| {
            let chosen = select_from(&built, which);
            chosen.into_iter().map(|trained| trained.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Which::Head), of(&[]), "{name}");
        assert_eq!(names(Which::Biases), of(&[ParameterKind::Bias]), "{name}");
        // Scale and shift of each.
        let (norms, scales) = (names(Which::Norms), of(&[ParameterKind::NormWeight]));
        assert!(scales.iter().all(|scale| norms.contains(scale)), "{name}");
        let head = of(&[]).len();
        assert_eq!(norms.len() - head, 2 * (scales.len() - head), "{name}");
    }
}

#[test]
fn layers_are_numbered_as_timm_groups_them() {
    let distance = |variant: &str, parameter: &str| {
        let built = Registry::standard().variant(variant).unwrap();
        let chosen = select_from(&built.build(&Options::default()).unwrap(), Which::All);
        let trained = chosen.iter().find(|trained| trained.name == parameter).unwrap();
        -trained.rate.log2() as i32
    };
    // timm's `param_groups_layer_decay`: the stem is layer 0, the head the last of 14.
    let vit = "vit_tiny_patch16_224";
    assert_eq!(distance(vit, "head.weight"), 0);
    assert_eq!(distance(vit, "norm.weight"), 1);
    assert_eq!(distance(vit, "blocks.11.mlp.fc2.bias"), 1);
    assert_eq!(distance(vit, "blocks.0.norm1.weight"), 12);
    for stem in ["pos_embed", "cls_token", "patch_embed.proj.weight"] {
        assert_eq!(distance(vit, stem), 13, "{stem}");
    }
    // 16 blocks between stem and head.
    assert_eq!(distance("resnet50", "layer4.2.bn3.bias"), 1);
    assert_eq!(distance("resnet50", "layer1.0.downsample.0.weight"), 16);
    assert_eq!(distance("resnet50", "conv1.weight"), 17);
    assert_eq!(distance("resnet50d", "conv1.3.weight"), 17);
}

#[test]
fn every_family_drops_accumulates_and_recomputes() {
    for family in Registry::standard().families() {
        let entry = family.entries().next().unwrap();
        let img_size = (family.name != "vgg").then_some((64, 64));
        let options = Options { num_classes: Some(10), img_size, ..Options::default() };
        let built = entry.build(&options).unwrap();
        let masks = built.drop_sites().iter().map(|site| Mask {
            value: site.value.clone(),
            reader: site.reader.clone(),
            kind: match site.kind {
                DropKind::Path { .. } => MaskKind::Row,
                DropKind::Elements => MaskKind::Element,
            },
            rate: site.rate(0.2, 0.1),
        });
        let optimiser = Optimiser::Sgd { momentum: 0.0, nesterov: false };
        let mut training = Training::new(2, select_from(&built, Which::All), optimiser);
        training.masks = masks.collect();
        training.checkpoint = Checkpoint::Auto;
        // Zeros as large as VGG's parameters tell nothing more.
        training.accumulate = (family.name != "vgg").then_some(2);
        let step = training_step(&with_loss(&built), "loss", &training);
        let step = step.unwrap_or_else(|error| panic!("{}: {error}", built.name));
        let drawn = training.masks.iter().filter(|mask| mask.rate > 0.0).count();
        assert_eq!(step.masks.len(), drawn, "{}", built.name);
        let is_again = |name: &str| name.starts_with("again/");
        let again = step.model.graph.nodes().iter().filter(|node| is_again(&node.name)).count();
        // A network of two linear layers has nothing worth computing twice.
        assert!(again > 0 || family.name == "fcnn", "{}: {again}", built.name);
        assert_eq!(step.apply.is_some(), training.accumulate.is_some());
    }
}
