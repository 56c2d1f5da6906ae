//! Where the workspace is, and what `cargo metadata` says of it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

/// The repository that this xtask belongs to.
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, which `CARGO_TARGET_DIR` or a configuration may have moved.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace around this crate.
    pub(crate) fn here() -> Result<Self> {
        // Cargo sets the variable when it runs xtask; the compiled-in path serves a direct call.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask stands in no workspace")?.to_path_buf();
        let metadata = MetadataCommand::new()
            .cargo_path(cargo_path())
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata")?;
        Ok(Self { root, target: metadata.target_directory.into_std_path_buf() })
    }

    /// Packages, sources, licences and the resolved graph of all targets.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        MetadataCommand::new()
            .cargo_path(cargo_path())
            .manifest_path(self.root.join("Cargo.toml"))
            .exec()
            .context("cargo metadata")
    }

    /// `cargo VERB` for this workspace, run from wherever the user stands.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        self.cargo_in("", verb)
    }

    /// The same for the workspace of its own in `folder`, relative to the root.
    pub(crate) fn cargo_in(&self, folder: &str, verb: &str) -> Command {
        let mut command = Command::new(cargo_path());
        command.arg(verb).arg("--manifest-path").arg(self.root.join(folder).join("Cargo.toml"));
        command
    }

    /// Path relative to the root, with forward slashes, for messages.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string().replace('\\', "/")
    }
}

/// The cargo that runs xtask, so that a toolchain chosen on the command line stays chosen.
fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Runs `command` to its end with the terminal of this process; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

/// The command line as a reader would type it: program name and arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let mut words = vec![program.to_string_lossy().into_owned()];
    let mut arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        if argument == "--manifest-path" {
            arguments.next();
        } else {
            words.push(argument);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_and_has_a_target_folder() {
        let workspace = Workspace::here().expect("metadata");
        assert!(workspace.root.join("xtask/Cargo.toml").is_file());
        assert!(workspace.target.is_absolute());
    }

    #[test]
    fn commands_are_shown_without_the_manifest_path() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["doc", "--manifest-path", "x/Cargo.toml", "--no-deps"]);
        assert_eq!(shown(&command), "cargo doc --no-deps");
    }

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let error =
            run(Command::new("cargo").arg("no-such-verb").stderr(std::process::Stdio::null()))
                .expect_err("cargo refuses");
        assert!(error.to_string().starts_with("`cargo no-such-verb` failed"), "{error}");
    }
}
