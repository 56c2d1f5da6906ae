//! Repository tasks, run as `cargo xtask VERB`.
//!
//! What belongs to the repository is done here: `setup`, `ci`, `bless`, `peers`, `zoo new`. What a
//! user does anywhere is the `nearkin` binary's: `bench`, `data`, `graph` and `zoo` are handed to its
//! release build unchanged. So this crate depends on none of the others, links no runtime, and builds
//! in seconds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod bless;
mod checks;
mod ci;
mod exit;
mod family;
mod files;
mod forward;
mod peers;
mod setup;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Repository tasks of nearkin.
///
/// Start with `cargo xtask bench`: it builds `nearkin` and compares one small variant of each
/// family on real digits, with nothing to download. `cargo xtask setup` brings ONNX Runtime, which
/// is several times faster than the built-in tract; `cargo xtask ci` checks everything.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Args),
    Ci(ci::Args),
    Bless(bless::Args),
    Peers(peers::Args),
    /// Compare architectures: forwarded to the release build of `nearkin bench`
    ///
    /// Every argument is handed on unchanged; `cargo xtask bench --help` shows nearkin's own help.
    #[command(disable_help_flag = true)]
    Bench(Forwarded),
    /// Check, list and split data sets: forwarded to the release build of `nearkin data`
    ///
    /// Every argument is handed on unchanged; `cargo xtask data check PATH` says what a data set holds
    /// and what is wrong with it.
    #[command(disable_help_flag = true)]
    Data(Forwarded),
    /// Embed the images of a data set with a model: forwarded to the release build of `nearkin embed`
    ///
    /// Every argument is handed on unchanged; `cargo xtask embed --help` shows nearkin's own help.
    #[command(disable_help_flag = true)]
    Embed(Forwarded),
    /// Name and score what a classifier sees: forwarded to the release build of `nearkin predict`
    ///
    /// Every argument is handed on unchanged; `cargo xtask predict --help` shows nearkin's own help.
    #[command(disable_help_flag = true)]
    Predict(Forwarded),
    /// List, verify and export variants (forwarded to `nearkin zoo`); `zoo new NAME` adds a family
    ///
    /// `zoo list`, `zoo verify` and `zoo export` are handed to the release build of `nearkin`.
    /// `zoo new NAME` belongs to the repository: it makes the crate of a new family.
    #[command(disable_help_flag = true)]
    Zoo(Forwarded),
    /// Build similarity graphs and look at them: forwarded to the release build of `nearkin graph`
    ///
    /// `graph build`, `graph stats` and `graph diff` are handed on unchanged; `cargo xtask graph --help` shows
    /// nearkin's own help.
    #[command(disable_help_flag = true)]
    Graph(Forwarded),
    /// Train a network, with a similarity graph: forwarded to the release build of `nearkin train`
    ///
    /// Every argument is handed on unchanged; `cargo xtask train --help` shows nearkin's own help.
    #[command(disable_help_flag = true)]
    Train(Forwarded),
}

#[derive(clap::Args)]
struct Forwarded {
    /// Arguments for `nearkin`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::of(&error))
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    match cli.verb {
        Verb::Setup(args) => setup::run(&workspace, &args)?,
        Verb::Ci(args) => ci::run(&workspace, &args)?,
        Verb::Bless(args) => bless::run(&workspace, &args)?,
        Verb::Peers(args) => return peers::run(&workspace, &args),
        Verb::Bench(args) => return forward::run(&workspace, "bench", &args.args),
        Verb::Embed(args) => return forward::run(&workspace, "embed", &args.args),
        Verb::Predict(args) => return forward::run(&workspace, "predict", &args.args),
        Verb::Data(args) => return forward::run(&workspace, "data", &args.args),
        Verb::Graph(args) => return forward::run(&workspace, "graph", &args.args),
        Verb::Train(args) => return forward::run(&workspace, "train", &args.args),
        Verb::Zoo(args) if args.args.first().is_some_and(|verb| verb == "new") => {
            family::run(&workspace, &args.args)?;
        }
        Verb::Zoo(args) => {
            if args.args.iter().any(|arg| arg == "--help" || arg == "-h" || arg == "help") {
                eprintln!("In this repository also: cargo xtask zoo new NAME (see its --help)\n");
            }
            return forward::run(&workspace, "zoo", &args.args);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn forwarded_arguments_arrive_untouched() {
        let cli =
            Cli::try_parse_from(["cargo xtask", "bench", "--arch", "resnet*", "--help", "--"])
                .expect("bench takes anything");
        let Verb::Bench(forwarded) = cli.verb else { panic!("not bench") };
        assert_eq!(forwarded.args, ["--arch", "resnet*", "--help", "--"]);
    }

    #[test]
    fn the_verb_data_is_forwarded_with_its_help() {
        let cli = Cli::try_parse_from(["cargo xtask", "data", "check", "--help"])
            .expect("data takes anything");
        let Verb::Data(forwarded) = cli.verb else { panic!("not data") };
        assert_eq!(forwarded.args, ["check", "--help"]);
    }

    #[test]
    fn an_unknown_verb_is_a_usage_error() {
        let error = Cli::try_parse_from(["cargo xtask", "bensh"]).err().expect("must fail");
        assert_eq!(error.exit_code(), i32::from(exit::USAGE));
        assert!(error.to_string().contains("bench"), "offers the nearest verb: {error}");
    }

    #[test]
    fn every_verb_explains_itself() {
        for verb in Cli::command().get_subcommands() {
            let about = verb.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 120, "{} has no help that teaches: {about:?}", verb.get_name());
        }
    }
}
