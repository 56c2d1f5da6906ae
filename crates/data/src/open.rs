//! From a path to a [`Listing`], whatever the format.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::dataset::{Loaded, cifar_folder, is_idx_folder};
use crate::imagenet::imagenet_folder;
use crate::shards::shard_paths;
use crate::voc::voc_folder;
use crate::{
    FolderError, Format, ImageNetError, ImageNetOptions, ListedPart, Listing, LoadError,
    ManifestError, ManifestPaths, Part, Pixels, Sample, ShardError, Split, Target, VocError,
    VocOptions, read_folder, read_imagenet, read_manifest, read_shards, read_voc,
};

/// What [`Listing::open`] may be told.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The format; `None` recognises it by what is there.
    pub format: Option<Format>,
    /// Refuses the whole set if anything had to be set aside.
    pub strict: bool,
    /// The role of images for which the data set names none.
    pub unnamed: Split,
    /// For manifests.
    pub manifest_paths: ManifestPaths,
    /// For Pascal VOC.
    pub voc: VocOptions,
    /// For ImageNet.
    pub imagenet: ImageNetOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            format: None,
            strict: false,
            unnamed: Split::Train,
            manifest_paths: ManifestPaths::default(),
            voc: VocOptions::default(),
            imagenet: ImageNetOptions::default(),
        }
    }
}

/// Why a data set could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The path cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Nothing there is a data set that is known.
    #[error("{}: expected {}, found none of them", path.display(), expected.join(", "))]
    NotRecognised {
        /// The path.
        path: PathBuf,
        /// What was looked for, in this order.
        expected: Vec<&'static str>,
    },
    /// Something was set aside although nothing may be.
    #[error("{name}: {reason}{}", and_more(*others))]
    Quarantined {
        /// The first that was set aside.
        name: String,
        /// Why.
        reason: String,
        /// How many more.
        others: usize,
    },
    /// A set in memory: IDX or CIFAR.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Tar shards.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// A table of paths.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Pascal VOC.
    #[error(transparent)]
    Voc(#[from] VocError),
    /// A folder for each class.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// ImageNet.
    #[error(transparent)]
    ImageNet(#[from] ImageNetError),
}

fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more set aside)") }
}

/// What was looked for, for the message.
const LOOKED_FOR: [&str; 7] = [
    "IDX files (train-images-idx3-ubyte, t10k-…)",
    "CIFAR files (data_batch_1.bin, test_batch.bin, train.bin, test.bin)",
    "a VOC folder (ImageSets, Annotations, JPEGImages)",
    "tar archives (NAME.tar, a folder of them, or NAME-{000..003}.tar)",
    "a manifest (NAME.csv, NAME.tsv, NAME.parquet, or a folder with manifest.csv or the like)",
    "folders of WordNet ids, or ILSVRC2012_val_….JPEG",
    "a folder for each class, or of images",
];

/// Manifests that are found in a folder.
const MANIFESTS: [&str; 9] = [
    "manifest.csv",
    "manifest.tsv",
    "manifest.parquet",
    "metadata.csv",
    "metadata.tsv",
    "metadata.parquet",
    "labels.csv",
    "labels.tsv",
    "labels.parquet",
];

