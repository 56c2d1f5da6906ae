//! The IDX format of MNIST: a big-endian header, then raw bytes.
//!
//! Offset 0: two zero bytes; 2: type code; 3: rank; 4: one u32 a dimension; then the elements,
//! last dimension fastest (<http://yann.lecun.com/exdb/mnist/>, as archived). Only type code 0x08
//! (u8) is read: no published image set uses another. Whether a file is compressed is decided by
//! its first two bytes, never by its name. Nothing is written here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use thiserror::Error;

/// Elements that [`read_idx`] accepts in one file, in bytes: 4 GiB.
pub const IDX_LIMIT_BYTES: u64 = 4 << 30;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Room made for a compressed file at once, in times its length; MNIST is packed 5 : 1. More is read
/// all the same, with a copy each time the vector grows.
const LIKELY_RATIO: u64 = 8;
const TYPE_U8: u8 = 0x08;

/// An array of bytes read from an IDX file; `bytes.len()` is the product of `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Dimensions, slowest first: `[n, h, w]` or `[n, h, w, c]` for images, `[n]` for labels.
    pub shape: Vec<usize>,
    /// Elements in row-major order, 0..=255.
    pub bytes: Vec<u8>,
}

/// Why an IDX file could not be read: which file, where in it, what was expected and found.
///
/// Offsets count bytes after decompression.
#[derive(Debug, Error)]
pub enum IdxError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file begins as gzip, but its stream is damaged or cut short.
    #[error("{}: gzip stream damaged after {offset} bytes of content: {source}", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// Bytes decompressed before the fault.
        offset: u64,
        /// The decoder's reason.
        source: io::Error,
    },
    /// The first two bytes are not zero.
    #[error("{}: offset 0: expected an IDX file (00 00), found {:02x} {:02x}", path.display(), found[0], found[1])]
    Magic {
        /// The file.
        path: PathBuf,
        /// The bytes found.
        found: [u8; 2],
    },
    /// The type code is not that of unsigned bytes.
    #[error("{}: offset 2: expected type code 0x08 (u8), found {found:#04x}{}", path.display(), type_name(*found))]
    Type {
        /// The file.
        path: PathBuf,
        /// The code found.
        found: u8,
    },
    /// The number of dimensions is not one the caller can use.
    #[error("{}: offset 3: expected {expected} dimensions, found {found}", path.display())]
    Rank {
        /// The file.
        path: PathBuf,
        /// The ranks that fit, such as "3 or 4".
        expected: &'static str,
        /// The rank found.
        found: usize,
    },
    /// The header claims more than the caller allows.
    #[error("{}: offset 4: expected at most {limit} elements, found a header claiming {}", path.display(), shape_text(shape))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What the header claims.
        shape: Vec<u32>,
        /// The limit set.
        limit: u64,
    },
    /// The file ends inside its header or its elements.
    #[error("{}: offset {offset}: expected {expected} more bytes, found {found}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the missing part begins.
        offset: u64,
        /// Its length by the header.
        expected: u64,
        /// The bytes that are there.
        found: u64,
    },
    /// There are bytes after the last element.
    #[error("{}: offset {offset}: expected the end of the file, found more bytes", path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Where the file should have ended.
        offset: u64,
    },
}

fn type_name(code: u8) -> &'static str {
    match code {
        0x09 => " (i8)",
        0x0b => " (i16)",
        0x0c => " (i32)",
        0x0d => " (f32)",
        0x0e => " (f64)",
        _ => "",
    }
}

fn shape_text(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join(" × ")
}

/// Reads an IDX file of unsigned bytes, gzip or plain, up to [`IDX_LIMIT_BYTES`].
///
/// # Errors
/// [`IdxError`]; see its variants. A file that is shorter or longer than its header says is refused.
pub fn read_idx(path: &Path) -> Result<Idx, IdxError> {
    read_idx_within(path, IDX_LIMIT_BYTES)
}

/// Reads an IDX file as [`read_idx`] does, refusing more than `limit_bytes` elements.
///
/// Memory grows with what the file really holds, not with what its header claims.
///
/// # Errors
/// [`IdxError::TooLarge`] over the limit; otherwise as [`read_idx`].
pub fn read_idx_within(path: &Path, limit_bytes: u64) -> Result<Idx, IdxError> {
    let io_error = |source| IdxError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let on_disk = file.metadata().map_err(io_error)?.len();
    let mut file = BufReader::new(file);
    let gzip = file.fill_buf().map_err(io_error)?.starts_with(&GZIP_MAGIC);
    if gzip {
        let room = on_disk.saturating_mul(LIKELY_RATIO);
        Source { path, reader: MultiGzDecoder::new(file), offset: 0, gzip, room }.read(limit_bytes)
    } else {
        Source { path, reader: file, offset: 0, gzip, room: on_disk }.read(limit_bytes)
    }
}

/// Reads IDX data of unsigned bytes, gzip or plain, refusing more than `limit_bytes` elements.
///
/// # Errors
/// As [`read_idx_within`], with an empty path.
pub fn read_idx_bytes(bytes: &[u8], limit_bytes: u64) -> Result<Idx, IdxError> {
    let (path, gzip, held) = (Path::new(""), bytes.starts_with(&GZIP_MAGIC), bytes.len() as u64);
    if gzip {
        let room = held.saturating_mul(LIKELY_RATIO);
        Source { path, reader: MultiGzDecoder::new(bytes), offset: 0, gzip, room }.read(limit_bytes)
    } else {
        Source { path, reader: bytes, offset: 0, gzip, room: held }.read(limit_bytes)
    }
}

