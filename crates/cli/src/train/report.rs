//! What came of a training, on the screen and in its folder.

use std::path::Path;

use anyhow::Context as _;
use nearkin_bench::files::write_whole;
use nearkin_data::{Evaluate, Samples};
use nearkin_metrics::wilson_interval;
use nearkin_onnx::Model;
use nearkin_train::{Evaluated, Quality, safetensors_bytes};
use serde::Serialize;

use crate::exit::{Exit, Failure, OrExit as _};

/// What came of a training.
#[derive(Debug, Serialize)]
pub(crate) struct Result {
    pub(crate) arch: String,
    pub(crate) labelled: usize,
    pub(crate) images: usize,
    pub(crate) edges: Option<usize>,
    pub(crate) alpha: Option<f32>,
    pub(crate) epochs: u64,
    pub(crate) steps: u64,
    pub(crate) seconds: f64,
    pub(crate) provider: String,
    /// The numbers of the last epoch.
    pub(crate) last: Vec<(String, f64)>,
    /// Training images whose label was not used: classified right, and all.
    pub(crate) hidden: Option<(usize, usize)>,
    pub(crate) test: Option<TestResult>,
    #[serde(skip)]
    pub(crate) model: Model,
}

/// What the network is worth on test images.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestResult {
    pub(crate) images: usize,
    pub(crate) right: usize,
    pub(crate) accuracy: f64,
    /// Wilson's 95 % interval.
    pub(crate) interval: (f64, f64),
    /// For images of several classes: VOC's mean average precision, by area.
    pub(crate) mean_average_precision: Option<f64>,
    pub(crate) quality: Quality,
}

impl TestResult {
    pub(super) fn new(
        found: &Evaluated,
        labels: &[Option<usize>],
        quality: Quality,
        source: &Samples<Evaluate>,
    ) -> std::result::Result<Self, Failure> {
        let (right, images) = found.correct(labels);
        let interval = wilson_interval(right, images.max(1));
        let accuracy = right as f64 / images.max(1) as f64;
        let mean_average_precision = if images == 0 { voc_map(found, source)? } else { None };
        let interval = (interval.low, interval.high);
        Ok(Self { images, right, accuracy, interval, mean_average_precision, quality })
    }
}

/// VOC's mean average precision of images of several classes; `None` if there are none.
fn voc_map(
    found: &Evaluated,
    source: &Samples<Evaluate>,
) -> std::result::Result<Option<f64>, Failure> {
    use nearkin_data::Target;
    use nearkin_metrics::classification::{Truth, VocRule, mean_voc_average_precision};
    let n = nearkin_data::Source::<f32>::count(source);
    let classes = found.logits.ncols();
    let mut truths = ndarray::Array2::from_elem((n, classes), Truth::Negative);
    let mut any = false;
    for i in 0..n {
        if let Target::Classes { present, difficult } =
            nearkin_data::Source::<f32>::target(source, i)
        {
            any = true;
            difficult.iter().for_each(|&class| truths[[i, class]] = Truth::Difficult);
            present.iter().for_each(|&class| truths[[i, class]] = Truth::Positive);
        }
    }
    if !any {
        return Ok(None);
    }
    let map = mean_voc_average_precision(truths.view(), found.logits.view(), VocRule::Area);
    Ok(Some(map.or_exit(Exit::BadInput)?))
}

impl Result {
    /// Writes the network and the numbers into the run's folder.
    pub(super) fn write(&self, folder: &Path) -> std::result::Result<(), Failure> {
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            write_whole(&path, bytes)
                .with_context(|| format!("{}: cannot be written", path.display()))
                .or_exit(Exit::NotWritable)
        };
        put("model.onnx", &self.model.to_bytes().or_exit(Exit::NotWritable)?)?;
        put("model.safetensors", &safetensors_bytes(&self.model).or_exit(Exit::NotWritable)?)?;
        let text = serde_json::to_string_pretty(self).or_exit(Exit::NotWritable)? + "\n";
        put("result.json", text.as_bytes())
    }
}

/// A line for each run.
pub(super) fn table(results: &[(String, Result)]) -> String {
    let mut text = String::from(
        "| run | labels | edges | α | steps | test accuracy (95 %) | kNN | MAP@R | effective rank | uniformity | s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, result) in results {
        let number =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
        let test = result.test.as_ref();
        let accuracy = test.map_or("–".to_owned(), |test| match test.mean_average_precision {
            Some(map) => format!("mAP {map:.4}"),
            None => {
                format!("{:.4} ({:.4}–{:.4})", test.accuracy, test.interval.0, test.interval.1)
            }
        });
        let quality = test.map(|test| test.quality);
        text += &format!(
            "| {} | {} of {} | {} | {} | {} | {accuracy} | {} | {} | {} | {} | {:.1} |\n",
            if name.is_empty() { &result.arch } else { name },
            result.labelled,
            result.images,
            result.edges.map_or("–".to_owned(), |edges| edges.to_string()),
            result.alpha.map_or("–".to_owned(), |alpha| alpha.to_string()),
            result.steps,
            number(quality.and_then(|quality| quality.knn)),
            number(quality.and_then(|quality| quality.map_at_r)),
            number(quality.map(|quality| quality.effective_rank)),
            number(quality.map(|quality| quality.uniformity)),
            result.seconds,
        );
    }
    text
}
