//! `nearkin train`.

mod graph;
mod images;
mod job;
mod network;
mod progress;
mod report;
pub(crate) mod suite;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use nearkin_bench::files::write_whole;
use nearkin_data::Format;
use nearkin_train::{
    Layer, Loss, OptimiserName, RateSchedule, Sampling, TrainableRule, TrainingBatchNorm,
    WeightedLoss, edge_distance,
};

use crate::engine_arguments::EngineArguments;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::{Ended, interrupt, output};
pub(crate) use graph::PIXELS;
use job::{Augmentation, GraphSource, Job, Labels};
use progress::Bar;

/// Train a network, with a similarity graph if there is one.
///
/// Minimises L + α·Σ w·d(φ(x_u), φ(x_v)): L on the labelled images, the sum over edges of a graph over all
/// training images, labelled or not. Any variant of the zoo or any ONNX file is trained as it is, in plain ONNX
/// Runtime. The graph is used in training only.
///
/// Into the folder of --output go the trained network (model.onnx, and model.safetensors with the same names),
/// result.json, config.toml (what was asked for, to be repeated by --config), checkpoints, and logs: log.jsonl,
/// epochs.csv, curves.svg and .html, and TensorBoard's event files. A run that was stopped goes on, bit for bit,
/// when the same command is given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin train --data fixtures/digits --arch fcnn_128_64 --labels 50 --graph knn:7 -o run\n  \
    nearkin train --data photos/ --arch resnet18 --init resnet18.safetensors --graph knn:15 --control -o run\n  \
    nearkin train --data photos/ --arch backbone.onnx --trainable head -o run     (a foreign file, linear probe)\n  \
    nearkin train --config run/config.toml -o again\n\n\
    --config FILE.toml holds the same settings by the same names, those of the recipe in a table [recipe]; options\n\
    given beside it count.")]
pub(crate) struct Arguments {
    /// Settings from a file; options given beside it count.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,

    /// The data set: a folder or file, as `nearkin data check` takes it.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// How it is stored [default: what is found there].
    #[arg(long, value_parser = crate::data::named(crate::data::FORMATS, Format::as_str))]
    format: Option<Format>,

    /// A variant, as `nearkin zoo list` names it, or an ONNX file.
    #[arg(long, value_name = "VARIANT|FILE.onnx")]
    arch: Option<String>,

    /// First weights of a variant: init:SEED (random) or FILE.safetensors [default: init:0].
    #[arg(long, value_name = "init:SEED|FILE")]
    init: Option<String>,

    /// Height and width of the network's input [default: the network's, or the images' if all are of one size
    /// and smaller].
    #[arg(long, value_name = "SIDE")]
    img_size: Option<usize>,

    /// Labels that may be used: a number of images in all, as many of each class, or a share of them as in 10%
    /// [default: all].
    #[arg(long, value_name = "N|P%")]
    labels: Option<Labels>,

    /// Seed of the draw of labels.
    #[arg(long, value_name = "N")]
    label_seed: Option<u64>,

    /// Share of the labelled training images to hold out for validation, as in 10%, if the data set has no
    /// validation part.
    #[arg(long, value_name = "P%", value_parser = job::share)]
    validation: Option<f64>,

    /// Random changes of training images: none, cifar, mnist, timm, or rand-m9-mstd0.5-inc1 and the like
    /// [default: none].
    #[arg(long, value_name = "NAME")]
    augment: Option<Augmentation>,

    /// The graph over the training images: knn:K, mutual:K, same-label or same-label:M, tsv:FILE, own:K (of the network's own
    /// embeddings), or a file of `nearkin graph build` [default: none].
    #[arg(long, value_name = "SOURCE")]
    graph: Option<GraphSource>,

    /// What neighbours are searched in: pixels, an .npy file of one row for each training image, or an ONNX file
    /// whose embeddings are taken [default: pixels].
    #[arg(long, value_name = "pixels|FILE")]
    graph_from: Option<PathBuf>,

    /// Epochs between two graphs of own embeddings.
    #[arg(long, value_name = "N")]
    rebuild_every: Option<u64>,

