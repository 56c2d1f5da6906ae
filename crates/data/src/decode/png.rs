//! PNG to RGB as Pillow: grey and palettes expanded, alpha dropped, 16 bits cut to 8.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Transformations};

use super::{DecodeError, Limit, Palette, exif};
use crate::Image;

/// Bytes that the decoder may take for chunks and rows, beside the pixels.
const SCRATCH_BYTES: usize = 256 << 20;

/// The chunk that ends a file.
const END: [u8; 12] = *b"\0\0\0\0IEND\xaeB`\x82";

pub(super) fn decode(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let decoded = decode_whole(bytes, limit);
    if !matches!(decoded, Err(DecodeError::Truncated { .. })) {
        return decoded;
    }
    // Pillow asks for the pixels only: a file that lacks no more than its end is whole.
    decode_whole(&[bytes, &END].concat(), limit).or(decoded)
}

fn decode_whole(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let mut decoder = new(bytes);
    let Info { width, height, .. } = *decoder.read_header_info().map_err(error)?;
    let (width, height) = (width as usize, height as usize);
    limit.check(width, height)?;
    let mut reader = decoder.read_info().map_err(error)?;
    let size = reader.output_buffer_size().unwrap_or_default();
    let mut raw = vec![0; size];
    let frame = reader.next_frame(&mut raw).map_err(error)?;
    let info = reader.info();
    let palette = Palette::new(info.palette.as_deref().unwrap_or_default());
    let mut levels = Vec::with_capacity(width * height * 3);
    for row in raw.chunks_exact(frame.line_size.max(1)) {
        add_row(row, width, info.color_type, info.bit_depth, &palette, &mut levels);
    }
    Image::new((height, width), 3, levels).map_err(|error| damaged(error.to_string()))
}

/// Appends the RGB levels of one row of `width` pixels.
fn add_row(
    row: &[u8],
    width: usize,
    colour: ColorType,
    depth: BitDepth,
    palette: &Palette,
    levels: &mut Vec<u8>,
) {
    let mut add_all = |pixels: &mut dyn Iterator<Item = [u8; 3]>| {
        levels.extend(pixels.take(width).flatten());
    };
    let wide = depth == BitDepth::Sixteen;
    match (colour, depth) {
        // Pillow clips a 16-bit grey to 255, where it cuts every other kind to the high byte.
        (ColorType::Grayscale, BitDepth::Sixteen) => add_all(
            &mut row.chunks_exact(2).map(|pixel| [if pixel[0] == 0 { pixel[1] } else { 255 }; 3]),
        ),
        (ColorType::Grayscale, BitDepth::Eight) => {
            add_all(&mut row.iter().map(|&level| [level; 3]))
        }
        (ColorType::Grayscale, _) => {
            let bits = depth as usize;
            let scale = 255 / ((1 << bits) - 1);
            add_all(&mut small(row, bits).map(|value| [value * scale as u8; 3]));
        }
        (ColorType::Indexed, BitDepth::Eight) => {
            add_all(&mut row.iter().map(|&index| palette.colour(index)));
        }
        (ColorType::Indexed, _) => {
            add_all(&mut small(row, depth as usize).map(|index| palette.colour(index)));
        }
        (ColorType::GrayscaleAlpha, _) => {
            add_all(&mut row.chunks_exact(if wide { 4 } else { 2 }).map(|pixel| [pixel[0]; 3]));
        }
        (ColorType::Rgb | ColorType::Rgba, _) if wide => {
            let step = if colour == ColorType::Rgb { 6 } else { 8 };
            add_all(&mut row.chunks_exact(step).map(|p| [p[0], p[2], p[4]]));
        }
        (ColorType::Rgb, _) => levels.extend_from_slice(&row[..width * 3]),
        (ColorType::Rgba, _) => add_all(&mut row.chunks_exact(4).map(|p| [p[0], p[1], p[2]])),
    }
}

/// The values of `bits` bits, 1, 2 or 4, of a row, the highest bits first.
pub(super) fn small(row: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    row.iter().flat_map(move |&byte| {
        (0..8 / bits).map(move |i| (byte >> (8 - bits * (i + 1))) & ((1 << bits) - 1) as u8)
    })
}

pub(super) fn header(bytes: &[u8]) -> Result<(usize, usize, &'static str), DecodeError> {
    let mut decoder = new(bytes);
    let info = decoder.read_header_info().map_err(error)?;
    let mode = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::One) => "1",
        (ColorType::Grayscale, BitDepth::Sixteen) => "I;16",
        (ColorType::Grayscale, _) => "L",
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => "LA",
        (ColorType::Indexed, _) => "P",
        (ColorType::Rgb, _) => "RGB",
        (ColorType::Rgba | ColorType::GrayscaleAlpha, _) => "RGBA",
    };
    Ok((info.width as usize, info.height as usize, mode))
}

pub(super) fn orientation(bytes: &[u8]) -> exif::Orientation8 {
    let Ok(reader) = new(bytes).read_info() else { return exif::Orientation8::default() };
    reader.info().exif_metadata.as_deref().map(exif::orientation).unwrap_or_default()
}

fn new(bytes: &[u8]) -> Decoder<Cursor<&[u8]>> {
    let limits = png::Limits { bytes: SCRATCH_BYTES };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder
}

fn error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: "PNG" }
        }
        error => damaged(error.to_string()),
    }
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: "PNG", reason }
}
