//! What no file of the repository may hold: stubs, ignored tests, paths of one machine, and file
//! access in the crates that take and give bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::report;
use crate::files;
use crate::workspace::Workspace;

/// In Rust sources. Assembled, so that this file does not hold them.
const STUBS: &[&str] =
    &[concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore")];
const PYTHON_STUBS: &[&str] =
    &[concat!("NotImpl", "ementedError"), concat!("pytest.mark.", "skip")];
/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!(":\\Us", "ers\\"),
];
/// Crates that take bytes and give bytes: their users decide where files lie.
const WITHOUT_FILES: &[&str] =
    &["crates/onnx/src/", "crates/nn/src/", "crates/autodiff/src/", "zoo/"];
const FILE_ACCESS: &[&str] = &["std::fs", "File::open", "std::net", "std::process"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    for path in files::tracked(&workspace.root)? {
        // Files that are not text (fixtures, images) have no lines to look at.
        let Ok(text) = String::from_utf8(fs::read(workspace.root.join(&path))?) else { continue };
        findings.extend(look(&path, &text));
    }
    report(&findings)
}

/// One line per finding in a file.
fn look(path: &Path, text: &str) -> Vec<String> {
    let shown = path.to_string_lossy().replace('\\', "/");
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let stubs = match extension {
        "rs" => STUBS,
        "py" => PYTHON_STUBS,
        _ => &[],
    };
    let access =
        if extension == "rs" && takes_bytes_only(path, &shown) { FILE_ACCESS } else { &[] };
    let mut found = Vec::new();
    let mut in_tests = false;
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{shown}:{number}");
        in_tests |= line.trim_start().starts_with("#[cfg(test)]");
        if let Some(stub) = stubs.iter().find(|stub| line.contains(**stub)) {
            found.push(format!("{place}: {stub} is not to be committed"));
        }
        if let Some(start) = MACHINE_PATHS.iter().find(|start| names_path(line, start)) {
            found.push(format!("{place}: a path of one machine ({start}…)"));
        }
        if !in_tests && let Some(name) = access.iter().find(|name| line.contains(**name)) {
            found.push(format!("{place}: {name} in a crate that takes bytes and gives bytes"));
        }
    }
    found
}

fn takes_bytes_only(path: &Path, shown: &str) -> bool {
    let is_test = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name() == Some(PathBuf::from("tests.rs").as_os_str());
    !is_test && WITHOUT_FILES.iter().any(|folder| shown.starts_with(folder))
}

/// Whether `line` holds a path that begins with `start`, rather than a part of a longer path.
fn names_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        start.starts_with(':')
            || !before.is_some_and(|c| c.is_alphanumeric() || "._-~}*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expect: &[&str]) {
        let found = look(Path::new(path), text);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (line, part) in found.iter().zip(expect) {
            assert!(line.contains(part), "{line:?} does not say {part:?}");
        }
    }

    #[test]
    fn this_repository_is_tidy() {
        run(&Workspace::here().expect("workspace")).expect("no finding");
    }

    #[test]
    fn stubs_are_found_with_their_line() {
        check("a.rs", &format!("fn f() {{\n    {})\n}}", STUBS[0]), &["a.rs:2"]);
        check("a.rs", &format!("{} = \"slow\"]", STUBS[2]), &["a.rs:1"]);
        check("a.py", &format!("raise {}", PYTHON_STUBS[0]), &["a.py:1"]);
        check("a.md", STUBS[0], &[]);
    }

    #[test]
    fn machine_paths_are_found_and_addresses_are_not() {
        let start = MACHINE_PATHS[1];
        check("a.md", &format!("see `{start}me/x`"), &["a.md:1"]);
        check("a.md", &format!("<https://example.org{start}x> and docs{start}x"), &[]);
    }

    #[test]
    fn what_takes_bytes_opens_no_file_outside_its_tests() {
        let line = "let bytes = std::fs::read(path)?;";
        check("zoo/vgg/src/lib.rs", line, &["takes bytes"]);
        check("zoo/vgg/src/lib.rs", &format!("#[cfg(test)]\nmod tests {{\n{line}\n}}"), &[]);
        check("zoo/vgg/tests/reference.rs", line, &[]);
        check("crates/data/src/idx.rs", line, &[]);
    }
}
