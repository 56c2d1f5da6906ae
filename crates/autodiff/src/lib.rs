#![doc = include_str!("../README.md")]

mod emit;
mod error;
mod fold;
mod gelu;
mod lower;
mod optimiser;
mod prepare;
mod primitive;
mod prune;
mod rules;
mod step;
mod sweep;
mod windows;

pub use error::{AutodiffError, Problem};
pub use lower::Lowering;
pub use optimiser::Optimiser;
pub use prepare::BatchNorm;
pub use rules::differentiable;
pub use step::{Scalar, Slot, Trainable, Training, TrainingStep, training_step};
pub use sweep::{Gradients, gradients};