struct Source<'a, R> {
    path: &'a Path,
    reader: R,
    offset: u64,
    gzip: bool,
    /// Bytes to make room for at once: what a header may claim and still be believed.
    room: u64,
}

impl<R: Read> Source<'_, R> {
    fn read(mut self, limit: u64) -> Result<Idx, IdxError> {
        let path = || self.path.to_owned();
        let magic = self.take(4)?;
        if magic[..2] != [0, 0] {
            return Err(IdxError::Magic { path: path(), found: [magic[0], magic[1]] });
        }
        if magic[2] != TYPE_U8 {
            return Err(IdxError::Type { path: path(), found: magic[2] });
        }
        let dimensions = self.take(4 * u64::from(magic[3]))?;
        let claimed: Vec<u32> = dimensions
            .chunks_exact(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        // At most 255 dimensions of at most 2^32: saturation is far above any limit.
        let count =
            claimed.iter().fold(1_u128, |n, &d| n.saturating_mul(u128::from(d)).min(1 << 100));
        let Some(count) = u64::try_from(count).ok().filter(|&count| count <= limit) else {
            return Err(IdxError::TooLarge { path: path(), shape: claimed, limit });
        };
        let bytes = self.take(count)?;
        if !self.up_to(1)?.is_empty() {
            return Err(IdxError::Trailing { path: path(), offset: self.offset - 1 });
        }
        Ok(Idx { shape: claimed.iter().map(|&d| d as usize).collect(), bytes })
    }

    fn take(&mut self, count: u64) -> Result<Vec<u8>, IdxError> {
        let offset = self.offset;
        let bytes = self.up_to(count)?;
        let found = bytes.len() as u64;
        if found < count {
            let path = self.path.to_owned();
            return Err(IdxError::Truncated { path, offset, expected: count, found });
        }
        Ok(bytes)
    }

    /// The next `count` bytes, or fewer at the end. Memory grows with the bytes that are there.
    fn up_to(&mut self, count: u64) -> Result<Vec<u8>, IdxError> {
        // Enough for a sound file, so that the vector never grows by copying.
        let mut bytes = Vec::with_capacity(count.min(self.room) as usize);
        let outcome = self.reader.by_ref().take(count).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        match outcome {
            Ok(_) => Ok(bytes),
            Err(source) => {
                let (path, offset) = (self.path.to_owned(), self.offset);
                Err(if self.gzip {
                    IdxError::Gzip { path, offset, source }
                } else {
                    IdxError::Io { path, source }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/idx").join(name)
    }

    fn check(name: &str, expected_error: &str) {
        let path = fixture(name);
        let error = read_idx(&path).unwrap_err().to_string();
        let (place, fault) = error.split_at(path.display().to_string().len() + 2);
        assert!(place.contains(name), "{error}");
        assert!(fault.starts_with(expected_error), "{fault}\nexpected: {expected_error}");
    }

    #[test]
    fn compression_is_recognised_by_content_not_by_name() {
        let plain = read_idx(&fixture("grey-images-idx3-ubyte")).unwrap();
        assert_eq!(plain.shape, [2, 2, 3]);
        assert_eq!(plain.bytes, (0..12).collect::<Vec<u8>>());
        assert_eq!(read_idx(&fixture("gzip-without-suffix")).unwrap(), plain);
        assert_eq!(read_idx(&fixture("plain-despite-suffix.gz")).unwrap(), plain);
    }

    #[test]
    fn truncation_is_reported_with_its_offset() {
        check("empty", "offset 0: expected 4 more bytes, found 0");
        check("header-cut", "offset 4: expected 12 more bytes, found 6");
        check("pixels-cut", "offset 16: expected 12 more bytes, found 7");
        check("gzip-cut.gz", "gzip stream damaged after");
        check("gzip-damaged.gz", "gzip stream damaged after 0 bytes");
    }

    #[test]
    fn mislabelled_files_are_refused() {
        check("float-pixels", "offset 2: expected type code 0x08 (u8), found 0x0d (f32)");
        check("png-renamed", "offset 0: expected an IDX file (00 00), found 89 50");
        check("trailing-bytes", "offset 28: expected the end of the file");
        check("no-such-file", "cannot be read");
    }

    #[test]
    fn a_header_of_2_to_the_60_elements_allocates_nothing() {
        let claim = "found a header claiming 1048576 × 1048576 × 1048576";
        for name in ["claims-2-to-the-60", "claims-2-to-the-60.gz"] {
            let error = read_idx(&fixture(name)).unwrap_err().to_string();
            assert!(error.contains("offset 4: expected at most"), "{error}");
            assert!(error.contains(claim), "{error}");
        }
    }

    #[test]
    fn the_limit_can_be_set() {
        let path = fixture("grey-images-idx3-ubyte");
        assert!(read_idx_within(&path, 12).is_ok());
        let error = read_idx_within(&path, 11).unwrap_err().to_string();
        assert!(error.contains("expected at most 11 elements, found"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0_u8..16, 0..64)) {
            drop(read_idx_bytes(&[&GZIP_MAGIC[..], &[8, 0], &bytes].concat(), 1000));
            if let Ok(idx) = read_idx_bytes(&bytes, 1000) {
                assert_eq!(idx.bytes.len(), idx.shape.iter().product::<usize>());
                assert_eq!(bytes.len(), 4 + 4 * idx.shape.len() + idx.bytes.len());
            }
        }
    }
}
