//! What a cache is of: the data's identity and the transform.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ndarray::Array4;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{ListedPart, Pixels, Region, Sample};

/// What a cache is of. A cache with another key is not used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    /// SHA-256 of the images' identity, in their order.
    pub data: [u8; 32],
    /// SHA-256 of what is done to each.
    pub transform: [u8; 32],
}

/// How it is told that images are still the same.
///
/// In both, names and regions count, and levels in memory by their content; labels do not, so that
/// one cache serves every labelling of the same images; nor does the root, so that data and cache
/// may be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// By each file's size and time of last change. Costs one look at each file, none at its bytes.
    #[default]
    Metadata,
    /// By the SHA-256 of each file's bytes. Survives a copy that changes times, and costs one
    /// reading of all.
    Content,
}

/// Why the identity of images cannot be told.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file can be opened, but not be read to its end.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl CacheKey {
    /// The key of a part's images under a transform.
    ///
    /// A file that is not there has an identity too: a cache remembers that an image was bad, and
    /// another is wanted once it is there.
    ///
    /// - `transform`: all that levels depend on apart from the image, in words.
    ///
    /// # Errors
    /// [`IdentityError`], only for [`Identity::Content`].
    pub fn of(
        part: &ListedPart,
        identity: Identity,
        transform: &str,
    ) -> Result<Self, IdentityError> {
        let mut hasher = Hasher { identity, sum: Sha256::new(), levels: None, file: None };
        for sample in &part.samples {
            hasher.add(sample)?;
        }
        let mut bytes = Sha256::new();
        bytes.update(b"transform\0");
        bytes.update(transform.as_bytes());
        Ok(Self { data: hasher.sum.finalize().into(), transform: bytes.finalize().into() })
    }
}

/// Hexadecimal, data before transform.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, sum: &[u8; 32]| {
            sum.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        hex(f, &self.data)?;
        f.write_str("-")?;
        hex(f, &self.transform)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

struct Hasher {
    identity: Identity,
    sum: Sha256,
    /// The last levels in memory and their sum: one file's images share them.
    levels: Option<(Arc<Array4<u8>>, [u8; 32])>,
    /// Likewise for archives.
    file: Option<(PathBuf, [u8; 32])>,
}

impl Hasher {
    /// Every field is of fixed length or has its length before it, so that no two lists of images
    /// give the same bytes.
    fn add(&mut self, sample: &Sample) -> Result<(), IdentityError> {
        let Sample { name, pixels, region, target: _, mask: _ } = sample;
        self.number(name.len());
        self.sum.update(name.as_bytes());
        match region {
            None => self.sum.update([0]),
            Some(Region { top, left, height, width }) => {
                self.sum.update([1]);
                [top, left, height, width].into_iter().for_each(|&side| self.number(side));
            }
        }
        match pixels {
            Pixels::File(path) => {
                self.sum.update(b"F");
                self.file(path)?;
            }
            Pixels::Slice { path, offset, len } => {
                self.sum.update(b"S");
                self.file(path)?;
                self.sum.update(offset.to_le_bytes());
                self.sum.update(len.to_le_bytes());
            }
            Pixels::Levels { images, index } => {
                self.sum.update(b"L");
                self.levels(images);
                self.number(*index);
            }
        }
        Ok(())
    }

    fn number(&mut self, number: usize) {
        self.sum.update((number as u64).to_le_bytes());
    }

    fn file(&mut self, path: &Path) -> Result<(), IdentityError> {
        if self.file.as_ref().is_none_or(|(last, _)| last != path) {
            let sum = file_identity(path, self.identity)
                .map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
            self.file = Some((path.to_owned(), sum));
        }
        if let Some((_, sum)) = &self.file {
            self.sum.update(sum);
        }
        Ok(())
    }

    fn levels(&mut self, images: &Arc<Array4<u8>>) {
        if self.levels.as_ref().is_none_or(|(last, _)| !Arc::ptr_eq(last, images)) {
            let mut sum = Sha256::new();
            let (n, channels, height, width) = images.dim();
            for side in [n, channels, height, width] {
                sum.update((side as u64).to_le_bytes());
            }
            match images.as_slice() {
                Some(levels) => sum.update(levels),
                None => images.iter().for_each(|level| sum.update([*level])),
            }
            self.levels = Some((Arc::clone(images), sum.finalize().into()));
        }
        if let Some((_, sum)) = &self.levels {
            self.sum.update(sum);
        }
    }
}

fn file_identity(path: &Path, identity: Identity) -> io::Result<[u8; 32]> {
    let mut sum = Sha256::new();
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => match identity {
            Identity::Metadata => {
                sum.update(b"m");
                sum.update(metadata.len().to_le_bytes());
                sum.update(changed_ns(&metadata).to_le_bytes());
            }
            // A file that may not be opened is bad, as one that is not there.
            Identity::Content => match File::open(path) {
                Ok(mut file) => {
                    sum.update(b"c");
                    io::copy(&mut file, &mut Update(&mut sum))?;
                }
                Err(_) => sum.update(b"-"),
            },
        },
        _ => sum.update(b"-"),
    }
    Ok(sum.finalize().into())
}

struct Update<'a>(&'a mut Sha256);

impl io::Write for Update<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nanoseconds since 1970, negative before; 0 where the system keeps no times.
fn changed_ns(metadata: &Metadata) -> i128 {
    let Ok(changed) = metadata.modified() else { return 0 };
    match changed.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}
