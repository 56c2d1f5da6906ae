//! `nearkin`: which backbone gives the best embedding for my images?
//!
//! Each verb is a module with an `Arguments` struct, whose doc comments are its help, and a `run`
//! that returns how the program ends. This file only parses, dispatches and reports.

mod bench;
mod children;
mod completions;
mod data;
mod embed;
mod engine_arguments;
mod exit;
mod graph;
mod interrupt;
mod latency;
mod map_file;
mod model;
mod output;
mod predict;
mod train;
mod zoo;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};

/// Which backbone gives the best embedding for my images?
///
/// nearkin builds image architectures, runs them on ONNX Runtime or tract, and compares their
/// embeddings on real images: accuracy with intervals, memory, latency, throughput.
#[derive(Debug, Parser)]
#[command(name = "nearkin", version, max_term_width = 100, after_help = after_help())]
struct Program {
    #[command(subcommand)]
    command: Command,

    /// Say nothing on standard error but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(Box<bench::Arguments>),
    Data(data::Arguments),
    Zoo(zoo::Arguments),
    Embed(Box<embed::Arguments>),
    Predict(Box<predict::Arguments>),
    Graph(graph::Arguments),
    Train(Box<train::Arguments>),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Case(children::CaseArguments),
    #[command(hide = true)]
    Engine(children::EngineArguments),
    #[command(hide = true)]
    Latency(latency::Arguments),
}

fn after_help() -> String {
    format!(
        "Examples:\n  \
           nearkin bench                        compare one variant of each family on real digits\n  \
           nearkin bench --arch 'resnet*'       compare variants of your choice\n  \
           nearkin bench --dry-run              see what would be measured\n  \
           nearkin data check PATH              what a data set holds, and what is wrong with it\n  \
           nearkin zoo list                     every variant, what it costs and returns\n  \
           nearkin zoo export resnet18 -o F     a variant as an ONNX file\n  \
           nearkin embed MODEL photos/ -o E.npy  embeddings of your images\n  \
           nearkin predict MODEL photos/        what a classifier sees, and how often it is right\n  \
           nearkin graph stats F                what a similarity graph is like\n  \
           nearkin train --help                 train a network, with a similarity graph\n  \
           nearkin help bench                   all options of a command\n  \
           nearkin completions bash > FILE      completions for your shell\n\n{}",
        exit::help()
    )
}

fn main() -> ExitCode {
    let Program { command, quiet } = Program::parse();
    let ended = match command {
        Command::Bench(arguments) => arguments.run(quiet),
        Command::Data(arguments) => arguments.run(quiet),
        Command::Zoo(arguments) => arguments.run(quiet),
        Command::Embed(arguments) => arguments.run(quiet),
        Command::Predict(arguments) => arguments.run(quiet),
        Command::Graph(arguments) => arguments.run(quiet),
        Command::Train(arguments) => arguments.run(quiet),
        Command::Completions(arguments) => arguments.run(),
        Command::Case(arguments) => arguments.run(),
        Command::Engine(arguments) => arguments.run(),
        Command::Latency(arguments) => arguments.run(),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{}", failure.block());
            failure.exit.into()
        }
    }
}

/// What every verb's `run` returns.
type Ended = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Program::command().debug_assert();
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = Program::command().render_long_help().to_string();
        for (exit, meaning) in exit::EXITS {
            assert!(help.contains(&format!("{}  {meaning}", *exit as u8)), "{help}");
        }
    }
}
