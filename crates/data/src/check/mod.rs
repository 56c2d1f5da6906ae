//! Is this data set what it seems? Broken files, duplicates, leakage, contradictions, balance.
//!
//! [`check`] decodes every image once and compares all of them: by SHA-256 of their pixels for equal
//! ones, by two perceptual hashes and a correlation for those that look the same (another quality,
//! size or file format). It changes nothing on disk, and it does not find crops, rotations, mirrors,
//! or two photographs of one scene.

mod describe;
mod fingerprint;
mod inspect;
mod matches;
mod near;
mod report;
mod table;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use thiserror::Error;

use crate::{DecodeOptions, Listing, Sample};
use inspect::Inspection;
use matches::{Matches, Seen, matches};

pub use fingerprint::NEAR_CORRELATION;
pub use report::{
    Broken, CHECK_VERSION, Check, ClassCount, Described, Duplicates, ImageName, Kind, Match,
    NearDuplicates, NearImage, PartReport, Sizes, Spread,
};

/// How to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Largest Hamming distance, in bits of 64, at which both perceptual hashes call two images
    /// near: 0 to [`CheckOptions::MAX_NEAR_DISTANCE`]. `None` looks for equal pixels only.
    pub near_distance: Option<u32>,
    /// Threads that decode; the report does not depend on it.
    pub threads: NonZeroUsize,
    /// How images are decoded, and how many pixels they may have.
    pub decode: DecodeOptions,
    /// Whether the first broken image ends the check.
    pub strict: bool,
}

impl CheckOptions {
    /// The default of [`CheckOptions::near_distance`]: 99 % of copies in JPEG quality 30, or of half
    /// the size, are within it.
    pub const NEAR_DISTANCE: u32 = 6;
    /// The largest [`CheckOptions::near_distance`]: beyond it the hashes of any two images agree.
    pub const MAX_NEAR_DISTANCE: u32 = near::MAX_DISTANCE;
}

impl Default for CheckOptions {
    /// [`CheckOptions::NEAR_DISTANCE`], all cores, Pillow's limit of pixels, not strict.
    fn default() -> Self {
        Self {
            near_distance: Some(Self::NEAR_DISTANCE),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            decode: DecodeOptions::default(),
            strict: false,
        }
    }
}

/// Why a data set was not checked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckError {
    /// The distance is beyond the largest.
    #[error("near distance: expected at most {} bits, found {found}", near::MAX_DISTANCE)]
    Distance {
        /// The distance given.
        found: u32,
    },
    /// An image is broken, and the check is strict.
    #[error("{name}: {reason}")]
    Broken {
        /// The image's name.
        name: String,
        /// Where, what was expected, what was found.
        reason: String,
    },
}