    /// α, the weight of the graph's term.
    #[arg(long, value_name = "A")]
    alpha: Option<f32>,

    /// Share of the steps over which α rises from 0.
    #[arg(long, value_name = "SHARE")]
    warm_up: Option<f64>,

    /// d: l1, squared-l2, l2, cosine, kl, js or cross-entropy; the last three of probabilities.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| edge_distance(text))]
    distance: Option<nearkin_train::EdgeDistance>,

    /// What the ends of an edge are compared by: embedding, normalised-embedding, logits or probabilities.
    #[arg(long, value_name = "NAME", value_parser = by_serde::<Layer>)]
    layer: Option<Layer>,

    /// Edges in a step.
    #[arg(long, value_name = "N")]
    edges: Option<usize>,

    /// How edges are drawn: edges (from the whole graph, by weight), neighbours (of the labelled images of the
    /// step), or shares of labelled-labelled, labelled-unlabelled and unlabelled-unlabelled edges as in 0.2,0.4,0.4.
    #[arg(long, value_name = "HOW", value_parser = sampling)]
    sampling: Option<Sampling>,

    /// Weight of a cross-entropy of unlabelled images with the labels that the graph carries to them [default: 1,
    /// and 0 for images of several classes].
    #[arg(long, value_name = "W")]
    carried: Option<f32>,

    /// Weight of a term that keeps images without an edge apart.
    #[arg(long, value_name = "W")]
    repulsion: Option<f32>,

    /// Train the matched control too: α = 0, the same steps on the same images, the same seeds.
    #[arg(long)]
    control: bool,

    /// A loss and its weight, as in cross-entropy or triplet=0.5; several add up.
    #[arg(long, value_name = "NAME[=W]", value_parser = weighted_loss)]
    loss: Vec<WeightedLoss>,

    /// Label smoothing of the cross-entropy, in [0, 1].
    #[arg(long, value_name = "E")]
    label_smoothing: Option<f32>,

    /// Passes over the training images.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,

    /// Labelled images in a step.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// sgd, nesterov, adam, adamw, rmsprop or lion.
    #[arg(long, value_name = "NAME", value_parser = by_serde::<OptimiserName>)]
    optimiser: Option<OptimiserName>,

    /// The peak of the learning rate.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,

    /// constant, cosine, one-cycle, step or plateau, with customary settings; others by --config.
    #[arg(long, value_name = "NAME", value_parser = schedule)]
    schedule: Option<RateSchedule>,

    /// Weight decay; not on biases and normalisation.
    #[arg(long, value_name = "L")]
    weight_decay: Option<f32>,

    /// Hold the norm of the gradient down to this.
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f32>,

    /// Keep a moving average of the weights, with this share of the old, and use it in the end.
    #[arg(long, value_name = "SHARE")]
    average: Option<f32>,

    /// What is trained beside the head: all, head (nothing else), norms, biases, last:LAYERS, or patterns of names
    /// as in 'layer4.*,!*.bias'.
    #[arg(long, value_name = "WHAT", value_parser = trainable)]
    trainable: Option<TrainableRule>,

    /// Factor on the learning rate from each layer to the one before it.
    #[arg(long, value_name = "FACTOR")]
    layer_decay: Option<f32>,

    /// Stochastic depth: share of images whose last residual branch is dropped.
    #[arg(long, value_name = "SHARE")]
    drop_path: Option<f32>,

    /// Dropout of the embedding, and where else the network has it.
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f32>,

    /// Batches whose mean gradient makes one step.
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,

    /// Compute parts of the forward pass again in the backward pass, to need less memory.
    #[arg(long)]
    recompute: bool,

    /// Leave batch normalisation's statistics as they are.
    #[arg(long)]
    freeze_batch_norm: bool,

    /// End after so many epochs without a better validation accuracy.
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u64>,

    /// Seed of the order of images and edges, and of augmentation.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// The folder of the run; a run that is in it goes on.
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,

    #[command(flatten)]
    engine: EngineArguments,
}

/// A value by its name in TOML.
fn by_serde<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    use serde::de::IntoDeserializer as _;
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(name).map_err(|error| error.to_string())
}

