//! Runs the cases of a plan, one child process each, and logs every outcome at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::case::{CaseSpec, Message, Stage};
use crate::child::{self, ChildCommand, Ending};
use crate::log::{LogError, ResultsLog};
use crate::planned::PlannedCase;
use crate::progress::Progress;
use crate::record::{Failure, Measured, Record, Row};

/// Name of the folder, in a result folder, of the children's logs.
pub const LOGS: &str = "logs";

/// Name of the folder, in a result folder, of model files in use.
pub const WORK: &str = "work";

/// How children are run.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The result folder.
    pub folder: &'a Path,
    /// The program of a child.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Seconds after which a child is killed; `None` for never.
    pub timeout_s: Option<f64>,
    /// Set from outside to stop after killing the present child.
    pub interrupted: &'a AtomicBool,
}

/// What came of a plan.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Measured cases, in the plan's order, those of an earlier run included.
    pub rows: Vec<Row>,
    /// Cases that failed.
    pub failures: Vec<Failure>,
    /// Variants that were not reached because the run was interrupted.
    pub not_reached: Vec<String>,
}

/// Why a run stops before its plan is done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A result cannot be kept.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A folder or log file of the run cannot be made, or a child not be started.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the model of a case into a folder and says what its child must know, or why it cannot.
pub type Prepare<'a> = dyn FnMut(&PlannedCase, &Path) -> Result<CaseSpec, String> + 'a;

impl Runner<'_> {
    /// Runs every case of `plan` that `earlier` has no row for.
    ///
    /// A failure of a case, of whatever kind, costs its row and nothing else. A case that the
    /// system kills for want of memory at a batch size is run again without that batch and
    /// larger ones.
    ///
    /// # Errors
    /// [`RunError`] if an outcome cannot be logged: going on would measure in vain.
    pub fn run(
        &self,
        plan: &[PlannedCase],
        earlier: &[Record],
        log: &mut ResultsLog,
        prepare: &mut Prepare<'_>,
        progress: &mut Progress,
    ) -> Result<Outcome, RunError> {
        for name in [LOGS, WORK] {
            let path = self.folder.join(name);
            std::fs::create_dir_all(&path).map_err(|source| RunError::Io {
                path,
                action: "create the folder",
                source,
            })?;
        }
        let mut outcome = Outcome::default();
        for case in plan {
            if let Some(row) = row_of(earlier, &case.key) {
                progress.begin(&case.variant);
                progress.end(&case.variant, "measured earlier");
                outcome.rows.push(row.clone());
                continue;
            }
            if self.is_interrupted() {
                outcome.not_reached.push(case.variant.clone());
                continue;
            }
            progress.begin(&case.variant);
            match self.case(case, prepare, progress)? {
                CaseEnd::Row(row) => {
                    log.append(&Record::Row(row.clone()))?;
                    progress.end(&case.variant, &format!("done in {:.1} s", row.case_s));
                    outcome.rows.push(*row);
                }
                CaseEnd::Failure(failure) => {
                    log.append(&Record::Failure(failure.clone()))?;
                    progress.end(&case.variant, &format!("FAILED: {}", failure.reason));
                    outcome.failures.push(failure);
                }
                CaseEnd::Interrupted => {
                    progress.end(&case.variant, "interrupted");
                    outcome.not_reached.push(case.variant.clone());
                }
            }
        }
        // It is empty now; if something else was put there, that stays.
        let _ = std::fs::remove_dir(self.folder.join(WORK));
        progress.finish();
        Ok(outcome)
    }

    fn case(
        &self,
        case: &PlannedCase,
        prepare: &mut Prepare<'_>,
        progress: &mut Progress,
    ) -> Result<CaseEnd, RunError> {
        let begin = Instant::now();
        let slug = slug(&case.key, &case.variant);
        let work = self.folder.join(WORK).join(&slug);
        std::fs::create_dir_all(&work).map_err(|source| RunError::Io {
            path: work.clone(),
            action: "create the folder",
            source,
        })?;
        let mut failure = Failure {
            key: case.key.clone(),
            variant: case.variant.clone(),
            reason: String::new(),
            stage: Some("build".to_owned()),
            log: None,
        };
        let end = match prepare(case, &work) {
            Err(reason) => {
                failure.reason = reason;
                CaseEnd::Failure(failure)
            }
            Ok(spec) => self.attempts(case, spec, &slug, failure, begin, progress)?,
        };
        // Model files are large and can be made again; failing to remove them loses no result.
        let _ = std::fs::remove_dir_all(&work);
        Ok(end)
    }

    fn attempts(
        &self,
        case: &PlannedCase,
        mut spec: CaseSpec,
        slug: &str,
        mut failure: Failure,
        begin: Instant,
        progress: &mut Progress,
    ) -> Result<CaseEnd, RunError> {
        let mut suffix = "";
        loop {
            let log_name = format!("{LOGS}/{slug}{suffix}.log");
            let log = self.folder.join(&log_name);
            let heard = self.child(&spec, &log, &case.variant, progress)?;
            if heard.ending == Ending::Interrupted || self.is_interrupted() {
                return Ok(CaseEnd::Interrupted);
            }
            if let (Ending::Exited(0), Some(measured)) = (heard.ending, heard.measured) {
                let case_s = begin.elapsed().as_secs_f64();
                return Ok(CaseEnd::Row(Box::new(case.row(*measured, case_s))));
            }
            if let Some(Stage::Throughput { batch: too_large }) = heard.stage
                && heard.ending.is_out_of_memory(&log)
                && spec.batch.first().is_some_and(|&first| first < too_large)
            {
                suffix = "-fewer-batches";
                spec.batch.retain(|&batch| batch < too_large);
                progress.stage(&case.variant, "again, with smaller batches");
                continue;
            }
            failure.reason = match (heard.failed, heard.ending) {
                (Some(reason), _) => reason,
                (None, Ending::Exited(0)) => "ended without a result".to_owned(),
                (None, ending) => ending.reason(&log),
            };
            failure.stage = heard.stage.map(|stage| stage.to_string());
            failure.log = Some(log_name);
            return Ok(CaseEnd::Failure(failure));
        }
    }

    fn child(
        &self,
        spec: &CaseSpec,
        log: &Path,
        variant: &str,
        progress: &mut Progress,
    ) -> Result<Heard, RunError> {
        let io = |action| move |source| RunError::Io { path: log.into(), action, source };
        let command = ChildCommand {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            input: serde_json::to_string(spec)
                .map_err(|e| io("write its case as JSON")(std::io::Error::other(e)))?,
            log: log.to_owned(),
            timeout_s: self.timeout_s,
        };
        let mut heard =
            Heard { ending: Ending::Exited(0), stage: None, measured: None, failed: None };
        heard.ending = child::run(&command, self.interrupted, &mut |line| {
            // A library may print to the same pipe: what is no message is not ours.
            match serde_json::from_str(line) {
                Ok(Message::Stage(stage)) => {
                    progress.stage(variant, &stage.to_string());
                    heard.stage = Some(stage);
                }
                Ok(Message::Measured(measured)) => heard.measured = Some(measured),
                Ok(Message::Failed(reason)) => heard.failed = Some(reason),
                Err(_) => {}
            }
        })
        .map_err(io("run a child process with this log"))?;
        Ok(heard)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

enum CaseEnd {
    Row(Box<Row>),
    Failure(Failure),
    Interrupted,
}

struct Heard {
    ending: Ending,
    stage: Option<Stage>,
    measured: Option<Box<Measured>>,
    failed: Option<String>,
}

fn row_of<'a>(records: &'a [Record], key: &str) -> Option<&'a Row> {
    records.iter().rev().find_map(|record| match record {
        Record::Row(row) if row.key == key => Some(&**row),
        _ => None,
    })
}

