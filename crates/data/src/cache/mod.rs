//! A packed cache: one file of decoded and resized levels, mapped into memory.
//!
//! The first epoch decodes, the others read. What a cache can and cannot serve:
//! - **evaluation and embedding** wholly: it holds the levels just before normalisation, so the
//!   batches are those without a cache, to the last bit. Mean and deviation are no part of its key.
//! - **training with flips, colour, noise, erasing, mixing**: as well, on the cached pixels.
//! - **random resized crops**: only from the cached pixels. A crop of an image cached at 224 × 224
//!   enlarges what was made small, and what the centre crop cut off is gone. Cache a larger size
//!   (crop fraction 1, shorter side 1.5 times the model's or more), and state it: results differ
//!   from those on the original files. For the exact ones load the files.

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
