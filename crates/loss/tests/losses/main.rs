//! Losses against central differences, against their ONNX forms, and against PyTorch.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "schedules and sums are compared where they are exact")]

mod checks;
mod classification;
mod fixture;
mod graph;
mod metric;
mod others;
