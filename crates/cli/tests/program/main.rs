//! The program as its users meet it: arguments in; text, files and exit codes out.

mod bench;
mod latency;
mod refusals;
#[cfg(target_os = "linux")]
mod signals;
mod support;
