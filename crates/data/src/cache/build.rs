//! Building a cache: in blocks, resumable, by one process at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::format::{Entry, HEADER_BYTES, Header, Record};
use super::read::{map, read_header, read_index};
use super::{Cache, CacheError, CacheKey, Identity, IdentityError};
use crate::loader::{Filled, Plan, Pool, RowFault};
use crate::{
    DecodeOptions, Eval, Evaluate, Fault, ListedPart, Order, PreprocessError, Samples, Shard,
    Source,
};

/// Levels of a block, about: what a kill costs at most, for each thread's work ahead.
const BLOCK_BYTES: usize = 4 << 20;

/// How a cache is built. Memory: `queue` + 1 blocks of 4 MiB, or of one image if that is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Threads, at least 1.
    pub threads: usize,
    /// Blocks prepared ahead of the one that is written, at least 1.
    pub queue: usize,
    /// Whether a file that is there and cannot be used is replaced. If not, it is an error.
    pub rebuild: bool,
    /// How it is told that the images are still those of the cache.
    pub identity: Identity,
    /// How images are decoded; part of the key.
    pub decode: DecodeOptions,
}

impl CacheConfig {
    /// Four blocks ahead, no rebuild, identity by [`Identity::Metadata`], Pillow's limit of pixels.
    ///
    /// - `threads`: at least 1.
    pub fn new(threads: usize) -> Self {
        let (identity, decode) = (Identity::default(), DecodeOptions::default());
        Self { threads, queue: 4, rebuild: false, identity, decode }
    }
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheProgress {
    /// Images in the file.
    pub done: usize,
    /// Of these, the images that an earlier build left.
    pub resumed: usize,
    /// All images.
    pub count: usize,
}

/// Why there is no cache.
#[derive(Debug, Error)]
pub enum CacheBuildError {
    /// There is a file, and it cannot be used.
    #[error("{0}; it is replaced only if a rebuild is asked for")]
    Unusable(CacheError),
    /// The transform cannot be.
    #[error(transparent)]
    Transform(#[from] PreprocessError),
    /// The images' identity could not be told.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A number is 0.
    #[error("{field}: expected at least 1, found 0")]
    Zero {
        /// The field, or the side.
        field: &'static str,
    },
    /// The images are more than a file can hold.
    #[error("{count} images of {shape:?} levels are more than a cache can hold")]
    TooLarge {
        /// The number of images.
        count: usize,
        /// `[C, H, W]`.
        shape: [usize; 3],
    },
    /// A file cannot be made, written, locked or renamed.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system starts no more threads.
    #[error("thread {number} of {threads}: {source}")]
    Thread {
        /// How many had started.
        number: usize,
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// What prepares images failed at no fault of the image, or panicked.
    #[error("{name}: {reason}")]
    Source {
        /// The image it was at.
        name: String,
        /// What it said.
        reason: String,
    },
    /// Images changed while they were read.
    #[error("{}: not finished, as images changed while it was built", path.display())]
    Changed {
        /// The file that would have become the cache.
        path: PathBuf,
    },
    /// The callback asked for it. What was done is kept.
    #[error("{}: stopped after {done} of {count} images", path.display())]
    Stopped {
        /// The file that holds them.
        path: PathBuf,
        /// Images in it.
        done: usize,
        /// All images.
        count: usize,
    },
}

/// Called after each block, and once at the start.
pub type OnProgress<'a> = dyn FnMut(CacheProgress) -> ControlFlow<()> + 'a;

impl Cache {
    /// Opens the cache of `part` under `eval` at `path`, or builds it.
    ///
    /// While it is built, finished blocks are in `path` + `.partial`: after a kill the next build
    /// checks them and goes on behind them. `path` + `.lock` is locked meanwhile, so that a second
    /// builder waits and then uses what the first has made; it stays behind, empty. The cache gets
    /// its name when it is complete and on the disk.
    ///
    /// A file that is damaged or of another [`CacheKey`] is an error unless
    /// [`CacheConfig::rebuild`]; readers of the old file keep it until they close it. An image that
    /// cannot be decoded, or read, is on record as such: after an outage ask for a rebuild, or see
    /// [`Cache::quarantine`].
    ///
    /// - `progress`: called at the start and after each block; to break ends the build, and keeps
    ///   what is done.
    ///
    /// # Errors
    /// [`CacheBuildError`].
    pub fn open_or_build(
        part: &Arc<ListedPart>,
        eval: &Eval,
        path: &Path,
        config: CacheConfig,
        progress: &mut OnProgress<'_>,
    ) -> Result<Self, CacheBuildError> {
        let key =
            || CacheKey::of(part, config.identity, &Evaluate::levels_key(eval, config.decode));
        let before = key()?;
        let source = Samples::new(Arc::clone(part), config.decode, Evaluate::new(eval)?);
        let mut unchanged = || match config.identity {
            // To read everything a third time would cost more than it could save.
            Identity::Content => Ok(true),
            Identity::Metadata => Ok(key()? == before),
        };
        Self::build_from(&Arc::new(source), before, path, config, &mut unchanged, progress)
    }

    /// The same from any source of levels.
    ///
    /// - `key`: of the images of `source` and what it does to them.
    /// - `unchanged`: asked before the cache gets its name.
    pub(super) fn build_from<S: Source<u8>>(
        source: &Arc<S>,
        key: CacheKey,
        path: &Path,
        config: CacheConfig,
        unchanged: &mut dyn FnMut() -> Result<bool, CacheBuildError>,
        progress: &mut OnProgress<'_>,
    ) -> Result<Self, CacheBuildError> {
        let header = header(&**source, key)?;
        for (field, number) in [("threads", config.threads), ("queue", config.queue)] {
            if number == 0 {
                return Err(CacheBuildError::Zero { field });
            }
        }
        if let Some(cache) = usable(path, key, config.rebuild)? {
            return Ok(cache);
        }
        let lock_path = beside(path, ".lock");
        let locked = OpenOptions::new().create(true).append(true).open(&lock_path);
        let lock = locked.map_err(|source| write_error(&lock_path, source))?;
        lock.lock().map_err(|source| write_error(&lock_path, source))?;
        // Whoever held the lock may have built it.
        if let Some(cache) = usable(path, key, config.rebuild)? {
            return Ok(cache);
        }
        let partial = beside(path, ".partial");
        let (mut file, done) = Partial::open(&partial, header, config.rebuild)?;
        file.fill(source, config, done, progress)?;
        if !unchanged()? {
            return Err(CacheBuildError::Changed { path: path.to_owned() });
        }
        file.finish()?;
        fs::rename(&partial, path).map_err(|source| write_error(path, source))?;
        Self::open_for(path, key).map_err(CacheBuildError::Unusable)
    }
}

fn write_error(path: &Path, source: io::Error) -> CacheBuildError {
    CacheBuildError::Write { path: path.to_owned(), source }
}

/// The file's name with more behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// The cache at `path`; `None` if there is none, or none that can be used and a rebuild is wanted.
fn usable(path: &Path, key: CacheKey, rebuild: bool) -> Result<Option<Cache>, CacheBuildError> {
    match Cache::open_for(path, key) {
        Ok(cache) => Ok(Some(cache)),
        Err(CacheError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(CacheError::Read { path, source }) => Err(CacheBuildError::Write { path, source }),
        Err(_) if rebuild => Ok(None),
        Err(error) => Err(CacheBuildError::Unusable(error)),
    }
}

fn header<S: Source<u8>>(source: &S, key: CacheKey) -> Result<Header, CacheBuildError> {
    let shape = source.shape();
    if shape.contains(&0) {
        return Err(CacheBuildError::Zero { field: "a side of the images" });
    }
    let count = source.count();
    let header = || {
        let [channels, height, width] = shape.map(|side| u32::try_from(side).ok());
        let row_len = shape[0].checked_mul(shape[1])?.checked_mul(shape[2])?;
        let block_images = (BLOCK_BYTES / row_len).clamp(1, count.max(1));
        let block_images = u32::try_from(block_images).ok()?;
        let shape = [channels?, height?, width?];
        let header = Header { block_images, count: count as u64, shape, key };
        header.index_start().map(|_| header)
    };
    header().ok_or(CacheBuildError::TooLarge { count, shape })
}

/// A cache half built.
struct Partial {
    path: PathBuf,
    file: File,
    header: Header,
    row_len: usize,
    /// Where the next record goes.
    end: u64,
}

impl Partial {
    /// Opens or makes the file; returns the number of blocks that are whole.
    fn open(path: &Path, header: Header, rebuild: bool) -> Result<(Self, usize), CacheBuildError> {
        let fail = |source| write_error(path, source);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(fail)?;
        let row_len = header.row_len().unwrap_or_default();
        let index_start = header.index_start().unwrap_or_default() as u64;
        let mut partial = Self { path: path.to_owned(), file, header, row_len, end: index_start };
        let found = partial.whole_blocks();
        match found {
            Ok(Some((blocks, end))) => {
                // What is behind the last whole block was being written when the build was killed.
                partial.end = end as u64;
                partial.file.set_len(partial.end).map_err(fail)?;
                Ok((partial, blocks))
            }
            Err(error @ (CacheError::Foreign { .. } | CacheError::Version { .. })) if !rebuild => {
                Err(CacheBuildError::Unusable(error))
            }
            Err(CacheError::Read { path, source }) => Err(write_error(&path, source)),
            Ok(None) | Err(_) => {
                partial.file.set_len(0).map_err(fail)?;
                partial.write(0, &header.to_bytes())?;
                partial.file.set_len(index_start).map_err(fail)?;
                Ok((partial, 0))
            }
        }
    }

    /// How many blocks are recorded with the levels they should have, and where their records end;
    /// `None` if the file is new or of other images.
    fn whole_blocks(&self) -> Result<Option<(usize, usize)>, CacheError> {
        let fail = |source| CacheError::Read { path: self.path.clone(), source };
        if self.file.metadata().map_err(fail)?.len() == 0 {
            return Ok(None);
        }
        let map = map(&self.file).map_err(fail)?;
        if read_header(&self.path, &map)? != self.header {
            return Ok(None);
        }
        let (blocks, _) = read_index(&self.path, &map, self.header)?;
        let mut end = self.header.index_start().unwrap_or_default();
        let mut rows = map[HEADER_BYTES..].chunks_exact(self.row_len);
        let mut whole = 0;
        for entries in blocks {
            let is_whole = |entry: &Entry| match (rows.next(), &entry.levels) {
                (Some(levels), Ok(sum)) => crc32fast::hash(levels) == *sum,
                (row, Err(_)) => row.is_some(),
                (None, _) => false,
            };
            if !entries.iter().all(is_whole) {
                break;
            }
            let Some((_, len)) = Record::from_bytes(&map[end..]) else { break };
            end += len;
            whole += 1;
        }
        Ok(Some((whole, end)))
    }

    /// Builds what is missing.
    fn fill<S: Source<u8>>(
        &mut self,
        source: &Arc<S>,
        config: CacheConfig,
        done_blocks: usize,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), CacheBuildError> {
        let CacheConfig { threads, queue, .. } = config;
        let (count, block) = (source.count(), self.header.block_images as usize);
        let resumed = count.min(done_blocks * block);
        let order = Order::Sequential;
        let plan = Plan::new(&order, count, 0, block, Shard::WHOLE, (done_blocks, false));
        let mut pool = Pool::start(source, plan, 0, threads, queue + 1)
            .map_err(|(number, source)| CacheBuildError::Thread { number, threads, source })?;
        let mut done = resumed;
        loop {
            if progress(CacheProgress { done, resumed, count }).is_break() {
                let path = self.path.clone();
                return Err(CacheBuildError::Stopped { path, done, count });
            }
            let Some(Filled { k, mut buffer, faults }) = pool.take() else { break };
            let (number, rows) = (pool.plan().number(k), pool.plan().rows(k));
            let levels = &mut buffer[..rows.len() * self.row_len];
            let entries = self.entries(&**source, rows.clone(), levels, faults)?;
            self.write((HEADER_BYTES + rows.start * self.row_len) as u64, levels)?;
            self.append(&Record::Block { number: number as u64, entries })?;
            done += rows.len();
            pool.recycle(buffer);
        }
        Ok(())
    }

    /// What the index says of a block, in which the levels of bad images become 0.
    fn entries<S: Source<u8>>(
        &self,
        source: &S,
        rows: Range<usize>,
        levels: &mut [u8],
        faults: Vec<(usize, RowFault)>,
    ) -> Result<Vec<Entry>, CacheBuildError> {
        let mut faults = faults.into_iter().peekable();
        let mut entries = Vec::with_capacity(rows.len());
        for ((row, index), levels) in rows.enumerate().zip(levels.chunks_exact_mut(self.row_len)) {
            let name = source.name(index).to_owned();
            let target = source.target(index).clone();
            let levels = match faults.next_if(|&(at, _)| at == row) {
                None => Ok(crc32fast::hash(levels)),
                Some((_, RowFault::Fault(Fault::Image(reason)))) => {
                    levels.fill(0);
                    Err(reason)
                }
                Some((_, RowFault::Fault(Fault::Source(reason)))) => {
                    return Err(CacheBuildError::Source { name, reason });
                }
                Some((_, RowFault::Panic(message))) => {
                    let reason = format!("a worker panicked: {message}");
                    return Err(CacheBuildError::Source { name, reason });
                }
            };
            entries.push(Entry { name, target, levels });
        }
        Ok(entries)
    }

    fn finish(&mut self) -> Result<(), CacheBuildError> {
        self.append(&Record::End { blocks: self.header.blocks() })?;
        self.file.sync_all().map_err(|source| write_error(&self.path, source))
    }

    fn append(&mut self, record: &Record) -> Result<(), CacheBuildError> {
        let bytes = record.to_bytes().ok_or(io::ErrorKind::FileTooLarge.into());
        let bytes = bytes.map_err(|source| write_error(&self.path, source))?;
        self.write(self.end, &bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), CacheBuildError> {
        let mut write = || {
            self.file.seek(SeekFrom::Start(at))?;
            self.file.write_all(bytes)
        };
        write().map_err(|source| write_error(&self.path, source))
    }
}
