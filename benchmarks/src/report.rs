//! The comparison as a user reads it: table, notes under it, and the files that hold the same.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::environment::Environment;
use crate::files::write_whole;
use crate::record::{EngineNote, Failure, Rate, Row};
use crate::table::{Align, Table};

/// Everything a finished, or interrupted, run has to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The conditions.
    pub environment: Environment,
    /// Measured cases, in the suite's order.
    pub rows: Vec<Row>,
    /// Cases that were not measured.
    pub failures: Vec<Failure>,
    /// What is to be said of the images, a sentence each.
    pub images: Vec<String>,
    /// Cases that were not reached.
    pub not_reached: Vec<String>,
    /// Smallest difference in acc@1 between two rows that this test set can tell from chance;
    /// a share in [0, 1], absent without rows.
    pub smallest_difference: Option<f64>,
}

impl Report {
    /// The table of the terminal and of `results.md`.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new()
            .column("variant", Align::Left)
            .column("weights", Align::Left)
            .column("params\nM", Align::Right)
            .column("GMACs", Align::Right)
            .column("width", Align::Right)
            .column("acc@1 %\n[95 % interval]", Align::Right)
            .column("acc@5\n%", Align::Right)
            .column("kNN\n%", Align::Right)
            .column("load\ns", Align::Right)
            .column("peak\nMB", Align::Right)
            .column("p50\nms", Align::Right)
            .column("p95\nms", Align::Right)
            .column("images/s\n(batch)", Align::Right)
            .column("runtime,\nprovider", Align::Left);
        for row in &self.rows {
            table.row(cells(row));
        }
        table
    }

    /// Sentences to stand under the table. `folder` is where the results lie.
    #[must_use]
    pub fn notes(&self, folder: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        let untrained = self.rows.iter().filter(|row| !row.weights.trained).count();
        if untrained > 0 {
            let which =
                if untrained == self.rows.len() { "All backbones" } else { "Some backbones" };
            notes.push(format!(
                "{which} here are untrained, with random weights: their accuracies compare random \
                 features and say nothing about pretrained models."
            ));
        }
        if let (Some(difference), Some(row)) = (self.smallest_difference, self.rows.first()) {
            notes.push(format!(
                "Two accuracies closer than {:.1} points cannot be told apart on these {} test \
                 images (paired test at 5 %, power 80 %, if two models disagree on every tenth image).",
                100.0 * difference,
                row.measured.quality.top1.total
            ));
        }
        notes.extend(self.images.iter().cloned());
        notes.extend(self.rows.iter().filter_map(images_note));
        if let Some(notice) = &self.environment.engine.notice {
            notes.push(notice.clone());
        }
        if self.environment.build.profile.as_deref() == Some("debug") {
            notes.push("This is a debug build: its timings mean nothing.".to_owned());
        }
        if self.rows.iter().any(|row| row.measured.memory.is_none()) {
            notes.push("Peak memory is not known: this system has no /proc.".to_owned());
        }
        for row in &self.rows {
            if !row.batches_given_up.is_empty() {
                let given_up: Vec<_> = row.batches_given_up.iter().map(usize::to_string).collect();
                let (variant, list) = (&row.variant, given_up.join(", "));
                notes.push(format!("{variant}: given up for want of memory: batch {list}."));
            }
        }
        for failure in &self.failures {
            let stage = failure.stage.as_deref().map(|s| format!(" ({s})")).unwrap_or_default();
            let log = failure.log.as_ref().map(|log| folder.join(log).display().to_string());
            let log = log.map(|log| format!("; log: {log}")).unwrap_or_default();
            notes.push(format!("FAILED {}{stage}: {}{log}", failure.variant, failure.reason));
        }
        if !self.not_reached.is_empty() {
            notes.push(format!("Not reached: {}.", self.not_reached.join(", ")));
        }
        notes.push(format!("Results: {}", folder.display()));
        notes
    }

    /// The same numbers, in full precision and SI units, a column each.
    #[must_use]
    pub fn csv(&self) -> String {
        let names = [
            "variant",
            "family",
            "weights",
            "trained",
            "params",
            "macs",
            "embedding_width",
            "input_height",
            "input_width",
            "acc1",
            "acc1_low",
            "acc1_high",
            "acc5",
            "acc5_low",
            "acc5_high",
            "knn",
            "knn_low",
            "knn_high",
            "test_images",
            "load_s",
            "peak_bytes",
            "empty_bytes",
            "net_bytes",
            "latency_p50_ms",
            "latency_p95_ms",
            "latency_runs",
            "best_batch",
            "images_per_s",
            "runtime",
            "runtime_version",
            "provider",
            "threads",
        ];
        let mut table = names.iter().fold(Table::new(), |t, name| t.column(name, Align::Left));
        for row in &self.rows {
            table.row(csv_cells(row));
        }
        table.to_csv()
    }

    /// The report as Markdown: title, table, notes.
    #[must_use]
    pub fn markdown(&self, folder: &Path) -> String {
        let e = &self.environment;
        let processor = e.machine.processor.as_deref().unwrap_or(&e.machine.arch);
        let notes: String = self.notes(folder).iter().map(|note| format!("- {note}\n")).collect();
        format!(
            "# nearkin bench: {}\n\n{}; {}; {} threads; {}; seed {}; nearkin {}.\n\n{}\n{notes}",
            e.suite,
            e.started_utc,
            processor,
            e.threads,
            e.engine.label(),
            e.seed,
            e.build.label(),
            self.table().to_markdown()
        )
    }

    /// The report as one JSON document.
    ///
    /// # Errors
    /// If a number cannot stand in JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes `results.md` and `results.csv` into `folder`.
    ///
    /// # Errors
    /// The system's, of writing.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        write_whole(&folder.join("results.md"), self.markdown(folder).as_bytes())?;
        write_whole(&folder.join("results.csv"), self.csv().as_bytes())
    }
}

