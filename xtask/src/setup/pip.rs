//! `python3 -m pip download`, and what its failures mean.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::wheels::Wheel;

/// Downloads `wheel` into `folder` and returns its path. The sum is not checked here.
pub(super) fn download(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let python = python()?;
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-input", "--retries", "2"])
        .args(["--implementation", "cp", "--python-version", &wheel.python])
        .args(["--abi", &format!("cp{}", wheel.python), "--platform", &wheel.platform])
        .arg("--dest")
        .arg(folder)
        .arg(format!("{}=={}", wheel.package, wheel.version))
        .stdout(io::stderr()) // pip's progress; our standard output is the path alone
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("cannot run {python} -m pip"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}", explain(&said, wheel));
    }
    let file = folder.join(wheel.file());
    if !file.is_file() {
        bail!("pip ended well, but {} is not among what it downloaded", wheel.file());
    }
    Ok(file)
}

/// The first Python 3 on the path that has pip.
fn python() -> Result<&'static str> {
    let mut without_pip = None;
    for python in ["python3", "python"] {
        let tried = Command::new(python).args(["-m", "pip", "--version"]).output();
        match tried {
            Ok(output) if output.status.success() => return Ok(python),
            Ok(_) => without_pip = without_pip.or(Some(python)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot run {python}")),
        }
    }
    const HOW: &str = "install it (Debian and Ubuntu: apt install python3-pip; Fedora: dnf install \
        python3-pip; macOS: brew install python; Windows: winget install Python.Python.3.12), or \
        fetch the wheel elsewhere and pass it with --wheel";
    match without_pip {
        Some(python) => bail!("{python} has no pip: {HOW}"),
        None => bail!("Python 3 with pip was not found: {HOW}"),
    }
}

/// What pip's standard error means, with its own words after.
fn explain(said: &str, wheel: &Wheel) -> String {
    let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let cause = if has(&["No space left", "Errno 28", "not enough space"]) {
        "the disk is full (pip keeps its download in the temporary folder first: TMPDIR moves it)"
    } else if has(&["DO NOT MATCH THE HASHES", "HashMismatch", "Hash mismatch"]) {
        "what arrived is not what the package index announced"
    } else if has(&[
        "NewConnectionError",
        "NameResolutionError",
        "Temporary failure in name resolution",
        "ConnectTimeout",
        "ReadTimeoutError",
        "ProxyError",
        "Network is unreachable",
        "Connection refused",
        "Connection reset",
        "CERTIFICATE_VERIFY_FAILED",
    ]) {
        "the package index cannot be reached; nearkin runs on tract meanwhile, and a wheel fetched \
         elsewhere can be passed with --wheel"
    } else if has(&["from versions: none"]) {
        "the package index cannot be reached, or it is a mirror without this package; nearkin runs \
         on tract meanwhile, and a wheel fetched elsewhere can be passed with --wheel"
    } else if has(&["No matching distribution"]) {
        "the package index that pip uses does not hold this version (is it a mirror?)"
    } else {
        "pip failed"
    };
    let mut last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    last.drain(..last.len().saturating_sub(4));
    format!("cannot download {}: {cause}\n  pip: {}", wheel.file(), last.join("\n  pip: "))
}

#[cfg(test)]
mod tests {
    use super::super::wheels::{Device, for_machine};
    use super::*;

    fn check(said: &str, expect: &str) {
        let wheel = for_machine(Device::Cpu, "linux", "x86_64").expect("pinned");
        let text = explain(said, &wheel);
        assert!(text.contains(expect), "{text}");
        assert!(text.contains(&wheel.file()), "names the file: {text}");
    }

    #[test]
    fn a_full_disk_is_recognised() {
        check(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left",
            "disk is full",
        );
    }

    #[test]
    fn a_missing_network_is_recognised_though_pip_ends_with_no_matching_distribution() {
        let said = "WARNING: Retrying (Retry(total=0)) after connection broken by \
            'NewConnectionError(\"Failed to establish a new connection\")': /simple/onnxruntime/\n\
            ERROR: No matching distribution found for onnxruntime==1.31.1\n";
        check(said, "cannot be reached");
    }

    #[test]
    fn a_mirror_without_the_wheel_is_recognised() {
        check("ERROR: No matching distribution found for onnxruntime==1.31.1", "does not hold");
    }

    #[test]
    fn an_unknown_failure_shows_the_last_words_of_pip() {
        check("one\ntwo\nthree\nfour\nfive\n", "pip: five");
    }
}
