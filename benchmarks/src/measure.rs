//! The child's side of a case: loads the model, times it, embeds the images, judges the embeddings.
//!
//! Order matters. Memory and speed are measured before any image is read, so that the peak is that
//! of the engine and the model. Timed runs take a pseudo-random batch of the model's input size.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use std::sync::Arc;

use ndarray::Array2;
use nearkin_data::{
    DecodeOptions, EpochError, Evaluate, ListedPart, Loader, LoaderConfig, LoaderError,
    LoaderReport, Pixels, PreprocessError, Samples,
};
use nearkin_metrics::Labelled;
use nearkin_runtime::{
    EngineChoice, Library, LibraryError, LoadError, Options, ParseOptionError, RunError, Session,
};

use crate::case::{CaseSpec, Message, Stage};
use crate::images::{Images, ImagesError};
use crate::latency::noise;
use crate::quality::{self, QualityError};
use crate::record::{EngineNote, ImagesNote, Measured, Memory, Quality, Speed, Throughput};
use crate::suite::Probe;
use crate::timing::{Quantiles, time_runs};
use crate::{child, memory};

/// Why a case cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The runtime or device was named wrongly.
    #[error(transparent)]
    Option(#[from] ParseOptionError),
    /// ONNX Runtime's library cannot be loaded.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The images cannot be read.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The images cannot be brought to the model's input.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The images cannot be loaded.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// An image ended the run.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// Not one image of a part could be used.
    #[error("not one of {images} images could be used, the first: {first}")]
    NoImage {
        /// Images of the part.
        images: usize,
        /// Name and reason of the first.
        first: String,
    },
    /// The embedding's width is not the same in every batch.
    #[error("embedding of image {image}: expected {expected} numbers, found {found}")]
    Width {
        /// The first image of the batch.
        image: usize,
        /// Numbers in earlier rows.
        expected: usize,
        /// Numbers in this one.
        found: usize,
    },
    /// The embeddings cannot be judged.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// The parent does not hear.
    #[error("cannot tell the parent process: {0}")]
    Tell(#[from] io::Error),
}

/// Reads a [`CaseSpec`] from standard input, measures it, and answers with [`Message`]s on `out`.
/// Returns whether there is a result.
///
/// # Errors
/// The system's, of reading or answering.
pub fn serve(mut out: impl Write) -> io::Result<bool> {
    let line = child::first_line()?;
    let spec: CaseSpec = serde_json::from_str(&line)?;
    let mut tell = |message: &Message| {
        writeln!(out, "{}", serde_json::to_string(message)?)?;
        out.flush()
    };
    let answer = match measure(&spec, &mut |stage| tell(&Message::Stage(stage))) {
        Ok(measured) => Message::Measured(Box::new(measured)),
        Err(error) => {
            note(&error);
            Message::Failed(error.to_string())
        }
    };
    tell(&answer)?;
    Ok(matches!(answer, Message::Measured(_)))
}

type Tell<'a> = dyn FnMut(Stage) -> io::Result<()> + 'a;

/// Measures one case, telling every stage it enters.
///
/// # Errors
/// [`MeasureError`].
pub fn measure(spec: &CaseSpec, tell: &mut Tell<'_>) -> Result<Measured, MeasureError> {
    let mut stages = Stages { tell, seconds: BTreeMap::new(), present: None };
    let options = spec.engine.options()?;
    stages.enter(Stage::Engine)?;
    load_library(&options)?;
    let empty_bytes = memory::peak_bytes();

    stages.enter(Stage::Load)?;
    let mut session = Session::load(spec.model.as_path(), &options)?;
    let load_peak_bytes = memory::peak_bytes();
    let can_reset = memory::reset_peak().is_some();

    stages.enter(Stage::Latency)?;
    let latency = time(&mut session, spec, 1)?;
    let run_peak_bytes = memory::peak_bytes().filter(|_| can_reset);

    let mut throughput = Vec::new();
    for &batch in &spec.batch {
        stages.enter(Stage::Throughput { batch })?;
        let run = match time(&mut session, spec, batch) {
            Ok(run) => run,
            Err(error) if !throughput.is_empty() && is_out_of_memory(&error) => {
                // A larger batch would need more.
                note(&error);
                break;
            }
            Err(error) => return Err(error),
        };
        throughput.push(Throughput { batch, images_per_s: batch as f64 * 1e3 / run.p50_ms, run });
    }
    let memory = empty_bytes.zip(load_peak_bytes).zip(memory::peak_bytes()).map(
        |((empty_bytes, load_peak_bytes), last)| Memory {
            empty_bytes,
            load_peak_bytes,
            run_peak_bytes,
            peak_bytes: load_peak_bytes.max(last),
        },
    );
    let report = session.report();
    let speed =
        Speed { load_s: report.load_s, model_bytes: report.model_bytes, latency, throughput };
    let engine = EngineNote {
        runtime: report.engine.to_owned(),
        version: report.engine_version.clone(),
        provider: report.provider.clone(),
        nodes: report.nodes_per_provider.clone(),
        threads: report.threads,
    };

    stages.enter(Stage::Embed)?;
    let images = Images::read(&spec.data, &spec.reading)?;
    let batch = speed.best().map_or(1, |best| best.batch);
    let train = embed(&mut session, &images.train, spec, batch)?;
    let test = embed(&mut session, &images.test, spec, batch)?;
    drop(session);

    let classes = images.class_names.len();
    let note = images_note(&images, &train.report, &test.report);
    let train = Labelled { embeddings: train.embeddings.view(), labels: &train.labels };
    let test = Labelled { embeddings: test.embeddings.view(), labels: &test.labels };
    stages.enter(Stage::Probe)?;
    let probed = quality::probe(train, test, classes, &spec.probe, spec.seed)?;
    stages.enter(Stage::Neighbours)?;
    // A small data set has fewer neighbours than a suite asks for.
    let neighbours = spec.probe.neighbours.min(train.labels.len());
    let knn = quality::vote(train, test, classes, &Probe { neighbours, ..spec.probe })?;
    let quality = Quality {
        top1: probed.top1,
        top5: probed.top5,
        knn,
        knn_neighbours: neighbours,
        probe_penalty: probed.penalty,
        train_images: train.labels.len(),
        classes,
    };
    let images = Some(note);
    Ok(Measured { quality, speed, memory, engine, images, stage_s: stages.finish() })
}

/// A line for the case's log; a log that is gone is no reason to stop.
fn note(error: &MeasureError) {
    let _ = writeln!(io::stderr(), "{error}");
}

/// Whether an engine failed for want of memory, by its own words: it has no code for that.
fn is_out_of_memory(error: &MeasureError) -> bool {
    let MeasureError::Run(RunError::Engine { reason, .. }) = error else { return false };
    let reason = reason.to_lowercase();
    ["out of memory", "failed to allocate", "bad_alloc", "bad alloc", "alloc_failed"]
        .iter()
        .any(|words| reason.contains(words))
}

fn load_library(options: &Options) -> Result<(), LibraryError> {
    if options.engine == EngineChoice::Tract {
        return Ok(());
    }
    Library::find(options.library.as_deref(), options.device).map(|_| ())
}

fn time(session: &mut Session, spec: &CaseSpec, batch: usize) -> Result<Quantiles, MeasureError> {
    let [channels, height, width] = spec.input;
    let images = noise([batch, channels, height, width]);
    let times = time_runs(&spec.timing, || session.embed(images.view()).map(drop))?;
    // `time_runs` counts at least one run.
    Ok(Quantiles::of(&times).unwrap_or_default())
}

/// The embeddings of a part's images, their classes, and how they came to the model.
struct Embedded {
    embeddings: Array2<f32>,
    labels: Vec<usize>,
    report: LoaderReport,
}

fn embed(
    session: &mut Session,
    part: &Arc<ListedPart>,
    spec: &CaseSpec,
    batch: usize,
) -> Result<Embedded, MeasureError> {
    let evaluate = Evaluate::new(&spec.transform.eval(spec.input))?;
    let source = Samples::new(Arc::clone(part), DecodeOptions::default(), evaluate);
    let config = LoaderConfig {
        threads: spec.engine.threads.get(),
        strict: spec.reading.strict,
        ..LoaderConfig::new(batch)
    };
    let mut epoch = Loader::new(Arc::new(source), config)?.epoch(0)?;
    let (mut values, mut labels, mut width) = (Vec::new(), Vec::new(), None);
    while let Some(batch) = epoch.next_batch()? {
        let rows = session.embed(batch.images)?;
        let expected = *width.get_or_insert(rows.ncols());
        if expected != rows.ncols() {
            let image = batch.indices.first().copied().unwrap_or_default();
            return Err(MeasureError::Width { image, expected, found: rows.ncols() });
        }
        values.extend(rows.iter().copied());
        // Images without one class were refused when they were listed.
        labels.extend(batch.classes().unwrap_or_default());
    }
    let report = epoch.report();
    let Some(width) = width else {
        let first = report.quarantined.first();
        let first = first.map(|bad| format!("{}: {}", bad.name, bad.reason)).unwrap_or_default();
        return Err(MeasureError::NoImage { images: part.samples.len(), first });
    };
    let rows = values.len() / width.max(1);
    // As many values as rows of this width were pushed.
    let embeddings = Array2::from_shape_vec((rows, width), values).unwrap_or_default();
    Ok(Embedded { embeddings, labels, report })
}

fn images_note(images: &Images, train: &LoaderReport, test: &LoaderReport) -> ImagesNote {
    let in_memory = |part: &ListedPart| {
        part.samples.iter().all(|sample| matches!(sample.pixels, Pixels::Levels { .. }))
    };
    let mut both = train.clone();
    both.add(test);
    ImagesNote {
        from_files: !(in_memory(&images.train) && in_memory(&images.test)),
        images_per_s: both.images_per_s(),
        advice: both.advice(),
        quarantined: both.quarantined,
        loading: vec![train.clone(), test.clone()],
    }
}

/// Tells each stage and counts its seconds.
struct Stages<'a, 'b> {
    tell: &'a mut Tell<'b>,
    seconds: BTreeMap<String, f64>,
    present: Option<(Stage, Instant)>,
}

impl Stages<'_, '_> {
    fn enter(&mut self, stage: Stage) -> io::Result<()> {
        self.leave();
        self.present = Some((stage, Instant::now()));
        (self.tell)(stage)
    }

    fn leave(&mut self) {
        if let Some((stage, begin)) = self.present.take() {
            *self.seconds.entry(stage.name().to_owned()).or_default() +=
                begin.elapsed().as_secs_f64();
        }
    }

    fn finish(mut self) -> BTreeMap<String, f64> {
        self.leave();
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_known_by_the_engines_words() {
        let engine = |reason: &str| {
            MeasureError::Run(RunError::Engine { engine: "ort", reason: reason.to_owned() })
        };
        for reason in [
            "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9",
            "CUDA failure 2: out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ] {
            assert!(is_out_of_memory(&engine(reason)), "{reason}");
        }
        assert!(!is_out_of_memory(&engine("Invalid axis")));
    }
}
