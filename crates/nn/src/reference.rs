//! Reference files: what timm's model of a name holds and computes.
//!
//! One JSON file describes one model: every tensor of its `state_dict`, the ranges that the
//! formula fills them from, and the outputs on the formula's input, computed in float64.

use serde::Deserialize;
use std::collections::BTreeMap;

pub use crate::weights::formula::fill;

/// One reference file.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference {
    /// timm's name.
    pub model: String,
    /// timm's group.
    pub group: String,
    /// Channels, height and width that the outputs were computed at.
    pub input_size: [usize; 3],
    /// Mean of the default configuration.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of the default configuration.
    pub std: Option<[f32; 3]>,
    /// Resizing of the default configuration.
    pub interpolation: Option<String>,
    /// Crop of the default configuration.
    pub crop_pct: Option<f64>,
    /// Width of the logits.
    pub num_classes: usize,
    /// Width that enters the classifier.
    pub head_hidden_size: Option<usize>,
    /// Trainable scalars.
    pub params: u64,
    /// Multiply–accumulates for one image.
    pub macs: Option<u64>,
    /// The epsilons in use, by class of layer.
    #[serde(default)]
    pub norm_eps: BTreeMap<String, Vec<f32>>,
    /// Every tensor, in order.
    pub state_dict: Vec<Entry>,
    /// What the model computes; absent where only the tensors are known.
    pub outputs: Option<Outputs>,
    /// How far single-precision PyTorch is from these outputs.
    pub f32_error: Option<F32Error>,
    /// Sum over all filled tensors, in f64.
    pub weights_sum: Option<f64>,
    /// Sum over the input, in f64.
    pub input_sum: Option<f64>,
}

/// One tensor of the `state_dict`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// timm's key.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Its kind, as the formula names it.
    pub kind: String,
    /// Centre and half-width of the formula, where recorded.
    pub range: Option<(f32, f32)>,
    /// The entry that it is the same tensor as.
    pub same_as: Option<String>,
}

impl<'de> Deserialize<'de> for Entry {
    /// Reads `[name, shape, dtype, kind, c, h, same]`, the last three optional.
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let items = Vec::<serde_json::Value>::deserialize(from)?;
        let text = |i: usize| items.get(i).and_then(|v| v.as_str()).map(str::to_owned);
        let number = |i: usize| items.get(i).and_then(serde_json::Value::as_f64).map(|v| v as f32);
        let dims = items.get(1).and_then(|v| serde_json::from_value(v.clone()).ok());
        match (text(0), dims, text(3)) {
            (Some(name), Some(dims), Some(kind)) => Ok(Self {
                name,
                dims,
                kind,
                range: number(4).zip(number(5)),
                same_as: items
                    .last()
                    .and_then(|v| v.as_str())
                    .filter(|_| items.len() > 4)
                    .map(str::to_owned),
            }),
            _ => Err(D::Error::custom(format!(
                "a state_dict entry is [name, shape, dtype, kind, …], found {items:?}"
            ))),
        }
    }
}

/// Outputs of a batch of two.
#[derive(Clone, Debug, Deserialize)]
pub struct Outputs {
    /// Per row: the head's output.
    pub logits: Vec<Row>,
    /// The features before the head.
    pub embedding: Option<Embedding>,
    /// Outputs of modules, in order of execution.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

/// Parts of one row.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// The first values.
    pub first: Vec<f32>,
    /// The last values.
    #[serde(default)]
    pub last: Vec<f32>,
}

/// The features before the head: all rows, or parts of each.
#[derive(Clone, Debug, Deserialize)]
pub struct Embedding {
    /// Width.
    pub dim: usize,
    /// All values, by row.
    #[serde(default)]
    pub rows: Vec<Vec<f32>>,
    /// The first values of each row.
    #[serde(default)]
    pub first: Vec<Vec<f32>>,
    /// The last values of each row.
    #[serde(default)]
    pub last: Vec<Vec<f32>>,
}

/// What one module returns: its name, its shape, [mean, std, L2] per row, four values of row 0.
#[derive(Clone, Debug, Deserialize)]
pub struct Stage(pub String, pub Vec<usize>, pub Vec<[f64; 3]>, pub Vec<f32>);

/// Distances of single-precision PyTorch from the reference.
#[derive(Clone, Debug, Deserialize)]
pub struct F32Error {
    /// Of the logits.
    pub logits: Distance,
    /// Of the embedding.
    pub embedding: Option<Distance>,
    /// Of the L2 norm of the worst stage, relative.
    #[serde(default)]
    pub stage_l2_max_rel: f64,
}

/// How far two tensors are apart.
#[derive(Clone, Debug, Deserialize)]
pub struct Distance {
    /// L2 of the difference over L2 of the reference.
    pub rel_l2: f64,
}

impl Reference {
    /// Reads a reference file.
    ///
    /// # Errors
    /// Where the text is no reference: line, column and what was expected.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.state_dict.iter().find(|entry| entry.name == name)
    }
}
