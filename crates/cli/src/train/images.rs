//! The images of a training: its parts, the labels that may be used, and how they are prepared.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use nearkin_data::{
    Augment, Augmented, DecodeOptions, Eval, Evaluate, Framing, Image, ListedPart, Listing, Place,
    Prepare, Sample, Samples, Split, Stage, StageTimes, Target, draw_labels, draw_per_class,
    stratified_split,
};
use nearkin_train::{Network, Set};

use super::job::{Augmentation, Job, Labels, sha256};
use crate::exit::{Exit, Failure, OrExit as _};

/// Images prepared for training, changed at random or not.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    Plain(Box<Evaluate>),
    Augmented(Box<Augmented>),
}

impl Prepare for Prepared {
    fn shape(&self) -> [usize; 3] {
        match self {
            Self::Plain(plain) => Prepare::<f32>::shape(&**plain),
            Self::Augmented(augmented) => augmented.shape(),
        }
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Plain(plain) => Prepare::<f32>::stage(&**plain),
            Self::Augmented(augmented) => augmented.stage(),
        }
    }

    fn run(&mut self, image: &Image, place: Place, out: &mut [f32]) -> Result<(), String> {
        match self {
            Self::Plain(plain) => plain.run(image, place, out),
            Self::Augmented(augmented) => augmented.run(image, place, out),
        }
    }

    fn run_file(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        out: &mut [f32],
        times: &mut StageTimes,
    ) -> Option<Result<(), String>> {
        match self {
            Self::Plain(plain) => plain.run_file(bytes, options, out, times),
            Self::Augmented(_) => None,
        }
    }
}

/// The parts of a data set, ready to be loaded.
pub(super) struct Images {
    pub(super) train: Set<Samples<Prepared>>,
    /// The training images without random changes.
    pub(super) plain: Arc<Samples<Evaluate>>,
    /// Labels of training images that may be used.
    pub(super) labels: Vec<Option<usize>>,
    pub(super) names: Vec<String>,
    pub(super) train_samples: Arc<ListedPart>,
    pub(super) validation: Option<Set<Samples<Evaluate>>>,
    pub(super) test: Option<Set<Samples<Evaluate>>>,
    /// Of the names and labels in use, and of pixels in memory.
    pub(super) hash: String,
}

/// Lists the data set.
pub(super) fn list(path: &Path, format: Option<&str>) -> Result<Listing, Failure> {
    let find = |name: &str| {
        let found = crate::data::FORMATS.into_iter().find(|format| format.as_str() == name);
        found.ok_or_else(|| anyhow!("format: expected a format's name, found {name:?}"))
    };
    let format = format.map(find).transpose().or_exit(Exit::Usage)?;
    crate::data::open(path, format, false)
}

impl Images {
    pub(super) fn new(
        job: &Job,
        listing: &Listing,
        network: &Network,
        eval: &Eval,
    ) -> Result<Self, Failure> {
        let wrong =
            |text: String| Err(anyhow!("{}: {text}", job.data.display())).or_exit(Exit::BadInput);
        let Some(part) = listing.part(Split::Train).filter(|part| !part.samples.is_empty()) else {
            let found: Vec<_> = listing.parts.iter().map(|part| part.split.as_str()).collect();
            return wrong(format!("expected training images, found parts: {}", found.join(", ")));
        };
        let mut train = part.samples.clone();
        let mut held_out = listing.part(Split::Validation).map(|part| part.samples.clone());
        if let (None, Some(share)) = (&held_out, job.validation) {
            let (kept, held) = hold_out(&train, share, job.recipe.seed)?;
            (train, held_out) = (kept, Some(held));
        }
        let known = drawn(&train, job, network.classes)?;
        let labels: Vec<Option<usize>> = train
            .iter()
            .zip(&known)
            .map(|(sample, &known)| match sample.target {
                Target::Class(class) if known => Some(class),
                _ => None,
            })
            .collect();
        let names: Vec<String> = train.iter().map(|sample| sample.name.clone()).collect();
        let hash = hash(&train, &known);
        let evaluate = Evaluate::new(eval).or_exit(Exit::Usage)?;
        let prepared = match augment(&job.augment, eval)? {
            None => Prepared::Plain(Box::new(evaluate.clone())),
            Some(augment) => {
                let augmented = Augmented::new(&augment, job.recipe.seed).or_exit(Exit::Usage)?;
                Prepared::Augmented(Box::new(augmented))
            }
        };
        let part = |split, samples| Arc::new(ListedPart { split, samples });
        let train = part(Split::Train, train);
        let train_samples = Arc::clone(&train);
        let decode = DecodeOptions::default();
        let plain =
            |split, samples| Arc::new(Samples::new(part(split, samples), decode, evaluate.clone()));
        let set = |split, samples| Set::new(plain(split, samples));
        Ok(Self {
            plain: Arc::new(Samples::new(Arc::clone(&train), decode, evaluate.clone())),
            train: Set { source: Arc::new(Samples::new(train, decode, prepared)), labelled: known },
            labels,
            names,
            train_samples,
            validation: held_out.map(|samples| set(Split::Validation, samples)),
            test: listing
                .part(Split::Test)
                .filter(|part| !part.samples.is_empty())
                .map(|part| set(Split::Test, part.samples.clone())),
            hash,
        })
    }

