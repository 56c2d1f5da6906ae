//! A small network learns the digits, with and without a graph, and a training that is cut off goes on
//! bit for bit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use nearkin_data::{
    CropMode, DecodeOptions, Eval, Evaluate, Interpolation, ListedPart, Listing, OpenOptions,
    Samples,
};
use nearkin_graph::{
    Distance, Engine, Graph, Symmetry, Weighting, knn_graph, nearest_neighbours, symmetrised,
};
use nearkin_nn::{Options, Weights};
use nearkin_runtime as runtime;
use nearkin_train::{
    GraphRecipe, Layer, Loss, Network, OptimiserName, Progress, Recipe, Set, TrainError,
    TrainableRule, Trained, Trainer, Watch, WeightedLoss,
};
use nearkin_zoo::Registry;

type Images = Samples<Evaluate>;

fn digits(count: usize) -> Arc<Images> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/digits");
    let listing = Listing::open(Path::new(folder), &OpenOptions::default()).unwrap();
    let mut samples = listing.parts[0].samples.clone();
    samples.truncate(count);
    let part = Arc::new(ListedPart { split: listing.parts[0].split, samples });
    let eval = Eval {
        size: (8, 8),
        channels: 1,
        mean: vec![0.3],
        std: vec![0.4],
        interpolation: Interpolation::Bilinear,
        crop_pct: 1.0,
        crop_mode: CropMode::Center,
    };
    Arc::new(Samples::new(part, DecodeOptions::default(), Evaluate::new(&eval).unwrap()))
}

fn network() -> Network {
    let entry = Registry::standard().variant("fcnn_32_16").unwrap();
    let options = Options { num_classes: Some(10), in_chans: 1, img_size: Some((8, 8)) };
    let built = entry.build(&options).unwrap();
    Network::of_architecture(&built, &Weights::init(&built, 1)).unwrap()
}

/// Breaks off after so many steps.
struct After(u64);

