//! `cargo xtask ci`: every check, cheapest first, stopping at the first failure.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::checks;
use crate::exit::{Coded, FIRST_STEP};
use crate::setup;
use crate::workspace::{Workspace, run as run_command};

/// Check everything: format, structure, licences, lints, documentation, tests
///
/// Runs the steps in order, cheapest first, and stops at the first failure with that step's exit
/// code. Needs Rust, a C compiler and pip, and installs nothing: ONNX Runtime's library is fetched
/// into the target folder (see `cargo xtask setup --help`) so that both runtimes are tested.
///
/// `cargo xtask ci --list` shows the steps, what each checks, and the exit codes;
/// `cargo xtask ci --only tidy` runs one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show the steps and their exit codes, and run nothing
    #[arg(long)]
    list: bool,
    /// Run only these steps, in the usual order
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
}

struct Step {
    name: &'static str,
    checks: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

/// In this order. The exit code of a step is `FIRST_STEP` plus its place: append, do not reorder.
const STEPS: &[Step] = &[
    Step { name: "format", checks: "rustfmt", run: format },
    Step {
        name: "layers",
        checks: "the table of who may depend on whom; what never links a runtime",
        run: checks::layers::run,
    },
    Step {
        name: "supply",
        checks: "licences, sources and duplicate versions of dependencies, against deny.toml",
        run: checks::supply::run,
    },
    Step {
        name: "tidy",
        checks: "no stubs, ignored tests or machine paths; no file access where bytes suffice",
        run: checks::tidy::run,
    },
    Step {
        name: "links",
        checks: "every path in ARCHITECTURE.md and every relative link of the documents exists",
        run: checks::links::run,
    },
    Step { name: "setup", checks: "ONNX Runtime's library is in place", run: library },
    Step { name: "clippy", checks: "lints of every target, warnings are errors", run: clippy },
    Step { name: "doc", checks: "documentation builds, warnings are errors", run: doc },
    Step { name: "test", checks: "unit, integration and documentation tests", run: test },
];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        println!("step    exit code  checks");
        for (place, step) in STEPS.iter().enumerate() {
            println!("{:<7} {:>9}  {}", step.name, code(place), step.checks);
        }
        return Ok(());
    }
    let chosen = choose(&args.only)?;
    let mut times = Vec::new();
    for place in chosen {
        let step = &STEPS[place];
        println!("==> {}: {}", step.name, step.checks);
        let started = Instant::now();
        let outcome = (step.run)(workspace);
        times.push((step.name, started.elapsed().as_secs_f64()));
        if let Err(error) = outcome {
            summary(&times, Some(step.name));
            let message = format!("step {} failed: {error:#}", step.name);
            return Err(Coded { code: code(place), message }.into());
        }
    }
    summary(&times, None);
    Ok(())
}

/// Places of the steps to run, in order.
fn choose(only: &[String]) -> Result<Vec<usize>> {
    for name in only {
        if !STEPS.iter().any(|step| step.name == name) {
            let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step is called {name}; the steps are {}", known.join(", "));
        }
    }
    let wanted = |step: &Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok((0..STEPS.len()).filter(|&place| wanted(&STEPS[place])).collect())
}

/// Features off by default that are linted, documented and tested too.
const FEATURES: &[&str] = &["--features", "nearkin-loss/onnx"];

fn code(place: usize) -> u8 {
    u8::try_from(place).map_or(u8::MAX, |place| FIRST_STEP + place)
}

fn summary(times: &[(&str, f64)], failed: Option<&str>) {
    println!();
    for (name, seconds) in times {
        let verdict = if failed == Some(name) { "FAILED" } else { "ok" };
        println!("{name:<7} {seconds:>8.1} s  {verdict}");
    }
    let total: f64 = times.iter().map(|(_, seconds)| seconds).sum();
    let verdict = failed.map_or("all passed".to_owned(), |name| format!("stopped at {name}"));
    println!("{:<7} {total:>8.1} s  {verdict}", "total");
}

fn format(workspace: &Workspace) -> Result<()> {
    run_command(workspace.cargo("fmt").args(["--all", "--check"]))
}

fn library(workspace: &Workspace) -> Result<()> {
    setup::cpu_library(workspace).map(drop)
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("clippy");
    command.args(["--workspace", "--all-targets"]).args(FEATURES);
    run_command(command.args(["--", "-D", "warnings"]))
}

fn doc(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("doc");
    command.args(["--workspace", "--no-deps"]).args(FEATURES);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// One `cargo test` runs the documentation tests too.
fn test(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("test");
    command.arg("--workspace").args(FEATURES);
    run_command(with_library(&mut command, setup::cpu_library(workspace)?))
}

fn with_library(command: &mut Command, library: PathBuf) -> &mut Command {
    command.env("ORT_DYLIB_PATH", library)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn steps_have_names_and_codes_of_their_own() {
        let names: BTreeSet<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        let codes: BTreeSet<_> = (0..STEPS.len()).map(code).collect();
        assert_eq!(codes.len(), STEPS.len());
        assert_eq!(code(0), 10);
    }

    #[test]
    fn only_keeps_the_usual_order() {
        let chosen = choose(&["test".into(), "format".into()]).expect("both exist");
        assert_eq!(chosen, [0, STEPS.len() - 1]);
        assert_eq!(choose(&[]).expect("all").len(), STEPS.len());
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = choose(&["tests".into()]).expect_err("no such step").to_string();
        assert!(error.contains("tests") && error.contains("clippy"), "{error}");
    }
}
