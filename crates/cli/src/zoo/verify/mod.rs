//! `nearkin zoo verify`: is each architecture what timm's of that name is?

mod compare;
mod report;
mod run;

use super::references;
use crate::engine_arguments::EngineArguments;
use crate::exit::{Exit, OrExit as _};
use crate::{Ended, output};
use anyhow::{Context as _, anyhow};
use compare::Verdict;
use nearkin_bench::files::write_whole;
use nearkin_zoo::{Registry, glob_matches};
use report::{Certificate, Summary};
use std::path::PathBuf;

/// Compare variants with timm's of the same name.
///
/// Every reference file of the folder is compared: names, shapes and order of all tensors,
/// parameters, multiply–accumulates, epsilons of the normalisation layers and, where the file has
/// outputs, the logits and the embedding of a formula-made batch, run by the chosen engine. Where
/// outputs differ, the first module that does is named. A row passes if the relative L2 distance is
/// at most max(5e-6, 5 × the distance of single-precision PyTorch), or on an engine that adds one by
/// one in single precision max(2e-5, 10 × that).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin zoo verify                                  all references at hand\n  \
    nearkin zoo verify 'resnet*' --runtime tract        some, on another engine\n  \
    nearkin zoo verify --references fixtures/references --json certificates.json\n\n\
    Exit code 0 only if every compared variant passes.")]
pub(crate) struct Arguments {
    /// Names, groups or patterns of the references to compare.
    #[arg(value_name = "GLOB")]
    patterns: Vec<String>,

    /// Folder of reference files, GROUP/VARIANT.json [default: ../shared/references/timm].
    #[arg(long, value_name = "DIR")]
    references: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineArguments,

    /// Also write every comparison as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let folder = self.references.clone().unwrap_or_else(references::default_folder);
        if self.references.is_none() && !folder.is_dir() {
            output::print(&format!(
                "skipped: no reference files at {} (name a folder by --references; the repository \
                 has some in fixtures/references)\n",
                folder.display()
            ))?;
            return Ok(Exit::Done);
        }
        let options = self.engine.options();
        let registry = Registry::standard();
        let mut summary = Summary::default();
        let mut certificates: Vec<Certificate> = Vec::new();
        for path in references::files(&folder)? {
            let reference = match references::read(&path) {
                Ok(reference) => reference,
                Err(error) => {
                    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
                    let name = stem.unwrap_or_default();
                    if self.wants(&name, "") {
                        certificates.push(Certificate::unreadable(&path, &error));
                        summary.show(certificates.last())?;
                    }
                    continue;
                }
            };
            if !self.wants(&reference.model, &reference.group) {
                continue;
            }
            let known = registry.families().iter().any(|family| family.name == reference.group);
            // A whole group that the zoo lacks is no failure, unless it was asked for.
            if !known && self.patterns.is_empty() {
                summary.absent(&reference.group);
                continue;
            }
            let certificate = match registry.variant(&reference.model) {
                Ok(entry) => run::certify(&entry, &reference, &path, &options),
                Err(error) => Certificate::unknown(&reference, &path, &error),
            };
            certificates.push(certificate);
            summary.show(certificates.last())?;
        }
        output::print(&summary.text(&certificates))?;
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&certificates).or_exit(Exit::NotWritable)?;
            write_whole(path, text.as_bytes())
                .with_context(|| format!("{}: cannot be written", path.display()))
                .or_exit(Exit::NotWritable)?;
        }
        if certificates.is_empty() {
            let error = match self.patterns.is_empty() {
                true => anyhow!("{}: no reference of a group of the zoo", folder.display()),
                false => anyhow!(
                    "{}: no reference matches {}",
                    folder.display(),
                    self.patterns.join(" or ")
                ),
            };
            return Err(error).or_exit(Exit::BadInput);
        }
        let failed = certificates.iter().any(|c| c.verdict == Verdict::Fail);
        Ok(if failed { Exit::SomeFailed } else { Exit::Done })
    }

    fn wants(&self, model: &str, group: &str) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| {
                pattern == group
                    || glob_matches(pattern, model)
                    || glob_matches(pattern, &format!("{group}/{model}"))
            })
    }
}
