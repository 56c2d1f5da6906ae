//! `cargo xtask setup`: ONNX Runtime's library from the pinned wheel.
//!
//! The wheel comes by `pip download` (no Python package is installed), its SHA-256 is checked
//! against `onnxruntime.toml`, and only the libraries and their licences are unpacked.

mod pip;
mod unpack;
mod wheels;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::workspace::Workspace;
use unpack::Installed;
use wheels::Wheel;

pub(crate) use wheels::Device;

/// Bring ONNX Runtime's library into the target folder
///
/// Downloads the pinned wheel with `python3 -m pip` (24 MB for the CPU, 256 MB for CUDA), checks its
/// SHA-256, and unpacks only the libraries into target/onnxruntime/cpu or …/cuda. Nothing is
/// installed into any Python. A second run finds them and returns at once. The library's path is
/// printed on standard output; `nearkin` finds it there by itself.
///
/// The CUDA library needs an NVIDIA driver, CUDA 13 and cuDNN 9 at run time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which build of the library
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Download and unpack again, even if the library is there
    #[arg(long)]
    force: bool,
    /// Use this wheel file instead of downloading it (for machines without a network)
    #[arg(long, value_name = "FILE")]
    wheel: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let library = install(workspace, args)?;
    println!("{}", library.display());
    Ok(())
}

/// The CPU library for tests and peers: the one of `ORT_DYLIB_PATH`, else the pinned one.
pub(crate) fn cpu_library(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(chosen) = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from) {
        if !chosen.is_file() {
            bail!("ORT_DYLIB_PATH names {}, which is not a file", chosen.display());
        }
        return Ok(chosen);
    }
    install(workspace, &Args { device: Device::Cpu, force: false, wheel: None })
}

fn install(workspace: &Workspace, args: &Args) -> Result<PathBuf> {
    let wheel = wheels::for_machine(args.device, env::consts::OS, env::consts::ARCH)?;
    let folder = workspace.target.join("onnxruntime").join(args.device.name());
    if !args.force
        && args.wheel.is_none()
        && let Some(library) = Installed::find(&folder, &wheel)
    {
        return Ok(library);
    }

    let parent = workspace.target.join("onnxruntime");
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // Beside the goal, so that the last step is a rename within one file system.
    let work = tempfile::Builder::new().prefix(".setup-").tempdir_in(&parent)?;
    let file = match &args.wheel {
        Some(file) => file.clone(),
        None => {
            eprintln!("downloading {} with pip", wheel.file());
            pip::download(&wheel, work.path())?
        }
    };
    check_sum(&file, &wheel)?;
    let fresh = work.path().join(args.device.name());
    let installed = unpack::unpack(&file, &fresh, &wheel)?;
    put_in_place(&fresh, &folder, &work.path().join("old"))?;
    eprintln!("ONNX Runtime {} for {} is in place", wheel.version, args.device.name());
    Ok(folder.join(installed.library))
}

fn check_sum(file: &Path, wheel: &Wheel) -> Result<()> {
    let found = files::sha256(file)?;
    if found != wheel.sha256 {
        bail!(
            "{}: the file is not the pinned wheel\n  expected sha256 {}\n  found    sha256 {found}\n\
             nothing was unpacked; if a proxy or a mirror rewrites downloads, fetch {} from PyPI \
             and pass it with --wheel",
            file.display(),
            wheel.sha256,
            wheel.file(),
        );
    }
    Ok(())
}

/// Renames `fresh` to `folder`; what stood there goes to `old`, inside the temporary folder.
fn put_in_place(fresh: &Path, folder: &Path, old: &Path) -> Result<()> {
    let replaces = folder.exists();
    if replaces {
        fs::rename(folder, old)
            .with_context(|| format!("cannot replace {} (is it in use?)", folder.display()))?;
    }
    let placed = fs::rename(fresh, folder);
    if placed.is_err() && replaces {
        fs::rename(old, folder).with_context(|| format!("cannot restore {}", folder.display()))?;
    }
    placed.with_context(|| format!("cannot write {}", folder.display()))
}

#[cfg(test)]
mod tests;
