//! Checks of the repository itself. Each is a step of `ci` and a test of this crate.

pub(crate) mod layers;
pub(crate) mod links;
pub(crate) mod supply;
pub(crate) mod tidy;

use anyhow::{Result, bail};

/// Fails with one line per finding.
fn report(findings: &[String]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let plural = if findings.len() == 1 { "finding" } else { "findings" };
    bail!("{} {plural}\n  {}", findings.len(), findings.join("\n  "))
}
