//! The libraries of a wheel, and the record of what was unpacked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use super::wheels::Wheel;
use crate::files;

/// Written last, beside the libraries: where it stands, everything before it was written.
const RECORD: &str = "installed.json";

/// What stands in a folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Installed {
    pub(super) version: String,
    pub(super) wheel: String,
    pub(super) sha256: String,
    /// File name of ONNX Runtime's own library; the others are its providers.
    pub(super) library: String,
    files: Vec<Unpacked>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unpacked {
    name: String,
    bytes: u64,
}

impl Installed {
    /// The library in `folder`, if it came whole from `wheel`.
    pub(super) fn find(folder: &Path, wheel: &Wheel) -> Option<PathBuf> {
        let record = fs::read(folder.join(RECORD)).ok()?;
        let installed: Self = serde_json::from_slice(&record).ok()?;
        let whole = installed.sha256 == wheel.sha256
            && installed.files.iter().all(|file| {
                fs::metadata(folder.join(&file.name)).is_ok_and(|found| found.len() == file.bytes)
            });
        whole.then(|| folder.join(&installed.library))
    }
}

/// Unpacks the libraries and licences of the wheel `file` into the new folder `folder`.
pub(super) fn unpack(file: &Path, folder: &Path, wheel: &Wheel) -> Result<Installed> {
    let place = || format!("{}", file.display());
    let opened = fs::File::open(file).with_context(place)?;
    let mut archive = ZipArchive::new(opened).with_context(place)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut unpacked = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(place)?;
        let Some(name) = wanted(&entry.name().with_context(place)?).map(str::to_owned) else {
            continue;
        };
        let bytes = write_entry(&mut entry, &folder.join(&name))
            .with_context(|| explain_write(folder, &name))?;
        unpacked.push(Unpacked { name, bytes });
    }
    unpacked.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(library) = unpacked.iter().map(|file| &file.name).find(|name| is_runtime(name)) else {
        bail!("{}: the wheel holds no ONNX Runtime library under onnxruntime/capi", file.display());
    };
    let installed = Installed {
        version: wheel.version.clone(),
        wheel: wheel.file(),
        sha256: wheel.sha256.clone(),
        library: library.clone(),
        files: unpacked,
    };
    files::write(&folder.join(RECORD), &serde_json::to_vec_pretty(&installed)?)?;
    Ok(installed)
}

/// The name under which an entry of the wheel is kept, if it is: a library or a licence.
fn wanted(entry: &str) -> Option<&str> {
    let name = entry.strip_prefix("onnxruntime/")?;
    if matches!(name, "LICENSE" | "ThirdPartyNotices.txt") {
        return Some(name);
    }
    let name = name.strip_prefix("capi/")?;
    let is_plain = !name.contains(['/', '\\']);
    let is_python = name.contains("pybind11");
    let is_library = is_runtime(name) || name.contains("onnxruntime_providers_");
    (is_plain && is_library && !is_python).then_some(name)
}

/// Whether this is ONNX Runtime itself: `libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`,
/// `onnxruntime.dll`.
fn is_runtime(name: &str) -> bool {
    name == "onnxruntime.dll"
        || name.starts_with("libonnxruntime.so")
        || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
}

fn write_entry(entry: &mut impl io::Read, path: &Path) -> io::Result<u64> {
    let mut file = fs::File::create_new(path)?;
    let bytes = io::copy(entry, &mut file)?;
    file.sync_all()?;
    Ok(bytes)
}

fn explain_write(folder: &Path, name: &str) -> String {
    format!(
        "cannot unpack {name} into {} (the CPU libraries take 30 MB of disk, those for CUDA 315 MB)",
        folder.display()
    )
}
