//! The images of a suite: a data set of any format, or the digits inside this library.
//!
//! The UCI digits (1,347 training and 450 test images of 8 × 8 pixels) are part of the library, so
//! that an installed `nearkin bench` needs neither the repository nor a network. They are unpacked
//! to a temporary folder and read like any other data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nearkin_data::{
    CacheKey, Format, Identity, IdentityError, ListedPart, Listing, OpenError, OpenOptions,
    Quarantined, Split, SplitError, Target, VocOptions, VocTask,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::suite::{DataSource, hex};

/// Name of the built-in data set.
pub const DIGITS: &str = "digits";

const DIGITS_FILES: [(&str, &[u8]); 4] = [
    (
        "train-images-idx3-ubyte.gz",
        include_bytes!("../../fixtures/digits/train-images-idx3-ubyte.gz"),
    ),
    (
        "train-labels-idx1-ubyte.gz",
        include_bytes!("../../fixtures/digits/train-labels-idx1-ubyte.gz"),
    ),
    (
        "t10k-images-idx3-ubyte.gz",
        include_bytes!("../../fixtures/digits/t10k-images-idx3-ubyte.gz"),
    ),
    (
        "t10k-labels-idx1-ubyte.gz",
        include_bytes!("../../fixtures/digits/t10k-labels-idx1-ubyte.gz"),
    ),
];

/// How a data set is read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Share of each class that is held out for testing where the data set has one part only; in
    /// (0, 1).
    pub test_share: f64,
    /// Draws what is held out.
    pub seed: u64,
    /// Refuses the data set, and ends a case, if an image has to be set aside.
    pub strict: bool,
}

impl Default for Reading {
    /// A fifth for testing, seed 0, not strict.
    fn default() -> Self {
        Self { test_share: 0.2, seed: 0, strict: false }
    }
}

/// A data set with both of its parts.
#[derive(Debug)]
pub struct Images {
    /// What the probe is fitted on.
    pub train: Arc<ListedPart>,
    /// What accuracies are reported on.
    pub test: Arc<ListedPart>,
    /// A name for each class, by index.
    pub class_names: Vec<String>,
    /// How it is stored.
    pub format: Format,
    /// How the two parts came about, if not as the data set has them: a sentence.
    pub note: Option<String>,
    /// What the reader left out.
    pub quarantine: Vec<Quarantined>,
    /// Where another process finds the same images, for as long as this value lives.
    pub folder: PathBuf,
    /// Kept for its end, which removes the folder.
    _unpacked: Option<tempfile::TempDir>,
}

/// Why a suite's images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// No built-in data set of this name.
    #[error("data set {asked:?}: expected {DIGITS:?}, the only built-in one, or a folder")]
    Unknown {
        /// The name.
        asked: String,
    },
    /// The suite names no data set, and the command line none either.
    #[error("suite {suite}: expected a data set, found none; give one with --data PATH")]
    NoData {
        /// The suite.
        suite: String,
    },
    /// What is there is no data set, or a broken one.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There are no images.
    #[error("{folder}: expected images, found none", folder = folder.display())]
    Empty {
        /// The data set.
        folder: PathBuf,
    },
    /// The images of one part cannot be split for testing.
    #[error("{folder}: no test images, and none can be held out: {source}", folder = folder.display())]
    Split {
        /// The data set.
        folder: PathBuf,
        /// Why.
        source: SplitError,
    },
    /// An image has no or several classes.
    #[error("{folder}: {name}: expected one class, found {found}", folder = folder.display())]
    Class {
        /// The data set.
        folder: PathBuf,
        /// The image.
        name: String,
        /// `none` or `several`.
        found: &'static str,
    },
    /// There are too few classes to tell apart.
    #[error("{folder}: expected images of at least 2 classes, found {found}", folder = folder.display())]
    Classes {
        /// The folder.
        folder: PathBuf,
        /// Classes in it.
        found: usize,
    },
    /// The images' identity cannot be told.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The built-in images cannot be unpacked.
    #[error("temporary folder for the built-in images: {0}")]
    Unpack(#[source] std::io::Error),
}

