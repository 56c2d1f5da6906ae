//! Where reference files are found.

use crate::exit::{Exit, Failure, OrExit as _};
use anyhow::Context as _;
use nearkin_nn::reference::Reference;
use std::path::{Path, PathBuf};

/// The corpus inside a folder of shared data.
const CORPUS: &str = "references/timm";

/// Where the corpus would be: below the variable `NEARKIN_SHARED`, else in a `shared` folder beside
/// this one or one that holds it.
pub(super) fn default_folder() -> PathBuf {
    if let Some(shared) = std::env::var_os("NEARKIN_SHARED") {
        return PathBuf::from(shared).join(CORPUS);
    }
    let here = std::env::current_dir().unwrap_or_default();
    let beside = here.ancestors().skip(1).map(|folder| folder.join("shared").join(CORPUS));
    beside
        .into_iter()
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| Path::new("../shared").join(CORPUS))
}

/// All JSON files of `folder` and of the folders in it, in order of their paths.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir() {
            found.extend(entries(&entry)?.into_iter().filter(|path| is_json(path)));
        } else if is_json(&entry) {
            found.push(entry);
        }
    }
    // The formula's own test describes no model.
    found.retain(|path| path.file_name().is_none_or(|name| name != "selftest.json"));
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("{}: cannot list the folder", folder.display()))
        .or_exit(Exit::BadInput)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Reads one reference file.
pub(super) fn read(path: &Path) -> anyhow::Result<Reference> {
    let text =
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Reference::from_json(&text).with_context(|| format!("{}: not a reference", path.display()))
}

/// The reference of `group/variant` in `folder`, if there is one that can be read.
pub(super) fn find(folder: &Path, group: &str, variant: &str) -> Option<Reference> {
    read(&folder.join(group).join(variant).with_extension("json")).ok()
}
