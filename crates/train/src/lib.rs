#![doc = include_str!("../README.md")]

mod checkpoint;
mod diagnose;
mod error;
mod evaluate;
mod export;
mod log;
mod network;
mod objective;
mod recipe;
mod rows;
mod schedule;
mod step;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints, Found};
pub use error::TrainError;
pub use evaluate::{Evaluated, Quality, embed_all, quality};
pub use export::{safetensors_bytes, trained_model};
pub use log::{Curves, EventFile, LogError, Record};
pub use nearkin_loss::EdgeDistance;
pub use network::Network;
pub use objective::{GraphObjective, Layer, Loss, Objective};
pub use recipe::{
    GraphRecipe, OptimiserName, Recipe, RecipeError, Sampling, TrainableRule, TrainingBatchNorm,
    WeightedLoss, edge_distance,
};
pub use rows::{RowPlan, StepRows};
pub use schedule::{RateSchedule, ScheduleError};
pub use step::Step;
pub use trainer::{Progress, Set, Trained, Trainer, Watch, final_quality};