/// Checks `listing`, and compares it with `against` if there is one.
///
/// Two images are *the same* if SHA-256 of their size and pixels agrees, whatever files they are in;
/// grey pixels are the same in grey and in RGB. They are *near* if pHash and dHash differ in at most
/// [`CheckOptions::near_distance`] bits each, and the correlation of their 16 × 16 grey levels is at
/// least [`NEAR_CORRELATION`]. A flat image, whose 32 × 32 grey levels span less than 8, is near
/// none, since its hash is noise: it is listed. Images of a later part that are in an earlier one
/// are leakage (train, validation, test); labels contradict each other if images are the same or
/// near and their labels differ, within `listing` only. Of images that cannot be decoded nothing
/// but the reason is known.
///
/// Cost: every image is read and decoded once; then about (r + 1) n² / 2^(64 / (r + 1)) comparisons
/// of hashes for the distance r. Memory: one image a thread, and about 400 bytes an image.
///
/// - `progress`: is told the images done and the images in all, after each.
///
/// # Errors
/// [`CheckError::Distance`]; [`CheckError::Broken`] names a broken image if the check is strict.
pub fn check(
    listing: &Listing,
    against: Option<&Listing>,
    options: &CheckOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<Check, CheckError> {
    if let Some(found) = options.near_distance.filter(|&d| d > CheckOptions::MAX_NEAR_DISTANCE) {
        return Err(CheckError::Distance { found });
    }
    let set_aside = set_aside(listing, against);
    if let Some(Broken { name, reason, .. }) = set_aside.first().filter(|_| options.strict) {
        return Err(CheckError::Broken { name: name.clone(), reason: reason.clone() });
    }
    let mut seen = seen(listing, against);
    let broken = take_prints(&mut seen, options, &mut progress)?;
    let Matches { duplicates, near_duplicates, leakage, found_in_against, conflicts } =
        matches(&seen, options.near_distance);
    let mut rest = &seen[..];
    let mut parts = Vec::new();
    for part in &listing.parts {
        let (images, others) = rest.split_at(part.samples.len());
        parts.push(describe::part(listing, part, images));
        rest = others;
    }
    let flat = |image: &&Seen<'_>| {
        !image.in_against && image.print.as_ref().is_some_and(|print| print.likeness.is_none())
    };
    Ok(Check {
        version: CHECK_VERSION,
        data: describe::described(listing),
        against: against.map(describe::described),
        near_distance: options.near_distance,
        parts,
        classes: describe::classes(listing),
        broken: set_aside.into_iter().chain(broken).collect(),
        flat: match options.near_distance {
            Some(_) => seen.iter().filter(flat).map(Seen::name).collect(),
            None => Vec::new(),
        },
        duplicates,
        near_duplicates,
        leakage,
        found_in_against,
        conflicts,
    })
}

/// What the readers left out.
fn set_aside(listing: &Listing, against: Option<&Listing>) -> Vec<Broken> {
    let listings = [(listing, false)].into_iter().chain(against.map(|other| (other, true)));
    let broken = listings.flat_map(|(listing, in_against)| {
        listing.quarantine.iter().map(move |set_aside| Broken {
            part: None,
            in_against,
            name: set_aside.name.clone(),
            reason: set_aside.reason.clone(),
        })
    });
    broken.collect()
}

fn seen<'a>(listing: &'a Listing, against: Option<&'a Listing>) -> Vec<Seen<'a>> {
    let listings = [(listing, false)].into_iter().chain(against.map(|other| (other, true)));
    let seen = listings.flat_map(|(listing, in_against)| {
        listing.parts.iter().flat_map(move |part| {
            let split = part.split;
            let seen = move |sample| Seen { listing, in_against, split, sample, print: None };
            part.samples.iter().map(seen)
        })
    });
    seen.collect()
}

/// Fills in the prints, and returns the images that have none.
fn take_prints(
    seen: &mut [Seen<'_>],
    options: &CheckOptions,
    progress: &mut impl FnMut(usize, usize),
) -> Result<Vec<Broken>, CheckError> {
    let samples: Vec<&Sample> = seen.iter().map(|image| image.sample).collect();
    let inspection = Inspection {
        threads: options.threads,
        decode: options.decode,
        likeness: options.near_distance.is_some(),
    };
    let mut broken = Vec::new();
    let mut done = 0;
    inspect::inspect(&samples, inspection, |index, print| {
        done += 1;
        progress(done, samples.len());
        match print {
            Ok(print) => seen[index].print = Some(print),
            Err(reason) => broken.push((index, reason)),
        }
        if options.strict && !broken.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    broken.sort_unstable();
    let broken: Vec<Broken> = broken
        .into_iter()
        .map(|(index, reason)| Broken {
            part: Some(seen[index].split),
            in_against: seen[index].in_against,
            name: seen[index].sample.name.clone(),
            reason,
        })
        .collect();
    match broken.first().filter(|_| options.strict) {
        Some(Broken { name, reason, .. }) => {
            Err(CheckError::Broken { name: name.clone(), reason: reason.clone() })
        }
        None => Ok(broken),
    }
}
