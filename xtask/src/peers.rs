//! `cargo xtask peers`: measures and checks nearkin against the Python tools of the field.
//!
//! The work is done by the scripts of `benchmarks/peers`; here their pinned virtual environment is
//! made, `nearkin` is built, and ONNX Runtime's library is put in place.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;

use crate::workspace::{Workspace, run as run_command};
use crate::{exit, files, setup};

/// Measure and check nearkin against Python's tools, in a pinned environment
///
/// Each verb makes a virtual environment under target/peers (the versions are pinned in
/// benchmarks/peers/requirements-*.txt), builds the release `nearkin`, and runs one script of
/// benchmarks/peers. No other part of the project needs Python packages.
///
/// Arguments after the verb go to the script: `cargo xtask peers inference --help`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Latency of nearkin, Python onnxruntime, torch eager and tract, interleaved in one run
    ///
    /// Exports the models, runs all engines in turns (A B C D, D C B A, …), and writes the ratios of
    /// medians as Markdown and JSON into benchmarks/results. The environment takes 6 GB of disk,
    /// nearly all of it torch; `--no-torch` leaves torch out of both.
    #[command(disable_help_flag = true)]
    Inference(Script),
    /// Distances and retrieval next to scipy, scikit-learn, numpy and pytorch-metric-learning
    ///
    /// Builds one small program and no runtime, lets the engines take turns, compares their results,
    /// measures the memory of a large retrieval, and writes into benchmarks/results.
    #[command(disable_help_flag = true)]
    Metrics(Script),
    /// Nearest neighbours next to faiss, kiddo, linfa-nn, pynndescent and NSL's builder
    ///
    /// Builds two small programs (nearkin's engines, and kiddo in a workspace of its own) and no runtime,
    /// lets the engines take turns, compares their results, and writes into benchmarks/results.
    #[command(disable_help_flag = true)]
    Neighbours(Script),
    /// Decoding and preparing photographs: nearkin, torchvision on Pillow, torchvision v2
    ///
    /// Compares the levels of every photograph with timm's own transform, runs the pipelines in turns,
    /// and writes images per second of processor time as Markdown and JSON into benchmarks/results.
    #[command(disable_help_flag = true)]
    Preprocess(Script),
    /// Exports one variant of every family and checks it with onnx.checker and shape inference
    #[command(disable_help_flag = true)]
    OnnxCheck(Script),
    /// Maps of MNIST's 70,000 images by nearkin, PyMDE and umap-learn, interleaved in one run
    ///
    /// All start from the same exact neighbours; their time and how well neighbours are kept are
    /// written as Markdown and JSON into benchmarks/results. Needs MNIST's IDX files (`--data`).
    #[command(disable_help_flag = true)]
    Map(Script),
    /// Loads timm's weights into nearkin and compares the outputs with timm's own (needs torch)
    #[command(disable_help_flag = true)]
    TimmCheck(Script),
    /// One whole training step of five networks next to PyTorch eager and torch.compile
    ///
    /// Builds two small programs, one that writes the step graphs and one that runs them, lets the
    /// engines take turns, compares their losses, and writes times and peak memory as Markdown and
    /// JSON into benchmarks/results. torch.compile needs a C++ compiler; without one it is left out
    /// with the reason.
    #[command(disable_help_flag = true)]
    TrainStep(Script),
}

#[derive(clap::Args)]
struct Script {
    /// Arguments for the script
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<OsString>,
}

const SCRIPTS: &str = "benchmarks/peers";

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let (script, requirements, script_args) = match &args.verb {
        Verb::Inference(script) if script.args.iter().any(|arg| arg == "--no-torch") => {
            ("inference.py", "onnx", &script.args)
        }
        Verb::Inference(script) => ("inference.py", "torch", &script.args),
        Verb::Metrics(script) => ("metrics.py", "metrics", &script.args),
        Verb::Neighbours(script) => ("neighbours.py", "neighbours", &script.args),
        Verb::Preprocess(script) => ("preprocess.py", "torch", &script.args),
        Verb::OnnxCheck(script) => ("onnx_check.py", "onnx", &script.args),
        Verb::Map(script) => ("map.py", "map", &script.args),
        Verb::TimmCheck(script) => ("timm_check.py", "torch", &script.args),
        Verb::TrainStep(script) => ("train_step.py", "torch", &script.args),
    };
    let script = workspace.root.join(SCRIPTS).join(script);
    if script_args.iter().any(|arg| arg == "--help" || arg == "-h") {
        // The scripts import only the standard library before they parse their arguments.
        return python_script(Path::new(python()?), &script, script_args, &[]);
    }
    let python = environment(workspace, requirements)?;
    if let Some(measured) = example_of(&args.verb) {
        let more = match args.verb {
            Verb::Neighbours(_) => vec![("NEARKIN_KIDDO", kiddo(workspace)?)],
            Verb::TrainStep(_) => vec![
                (
                    "NEARKIN_STEP",
                    example(workspace, "nearkin-runtime", "step", &["--no-default-features"])?,
                ),
                ("ORT_DYLIB_PATH", setup::cpu_library(workspace)?),
            ],
            _ => vec![],
        };
        return with_example(workspace, &python, &script, script_args, measured, more);
    }
    run_command(workspace.cargo("build").args(["--release", "--package", "nearkin"]))?;
    let nearkin =
        workspace.target.join("release").join(format!("nearkin{}", env::consts::EXE_SUFFIX));
    let library = setup::cpu_library(workspace)?;
    let work = workspace.target.join("peers").join("models");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    python_script(
        &python,
        &script,
        script_args,
        &[
            ("NEARKIN", nearkin),
            ("NEARKIN_ROOT", workspace.root.clone()),
            ("NEARKIN_PEERS_WORK", work),
            ("ORT_DYLIB_PATH", library),
        ],
    )
}

