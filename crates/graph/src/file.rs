//! Graphs on disk: mapped, checked, and tied to their data set.
//!
//! A file is written beside its place and renamed, so there is never half a graph under its name. Reading checks
//! everything once; afterwards rows come straight from the map. It is no interchange format: for that
//! there is TSV.

mod bytes;

pub use bytes::{GraphFileError, GraphInfo, ParsedGraph, graph_bytes, parse_graph};

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::graph::{Graph, GraphView};

/// What a graph was made of: SHA-256 of its points. Shown and stored as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetHash(pub [u8; 32]);

impl DatasetHash {
    /// The hash of points: of n and d as 64-bit and all values as 32-bit little-endian numbers, by rows.
    ///
    /// # Examples
    /// ```
    /// use nearkin_graph::DatasetHash;
    /// let of = |x: f32| DatasetHash::of_points(ndarray::arr2(&[[x], [1.0]]).view());
    /// assert_eq!(of(0.5), of(0.5));
    /// assert_ne!(of(0.5), of(0.25));
    /// assert_eq!(of(0.5).to_string().len(), 64);
    /// ```
    pub fn of_points(points: ArrayView2<'_, f32>) -> Self {
        let mut hash = Sha256::new();
        for size in [points.nrows(), points.ncols()] {
            hash.update((size as u64).to_le_bytes());
        }
        let mut row = Vec::with_capacity(4 * points.ncols());
        for point in points.rows() {
            row.clear();
            point.iter().for_each(|value| row.extend_from_slice(&value.to_le_bytes()));
            hash.update(&row);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for DatasetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<DatasetHash> for String {
    fn from(hash: DatasetHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for DatasetHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("expected 64 hexadecimal digits, found {text:?}");
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(wrong()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8; 2]| Some(16 * digit(pair[0])? + digit(pair[1])?);
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(wrong)
    }
}

/// Why a graph cannot be loaded or saved.
#[derive(Debug, Error)]
pub enum GraphStoreError {
    /// The file cannot be opened, mapped or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content is no graph.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GraphFileError,
    },
    /// The graph belongs to another data set.
    #[error(
        "{}: expected a graph of the data set {expected}, found {}", path.display(),
        found.map_or("one that names none".to_owned(), |found| format!("one of {found}"))
    )]
    OtherDataset {
        /// The file.
        path: PathBuf,
        /// The data set at hand.
        expected: DatasetHash,
        /// The graph's.
        found: Option<DatasetHash>,
    },
}

/// A graph that stays in its file: rows are read from a memory map.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, GraphFile, GraphInfo, save_graph};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("path.graph");
/// let graph = Graph::new(vec![0, 1, 2], vec![1, 0], vec![0.5, 0.5], true)?;
/// save_graph(&path, graph.view(), None, &GraphInfo::new("by hand"))?;
/// let file = GraphFile::open(&path)?;
/// assert_eq!(file.view().weight(0, 1), Some(0.5));
/// assert_eq!(file.info().made, "by hand");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GraphFile {
    path: PathBuf,
    content: Content,
    names: Option<Vec<String>>,
    info: GraphInfo,
}

#[derive(Debug)]
enum Content {
    Mapped {
        map: memmap2::Mmap,
        layout: bytes::Layout,
        symmetric: bool,
    },
    /// Where the machine's byte order is not the file's.
    Copied(Graph),
}

impl GraphFile {
    /// Maps a file and checks all of it: header, checksums, and every rule of a graph. O(n + m).
    ///
    /// # Errors
    /// [`GraphStoreError`], with what is wrong and where.
    pub fn open(path: &Path) -> Result<Self, GraphStoreError> {
        let map =
            map(path).map_err(|source| GraphStoreError::Io { path: path.to_owned(), source })?;
        let wrong = |source| GraphStoreError::Content { path: path.to_owned(), source };
        let parsed = parse_graph(&map).map_err(wrong)?;
        let names =
            parsed.names.as_ref().map(|names| names.iter().map(|&n| n.to_owned()).collect());
        let (info, symmetric) = (parsed.info.clone(), parsed.symmetric);
        let copied = (!parsed.is_borrowed()).then(|| parsed.view().to_graph());
        let layout = parsed.layout;
        let content = match copied {
            Some(graph) => Content::Copied(graph),
            None => Content::Mapped { map, layout, symmetric },
        };
        Ok(Self { path: path.to_owned(), content, names, info })
    }

