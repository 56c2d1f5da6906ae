//! A data set as a list: which images there are, where their bytes lie, what they show.
//!
//! Every reader makes one. Nothing is decoded here, so a list costs memory by the image's name and
//! not by its pixels; [`crate::Dataset`] is the form for small sets that lie in memory whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array4;
use serde::{Deserialize, Serialize};

use crate::Split;

/// The images of a data set, part by part.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The folder's or file's name.
    pub name: String,
    /// Where it was found.
    pub root: PathBuf,
    /// How it is stored.
    pub format: Format,
    /// A name for each class, by index; two classes of ImageNet are both called "crane".
    pub class_names: Vec<String>,
    /// What the files call each class where that is not its name: a WordNet id, unlike the names
    /// never twice the same. Empty in other formats.
    pub class_ids: Vec<String>,
    /// The parts that are there, each at most once.
    pub parts: Vec<ListedPart>,
    /// Files that were seen and are no images by their names: counted, not an error.
    pub ignored: usize,
    /// What the reader left out, by name and reason; never silently.
    pub quarantine: Vec<Quarantined>,
}

/// The images of one role.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedPart {
    /// The role.
    pub split: Split,
    /// The images, in the data set's own order, or sorted by name where it has none.
    pub samples: Vec<Sample>,
}

/// One image, or one object of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Unique in the listing: a path below the root with `/`, `data_batch_1.bin#17` for a record,
    /// `shard.tar/000017.jpg` for a member of an archive, `000007.jpg#2` for an object.
    pub name: String,
    /// Where its pixels come from.
    pub pixels: Pixels,
    /// The part of the image that is meant; `None` is the whole.
    pub region: Option<Region>,
    /// What it shows.
    pub target: Target,
    /// The file with a class for each pixel, if there is one.
    pub mask: Option<PathBuf>,
}

/// Where the pixels of a sample come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// An encoded image in a file of its own.
    File(PathBuf),
    /// An encoded image inside a file, such as a member of a tar archive.
    Slice {
        /// The file.
        path: Arc<Path>,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Levels in memory: image `index` of `[N, C, H, W]`, C of 1 or 3.
    Levels {
        /// All images of the file.
        images: Arc<Array4<u8>>,
        /// Which of them.
        index: usize,
    },
}

/// What an image shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Not known: an image without a label.
    Unlabelled,
    /// One class, an index into the class names.
    Class(usize),
    /// Any number of classes, as in Pascal VOC. A class with only difficult objects is in
    /// `difficult` and counts neither as present nor as absent.
    Classes {
        /// Classes that are there, rising.
        present: Vec<usize>,
        /// Classes that are there only as objects marked difficult, rising.
        difficult: Vec<usize>,
    },
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Columns, at least 1.
    pub width: usize,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { top, left, height, width } = self;
        write!(f, "{width} × {height} at ({left}, {top})")
    }
}

/// How a data set is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// IDX files: MNIST, Fashion-MNIST.
    Idx,
    /// CIFAR-10's binary version.
    Cifar10,
    /// CIFAR-100's binary version.
    Cifar100,
    /// `VOCdevkit/VOC2007`.
    Voc,
    /// ImageNet: folders of WordNet ids, or the flat validation folder.
    ImageNet,
    /// A folder for each class.
    Folder,
    /// A CSV, TSV or Parquet file of paths and labels.
    Manifest,
    /// Tar shards in WebDataset's layout.
    Tar,
}

impl Format {
    /// The name in tables: `idx`, `cifar-10`, `cifar-100`, `voc`, `imagenet`, `folder`, `manifest`
    /// or `tar`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Idx => "idx",
            Format::Cifar10 => "cifar-10",
            Format::Cifar100 => "cifar-100",
            Format::Voc => "voc",
            Format::ImageNet => "imagenet",
            Format::Folder => "folder",
            Format::Manifest => "manifest",
            Format::Tar => "tar",
        }
    }
}

/// An image that was set aside, so that one bad file does not end a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The sample's name, or the file's path below the root.
    pub name: String,
    /// Where, what was expected, what was found.
    pub reason: String,
}

impl Listing {
    /// The part with this role, if it is there.
    pub fn part(&self, split: Split) -> Option<&ListedPart> {
        self.parts.iter().find(|part| part.split == split)
    }

    /// The number of images of all parts.
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| part.samples.len()).sum()
    }
}

impl Sample {
    /// A whole image in a file of its own, without a mask.
    pub fn of_file(name: String, path: PathBuf, target: Target) -> Self {
        Self { name, pixels: Pixels::File(path), region: None, target, mask: None }
    }
}

impl ListedPart {
    /// The class of every image, `[n]`; `None` if one has no or several.
    pub fn classes(&self) -> Option<Vec<usize>> {
        let class = |sample: &Sample| match sample.target {
            Target::Class(class) => Some(class),
            _ => None,
        };
        self.samples.iter().map(class).collect()
    }
}