    /// Classes of training images that are known but may not be used.
    pub(super) fn hidden(&self) -> Vec<Option<usize>> {
        let hidden = |(sample, label): (&Sample, &Option<usize>)| match (&sample.target, label) {
            (Target::Class(class), None) => Some(*class),
            _ => None,
        };
        self.train_samples.samples.iter().zip(&self.labels).map(hidden).collect()
    }

    /// The training images' values `[n, C·H·W]`, as the network sees them.
    pub(super) fn pixels(&self, threads: usize) -> Result<ndarray::Array2<f32>, Failure> {
        use nearkin_data::{Loader, LoaderConfig, Source};
        let source = &self.plain;
        let count = Source::<f32>::count(&**source);
        let width: usize = Source::<f32>::shape(&**source).iter().product();
        let mut values = ndarray::Array2::zeros((count, width));
        let config = LoaderConfig { threads, strict: true, ..LoaderConfig::new(256) };
        let loader = Loader::new(Arc::clone(source), config).or_exit(Exit::BadInput)?;
        let mut epoch = loader.epoch(0).or_exit(Exit::Unavailable)?;
        while let Some(batch) = epoch.next_batch().or_exit(Exit::BadInput)? {
            for (image, &index) in batch.images.outer_iter().zip(batch.indices) {
                let row = values.row_mut(index);
                row.into_iter().zip(image.iter()).for_each(|(to, &from)| *to = from);
            }
        }
        Ok(values)
    }
}

/// Splits the labelled images; those without a label stay.
fn hold_out(
    samples: &[Sample],
    share: f64,
    seed: u64,
) -> Result<(Vec<Sample>, Vec<Sample>), Failure> {
    let single = |sample: &Sample| match sample.target {
        Target::Class(class) => Some(class),
        _ => None,
    };
    let labelled: Vec<usize> =
        (0..samples.len()).filter(|&i| single(&samples[i]).is_some()).collect();
    let classes: Vec<usize> = labelled.iter().filter_map(|&i| single(&samples[i])).collect();
    let split = stratified_split(&classes, share, seed).or_exit(Exit::BadInput)?;
    let mut held = vec![false; samples.len()];
    split.held_out.iter().for_each(|&i| held[labelled[i]] = true);
    let of = |wanted: bool| {
        let picked = samples.iter().zip(&held).filter(|(_, held)| **held == wanted);
        picked.map(|(sample, _)| sample.clone()).collect()
    };
    Ok((of(false), of(true)))
}

/// Which labels may be used.
fn drawn(samples: &[Sample], job: &Job, classes: usize) -> Result<Vec<bool>, Failure> {
    let has_label = |sample: &Sample| !matches!(sample.target, Target::Unlabelled);
    let Some(labels) = job.labels else { return Ok(samples.iter().map(has_label).collect()) };
    let mut places = Vec::new();
    let mut of_places = Vec::new();
    for (i, sample) in samples.iter().enumerate() {
        if let Target::Class(class) = sample.target {
            places.push(i);
            of_places.push(class);
        }
    }
    let chosen = match labels {
        Labels::Count(count) => {
            let seed = u32::try_from(job.label_seed)
                .map_err(|_| anyhow!("label seed: expected below 2³², found {}", job.label_seed))
                .or_exit(Exit::Usage)?;
            draw_labels(&of_places, classes, count, seed).or_exit(Exit::Usage)?
        }
        Labels::Share(share) if share >= 1.0 => (0..places.len()).collect(),
        Labels::Share(share) => {
            // As many of every class as the share of the average class has, at least one.
            let each = (share * places.len() as f64 / classes.max(1) as f64).round().max(1.0);
            let drawn = draw_per_class(&of_places, each as usize, job.label_seed);
            drawn.or_exit(Exit::Usage)?.kept
        }
    };
    let mut known = vec![false; samples.len()];
    chosen.into_iter().for_each(|i| known[places[i]] = true);
    Ok(known)
}

/// Of what a checkpoint may not be mixed up: which images, and which labels are used.
fn hash(samples: &[Sample], known: &[bool]) -> String {
    let mut text = String::new();
    for (sample, known) in samples.iter().zip(known) {
        text += &format!("{}\t{known}\t{:?}\n", sample.name, sample.target);
    }
    if let Some(nearkin_data::Pixels::Levels { images, .. }) = samples.first().map(|s| &s.pixels) {
        text += &sha256(images.as_slice().unwrap_or_default());
    }
    sha256(text.as_bytes())
}

/// The augmentation with the network's size, mean and deviation.
fn augment(name: &Augmentation, eval: &Eval) -> Result<Option<Augment>, Failure> {
    let made = match name {
        Augmentation::None => return Ok(None),
        Augmentation::Cifar => Augment::cifar(),
        Augmentation::Mnist => Augment::mnist(),
        Augmentation::Timm => Augment::timm(eval.size),
        Augmentation::Rand(text) => {
            Augment::timm_rand_augment(eval.size, text).or_exit(Exit::Usage)?
        }
    };
    let framing = match made.framing {
        // Padding is in the image's own pixels: the image must have the network's size then.
        Framing::PadAndCrop { padding, fill } => Framing::PadAndCrop { padding, fill },
        other => other,
    };
    Ok(Some(Augment {
        size: eval.size,
        mean: eval.mean.clone(),
        std: eval.std.clone(),
        framing,
        ..made
    }))
}