    /// Opens a graph that must belong to the data set at hand.
    ///
    /// # Errors
    /// [`GraphStoreError::OtherDataset`]; otherwise as [`GraphFile::open`].
    pub fn open_for(path: &Path, dataset: DatasetHash) -> Result<Self, GraphStoreError> {
        let file = Self::open(path)?;
        match file.info.dataset {
            Some(found) if found == dataset => Ok(file),
            found => {
                Err(GraphStoreError::OtherDataset { path: file.path, expected: dataset, found })
            }
        }
    }

    /// The graph.
    pub fn view(&self) -> GraphView<'_> {
        match &self.content {
            Content::Mapped { map, layout, symmetric } => layout.trusted_view(map, *symmetric),
            Content::Copied(graph) => graph.view(),
        }
    }

    /// The nodes' names, `[n]`, if the file has them.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// How the graph was made, and of what.
    pub fn info(&self) -> &GraphInfo {
        &self.info
    }
}

/// Writes a graph beside `path` and renames it there, replacing what was.
///
/// - `names`: `[n]`, not empty and without line ends.
///
/// # Errors
/// [`GraphStoreError`]; then nothing under `path` has changed.
pub fn save_graph(
    path: &Path,
    graph: GraphView<'_>,
    names: Option<&[String]>,
    info: &GraphInfo,
) -> Result<(), GraphStoreError> {
    let pieces = bytes::pieces(graph, names, info)
        .map_err(|source| GraphStoreError::Content { path: path.to_owned(), source })?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&beside)?;
        pieces.iter().try_for_each(|piece| file.write_all(piece))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|source| {
        // It may not be there at all.
        let _ = std::fs::remove_file(&beside);
        GraphStoreError::Io { path: path.to_owned(), source }
    })
}

#[expect(unsafe_code, reason = "memory-mapping a file is how graphs larger than memory are read")]
fn map(path: &Path) -> io::Result<memmap2::Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is only read. Files under their names are never changed in place, `save_graph` renames a
    // new one over the old; a foreign program that truncates one while it is mapped ends this process.
    unsafe { memmap2::Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_graph() -> Graph {
        Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![0.5, 0.5, 2.0, 2.0], true).unwrap()
    }

    #[test]
    fn a_saved_graph_comes_back_with_all_it_was_saved_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.graph");
        let points = ndarray::arr2(&[[1.0], [2.0], [3.0]]);
        let dataset = DatasetHash::of_points(points.view());
        let info = GraphInfo {
            made: "knn 1".into(),
            distance: Some("euclidean".into()),
            dataset: Some(dataset),
        };
        let names = ["a", "ß", "c"].map(String::from);
        save_graph(&path, path_graph().view(), None, &GraphInfo::new("first")).unwrap();
        save_graph(&path, path_graph().view(), Some(&names), &info).unwrap();
        let file = GraphFile::open_for(&path, dataset).unwrap();
        assert_eq!(file.view().to_graph(), path_graph());
        assert_eq!((file.info(), file.names()), (&info, Some(&names[..])));
        assert!(matches!(file.content, Content::Mapped { .. }) || cfg!(target_endian = "big"));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_graph_of_another_data_set_is_refused_with_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.graph");
        let (mine, other) = (DatasetHash([0x0f; 32]), DatasetHash([0xa0; 32]));
        let info = GraphInfo { dataset: Some(other), ..GraphInfo::new("knn 1") };
        save_graph(&path, path_graph().view(), None, &info).unwrap();
        let error = GraphFile::open_for(&path, mine).unwrap_err().to_string();
        assert!(error.contains(&"0f".repeat(32)) && error.contains(&"a0".repeat(32)), "{error}");
        save_graph(&path, path_graph().view(), None, &GraphInfo::new("knn 1")).unwrap();
        let error = GraphFile::open_for(&path, mine).unwrap_err().to_string();
        assert!(error.ends_with("one that names none"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_or_read_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/some.graph");
        assert!(save_graph(&missing, path_graph().view(), None, &GraphInfo::new("")).is_err());
        // A folder in the file's place: the rename fails.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(save_graph(&taken, path_graph().view(), None, &GraphInfo::new("")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(matches!(GraphFile::open(&missing), Err(GraphStoreError::Io { .. })));
        let empty = folder.path().join("empty.graph");
        std::fs::write(&empty, []).unwrap();
        assert!(GraphFile::open(&empty).is_err());
    }

    #[test]
    fn hashes_read_back_and_nothing_else_does() {
        let hash = DatasetHash([0xab; 32]);
        assert_eq!(DatasetHash::try_from(hash.to_string()), Ok(hash));
        for wrong in [String::new(), "0".repeat(63), "0".repeat(66), "g".repeat(64), "é".repeat(32)]
        {
            assert!(DatasetHash::try_from(wrong).is_err());
        }
    }
}
