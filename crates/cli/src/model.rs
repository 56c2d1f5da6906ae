//! A model and the images it is run on, for every verb that does so.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use kdam::BarExt as _;
use nearkin_data::{
    CropMode, DecodeOptions, Eval, Evaluate, Interpolation, ListedPart, LoadedBatch, Loader,
    LoaderConfig, LoaderReport, Samples,
};
use nearkin_onnx::Model;
use nearkin_runtime::Session;

use crate::engine_arguments::EngineArguments;
use crate::exit::{Exit, Failure, OrExit as _};

/// The model, how images are prepared for it, and the engine.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArguments {
    /// The ONNX file; `nearkin zoo export` makes one from a variant and its weights.
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Images in a run of the model.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,

    /// Height and width of the input [default: the model's].
    #[arg(long, value_name = "SIDE")]
    img_size: Option<usize>,

    /// Mean of each channel, of pixels in [0, 1] [default: the model's, else ImageNet's].
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    mean: Option<Vec<f32>>,

    /// Standard deviation of each channel [default: the model's, else ImageNet's].
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    std: Option<Vec<f32>>,

    /// Kernel: nearest, box, bilinear, hamming, bicubic or lanczos [default: the model's, else
    /// bicubic].
    #[arg(long, value_name = "NAME")]
    interpolation: Option<String>,

    /// Share of the resized side that is kept [default: the model's, else 0.875].
    #[arg(long, value_name = "SHARE")]
    crop_pct: Option<f64>,

    /// Crop: center, squash or border [default: the model's, else center].
    #[arg(long, value_name = "NAME")]
    crop_mode: Option<String>,

    #[command(flatten)]
    engine: EngineArguments,
}

/// A model that is ready to take images.
pub(crate) struct Ready {
    pub(crate) session: Session,
    pub(crate) input: String,
    eval: Eval,
    batch: usize,
    threads: usize,
}

