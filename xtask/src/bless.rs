//! `cargo xtask bless`: lets the tests rewrite their fixtures and snapshots.

use anyhow::Result;

use crate::files;
use crate::workspace::{Workspace, run as run_command};

/// Rewrite fixtures and snapshots from what the tests compute
///
/// Runs `cargo test` with NEARKIN_BLESS=1. A test that compares with a stored file then writes it
/// instead; a plain `cargo test` never writes. The files that changed are listed: read the
/// difference (`git diff`) before committing it, since a blessed mistake is a mistake that passes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests of this package
    #[arg(long, short, value_name = "NAME")]
    package: Option<String>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let before = files::fingerprints(&workspace.root)?;
    let mut test = workspace.cargo("test");
    match &args.package {
        Some(package) => test.args(["--package", package]),
        None => test.arg("--workspace"),
    };
    let outcome = run_command(test.args(&args.filter).env("NEARKIN_BLESS", "1"));
    let after = files::fingerprints(&workspace.root)?;

    let changed = after.iter().filter(|(path, sum)| before.get(*path) != Some(*sum));
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let mut lines: Vec<String> = changed
        .map(|(path, _)| {
            let verb = if before.contains_key(path) { "changed" } else { "new    " };
            format!("{verb}  {}", path.display())
        })
        .chain(gone.map(|path| format!("gone     {}", path.display())))
        .collect();
    if lines.is_empty() {
        lines.push("nothing changed".to_owned());
    }
    println!("{}", lines.join("\n"));
    outcome
}