/// What went wrong with a case's images, or held it up; nothing for sets in memory.
fn images_note(row: &Row) -> Option<String> {
    let images = row.measured.images.as_ref()?;
    let variant = &row.variant;
    if let Some(first) = images.quarantined.first() {
        let count = images.quarantined.len();
        return Some(format!(
            "{variant}: {count} images were set aside and count nowhere, the first: {}: {}",
            first.name, first.reason
        ));
    }
    images.from_files.then(|| {
        format!(
            "{variant}: {:.0} images/s from file to embedding; {}",
            images.images_per_s, images.advice
        )
    })
}

fn cells(row: &Row) -> Vec<String> {
    let (quality, speed) = (&row.measured.quality, &row.measured.speed);
    let Rate { value, low, high, .. } = quality.top1;
    let best = speed.best().map(|b| format!("{} ({})", short(b.images_per_s), b.batch));
    let memory = row.measured.memory.map(|m| format!("{:.0}", m.net_bytes() as f64 / 1e6));
    vec![
        row.variant.clone(),
        row.weights.label.clone(),
        format!("{:.2}", row.params as f64 / 1e6),
        format!("{:.3}", row.macs as f64 / 1e9),
        row.embedding_width.to_string(),
        format!("{:.1} [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high),
        format!("{:.1}", 100.0 * quality.top5.value),
        format!("{:.1}", 100.0 * quality.knn.value),
        format!("{:.2}", speed.load_s),
        memory.unwrap_or_else(|| "n/a".to_owned()),
        short(speed.latency.p50_ms),
        short(speed.latency.p95_ms),
        best.unwrap_or_else(|| "n/a".to_owned()),
        engine_label(&row.measured.engine),
    ]
}

/// Runtime and provider, once if they are the same; ONNX Runtime's providers without their suffix.
fn engine_label(engine: &EngineNote) -> String {
    let provider = engine.provider.trim_end_matches("ExecutionProvider");
    if provider == engine.runtime {
        provider.to_owned()
    } else {
        format!("{} {provider}", engine.runtime)
    }
}

/// Three or more significant digits, and never an exponent.
fn short(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

fn csv_cells(row: &Row) -> Vec<String> {
    let (quality, speed) = (&row.measured.quality, &row.measured.speed);
    let (memory, engine) = (row.measured.memory, &row.measured.engine);
    let bytes = |pick: fn(&crate::record::Memory) -> u64| {
        memory.map(|m| pick(&m).to_string()).unwrap_or_default()
    };
    let mut cells = vec![
        row.variant.clone(),
        row.family.clone(),
        row.weights.label.clone(),
        row.weights.trained.to_string(),
        row.params.to_string(),
        row.macs.to_string(),
        row.embedding_width.to_string(),
        row.fairness.resolution[0].to_string(),
        row.fairness.resolution[1].to_string(),
    ];
    for rate in [quality.top1, quality.top5, quality.knn] {
        cells.extend([rate.value, rate.low, rate.high].map(|share| share.to_string()));
    }
    cells.extend([
        quality.top1.total.to_string(),
        speed.load_s.to_string(),
        bytes(|m| m.peak_bytes),
        bytes(|m| m.empty_bytes),
        bytes(crate::record::Memory::net_bytes),
        speed.latency.p50_ms.to_string(),
        speed.latency.p95_ms.to_string(),
        speed.latency.runs.to_string(),
        speed.best().map(|b| b.batch.to_string()).unwrap_or_default(),
        speed.best().map(|b| b.images_per_s.to_string()).unwrap_or_default(),
        engine.runtime.clone(),
        engine.version.clone(),
        engine.provider.clone(),
        engine.threads.to_string(),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::sample as environment;
    use crate::record::tests::row;

    fn report() -> Report {
        Report {
            environment: environment(),
            rows: vec![row("resnet18")],
            failures: vec![Failure {
                key: "k".to_owned(),
                variant: "vgg11".to_owned(),
                reason: "killed by signal 9, probably out of memory".to_owned(),
                stage: Some("load".to_owned()),
                log: Some("logs/vgg11.log".to_owned()),
            }],
            not_reached: vec![],
            images: vec![],
            smallest_difference: Some(0.042),
        }
    }

    #[test]
    fn a_row_shows_interval_units_and_label() {
        let text = report().table().to_text();
        for part in [
            "resnet18",
            "untrained (init seed 0)",
            "11.18",
            "0.037",
            "91.3 [88.4, 93.6]",
            "99.8",
            "87.1",
            "0.25",
            "100",
            "2.50",
            "1000 (8)",
            "tract CPU",
        ] {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
    }

    #[test]
    fn notes_warn_of_untrained_weights_and_give_resolution_failures_and_place() {
        let notes = report().notes(Path::new("out")).join("\n");
        for part in [
            "untrained",
            "4.2 points",
            "450 test images",
            "FAILED vgg11 (load): killed by signal 9, probably out of memory",
            "logs/vgg11.log",
            "Results: out",
        ] {
            assert!(notes.contains(part), "{part} not in\n{notes}");
        }
    }

    #[test]
    fn a_trained_row_is_not_called_untrained() {
        let mut report = report();
        report.rows[0].weights.trained = true;
        assert!(!report.notes(Path::new("out")).join("\n").contains("untrained"));
    }

    #[test]
    fn an_engine_without_providers_is_named_once() {
        let mut engine = row("a").measured.engine;
        engine.provider = "tract".to_owned();
        assert_eq!(engine_label(&engine), "tract");
        (engine.runtime, engine.provider) = ("ort".to_owned(), "CPUExecutionProvider".to_owned());
        assert_eq!(engine_label(&engine), "ort CPU");
    }

    #[test]
    fn csv_has_a_cell_for_every_heading() {
        let csv = report().csv();
        let counts: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(counts, [32, 32], "{csv}");
        assert!(csv.contains(",100000000,"), "net bytes in full:\n{csv}");
    }

    #[test]
    fn json_holds_the_rows_and_the_fairness_key() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(json["rows"][0]["fairness"]["pretraining"], "none");
        assert_eq!(json["rows"][0]["memory"]["empty_bytes"], 20_000_000);
    }

    #[test]
    fn writing_leaves_markdown_and_csv() {
        let folder = tempfile::tempdir().unwrap();
        report().write(folder.path()).unwrap();
        let markdown = std::fs::read_to_string(folder.path().join("results.md")).unwrap();
        assert!(markdown.contains("| resnet18 | untrained (init seed 0) |"), "{markdown}");
        assert!(folder.path().join("results.csv").exists());
    }
}
