//! Suites of trainings: what a graph is worth, against the matched control without it.
//!
//! A suite is a TOML file of studies. Each study is run for every number of labels and every seed, with the
//! graph and with α = 0; both see the same images in the same steps. A run's line is on the disk before the
//! next begins, and a run that is there is not repeated.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use nearkin_bench::build::Build;
use nearkin_bench::files::write_whole;
use nearkin_bench::machine::Machine;
use nearkin_runtime::Options;
use serde::{Deserialize, Serialize};

use super::job::{Job, Labels, sha256};
use super::progress::Bar;
use crate::Ended;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output;

/// The suite that is built in.
const GRAPH_VALUE: &str = include_str!("../../../../benchmarks/suites/graph-value.toml");

/// A suite of trainings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    name: String,
    about: String,
    study: Vec<Study>,
}

/// One data set and network, for some numbers of labels and seeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Study {
    name: String,
    labels: Vec<Labels>,
    /// Accuracies to reach, for each number of labels; empty for none.
    #[serde(default)]
    goals: Vec<f64>,
    seeds: Vec<u64>,
    /// Whether the control is left out: to choose settings, it is the same for all.
    #[serde(default)]
    without_control: bool,
    /// What is trained; `data` may begin with `shared:`, the folder of shared data.
    job: Job,
}

/// A run, as a line of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    key: String,
    study: String,
    labels: String,
    seed: u64,
    arm: String,
    accuracy: f64,
    /// Accuracy on training images whose label was not used: what settings may be chosen by.
    hidden: Option<f64>,
    knn: Option<f64>,
    map_at_r: Option<f64>,
    effective_rank: f64,
    uniformity: f64,
    images: usize,
    right: usize,
    steps: u64,
    seconds: f64,
}

/// Whether `name` is a suite of trainings: the built-in one, or a file with studies.
pub(crate) fn is_training(name: &str) -> bool {
    name == "graph-value"
        || std::fs::read_to_string(name)
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "[[study]]"))
}

/// Runs the suite `name` into `folder`.
pub(crate) fn run(
    name: &str,
    folder: &Path,
    patterns: &[String],
    options: &Options,
    quiet: bool,
    stop: &'static AtomicBool,
) -> Ended {
    let suite = read(name)?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot be made", folder.display()))
        .or_exit(Exit::NotWritable)?;
    let path = folder.join(format!("{}.jsonl", suite.name));
    let mut done = lines(&path)?;
    let (mut failed, mut interrupted) = (0, false);
    'all: for study in &suite.study {
        if !patterns.is_empty()
            && !patterns.iter().any(|pattern| study.name.contains(pattern.as_str()))
        {
            continue;
        }
        for labels in &study.labels {
            for &seed in &study.seeds {
                for arm in ["graph", "control"] {
                    if study.without_control && arm == "control" {
                        continue;
                    }
                    let job = job(study, *labels, seed, arm)?;
                    let key = key(&job)?;
                    if done.iter().any(|run| run.key == key) {
                        continue;
                    }
                    let what = format!("{} {labels} labels, seed {seed}, {arm}", study.name);
                    let mut bar = Bar::new(quiet || !std::io::stderr().is_terminal(), &what, stop);
                    let start = Instant::now();
                    let result = match job.run(None, options, &mut bar) {
                        Ok(Some(result)) => result,
                        Ok(None) => {
                            interrupted = true;
                            break 'all;
                        }
                        Err(failure) => {
                            failed += 1;
                            // With standard error gone there is nobody to tell.
                            let _ = writeln!(std::io::stderr(), "{what}: {}", failure.block());
                            continue;
                        }
                    };
                    bar.clear();
                    let Some(test) = result.test else {
                        return Err(anyhow!("{what}: expected test images, found none"))
                            .or_exit(Exit::BadInput);
                    };
                    let run = Run {
                        key,
                        study: study.name.clone(),
                        labels: labels.to_string(),
                        seed,
                        arm: arm.to_owned(),
                        accuracy: test.accuracy,
                        hidden: result.hidden.map(|(right, all)| right as f64 / all.max(1) as f64),
                        knn: test.quality.knn,
                        map_at_r: test.quality.map_at_r,
                        effective_rank: test.quality.effective_rank,
                        uniformity: test.quality.uniformity,
                        images: test.images,
                        right: test.right,
                        steps: result.steps,
                        seconds: start.elapsed().as_secs_f64(),
                    };
                    append(&path, &run)?;
                    if !quiet {
                        let _ = writeln!(
                            std::io::stderr(),
                            "{what}: accuracy {:.4}, {:.1} s",
                            run.accuracy,
                            run.seconds
                        );
                    }
                    done.push(run);
                    if stop.load(Ordering::SeqCst) {
                        interrupted = true;
                        break 'all;
                    }
                }
            }
        }
    }
    let text = report(&suite, &done, options)?;
    let table = folder.join(format!("{}.md", suite.name));
    write_whole(&table, text.as_bytes())
        .with_context(|| format!("{}: cannot be written", table.display()))
        .or_exit(Exit::NotWritable)?;
    output::print(&text)?;
    Ok(match (interrupted, failed) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Done,
        (false, _) => Exit::SomeFailed,
    })
}

