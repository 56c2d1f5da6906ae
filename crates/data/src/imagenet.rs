//! ImageNet: folders of WordNet ids, and the flat validation folder with its label file.
//!
//! Bounding boxes are not read.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::folder::{Branch, Tree, named_split, sample};
use crate::ground_truth::Truth;
use crate::vocabulary::is_wnid;
use crate::walk::{Entry, Found, entries, is_image, own_name};
use crate::{
    FolderError, Format, GroundTruthError, ListedPart, Listing, Quarantined, Split, Synset, Target,
    Vocabulary, VocabularyError,
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
    /// The labels of validation images cannot be read.
    #[error(transparent)]
    GroundTruth(#[from] GroundTruthError),
    /// There is no label file for validation images.
    #[error("{}: expected folders of WordNet ids, or LOC_val_solution.csv, ILSVRC2012_validation_ground_truth.txt or a list of synsets, found none", path.display())]
    NoLabels {
        /// The folder of images.
        path: PathBuf,
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
    /// The label file of the flat validation folder; by default one that is found under its usual
    /// name in the folder, the one above, or the devkit's folder in either.
    pub ground_truth: Option<PathBuf>,
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
                        || inside.iter().any(is_flat_image)
                })
    }) || top.iter().any(is_flat_image)
}

fn is_flat_image(entry: &Entry) -> bool {
    !entry.is_folder && entry.name().starts_with("ILSVRC2012_val_") && is_image(&entry.path)
}

/// Lists folders of WordNet ids, with or without folders for the splits above them, and images in
/// no such folder by the label file.
///
/// A split without folders of WordNet ids is flat: its images are labelled by the label file if
/// that is there; without one validation images are an error, and others are unlabelled. An image
/// that the file does not list is set aside. A file in order of images goes by the number at the end
/// of their names, so that a subset of the images will do.
///
/// - `unnamed`: the role of images that lie in the folder of no split; flat validation images are
///   known by their names.
///
/// # Errors
/// [`ImageNetError`].
pub fn read_imagenet(
    root: &Path,
    unnamed: Split,
    options: &ImageNetOptions,
) -> Result<Listing, ImageNetError> {
    let folder = imagenet_folder(root).unwrap_or_else(|| root.to_owned());
    let flat = entries(&folder).is_ok_and(|(top, _)| top.iter().any(is_flat_image));
    let unnamed = if flat { Split::Validation } else { unnamed };
    let Tree { branches, mut rest } = Tree::read(&folder, unnamed)?;
    let truth = truth(root, &folder, &branches, options)?;
    let vocabulary = match &options.vocabulary {
        Some(vocabulary) => vocabulary.clone(),
        None => match class_list(root, &folder) {
            Some(path) => Vocabulary::read(&path)?,
            None => named_classes(&branches, truth.as_ref())?,
        },
    };
    let mut parts = Vec::new();
    for Branch { split, classes, loose } in branches {
        let mut samples = Vec::new();
        let is_flat = classes.is_empty();
        for (wnid, images) in classes {
            let class = vocabulary.find_wnid(&wnid).ok_or_else(|| ImageNetError::Class {
                path: folder.clone(),
                classes: vocabulary.len(),
                found: wnid,
            })?;
            samples.extend(images.into_iter().map(|image| sample(image, Target::Class(class))));
        }
        for image in loose {
            let aside = |image: Found, reason: &str| Quarantined {
                name: image.name,
                reason: reason.to_owned(),
            };
            if !is_flat {
                let reason = "expected an image in the folder of its synset";
                rest.quarantine.push(aside(image, reason));
                continue;
            }
            match &truth {
                Some(truth) if split == Split::Validation => {
                    match truth.class(&image.name, &vocabulary)? {
                        Some(class) => samples.push(sample(image, Target::Class(class))),
                        None => rest
                            .quarantine
                            .push(aside(image, "expected an image of the label file's list")),
                    }
                }
                _ => samples.push(sample(image, Target::Unlabelled)),
            }
        }
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

/// The label file, if there are flat validation images and it is there.
fn truth(
    root: &Path,
    folder: &Path,
    branches: &[Branch],
    options: &ImageNetOptions,
) -> Result<Option<Truth>, ImageNetError> {
    let needed = |branch: &Branch| {
        branch.split == Split::Validation && branch.classes.is_empty() && !branch.loose.is_empty()
    };
    if !branches.iter().any(needed) {
        return Ok(None);
    }
    let inside = folder.join("val");
    let places = [Some(inside.as_path()), Some(folder), Some(root), root.parent()];
    let places: Vec<&Path> = places.into_iter().flatten().collect();
    let path = options.ground_truth.clone().or_else(|| Truth::find(&places));
    let path = path.ok_or_else(|| ImageNetError::NoLabels { path: folder.to_owned() })?;
    Ok(Some(Truth::read(&path)?))
}

fn class_list(root: &Path, folder: &Path) -> Option<PathBuf> {
    let places = [Some(folder), Some(root), root.parent()];
    let paths = places.into_iter().flatten();
    paths.flat_map(|place| CLASS_LISTS.map(|name| place.join(name))).find(|path| path.is_file())
}

/// The synsets that folders and labels name, sorted as in the 1,000 classes of the models.
fn named_classes(
    branches: &[Branch],
    truth: Option<&Truth>,
) -> Result<Vocabulary, VocabularyError> {
    let folders = branches.iter().flat_map(|branch| &branch.classes).map(|(name, _)| name.clone());
    let mut wnids: Vec<String> =
        folders.chain(truth.map(Truth::wnids).unwrap_or_default()).collect();
    wnids.sort();
    wnids.dedup();
    let synset = |wnid: String| Synset { wnid: Some(wnid), lemmas: Vec::new() };
    Vocabulary::new(wnids.into_iter().map(synset).collect())
}
