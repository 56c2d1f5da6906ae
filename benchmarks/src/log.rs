//! `results.jsonl`: every result the moment it is known, and taking a run up again.
//!
//! One JSON object per line. Each line is written in one call and flushed to the disk before
//! the next case begins, so that a crash of the machine loses at most the case in progress. A last
//! line without its end (the process died while writing) is moved aside on resuming and its case
//! is run again. The file is locked while it is open: two runs cannot share a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::environment::{Difference, Environment};
use crate::record::{Record, Resumed};
use crate::utc;

/// Name of the file in a result folder.
pub const RESULTS: &str = "results.jsonl";

/// Name of the file that takes a torn last line.
pub const TORN: &str = "results.torn";

/// An open `results.jsonl`, locked for this process.
#[derive(Debug)]
pub struct ResultsLog {
    file: File,
    path: PathBuf,
}

/// A run taken up again.
#[derive(Debug)]
pub struct Reopened {
    /// The log, at its end.
    pub log: ResultsLog,
    /// What it already holds, without the environment.
    pub records: Vec<Record>,
    /// Bytes of a torn last line that were moved to [`TORN`]; 0 as a rule.
    pub torn_bytes: usize,
}

/// Why results cannot be written, or a run not taken up again.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refuses.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
    /// The folder already holds results, and resuming was not asked for.
    #[error("{path}: already holds results; resume that run, or choose another folder", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the folder.
    #[error("{path}: another run is writing to it", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line in the middle is not a record.
    #[error("{path}, line {line}: expected a record, found {found:?}: {source}", path = path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// How the line begins.
        found: String,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// The first line is not an environment, or not a later one.
    #[error("{path}, line {line}: expected {expected}", path = path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The folder's run was made under other conditions.
    #[error("{path}: made under other conditions: {}", list(differences), path = path.display())]
    OtherConditions {
        /// The file.
        path: PathBuf,
        /// Every condition that differs.
        differences: Vec<Difference>,
    },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ResultsLog {
    /// A new `results.jsonl` in `folder`, which is made if absent, with `environment` as its first
    /// line.
    ///
    /// # Errors
    /// [`LogError::Exists`] if the folder holds results; [`LogError::InUse`]; [`LogError::Io`].
    pub fn create(folder: &Path, environment: &Environment) -> Result<Self, LogError> {
        let mut log = Self::open(folder)?;
        let length = log.file.metadata().map_err(|e| log.io("read its length", e))?.len();
        if length > 0 {
            return Err(LogError::Exists { path: log.path.clone() });
        }
        log.append(&Record::Environment(Box::new(environment.clone())))?;
        sync_folder(folder)?;
        Ok(log)
    }

    /// The `results.jsonl` of `folder` for further rows, if it was made under the conditions of
    /// `now`; a folder without results begins anew.
    ///
    /// # Errors
    /// [`LogError`], all but `Exists`. A torn last line is no error.
    pub fn resume(folder: &Path, now: &Environment) -> Result<Reopened, LogError> {
        let mut log = Self::open(folder)?;
        let mut bytes = Vec::new();
        log.file.read_to_end(&mut bytes).map_err(|e| log.io("read", e))?;
        let (records, whole) = parse(&log.path, &bytes)?;
        let torn_bytes = bytes.len() - whole;
        if torn_bytes > 0 {
            log.move_aside(folder, &bytes[whole..], whole)?;
        }
        let mut records = records.into_iter();
        match records.next() {
            None => {
                log.append(&Record::Environment(Box::new(now.clone())))?;
                sync_folder(folder)?;
            }
            Some(Record::Environment(then)) => {
                let differences = then.differences(now);
                if !differences.is_empty() {
                    return Err(LogError::OtherConditions { path: log.path.clone(), differences });
                }
                let arguments = now.arguments.clone();
                log.append(&Record::Resumed(Resumed { at_utc: utc::now(), arguments }))?;
            }
            Some(_) => {
                let expected = "the environment";
                return Err(LogError::Order { path: log.path.clone(), line: 1, expected });
            }
        }
        let records: Vec<_> = records.collect();
        if let Some(at) = records.iter().position(|r| matches!(r, Record::Environment(_))) {
            let expected = "a row, a failure or a resumption";
            return Err(LogError::Order { path: log.path.clone(), line: at + 2, expected });
        }
        Ok(Reopened { log, records, torn_bytes })
    }

    /// Appends one line and flushes it to the disk.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn append(&mut self, record: &Record) -> Result<(), LogError> {
        let mut line = serde_json::to_vec(record)
            .map_err(|e| self.io("write a record as JSON", io::Error::other(e)))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| self.io("append", e))?;
        self.file.sync_data().map_err(|e| self.io("flush", e))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(folder: &Path) -> Result<Self, LogError> {
        let io = |path: &Path, action, source| LogError::Io { path: path.into(), action, source };
        std::fs::create_dir_all(folder).map_err(|e| io(folder, "create the folder", e))?;
        let path = folder.join(RESULTS);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|e| io(&path, "open it for writing", e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(TryLockError::WouldBlock) => Err(LogError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(io(&path, "lock", source)),
        }
    }

    fn move_aside(&mut self, folder: &Path, torn: &[u8], whole: usize) -> Result<(), LogError> {
        let aside = folder.join(TORN);
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).open(&aside)?;
            file.write_all(torn)?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(|source| LogError::Io { path: aside.clone(), action: "write", source })?;
        self.file.set_len(whole as u64).map_err(|e| self.io("cut off a torn line", e))?;
        self.file.seek(SeekFrom::End(0)).map_err(|e| self.io("find its end", e))?;
        Ok(())
    }

    fn io(&self, action: &'static str, source: io::Error) -> LogError {
        LogError::Io { path: self.path.clone(), action, source }
    }
}

