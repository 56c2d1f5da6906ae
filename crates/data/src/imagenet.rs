//! ImageNet: folders of WordNet ids.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::folder::{Branch, Tree, named_split, sample};
use crate::vocabulary::is_wnid;
use crate::walk::{entries, own_name};
use crate::{
    FolderError, Format, ListedPart, Listing, Quarantined, Split, Synset, Target, Vocabulary,
    VocabularyError,
};

/// Lists of classes that are looked for in the folder and the one above.
const CLASS_LISTS: [&str; 2] = ["LOC_synset_mapping.txt", "imagenet_class_index.json"];

/// Why an ImageNet folder could not be listed.
#[derive(Debug, Error)]
pub enum ImageNetError {
    /// The folder of images cannot be listed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The list of classes cannot be read.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// A label file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A class folder is no synset of the list.
    #[error("{}: expected a folder called as one of {classes} synsets, found {found:?}", path.display())]
    Class {
        /// The data set's folder.
        path: PathBuf,
        /// Number of classes in the list.
        classes: usize,
        /// The folder's name.
        found: String,
    },
}

/// What the reader may be told.
#[derive(Clone, Debug, Default)]
pub struct ImageNetOptions {
    /// The classes; by default those of `LOC_synset_mapping.txt` or `imagenet_class_index.json` in
    /// the folder or the one above, else the WordNet ids that are there, sorted.
    pub vocabulary: Option<Vocabulary>,
}

/// Where the images are: `root`, or the folders inside that the archives have.
pub(crate) fn imagenet_folder(root: &Path) -> Option<PathBuf> {
    let inside = ["", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC", "CLS-LOC"];
    inside.iter().map(|inside| root.join(inside)).find(|folder| holds_synsets(folder))
}

fn holds_synsets(folder: &Path) -> bool {
    let Ok((top, _)) = entries(folder) else { return false };
    top.iter().filter(|entry| entry.is_folder).any(|entry| {
        let name = entry.name();
        is_wnid(&name)
            || named_split(&name).is_some()
                && entries(&entry.path).is_ok_and(|(inside, _)| {
                    inside.iter().any(|entry| entry.is_folder && is_wnid(&entry.name()))
                })
    })
}

/// Lists folders of WordNet ids, with or without folders for the splits above them.
///
/// - `unnamed`: the role of images that lie in the folder of no split.
///
/// # Errors
/// [`ImageNetError`].
pub fn read_imagenet(
    root: &Path,
    unnamed: Split,
    options: &ImageNetOptions,
) -> Result<Listing, ImageNetError> {
    let folder = imagenet_folder(root).unwrap_or_else(|| root.to_owned());
    let Tree { branches, mut rest } = Tree::read(&folder, unnamed)?;
    let vocabulary = match &options.vocabulary {
        Some(vocabulary) => vocabulary.clone(),
        None => match class_list(root, &folder) {
            Some(path) => Vocabulary::read(&path)?,
            None => from_folders(&branches)?,
        },
    };
    let mut parts = Vec::new();
    for Branch { split, classes, loose } in branches {
        let mut samples = Vec::new();
        for (wnid, images) in classes {
            let class = vocabulary.find_wnid(&wnid).ok_or_else(|| ImageNetError::Class {
                path: folder.clone(),
                classes: vocabulary.len(),
                found: wnid,
            })?;
            samples.extend(images.into_iter().map(|image| sample(image, Target::Class(class))));
        }
        rest.quarantine.extend(loose.into_iter().map(|image| Quarantined {
            name: image.name,
            reason: "expected an image in the folder of its synset".to_owned(),
        }));
        parts.push(ListedPart { split, samples });
    }
    Ok(Listing {
        name: own_name(root),
        root: root.to_owned(),
        format: Format::ImageNet,
        class_names: vocabulary.names(),
        class_ids: vocabulary.wnids().unwrap_or_default(),
        parts,
        ignored: rest.ignored,
        quarantine: rest.quarantine,
    })
}

fn class_list(root: &Path, folder: &Path) -> Option<PathBuf> {
    let places = [Some(folder), Some(root), root.parent()];
    let paths = places.into_iter().flatten();
    paths.flat_map(|place| CLASS_LISTS.map(|name| place.join(name))).find(|path| path.is_file())
}

fn from_folders(branches: &[Branch]) -> Result<Vocabulary, VocabularyError> {
    let mut wnids: Vec<&String> =
        branches.iter().flat_map(|branch| &branch.classes).map(|(name, _)| name).collect();
    wnids.sort();
    wnids.dedup();
    let synset = |wnid: &String| Synset { wnid: Some(wnid.clone()), lemmas: Vec::new() };
    Vocabulary::new(wnids.into_iter().map(synset).collect())
}
