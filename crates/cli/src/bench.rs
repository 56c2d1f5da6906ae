//! `nearkin bench`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use nearkin_bench::bench::{Bench, BenchError, Children, Config};
use nearkin_bench::engine::EngineError;
use nearkin_bench::files::write_whole;
use nearkin_bench::images::{ImagesError, Reading};
use nearkin_bench::log::LogError;
use nearkin_bench::plan::PlanError;
use nearkin_bench::suite::SuiteError;

use crate::engine_arguments::EngineArguments;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::{Ended, interrupt, output, train};

/// Compare architectures on real images: accuracy, memory, latency, throughput.
///
/// Every case runs in a process of its own, so that a crash or a kill for want of memory costs one
/// row. Results are on the disk the moment they are known; an interrupted run is taken up again
/// with --resume. The weights of the quick suite are random: its accuracies compare random features.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin bench                                  one variant of each family, minutes\n  \
    nearkin bench --arch 'vit*,convnext_atto'      variants of your choice, same protocol\n  \
    nearkin bench --runtime tract --threads 1      another engine\n  \
    nearkin bench --out results --json all.json    choose where results go\n  \
    nearkin bench --data photos/                   your images, each variant's own transform\n  \
    nearkin bench --out results --resume           go on after an interruption\n  \
    nearkin bench --suite graph-value              trainings with a graph and without; goes on where it was left\n\n\
    A suite is a TOML file; benchmarks/suites/quick.toml of the repository shows every key.\n\
    A data set may be a folder for each class, IDX files, CIFAR, Pascal VOC (its objects), ImageNet,\n\
    tar shards, or a table of paths and labels; `nearkin data list PATH` shows what is found.\n\
    The result folder holds results.jsonl (one line per case, the environment in the first),\n\
    results.md, results.csv and the log of each case. Exit codes: nearkin --help.")]
pub(crate) struct Arguments {
    /// A built-in suite (quick, photos, graph-value) or the path of a suite file [default: photos with --data,
    /// else quick].
    #[arg(long, value_name = "NAME|FILE")]
    suite: Option<String>,

    /// The images: a data set of any known format, in place of the suite's.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// Share of each class to test on, where the data set has one part only.
    #[arg(long, value_name = "SHARE", default_value_t = Reading::default().test_share,
        value_parser = share)]
    test_share: f64,

    /// End with an error at the first image that cannot be used, instead of setting it aside.
    #[arg(long)]
    strict: bool,

    /// Measure the zoo's variants that match, instead of the suite's own cases.
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    arch: Vec<String>,

    #[command(flatten)]
    engine: EngineArguments,

    /// Batch sizes to try for throughput, ascending; the default is the suite's.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    batch: Vec<usize>,

    /// Seed of weights and splits; the default is the suite's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Give a case up after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,

    /// The result folder; the default is a new one under nearkin-results, or under the folder that
    /// the variable NEARKIN_RESULTS names.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on with the run in --out, or with the latest of this suite, where it was left.
    #[arg(long)]
    resume: bool,

    /// Only say what would be measured.
    #[arg(long)]
    dry_run: bool,

    /// Also write everything as one JSON document.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds.is_finite() {
        Ok(seconds)
    } else {
        Err("expected a number above 0".to_owned())
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if share > 0.0 && share < 1.0 {
        Ok(share)
    } else {
        Err("expected a share above 0 and below 1".to_owned())
    }
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let interrupted = interrupt::flag();
        if let Some(name) = self.suite.as_deref().filter(|name| train::suite::is_training(name)) {
            let folder = self.out.clone().unwrap_or_else(|| PathBuf::from("nearkin-results"));
            let options = self.engine.options();
            return train::suite::run(name, &folder, &self.arch, &options, quiet, interrupted);
        }
        let program = std::env::current_exe()
            .context("cannot find this program's own file, to start it for each case")
            .or_exit(Exit::Unavailable)?;
        let config = Config {
            suite: self
                .suite
                .clone()
                .unwrap_or_else(|| if self.data.is_some() { "photos" } else { "quick" }.to_owned()),
            data: self.data.clone(),
            reading: Reading {
                test_share: self.test_share,
                strict: self.strict,
                ..Reading::default()
            },
            patterns: self.arch.clone(),
            batch: (!self.batch.is_empty()).then(|| self.batch.clone()),
            seed: self.seed,
            engine: self.engine.options(),
            timeout_s: self.timeout,
            children: Children {
                program,
                case: vec!["case".into()],
                engine: vec!["engine".into()],
            },
            arguments: std::env::args().collect(),
        };
        let bench = Bench::new(config, interrupted).map_err(failure)?;
        if self.dry_run {
            output::print(&bench.describe())?;
            return Ok(Exit::Done);
        }
        let folder = self.folder(bench.suite_name())?;
        let report = bench.run(&folder, self.resume, interrupted, quiet).map_err(failure)?;
        let notes: String = report.notes(&folder).iter().map(|note| format!("{note}\n")).collect();
        output::print(&format!("{}\n{notes}", report.table().to_text()))?;
        report
            .write(&folder)
            .with_context(|| format!("{}: cannot write the tables", folder.display()))
            .or_exit(Exit::NotWritable)?;
        if let Some(path) = &self.json {
            let json = report.json().or_exit(Exit::NotWritable)?;
            write_whole(path, json.as_bytes())
                .with_context(|| format!("{}: cannot be written", path.display()))
                .or_exit(Exit::NotWritable)?;
        }
        if !report.not_reached.is_empty() {
            let folder = folder.display();
            output::print(&format!(
                "Interrupted. To go on, repeat the command with: --out {folder} --resume\n"
            ))?;
            return Ok(Exit::Interrupted);
        }
        Ok(if report.failures.is_empty() { Exit::Done } else { Exit::SomeFailed })
    }

    fn folder(&self, suite: &str) -> Result<PathBuf, Failure> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let base =
            std::env::var_os("NEARKIN_RESULTS").map_or("nearkin-results".into(), PathBuf::from);
        if !self.resume {
            return Ok(base.join(format!("{suite}-{}", nearkin_bench::stamp())));
        }
        latest(&base, suite)
            .ok_or_else(|| anyhow!("{}: no run of suite {suite} to resume", base.display()))
            .or_exit(Exit::Usage)
    }
}

