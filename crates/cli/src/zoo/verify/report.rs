//! One row for each comparison, and the lines below.

use super::compare::{Distance, Verdict};
use crate::exit::Failure;
use crate::output;
use nearkin_nn::reference::Reference;
use nearkin_runtime::SessionReport;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a variant was compared with, and how that ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) variant: String,
    pub(super) group: String,
    pub(super) reference: PathBuf,
    pub(super) tensors: usize,
    pub(super) params: u64,
    pub(super) macs: Option<u64>,
    pub(super) logits: Option<Distance>,
    pub(super) embedding: Option<Distance>,
    pub(super) first_diverging_stage: Option<String>,
    pub(super) differences: Vec<String>,
    pub(super) verdict: Verdict,
    pub(super) session: Option<SessionReport>,
    pub(super) seconds: f64,
}

impl Certificate {
    /// A comparison that has not begun.
    pub(super) fn new(reference: &Reference, path: &Path) -> Self {
        Self {
            variant: reference.model.clone(),
            group: reference.group.clone(),
            reference: path.to_owned(),
            tensors: reference.state_dict.len(),
            params: reference.params,
            macs: reference.macs,
            logits: None,
            embedding: None,
            first_diverging_stage: None,
            differences: Vec::new(),
            verdict: Verdict::Fail,
            session: None,
            seconds: 0.0,
        }
    }

    /// A reference of a variant that the zoo does not build.
    pub(super) fn unknown(
        reference: &Reference,
        path: &Path,
        error: &dyn std::error::Error,
    ) -> Self {
        Self { differences: vec![error.to_string()], ..Self::new(reference, path) }
    }

    /// A file that is no reference.
    pub(super) fn unreadable(path: &Path, error: &anyhow::Error) -> Self {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self {
            variant: name.unwrap_or_default(),
            group: String::new(),
            reference: path.to_owned(),
            tensors: 0,
            params: 0,
            macs: None,
            logits: None,
            embedding: None,
            first_diverging_stage: None,
            differences: vec![format!("{error:#}")],
            verdict: Verdict::Fail,
            session: None,
            seconds: 0.0,
        }
    }

    fn row(&self) -> String {
        let distance = |distance: Option<Distance>| match distance {
            Some(distance) => format!("{:.1e}", distance.rel_l2),
            None => "–".to_owned(),
        };
        let verdict = match self.verdict {
            Verdict::Pass => "pass",
            Verdict::PassManifest => "pass (tensors and costs; no outputs to compare)",
            Verdict::Fail => "FAIL",
        };
        let mut text = format!(
            "{:<10} {:<26} {:>7} {:>10.3} {:>9} {:>9} {:>9}  {verdict}\n",
            self.group,
            self.variant,
            self.tensors,
            self.params as f64 / 1e6,
            self.macs.map_or_else(|| "–".to_owned(), |macs| format!("{:.3}", macs as f64 / 1e9)),
            distance(self.logits),
            distance(self.embedding),
        );
        for difference in &self.differences {
            text += &format!("    {difference}\n");
        }
        text
    }
}

/// Counts while rows are printed.
#[derive(Debug, Default)]
pub(super) struct Summary {
    begun: bool,
    absent: BTreeMap<String, usize>,
}

impl Summary {
    /// Prints a row as soon as it is known, the head first.
    pub(super) fn show(&mut self, certificate: Option<&Certificate>) -> Result<(), Failure> {
        let Some(certificate) = certificate else { return Ok(()) };
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            text = format!(
                "{:<10} {:<26} {:>7} {:>10} {:>9} {:>9} {:>9}  verdict\n",
                "group", "variant", "tensors", "params M", "GMACs", "logits", "embedding"
            );
        }
        output::print(&(text + &certificate.row()))
    }

    /// Notes a reference of a group that the zoo does not have.
    pub(super) fn absent(&mut self, group: &str) {
        *self.absent.entry(group.to_owned()).or_default() += 1;
    }

    /// The lines below the rows.
    pub(super) fn text(&self, certificates: &[Certificate]) -> String {
        let count = |verdict| certificates.iter().filter(|c| c.verdict == verdict).count();
        let mut text = format!(
            "{} passed with outputs, {} passed without outputs to compare, {} failed\n",
            count(Verdict::Pass),
            count(Verdict::PassManifest),
            count(Verdict::Fail)
        );
        if let Some(session) = certificates.iter().find_map(|c| c.session.as_ref()) {
            text += &format!(
                "engine: {} {} on {}, {} threads\n",
                session.engine, session.engine_version, session.provider, session.threads
            );
            if let Some(notice) = &session.notice {
                text += &format!("{notice}\n");
            }
        }
        if !self.absent.is_empty() {
            let groups: Vec<&str> = self.absent.keys().map(String::as_str).collect();
            text += &format!(
                "not compared: {} references of groups that the zoo does not build: {}\n",
                self.absent.values().sum::<usize>(),
                groups.join(", ")
            );
        }
        text
    }
}
