//! A table of paths and labels: CSV, TSV or Parquet.
//!
//! Images inside the table, as some Parquet sets have them, are not read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use crate::folder::named_split;
use crate::labels::{LabelFault, listed_names, targets};
use crate::parquet_rows::read_parquet_rows;
use crate::walk::own_name;
use crate::{Format, ListedPart, Listing, Quarantined, Sample, Split};

pub(crate) const PATH_COLUMNS: [&str; 9] = [
    "path",
    "filepath",
    "file_path",
    "image_path",
    "file_name",
    "filename",
    "file",
    "image",
    "name",
];
pub(crate) const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "class", "target"];
pub(crate) const SPLIT_COLUMNS: [&str; 2] = ["split", "subset"];

/// Bytes of the first line that are searched for a tab.
const MAX_HEADER_BYTES: u64 = 1 << 16;

/// Where a manifest's paths may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestPaths {
    /// Into the manifest's folder only.
    #[default]
    Inside,
    /// Anywhere.
    Anywhere,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// The line, from 1, the header being the first; in Parquet the row, from 1.
    pub line: u64,
    /// The path as written.
    pub path: String,
    /// No, one or several labels.
    pub labels: Vec<String>,
    /// The role, if the row names one.
    pub split: Option<Split>,
}

/// What is wrong with a table.
#[derive(Debug, Error)]
pub enum ManifestFault {
    /// Not CSV.
    #[error("expected a table: {0}")]
    Csv(#[from] csv::Error),
    /// Not Parquet.
    #[error("expected a Parquet table: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The Parquet library gave up in the middle of a damaged file.
    #[error("expected a Parquet table, found a damaged one")]
    Damaged,
    /// A column is not there.
    #[error("expected a column {}, found {}", expected.join(" or "), found.join(", "))]
    Column {
        /// Names that would do.
        expected: Vec<&'static str>,
        /// Names that are there.
        found: Vec<String>,
    },
    /// A cell is of no use.
    #[error("line {line}: {column}: expected {expected}, found {found:?}")]
    Cell {
        /// The line.
        line: u64,
        /// The column.
        column: &'static str,
        /// What would have been read.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A path leads out of the folder.
    #[error("line {line}: expected a path inside the manifest's folder, found {found:?}")]
    Outside {
        /// The line.
        line: u64,
        /// The path.
        found: String,
    },
    /// A label makes no class.
    #[error("line {line}: {fault}")]
    Label {
        /// The line.
        line: u64,
        /// What is wrong.
        fault: LabelFault,
    },
    /// No image is left.
    #[error("expected rows with images that are there, found none in {rows} rows")]
    NoImages {
        /// Rows that were read.
        rows: usize,
    },
}

/// Why a manifest could not be read.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its content is wrong.
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: ManifestFault,
    },
}

/// Reads the rows of a table of text; tabs separate cells if the header has one, commas otherwise.
///
/// Columns are found by their names in the header, in any case and order: the path in `path`,
/// `filepath`, `file_path`, `image_path`, `file_name`, `filename`, `file` or `image`; the label in
/// `label`, `labels`, `class` or `target`; the role in `split` or `subset`. Several labels are
/// separated by `;` or `|`, and an empty one is none. A table without a label column has no labels
/// if it has no other columns either.
///
/// # Errors
/// [`ManifestFault`].
///
/// # Examples
/// ```
/// let table = "split,label,path\nval,cat;dog,a.jpg\n,,b.jpg\n";
/// let rows = nearkin_data::read_manifest_rows(table.as_bytes())?;
/// assert_eq!(rows[0].labels, ["cat", "dog"]);
/// assert_eq!((rows[1].line, rows[1].labels.len()), (3, 0));
/// # Ok::<(), nearkin_data::ManifestFault>(())
/// ```
pub fn read_manifest_rows(table: impl Read) -> Result<Vec<ManifestRow>, ManifestFault> {
    let mut table = BufReader::new(table);
    let mut header = Vec::new();
    let first_line = table.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut header);
    first_line.map_err(csv::Error::from)?;
    let delimiter = if header.contains(&b'\t') { b'\t' } else { b',' };
    let table = header.as_slice().chain(table);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(table);
    let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let columns = Columns::find(&header)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| column.and_then(|c| record.get(c)).unwrap_or_default();
        rows.push(row(
            line,
            cell(Some(columns.path)),
            &[cell(columns.label)],
            cell(columns.split),
        )?);
    }
    Ok(rows)
}

/// Which column is which.
pub(crate) struct Columns {
    pub(crate) path: usize,
    pub(crate) label: Option<usize>,
    pub(crate) split: Option<usize>,
}

