//! The images of a suite: a folder of IDX files, or the digits inside this library.
//!
//! The UCI digits (1,347 training and 450 test images of 8 × 8 pixels) are part of the library, so
//! that an installed `nearkin bench` needs neither the repository nor a network. They are unpacked
//! to a temporary folder and read like any other data set.

use std::path::{Path, PathBuf};

use nearkin_data::{Dataset, LoadError, Part};
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

/// A data set with both of its parts.
#[derive(Debug)]
pub struct Images {
    /// What the probe is fitted on.
    pub train: Part,
    /// What accuracies are reported on.
    pub test: Part,
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
    /// A folder's files are not a data set.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// One of the two parts is absent.
    #[error("{folder}: expected training and test images, found no {absent} images", folder = folder.display())]
    Absent {
        /// The folder.
        folder: PathBuf,
        /// `training` or `test`.
        absent: &'static str,
    },
    /// There are too few classes to tell apart.
    #[error("{folder}: expected images of at least 2 classes, found {found}", folder = folder.display())]
    Classes {
        /// The folder.
        folder: PathBuf,
        /// Classes in it.
        found: usize,
    },
    /// The built-in images cannot be unpacked.
    #[error("temporary folder for the built-in images: {0}")]
    Unpack(#[source] std::io::Error),
}

impl Images {
    /// Reads, and where they are built in unpacks, the images of a suite.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn open(source: &DataSource) -> Result<Self, ImagesError> {
        match source {
            DataSource::Folder(folder) => Self::read(folder),
            DataSource::BuiltIn(name) if name == DIGITS => {
                let unpacked = unpack().map_err(ImagesError::Unpack)?;
                let images = Self::read(unpacked.path())?;
                Ok(Self { _unpacked: Some(unpacked), ..images })
            }
            DataSource::BuiltIn(name) => Err(ImagesError::Unknown { asked: name.clone() }),
        }
    }

    /// Reads the images in `folder`.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn read(folder: &Path) -> Result<Self, ImagesError> {
        let Dataset { train, test, .. } = Dataset::load(folder)?;
        let absent = |absent| ImagesError::Absent { folder: folder.to_owned(), absent };
        let train = train.ok_or_else(|| absent("training"))?;
        let test = test.ok_or_else(|| absent("test"))?;
        let found = train.classes();
        if found < 2 {
            return Err(ImagesError::Classes { folder: folder.to_owned(), found });
        }
        // Another process may have another working directory.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Ok(Self { train, test, folder, _unpacked: None })
    }

    /// Training and test images together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.train.len() + self.test.len()
    }

    /// SHA-256 over shape, pixels and labels of both parts, 64 hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.train, &self.test] {
            for side in part.images().shape() {
                hash.update((*side as u64).to_le_bytes());
            }
            part.images().iter().for_each(|&level| hash.update([level]));
            part.labels().iter().for_each(|&label| hash.update((label as u64).to_le_bytes()));
        }
        hex(&hash.finalize())
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

    fn digits() -> Images {
        Images::open(&DataSource::BuiltIn(DIGITS.to_owned())).unwrap()
    }

    #[test]
    fn the_digits_are_inside() {
        let digits = digits();
        assert_eq!(
            (digits.train.len(), digits.test.len(), digits.train.classes()),
            (1347, 450, 10)
        );
        assert_eq!(digits.test.class_counts(), [45, 46, 44, 46, 45, 46, 45, 45, 43, 45]);
    }

    #[test]
    fn the_folder_holds_the_same_images_and_goes_with_the_value() {
        let digits = digits();
        let (folder, hash) = (digits.folder.clone(), digits.sha256());
        assert_eq!(Images::read(&folder).unwrap().sha256(), hash);
        drop(digits);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_without_test_images_is_refused() {
        let folder = unpack().unwrap();
        for (name, _) in &DIGITS_FILES[2..] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let error = Images::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no test images"), "{error}");
    }

    #[test]
    fn an_unknown_name_says_which_there_are() {
        let error = Images::open(&DataSource::BuiltIn("mnist".to_owned())).unwrap_err().to_string();
        assert!(error.contains("digits"), "{error}");
    }
}