fn read(name: &str) -> Result<Suite, Failure> {
    let text = match name {
        "graph-value" => GRAPH_VALUE.to_owned(),
        path => std::fs::read_to_string(path)
            .with_context(|| format!("{path}: cannot be read"))
            .or_exit(Exit::BadInput)?,
    };
    toml::from_str(&text)
        .with_context(|| format!("{name}: not a suite of trainings"))
        .or_exit(Exit::BadInput)
}

/// The job of one run: the seed draws labels, first weights, and the order of images and edges.
fn job(study: &Study, labels: Labels, seed: u64, arm: &str) -> Result<Job, Failure> {
    let mut job = study.job.clone();
    if let Ok(rest) = job.data.strip_prefix("shared:") {
        job.data = shared().join(rest);
    } else if let Some(rest) = job.data.to_str().and_then(|text| text.strip_prefix("shared:")) {
        job.data = shared().join(rest);
    }
    job.labels = Some(labels);
    job.label_seed = seed;
    job.init = format!("init:{seed}");
    job.recipe.seed = seed;
    if job.graph.is_some() {
        job.recipe.graph.get_or_insert_default();
    }
    if arm == "control" { job.control().or_exit(Exit::Usage) } else { Ok(job) }
}

/// The folder of shared data: the variable `NEARKIN_SHARED`, else `../shared`.
fn shared() -> PathBuf {
    std::env::var_os("NEARKIN_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from)
}

/// Of all that a run depends on but the place of the data.
fn key(job: &Job) -> Result<String, Failure> {
    let mut job = job.clone();
    job.data = job.data.file_name().map(PathBuf::from).unwrap_or_default();
    if job.recipe.graph.is_none_or(|g| g.alpha <= 0.0 && g.carried == Some(0.0)) {
        // Distance and layer do not matter to the control; the edges' images do.
        if let Some(graph) = &mut job.recipe.graph {
            let plain = nearkin_train::GraphRecipe {
                alpha: 0.0,
                carried: Some(0.0),
                edges: graph.edges,
                sampling: graph.sampling,
                ..Default::default()
            };
            *graph = plain;
        }
    }
    let text = toml::to_string(&job).or_exit(Exit::Usage)?;
    Ok(sha256(text.as_bytes())[..16].to_owned())
}

fn lines(path: &Path) -> Result<Vec<Run>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{}: cannot be read", path.display()))
                .or_exit(Exit::BadInput);
        }
    };
    // A line that was cut off is no run, and is made again.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn append(path: &Path, run: &Run) -> Result<(), Failure> {
    let line = serde_json::to_string(run).or_exit(Exit::NotWritable)? + "\n";
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("{}: cannot be written", path.display()))
        .or_exit(Exit::NotWritable)
}

/// Mean, and the half width of Student's 95 % interval of the mean.
fn mean_and_half_width(values: &[f64]) -> (f64, f64) {
    /// Student's t at 97.5 % for 1 to 9 degrees of freedom; beyond, the normal's is near enough to 2.
    const T: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n.max(1) as f64;
    if n < 2 {
        return (mean, f64::NAN);
    }
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = (square / (n - 1) as f64).sqrt();
    let t = T.get(n - 2).copied().unwrap_or(2.0);
    (mean, t * deviation / (n as f64).sqrt())
}

