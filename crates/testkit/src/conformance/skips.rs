//! What each engine cannot do, and why.

/// A case that an engine is known to fail.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    /// The case.
    pub case: &'static str,
    /// Why it fails.
    pub reason: &'static str,
}

/// ONNX Runtime 1.31.
pub const ONNX_RUNTIME: &[Skip] = &[];

/// tract 0.23.9.
pub const TRACT: &[Skip] = &[
    Skip {
        case: "batch_normalization_of_weights",
        reason: "it takes BatchNormalization with one output only, not with its statistics",
    },
    Skip {
        case: "tokens_strided",
        reason: "its optimiser moves a strided slice over a reshape to an axis that is not there",
    },
];
