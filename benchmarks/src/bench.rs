//! A whole comparison, from what the user asked for to the report.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nearkin_runtime::Options;
use nearkin_zoo::Registry;

use crate::build::Build;
use crate::engine::{self, EngineError, EngineSpec};
use crate::environment::{EngineFound, Environment};
use crate::images::{Images, ImagesError, Reading};
use crate::log::{LogError, ResultsLog, TORN};
use crate::machine::Machine;
use crate::plan::{Conditions, Plan, PlanError, plan};
use crate::planned::PlannedCase;
use crate::prepare::Preparation;
use crate::progress::Progress;
use crate::quality::smallest_difference;
use crate::record::{FORMAT, Record};
use crate::report::Report;
use crate::runner::{RunError, Runner};
use crate::suite::{DataSource, Suite, SuiteError, is_ascending};
use crate::table::{Align, Table};
use crate::utc;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// A built-in suite or the path of a suite file.
    pub suite: String,
    /// A data set in place of the suite's.
    pub data: Option<PathBuf>,
    /// How it is read.
    pub reading: Reading,
    /// Patterns that choose variants; empty for the suite's own cases.
    pub patterns: Vec<String>,
    /// Batch sizes in place of every case's own.
    pub batch: Option<Vec<usize>>,
    /// The seed in place of the suite's.
    pub seed: Option<u64>,
    /// Which engine, on which device.
    pub engine: Options,
    /// Seconds after which a case is given up.
    pub timeout_s: Option<f64>,
    /// This program with the arguments that make it the child of a case, and those that make it
    /// try an engine.
    pub children: Children,
    /// The command line, for the record.
    pub arguments: Vec<String>,
}

/// How this program is started as a child.
#[derive(Debug, Clone, Default)]
pub struct Children {
    /// The program.
    pub program: PathBuf,
    /// Arguments with which it calls [`crate::measure::serve`].
    pub case: Vec<OsString>,
    /// Arguments with which it calls [`crate::engine::serve`].
    pub engine: Vec<OsString>,
}

/// Why a comparison cannot be made, or not be finished.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The suite.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// The batch sizes of the command line.
    #[error("batch sizes: expected ascending sizes from 1, found {found:?}")]
    Batch {
        /// What was asked for.
        found: Vec<usize>,
    },
    /// The images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// A variant.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The runtime or the device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The result folder, before anything was measured.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A result could not be kept; earlier ones are on the disk.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A comparison that is ready to run.
#[derive(Debug)]
pub struct Bench {
    config: Config,
    suite: Suite,
    source: DataSource,
    reading: Reading,
    images: Images,
    environment: Environment,
    plan: Plan,
}

