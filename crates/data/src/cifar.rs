//! The binary version of CIFAR-10 and CIFAR-100.
//!
//! A record is one label byte (CIFAR-100: the coarse, then the fine label), then 3 × 32 × 32
//! levels, red plane first (<https://www.cs.toronto.edu/~kriz/cifar.html>). Files may hold any
//! whole number of records. The Python and Matlab versions are not read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ndarray::Array4;
use thiserror::Error;

use crate::Format;

/// Bytes that [`read_cifar`] accepts in one file: 4 GiB.
pub const CIFAR_LIMIT_BYTES: u64 = 4 << 30;

const CHANNELS: usize = 3;
const SIDE: usize = 32;
const LEVELS: usize = CHANNELS * SIDE * SIDE;

/// Records read at once: 393 kB, which stay in the processor's cache until they are taken apart.
const RECORDS_AT_ONCE: usize = 128;

/// Which of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CifarKind {
    /// 10 classes.
    Cifar10,
    /// 100 classes in 20 groups.
    Cifar100,
}

impl CifarKind {
    /// Bytes of one record: 3,073 or 3,074.
    pub fn record_bytes(self) -> usize {
        self.label_bytes() + LEVELS
    }

    /// 10 or 100.
    pub fn classes(self) -> usize {
        match self {
            CifarKind::Cifar10 => 10,
            CifarKind::Cifar100 => 100,
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            CifarKind::Cifar10 => Format::Cifar10,
            CifarKind::Cifar100 => Format::Cifar100,
        }
    }

    /// CIFAR-100's groups of classes, 20.
    pub fn coarse_classes(self) -> Option<usize> {
        (self == CifarKind::Cifar100).then_some(20)
    }

    fn label_bytes(self) -> usize {
        match self {
            CifarKind::Cifar10 => 1,
            CifarKind::Cifar100 => 2,
        }
    }
}

/// The records of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cifar {
    /// `[N, 3, 32, 32]`, levels 0..=255.
    pub images: Array4<u8>,
    /// The class of each image, `[N]`; for CIFAR-100 the fine one.
    pub labels: Vec<u8>,
    /// CIFAR-100's coarse class of each image, `[N]`; empty for CIFAR-10.
    pub coarse: Vec<u8>,
}

/// What is wrong with records.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CifarFault {
    /// No record at all.
    #[error("expected records of {record_bytes} bytes, found none")]
    Empty {
        /// Bytes of one record.
        record_bytes: usize,
    },
    /// The last record is cut short.
    #[error("offset {offset}: expected a record of {record_bytes} bytes, found {found}")]
    Truncated {
        /// Where the last record begins.
        offset: u64,
        /// Bytes of one record.
        record_bytes: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A label names no class.
    #[error(
        "offset {offset}: record {record}: expected a {kind} label below {classes}, found {found}"
    )]
    Label {
        /// Where the label is.
        offset: u64,
        /// The record, from 0.
        record: usize,
        /// `class`, `coarse` or `fine`.
        kind: &'static str,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: u8,
    },
    /// More bytes than the caller allows.
    #[error("expected at most {limit} bytes, found more")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}

/// Why a CIFAR file could not be read.
#[derive(Debug, Error)]
pub enum CifarError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its records are wrong.
    #[error("{}: {fault}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: CifarFault,
    },
    /// The list of class names is wrong.
    #[error("{}: expected {expected} class names, one a line, found {found}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Number of classes.
        expected: usize,
        /// Names that are there.
        found: usize,
    },
}

/// Takes records apart.
///
/// # Errors
/// [`CifarFault`].
///
/// # Examples
/// ```
/// use nearkin_data::{CifarKind, read_cifar_bytes};
///
/// let mut bytes = vec![7; 2 * 3073];
/// bytes[3073] = 9;
/// assert_eq!(read_cifar_bytes(&bytes, CifarKind::Cifar10)?.labels, [7, 9]);
/// # Ok::<(), nearkin_data::CifarFault>(())
/// ```
pub fn read_cifar_bytes(bytes: &[u8], kind: CifarKind) -> Result<Cifar, CifarFault> {
    let mut records = Records::with_capacity(kind, bytes.len());
    records.push(bytes)?;
    records.finish()
}

/// Reads a file of records, up to [`CIFAR_LIMIT_BYTES`].
///
/// # Errors
/// [`CifarError`].
pub fn read_cifar(path: &Path, kind: CifarKind) -> Result<Cifar, CifarError> {
    let mut records = Records::with_capacity(kind, 0);
    records.append_file(path)?;
    records.finish().map_err(|fault| CifarError::Records { path: path.to_owned(), fault })
}

/// Records as they come in: several files may follow each other.
pub(crate) struct Records {
    kind: CifarKind,
    levels: Vec<u8>,
    labels: Vec<u8>,
    coarse: Vec<u8>,
}

impl Records {
    pub(crate) fn with_capacity(kind: CifarKind, bytes: usize) -> Self {
        let count = bytes / kind.record_bytes();
        Self {
            kind,
            levels: Vec::with_capacity(count * LEVELS),
            labels: Vec::with_capacity(count),
            coarse: Vec::with_capacity(if kind == CifarKind::Cifar100 { count } else { 0 }),
        }
    }

    /// Records so far.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Adds whole records; a rest is a fault. Offsets count from the first record of all.
    fn push(&mut self, bytes: &[u8]) -> Result<(), CifarFault> {
        self.push_after(bytes, 0)
    }

