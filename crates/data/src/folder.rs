//! A folder for each class, with or without folders for the splits above them.
//!
//! Classes are numbered by the bytes of their folders' names over all splits, as torchvision's
//! `ImageFolder` numbers them within one. Whether a file is an image is told by its ending only:
//! nothing is opened here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::walk::{Entry, Found, Rest, entries, found, images_below, own_name};
use crate::{Format, ListedPart, Listing, Quarantined, Sample, Split, Target};

/// Why a folder of images could not be listed.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// There is no image in it.
    #[error("{}: expected image files, found none, and {ignored} other files", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// Files that are no images by their names.
        ignored: usize,
    },
    /// Two folders stand for the same split.
    #[error("{}: expected one folder of {split} images, found {} and {}", path.display(), found[0], found[1])]
    TwoOfASplit {
        /// The folder.
        path: PathBuf,
        /// The role of both.
        split: Split,
        /// Their names.
        found: [String; 2],
    },
}

/// The images of one split, by class folder.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) split: Split,
    /// Class folders by name, sorted by bytes.
    pub(crate) classes: Vec<(String, Vec<Found>)>,
    /// Images in no class folder.
    pub(crate) loose: Vec<Found>,
}

/// A folder of images, not yet labelled.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) branches: Vec<Branch>,
    pub(crate) rest: Rest,
}

/// The role that a folder's or file's name says: `train`, `val`, `test` and what else is in use.
pub(crate) fn named_split(name: &str) -> Option<Split> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" => Some(Split::Validation),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

impl Tree {
    /// Walks `root`; images of no named split get the role `unnamed`.
    pub(crate) fn read(root: &Path, unnamed: Split) -> Result<Self, FolderError> {
        let mut rest = Rest::default();
        let top = read_entries(root, &mut rest)?;
        let mut branches = Vec::new();
        if holds_splits(&top) {
            let mut names: BTreeMap<Split, String> = BTreeMap::new();
            for entry in top {
                match named_split(&entry.name()).filter(|_| entry.is_folder) {
                    Some(split) => {
                        if let Some(first) = names.insert(split, entry.name()) {
                            let found = [first, entry.name()];
                            let path = root.to_owned();
                            return Err(FolderError::TwoOfASplit { path, split, found });
                        }
                        let inside = read_entries(&entry.path, &mut rest)?;
                        branches.push(branch(inside, split, root, &mut rest));
                    }
                    None if entry.is_folder => rest.quarantine.push(Quarantined {
                        name: entry.name(),
                        reason: "expected the folder of a split as beside it, such as train, val \
                                 or test"
                            .to_owned(),
                    }),
                    None => set_aside_if_image(entry, root, &mut rest),
                }
            }
            branches.sort_by_key(|branch| branch.split);
        } else {
            branches.push(branch(top, unnamed, root, &mut rest));
        }
        branches.retain(|branch| branch.count() > 0 || !branch.classes.is_empty());
        if branches.iter().all(|branch| branch.count() == 0) {
            let ignored = rest.ignored;
            return Err(FolderError::NoImages { path: root.to_owned(), ignored });
        }
        Ok(Self { branches, rest })
    }
}

impl Branch {
    fn count(&self) -> usize {
        self.loose.len() + self.classes.iter().map(|(_, images)| images.len()).sum::<usize>()
    }
}

fn read_entries(folder: &Path, rest: &mut Rest) -> Result<Vec<Entry>, FolderError> {
    let (entries, hidden) =
        entries(folder).map_err(|source| FolderError::Io { path: folder.to_owned(), source })?;
    rest.ignored += hidden;
    Ok(entries)
}

/// A class may be called `train`, as in Pascal VOC. Folders are splits if all of them are called
/// so, or if one called so holds folders.
fn holds_splits(top: &[Entry]) -> bool {
    let is_split = |entry: &&Entry| named_split(&entry.name()).is_some();
    let mut folders = top.iter().filter(|entry| entry.is_folder).peekable();
    let holds_folders =
        |entry: &Entry| entries(&entry.path).is_ok_and(|(e, _)| e.iter().any(|e| e.is_folder));
    folders.peek().is_some()
        && (folders.clone().all(|entry| is_split(&entry))
            || folders.filter(is_split).any(holds_folders))
}

fn branch(inside: Vec<Entry>, split: Split, root: &Path, rest: &mut Rest) -> Branch {
    let mut branch = Branch { split, classes: Vec::new(), loose: Vec::new() };
    for entry in inside {
        if entry.is_folder {
            branch.classes.push((entry.name(), images_below(&entry.path, root, rest)));
        } else {
            branch.loose.extend(found(entry, root, rest));
        }
    }
    branch
}

fn set_aside_if_image(entry: Entry, root: &Path, rest: &mut Rest) {
    if let Some(image) = found(entry, root, rest) {
        rest.quarantine.push(no_class(image));
    }
}

fn no_class(image: Found) -> Quarantined {
    let reason = "expected an image in a folder of its class, found it beside them".to_owned();
    Quarantined { name: image.name, reason }
}

/// Lists a folder for each class, or a folder of images without labels.
///
/// Sub-folders called `train`, `val` (`valid`, `validation`, `dev`) or `test` are splits if all
/// sub-folders are, or if one of them holds folders itself; otherwise all images get the role
/// `unnamed`. Images lie at any depth below their class folder. A split without class folders is
/// unlabelled; an image beside class folders is set aside. Cost: one look at each folder.
///
/// # Errors
/// [`FolderError`].
pub fn read_folder(root: &Path, unnamed: Split) -> Result<Listing, FolderError> {
    let Tree { branches, mut rest } = Tree::read(root, unnamed)?;
    let mut classes: BTreeMap<&str, usize> =
        branches.iter().flat_map(|b| &b.classes).map(|(name, _)| (name.as_str(), 0)).collect();
    classes.values_mut().enumerate().for_each(|(index, class)| *class = index);
    let class_names = classes.keys().map(|&name| name.to_owned()).collect();
    let mut parts = Vec::new();
    for branch in &branches {
        let mut samples = Vec::new();
        for (class, images) in &branch.classes {
            let target = Target::Class(classes[class.as_str()]);
            samples.extend(images.iter().map(|image| sample(image.clone(), target.clone())));
        }
        if branch.classes.is_empty() {
            let unlabelled = |image: &Found| sample(image.clone(), Target::Unlabelled);
            samples.extend(branch.loose.iter().map(unlabelled));
        } else {
            rest.quarantine.extend(branch.loose.iter().cloned().map(no_class));
        }
        parts.push(ListedPart { split: branch.split, samples });
    }
    Ok(Listing {
        name: own_name(root),
        root: root.to_owned(),
        format: Format::Folder,
        class_names,
        class_ids: Vec::new(),
        parts,
        ignored: rest.ignored,
        quarantine: rest.quarantine,
    })
}

/// An image file with what it shows.
pub(crate) fn sample(image: Found, target: Target) -> Sample {
    Sample::of_file(image.name, image.path, target)
}
