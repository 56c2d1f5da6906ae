#![doc = include_str!("../README.md")]

mod accumulate;
mod checkpoint;
mod emit;
mod error;
mod fold;
mod gelu;
mod lower;
mod mask;
mod optimiser;
mod prepare;
mod primitive;
mod prune;
mod rules;
mod select;
mod separate;
mod step;
mod sweep;
mod training;
mod update;
mod windows;

pub use checkpoint::Checkpoint;
pub use error::{AutodiffError, Problem};
pub use lower::Lowering;
pub use mask::{Mask, MaskInput, MaskKind, dropout_nodes};
pub use optimiser::Optimiser;
pub use prepare::BatchNorm;
pub use rules::differentiable;
pub use select::{Selection, Which, select};
pub use separate::separate;
pub use step::{Scalar, Slot, TrainingStep, training_step};
pub use sweep::{Gradients, gradients, gradients_lowered};
pub use training::{Trainable, Training};