fn sampling(text: &str) -> Result<Sampling, String> {
    match text {
        "edges" => return Ok(Sampling::Edges),
        "neighbours" => return Ok(Sampling::Neighbours),
        _ => {}
    }
    let shares: Result<Vec<f64>, _> = text.split(',').map(str::parse).collect();
    match shares.as_deref() {
        Ok(&[labelled, mixed, unlabelled]) => Ok(Sampling::Kinds(labelled, mixed, unlabelled)),
        _ => Err("expected edges, neighbours or three shares as in 0.2,0.4,0.4".to_owned()),
    }
}

fn weighted_loss(text: &str) -> Result<WeightedLoss, String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let known = || Loss::all().iter().map(Loss::name).collect::<Vec<_>>().join(", ");
    let loss = Loss::by_name(name).ok_or_else(|| format!("expected one of {}", known()))?;
    let weight = weight.parse().map_err(|_| format!("expected a weight, found {weight:?}"))?;
    Ok(WeightedLoss { loss, weight })
}

fn schedule(text: &str) -> Result<RateSchedule, String> {
    match text {
        "constant" => Ok(RateSchedule::Constant),
        "cosine" => Ok(RateSchedule::Cosine { warm_up_epochs: 1.0, last: 0.0 }),
        "one-cycle" => {
            Ok(RateSchedule::OneCycle { rise: 0.3, start_divisor: 25.0, end_divisor: 1e4 })
        }
        "step" => Ok(RateSchedule::Step { epochs: 30, factor: 0.1 }),
        "plateau" => Ok(RateSchedule::Plateau { factor: 0.1, patience: 10 }),
        _ => Err("expected constant, cosine, one-cycle, step or plateau".to_owned()),
    }
}

