//! The bytes of a packed cache.
//!
//! Numbers are little-endian.
//!
//! | at | what |
//! |---|---|
//! | 0 | [`MAGIC`], version (u32), images of a block (u32), n (u64), C, H, W (u32 each) |
//! | 44 | SHA-256 of the data's identity, SHA-256 of the transform |
//! | 108 | SHA-256 of bytes 0 to 108; zeros up to 4096 |
//! | 4096 | levels `[n, C, H, W]`, row-major; a bad image's are 0 |
//! | then | one record for each block, in order, then an end record |
//!
//! A record is kind (u32), length (u32), payload, CRC-32 of all three. That of a block holds, for
//! each image, the CRC-32 of its levels, its name, its target, and the reason if it is bad; that of
//! the end holds the number of blocks. As records come last and name what is finished, the same
//! bytes without the end are a cache half built.

use sha2::{Digest, Sha256};

use super::CacheKey;
use crate::Target;

/// The first bytes of every version; the line end is damaged by a transfer as text.
pub(super) const MAGIC: &[u8; 16] = b"nearkin levels\r\n";
/// The version written and read.
pub(super) const VERSION: u32 = 1;
/// Where the levels begin: a whole page, so that other tools may map them.
pub(super) const HEADER_BYTES: usize = 4096;
const SUMMED: usize = 108;

const BLOCK: u32 = 1;
const END: u32 = 2;

/// The numbers of a cache's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) block_images: u32,
    pub(super) count: u64,
    pub(super) shape: [u32; 3],
    pub(super) key: CacheKey,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Too short for one.
    Short,
    /// Another kind of file.
    Foreign,
    /// Another version.
    Version(u32),
    /// Its bytes were changed.
    Damaged,
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.block_images.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        self.shape.iter().for_each(|side| bytes.extend(side.to_le_bytes()));
        bytes.extend(self.key.data);
        bytes.extend(self.key.transform);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < MAGIC.len() {
            return Err(HeaderFault::Short);
        }
        let mut reader = Reader(bytes);
        if reader.array() != Some(*MAGIC) {
            return Err(HeaderFault::Foreign);
        }
        if bytes.len() < HEADER_BYTES {
            return Err(HeaderFault::Short);
        }
        // The version first: a later one may sum otherwise.
        let version = reader.u32().ok_or(HeaderFault::Short)?;
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let header = || {
            let block_images = reader.u32()?;
            let count = reader.u64()?;
            let shape = [reader.u32()?, reader.u32()?, reader.u32()?];
            let key = CacheKey { data: reader.array()?, transform: reader.array()? };
            let sum: [u8; 32] = reader.array()?;
            let whole = Sha256::digest(&bytes[..SUMMED]).as_slice() == sum
                && bytes[SUMMED + 32..HEADER_BYTES].iter().all(|&byte| byte == 0)
                && block_images > 0;
            whole.then_some(Self { block_images, count, shape, key })
        };
        let header = { header }();
        header.filter(|header| header.index_start().is_some()).ok_or(HeaderFault::Damaged)
    }

    /// Levels of one image.
    pub(super) fn row_len(self) -> Option<usize> {
        let [channels, height, width] = self.shape.map(|side| side as usize);
        channels.checked_mul(height)?.checked_mul(width).filter(|&len| len > 0)
    }

    /// Where the records begin; `None` if beyond what can be addressed.
    pub(super) fn index_start(self) -> Option<usize> {
        let levels = usize::try_from(self.count).ok()?.checked_mul(self.row_len()?)?;
        HEADER_BYTES.checked_add(levels).filter(|&start| isize::try_from(start).is_ok())
    }

    /// The number of blocks.
    pub(super) fn blocks(self) -> u64 {
        self.count.div_ceil(u64::from(self.block_images))
    }
}

/// One image in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) target: Target,
    /// CRC-32 of the levels, or why there are none.
    pub(super) levels: Result<u32, String>,
}

/// A record of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Block `number` is finished.
    Block { number: u64, entries: Vec<Entry> },
    /// So is the cache.
    End { blocks: u64 },
}

impl Record {
    /// `None` if a block's names are longer than a record can hold.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        let kind = match self {
            Record::End { blocks } => {
                payload.extend(blocks.to_le_bytes());
                END
            }
            Record::Block { number, entries } => {
                payload.extend(number.to_le_bytes());
                payload.extend(u32::try_from(entries.len()).ok()?.to_le_bytes());
                for Entry { name, target, levels } in entries {
                    put_text(&mut payload, name)?;
                    put_target(&mut payload, target)?;
                    match levels {
                        Ok(sum) => {
                            payload.push(1);
                            payload.extend(sum.to_le_bytes());
                        }
                        Err(reason) => {
                            payload.push(0);
                            put_text(&mut payload, reason)?;
                        }
                    }
                }
                BLOCK
            }
        };
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(payload.len()).ok()?.to_le_bytes());
        bytes.extend(payload);
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        Some(bytes)
    }

    /// The record that `bytes` begin with, and its length; `None` if they begin with none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Reader(bytes);
        let (kind, len) = (reader.u32()?, reader.u32()? as usize);
        let payload = reader.bytes(len)?;
        if reader.u32()? != crc32fast::hash(&bytes[..8 + len]) {
            return None;
        }
        let mut payload = Reader(payload);
        let number = payload.u64()?;
        let record = match kind {
            END => Record::End { blocks: number },
            BLOCK => {
                let count = payload.u32()?;
                // Grown as read, for a count may lie.
                let mut entries = Vec::new();
                for _ in 0..count {
                    entries.push(payload.entry()?);
                }
                Record::Block { number, entries }
            }
            _ => return None,
        };
        payload.0.is_empty().then_some((record, 12 + len))
    }
}