/// The folder of the latest run of a suite: names end in a time, so the last name is the latest.
fn latest(base: &Path, suite: &str) -> Option<PathBuf> {
    let prefix = format!("{suite}-");
    let is_run = |name: &str| {
        name.strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let entries = std::fs::read_dir(base).ok()?.filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_run(name)).max().map(|name| base.join(name))
}

fn failure(error: BenchError) -> Failure {
    let exit = match &error {
        BenchError::Suite(SuiteError::Unknown { .. }) | BenchError::Batch { .. } => Exit::Usage,
        BenchError::Plan(PlanError::UnknownVariant(_)) => Exit::Usage,
        BenchError::Images(ImagesError::NoData { .. }) => Exit::Usage,
        BenchError::Suite(_) | BenchError::Images(_) | BenchError::Plan(_) => Exit::BadInput,
        BenchError::Engine(EngineError::Interrupted) => Exit::Interrupted,
        BenchError::Engine(_) => Exit::Unavailable,
        BenchError::Log(LogError::Exists { .. } | LogError::OtherConditions { .. }) => Exit::Usage,
        BenchError::Log(LogError::NotARecord { .. } | LogError::Order { .. }) => Exit::BadInput,
        BenchError::Log(_) | BenchError::Run(_) => Exit::NotWritable,
    };
    Failure { exit, error: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_run_of_a_suite_is_taken_up() {
        let base = tempfile::tempdir().unwrap();
        for name in ["quick-20260101T000000Z", "quick-20260102T000000Z", "quick-wide-2027", "other"]
        {
            std::fs::create_dir(base.path().join(name)).unwrap();
        }
        let found = latest(base.path(), "quick").unwrap();
        assert_eq!(found, base.path().join("quick-20260102T000000Z"));
        assert_eq!(latest(base.path(), "absent"), None);
        assert_eq!(latest(&base.path().join("absent"), "quick"), None);
    }

    #[test]
    fn a_share_lies_between_zero_and_one() {
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["0", "1", "nan", "-0.1", "x"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!(seconds("2.5"), Ok(2.5));
        for text in ["0", "-1", "nan", "inf", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
