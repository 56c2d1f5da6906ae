//! `cargo xtask zoo new`: the crate of a new family, and its entry in the registry.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::files;
use crate::workspace::Workspace;

/// Make the crate of a new family of architectures
///
/// Writes zoo/NAME with a small network that builds and passes its tests, adds it to the workspace's
/// dependencies and to the list of zoo/registry, and changes nothing else. NAME is timm's group
/// where there is one: lower-case letters, digits and underscores. If anything is in the way,
/// nothing is written.
///
/// Afterwards: write the network in zoo/NAME/src/lib.rs so that it reads like the paper (zoo/resnet
/// is an example), then `cargo test -p nearkin-NAME` and `cargo xtask zoo list 'NAME*'`.
#[derive(Parser)]
#[command(bin_name = "cargo xtask zoo new")]
struct Args {
    /// Name of the family, such as mobilenet
    name: String,
}

/// `args` begins with the word `new`.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let Args { name } = Args::parse_from(args);
    create(&workspace.root, &name)?;
    println!(
        "made zoo/{name} and entered it in Cargo.toml and zoo/registry; next:\n  \
         write the network in zoo/{name}/src/lib.rs\n  \
         cargo test -p nearkin-{name} -p nearkin-zoo\n  \
         cargo xtask zoo list '{name}*'"
    );
    Ok(())
}

/// A file to be written, and what it held before, if it stood there.
struct Edit {
    path: String,
    before: Option<String>,
    after: String,
}

fn create(root: &Path, name: &str) -> Result<()> {
    check_name(name)?;
    for folder in [format!("zoo/{name}"), format!("crates/{name}")] {
        ensure!(!root.join(&folder).exists(), "{folder} exists already: nothing was changed");
    }
    let mut edits = new_files(name);
    edits.extend(entries(root, name)?);
    for (place, edit) in edits.iter().enumerate() {
        if let Err(error) = files::write(&root.join(&edit.path), edit.after.as_bytes()) {
            undo(root, name, &edits[..place]);
            return Err(error.context("nothing was changed"));
        }
    }
    Ok(())
}

/// Takes back what was written; the error that led here is the one to report.
fn undo(root: &Path, name: &str, written: &[Edit]) {
    for Edit { path, before, .. } in written {
        if let Some(before) = before {
            let _ = files::write(&root.join(path), before.as_bytes());
        }
    }
    let _ = fs::remove_dir_all(root.join("zoo").join(name));
}

/// A name that is a folder, the end of a crate's name, and timm's name of a group.
fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    ensure!(
        letters && starts && !name.ends_with('_') && !name.contains("__") && name.len() <= 40,
        "{name:?} is no name for a family: expected a lower-case letter, then lower-case letters, \
         digits and single underscores, at most 40 in all, as timm writes its groups (mlp_mixer)"
    );
    // `nearkin-zoo` is the registry, and `nearkin-bench` the benchmarks.
    ensure!(!["zoo", "bench"].contains(&name), "nearkin-{name} is the name of another crate");
    Ok(())
}

fn new_files(name: &str) -> Vec<Edit> {
    const FILES: [(&str, &str); 3] = [
        ("Cargo.toml", include_str!("family/Cargo.toml.template")),
        ("README.md", include_str!("family/README.md.template")),
        ("src/lib.rs", include_str!("family/lib.rs.template")),
    ];
    FILES
        .map(|(path, template)| Edit {
            path: format!("zoo/{name}/{path}"),
            before: None,
            after: template.replace("FAMILY_NAME", name),
        })
        .into()
}

/// The lines that enter the family in the workspace and in the registry.
fn entries(root: &Path, name: &str) -> Result<Vec<Edit>> {
    let places = [
        ("Cargo.toml", "nearkin-", "= { path = \"zoo/", format!("{{ path = \"zoo/{name}\" }}")),
        ("zoo/registry/Cargo.toml", "nearkin-", "workspace = true", "{ workspace = true }".into()),
    ];
    let mut edits = Vec::new();
    for (path, start, part, value) in places {
        let line = format!("nearkin-{name} = {value}");
        edits.push(edit(root, path, line, |line| {
            line.starts_with(start) && line.contains(part) && !line.contains("zoo/registry")
        })?);
    }
    let line = format!("    &nearkin_{name}::FAMILY,");
    edits.push(edit(root, "zoo/registry/src/lib.rs", line, |line| {
        line.trim_start().starts_with("&nearkin_") && line.ends_with("::FAMILY,")
    })?);
    Ok(edits)
}

fn edit(root: &Path, path: &str, line: String, is_like: impl Fn(&str) -> bool) -> Result<Edit> {
    let before = fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
    let after = insert(&before, &line, is_like)
        .with_context(|| format!("{path}: no line like {line:?} to stand beside"))?;
    Ok(Edit { path: path.to_owned(), before: Some(before), after })
}

/// `text` with `line` among the lines that are like it: before the first that sorts after it, else
/// after the last. `None` if there is none.
fn insert(text: &str, line: &str, is_like: impl Fn(&str) -> bool) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let like: Vec<usize> = (0..lines.len()).filter(|&place| is_like(lines[place])).collect();
    let after_last = like.last()? + 1;
    let place = like.into_iter().find(|&place| lines[place] > line).unwrap_or(after_last);
    let mut lines = lines;
    lines.insert(place, line);
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests;