impl ModelArguments {
    /// Reads what the model says of its images, and loads it.
    pub(crate) fn load(&self, quiet: bool) -> Result<Ready, Failure> {
        let shown = self.model.display();
        let bytes = std::fs::read(&self.model)
            .with_context(|| format!("{shown}: cannot be read"))
            .or_exit(Exit::BadInput)?;
        let model = Model::from_bytes(bytes)
            .with_context(|| format!("{shown}: not usable"))
            .or_exit(Exit::BadInput)?;
        let metadata = model.metadata.clone();
        drop(model);
        let options = self.engine.options();
        let session = Session::load(self.model.as_path(), &options).map_err(|error| Failure {
            exit: match error {
                nearkin_runtime::LoadError::Library(_) => Exit::Unavailable,
                _ => Exit::BadInput,
            },
            error: error.into(),
        })?;
        let [port] = session.inputs() else {
            let found = session.inputs().len();
            return Err(anyhow!("{shown}: expected a model of one input, found {found}"))
                .or_exit(Exit::BadInput);
        };
        let input = port.name.clone();
        let threads = session.report().threads;
        let dims = port.shape.as_ref().map(|shape| shape.0.clone()).unwrap_or_default();
        let side = |axis: usize| dims.get(axis).and_then(nearkin_onnx::Dim::known);
        let said = |key: &str| {
            let key = format!("nearkin.{key}");
            metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
        };
        let eval = self.eval([side(1), side(2), side(3)], said).or_exit(Exit::Usage)?;
        if !quiet {
            let mut lines = Vec::new();
            if said("mean").is_none() && self.mean.is_none() {
                lines.push(format!(
                    "{shown} does not say how its images are prepared: taking ImageNet's mean and \
                     deviation, {:?}, crop {}",
                    eval.interpolation, eval.crop_pct
                ));
            }
            lines.extend(session.notice().map(str::to_owned));
            for line in lines {
                // With standard error gone there is nobody to tell.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
        Ok(Ready { session, input, eval, batch: self.batch, threads })
    }

    /// The transform: what is given, else what the model says, else ImageNet's.
    fn eval(
        &self,
        [channels, height, width]: [Option<usize>; 3],
        said: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Eval> {
        let channels = channels.unwrap_or(3);
        let size = match (self.img_size, height, width) {
            (Some(side), ..) => (side, side),
            (None, Some(height), Some(width)) => (height, width),
            _ => bail!("the model's input has no fixed height and width: give --img-size"),
        };
        let list = |key: &str| -> anyhow::Result<Option<Vec<f32>>> {
            let Some(text) = said(key) else { return Ok(None) };
            let values = text.split(',').map(|value| value.trim().parse());
            Ok(Some(values.collect::<Result<_, _>>().with_context(|| {
                format!("the model's own nearkin.{key}: expected numbers, found {text:?}")
            })?))
        };
        let statistics = |given: &Option<Vec<f32>>, key, default: [f32; 3]| -> anyhow::Result<_> {
            let mut values = match (given, list(key)?) {
                (Some(given), _) => given.clone(),
                (None, Some(own)) => own,
                (None, None) => default.to_vec(),
            };
            // A model of one channel says three equal numbers.
            values.truncate(channels.max(1));
            Ok(values)
        };
        let interpolation = self.interpolation.clone().or_else(|| said("interpolation"));
        let interpolation = interpolation.unwrap_or_else(|| "bicubic".to_owned());
        let crop_mode = self.crop_mode.clone().or_else(|| said("crop_mode"));
        let crop_mode = crop_mode.unwrap_or_else(|| "center".to_owned());
        let crop_pct = match (self.crop_pct, said("crop_pct")) {
            (Some(given), _) => given,
            (None, Some(own)) => own.parse().context("the model's own nearkin.crop_pct")?,
            (None, None) => 0.875,
        };
        Ok(Eval {
            size,
            channels,
            mean: statistics(&self.mean, "mean", nearkin_data::IMAGENET_MEAN)?,
            std: statistics(&self.std, "std", nearkin_data::IMAGENET_STD)?,
            interpolation: Interpolation::from_name(&interpolation)
                .ok_or_else(|| anyhow!("interpolation: no kernel is called {interpolation:?}"))?,
            crop_pct,
            crop_mode: CropMode::from_name(&crop_mode).ok_or_else(|| {
                anyhow!("crop mode: expected center, squash or border, found {crop_mode:?}")
            })?,
        })
    }
}

impl Ready {
    /// Gives every batch of `part` to `take`, with a bar if somebody looks.
    pub(crate) fn each_batch(
        &mut self,
        part: &Arc<ListedPart>,
        strict: bool,
        quiet: bool,
        mut take: impl FnMut(&mut Session, &str, &LoadedBatch<'_>) -> Result<(), Failure>,
    ) -> Result<LoaderReport, Failure> {
        let evaluate = Evaluate::new(&self.eval).or_exit(Exit::Usage)?;
        let source = Samples::new(Arc::clone(part), DecodeOptions::default(), evaluate);
        let config =
            LoaderConfig { threads: self.threads, strict, ..LoaderConfig::new(self.batch) };
        let loader = Loader::new(Arc::new(source), config).or_exit(Exit::Usage)?;
        let mut epoch = loader.epoch(0).or_exit(Exit::Unavailable)?;
        let mut bar = (!quiet && io::stderr().is_terminal())
            .then(|| kdam::BarBuilder::default().total(part.samples.len()).unit(" images"))
            .and_then(|bar| bar.leave(false).dynamic_ncols(true).build().ok());
        while let Some(batch) = epoch.next_batch().or_exit(Exit::BadInput)? {
            take(&mut self.session, &self.input, &batch)?;
            if let Some(bar) = &mut bar {
                // Drawing may fail where a result may not be lost: go on.
                let _ = bar.update(batch.indices.len());
            }
        }
        if let Some(bar) = &mut bar {
            let _ = bar.clear();
        }
        Ok(epoch.report())
    }
}

/// Where time went and what was set aside, on standard error.
pub(crate) fn tell(report: &LoaderReport, quiet: bool) {
    if !quiet {
        // With standard error gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "{report}");
    }
}

/// The name of a file beside `path`, with this ending instead of its own.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_extension(ending)
}
