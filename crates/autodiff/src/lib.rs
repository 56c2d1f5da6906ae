#![doc = include_str!("../README.md")]

mod emit;
mod error;
mod fold;
mod optimiser;
mod prepare;
mod prune;
mod rules;
mod separate;
mod step;
mod sweep;

pub use error::{AutodiffError, Problem};
pub use optimiser::Optimiser;
pub use prepare::BatchNorm;
pub use rules::differentiable;
pub use separate::separate;
pub use step::{Scalar, Slot, Trainable, Training, TrainingStep, training_step};
pub use sweep::{Gradients, gradients};
