//! Writes into the library what a result row must say of its own build: revision, compiler, profile.

use std::path::Path;
use std::process::Command;

fn main() {
    // Any source of the workspace may change what is measured, so any change asks git again.
    for folder in ["src", "suites", "../crates", "../zoo", "../Cargo.toml"] {
        if Path::new(folder).exists() {
            println!("cargo::rerun-if-changed={folder}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    set("NEARKIN_GIT_REVISION", git(&["rev-parse", "HEAD"]));
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".."]);
    set("NEARKIN_GIT_DIRTY", changed.map(|files| (!files.is_empty()).to_string()));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set("NEARKIN_RUSTC", output(Command::new(rustc).arg("--version")));
    set("NEARKIN_PROFILE", std::env::var("PROFILE").ok());
    set("NEARKIN_TARGET", std::env::var("TARGET").ok());
}

/// An empty value stands for "not known": a build from an archive has no revision.
fn set(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.unwrap_or_default());
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
