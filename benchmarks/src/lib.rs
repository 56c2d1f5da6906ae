#![doc = include_str!("../README.md")]

pub mod bench;
pub mod build;
pub mod case;
pub mod child;
pub mod engine;
pub mod environment;
pub mod files;
pub mod images;
pub mod latency;
pub mod log;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod plan;
pub mod planned;
pub mod prepare;
pub mod progress;
pub mod quality;
pub mod record;
pub mod report;
pub mod runner;
pub mod suite;
pub mod table;
pub mod timing;
pub mod transform;
pub mod utc;

pub use utc::stamp;

/// The program has no library that could test its README's example.
#[cfg(doctest)]
#[doc = include_str!("../../crates/cli/README.md")]
struct ProgramReadme;
