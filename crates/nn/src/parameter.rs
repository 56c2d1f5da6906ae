//! What a graph needs to be given before it can run.

use crate::init::Init;
use nearkin_onnx::ValueId;

/// What a parameter is for. The formula and the optimiser treat kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterKind {
    /// Convolution or linear weights.
    Weight,
    /// Scale of a normalisation layer.
    NormWeight,
    /// Any bias.
    Bias,
    /// Running mean of batch normalisation (a buffer).
    RunningMean,
    /// Running variance of batch normalisation (a buffer).
    RunningVar,
    /// Scale of a residual branch.
    LayerScale,
    /// Position embeddings, class tokens and the like.
    Table,
    /// Batches seen by batch normalisation: an i64 scalar outside the graph (a buffer).
    BatchesTracked,
}

impl ParameterKind {
    /// True for what training does not change by gradient, and the parameter count leaves out.
    pub fn is_buffer(self) -> bool {
        matches!(self, Self::RunningMean | Self::RunningVar | Self::BatchesTracked)
    }

    /// The kind as reference files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::NormWeight => "norm_weight",
            Self::Bias => "bias",
            Self::RunningMean => "bn_mean",
            Self::RunningVar => "bn_var",
            Self::LayerScale => "layer_scale",
            Self::Table => "table",
            Self::BatchesTracked => "int_keep",
        }
    }
}

/// How weights made for other options are adapted to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not at all.
    Plain,
    /// Weights `[M, C, h, w]` on the image: follow `in_chans`.
    FirstConv,
    /// Weight or bias of the head: made anew for another `num_classes`.
    Classifier,
    /// Position embeddings `[1, prefix + H·W, D]`: resampled to another grid.
    PositionEmbedding {
        /// Tokens before the grid's.
        prefix: usize,
        /// Rows and columns of the grid.
        grid: (usize, usize),
    },
}

/// One tensor of timm's `state_dict`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// timm's key, and the initialiser's name in the ONNX file.
    pub name: String,
    /// Its dimensions; empty for a scalar.
    pub dims: Vec<usize>,
    /// What it is for.
    pub kind: ParameterKind,
    /// How it starts.
    pub init: Init,
    /// How weights made for other options are adapted to it.
    pub role: Role,
    /// Its value in the graph; none for what takes no part in the computation.
    pub value: Option<ValueId>,
}

impl Parameter {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}
