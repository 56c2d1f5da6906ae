//! What a run writes: one environment, then one row or one failure per case.
//!
//! Every type here is a line, or a part of a line, of `results.jsonl`. Fields are only ever added;
//! a change of meaning raises [`FORMAT`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// Version of the lines' format.
pub const FORMAT: u32 = 1;

/// One line of `results.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Environment(Box<Environment>),
    /// The run was taken up again.
    Resumed(Resumed),
    /// A case was measured.
    Row(Box<Row>),
    /// A case was not measured.
    Failure(Failure),
}

/// That a run was taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// When, in UTC.
    pub at_utc: String,
    /// The command line then.
    pub arguments: Vec<String>,
}

/// A measured case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What makes two measurements the same: see [`crate::planned::PlannedCase::key`].
    pub key: String,
    /// Name in the zoo.
    pub variant: String,
    /// The zoo's group, such as `resnet`.
    pub family: String,
    /// Where the weights came from.
    pub weights: WeightsNote,
    /// Trainable scalars.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Width of the embedding.
    pub embedding_width: usize,
    /// What must agree between two rows whose accuracies are compared.
    pub fairness: Fairness,
    /// Batch sizes that were given up for want of memory; empty as a rule.
    pub batches_given_up: Vec<usize>,
    /// Wall-clock seconds of the whole case, preparation included.
    pub case_s: f64,
    /// What the child process measured.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Where a row's weights came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsNote {
    /// For the table, as in `untrained (init seed 0)`.
    pub label: String,
    /// Whether any training went into them.
    pub trained: bool,
    /// The initialisation's seed.
    pub seed: Option<u64>,
}

/// What must agree between two rows whose accuracies are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fairness {
    /// The weights' label.
    pub weights: String,
    /// The data set that the weights were trained on; `none` for untrained ones.
    pub pretraining: String,
    /// Height and width of the image that the model sees, in pixels.
    pub resolution: [usize; 2],
    /// Numbers in an embedding.
    pub dimension: usize,
    /// The model's output that serves as the embedding.
    pub layer: String,
    /// How an image is brought to the resolution.
    pub crop: String,
}

/// What the child process of a case measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How well frozen embeddings tell the classes apart.
    pub quality: Quality,
    /// Load time, latency, throughput.
    pub speed: Speed,
    /// Resident set; absent where the system does not tell (it has no /proc).
    pub memory: Option<Memory>,
    /// Which engine ran the model, and on what.
    pub engine: EngineNote,
    /// How the images came to the model; absent in records of earlier versions.
    #[serde(default)]
    pub images: Option<ImagesNote>,
    /// Wall-clock seconds of each stage of the child.
    pub stage_s: BTreeMap<String, f64>,
}

/// How well frozen embeddings tell the classes apart, on the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Linear probe: the first guess is right.
    pub top1: Rate,
    /// Linear probe: one of the first five guesses is right.
    pub top5: Rate,
    /// Weighted k-nearest-neighbour vote.
    pub knn: Rate,
    /// Neighbours of that vote.
    pub knn_neighbours: usize,
    /// L2 penalty that the probe chose on the validation part.
    pub probe_penalty: f64,
    /// Training images.
    pub train_images: usize,
    /// Classes.
    pub classes: usize,
}

/// A share of the test images, with its 95 % Wilson interval; all in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// correct / total.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Images that count as right.
    pub correct: usize,
    /// Test images.
    pub total: usize,
}

/// Load time, latency and throughput.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Seconds from the file to a session that can run.
    pub load_s: f64,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// At batch 1.
    pub latency: crate::timing::Quantiles,
    /// Every batch size that was tried, ascending.
    pub throughput: Vec<Throughput>,
}

impl Speed {
    /// The batch size with the most images per second; the smaller of two equals.
    #[must_use]
    pub fn best(&self) -> Option<&Throughput> {
        let mut best: Option<&Throughput> = None;
        for tried in &self.throughput {
            if best.is_none_or(|best| tried.images_per_s > best.images_per_s) {
                best = Some(tried);
            }
        }
        best
    }
}

/// Images per second at one batch size, from the median time of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Images in a run.
    pub batch: usize,
    /// batch / median time.
    pub images_per_s: f64,
    /// Times of a run.
    pub run: crate::timing::Quantiles,
}

