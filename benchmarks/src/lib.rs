//! Compares architectures: suites, case runner, results and tables
pub mod build;
pub mod case;
pub mod child;
pub mod environment;
pub mod files;
pub mod log;
pub mod machine;
pub mod memory;
pub mod planned;
pub mod progress;
pub mod record;
pub mod report;
pub mod runner;
pub mod suite;
pub mod table;
pub mod timing;
mod utc;
