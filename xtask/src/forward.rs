//! Hands a verb and its arguments to the release build of `nearkin`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;

/// Runs `nearkin VERB ARGS…` from the user's folder; its exit code becomes this process's.
///
/// On Unix this process *becomes* cargo, and cargo becomes `nearkin`: Ctrl-C, other signals and
/// the exit status need no passing on. Elsewhere it waits, and leaves Ctrl-C to the child.
pub(crate) fn run(workspace: &Workspace, verb: &str, args: &[OsString]) -> Result<ExitCode> {
    let mut command = workspace.cargo("run");
    command.args(["--release", "--package", "nearkin", "--bin", "nearkin", "--", verb]);
    command.args(args);
    become_process(command)
}

#[cfg(unix)]
fn become_process(mut command: std::process::Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(anyhow::Error::new(command.exec()).context("cannot start cargo"))
}

#[cfg(not(unix))]
fn become_process(mut command: std::process::Command) -> Result<ExitCode> {
    use anyhow::Context as _;
    // The console sends Ctrl-C to every process of the group: here it is ignored, the child decides.
    ctrlc::set_handler(|| {}).context("cannot leave Ctrl-C to nearkin")?;
    let status = command.status().context("cannot start cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(crate::exit::FAILURE)))
}
