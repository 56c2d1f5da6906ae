//! `nearkin case` and `nearkin engine`: the children of `nearkin bench`. Hidden; people do not call them.

use std::io;

use crate::Ended;
use crate::exit::{Exit, OrExit as _};

/// Measure the one case on standard input and answer on standard output, a line of JSON each.
#[derive(Debug, clap::Args)]
pub(crate) struct CaseArguments {}

impl CaseArguments {
    pub(crate) fn run(&self) -> Ended {
        let done = nearkin_bench::measure::serve(io::stdout()).or_exit(Exit::BadInput)?;
        Ok(if done { Exit::Done } else { Exit::SomeFailed })
    }
}

/// Try the engine on standard input with a small model and answer on standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArguments {}

impl EngineArguments {
    pub(crate) fn run(&self) -> Ended {
        let found = nearkin_bench::engine::serve(io::stdout()).or_exit(Exit::BadInput)?;
        Ok(if found { Exit::Done } else { Exit::Unavailable })
    }
}