impl Images {
    /// Reads, and where they are built in unpacks, the images of a suite.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn open(source: &DataSource, reading: &Reading) -> Result<Self, ImagesError> {
        match source {
            DataSource::Folder(folder) => Self::read(folder, reading),
            DataSource::BuiltIn(name) if name == DIGITS => {
                let unpacked = unpack().map_err(ImagesError::Unpack)?;
                let images = Self::read(unpacked.path(), reading)?;
                Ok(Self { _unpacked: Some(unpacked), ..images })
            }
            DataSource::BuiltIn(name) => Err(ImagesError::Unknown { asked: name.clone() }),
        }
    }

    /// Lists the data set at `folder`: see [`Listing::open`] for what is known. Of Pascal VOC the
    /// objects are taken, since an image has several classes.
    ///
    /// Accuracies are reported on the test part; without one on the validation part; without
    /// either on a share of each class that is held out.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn read(folder: &Path, reading: &Reading) -> Result<Self, ImagesError> {
        let voc = VocOptions { task: VocTask::Objects, ..VocOptions::default() };
        let options = OpenOptions { strict: reading.strict, voc, ..OpenOptions::default() };
        let mut listing = Listing::open(folder, &options)?;
        let place = || folder.to_owned();
        listing.parts.retain(|part| !part.samples.is_empty());
        for sample in listing.parts.iter().flat_map(|part| &part.samples) {
            let found = match sample.target {
                Target::Class(_) => continue,
                Target::Unlabelled => "none",
                Target::Classes { .. } => "several",
            };
            return Err(ImagesError::Class { folder: place(), name: sample.name.clone(), found });
        }
        let has = |listing: &Listing, split| listing.part(split).is_some();
        let mut note = None;
        let (train, test) = match (has(&listing, Split::Train), has(&listing, Split::Test)) {
            (true, true) => (Split::Train, Split::Test),
            (true, false) if has(&listing, Split::Validation) => {
                note = Some("Accuracies are on the validation part: there is no test part.".into());
                (Split::Train, Split::Validation)
            }
            _ => {
                let only =
                    listing.parts.first().ok_or_else(|| ImagesError::Empty { folder: place() })?;
                let role = only.split;
                let wrong = |source| ImagesError::Split { folder: place(), source };
                let holdout =
                    only.stratified_split(reading.test_share, reading.seed).map_err(wrong)?;
                note = Some(format!(
                    "The data set has one part ({role}): {} of its {} images, {:.0} % of each class \
                     drawn by seed {}, are the test images.",
                    holdout.held_out.len(),
                    only.samples.len(),
                    100.0 * reading.test_share,
                    reading.seed
                ));
                let into = if role == Split::Test { Split::Train } else { Split::Test };
                listing = listing.hold_out(role, into, &holdout).map_err(wrong)?;
                // What stays is to fit on, whatever it was called.
                if role == Split::Test { (Split::Test, Split::Train) } else { (role, into) }
            }
        };
        let mut take = |split| {
            let place = listing.parts.iter().position(|part| part.split == split);
            place.map(|place| Arc::new(listing.parts.swap_remove(place)))
        };
        let (Some(train), Some(test)) = (take(train), take(test)) else {
            return Err(ImagesError::Empty { folder: place() });
        };
        let found = listing.class_names.len();
        if found < 2 {
            return Err(ImagesError::Classes { folder: place(), found });
        }
        Ok(Self {
            train,
            test,
            class_names: listing.class_names,
            format: listing.format,
            note,
            quarantine: listing.quarantine,
            // Another process may have another working directory.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            _unpacked: None,
        })
    }

    /// Training and test images together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.train.samples.len() + self.test.samples.len()
    }

    /// SHA-256 over the bytes or levels, names and labels of both parts, 64 hexadecimal digits.
    /// Reads every file once.
    ///
    /// # Errors
    /// [`ImagesError::Identity`] if a file ends a read.
    pub fn sha256(&self) -> Result<String, ImagesError> {
        let mut hash = Sha256::new();
        for part in [&self.train, &self.test] {
            hash.update(CacheKey::of(part, Identity::Content, "")?.data);
            for sample in &part.samples {
                if let Target::Class(class) = sample.target {
                    hash.update((class as u64).to_le_bytes());
                }
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

fn unpack() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("nearkin-").tempdir()?;
    for (name, bytes) in DIGITS_FILES {
        std::fs::write(folder.path().join(name), bytes)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path) -> Result<Images, ImagesError> {
        Images::read(folder, &Reading::default())
    }

    fn digits() -> Images {
        Images::open(&DataSource::BuiltIn(DIGITS.to_owned()), &Reading::default()).unwrap()
    }

    #[test]
    fn the_digits_are_inside() {
        let digits = digits();
        assert_eq!((digits.train.samples.len(), digits.test.samples.len()), (1347, 450));
        assert_eq!((digits.class_names.len(), digits.note.as_ref()), (10, None));
    }

    #[test]
    fn the_folder_holds_the_same_images_and_goes_with_the_value() {
        let digits = digits();
        let (folder, hash) = (digits.folder.clone(), digits.sha256().unwrap());
        assert_eq!(read(&folder).unwrap().sha256().unwrap(), hash);
        drop(digits);
        assert!(!folder.exists());
    }

    #[test]
    fn without_test_images_a_share_is_held_out_and_told() {
        let folder = unpack().unwrap();
        for (name, _) in &DIGITS_FILES[2..] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let images = read(folder.path()).unwrap();
        assert_eq!(images.count(), 1347);
        assert!((images.test.samples.len() as f64 - 0.2 * 1347.0).abs() < 6.0);
        let note = images.note.unwrap();
        assert!(note.contains("20 % of each class drawn by seed 0"), "{note}");
    }

    #[test]
    fn an_unknown_name_says_which_there_are() {
        let source = DataSource::BuiltIn("mnist".to_owned());
        let error = Images::open(&source, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("digits"), "{error}");
    }

    #[test]
    fn photographs_in_class_folders_are_images_too() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/check/shapes");
        let images = read(&folder).unwrap();
        assert_eq!(images.format, Format::Folder);
        assert!(images.class_names.contains(&"cat".to_owned()), "{:?}", images.class_names);
    }
}
