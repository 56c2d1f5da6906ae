//! A packed cache: one file of decoded and resized levels, mapped into memory.
//!
//! The first epoch decodes, the others read. The levels are those just before normalisation, so that
//! an evaluation from a cache is the one from the files. Levels are not compressed: they are used
//! where they lie.

mod build;
mod format;
mod key;
mod read;
mod source;

use std::fmt;

pub use build::{CacheBuildError, CacheConfig, CacheProgress, OnProgress};
pub use key::{CacheKey, Identity, IdentityError};
pub use read::{Cache, CacheError};
pub use source::{Cached, CachedError, CachedWorker, FromImage, FromLevels};

/// A part of a [`CacheKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Which images.
    Data,
    /// What was done to them.
    Transform,
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyPart::Data => "data set",
            KeyPart::Transform => "transform",
        })
    }
}

#[cfg(test)]
mod tests;