impl Listing {
    /// Lists the data set at `path`.
    ///
    /// The format is what is found first, in this order:
    ///
    /// 1. IDX files by their names;
    /// 2. CIFAR files by their names, also in the folder that their archive has;
    /// 3. VOC: `ImageSets` beside `Annotations` or `JPEGImages`, or a year or devkit with them;
    /// 4. tar archives: one, a pattern with braces, or a folder of them;
    /// 5. a manifest: a file with its ending, or `manifest`, `metadata` or `labels` with such an
    ///    ending in a folder;
    /// 6. folders of WordNet ids or `ILSVRC2012_val_….JPEG`, in folders of splits or not;
    /// 7. a folder for each class, or a folder of images.
    ///
    /// IDX and CIFAR are read into memory; of the others no image is opened.
    ///
    /// # Errors
    /// [`OpenError`]: nothing known is there, its structure is broken, or, if `strict`, an image
    /// had to be set aside.
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{Listing, OpenOptions};
    ///
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/digits");
    /// let digits = Listing::open(folder.as_ref(), &OpenOptions::default())?;
    /// assert_eq!(digits.count(), 1797);
    /// # Ok::<(), nearkin_data::OpenError>(())
    /// ```
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let format = match options.format {
            Some(format) => format,
            None => recognise(path)?,
        };
        let unnamed = options.unnamed;
        let listing = match format {
            Format::Idx | Format::Cifar10 | Format::Cifar100 => in_memory(path, format)?,
            Format::Voc => read_voc(path, &options.voc)?,
            Format::Tar => read_shards(path, unnamed)?,
            Format::Manifest => {
                let path = manifest(path).unwrap_or_else(|| path.to_owned());
                read_manifest(&path, unnamed, options.manifest_paths)?
            }
            Format::ImageNet => read_imagenet(path, unnamed, &options.imagenet)?,
            Format::Folder => read_folder(path, unnamed)?,
        };
        if options.strict { listing.refuse_quarantine() } else { Ok(listing) }
    }

    /// This listing, if nothing was set aside.
    ///
    /// # Errors
    /// [`OpenError::Quarantined`] names the first that was.
    pub fn refuse_quarantine(self) -> Result<Self, OpenError> {
        match self.quarantine.first() {
            None => Ok(self),
            Some(first) => Err(OpenError::Quarantined {
                name: first.name.clone(),
                reason: first.reason.clone(),
                others: self.quarantine.len() - 1,
            }),
        }
    }
}

fn recognise(path: &Path) -> Result<Format, OpenError> {
    if is_idx_folder(path) {
        return Ok(Format::Idx);
    }
    if let Some((kind, _)) = cifar_folder(path) {
        return Ok(kind.format());
    }
    if voc_folder(path).is_some() {
        return Ok(Format::Voc);
    }
    if shard_paths(path).is_some() {
        return Ok(Format::Tar);
    }
    let metadata = path.metadata();
    let metadata = metadata.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    if manifest(path).is_some() {
        return Ok(Format::Manifest);
    }
    if imagenet_folder(path).is_some() {
        return Ok(Format::ImageNet);
    }
    if metadata.is_dir() {
        return Ok(Format::Folder);
    }
    Err(OpenError::NotRecognised { path: path.to_owned(), expected: LOOKED_FOR.to_vec() })
}

/// The manifest that is meant by a file or a folder.
fn manifest(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return MANIFESTS.iter().map(|name| path.join(name)).find(|path| path.is_file());
    }
    let known =
        |end: &str| ["csv", "tsv", "parquet"].iter().any(|known| known.eq_ignore_ascii_case(end));
    let ending = path.extension().and_then(|end| end.to_str());
    ending.is_some_and(known).then(|| path.to_owned())
}

/// A set that lies in memory, each image named by its file and its place there.
fn in_memory(path: &Path, expected: Format) -> Result<Listing, OpenError> {
    let Loaded { dataset, format, files } = Loaded::load(path)?;
    if format != expected {
        let expected = LOOKED_FOR[usize::from(expected != Format::Idx)];
        return Err(OpenError::NotRecognised { path: path.to_owned(), expected: vec![expected] });
    }
    let mut parts = Vec::new();
    let mut arrays = [dataset.train, dataset.test];
    for (split, files) in files {
        let part = arrays.iter_mut().find_map(|p| p.take_if(|part| part.split() == split));
        parts.extend(part.map(|part| listed(part, &files)));
    }
    Ok(Listing {
        name: dataset.name,
        root: path.to_owned(),
        format,
        class_names: dataset.class_names,
        class_ids: Vec::new(),
        parts,
        ignored: 0,
        quarantine: Vec::new(),
    })
}

fn listed(part: Part, files: &[(String, usize)]) -> ListedPart {
    let split = part.split();
    let (images, labels) = part.into_arrays();
    let images = Arc::new(images);
    let names = files.iter().flat_map(|(file, n)| (0..*n).map(move |i| format!("{file}#{i}")));
    let sample = |((index, name), class)| Sample {
        name,
        pixels: Pixels::Levels { images: Arc::clone(&images), index },
        region: None,
        target: Target::Class(class),
        mask: None,
    };
    ListedPart { split, samples: names.enumerate().zip(labels).map(sample).collect() }
}
