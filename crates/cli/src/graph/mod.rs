//! `nearkin graph`: similarity graphs, built and looked at before a training run trusts them.

mod build;
mod diff;
mod map;
mod points;
mod search;
mod stats;

use clap::Subcommand;

use crate::Ended;

/// Build similarity graphs of images or embeddings, and see what they are worth.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::Arguments>),
    Stats(stats::Arguments),
    Diff(diff::Arguments),
    Map(map::Arguments),
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        match &self.command {
            Command::Build(arguments) => arguments.run(quiet),
            Command::Stats(arguments) => arguments.run(),
            Command::Diff(arguments) => arguments.run(),
            Command::Map(arguments) => arguments.run(),
        }
    }
}
