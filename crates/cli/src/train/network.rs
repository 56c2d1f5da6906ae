//! The network of a training, and how its images are prepared.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use nearkin_data::{CropMode, Eval, Interpolation, Listing, Pixels, Split};
use nearkin_nn::{Options, Weights};
use nearkin_onnx::Model;
use nearkin_train::Network;
use nearkin_zoo::Registry;

use super::job::{Job, sha256};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::map_file::map;
use crate::zoo::read_onnx;

/// A network and what it expects of images.
pub(super) struct Described {
    pub(super) network: Network,
    pub(super) eval: Eval,
    /// Of its first weights.
    pub(super) hash: String,
}

/// The network for this data set, with a head of its classes.
pub(super) fn load(job: &Job, listing: &Listing) -> Result<Described, Failure> {
    let classes = listing.class_names.len();
    if classes < 2 {
        let error = anyhow!("{}: expected at least 2 classes, found {classes}", job.data.display());
        return Err(error).or_exit(Exit::BadInput);
    }
    let path = Path::new(&job.arch);
    let (mut network, eval) = if path.extension().is_some_and(|ending| ending == "onnx") {
        of_file(job, path, classes)?
    } else {
        of_zoo(job, listing, classes)?
    };
    describe(&mut network.model, &eval);
    let mut text = Vec::new();
    for (id, tensor) in network.model.graph.initialisers() {
        text.extend_from_slice(network.model.graph.value(*id).name.as_bytes());
        if let nearkin_onnx::TensorData::Inline(bytes) = &tensor.data {
            text.extend_from_slice(sha256(bytes).as_bytes());
        }
    }
    Ok(Described { network, eval, hash: sha256(&text) })
}

fn of_zoo(job: &Job, listing: &Listing, classes: usize) -> Result<(Network, Eval), Failure> {
    let entry = Registry::standard().variant(&job.arch).or_exit(Exit::Usage)?;
    let config = entry.variant.config;
    let native = levels(listing);
    let size = match (job.img_size, &native) {
        (Some(side), _) => (side, side),
        (None, Some(native)) => native.size,
        (None, None) => config.image,
    };
    let in_chans = native.as_ref().map_or(3, |native| native.mean.len());
    let options = Options { num_classes: Some(classes), in_chans, img_size: Some(size) };
    let built = entry.build(&options).or_exit(Exit::Usage)?;
    let weights = match job.init.strip_prefix("init:") {
        Some(seed) => {
            let seed = seed
                .parse()
                .map_err(|_| anyhow!("--init: expected init:SEED, found {:?}", job.init))
                .or_exit(Exit::Usage)?;
            Weights::init(&built, seed)
        }
        None => {
            let path = Path::new(&job.init);
            let bytes = map(path).or_exit(Exit::BadInput)?;
            Weights::from_safetensors(&built, &bytes, job.recipe.seed)
                .with_context(|| format!("{}: weights refused", path.display()))
                .or_exit(Exit::BadInput)?
                .weights
        }
    };
    let network = Network::of_architecture(&built, &weights).or_exit(Exit::BadInput)?;
    let eval = match native {
        Some(native) => Eval {
            size,
            channels: in_chans,
            mean: native.mean,
            std: native.std,
            interpolation: Interpolation::Bilinear,
            crop_pct: 1.0,
            crop_mode: CropMode::Squash,
        },
        None => Eval {
            size,
            channels: 3,
            mean: config.mean.to_vec(),
            std: config.std.to_vec(),
            interpolation: match config.interpolation {
                nearkin_nn::Interpolation::Bilinear => Interpolation::Bilinear,
                nearkin_nn::Interpolation::Bicubic => Interpolation::Bicubic,
            },
            crop_pct: config.crop_pct,
            crop_mode: match config.crop_mode {
                nearkin_nn::CropMode::Center => CropMode::Center,
                nearkin_nn::CropMode::Squash => CropMode::Squash,
                nearkin_nn::CropMode::Border => CropMode::Border,
            },
        },
    };
    Ok((network, eval))
}

