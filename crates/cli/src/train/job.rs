//! A training as plain data, from the data set to the result.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{anyhow, bail};
use nearkin_runtime::Options;
use nearkin_train::{Recipe, Trained, Trainer, Watch, embed_all, final_quality};
use serde::{Deserialize, Serialize};

use super::graph::{self, Source};
use super::images::Images;
use super::network::{self, Described};
use super::report::{Result as JobResult, TestResult};
use crate::exit::{Exit, Failure, OrExit as _};

/// What is trained on what, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Job {
    pub(crate) data: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    pub(crate) arch: String,
    pub(crate) init: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) img_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Labels>,
    pub(crate) label_seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<f64>,
    pub(crate) augment: Augmentation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) graph: Option<GraphSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) graph_from: Option<PathBuf>,
    pub(crate) rebuild_every: u64,
    pub(crate) recipe: Recipe,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            format: None,
            arch: String::new(),
            init: "init:0".to_owned(),
            img_size: None,
            labels: None,
            label_seed: 0,
            validation: None,
            augment: Augmentation::None,
            graph: None,
            graph_from: None,
            rebuild_every: 1,
            recipe: Recipe::default(),
        }
    }
}

/// Labels that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Labels {
    /// So many in all, as many of each class.
    Count(usize),
    /// A share of each class, in (0, 1].
    Share(f64),
}

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return share(text).map(Self::Share);
        }
        match text.parse() {
            Ok(count @ 1..) => Ok(Self::Count(count)),
            _ => {
                Err(format!("expected a number such as 20, or a share such as 10%, found {text:?}"))
            }
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{}%", 100.0 * share),
        }
    }
}

/// `10%` as 0.1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a share such as 10%, found {text:?}");
    let percent: f64 = text.strip_suffix('%').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err(wrong()) }
}

/// Random changes of training images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Augmentation {
    None,
    Cifar,
    Mnist,
    Timm,
    Rand(String),
}

impl FromStr for Augmentation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "cifar" => Ok(Self::Cifar),
            "mnist" => Ok(Self::Mnist),
            "timm" => Ok(Self::Timm),
            rand if rand.starts_with("rand-") => Ok(Self::Rand(rand.to_owned())),
            _ => Err(format!("expected none, cifar, mnist, timm or rand-…, found {text:?}")),
        }
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Cifar => "cifar",
            Self::Mnist => "mnist",
            Self::Timm => "timm",
            Self::Rand(text) => text,
        })
    }
}

/// Where edges come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum GraphSource {
    /// Every image with its k nearest, either way.
    Knn(usize),
    /// Only where both have each other among their k nearest.
    Mutual(usize),
    /// Labelled images of one class, each with at most so many others.
    SameLabel(usize),
    /// Source, target and weight, by the images' names.
    Tsv(PathBuf),
    /// The k nearest by the network's own embeddings.
    Own(usize),
    /// A file of `nearkin graph build`.
    File(PathBuf),
}

