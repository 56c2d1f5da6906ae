//! Files as memory.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;

/// A file as memory, read as it is used.
#[expect(unsafe_code, reason = "memory-mapping a file is how inputs larger than memory are read")]
pub(crate) fn map(path: &Path) -> anyhow::Result<memmap2::Mmap> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    // SAFETY: the mapping is read-only and private to this process; a file that another process
    // shortens meanwhile ends this one by a signal, as for every program that maps its input.
    unsafe { memmap2::Mmap::map(&file) }
        .with_context(|| format!("{}: cannot be mapped", path.display()))
}
