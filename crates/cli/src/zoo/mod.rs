//! `nearkin zoo`: the architectures, what they cost, and whether they are timm's.

mod export;
mod list;
mod references;
mod verify;

pub(crate) use export::read_onnx;

use crate::Ended;
use crate::exit::{Exit, Failure, OrExit as _};
use clap::Subcommand;
use nearkin_nn::Entry;
use nearkin_zoo::Registry;

/// List, verify and export the architectures of the zoo.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Verify(verify::Arguments),
    Export(export::Arguments),
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        match &self.command {
            Command::List(arguments) => arguments.run(),
            Command::Verify(arguments) => arguments.run(),
            Command::Export(arguments) => arguments.run(quiet),
        }
    }
}

/// The variants that a pattern names.
fn matching(pattern: &str) -> Result<Vec<Entry>, Failure> {
    Registry::standard().matching(pattern).or_exit(Exit::Usage)
}