fn trainable(text: &str) -> Result<TrainableRule, String> {
    Ok(match text {
        "all" => TrainableRule::All,
        "head" => TrainableRule::Head,
        "norms" => TrainableRule::Norms,
        "biases" => TrainableRule::Biases,
        last if last.starts_with("last:") => {
            let count = last.trim_start_matches("last:").parse();
            TrainableRule::Last(count.map_err(|_| format!("expected last:LAYERS, found {last:?}"))?)
        }
        names => TrainableRule::Patterns(names.split(',').map(str::to_owned).collect()),
    })
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let job = self.job()?;
        let stop = interrupt::flag();
        std::fs::create_dir_all(&self.output)
            .with_context(|| format!("{}: cannot be made", self.output.display()))
            .or_exit(Exit::NotWritable)?;
        let text = toml::to_string_pretty(&job).or_exit(Exit::Usage)?;
        self.keep_config(&text)?;
        let options = self.engine.options();
        let mut runs = vec![("", job.clone())];
        if self.control {
            runs.push(("control", job.control().or_exit(Exit::Usage)?));
        }
        let mut results = Vec::new();
        for (name, job) in &runs {
            let folder = if name.is_empty() { self.output.clone() } else { self.output.join(name) };
            let mut bar = Bar::new(quiet, if name.is_empty() { "train" } else { name }, stop);
            let Some(result) = job.run(Some(&folder), &options, &mut bar)? else {
                return Ok(Exit::Interrupted);
            };
            bar.clear();
            result.write(&folder)?;
            results.push(((*name).to_owned(), result));
        }
        output::print(&report::table(&results))?;
        Ok(Exit::Done)
    }

    /// Writes the settings, and refuses a folder that holds a run of others.
    fn keep_config(&self, text: &str) -> Result<(), Failure> {
        let path = self.output.join("config.toml");
        match std::fs::read_to_string(&path) {
            Ok(old) if old == text => Ok(()),
            Ok(_) => Err(anyhow!(
                "{}: expected a new folder or a run of the same settings, found one of others (compare {})",
                self.output.display(),
                path.display()
            ))
            .or_exit(Exit::Usage),
            Err(_) => write_whole(&path, text.as_bytes())
                .with_context(|| format!("{}: cannot be written", path.display()))
                .or_exit(Exit::NotWritable),
        }
    }

    /// What the file says, then what the options say.
    fn job(&self) -> Result<Job, Failure> {
        let mut job = match &self.config {
            Some(path) => read_config(path)?,
            None => Job::default(),
        };
        fn set<T: Clone>(place: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                place.clone_from(given);
            }
        }
        fn set_some<T: Clone>(place: &mut Option<T>, given: &Option<T>) {
            if given.is_some() {
                place.clone_from(given);
            }
        }
        set(&mut job.data, &self.data);
        set(&mut job.arch, &self.arch);
        set(&mut job.init, &self.init);
        if let Some(format) = self.format {
            job.format = Some(format.as_str().to_owned());
        }
        set_some(&mut job.img_size, &self.img_size);
        set_some(&mut job.labels, &self.labels);
        set(&mut job.label_seed, &self.label_seed);
        set_some(&mut job.validation, &self.validation);
        set(&mut job.augment, &self.augment);
        set_some(&mut job.graph, &self.graph);
        set_some(&mut job.graph_from, &self.graph_from);
        set(&mut job.rebuild_every, &self.rebuild_every);
        let recipe = &mut job.recipe;
        if !self.loss.is_empty() {
            recipe.losses.clone_from(&self.loss);
        }
        if let Some(smoothing) = self.label_smoothing {
            let found = recipe.losses.iter_mut().find_map(|l| match &mut l.loss {
                Loss::CrossEntropy { label_smoothing } => Some(label_smoothing),
                _ => None,
            });
            let missing = || anyhow!("--label-smoothing: expected the loss cross-entropy");
            *found.ok_or_else(missing).or_exit(Exit::Usage)? = smoothing;
        }
        set(&mut recipe.epochs, &self.epochs);
        set(&mut recipe.batch, &self.batch);
        set(&mut recipe.optimiser, &self.optimiser);
        set(&mut recipe.learning_rate, &self.learning_rate);
        set(&mut recipe.schedule, &self.schedule);
        set(&mut recipe.weight_decay, &self.weight_decay);
        set_some(&mut recipe.clip_norm, &self.clip_norm);
        set_some(&mut recipe.average, &self.average);
        set(&mut recipe.trainable, &self.trainable);
        set_some(&mut recipe.layer_decay, &self.layer_decay);
        set(&mut recipe.drop_path, &self.drop_path);
        set(&mut recipe.dropout, &self.dropout);
        set(&mut recipe.accumulate, &self.accumulate);
        recipe.recompute |= self.recompute;
        if self.freeze_batch_norm {
            recipe.batch_norm = TrainingBatchNorm::Frozen;
        }
        set_some(&mut recipe.patience, &self.patience);
        set(&mut recipe.seed, &self.seed);
        let of_graph = self.alpha.is_some()
            || self.warm_up.is_some()
            || self.distance.is_some()
            || self.layer.is_some()
            || self.edges.is_some()
            || self.sampling.is_some()
            || self.carried.is_some()
            || self.repulsion.is_some();
        if job.graph.is_some() {
            let graph = recipe.graph.get_or_insert_default();
            set(&mut graph.alpha, &self.alpha);
            set(&mut graph.warm_up, &self.warm_up);
            set(&mut graph.distance, &self.distance);
            set(&mut graph.layer, &self.layer);
            set(&mut graph.edges, &self.edges);
            set(&mut graph.sampling, &self.sampling);
            set_some(&mut graph.carried, &self.carried);
            set(&mut graph.repulsion, &self.repulsion);
        } else if of_graph || self.control || recipe.graph.is_some() {
            let error = anyhow!("options of the graph's term need --graph: found none");
            return Err(error).or_exit(Exit::Usage);
        }
        if job.data.as_os_str().is_empty() || job.arch.is_empty() {
            let error = anyhow!("expected --data and --arch, or --config with them");
            return Err(error).or_exit(Exit::Usage);
        }
        recipe.check().or_exit(Exit::Usage)?;
        Ok(job)
    }
}

fn read_config(path: &Path) -> Result<Job, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot be read", path.display()))
        .or_exit(Exit::BadInput)?;
    toml::from_str(&text)
        .with_context(|| format!("{}: not a training's settings", path.display()))
        .or_exit(Exit::BadInput)
}