const UNLABELLED: u8 = 0;
const CLASS: u8 = 1;
const CLASSES: u8 = 2;

fn put_text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
    bytes.extend(text.as_bytes());
    Some(())
}

fn put_target(bytes: &mut Vec<u8>, target: &Target) -> Option<()> {
    match target {
        Target::Unlabelled => bytes.push(UNLABELLED),
        Target::Class(class) => {
            bytes.push(CLASS);
            bytes.extend((*class as u64).to_le_bytes());
        }
        Target::Classes { present, difficult } => {
            bytes.push(CLASSES);
            for classes in [present, difficult] {
                bytes.extend(u32::try_from(classes.len()).ok()?.to_le_bytes());
                classes.iter().for_each(|class| bytes.extend((*class as u64).to_le_bytes()));
            }
        }
    }
    Some(())
}

/// Bytes not yet read; every step may find that there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (read, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(read)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u32()? as usize;
        String::from_utf8(self.bytes(len)?.to_vec()).ok()
    }

    fn entry(&mut self) -> Option<Entry> {
        let name = self.text()?;
        let target = self.target()?;
        let levels = match self.array()? {
            [0] => Err(self.text()?),
            [1] => Ok(self.u32()?),
            _ => return None,
        };
        Some(Entry { name, target, levels })
    }

    fn target(&mut self) -> Option<Target> {
        match self.array()? {
            [UNLABELLED] => Some(Target::Unlabelled),
            [CLASS] => Some(Target::Class(usize::try_from(self.u64()?).ok()?)),
            [CLASSES] => {
                Some(Target::Classes { present: self.classes()?, difficult: self.classes()? })
            }
            _ => None,
        }
    }

    fn classes(&mut self) -> Option<Vec<usize>> {
        let count = self.u32()? as usize;
        let bytes = self.bytes(count.checked_mul(8)?)?;
        bytes.chunks_exact(8).map(|bytes| usize::try_from(Reader(bytes).u64()?).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target() -> impl Strategy<Value = Target> {
        let classes = || prop::collection::vec(any::<usize>(), 0..4);
        prop_oneof![
            Just(Target::Unlabelled),
            any::<usize>().prop_map(Target::Class),
            (classes(), classes())
                .prop_map(|(present, difficult)| Target::Classes { present, difficult }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        let levels = prop::result::maybe_ok(any::<u32>(), ".{0,8}");
        let entry = (".{0,12}", target(), levels).prop_map(|(name, target, levels)| Entry {
            name,
            target,
            levels,
        });
        prop_oneof![
            any::<u64>().prop_map(|blocks| Record::End { blocks }),
            (any::<u64>(), prop::collection::vec(entry, 0..5))
                .prop_map(|(number, entries)| Record::Block { number, entries }),
        ]
    }

    fn header() -> Header {
        let key = CacheKey { data: [7; 32], transform: [9; 32] };
        Header { block_images: 4, count: 10, shape: [3, 5, 6], key }
    }

    #[test]
    fn a_header_comes_back_and_says_where_things_are() {
        let bytes = header().to_bytes();
        assert_eq!(Header::from_bytes(&bytes), Ok(header()));
        assert_eq!((header().index_start(), header().blocks()), (Some(4096 + 900), 3));
    }

    #[test]
    fn any_changed_byte_of_a_header_is_seen() {
        for at in 0..HEADER_BYTES {
            let mut bytes = header().to_bytes();
            bytes[at] ^= 1;
            let expected = match at {
                0..16 => HeaderFault::Foreign,
                16..20 => HeaderFault::Version(VERSION ^ (1 << (8 * (at - 16)))),
                _ => HeaderFault::Damaged,
            };
            assert_eq!(Header::from_bytes(&bytes), Err(expected), "byte {at}");
        }
        assert_eq!(Header::from_bytes(&header().to_bytes()[..4095]), Err(HeaderFault::Short));
    }

    #[test]
    fn a_header_whose_levels_no_memory_could_hold_is_refused() {
        let huge = Header { count: u64::MAX, ..header() };
        assert_eq!(Header::from_bytes(&huge.to_bytes()), Err(HeaderFault::Damaged));
    }

    proptest! {
        #[test]
        fn a_record_comes_back_whatever_follows(record in record(), tail in any::<[u8; 3]>()) {
            let mut bytes = record.to_bytes().unwrap();
            let len = bytes.len();
            bytes.extend(tail);
            prop_assert_eq!(Record::from_bytes(&bytes), Some((record, len)));
        }

        #[test]
        fn a_record_cut_short_or_changed_is_none(record in record(), at in any::<prop::sample::Index>()) {
            let mut bytes = record.to_bytes().unwrap();
            let at = at.index(bytes.len());
            prop_assert_eq!(Record::from_bytes(&bytes[..at]), None);
            bytes[at] ^= 0x10;
            prop_assert_eq!(Record::from_bytes(&bytes), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::from_bytes(&bytes).is_none());
        }
    }
}