/// The table: for each study and number of labels both arms and their paired difference.
fn report(suite: &Suite, runs: &[Run], options: &Options) -> Result<String, Failure> {
    let threads = options.threads.map_or_else(|| "all".to_owned(), |threads| threads.to_string());
    let machine = Machine::this();
    let processor = machine.processor.unwrap_or(machine.arch);
    let environment = format!(
        "{}, {processor}, {} cores, {threads} threads, nearkin {}",
        nearkin_bench::utc::stamp(),
        machine.cores,
        Build::this().label()
    );
    let mut text = format!(
        "# {}\n\n{}\n\n{}. Made by `cargo xtask bench --suite {}`; every run is a line of the JSON file beside.\n\n\
         Accuracy on test images, mean over seeds ± standard deviation; the difference is graph − control of the \
         same seed, with Student's 95 % interval. kNN has the labelled images as bank; MAP@R is among test images.\n\n\
         | study | labels | seeds | control | graph | difference (95 %) | goal | unlabelled training images | kNN difference | MAP@R difference | \
         effective rank, control → graph | s a run |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        suite.name, suite.about, environment, suite.name
    );
    let mut said = Vec::new();
    for study in &suite.study {
        for (place, labels) in study.labels.iter().enumerate() {
            let mut pairs: Vec<(Run, Run)> = Vec::new();
            for &seed in &study.seeds {
                let find = |arm| -> Result<Option<Run>, Failure> {
                    let key = key(&job(study, *labels, seed, arm)?)?;
                    Ok(runs.iter().find(|run| run.key == key).cloned())
                };
                // Without a control the differences are of a run with itself.
                let control = find(if study.without_control { "graph" } else { "control" })?;
                if let (Some(graph), Some(control)) = (find("graph")?, control) {
                    pairs.push((graph, control));
                }
            }
            if pairs.is_empty() {
                continue;
            }
            let of = |value: &dyn Fn(&Run) -> f64| -> (Vec<f64>, Vec<f64>) {
                pairs.iter().map(|(graph, control)| (value(graph), value(control))).unzip()
            };
            let (graph, control) = of(&|run| run.accuracy);
            let shown = |values: &[f64]| {
                let (mean, _) = mean_and_half_width(values);
                let n = values.len().max(2) as f64;
                let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                format!("{mean:.4} ± {:.4}", (square / (n - 1.0)).sqrt())
            };
            let difference = |(graph, control): &(Vec<f64>, Vec<f64>)| {
                if study.without_control {
                    return (0.0, f64::NAN, String::new());
                }
                let differences: Vec<f64> = graph.iter().zip(control).map(|(g, c)| g - c).collect();
                let (mean, half) = mean_and_half_width(&differences);
                (mean, half, format!("{mean:+.4} ({:+.4} to {:+.4})", mean - half, mean + half))
            };
            let accuracy = difference(&(graph.clone(), control.clone()));
            let (mean, _) = mean_and_half_width(&graph);
            let goal = study.goals.get(place).map_or("".to_owned(), |goal| {
                format!("≥ {goal}, {}", if mean >= *goal { "met" } else { "**missed**" })
            });
            let (hidden, _) = of(&|run| run.hidden.unwrap_or(f64::NAN));
            let hidden = shown(&hidden);
            let knn = difference(&of(&|run| run.knn.unwrap_or(f64::NAN))).2;
            let map = difference(&of(&|run| run.map_at_r.unwrap_or(f64::NAN))).2;
            let rank = of(&|run| run.effective_rank);
            let mean_of = |values: &[f64]| mean_and_half_width(values).0;
            let seconds = mean_of(&of(&|run| run.seconds).0);
            text += &format!(
                "| {} | {labels} | {} | {} | {} | {} | {goal} | {hidden} | {knn} | {map} | {:.1} → {:.1} | {seconds:.0} |\n",
                study.name,
                pairs.len(),
                if study.without_control { String::new() } else { shown(&control) },
                shown(&graph),
                accuracy.2,
                mean_of(&rank.1),
                mean_of(&rank.0),
            );
            if study.without_control {
                continue;
            }
            let verdict = if accuracy.0 - accuracy.1 > 0.0 {
                "helps"
            } else if accuracy.0 + accuracy.1 < 0.0 {
                "hurts"
            } else {
                "makes no difference that these seeds can show"
            };
            said.push(format!("- {}, {labels} labels: the graph {verdict}.", study.name));
        }
    }
    Ok(text + "\n" + &said.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_suite_is_read_and_its_runs_are_told_apart() {
        let suite = read("graph-value").unwrap();
        let study = &suite.study[0];
        let keys = |arm| key(&job(study, study.labels[0], 0, arm).unwrap()).unwrap();
        assert_ne!(keys("graph"), keys("control"));
        assert!(
            suite
                .study
                .iter()
                .all(|study| study.goals.is_empty() || study.goals.len() == study.labels.len())
        );
        assert!(study.job.graph.is_some());
    }

    #[test]
    fn students_interval_is_that_of_a_table() {
        let (mean, half) = mean_and_half_width(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        // t = 2.776 for 4 degrees of freedom, deviation √2.5, n = 5.
        assert!((mean - 3.0).abs() < 1e-12 && (half - 2.776 * (2.5f64 / 5.0).sqrt()).abs() < 1e-12);
    }
}
