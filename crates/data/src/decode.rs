//! From the bytes of an image file to RGB levels, to the last bit what Pillow gives.
//!
//! The reference is `Image.open(file).convert("RGB")` of Pillow 13. The format is told by the first
//! bytes, never by a file's name. Nothing is resized, no colour profile is applied, and of an
//! animation only the first frame is read.

mod bmp;
mod exif;
mod gif;
mod jpeg;
#[cfg(target_arch = "x86_64")]
mod kernels;
mod png;
mod webp;

use std::fmt;
use std::ops::Range;

use thiserror::Error;

use crate::Image;

/// Pixels of an image above which Pillow refuses it as a decompression bomb: 2 · 89,478,485.
pub const MAX_PIXELS: u64 = 178_956_970;

/// What to do with a file that says how the camera was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// Pixels as stored, as timm and Pillow's `convert("RGB")`.
    #[default]
    Ignore,
    /// Turned and mirrored upright, as Pillow's `ImageOps.exif_transpose`.
    Apply,
}

/// How to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Images of more pixels are refused before their pixels are allocated; [`MAX_PIXELS`].
    pub max_pixels: u64,
    /// Whether EXIF turns the image; default: no.
    pub orientation: Orientation,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, orientation: Orientation::Ignore }
    }
}

/// A format of image files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageFormat {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, with losses or without.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// GIF.
    Gif,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImageFormat::Jpeg => "JPEG",
            ImageFormat::Png => "PNG",
            ImageFormat::WebP => "WebP",
            ImageFormat::Bmp => "BMP",
            ImageFormat::Gif => "GIF",
        })
    }
}

/// What the first bytes of a file say of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's format.
    pub format: ImageFormat,
    /// Width of the stored image, in pixels.
    pub width: usize,
    /// Height of the stored image, in pixels.
    pub height: usize,
    /// Pillow's name of the stored pixels: `1`, `L`, `LA`, `P`, `RGB`, `RGBA`, `CMYK`, `I;16`.
    pub mode: &'static str,
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("expected an image, found an empty file")]
    Empty,
    /// The bytes begin as no format that is read.
    #[error("expected JPEG, PNG, WebP, BMP or GIF, found a file that begins with {}", shown(found))]
    Unknown {
        /// At most the first 8 bytes.
        found: Vec<u8>,
    },
    /// The file ends before its image does.
    #[error("{format}: the file ends before its image does")]
    Truncated {
        /// The format.
        format: &'static str,
    },
    /// The bytes break the format's rules.
    #[error("{format}: {reason}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// A rare kind of file that is not read.
    #[error("{format}: {what} not read")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// What it has, in the plural.
        what: String,
    },
    /// More pixels than allowed.
    #[error("{height} × {width} pixels (height × width): expected at most {limit} in all")]
    TooLarge {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// Pixels allowed.
        limit: u64,
    },
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// The rows and columns of an image that were decoded.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

/// The most pixels to allocate.
#[derive(Clone, Copy, Debug)]
struct Limit(u64);

impl Limit {
    fn check(self, width: usize, height: usize) -> Result<(), DecodeError> {
        let fits = (width as u64).checked_mul(height as u64).is_some_and(|n| n <= self.0)
            && width.checked_mul(height).and_then(|n| n.checked_mul(4)).is_some();
        if fits { Ok(()) } else { Err(DecodeError::TooLarge { height, width, limit: self.0 }) }
    }
}

/// 256 colours of a palette.
#[derive(Clone, Debug)]
struct Palette(Vec<[u8; 3]>);

impl Palette {
    /// From RGB triples; indices beyond them are black.
    fn new(rgb: &[u8]) -> Self {
        let mut colours: Vec<[u8; 3]> =
            rgb.chunks_exact(3).take(256).map(|colour| [colour[0], colour[1], colour[2]]).collect();
        colours.resize(256, [0; 3]);
        Self(colours)
    }

    fn grey() -> Self {
        Self((0..=255).map(|level| [level; 3]).collect())
    }

    fn colour(&self, index: u8) -> [u8; 3] {
        self.0[usize::from(index)]
    }
}

/// Which decoder reads JPEG files here, and by what instructions: for logs and reports.
///
/// The pixels are the same by any; the speed is not.
pub fn decoder_name() -> &'static str {
    jpeg::decoder_name()
}