/// A file name for a case: its variant and a few digits of its key's hash.
fn slug(key: &str, variant: &str) -> String {
    use sha2::Digest as _;
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = variant.chars().map(legal).take(60).collect();
    format!("{name}-{}", &crate::suite::hex(&sha2::Sha256::digest(key.as_bytes()))[..8])
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::engine::EngineSpec;
    use crate::environment::tests::sample as environment;
    use crate::planned::tests::case;
    use crate::record::tests::row;
    use crate::suite::Suite;

    /// A run of `variants` whose children are shell scripts: `script` sees the case as $line.
    struct Staged {
        folder: tempfile::TempDir,
        interrupted: AtomicBool,
        script: String,
    }

    impl Staged {
        fn new(script: &str) -> Self {
            let measured = row("any").measured;
            let measured = serde_json::to_string(&Message::Measured(Box::new(measured))).unwrap();
            let script = format!("read line; ok() {{ echo '{measured}'; }}\n{script}");
            let interrupted = AtomicBool::new(false);
            Self { folder: tempfile::tempdir().unwrap(), interrupted, script }
        }

        fn run(&self, variants: &[&str], earlier: &[Record]) -> Outcome {
            let plan: Vec<_> = variants.iter().map(|name| case(name)).collect();
            let runner = Runner {
                folder: self.folder.path(),
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), self.script.clone().into()],
                timeout_s: Some(30.0),
                interrupted: &self.interrupted,
            };
            let mut log = ResultsLog::resume(self.folder.path(), &environment()).unwrap().log;
            let mut prepare = |case: &PlannedCase, folder: &Path| {
                if case.variant == "unbuildable" {
                    return Err("no room for its weights".to_owned());
                }
                let model = folder.join("model.onnx");
                std::fs::write(&model, "model").unwrap();
                Ok(spec(case, &model))
            };
            runner.run(&plan, earlier, &mut log, &mut prepare, &mut Progress::Quiet).unwrap()
        }

        fn records(&self) -> Vec<Record> {
            ResultsLog::resume(self.folder.path(), &environment()).unwrap().records
        }
    }

    fn spec(case: &PlannedCase, model: &Path) -> CaseSpec {
        let suite = Suite::load("quick").unwrap();
        CaseSpec {
            model: model.into(),
            input: case.input,
            transform: case.transform.clone(),
            engine: EngineSpec {
                runtime: case.variant.clone(),
                device: "cpu".to_owned(),
                threads: std::num::NonZeroUsize::MIN,
                library: None,
            },
            batch: case.batch.clone(),
            data: PathBuf::new(),
            reading: crate::images::Reading::default(),
            probe: suite.probe,
            timing: suite.timing,
            seed: 0,
        }
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.variant.as_str()).collect()
    }

    #[test]
    fn a_crash_costs_one_row_and_is_logged_with_its_stage() {
        let stage = Staged::new(
            r#"case "$line" in *bad*) echo '{"stage":"load"}'; echo oops >&2; kill -11 $$;; esac; ok"#,
        );
        let outcome = stage.run(&["a", "bad", "c"], &[]);
        assert_eq!(names(&outcome.rows), ["a", "c"]);
        let [failure] = &outcome.failures[..] else { panic!("{outcome:?}") };
        assert_eq!(failure.stage.as_deref(), Some("load"));
        assert_eq!(failure.reason, "crashed with signal 11: oops");
        let log = stage.folder.path().join(failure.log.as_ref().unwrap());
        assert_eq!(std::fs::read_to_string(log).unwrap(), "oops\n");
        assert!(!stage.folder.path().join(WORK).exists(), "model files are removed");
    }

    #[test]
    fn a_kill_at_a_large_batch_runs_the_case_again_without_it() {
        let stage = Staged::new(
            r#"case "$line" in *'"batch":[1,8,16]'*)
                echo '{"stage":{"throughput":{"batch":8}}}'; kill -9 $$;; esac; ok"#,
        );
        let measured = stage.script.clone();
        let stage = Staged { script: measured.replace("\"batch\":8,", "\"batch\":7,"), ..stage };
        let outcome = stage.run(&["a"], &[]);
        assert_eq!(outcome.rows[0].batches_given_up, [8]);
        let again = stage.folder.path().join(LOGS);
        let logs = std::fs::read_dir(again).unwrap().count();
        assert_eq!(logs, 2, "each attempt keeps its log");
    }

    #[test]
    fn a_kill_at_the_smallest_batch_is_a_failure() {
        let stage = Staged::new(r#"echo '{"stage":{"throughput":{"batch":1}}}'; kill -9 $$"#);
        let outcome = stage.run(&["a"], &[]);
        assert!(outcome.failures[0].reason.contains("out of memory"), "{outcome:?}");
    }

    #[test]
    fn a_refusal_and_a_child_without_result_are_failures() {
        let stage = Staged::new(r#"echo '{"failed":"embedding holds NaN"}'; exit 1"#);
        assert_eq!(stage.run(&["a"], &[]).failures[0].reason, "embedding holds NaN");
        let stage = Staged::new("echo not a message");
        assert_eq!(stage.run(&["a"], &[]).failures[0].reason, "ended without a result");
    }

    #[test]
    fn a_case_that_cannot_be_prepared_costs_one_row() {
        let outcome = Staged::new("ok").run(&["unbuildable", "b"], &[]);
        assert_eq!(outcome.failures[0].reason, "no room for its weights");
        assert_eq!((outcome.failures[0].log.as_ref(), names(&outcome.rows)), (None, vec!["b"]));
    }

    #[test]
    fn what_was_measured_is_not_run_again_and_what_failed_is() {
        let stage = Staged::new(r#"case "$line" in *bad*) exit 1;; esac; ok"#);
        assert_eq!(stage.run(&["a", "bad"], &[]).failures.len(), 1);
        let earlier = stage.records();
        let again = Staged { script: stage.script.replace("exit 1", "ok; exit 0"), ..stage };
        let outcome = again.run(&["a", "bad", "c"], &earlier);
        assert_eq!(names(&outcome.rows), ["a", "bad", "c"]);
        let rows = again.records().iter().filter(|r| matches!(r, Record::Row(_))).count();
        assert_eq!(rows, 3, "a is logged once");
    }

    #[test]
    fn an_interruption_keeps_earlier_rows_and_names_the_rest() {
        let stage = Staged::new("exec sleep 60");
        stage.interrupted.store(true, Ordering::Relaxed);
        let earlier = [Record::Row(Box::new(row("a")))];
        let outcome = stage.run(&["a", "b", "c"], &earlier);
        assert_eq!((names(&outcome.rows), outcome.not_reached.len()), (vec!["a"], 2));
        assert_eq!(outcome.failures, []);
    }
}
