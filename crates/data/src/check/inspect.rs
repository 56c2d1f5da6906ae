//! Reads and decodes every image once, on threads, and keeps of each only what comparing needs.
//!
//! Memory: one image for each thread, and about 400 bytes for each image seen.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use ndarray::{Array4, Axis};

use super::fingerprint::{Likeness, byte_digest, pixel_digest};
use crate::{DecodeOptions, Image, ImageFormat, Pixels, Sample, decode, header};

/// Bytes of a file that are read at most.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What is kept of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Print {
    /// Height and width in pixels, of the region if there is one.
    pub(super) size: (u32, u32),
    /// Pillow's name of the stored pixels.
    pub(super) mode: &'static str,
    /// `None` if it is no encoded image.
    pub(super) format: Option<ImageFormat>,
    /// Digest of the file's bytes; `None` if it has no file of its own.
    pub(super) bytes: Option<[u8; 32]>,
    /// Digest of the pixels.
    pub(super) pixels: [u8; 32],
    /// `None` if it is flat, or not asked for.
    pub(super) likeness: Option<Likeness>,
}

/// How to inspect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inspection {
    pub(super) threads: NonZeroUsize,
    pub(super) decode: DecodeOptions,
    /// Whether near duplicates will be looked for.
    pub(super) likeness: bool,
}

/// Calls `each` once for every sample with its index and its print, or why there is none, in no
/// particular order; until it breaks.
pub(super) fn inspect(
    samples: &[&Sample],
    inspection: Inspection,
    mut each: impl FnMut(usize, Result<Print, String>) -> ControlFlow<()>,
) {
    let files = files(samples);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(4 * inspection.threads.get());
        for _ in 0..inspection.threads.get().min(files.len()) {
            let (sender, files, next) = (sender.clone(), &files, &next);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for (index, print) in prints(samples, file.clone(), inspection) {
                        // Nobody listens any more: stop.
                        if sender.send((index, print)).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(sender);
        for (index, print) in receiver {
            if each(index, print).is_break() {
                break;
            }
        }
    });
}

/// Runs of samples that show regions of one file, which is then decoded once.
fn files(samples: &[&Sample]) -> Vec<Range<usize>> {
    let same = |a: &&Sample, b: &&Sample| match (&a.pixels, &b.pixels) {
        (Pixels::File(a), Pixels::File(b)) => a == b,
        (Pixels::Slice { path: a, offset: at, .. }, Pixels::Slice { path: b, offset, .. }) => {
            a == b && at == offset
        }
        // Comparing these would compare all pixels.
        _ => false,
    };
    let mut start = 0;
    let runs = samples.chunk_by(same).map(|run| {
        start += run.len();
        start - run.len()..start
    });
    runs.collect()
}

fn prints(
    samples: &[&Sample],
    run: Range<usize>,
    inspection: Inspection,
) -> impl Iterator<Item = (usize, Result<Print, String>)> {
    let opened = samples[run.start..].first().map_or_else(
        || Err("no sample".to_owned()),
        |sample| open(&sample.pixels, inspection.decode),
    );
    run.map(move |index| {
        let print = match &opened {
            Ok(opened) => opened.print(samples[index], inspection.likeness),
            Err(reason) => Err(reason.clone()),
        };
        (index, print)
    })
}

struct Opened {
    image: Image,
    mode: &'static str,
    format: Option<ImageFormat>,
    bytes: Option<[u8; 32]>,
}

fn open(pixels: &Pixels, options: DecodeOptions) -> Result<Opened, String> {
    let bytes = match pixels {
        Pixels::File(path) => read(path, 0, None),
        Pixels::Slice { path, offset, len } => read(path, *offset, Some(*len)),
        Pixels::Levels { images, index } => return levels(images, *index),
    }?;
    let header = header(&bytes).map_err(|error| error.to_string())?;
    let image = decode(&bytes, &options).map_err(|error| error.to_string())?;
    Ok(Opened {
        image,
        mode: header.mode,
        format: Some(header.format),
        bytes: Some(byte_digest(&bytes)),
    })
}

fn levels(images: &Array4<u8>, index: usize) -> Result<Opened, String> {
    let (n, channels, height, width) = images.dim();
    if index >= n {
        return Err(format!("expected an image of {n}, found index {index}"));
    }
    let levels = images.index_axis(Axis(0), index).permuted_axes([1, 2, 0]).into_iter().copied();
    let image = Image::new((height, width), channels, levels.collect())
        .map_err(|error| error.to_string())?;
    let mode = if channels == 1 { "L" } else { "RGB" };
    Ok(Opened { image, mode, format: None, bytes: None })
}

/// The bytes of a file from `offset` on: `len` of them, or all.
fn read(path: &Path, offset: u64, len: Option<u64>) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked of the path, since opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "something else" };
        return Err(format!("expected a file, found {found}"));
    }
    let expected = len.unwrap_or_else(|| metadata.len().saturating_sub(offset));
    if expected > MAX_FILE_BYTES {
        return Err(format!("expected at most {MAX_FILE_BYTES} bytes, found {expected}"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    if offset > 0 {
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    }
    let mut bytes = Vec::new();
    // A length that lies allocates no more than the file holds.
    file.take(expected).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 == expected {
        Ok(bytes)
    } else {
        Err(format!("expected {expected} bytes at offset {offset}, found {}", bytes.len()))
    }
}

impl Opened {
    fn print(&self, sample: &Sample, likeness: bool) -> Result<Print, String> {
        let cropped = match sample.region {
            Some(region) => Some(self.image.crop(region).map_err(|error| error.to_string())?),
            None => None,
        };
        let image = cropped.as_ref().unwrap_or(&self.image);
        let side =
            |side: usize| u32::try_from(side).map_err(|_| format!("a side of {side} pixels"));
        let (height, width) = image.size();
        Ok(Print {
            size: (side(height)?, side(width)?),
            mode: self.mode,
            format: self.format,
            bytes: self.bytes,
            pixels: pixel_digest(image),
            likeness: match likeness {
                true => Likeness::of(image).map_err(|error| error.to_string())?,
                false => None,
            },
        })
    }
}
