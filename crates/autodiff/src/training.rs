//! What a training step is asked to do.

use crate::checkpoint::Checkpoint;
use crate::error::Problem;
use crate::lower::Lowering;
use crate::mask::Mask;
use crate::optimiser::Optimiser;
use crate::prepare::BatchNorm;

/// A parameter that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainable {
    /// The initialiser's name.
    pub name: String,
    /// Weight decay λ, at least 0; usually 0 for biases and normalisation.
    pub decay: f32,
    /// Factor on the learning rate, above 0: layer-wise decay.
    pub rate: f32,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Images in a batch, at least 1.
    pub batch: usize,
    /// What is trained; everything else stays as it is.
    pub trainable: Vec<Trainable>,
    /// How it follows the gradient.
    pub optimiser: Optimiser,
    /// How batch normalisation is trained.
    pub batch_norm: BatchNorm,
    /// Scales the gradients of all parameters together down to this L2 norm, above 0.
    pub clip_norm: Option<f32>,
    /// Keeps a moving average of every parameter, a ← decay·a + (1 − decay)·θ; in (0, 1).
    pub average: Option<f32>,
    /// Values that are dropped at random.
    pub masks: Vec<Mask>,
    /// Follows the mean gradient of so many micro-batches, at least 1, instead of every batch's own.
    pub accumulate: Option<usize>,
    /// What of the forward pass is kept for the backward pass; the gradients are the same.
    pub checkpoint: Checkpoint,
    /// In which operators the step is written; the gradients are the same.
    pub lowering: Lowering,
}

impl Training {
    /// Batch normalisation by the batch, gradients as they are, no averages, nothing dropped, ONNX's own
    /// operators.
    pub fn new(batch: usize, trainable: Vec<Trainable>, optimiser: Optimiser) -> Self {
        Self {
            batch,
            trainable,
            optimiser,
            batch_norm: BatchNorm::OfBatch,
            clip_norm: None,
            average: None,
            masks: Vec::new(),
            accumulate: None,
            checkpoint: Checkpoint::Off,
            lowering: Lowering::Standard,
        }
    }

    /// Every setting in its range.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.optimiser.check()?;
        self.lowering.check()?;
        let wrong =
            |field, expected, found: String| Err(Problem::Setting { field, expected, found });
        if self.batch == 0 {
            return wrong("batch", "at least 1", "0".to_owned());
        }
        if self.accumulate == Some(0) {
            return wrong("accumulate", "at least 1", "0".to_owned());
        }
        if self.trainable.is_empty() {
            return wrong("trainable", "at least one parameter", "none".to_owned());
        }
        for Trainable { name, decay, rate } in &self.trainable {
            if !(*decay >= 0.0 && decay.is_finite()) {
                return wrong("weight decay", "at least 0", format!("{decay} of {name}"));
            }
            if !(*rate > 0.0 && rate.is_finite()) {
                return wrong("learning rate factor", "above 0", format!("{rate} of {name}"));
            }
        }
        if let Some(clip) = self.clip_norm.filter(|&clip| !(clip > 0.0 && clip.is_finite())) {
            return wrong("clip_norm", "above 0", clip.to_string());
        }
        if let Some(keep) = self.average.filter(|&keep| !(keep > 0.0 && keep < 1.0)) {
            return wrong("average", "above 0 and below 1", keep.to_string());
        }
        Ok(())
    }
}