impl Watch for After {
    fn step(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if progress.step >= self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn ring(images: &Images) -> Graph {
    let n = <Images as nearkin_data::Source<f32>>::count(images);
    let points = ndarray::Array2::from_shape_fn((n, 2), |(i, j)| ((i * 7 + j * 3) % n) as f32);
    let near = nearest_neighbours(points.view(), 3, Distance::Euclidean, Engine::Auto).unwrap();
    let graph = knn_graph(&near, Distance::Euclidean, Weighting::Constant).unwrap();
    symmetrised(graph.view(), Symmetry::Max)
}

fn train(recipe: &Recipe, folder: Option<&Path>, watch: &mut dyn Watch) -> Trained {
    try_train(network(), recipe, folder, watch).unwrap()
}

fn try_train(
    network: Network,
    recipe: &Recipe,
    folder: Option<&Path>,
    watch: &mut dyn Watch,
) -> Result<Trained, TrainError> {
    let images = digits(300);
    let graph = recipe.graph.is_some().then(|| ring(&images));
    let mut trainer = Trainer {
        network,
        recipe: recipe.clone(),
        train: Set::new(Arc::clone(&images)),
        plain: Some(images),
        validation: None::<Set<Images>>,
        graph,
        rebuild: None,
        options: runtime::Options::default(),
        threads: 1,
        folder: folder.map(Path::to_owned),
        log_every: 1,
        identity: BTreeMap::new(),
        watch,
    };
    trainer.run()
}

#[test]
fn the_loss_falls_and_the_accuracy_rises() {
    let recipe = Recipe { epochs: 60, learning_rate: 5e-3, ..Recipe::default() };
    let trained = train(&recipe, None, &mut ());
    let value = |at: usize, name: &str| trained.epochs[at].value(name).unwrap();
    assert!(value(0, "train/cross-entropy") > 1.5);
    assert!(value(59, "train/cross-entropy") < 0.5);
    assert!(value(59, "train/accuracy") > 0.9);
    assert!(value(59, "embedding/effective_rank") > 3.0);
}

#[test]
fn a_training_that_is_cut_off_goes_on_bit_for_bit() {
    let recipe = Recipe {
        epochs: 3,
        batch: 32,
        average: Some(0.9),
        clip_norm: Some(1.0),
        graph: Some(GraphRecipe { alpha: 0.1, edges: 16, ..GraphRecipe::default() }),
        ..Recipe::default()
    };
    let whole = train(&recipe, None, &mut ());
    let folder = tempfile::tempdir().unwrap();
    let cut = train(&recipe, Some(folder.path()), &mut After(13));
    assert!(!cut.finished && cut.steps == 13);
    let resumed = train(&recipe, Some(folder.path()), &mut ());
    assert!(resumed.finished);
    assert_eq!(whole.model, resumed.model);
    let last = |trained: &Trained| trained.epochs.last().cloned();
    assert_eq!(last(&whole), last(&resumed));
    let lines = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 30 + 3);
}

#[test]
fn whatever_a_recipe_asks_for_trains_and_goes_on_bit_for_bit() {
    let graph = GraphRecipe {
        layer: Layer::NormalisedEmbedding,
        carried: Some(0.5),
        repulsion: 0.1,
        edges: 8,
        ..GraphRecipe::default()
    };
    let loss = |name, weight| WeightedLoss { loss: Loss::by_name(name).unwrap(), weight };
    let recipe = Recipe {
        epochs: 2,
        batch: 16,
        optimiser: OptimiserName::Sgd,
        learning_rate: 0.01,
        dropout: 0.2,
        accumulate: 3,
        recompute: true,
        layer_decay: Some(0.5),
        losses: vec![loss("cross-entropy", 1.0), loss("triplet", 0.5), loss("arc-face", 0.1)],
        graph: Some(graph),
        ..Recipe::default()
    };
    let whole = train(&recipe, None, &mut ());
    let record = whole.epochs.last().unwrap();
    for term in
        ["cross-entropy", "triplet", "arc-face", "graph_term", "carried_labels", "repulsion"]
    {
        assert!(record.value(&format!("train/{term}")).is_some(), "{term}: {record:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let cut = train(&recipe, Some(folder.path()), &mut After(8));
    assert_eq!(cut.steps, 8); // in the middle of three batches
    assert_eq!(train(&recipe, Some(folder.path()), &mut ()).model, whole.model);
}

#[test]
fn every_loss_and_every_optimiser_lowers_itself() {
    for loss in Loss::all() {
        let name = loss.name();
        let losses = vec![WeightedLoss { loss, weight: 1.0 }];
        let recipe = Recipe { epochs: 6, losses, learning_rate: 3e-3, ..Recipe::default() };
        let trained = train(&recipe, None, &mut ());
        let value = |at: usize| trained.epochs[at].value(&format!("train/{name}")).unwrap();
        assert!(value(5) < value(0), "{name}: {} to {}", value(0), value(5));
    }
    use OptimiserName::*;
    for optimiser in [Sgd, Nesterov, Adam, Adamw, Rmsprop, Lion] {
        let learning_rate = if matches!(optimiser, Sgd | Nesterov) { 0.03 } else { 1e-3 };
        let recipe = Recipe { epochs: 6, optimiser, learning_rate, ..Recipe::default() };
        let trained = train(&recipe, None, &mut ());
        let value = |at: usize| trained.epochs[at].value("train/cross-entropy").unwrap();
        assert!(value(5) < value(0), "{optimiser:?}: {} to {}", value(0), value(5));
    }
}

#[test]
fn a_frozen_backbone_stays_as_it_is() {
    let recipe = Recipe { epochs: 2, trainable: TrainableRule::Head, ..Recipe::default() };
    let (before, after) = (network(), train(&recipe, None, &mut ()).model);
    for (id, tensor) in before.model.graph.initialisers() {
        let name = &before.model.graph.value(*id).name;
        let now = after.graph.initialiser(after.graph.find(name).unwrap()).unwrap();
        assert_eq!(now == tensor, !name.starts_with("head."), "{name}");
    }
}

#[test]
fn the_first_tensor_that_is_not_finite_is_named_and_the_last_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe { epochs: 2, ..Recipe::default() };
    train(&Recipe { epochs: 1, ..recipe.clone() }, Some(folder.path()), &mut ());
    let kept = || std::fs::read_dir(folder.path().join("checkpoints")).unwrap().count();
    let before = kept();
    let huge = Recipe { optimiser: OptimiserName::Sgd, learning_rate: 1e30, ..recipe };
    let fresh = tempfile::tempdir().unwrap();
    let error = try_train(network(), &huge, Some(fresh.path()), &mut ()).unwrap_err();
    let TrainError::NotFinite { step, term, first, .. } = &error else { panic!("{error}") };
    assert!(*step > 0 && term == "cross-entropy", "{error}");
    assert!(first.starts_with("first in \"") && first.contains("made by"), "{error}");
    assert_eq!(kept(), before);
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(&Recipe { epochs: 1, ..Recipe::default() }, Some(folder.path()), &mut ());
    let other = Recipe { epochs: 2, average: Some(0.5), ..Recipe::default() };
    let error = try_train(network(), &other, Some(folder.path()), &mut ()).unwrap_err();
    assert!(error.to_string().contains("of another training: tensor"), "{error}");
}