/// What a script that measures one crate needs of it: package, example, and the variable that tells
/// where it is.
fn example_of(verb: &Verb) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match verb {
        Verb::Preprocess(_) => ("nearkin-data", "preprocess", "NEARKIN_PREPROCESS"),
        Verb::Map(_) => ("nearkin-graph", "map", "NEARKIN_MAP"),
        Verb::Metrics(_) => ("nearkin-metrics", "metrics", "NEARKIN_METRICS"),
        Verb::Neighbours(_) => ("nearkin-graph", "neighbours", "NEARKIN_NEIGHBOURS"),
        Verb::TrainStep(_) => ("nearkin-autodiff", "step_graph", "NEARKIN_STEP_GRAPH"),
        _ => return None,
    })
}

/// Builds the program that times kiddo, in a workspace of its own, so that what kiddo needs is no
/// dependency of the project.
fn kiddo(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("peers").join("kiddo");
    let mut kiddo = workspace.cargo_in("benchmarks/peers/kiddo", "build");
    run_command(kiddo.args(["--release", "--locked", "--target-dir"]).arg(&target))?;
    Ok(target.join("release").join(format!("kiddo-peer{}", env::consts::EXE_SUFFIX)))
}

/// Runs a script that measures one crate: it needs that crate's example program, and not the binary
/// with its engines.
///
/// - `package`, `name`: the example; `variable`: how the script is told where it is.
/// - `more`: further variables of the script.
fn with_example(
    workspace: &Workspace,
    python: &Path,
    script: &Path,
    args: &[OsString],
    (package, name, variable): (&str, &str, &str),
    more: Vec<(&str, PathBuf)>,
) -> Result<ExitCode> {
    let program = example(workspace, package, name, &[])?;
    let work = workspace.target.join("peers").join(name);
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let root = workspace.root.clone();
    let own = [(variable, program), ("NEARKIN_ROOT", root), ("NEARKIN_PEERS_WORK", work)];
    let variables: Vec<_> = own.into_iter().chain(more).collect();
    python_script(python, script, args, &variables)
}

/// Builds an example program of a crate, with `more` arguments for cargo.
fn example(workspace: &Workspace, package: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
    let mut build = workspace.cargo("build");
    run_command(build.args(["--release", "--package", package, "--example", name]).args(more))?;
    let program = format!("{name}{}", env::consts::EXE_SUFFIX);
    Ok(workspace.target.join("release").join("examples").join(program))
}

fn python_script(
    python: &Path,
    script: &Path,
    args: &[OsString],
    variables: &[(&str, PathBuf)],
) -> Result<ExitCode> {
    let status = Command::new(python)
        .arg("-B") // no __pycache__ in the source tree
        .arg(script)
        .args(args)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .status()
        .with_context(|| format!("cannot start {}", python.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(exit::FAILURE)))
}

/// The Python of the virtual environment with these requirements, made if it is not there.
///
/// A file with the sums of the requirements is written last: an environment that was interrupted, or
/// whose requirements changed, is made anew.
fn environment(workspace: &Workspace, requirements: &str) -> Result<PathBuf> {
    let pinned = workspace.root.join(SCRIPTS).join(format!("requirements-{requirements}.txt"));
    let folder = workspace.target.join("peers").join(format!("venv-{requirements}"));
    let python = if cfg!(windows) {
        folder.join("Scripts").join("python.exe")
    } else {
        folder.join("bin").join("python")
    };
    let record = folder.join("requirements.sha256");
    // One list includes another, so those count as well.
    let mut lists = vec!["onnx", "torch"];
    if !lists.contains(&requirements) {
        lists.push(requirements);
    }
    let sums = lists.into_iter().map(|name| {
        files::sha256(&workspace.root.join(SCRIPTS).join(format!("requirements-{name}.txt")))
    });
    let sum = sums.collect::<Result<Vec<_>>>()?.join("\n");
    if fs::read_to_string(&record).is_ok_and(|made| made == sum) {
        return Ok(python);
    }
    eprintln!("making the virtual environment {}", workspace.shown(&folder));
    let made = Command::new(self::python()?).args(["-m", "venv", "--clear"]).arg(&folder).status();
    if !made.context("cannot start Python")?.success() {
        bail!("python3 -m venv failed (Debian and Ubuntu: apt install python3-venv)");
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]).arg(&pinned);
    run_command(&mut pip).with_context(|| {
        format!(
            "cannot install {}: is the package index in reach, and enough disk free?",
            workspace.shown(&pinned)
        )
    })?;
    files::write(&record, sum.as_bytes())?;
    Ok(python)
}

/// A Python new enough for the pinned packages.
fn python() -> Result<&'static str> {
    const PROBE: &str = "import sys; sys.exit(sys.version_info < (3, 11))";
    for python in ["python3", "python"] {
        if let Ok(output) = Command::new(python).args(["-c", PROBE]).output() {
            ensure!(
                output.status.success(),
                "{python} is older than 3.11, which the pinned packages need"
            );
            return Ok(python);
        }
    }
    bail!("Python 3.11 or later was not found: the peers are Python packages")
}
