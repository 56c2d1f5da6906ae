//! Masks: a class for each pixel.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

use ndarray::Array2;
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};
use thiserror::Error;

/// The value of pixels on an object's border, which belong to no class.
pub const VOC_BORDER: u8 = 255;

/// Pixels that a mask may have: 16,384 × 16,384.
const MAX_PIXELS: u64 = 1 << 28;

/// Why a mask could not be read.
#[derive(Debug, Error)]
pub enum MaskError {
    /// The file cannot be opened.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its content is no mask.
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: MaskFault,
    },
}

/// Why bytes are no mask.
#[derive(Debug, Error)]
pub enum MaskFault {
    /// Not a whole PNG file.
    #[error("expected a PNG image: {0}")]
    Png(#[from] png::DecodingError),
    /// Colours in place of indices.
    #[error("expected an image with a palette, or 8-bit grey, found {found}")]
    Colours {
        /// Kind and bits.
        found: String,
    },
    /// More pixels than a mask may have.
    #[error("expected at most {limit} pixels, found {width} × {height}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// Reads a mask as `[H, W]`: the index into the palette, not its colour.
///
/// In Pascal VOC 0 is the background, k stands for the class k − 1 in alphabetical order, and
/// [`VOC_BORDER`] for no class.
///
/// # Errors
/// [`MaskError`].
pub fn read_mask(path: &Path) -> Result<Array2<u8>, MaskError> {
    let file =
        File::open(path).map_err(|source| MaskError::Io { path: path.to_owned(), source })?;
    read(BufReader::new(file)).map_err(|fault| MaskError::Content { path: path.to_owned(), fault })
}

/// As [`read_mask`], from the bytes of a PNG file.
///
/// # Errors
/// [`MaskFault`].
pub fn read_mask_bytes(bytes: &[u8]) -> Result<Array2<u8>, MaskFault> {
    read(Cursor::new(bytes))
}

fn read(source: impl BufRead + Seek) -> Result<Array2<u8>, MaskFault> {
    // Two bytes a pixel at most, and what the decoder needs beside them.
    let limits = Limits { bytes: 2 * MAX_PIXELS as usize + (1 << 20) };
    let mut decoder = Decoder::new_with_limits(source, limits);
    // The default would turn indices into colours.
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(MaskFault::TooLarge { limit: MAX_PIXELS, width, height });
    }
    let bits = info.bit_depth as usize;
    match (info.color_type, info.bit_depth) {
        (ColorType::Indexed, _) | (ColorType::Grayscale, BitDepth::Eight) => {}
        (kind, _) => return Err(MaskFault::Colours { found: format!("{kind:?}, {bits} bits") }),
    }
    let (rows, columns) = (height as usize, width as usize);
    let mut mask = Vec::new();
    while let Some(row) = reader.next_row()? {
        mask.extend(unpacked(row.data(), bits).take(columns));
    }
    // The decoder gives every row in full, but for interlaced images, which are taken whole.
    Array2::from_shape_vec((rows, columns), mask)
        .map_err(|_| MaskFault::Colours { found: "an interlaced image".to_owned() })
}

/// The indices of a row, which lie `bits` wide from the highest bit down.
fn unpacked(row: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    let each = 8 / bits;
    let low = (0xff_u16 >> (8 - bits)) as u8;
    row.iter().flat_map(move |byte| (1..=each).map(move |i| (byte >> (8 - i * bits)) & low))
}