    /// As `push`; `before` are the records of earlier files, which offsets do not count.
    fn push_after(&mut self, bytes: &[u8], before: usize) -> Result<(), CifarFault> {
        let record_bytes = self.kind.record_bytes();
        let offset = |record: usize| (record * record_bytes) as u64;
        let records = bytes.chunks_exact(record_bytes);
        let rest = records.remainder().len();
        for record in records {
            let (labels, levels) = record.split_at(self.kind.label_bytes());
            let checks: &[(&str, usize)] = match self.kind {
                CifarKind::Cifar10 => &[("class", 10)],
                CifarKind::Cifar100 => &[("coarse", 20), ("fine", 100)],
            };
            for (place, (&found, &(kind, classes))) in labels.iter().zip(checks).enumerate() {
                if usize::from(found) >= classes {
                    let record = self.len() - before;
                    let offset = offset(record) + place as u64;
                    return Err(CifarFault::Label { offset, record, kind, classes, found });
                }
            }
            if let [coarse, _] = *labels {
                self.coarse.push(coarse);
            }
            self.labels.extend(labels.last());
            self.levels.extend_from_slice(levels);
        }
        if rest > 0 {
            let offset = offset(self.len() - before);
            return Err(CifarFault::Truncated { offset, record_bytes, found: rest });
        }
        Ok(())
    }

    /// Adds the records of a file, and returns how many.
    pub(crate) fn append_file(&mut self, path: &Path) -> Result<usize, CifarError> {
        let io = |source| CifarError::Io { path: path.to_owned(), source };
        let fault = |fault| CifarError::Records { path: path.to_owned(), fault };
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        if bytes > CIFAR_LIMIT_BYTES {
            return Err(fault(CifarFault::TooLarge { limit: CIFAR_LIMIT_BYTES }));
        }
        let record_bytes = self.kind.record_bytes();
        let count = bytes as usize / record_bytes;
        self.levels.reserve_exact(count * LEVELS);
        self.labels.reserve_exact(count);
        let before = self.len();
        let mut buffer = vec![0; RECORDS_AT_ONCE * record_bytes];
        loop {
            let filled = fill(&mut file, &mut buffer).map_err(io)?;
            self.push_after(&buffer[..filled], before).map_err(fault)?;
            if filled < buffer.len() {
                break;
            }
            if ((self.len() - before) * record_bytes) as u64 > CIFAR_LIMIT_BYTES {
                return Err(fault(CifarFault::TooLarge { limit: CIFAR_LIMIT_BYTES }));
            }
        }
        if self.len() == before {
            return Err(fault(CifarFault::Empty { record_bytes }));
        }
        Ok(self.len() - before)
    }

    pub(crate) fn finish(self) -> Result<Cifar, CifarFault> {
        let Self { kind, levels, labels, coarse } = self;
        let empty = CifarFault::Empty { record_bytes: kind.record_bytes() };
        let shape = (labels.len(), CHANNELS, SIDE, SIDE);
        match Array4::from_shape_vec(shape, levels) {
            Ok(images) if !labels.is_empty() => Ok(Cifar { images, labels, coarse }),
            _ => Err(empty),
        }
    }
}

/// Reads until `buffer` is full or the file ends, and returns how much that was.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The class names in a file with one a line; empty lines do not count.
///
/// # Errors
/// [`CifarError::Io`]; [`CifarError::Names`] if there are not as many as classes.
pub(crate) fn read_class_names(path: &Path, expected: usize) -> Result<Vec<String>, CifarError> {
    let text =
        std::fs::read(path).map_err(|source| CifarError::Io { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == expected {
        Ok(names)
    } else {
        let (path, found) = (path.to_owned(), names.len());
        Err(CifarError::Names { path, expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_come_apart_into_labels_and_planes() {
        let mut bytes: Vec<u8> = (0..2 * 3074).map(|i| (i % 251) as u8).collect();
        (bytes[0], bytes[1], bytes[3074], bytes[3075]) = (19, 99, 0, 1);
        let read = read_cifar_bytes(&bytes, CifarKind::Cifar100).unwrap();
        assert_eq!((read.coarse, read.labels), (vec![19, 0], vec![99, 1]));
        assert_eq!(read.images.dim(), (2, 3, 32, 32));
        // Image 1, channel 2, row 3, column 4.
        assert_eq!(read.images[[1, 2, 3, 4]], bytes[3074 + 2 + 2 * 1024 + 3 * 32 + 4]);
    }

    #[test]
    fn a_fault_names_its_place() {
        let check = |bytes: &[u8], kind, expected: &str| {
            assert_eq!(read_cifar_bytes(bytes, kind).unwrap_err().to_string(), expected);
        };
        use CifarKind::{Cifar10, Cifar100};
        check(&[], Cifar10, "expected records of 3073 bytes, found none");
        check(&[0; 3080], Cifar10, "offset 3073: expected a record of 3073 bytes, found 7");
        let label = "offset 0: record 0: expected a class label below 10, found 10";
        check(&[10; 3073], Cifar10, label);
        let fine = "offset 1: record 0: expected a fine label below 100, found 100";
        let mut bytes = [0; 3074];
        bytes[1] = 100;
        check(&bytes, Cifar100, fine);
        bytes[0] = 20;
        check(&bytes, Cifar100, "offset 0: record 0: expected a coarse label below 20, found 20");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            level in 0_u8..12, len in 0_usize..10_000, cifar100: bool,
        ) {
            let kind = if cifar100 { CifarKind::Cifar100 } else { CifarKind::Cifar10 };
            let bytes = vec![level; len];
            let whole = len > 0 && len % kind.record_bytes() == 0;
            let read = read_cifar_bytes(&bytes, kind);
            prop_assert_eq!(read.is_ok(), whole && usize::from(level) < kind.classes());
            if let Ok(read) = read {
                prop_assert_eq!(read.labels.len() * kind.record_bytes(), len);
            }
        }
    }
}