/// Highest resident sets of the child process, in bytes, before it read any image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The process with the engine's library loaded and no model.
    pub empty_bytes: u64,
    /// While the model was loaded.
    pub load_peak_bytes: u64,
    /// While the model ran at batch 1; absent where the mark cannot be reset after loading.
    pub run_peak_bytes: Option<u64>,
    /// Over loading and every timed run, the largest batch included.
    pub peak_bytes: u64,
}

impl Memory {
    /// The peak less the empty process: what the model costs.
    #[must_use]
    pub fn net_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.empty_bytes)
    }
}

/// How the images of a case came to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagesNote {
    /// Whether they were decoded from files.
    pub from_files: bool,
    /// Images per second from file to embedding, over both parts.
    pub images_per_s: f64,
    /// What bounded it, in a sentence.
    pub advice: String,
    /// Images that could not be used, by name and reason.
    pub quarantined: Vec<nearkin_data::Quarantined>,
    /// Where the time went, for each part.
    pub loading: Vec<nearkin_data::LoaderReport>,
}

/// Which engine ran the model, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineNote {
    /// `ort` or `tract`.
    pub runtime: String,
    /// The engine's version.
    pub version: String,
    /// The provider that ran it.
    pub provider: String,
    /// Nodes of the loaded graph that each provider took.
    pub nodes: BTreeMap<String, usize>,
    /// Threads of one run.
    pub threads: usize,
}

/// A case that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// As in [`Row::key`].
    pub key: String,
    /// Name in the zoo.
    pub variant: String,
    /// What went wrong, in a sentence.
    pub reason: String,
    /// What the child was doing, as far as it had told.
    pub stage: Option<String>,
    /// The child's log, relative to the result folder; absent where no child was started.
    pub log: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::timing::Quantiles;

    pub(crate) fn row(variant: &str) -> Row {
        let run = Quantiles { runs: 50, min_ms: 2.0, p50_ms: 2.5, p95_ms: 2.75, max_ms: 3.0 };
        let rate = |correct: usize, low, high| Rate {
            value: correct as f64 / 450.0,
            low,
            high,
            correct,
            total: 450,
        };
        let weights = "untrained (init seed 0)".to_owned();
        Row {
            key: format!("{variant} key"),
            variant: variant.to_owned(),
            family: "resnet".to_owned(),
            weights: WeightsNote { label: weights.clone(), trained: false, seed: Some(0) },
            params: 11_176_512,
            macs: 37_000_000,
            embedding_width: 512,
            fairness: Fairness {
                weights,
                pretraining: "none".to_owned(),
                resolution: [32, 32],
                dimension: 512,
                layer: "embedding".to_owned(),
                crop: "none".to_owned(),
            },
            batches_given_up: vec![],
            case_s: 12.5,
            measured: Measured {
                quality: Quality {
                    top1: rate(411, 0.8838, 0.9357),
                    top5: rate(449, 0.98, 1.0),
                    knn: rate(392, 0.83, 0.9),
                    knn_neighbours: 20,
                    probe_penalty: 0.01,
                    train_images: 1347,
                    classes: 10,
                },
                speed: Speed {
                    load_s: 0.25,
                    model_bytes: 44_000_000,
                    latency: run,
                    throughput: vec![
                        Throughput { batch: 1, images_per_s: 400.0, run },
                        Throughput { batch: 8, images_per_s: 1000.0, run },
                        Throughput { batch: 16, images_per_s: 1000.0, run },
                    ],
                },
                memory: Some(Memory {
                    empty_bytes: 20_000_000,
                    load_peak_bytes: 120_000_000,
                    run_peak_bytes: Some(90_000_000),
                    peak_bytes: 120_000_000,
                }),
                engine: EngineNote {
                    runtime: "tract".to_owned(),
                    version: "0".to_owned(),
                    provider: "CPU".to_owned(),
                    nodes: [("CPU".to_owned(), 60)].into(),
                    threads: 2,
                },
                images: None,
                stage_s: [("load".to_owned(), 0.25)].into(),
            },
        }
    }

    #[test]
    fn a_row_survives_a_line_of_json() {
        let record = Record::Row(Box::new(row("resnet18")));
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.starts_with("{\"record\":\"row\",\"key\":\"resnet18 key\""), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn of_two_equal_batches_the_smaller_is_best() {
        assert_eq!(row("a").measured.speed.best().map(|b| b.batch), Some(8));
    }
}
