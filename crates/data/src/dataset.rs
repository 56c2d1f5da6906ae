//! A data set found on disk by the names its files have everywhere.
//!
//! The four IDX files of MNIST, Fashion-MNIST and the digits, gzip or plain, and the binary files
//! of CIFAR-10 and CIFAR-100. Nothing is fetched, and a folder's contents beyond those names are
//! ignored.

use std::path::{Path, PathBuf};

use ndarray::Array4;
use thiserror::Error;

use crate::cifar::{Records, read_class_names};
use crate::walk::own_name;
use crate::{
    CIFAR_LIMIT_BYTES, Cifar, CifarError, CifarKind, Format, Idx, IdxError, Part, PartError, Split,
    read_idx,
};

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
    #[error("{}: expected {}, found none of them", path.display(), expected.join(" or "))]
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
    /// A CIFAR file cannot be read.
    #[error(transparent)]
    Cifar(#[from] CifarError),
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

/// A data set in memory, and which file each image came from.
pub(crate) struct Loaded {
    pub(crate) dataset: Dataset,
    pub(crate) format: Format,
    /// Files of each part with their number of images, in the part's order.
    pub(crate) files: Vec<(Split, Vec<(String, usize)>)>,
}

impl Dataset {
    /// Loads the data set in `folder`.
    ///
    /// Known names:
    /// - `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-…` for the test part,
    ///   `idx4` for images with channels last, a dot instead of the second hyphen as some copies
    ///   have it, each plain or with `.gz` (plain wins). Classes are numbered 0 to the highest
    ///   label of either part.
    /// - `data_batch_1.bin` and on, and `test_batch.bin`, of CIFAR-10; names of the classes from
    ///   `batches.meta.txt`.
    /// - `train.bin` and `test.bin` of CIFAR-100, with its 100 fine classes; their names from
    ///   `fine_label_names.txt`.
    ///
    /// CIFAR's files may lie in a folder inside, `cifar-10-batches-bin` or `cifar-100-binary`, as
    /// the archives have it. The number of images is what the files hold.
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
        Ok(Loaded::load(folder)?.dataset)
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

impl Loaded {
    pub(crate) fn load(folder: &Path) -> Result<Self, LoadError> {
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing" };
            return Err(LoadError::NotAFolder { path: folder.to_owned(), found });
        }
        if let Some((kind, inside)) = cifar_folder(folder) {
            return load_cifar(folder, &inside, kind);
        }
        let mut read = Vec::new();
        for (split, prefix) in PARTS {
            if let Some(raw) = read_part(folder, prefix)? {
                read.push((split, raw));
            }
        }
        if read.is_empty() {
            let mut expected =
                PARTS.map(|(_, prefix)| format!("{prefix}-images-idx3-ubyte")).to_vec();
            expected.extend(["data_batch_1.bin", "test_batch.bin"].map(str::to_owned));
            return Err(LoadError::NothingKnown { path: folder.to_owned(), expected });
        }
        let highest = read.iter().flat_map(|(_, raw)| &raw.labels).max().copied().unwrap_or(0);
        let names = (0..=highest).map(|class| class.to_string()).collect();
        Self::join(folder, Format::Idx, names, read)
    }

    fn join(
        folder: &Path,
        format: Format,
        class_names: Vec<String>,
        read: Vec<(Split, RawPart)>,
    ) -> Result<Self, LoadError> {
        let classes = class_names.len();
        let mut dataset = Dataset { name: own_name(folder), class_names, train: None, test: None };
        let mut files = Vec::new();
        for (split, raw) in read {
            let labels = raw.labels.into_iter().map(usize::from).collect();
            let part = Part::new(split, raw.images, labels, classes)
                .map_err(|source| LoadError::Part { path: raw.path, source })?;
            files.push((split, raw.files));
            match split {
                Split::Test => dataset.test = Some(part),
                _ => dataset.train = Some(part),
            }
        }
        dataset.check_shapes(folder)?;
        Ok(Self { dataset, format, files })
    }
}

/// Whether files of the IDX reader are in `folder`.
pub(crate) fn is_idx_folder(folder: &Path) -> bool {
    PARTS.iter().any(|(_, prefix)| {
        find(folder, prefix, "images", &["idx3", "idx4"]).is_some()
            || find(folder, prefix, "labels", &["idx1"]).is_some()
    })
}

/// Where CIFAR's files are: `folder` itself or the folder inside that its archive has.
pub(crate) fn cifar_folder(folder: &Path) -> Option<(CifarKind, PathBuf)> {
    use CifarKind::{Cifar10, Cifar100};
    for (kind, inside) in [(Cifar10, "cifar-10-batches-bin"), (Cifar100, "cifar-100-binary")] {
        for folder in [folder.to_owned(), folder.join(inside)] {
            let files = cifar_files(&folder, kind).into_iter().flat_map(|(_, files)| files);
            // Many things are called train.bin: CIFAR-100's are told by their neighbour or length.
            let named = kind == Cifar10
                || folder.ends_with(inside)
                || folder.join("fine_label_names.txt").is_file();
            let whole = |path: &PathBuf| {
                path.metadata()
                    .is_ok_and(|m| m.len() > 0 && m.len() % kind.record_bytes() as u64 == 0)
            };
            if files.into_iter().any(|path| named || whole(&path)) {
                return Some((kind, folder));
            }
        }
    }
    None
}

/// The files that are there, by part; training files by number.
fn cifar_files(folder: &Path, kind: CifarKind) -> [(Split, Vec<PathBuf>); 2] {
    let existing = |names: Vec<String>| -> Vec<PathBuf> {
        names.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
    };
    let (train, test) = match kind {
        CifarKind::Cifar10 => {
            ((1..=5).map(|i| format!("data_batch_{i}.bin")).collect(), "test_batch.bin")
        }
        CifarKind::Cifar100 => (vec!["train.bin".to_owned()], "test.bin"),
    };
    [(Split::Train, existing(train)), (Split::Test, existing(vec![test.to_owned()]))]
}

fn load_cifar(folder: &Path, inside: &Path, kind: CifarKind) -> Result<Loaded, LoadError> {
    let names = match kind {
        CifarKind::Cifar10 => "batches.meta.txt",
        CifarKind::Cifar100 => "fine_label_names.txt",
    };
    let names = inside.join(names);
    let class_names = if names.exists() {
        read_class_names(&names, kind.classes())?
    } else {
        (0..kind.classes()).map(|class| class.to_string()).collect()
    };
    let mut read = Vec::new();
    for (split, paths) in cifar_files(inside, kind) {
        let Some(path) = paths.first().cloned() else { continue };
        let bytes =
            paths.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum::<u64>();
        let mut records = Records::with_capacity(kind, bytes.min(CIFAR_LIMIT_BYTES) as usize);
        let mut files = Vec::new();
        for path in &paths {
            files.push((own_name(path), records.append_file(path)?));
        }
        let fault = |fault| CifarError::Records { path: path.clone(), fault };
        let Cifar { images, labels, .. } = records.finish().map_err(fault)?;
        read.push((split, RawPart { path, files, images, labels }));
    }
    Loaded::join(folder, kind.format(), class_names, read)
}

struct RawPart {
    path: PathBuf,
    files: Vec<(String, usize)>,
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
    let images = read_images(&path)?;
    let files = vec![(own_name(&path), images.dim().0)];
    Ok(Some(RawPart { images, files, labels: read_labels(&labels)?, path }))
}

fn incomplete(folder: &Path, prefix: &str, kind: &str, found: &Path) -> LoadError {
    LoadError::Incomplete {
        path: folder.to_owned(),
        expected: format!("{prefix}-{kind}-ubyte"),
        found: own_name(found),
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
    // The reader guarantees that the bytes fill the shape.
    let array = |dim| Array4::from_shape_vec(dim, bytes).map_err(|_| rank(shape.len()));
    match shape[..] {
        // One channel: first and last are the same bytes, and nothing is copied.
        [n, h, w] | [n, h, w, 1] => array((n, 1, h, w)),
        [n, h, w, c] => {
            let images = array((n, h, w, c))?;
            Ok(images.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned())
        }
        _ => Err(rank(shape.len())),
    }
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
