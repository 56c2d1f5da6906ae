//! What can be wrong with a VOC folder.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{Quarantined, Split};

/// Why a VOC folder could not be listed.
#[derive(Debug, Error)]
pub enum VocError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The folder is not laid out as VOC's.
    #[error("{}: expected ImageSets, Annotations and JPEGImages, or one VOC2007 or the like, found {}", path.display(), if found.is_empty() { "none of them".to_owned() } else { found.join(" and ") })]
    Layout {
        /// The folder.
        path: PathBuf,
        /// Years that are there, if several.
        found: Vec<String>,
    },
    /// There is no list of images.
    #[error("{}: expected one of {}, found none", path.display(), expected.join(", "))]
    NoLists {
        /// The folder of lists.
        path: PathBuf,
        /// Names of lists.
        expected: Vec<String>,
    },
    /// A line of a list is wrong.
    #[error("{}: line {line}: expected {expected}, found {found:?}", path.display())]
    Entry {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What would have been read.
        expected: String,
        /// The line's text.
        found: String,
    },
    /// An image is in two parts.
    #[error("{}: line {line}: expected an image of the {split} part only, found {id}, which is in the {other} part too", path.display())]
    InTwoParts {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The list's part.
        split: Split,
        /// The image.
        id: String,
        /// The other part.
        other: Split,
    },
    /// A class's list says something else than the annotation.
    #[error("{}: line {line}: expected {expected} for image {id} by its annotation, found {found}", path.display())]
    Disagrees {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The image.
        id: String,
        /// 1, 0 or −1 by the annotation.
        expected: &'static str,
        /// What the list says.
        found: &'static str,
    },
    /// A class's list lacks an image.
    #[error("{}: expected a line for image {id}, found none", path.display())]
    NotListed {
        /// The list.
        path: PathBuf,
        /// The image.
        id: String,
    },
    /// An annotation has a class without a list.
    #[error("{}: expected one of the {} classes with a list, found {found:?}", path.display(), classes)]
    Class {
        /// The annotation.
        path: PathBuf,
        /// Number of classes.
        classes: usize,
        /// The class.
        found: String,
    },
    /// No image is left.
    #[error("{}: expected images, found none{}", path.display(), first(quarantine))]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// What was set aside.
        quarantine: Vec<Quarantined>,
    },
}

fn first(quarantine: &[Quarantined]) -> String {
    quarantine
        .first()
        .map_or_else(String::new, |q| format!(", the first: {}: {}", q.name, q.reason))
}