impl Bench {
    /// Checks everything that can be checked without measuring: suite, batch sizes, images,
    /// variants, engine and device.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new(config: Config, interrupted: &AtomicBool) -> Result<Self, BenchError> {
        let suite = Suite::load(&config.suite)?;
        if let Some(found) = config.batch.as_ref().filter(|batch| !is_ascending(batch)) {
            return Err(BenchError::Batch { found: found.clone() });
        }
        let seed = config.seed.unwrap_or(suite.seed);
        let reading = Reading { seed, ..config.reading };
        let source = match (&config.data, &suite.data) {
            (Some(path), _) => DataSource::Folder(path.clone()),
            (None, Some(source)) => source.clone(),
            (None, None) => return Err(ImagesError::NoData { suite: suite.name }.into()),
        };
        let images = Images::open(&source, &reading)?;
        let data_sha256 = images.sha256()?;
        let spec = EngineSpec::from(&config.engine);
        let threads = spec.threads;
        let registry = Registry::standard();
        let plan_on = |found: &EngineFound| {
            let conditions = Conditions {
                runtime: &found.runtime,
                device: &found.device,
                threads: threads.get(),
                seed,
                data_sha256: &data_sha256,
            };
            plan(&suite, &config.patterns, config.batch.as_deref(), &registry, &conditions)
        };
        // A misspelt variant is told before an engine is looked for.
        plan_on(&EngineFound::default())?;
        let engine = engine::find(spec, &config.children, interrupted)?;
        let plan = plan_on(&engine)?;
        let environment = Environment {
            format: FORMAT,
            started_utc: utc::now(),
            arguments: config.arguments.clone(),
            suite: suite.name.clone(),
            suite_sha256: suite.sha256.clone(),
            data_sha256,
            seed,
            threads,
            engine,
            build: Build::this(),
            machine: Machine::this(),
        };
        Ok(Self { config, suite, source, reading, images, environment, plan })
    }

    /// The suite's name, for naming a result folder.
    #[must_use]
    pub fn suite_name(&self) -> &str {
        &self.suite.name
    }

    /// What would be measured, for a user to read.
    #[must_use]
    pub fn describe(&self) -> String {
        let Environment { engine, threads, machine, .. } = &self.environment;
        let mut table = Table::new()
            .column("variant", Align::Left)
            .column("weights", Align::Left)
            .column("input", Align::Right)
            .column("batches", Align::Left)
            .column("params\nM", Align::Right)
            .column("GMACs\nper image", Align::Right)
            .column("width", Align::Right)
            .column("GMACs at most,\nwhole case", Align::Right);
        let mut total = 0;
        for case in &self.plan.cases {
            let work = case.work_macs(self.images.count(), &self.suite.timing);
            total += work;
            let batches: Vec<_> = case.batch.iter().map(usize::to_string).collect();
            let [channels, height, width] = case.input;
            table.row([
                case.variant.clone(),
                case.weights.label.clone(),
                format!("{channels}x{height}x{width}"),
                batches.join(","),
                format!("{:.2}", case.params as f64 / 1e6),
                format!("{:.3}", case.macs as f64 / 1e9),
                case.embedding_width.to_string(),
                format!("{:.0}", work as f64 / 1e9),
            ]);
        }
        let refused: String = self
            .plan
            .refused
            .iter()
            .map(|failure| format!("Left out: {}: {}\n", failure.variant, failure.reason))
            .collect();
        let about_images: String =
            self.about_images().iter().map(|note| format!("{note}\n")).collect();
        let notice = engine.notice.as_ref().map(|n| format!("{n}\n")).unwrap_or_default();
        format!(
            "Suite {}: {}\nImages: {} ({}), {} training, {} test, {} classes\n{about_images}Engine: {}, {threads} \
             threads of {} cores\n{notice}\n{}\n{} cases, at most {:.0} GMACs in all. Nothing was \
             measured.\n{refused}",
            self.suite.name,
            self.suite.about,
            self.source,
            self.images.format.as_str(),
            self.images.train.samples.len(),
            self.images.test.samples.len(),
            self.images.class_names.len(),
            engine.label(),
            machine.cores,
            table.to_text(),
            self.plan.cases.len(),
            total as f64 / 1e9,
        )
    }

    /// What is to be said of the images beside their number, a sentence each.
    fn about_images(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.images.note.iter().cloned().collect();
        let aside = &self.images.quarantine;
        if let Some(first) = aside.first() {
            notes.push(format!(
                "{} entries of the data set were set aside, the first: {}: {}",
                aside.len(),
                first.name,
                first.reason
            ));
        }
        notes
    }

    /// Measures every case into `folder` and reports.
    ///
    /// With `resume`, cases that `folder` holds rows for are not measured again. When
    /// `interrupted` is set, the present case is dropped and the report holds what there is.
    ///
    /// # Errors
    /// [`BenchError::Log`] before anything is measured, [`BenchError::Run`] later.
    pub fn run(
        &self,
        folder: &Path,
        resume: bool,
        interrupted: &AtomicBool,
        quiet: bool,
    ) -> Result<Report, BenchError> {
        let mut progress = Progress::to_stderr(self.plan.cases.len(), quiet);
        let (mut log, earlier) = if resume {
            let again = ResultsLog::resume(folder, &self.environment)?;
            if again.torn_bytes > 0 {
                progress.note(&format!(
                    "{}: its last line was torn; {} bytes moved to {TORN}, that case runs again",
                    again.log.path().display(),
                    again.torn_bytes,
                ));
            }
            (again.log, again.records)
        } else {
            (ResultsLog::create(folder, &self.environment)?, Vec::new())
        };
        let runner = Runner {
            folder,
            program: self.config.children.program.clone(),
            arguments: self.config.children.case.clone(),
            timeout_s: self.config.timeout_s,
            interrupted,
        };
        let preparation = Preparation {
            suite: &self.suite,
            images: &self.images.folder,
            reading: &self.reading,
            registry: &Registry::standard(),
            environment: &self.environment,
        };
        let mut prepare = |case: &PlannedCase, folder: &Path| {
            preparation.prepare(case, folder).map_err(|error| error.to_string())
        };
        for failure in &self.plan.refused {
            log.append(&Record::Failure(failure.clone()))?;
        }
        let cases = &self.plan.cases;
        let outcome = runner.run(cases, &earlier, &mut log, &mut prepare, &mut progress)?;
        Ok(Report {
            environment: self.environment.clone(),
            smallest_difference: smallest_difference(&outcome.rows),
            images: self.about_images(),
            rows: outcome.rows,
            failures: [self.plan.refused.clone(), outcome.failures].concat(),
            not_reached: outcome.not_reached,
        })
    }
}
