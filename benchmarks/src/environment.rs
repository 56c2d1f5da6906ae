//! Under which conditions a run was made, and whether a later one may join it.

use std::fmt;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::build::Build;
use crate::machine::Machine;

/// The first line of `results.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// [`crate::record::FORMAT`] when it was written.
    pub format: u32,
    /// When the run began, in UTC.
    pub started_utc: String,
    /// The command line.
    pub arguments: Vec<String>,
    /// Name of the suite.
    pub suite: String,
    /// SHA-256 of the suite's text.
    pub suite_sha256: String,
    /// SHA-256 over the images and labels.
    pub data_sha256: String,
    /// Seed of weights and splits.
    pub seed: u64,
    /// Threads of one run.
    pub threads: NonZeroUsize,
    /// The engine that every case runs on.
    pub engine: EngineFound,
    /// What nearkin was built from.
    pub build: Build,
    /// The machine.
    pub machine: Machine,
}

/// The engine that was found for a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFound {
    /// `ort` or `tract`.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// Its shared library; absent for an engine that is linked in.
    pub library: Option<String>,
    /// `cpu`, `cuda:0` or `auto`, as asked.
    pub device: String,
    /// The provider that ran a small model on trial.
    pub provider: String,
    /// What the user should know: why another engine or device was not taken.
    pub notice: Option<String>,
}

impl EngineFound {
    /// Name, version, provider and library in a line.
    #[must_use]
    pub fn label(&self) -> String {
        let name = match self.runtime.as_str() {
            "ort" => "ONNX Runtime",
            other => other,
        };
        let provider = self.provider.trim_end_matches("ExecutionProvider");
        let on = if provider == self.runtime { "CPU" } else { provider };
        let library = self.library.as_ref().map(|path| format!(" ({path})")).unwrap_or_default();
        format!("{name} {} on {on}{library}", self.version)
    }
}

/// One condition in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The condition.
    pub field: &'static str,
    /// Its value in the folder.
    pub then: String,
    /// Its value now.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} there, {} now", self.field, self.then, self.now)
    }
}

impl Environment {
    /// The conditions in which `now` differs from `self` so that their rows do not belong in one
    /// table; empty where they do. Time and command line may differ.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        self.conditions()
            .into_iter()
            .zip(now.conditions())
            .filter(|((_, then), (_, now))| then != now)
            .map(|((field, then), (_, now))| Difference { field, then, now })
            .collect()
    }

    fn conditions(&self) -> Vec<(&'static str, String)> {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or("unknown".to_owned());
        vec![
            ("format", self.format.to_string()),
            ("suite", self.suite.clone()),
            ("suite text", self.suite_sha256.clone()),
            ("data", self.data_sha256.clone()),
            ("seed", self.seed.to_string()),
            ("threads", self.threads.to_string()),
            ("device", self.engine.device.clone()),
            ("provider", self.engine.provider.clone()),
            ("runtime", format!("{} {}", self.engine.runtime, self.engine.version)),
            ("nearkin", self.build.label()),
            ("profile", or_unknown(&self.build.profile)),
            ("processor", or_unknown(&self.machine.processor)),
            ("cores", self.machine.cores.to_string()),
            ("system", self.machine.os.clone()),
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::FORMAT;

    pub(crate) fn sample() -> Environment {
        Environment {
            format: FORMAT,
            started_utc: "2026-01-01T00:00:00Z".to_owned(),
            arguments: vec!["nearkin".to_owned(), "bench".to_owned()],
            suite: "quick".to_owned(),
            suite_sha256: "00".to_owned(),
            data_sha256: "11".to_owned(),
            seed: 0,
            threads: NonZeroUsize::new(2).unwrap(),
            engine: EngineFound {
                runtime: "tract".to_owned(),
                version: "0".to_owned(),
                device: "cpu".to_owned(),
                provider: "CPU".to_owned(),
                ..EngineFound::default()
            },
            build: Build::this(),
            machine: Machine::this(),
        }
    }

    #[test]
    fn another_hour_and_another_command_line_do_not_part_two_runs() {
        let mut now = sample();
        now.started_utc = "2026-01-02T00:00:00Z".to_owned();
        now.arguments.push("--resume".to_owned());
        assert_eq!(sample().differences(&now), []);
    }

    #[test]
    fn every_difference_is_named_with_both_values() {
        let mut now = sample();
        now.suite_sha256 = "22".to_owned();
        now.threads = NonZeroUsize::MIN;
        let text: Vec<_> = sample().differences(&now).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["suite text: 00 there, 22 now", "threads: 2 there, 1 now"]);
    }

    #[test]
    fn the_environment_survives_json() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), sample());
    }
}
