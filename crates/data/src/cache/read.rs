//! A finished cache, mapped into memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;
use thiserror::Error;

use super::format::{Entry, HEADER_BYTES, Header, HeaderFault, Record, VERSION};
use super::{CacheKey, KeyPart};
use crate::{Quarantined, Target};

/// A packed cache: levels `[n, C, H, W]` of decoded and resized images, with their names and
/// targets.
///
/// The file is mapped, not read: levels come from the disk as they are used, and the system may
/// drop them again. Each image is checked against its CRC-32 when it is first used. Memory of its
/// own: names and targets.
///
/// It serves an evaluation wholly. Training from it sees the cached pixels, not the file's: a random
/// resized crop is then of what the centre crop left, at the cached size.
///
/// A file that another process writes to or cuts short while it is mapped may end this process with
/// SIGBUS. Caches are written beside and renamed, so no builder of ours does that.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    map: Mmap,
    key: CacheKey,
    shape: [usize; 3],
    levels_start: usize,
    names: Vec<String>,
    targets: Vec<Target>,
    sums: Vec<u32>,
    bad: BTreeMap<usize, String>,
    checked: Vec<AtomicBool>,
}

/// Why a file is not used as a cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The system does not give the file.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: expected a packed cache, found another kind of file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another version of the format.
    #[error("{}: expected a packed cache of version {expected}, found {found}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version read here.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// The header's sum does not fit its bytes.
    #[error("{}: the header is damaged", path.display())]
    Header {
        /// The file.
        path: PathBuf,
    },
    /// The file ends too early.
    #[error("{}: expected at least {expected} bytes, found {found}: cut short", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that it must have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The index is damaged or cut short.
    #[error("{}: expected {expected} at offset {offset}, found other bytes", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
    },
    /// The levels of an image were changed.
    #[error(
        "{}: image {index} ({name}): expected levels with CRC-32 {expected:08x}, found {found:08x}",
        path.display()
    )]
    Levels {
        /// The file.
        path: PathBuf,
        /// The image's index.
        index: usize,
        /// Its name.
        name: String,
        /// The sum on record.
        expected: u32,
        /// The sum of the levels.
        found: u32,
    },
    /// The cache is of other images or another transform.
    #[error("{}: a cache of another {part}: expected {expected}, found {found}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which of the two differs; the data if both do.
        part: KeyPart,
        /// The key wanted.
        expected: Box<CacheKey>,
        /// The file's.
        found: Box<CacheKey>,
    },
}

