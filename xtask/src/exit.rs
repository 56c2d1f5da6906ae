//! Exit codes of `cargo xtask`.
//!
//! Forwarded verbs end with the code of `nearkin`. `ci` ends with the code of the step that failed,
//! as `cargo xtask ci --list` prints them.

use std::fmt;

/// The task failed.
pub(crate) const FAILURE: u8 = 1;
/// The command line was not understood (clap's own code).
#[cfg(test)]
pub(crate) const USAGE: u8 = 2;
/// First code of the steps of `ci`; step number i, counted from 0, ends with `FIRST_STEP + i`.
pub(crate) const FIRST_STEP: u8 = 10;

/// A failure that decides the exit code.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// The exit code that `error` asks for.
pub(crate) fn of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Coded>().map_or(FAILURE, |coded| coded.code)
}