/// Any ONNX file: prepared as it says itself, else as ImageNet's networks are.
fn of_file(job: &Job, path: &Path, classes: usize) -> Result<(Network, Eval), Failure> {
    let model = read_onnx(path).or_exit(Exit::BadInput)?;
    let said = |key: &str| {
        let key = format!("nearkin.{key}");
        model.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    };
    let list = |key: &str, default: [f32; 3]| -> anyhow::Result<Vec<f32>> {
        let Some(text) = said(key) else { return Ok(default.to_vec()) };
        let values: Result<Vec<f32>, _> = text.split(',').map(|v| v.trim().parse()).collect();
        values.with_context(|| format!("nearkin.{key}: expected numbers, found {text:?}"))
    };
    let mut mean = list("mean", nearkin_data::IMAGENET_MEAN).or_exit(Exit::BadInput)?;
    let mut std = list("std", nearkin_data::IMAGENET_STD).or_exit(Exit::BadInput)?;
    let named = |key: &str, default: &str| said(key).unwrap_or_else(|| default.to_owned());
    let interpolation = Interpolation::from_name(&named("interpolation", "bicubic"));
    let crop_mode = CropMode::from_name(&named("crop_mode", "center"));
    let crop_pct =
        named("crop_pct", "0.875").parse().context("nearkin.crop_pct").or_exit(Exit::BadInput)?;
    let name = path.display().to_string();
    let network =
        Network::of_model(&name, model, None, classes, job.recipe.seed).or_exit(Exit::BadInput)?;
    let [channels, height, width] = network.image;
    mean.truncate(channels);
    std.truncate(channels);
    let unknown = || anyhow!("{name}: its interpolation or crop mode has no known name");
    let eval = Eval {
        size: (height, width),
        channels,
        mean,
        std,
        interpolation: interpolation.ok_or_else(unknown).or_exit(Exit::BadInput)?,
        crop_pct,
        crop_mode: crop_mode.ok_or_else(unknown).or_exit(Exit::BadInput)?,
    };
    Ok((network, eval))
}

/// Writes into the model how its images are prepared, so that other verbs do the same.
fn describe(model: &mut Model, eval: &Eval) {
    let list = |values: &[f32]| {
        let texts: Vec<String> = values.iter().map(f32::to_string).collect();
        texts.join(",")
    };
    let said = [
        ("nearkin.mean", list(&eval.mean)),
        ("nearkin.std", list(&eval.std)),
        ("nearkin.crop_pct", eval.crop_pct.to_string()),
        ("nearkin.crop_mode", format!("{:?}", eval.crop_mode).to_lowercase()),
        ("nearkin.interpolation", format!("{:?}", eval.interpolation).to_lowercase()),
    ];
    for (key, value) in said {
        model.metadata.retain(|(name, _)| name != key);
        model.metadata.push((key.to_owned(), value));
    }
}

/// Small images that lie in memory, all of one size.
struct Native {
    size: (usize, usize),
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// Size, and mean and deviation of each channel over the training images, if all are in memory.
fn levels(listing: &Listing) -> Option<Native> {
    let part = listing.part(Split::Train)?;
    let Pixels::Levels { images, .. } = &part.samples.first()?.pixels else { return None };
    let (count, channels, height, width) = images.dim();
    let pixels = (count * height * width) as f64;
    let mut native = Native { size: (height, width), mean: Vec::new(), std: Vec::new() };
    for channel in 0..channels {
        let plane = images.slice(ndarray::s![.., channel, .., ..]);
        let mut counts = [0u64; 256];
        plane.iter().for_each(|&level| counts[usize::from(level)] += 1);
        let moment = |power: i32| -> f64 {
            let term =
                |(level, &count): (usize, &u64)| (level as f64 / 255.0).powi(power) * count as f64;
            counts.iter().enumerate().map(term).sum::<f64>() / pixels
        };
        let mean = moment(1);
        let std = (moment(2) - mean * mean).max(0.0).sqrt();
        native.mean.push(mean as f32);
        native.std.push(if std > 0.0 { std as f32 } else { 1.0 });
    }
    Some(native)
}