impl FromStr for GraphSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let number = || match rest.parse() {
            Ok(k @ 1..) => Ok(k),
            _ => Err(format!("{kind}: expected a number of neighbours, found {rest:?}")),
        };
        match kind {
            "knn" => number().map(Self::Knn),
            "mutual" => number().map(Self::Mutual),
            "own" => number().map(Self::Own),
            "same-label" if rest.is_empty() => Ok(Self::SameLabel(16)),
            "same-label" => number().map(Self::SameLabel),
            "tsv" => Ok(Self::Tsv(rest.into())),
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for GraphSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Knn(k) => write!(f, "knn:{k}"),
            Self::Mutual(k) => write!(f, "mutual:{k}"),
            Self::SameLabel(most) => write!(f, "same-label:{most}"),
            Self::Tsv(path) => write!(f, "tsv:{}", path.display()),
            Self::Own(k) => write!(f, "own:{k}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

macro_rules! as_text {
    ($($ty:ty),*) => {$(
        impl TryFrom<String> for $ty {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$ty> for String {
            fn from(value: $ty) -> Self {
                value.to_string()
            }
        }
    )*};
}
as_text!(Labels, Augmentation, GraphSource);

impl Job {
    /// The matched control: the same with α = 0 and without carried labels.
    pub(crate) fn control(&self) -> anyhow::Result<Self> {
        let mut control = self.clone();
        match &mut control.recipe.graph {
            Some(graph) => (graph.alpha, graph.carried) = (0.0, Some(0.0)),
            None => bail!("a control needs a graph: found none"),
        }
        Ok(control)
    }

    /// Trains, evaluates, and says what came of it; `None` if it was interrupted.
    ///
    /// - `folder`: of checkpoints and logs; `None` keeps neither.
    pub(crate) fn run(
        &self,
        folder: Option<&Path>,
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Option<JobResult>, Failure> {
        let start = Instant::now();
        let listing = super::images::list(&self.data, self.format.as_deref())?;
        let Described { network, eval, hash } = network::load(self, &listing)?;
        let images = Images::new(self, &listing, &network, &eval)?;
        let graph = match &self.graph {
            None => Source::None,
            Some(source) => graph::load(self, source, &images, options, watch)?,
        };
        let mut identity = BTreeMap::from([
            ("data".to_owned(), images.hash.clone()),
            ("weights".to_owned(), hash),
            ("settings".to_owned(), sha256(toml::to_string(self).or_exit(Exit::Usage)?.as_bytes())),
        ]);
        let (edges, rebuild) = match graph {
            Source::None => (None, None),
            Source::Own(k) => (None, Some((self.rebuild_every, k))),
            Source::Graph(graph) => (Some(graph), None),
        };
        if let Some(graph) = &edges {
            identity.insert("graph".to_owned(), graph::hash(graph.view()));
        }
        let hidden = images.hidden();
        let threads = options.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            std::num::NonZero::get,
        );
        let edge_count = edges.as_ref().map(|graph| graph.view().edge_count());
        let mut trainer = Trainer {
            network: network.clone(),
            recipe: self.recipe.clone(),
            train: images.train,
            plain: Some(images.plain.clone()),
            validation: images.validation,
            graph: edges,
            rebuild,
            options: options.clone(),
            threads,
            folder: folder.map(Path::to_owned),
            log_every: 10,
            identity,
            watch,
        };
        let trained = trainer.run().map_err(failure)?;
        if !trained.finished {
            return Ok(None);
        }
        let Trained { model, steps, epochs, .. } = trained;
        let bytes = model.to_bytes().or_exit(Exit::BadInput)?;
        let mut session =
            nearkin_runtime::Session::load(bytes.clone(), options).or_exit(Exit::BadInput)?;
        let provider = session.report().provider.clone();
        let batch = self.recipe.batch.max(32);
        let run = |session: &mut _, source: &_| {
            embed_all(session, &network, source, batch, threads).map_err(failure)
        };
        let bank = run(&mut session, &images.plain)?;
        let hidden = hidden.iter().any(Option::is_some).then(|| bank.correct(&hidden));
        let mut test = None;
        if let Some(set) = &images.test {
            let found = run(&mut session, &set.source)?;
            let labels = set.classes();
            let of_bank = images.labels.clone();
            let quality = final_quality(&found, &labels, (&bank, &of_bank), network.classes);
            test = Some(TestResult::new(&found, &labels, quality.map_err(failure)?, &set.source)?);
        }
        Ok(Some(JobResult {
            arch: self.arch.clone(),
            labelled: images.labels.iter().flatten().count(),
            images: images.labels.len(),
            edges: edge_count,
            alpha: self.recipe.graph.map(|graph| graph.alpha),
            epochs: epochs.len() as u64,
            steps,
            seconds: start.elapsed().as_secs_f64(),
            provider,
            last: epochs.last().map(|record| record.values.clone()).unwrap_or_default(),
            hidden,
            test,
            model,
        }))
    }
}

/// SHA-256 as text.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The exit code of what stopped a training.
pub(crate) fn failure(error: nearkin_train::TrainError) -> Failure {
    use nearkin_train::TrainError as E;
    let exit = match &error {
        E::Recipe(_) => Exit::Usage,
        E::Load { source: nearkin_runtime::LoadError::Library(_), .. } => Exit::Unavailable,
        E::Log(_) => Exit::NotWritable,
        E::Checkpoint(nearkin_train::CheckpointError::Io { .. }) => Exit::NotWritable,
        _ => Exit::BadInput,
    };
    Failure { exit, error: anyhow!(error) }
}