impl Drop for ResultsLog {
    /// Lets go of the lock now. Closing the file alone would leave it with a process that another
    /// thread is just starting, until that process replaces itself.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The records of whole lines and the number of bytes they take; what follows is torn.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, usize), LogError> {
    let mut records = Vec::new();
    let mut whole = 0;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            // A crash of the machine can leave the last line's end on the disk without its middle.
            Err(_) if whole + line.len() == bytes.len() && index > 0 => break,
            Err(source) => {
                let found = String::from_utf8_lossy(line).trim_end().chars().take(60).collect();
                return Err(LogError::NotARecord {
                    path: path.into(),
                    line: index + 1,
                    found,
                    source,
                });
            }
        }
        whole += line.len();
    }
    Ok((records, whole))
}

/// Makes a new file's name itself durable; where a folder cannot be opened as a file, nothing.
fn sync_folder(folder: &Path) -> Result<(), LogError> {
    let Ok(opened) = File::open(folder) else { return Ok(()) };
    if cfg!(unix) {
        opened.sync_all().map_err(|source| LogError::Io {
            path: folder.into(),
            action: "flush the folder",
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::sample;
    use crate::record::Failure;
    use proptest::prelude::*;

    fn failure(key: &str) -> Record {
        Record::Failure(Failure {
            key: key.to_owned(),
            variant: "resnet18".to_owned(),
            reason: "line one\nline two".to_owned(),
            stage: None,
            log: Some("logs/a.log".to_owned()),
        })
    }

    fn keys(records: &[Record]) -> Vec<String> {
        let key = |r: &Record| match r {
            Record::Failure(f) => Some(f.key.clone()),
            _ => None,
        };
        records.iter().filter_map(key).collect()
    }

    /// A folder whose log holds the failures `a` and `b`.
    fn two() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ResultsLog::create(folder.path(), &sample()).unwrap();
        log.append(&failure("a")).unwrap();
        log.append(&failure("b")).unwrap();
        folder
    }

    #[test]
    fn a_record_is_one_line_whatever_it_says() {
        let folder = two();
        let text = std::fs::read_to_string(folder.path().join(RESULTS)).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("{\"record\":\"environment\""), "{text}");
    }

    #[test]
    fn resuming_gives_back_what_was_written_and_appends() {
        let folder = two();
        let mut again = ResultsLog::resume(folder.path(), &sample()).unwrap();
        assert_eq!((keys(&again.records), again.torn_bytes), (vec!["a".into(), "b".into()], 0));
        again.log.append(&failure("c")).unwrap();
        drop(again);
        let third = ResultsLog::resume(folder.path(), &sample()).unwrap();
        assert_eq!(keys(&third.records), ["a", "b", "c"]);
    }

    #[test]
    fn a_torn_last_line_is_moved_aside_and_its_case_forgotten() {
        let folder = two();
        let path = folder.path().join(RESULTS);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        let mut again = ResultsLog::resume(folder.path(), &sample()).unwrap();
        assert_eq!(keys(&again.records), ["a"]);
        assert!(again.torn_bytes > 7);
        again.log.append(&failure("b")).unwrap();
        drop(again);
        let torn = std::fs::read_to_string(folder.path().join(TORN)).unwrap();
        assert!(torn.starts_with("{\"record\":\"failure\",\"key\":\"b\""), "{torn}");
        let third = ResultsLog::resume(folder.path(), &sample()).unwrap();
        assert_eq!((keys(&third.records), third.torn_bytes), (vec!["a".into(), "b".into()], 0));
    }

    #[test]
    fn a_last_line_of_zeros_with_its_end_is_torn_too() {
        let folder = two();
        let mut file = OpenOptions::new().append(true).open(folder.path().join(RESULTS)).unwrap();
        file.write_all(b"\0\0\0\0\n").unwrap();
        let again = ResultsLog::resume(folder.path(), &sample()).unwrap();
        assert_eq!((keys(&again.records).len(), again.torn_bytes), (2, 5));
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
        let folder = two();
        let path = folder.path().join(RESULTS);
        let text = std::fs::read_to_string(&path).unwrap().replace("\"key\":\"a\"", "\"key\":");
        std::fs::write(&path, text).unwrap();
        let error = ResultsLog::resume(folder.path(), &sample()).unwrap_err();
        assert!(matches!(error, LogError::NotARecord { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_folder_with_results_is_not_begun_anew() {
        let folder = two();
        let error = ResultsLog::create(folder.path(), &sample()).unwrap_err();
        assert!(matches!(error, LogError::Exists { .. }), "{error}");
    }

    #[test]
    fn other_conditions_are_refused_and_named() {
        let folder = two();
        let mut now = sample();
        now.suite_sha256 = "99".to_owned();
        let error = ResultsLog::resume(folder.path(), &now).unwrap_err();
        assert!(error.to_string().contains("suite text: 00 there, 99 now"), "{error}");
    }

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = ResultsLog::create(folder.path(), &sample()).unwrap();
        let error = ResultsLog::resume(folder.path(), &sample()).unwrap_err();
        assert!(matches!(error, LogError::InUse { .. }), "{error}");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = ResultsLog::create(&path, &sample()).unwrap_err();
        assert!(error.to_string().contains("create the folder"), "{error}");
    }

    proptest! {
        #[test]
        fn a_log_cut_anywhere_after_its_first_line_loses_only_the_last_record(
            cut in 0.0_f64..1.0
        ) {
            let folder = two();
            let path = folder.path().join(RESULTS);
            let bytes = std::fs::read(&path).unwrap();
            let first = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
            let keep = first + ((bytes.len() - first) as f64 * cut) as usize;
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let whole = bytes[..keep].iter().filter(|&&b| b == b'\n').count() - 1;
            let again = ResultsLog::resume(folder.path(), &sample()).unwrap();
            prop_assert_eq!(keys(&again.records).len(), whole);
        }
    }
}
