//! A data set found on disk by the names its files have everywhere.
//!
//! So far the four IDX files of MNIST, Fashion-MNIST and the digits, gzip or plain. Nothing is
//! fetched, and a folder's contents beyond those names are ignored.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use thiserror::Error;

use crate::{Idx, IdxError, Part, PartError, Split, read_idx};

/// The parts of a data set, with the names of its classes.
///
/// Every part has images of the same shape `[C, H, W]`, and labels below `class_names.len()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// A name for each class; where the files have none, the number.
    pub class_names: Vec<String>,
    /// The part to fit on, if its files are there.
    pub train: Option<Part>,
    /// The part to report on, if its files are there.
    pub test: Option<Part>,
}

/// Why a data set could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The path is not a folder.
    #[error("{}: expected a folder with a data set, found {found}", path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The folder holds no part of a known data set.
    #[error("{}: expected {}, plain or .gz, found neither", path.display(), expected.join(" or "))]
    NothingKnown {
        /// The folder.
        path: PathBuf,
        /// File names that would have been recognised.
        expected: Vec<String>,
    },
    /// A part has images but no labels, or labels but no images.
    #[error("{}: expected {expected} beside {found}, found none", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The missing file's name, plain; a compressed one would do.
        expected: String,
        /// The file that is there.
        found: String,
    },
    /// An IDX file cannot be read.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// Images and labels do not fit together.
    #[error("{}: {source}", path.display())]
    Part {
        /// The file of images.
        path: PathBuf,
        /// What is wrong.
        source: PartError,
    },
    /// The test images have another shape than the training images.
    #[error("{}: test images: expected shape {expected:?} as in training, found {found:?}", path.display())]
    Shapes {
        /// The folder.
        path: PathBuf,
        /// `[C, H, W]` of the training images.
        expected: [usize; 3],
        /// `[C, H, W]` of the test images.
        found: [usize; 3],
    },
}

const PARTS: [(Split, &str); 2] = [(Split::Train, "train"), (Split::Test, "t10k")];

impl Dataset {
    /// Loads the data set in `folder`.
    ///
    /// Known names: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-…` for the test
    /// part, `idx4` for images with channels last, a dot instead of the second hyphen as some copies
    /// have it, each plain or with `.gz` (plain wins). The number of images is what the files
    /// hold. Classes are numbered 0 to the highest label of either part.
    ///
    /// # Errors
    /// [`LoadError`]: no folder, no known file, a part without its labels, a broken file, counts
    /// that disagree, parts of different shapes.
    ///
    /// # Examples
    /// ```
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/digits");
    /// let digits = nearkin_data::Dataset::load(folder.as_ref())?;
    /// assert_eq!(digits.test.map(|part| part.len()), Some(450));
    /// # Ok::<(), nearkin_data::LoadError>(())
    /// ```
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing" };
            return Err(LoadError::NotAFolder { path: folder.to_owned(), found });
        }
        let mut read = Vec::new();
        for (split, prefix) in PARTS {
            if let Some(raw) = read_part(folder, prefix)? {
                read.push((split, raw));
            }
        }
        if read.is_empty() {
            let expected = PARTS.map(|(_, prefix)| format!("{prefix}-images-idx3-ubyte"));
            return Err(LoadError::NothingKnown {
                path: folder.to_owned(),
                expected: expected.into(),
            });
        }
        let highest = read.iter().flat_map(|(_, raw)| &raw.labels).max().copied().unwrap_or(0);
        let classes = usize::from(highest) + 1;
        let mut dataset = Dataset {
            name: folder_name(folder),
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            train: None,
            test: None,
        };
        for (split, raw) in read {
            let labels = raw.labels.into_iter().map(usize::from).collect();
            let part = Part::new(split, raw.images, labels, classes)
                .map_err(|source| LoadError::Part { path: raw.path, source })?;
            match split {
                Split::Test => dataset.test = Some(part),
                _ => dataset.train = Some(part),
            }
        }
        dataset.check_shapes(folder)?;
        Ok(dataset)
    }

    fn check_shapes(&self, folder: &Path) -> Result<(), LoadError> {
        let (Some(train), Some(test)) = (&self.train, &self.test) else { return Ok(()) };
        let (expected, found) = (train.image_shape(), test.image_shape());
        if expected == found {
            Ok(())
        } else {
            Err(LoadError::Shapes { path: folder.to_owned(), expected, found })
        }
    }
}

/// The folder's own name, also for `.` and paths that end in `..`.
fn folder_name(folder: &Path) -> String {
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    named(folder)
        .or_else(|| folder.canonicalize().ok().as_deref().and_then(named))
        .unwrap_or_else(|| folder.display().to_string())
}

struct RawPart {
    path: PathBuf,
    images: Array4<u8>,
    labels: Vec<u8>,
}

fn read_part(folder: &Path, prefix: &str) -> Result<Option<RawPart>, LoadError> {
    let images = find(folder, prefix, "images", &["idx3", "idx4"]);
    let labels = find(folder, prefix, "labels", &["idx1"]);
    let (path, labels) = match (images, labels) {
        (None, None) => return Ok(None),
        (Some(images), Some(labels)) => (images, labels),
        (Some(found), None) => return Err(incomplete(folder, prefix, "labels-idx1", &found)),
        (None, Some(found)) => return Err(incomplete(folder, prefix, "images-idx3", &found)),
    };
    Ok(Some(RawPart { images: read_images(&path)?, labels: read_labels(&labels)?, path }))
}

fn incomplete(folder: &Path, prefix: &str, kind: &str, found: &Path) -> LoadError {
    LoadError::Incomplete {
        path: folder.to_owned(),
        expected: format!("{prefix}-{kind}-ubyte"),
        found: folder_name(found),
    }
}

fn find(folder: &Path, prefix: &str, kind: &str, formats: &[&str]) -> Option<PathBuf> {
    let names = formats.iter().flat_map(|format| {
        ["-", "."].into_iter().flat_map(move |dash| {
            ["", ".gz"].map(|end| format!("{prefix}-{kind}{dash}{format}-ubyte{end}"))
        })
    });
    names.map(|name| folder.join(name)).find(|path| path.exists())
}

/// Reads images as `[N, C, H, W]` from an IDX file of `[n, h, w]` or `[n, h, w, c]`.
///
/// # Errors
/// As [`read_idx`]; [`IdxError::Rank`] for another number of dimensions.
pub fn read_images(path: &Path) -> Result<Array4<u8>, IdxError> {
    let Idx { shape, bytes } = read_idx(path)?;
    let rank = |found| IdxError::Rank { path: path.to_owned(), expected: "3 or 4", found };
    let dim = match shape[..] {
        [n, h, w] => (n, h, w, 1),
        [n, h, w, c] => (n, h, w, c),
        _ => return Err(rank(shape.len())),
    };
    // The reader guarantees that the bytes fill the shape.
    let images = Array4::from_shape_vec(dim, bytes).map_err(|_| rank(shape.len()))?;
    Ok(images.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned())
}

/// Reads labels `[n]` from an IDX file.
///
/// # Errors
/// As [`read_idx`]; [`IdxError::Rank`] for another number of dimensions.
pub fn read_labels(path: &Path) -> Result<Vec<u8>, IdxError> {
    let Idx { shape, bytes } = read_idx(path)?;
    match shape.len() {
        1 => Ok(bytes),
        found => Err(IdxError::Rank { path: path.to_owned(), expected: "1", found }),
    }
}
