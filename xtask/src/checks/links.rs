//! Paths that documents name must exist.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::report;
use crate::files;
use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";
/// The map names at least so many paths: fewer would mean that they are no longer recognised.
const LEAST: usize = 25;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = &workspace.root;
    let map = fs::read_to_string(root.join(MAP)).context(MAP)?;
    let named = named_paths(&map);
    let mut findings: Vec<String> = named
        .iter()
        .filter(|(_, path)| !root.join(path).exists())
        .map(|(line, path)| format!("{MAP}:{line}: {path} does not exist"))
        .collect();
    if named.len() < LEAST {
        findings.push(format!("{MAP}: {} paths were recognised, expected {LEAST}", named.len()));
    }
    for path in files::tracked(root)? {
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("{}", path.display()))?;
            findings.extend(broken_links(root, &path, &text));
        }
    }
    report(&findings)
}

/// Paths in code spans, and the first word of each line of a code block: `(line, path)`.
///
/// A path holds a slash or ends with a known extension; what holds anything but letters, digits and
/// `._-/` (a command, a Rust path, a pattern) is none. `target/` is made by building.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let words: Vec<&str> = if in_block {
            line.split_whitespace().take(1).collect()
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        named.extend(words.into_iter().filter(|w| is_path(w)).map(|w| (number, w.to_owned())));
    }
    named
}

fn is_path(word: &str) -> bool {
    const EXTENSIONS: &[&str] = &["rs", "toml", "md", "py", "txt", "lock"];
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    plain
        && (word.contains('/') || extension.is_some_and(|known| EXTENSIONS.contains(&known)))
        && !word.starts_with('/')
        && !word.starts_with("target/")
}

/// Relative links `[text](path)` of a document that lead nowhere.
fn broken_links(root: &Path, document: &Path, text: &str) -> Vec<String> {
    let folder = root.join(document).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut broken = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        in_block ^= line.trim_start().starts_with("```");
        if in_block {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let link = line[at + 2..].split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = link.is_empty() || link.contains("://") || link.starts_with("mailto:");
            // A README that is a crate's documentation may link to Rust items.
            let item = link.contains("::");
            if !elsewhere && !item && !folder.join(PathBuf::from(link)).exists() {
                broken.push(format!("{}:{number}: {link} does not exist", document.display()));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_path_and_link_of_this_repository_exists() {
        run(&Workspace::here().expect("workspace")).expect("no finding");
    }

    #[test]
    fn paths_are_told_from_commands_and_rust_names() {
        let text = "`crates/nn` `deny.toml` `cargo xtask ci` `Scope::conv` `zoo/*` `target/release/x` `x/\
            missing.rs`\n```text\nzoo/vgg   families\n```\n";
        let paths: Vec<_> = named_paths(text).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["crates/nn", "deny.toml", "x/missing.rs", "zoo/vgg"]);
    }

    #[test]
    fn links_to_missing_files_are_found_and_addresses_are_left_alone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        files::write(&folder.path().join("docs/there.md"), b"").expect("written");
        let text =
            "[a](there.md#part) [b](https://example.org/x) [c](missing.md)\n```\n[d](e.md)\n```";
        let broken = broken_links(folder.path(), Path::new("docs/page.md"), text);
        assert_eq!(broken, ["docs/page.md:1: missing.md does not exist"]);
    }
}
