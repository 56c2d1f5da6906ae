//! Compares architectures: suites, case runner, results and tables
pub mod build;
pub mod child;
pub mod environment;
pub mod files;
pub mod log;
pub mod machine;
pub mod memory;
pub mod record;
pub mod suite;
pub mod table;
pub mod timing;
mod utc;
