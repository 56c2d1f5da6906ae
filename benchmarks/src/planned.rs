//! A case, ready to be measured.

use crate::record::{Fairness, Measured, Row, WeightsNote};
use crate::suite::Timing;
use crate::transform::Transform;

/// The output of every model that serves as its embedding.
pub const LAYER: &str = "embedding";

/// A case, ready to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCase {
    /// What makes two measurements the same, in one line: variant, weights, input, batches,
    /// runtime, device, threads, data. Rows are recognised by it on resuming.
    pub key: String,
    /// Name in the zoo.
    pub variant: String,
    /// The zoo's group.
    pub family: String,
    /// Where its weights come from.
    pub weights: WeightsNote,
    /// Channels, height and width of its input.
    pub input: [usize; 3],
    /// Batch sizes to try, ascending.
    pub batch: Vec<usize>,
    /// Trainable scalars, without a classifier.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Width of the embedding.
    pub embedding_width: usize,
    /// How an image is brought to the input's size.
    pub transform: Transform,
}

impl PlannedCase {
    /// Multiply-accumulates of the whole case: embeddings of `images`, and every timed run at its
    /// full count (the clock may end timing before).
    #[must_use]
    pub fn work_macs(&self, images: usize, timing: &Timing) -> u64 {
        let per_run: usize = 1 + self.batch.iter().sum::<usize>();
        let timed = (timing.warm_up + timing.runs) * per_run;
        self.macs.saturating_mul((images + timed) as u64)
    }

    /// The row of this case; planned batch sizes that were not measured count as given up.
    #[must_use]
    pub fn row(&self, measured: Measured, case_s: f64) -> Row {
        let [_, height, width] = self.input;
        let is_measured =
            |&batch: &usize| measured.speed.throughput.iter().any(|t| t.batch == batch);
        let batches_given_up = self.batch.iter().copied().filter(|b| !is_measured(b)).collect();
        Row {
            key: self.key.clone(),
            variant: self.variant.clone(),
            family: self.family.clone(),
            weights: self.weights.clone(),
            params: self.params,
            macs: self.macs,
            embedding_width: self.embedding_width,
            fairness: Fairness {
                weights: self.weights.label.clone(),
                pretraining: "none".to_owned(),
                resolution: [height, width],
                dimension: self.embedding_width,
                layer: LAYER.to_owned(),
                crop: self.transform.label(),
            },
            batches_given_up,
            case_s,
            measured,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn case(variant: &str) -> PlannedCase {
        PlannedCase {
            key: format!("{variant} key"),
            variant: variant.to_owned(),
            family: "resnet".to_owned(),
            weights: WeightsNote {
                label: "untrained (init seed 0)".to_owned(),
                trained: false,
                seed: Some(0),
            },
            input: [3, 32, 32],
            batch: vec![1, 8, 16],
            params: 1,
            macs: 10,
            embedding_width: 512,
            transform: Transform::squash(3, 0.5, 0.5),
        }
    }

    #[test]
    fn work_counts_images_and_timed_runs() {
        let timing = Timing { warm_up: 1, runs: 10, seconds: 1.0 };
        // 10 MACs x (100 images + 11 runs of 1 + 1 + 8 + 16 images).
        assert_eq!(case("a").work_macs(100, &timing), 10 * (100 + 11 * 26));
    }
}