/// The format that `bytes` begin as; `None` for any other.
pub fn image_format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        [b'B', b'M', ..] => Some(ImageFormat::Bmp),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        _ => None,
    }
}

fn known_format(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let found = || bytes[..bytes.len().min(8)].to_vec();
    image_format(bytes).ok_or_else(|| DecodeError::Unknown { found: found() })
}

/// Decodes a whole file to RGB `[H, W, 3]`, as Pillow's `Image.open(file).convert("RGB")`.
///
/// Transparency is dropped, not blended; 16-bit grey is clipped to 8 bits and 16-bit colour cut to its
/// high byte; CMYK is taken as Adobe's: all as Pillow does.
///
/// # Errors
/// [`DecodeError`]: not an image, cut short, damaged, of too many pixels.
///
/// # Examples
/// ```
/// use nearkin_data::{DecodeOptions, decode};
/// let grey = b"GIF89a\x01\0\x01\0\x80\0\0\x07\x07\x07\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
/// let image = decode(grey, &DecodeOptions::default())?;
/// assert_eq!((image.size(), image.levels()), ((1, 1), &[7, 7, 7][..]));
/// # Ok::<(), nearkin_data::DecodeError>(())
/// ```
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, DecodeError> {
    let limit = Limit(options.max_pixels);
    let format = known_format(bytes)?;
    let image = match format {
        ImageFormat::Jpeg => decode_jpeg(bytes, limit),
        ImageFormat::Png => png::decode(bytes, limit),
        ImageFormat::WebP => webp::decode(bytes, limit),
        ImageFormat::Bmp => bmp::decode(bytes, limit),
        ImageFormat::Gif => gif::decode(bytes, limit),
    }?;
    if options.orientation == Orientation::Ignore {
        return Ok(image);
    }
    let orientation = match format {
        ImageFormat::Jpeg => jpeg::orientation(bytes),
        ImageFormat::Png => png::orientation(bytes),
        ImageFormat::WebP => webp::orientation(bytes),
        ImageFormat::Bmp | ImageFormat::Gif => exif::Orientation8::default(),
    };
    Ok(exif::upright(image, orientation))
}

fn decode_jpeg(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let mut levels = Vec::new();
    let part = jpeg::decode(bytes, limit, &mut levels, |(height, width)| {
        Ok::<_, DecodeError>((0..height, 0..width))
    })?;
    Image::new((part.rows.len(), part.columns.len()), 3, levels)
        .map_err(|error| DecodeError::Damaged { format: "JPEG", reason: error.to_string() })
}

/// Decodes to RGB at least the rows and columns that `wanted` names for an image of (H, W).
///
/// `levels` receives them, `[rows, columns, 3]`; only a JPEG file is spared the rest.
pub(crate) fn decode_part<E: From<DecodeError>>(
    bytes: &[u8],
    options: &DecodeOptions,
    levels: &mut Vec<u8>,
    wanted: impl FnOnce((usize, usize)) -> Result<(Range<usize>, Range<usize>), E>,
) -> Result<Part, E> {
    let upright = options.orientation == Orientation::Ignore
        || jpeg::orientation(bytes) == exif::Orientation8::default();
    if known_format(bytes)? == ImageFormat::Jpeg && upright {
        return jpeg::decode(bytes, Limit(options.max_pixels), levels, wanted);
    }
    let image = decode(bytes, options)?;
    let (height, width) = image.size();
    wanted((height, width))?;
    *levels = image.into_levels();
    Ok(Part { rows: 0..height, columns: 0..width })
}

/// Reads format, sides and mode without decoding pixels.
///
/// # Errors
/// As [`decode`], but a fault behind the header goes unseen and no size is refused.
pub fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let format = known_format(bytes)?;
    let (width, height, mode) = match format {
        ImageFormat::Jpeg => {
            let (width, height, components) = jpeg::frame(bytes)?;
            let mode = match components {
                1 => "L",
                4 => "CMYK",
                _ => "RGB",
            };
            (width as usize, height as usize, mode)
        }
        ImageFormat::Png => png::header(bytes)?,
        ImageFormat::WebP => webp::header(bytes)?,
        ImageFormat::Bmp => bmp::header(bytes)?,
        ImageFormat::Gif => gif::header(bytes)?,
    };
    Ok(Header { format, width, height, mode })
}