impl Columns {
    pub(crate) fn find(header: &[String]) -> Result<Self, ManifestFault> {
        let bare: Vec<String> = header
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase())
            .collect();
        let find = |names: &[&str]| names.iter().find_map(|n| bare.iter().position(|h| h == n));
        let missing = |expected: &[&'static str]| ManifestFault::Column {
            expected: expected.to_vec(),
            found: header.to_vec(),
        };
        let path = find(&PATH_COLUMNS).ok_or_else(|| missing(&PATH_COLUMNS))?;
        let (label, split) = (find(&LABEL_COLUMNS), find(&SPLIT_COLUMNS));
        // A label under another name must not get lost.
        if label.is_none() && header.len() > 1 + usize::from(split.is_some()) {
            return Err(missing(&LABEL_COLUMNS));
        }
        Ok(Self { path, label, split })
    }
}

/// A row of cells; several label cells come from a list in Parquet.
pub(crate) fn row(
    line: u64,
    path: &str,
    labels: &[&str],
    split: &str,
) -> Result<ManifestRow, ManifestFault> {
    let cell = |column, expected, found: &str| {
        Err(ManifestFault::Cell { line, column, expected, found: found.to_owned() })
    };
    if path.trim().is_empty() || path.contains('\0') {
        return cell("path", "a path", path);
    }
    let split = match split.trim() {
        "" => None,
        name => match named_split(name) {
            Some(split) => Some(split),
            None => return cell("split", "train, val or test", name),
        },
    };
    let labels = labels.iter().flat_map(|label| label.split([';', '|'])).map(str::trim);
    let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
    Ok(ManifestRow { line, path: path.to_owned(), labels, split })
}

/// Lists the images of a manifest.
///
/// Paths are relative to the manifest's folder. If all labels are numbers they are the classes;
/// otherwise they are names, numbered by their bytes, or in the order of a `classes.txt` or
/// `classnames.txt` beside the manifest. A row whose file is not there is set aside, and so is a
/// path that came before.
///
/// - `unnamed`: the role of rows that name none.
///
/// # Errors
/// [`ManifestError`]: no table, a missing column, a wrong cell, a path that leads out of the folder
/// where `paths` does not allow it.
pub fn read_manifest(
    path: &Path,
    unnamed: Split,
    paths: ManifestPaths,
) -> Result<Listing, ManifestError> {
    let io = |source| ManifestError::Io { path: path.to_owned(), source };
    let content = |fault| ManifestError::Content { path: path.to_owned(), fault };
    let mut file = File::open(path).map_err(io)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(io)?;
    let rows = if magic == b"PAR1" {
        read_parquet_rows(file)
    } else {
        read_manifest_rows(io::Cursor::new(magic).chain(file))
    };
    let rows = rows.map_err(content)?;
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    list(path, &root, rows, unnamed, paths).map_err(content)
}

fn list(
    path: &Path,
    root: &Path,
    rows: Vec<ManifestRow>,
    unnamed: Split,
    paths: ManifestPaths,
) -> Result<Listing, ManifestFault> {
    let labels: Vec<&[String]> = rows.iter().map(|row| row.labels.as_slice()).collect();
    let (class_names, targets) = targets(&labels, listed_names(root))
        .map_err(|(row, fault)| ManifestFault::Label { line: rows[row].line, fault })?;
    let mut quarantine = Vec::new();
    let mut seen: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut parts: BTreeMap<Split, Vec<Sample>> = BTreeMap::new();
    let count = rows.len();
    for (row, target) in rows.into_iter().zip(targets) {
        let ManifestRow { line, path: written, split, .. } = row;
        let inside = normal(Path::new(&written), root);
        let (image, name) = match inside {
            Some(below) => (root.join(&below), crate::walk::name_below(&below, Path::new(""))),
            None if paths == ManifestPaths::Anywhere => (root.join(&written), written.clone()),
            None => return Err(ManifestFault::Outside { line, found: written }),
        };
        let reason = if let Some(first) = seen.get(&image) {
            Some(format!("line {line}: expected a new path, found that of line {first}"))
        } else if !image.is_file() {
            Some(format!("line {line}: expected a file, found none"))
        } else {
            None
        };
        if let Some(reason) = reason {
            quarantine.push(Quarantined { name, reason });
            continue;
        }
        seen.insert(image.clone(), line);
        let part = parts.entry(split.unwrap_or(unnamed)).or_default();
        part.push(Sample::of_file(name, image, target));
    }
    if parts.is_empty() && quarantine.is_empty() {
        return Err(ManifestFault::NoImages { rows: count });
    }
    Ok(Listing {
        name: own_name(path),
        root: root.to_owned(),
        format: Format::Manifest,
        class_names,
        class_ids: Vec::new(),
        parts: parts.into_iter().map(|(split, samples)| ListedPart { split, samples }).collect(),
        ignored: 0,
        quarantine,
    })
}

/// The path below `root` without `.` and `..`, or `None` if it leads out of it. Links are not
/// followed.
fn normal(path: &Path, root: &Path) -> Option<PathBuf> {
    let path = if path.is_absolute() {
        let root = std::path::absolute(root).ok()?;
        path.strip_prefix(root).ok()?
    } else {
        path
    };
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !below.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(below)
}
