//! WebP, with losses or without; alpha is dropped, and of an animation the first frame is taken.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{DecodeError, Limit, exif};
use crate::Image;

/// Bytes that the decoder may take for metadata, beside the pixels.
const SCRATCH_BYTES: usize = 64 << 20;

pub(super) fn decode(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let (width, height, mut decoder) = open(bytes)?;
    limit.check(width, height)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut levels = vec![0; width * height * channels];
    decoder.read_image(&mut levels).map_err(error)?;
    if channels == 4 {
        levels = levels.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    }
    Image::new((height, width), 3, levels).map_err(|error| damaged(error.to_string()))
}

pub(super) fn header(bytes: &[u8]) -> Result<(usize, usize, &'static str), DecodeError> {
    let (width, height, decoder) = open(bytes)?;
    Ok((width, height, if decoder.has_alpha() { "RGBA" } else { "RGB" }))
}

pub(super) fn orientation(bytes: &[u8]) -> exif::Orientation8 {
    let chunk =
        open(bytes).ok().and_then(|(.., mut decoder)| decoder.exif_metadata().ok().flatten());
    chunk
        .map(|tiff| exif::orientation(tiff.strip_prefix(b"Exif\0\0").unwrap_or(&tiff)))
        .unwrap_or_default()
}

type Open<'a> = (usize, usize, WebPDecoder<Cursor<&'a [u8]>>);

fn open(bytes: &[u8]) -> Result<Open<'_>, DecodeError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(error)?;
    decoder.set_memory_limit(SCRATCH_BYTES);
    let (width, height) = decoder.dimensions();
    Ok((width as usize, height as usize, decoder))
}

fn error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: "WebP" }
        }
        error => damaged(error.to_string()),
    }
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: "WebP", reason }
}
