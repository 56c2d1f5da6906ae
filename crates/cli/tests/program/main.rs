//! The program as its users meet it: arguments in; text, files and exit codes out.
#![expect(clippy::unwrap_used, reason = "what a test cannot prepare ends it")]

mod bench;
mod data;
mod graph;
mod images;
mod latency;
mod refusals;
#[cfg(target_os = "linux")]
mod signals;
mod support;
mod train;
