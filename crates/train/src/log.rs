//! What a training tells, in files: JSON lines, a table of epochs as CSV, TensorBoard's event files,
//! and curves.

mod curves;
mod events;

pub use curves::Curves;
pub use events::EventFile;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `step` or `epoch`.
    pub kind: String,
    /// Steps done.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Numbers by name, such as `train/loss`; those that are not finite are left out.
    pub values: Vec<(String, f64)>,
}

impl Record {
    /// The number of this name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct LogError {
    /// The file.
    pub path: PathBuf,
    /// The operating system's reason.
    pub source: std::io::Error,
}

/// The log files of a training's folder.
pub(crate) struct Log {
    folder: PathBuf,
    lines: std::fs::File,
    events: EventFile,
    epochs: Vec<Record>,
}

impl Log {
    /// Opens the logs of `folder`; records beyond `step` steps, of a run that was cut off after its last
    /// checkpoint, are dropped.
    pub(crate) fn open(folder: &Path, step: u64) -> Result<Self, LogError> {
        let path = folder.join("log.jsonl");
        let failed = |source| LogError { path: path.clone(), source };
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        // A line that was cut off in the middle is no record, and is written again.
        let records: Vec<Record> = old
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|record: &Record| step > 0 && record.step <= step)
            .collect();
        let mut text = String::new();
        for record in &records {
            text += &line(record).map_err(failed)?;
        }
        write_whole(&path, text.as_bytes())?;
        let lines = std::fs::OpenOptions::new().append(true).open(&path).map_err(failed)?;
        let events = EventFile::create(folder, step)?;
        let epochs = records.into_iter().filter(|record| record.kind == "epoch").collect();
        Ok(Self { folder: folder.to_owned(), lines, events, epochs })
    }

    /// Writes a record where it belongs.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), LogError> {
        let path = self.folder.join("log.jsonl");
        let failed = |source| LogError { path: path.clone(), source };
        let text = line(record).map_err(failed)?;
        self.lines.write_all(text.as_bytes()).map_err(failed)?;
        self.events.scalars(record.step, &record.values)?;
        if record.kind == "epoch" {
            self.epochs.push(record.clone());
            write_whole(&self.folder.join("epochs.csv"), csv(&self.epochs).as_bytes())?;
            let curves = Curves::new(&self.epochs);
            write_whole(&self.folder.join("curves.svg"), curves.svg().as_bytes())?;
            write_whole(&self.folder.join("curves.html"), curves.html().as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn epochs(&self) -> &[Record] {
        &self.epochs
    }
}

fn line(record: &Record) -> std::io::Result<String> {
    Ok(serde_json::to_string(record)? + "\n")
}

/// Epochs as a table; a number that an epoch lacks is an empty cell.
fn csv(epochs: &[Record]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in epochs.iter().flat_map(|record| &record.values) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut text = format!("epoch,step,{}\n", names.join(","));
    for record in epochs {
        text += &format!("{},{}", record.epoch, record.step);
        for name in &names {
            text += ",";
            if let Some(value) = record.value(name) {
                text += &value.to_string();
            }
        }
        text += "\n";
    }
    text
}

/// Writes beside and renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).map_err(|source| {
        // What is left of it helps nobody.
        let _ = std::fs::remove_file(&part);
        LogError { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, step: u64, loss: f64) -> Record {
        let values = vec![("train/loss".to_owned(), loss)];
        Record { kind: kind.to_owned(), step, epoch: step / 10, values }
    }

    #[test]
    fn what_came_after_the_last_checkpoint_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 0).unwrap();
        for step in [5, 10, 15] {
            log.write(&record("step", step, 1.0 / step as f64)).unwrap();
        }
        log.write(&record("epoch", 10, 0.5)).unwrap();
        drop(log);
        let text = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
        std::fs::write(folder.path().join("log.jsonl"), text + "{\"kind\":\"st").unwrap();
        let log = Log::open(folder.path(), 10).unwrap();
        assert_eq!(log.epochs(), [record("epoch", 10, 0.5)]);
        let text = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 3);
        let table = std::fs::read_to_string(folder.path().join("epochs.csv")).unwrap();
        assert_eq!(table, "epoch,step,train/loss\n1,10,0.5\n");
    }
}