impl Cache {
    /// Opens a finished cache, whatever it is of. Reads header and index; the levels are not
    /// touched.
    ///
    /// # Errors
    /// [`CacheError`], naming the file.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let fail = |source| CacheError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        if len == 0 {
            // Nothing can be mapped.
            return Err(CacheError::Truncated { path: path.to_owned(), expected: 1, found: 0 });
        }
        let map = map(&file).map_err(fail)?;
        let header = read_header(path, &map)?;
        let (index, end) = read_index(path, &map, header)?;
        let expected = |expected: String| CacheError::Index {
            path: path.to_owned(),
            offset: end as u64,
            expected,
        };
        if index.len() as u64 != header.blocks() {
            return Err(expected(format!("block {} of {}", index.len(), header.blocks())));
        }
        let last = map.get(end..).and_then(Record::from_bytes);
        match last {
            Some((Record::End { blocks }, len))
                if blocks == header.blocks() && end + len == map.len() => {}
            _ => return Err(expected("the end record and nothing more".into())),
        }
        let mut cache = Self {
            path: path.to_owned(),
            key: header.key,
            shape: header.shape.map(|side| side as usize),
            levels_start: HEADER_BYTES,
            names: Vec::new(),
            targets: Vec::new(),
            sums: Vec::new(),
            bad: BTreeMap::new(),
            checked: Vec::new(),
            map,
        };
        for Entry { name, target, levels } in index.into_iter().flatten() {
            if let Err(reason) = &levels {
                cache.bad.insert(cache.names.len(), reason.clone());
            }
            cache.names.push(name);
            cache.targets.push(target);
            cache.sums.push(levels.unwrap_or_default());
            cache.checked.push(AtomicBool::new(false));
        }
        Ok(cache)
    }

    /// Opens a cache if it is of `key`.
    ///
    /// # Errors
    /// As [`Cache::open`], and [`CacheError::Key`].
    pub fn open_for(path: &Path, key: CacheKey) -> Result<Self, CacheError> {
        let cache = Self::open(path)?;
        let found = cache.key;
        if found == key {
            return Ok(cache);
        }
        let part = if found.data == key.data { KeyPart::Transform } else { KeyPart::Data };
        let (expected, found) = (Box::new(key), Box::new(found));
        Err(CacheError::Key { path: path.to_owned(), part, expected, found })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is of.
    pub fn key(&self) -> CacheKey {
        self.key
    }

    /// The number of images, bad ones included.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// `[C, H, W]` of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The images' names, `[n]`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the images show, `[n]`, as it was known when the cache was built.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The images that could not be decoded when the cache was built, by index.
    pub fn quarantine(&self) -> Vec<Quarantined> {
        let one = |(&index, reason): (&usize, &String)| Quarantined {
            name: self.names[index].clone(),
            reason: reason.clone(),
        };
        self.bad.iter().map(one).collect()
    }

    /// Why image `index` has no levels, if it is bad.
    pub fn reason(&self, index: usize) -> Option<&str> {
        self.bad.get(&index).map(String::as_str)
    }

    /// The levels of image `index`, `[C, H, W]`, row-major; 0 for a bad image.
    ///
    /// # Errors
    /// [`CacheError::Levels`] if they were changed since.
    ///
    /// # Panics
    /// If `index` is not below [`Cache::count`].
    pub fn levels(&self, index: usize) -> Result<&[u8], CacheError> {
        let len: usize = self.shape.iter().product();
        let start = self.levels_start + index * len;
        let levels = &self.map[start..start + len];
        if !self.checked[index].load(Ordering::Relaxed) && !self.bad.contains_key(&index) {
            let (expected, found) = (self.sums[index], crc32fast::hash(levels));
            if expected != found {
                let (path, name) = (self.path.clone(), self.names[index].clone());
                return Err(CacheError::Levels { path, index, name, expected, found });
            }
            self.checked[index].store(true, Ordering::Relaxed);
        }
        Ok(levels)
    }

    /// Reads all levels and checks them.
    ///
    /// # Errors
    /// [`CacheError::Levels`] for the first image that was changed.
    pub fn verify(&self) -> Result<(), CacheError> {
        (0..self.count()).try_for_each(|index| self.levels(index).map(|_| ()))
    }
}

pub(super) fn read_header(path: &Path, bytes: &[u8]) -> Result<Header, CacheError> {
    Header::from_bytes(bytes).map_err(|fault| {
        let path = path.to_owned();
        match fault {
            HeaderFault::Short => CacheError::Truncated {
                path,
                expected: HEADER_BYTES as u64,
                found: bytes.len() as u64,
            },
            HeaderFault::Foreign => CacheError::Foreign { path },
            HeaderFault::Version(found) => CacheError::Version { path, expected: VERSION, found },
            HeaderFault::Damaged => CacheError::Header { path },
        }
    })
}

/// The entries of the blocks that are finished, and where their records end.
pub(super) fn read_index(
    path: &Path,
    bytes: &[u8],
    header: Header,
) -> Result<(Vec<Vec<Entry>>, usize), CacheError> {
    // The header was refused if this does not exist.
    let start = header.index_start().unwrap_or(usize::MAX);
    let Some(mut rest) = bytes.get(start..) else {
        let (expected, found) = (start as u64, bytes.len() as u64);
        return Err(CacheError::Truncated { path: path.to_owned(), expected, found });
    };
    let mut blocks = Vec::new();
    while let Some((Record::Block { number, entries }, len)) = Record::from_bytes(rest) {
        let first = number.saturating_mul(u64::from(header.block_images));
        let images = header.count.saturating_sub(first).min(u64::from(header.block_images));
        if number != blocks.len() as u64 || entries.len() as u64 != images || images == 0 {
            break;
        }
        blocks.push(entries);
        rest = &rest[len..];
    }
    Ok((blocks, bytes.len() - rest.len()))
}

#[expect(unsafe_code, reason = "only so can a file be used without reading all of it")]
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the file must not change while it is mapped. Ours are complete before they get their
    // name and are never written to again; a half-built one is mapped by the builder that holds its
    // lock, and not written to meanwhile. A stranger who does so is named in the type's
    // documentation.
    unsafe { Mmap::map(file) }
}
