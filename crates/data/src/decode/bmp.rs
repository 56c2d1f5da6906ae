//! Windows bitmaps: the headers, depths, bit fields and run lengths that Pillow reads.

use super::png::small;
use super::{DecodeError, Limit, Palette};
use crate::Image;

/// How pixels are stored.
#[derive(Clone, Debug)]
enum Stored {
    /// Indices of 1, 4 or 8 bits, in rows.
    Indices(usize),
    /// Indices of 4 or 8 bits, in runs.
    Runs(usize),
    /// Five bits per channel, or six of green; 16 bits in all.
    Packed { green_bits: u32 },
    /// Bytes per pixel, and which of them are red, green and blue.
    Bytes(usize, [usize; 3]),
}

#[derive(Clone, Debug)]
struct Bitmap {
    width: usize,
    height: usize,
    top_down: bool,
    stored: Stored,
    palette: Palette,
    mode: &'static str,
    /// Where pixels begin in the file.
    offset: usize,
    bits: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    let found = bytes.get(at..at + 2).ok_or(TRUNCATED)?;
    Ok(usize::from(u16::from_le_bytes([found[0], found[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DecodeError> {
    let found = bytes.get(at..at + 4).ok_or(TRUNCATED)?;
    Ok(u32::from_le_bytes([found[0], found[1], found[2], found[3]]))
}

const TRUNCATED: DecodeError = DecodeError::Truncated { format: "BMP" };
const FILE_HEADER: usize = 14;

fn unsupported(what: String) -> DecodeError {
    DecodeError::Unsupported { format: "BMP", what }
}

fn parse(bytes: &[u8]) -> Result<Bitmap, DecodeError> {
    let offset = u32_at(bytes, 10)? as usize;
    let header_size = u32_at(bytes, FILE_HEADER)? as usize;
    let header = bytes.get(FILE_HEADER..FILE_HEADER + header_size.min(124)).ok_or(TRUNCATED)?;
    let (mut width, mut height, mut top_down) = (0, 0, false);
    let (bits, compression, mut colours, entry);
    match header_size {
        12 => {
            (width, height) = (u16_at(header, 4)?, u16_at(header, 6)?);
            (bits, compression, colours, entry) = (u16_at(header, 10)?, 0, 0, 3);
        }
        40 | 52 | 56 | 64 | 108 | 124 => {
            width += u32_at(header, 4)? as usize;
            let signed = u32_at(header, 8)?;
            top_down |= header[11] == 0xff;
            height += if top_down { signed.wrapping_neg() } else { signed } as usize;
            (bits, compression) = (u16_at(header, 14)?, u32_at(header, 16)?);
            (colours, entry) = (u32_at(header, 32)? as usize, 4);
        }
        found => return Err(unsupported(format!("headers of {found} bytes are"))),
    }
    // Without pixels nothing bounds the other side.
    if width == 0 || height == 0 {
        let reason = format!("expected pixels, found {height} × {width} (height × width)");
        return Err(DecodeError::Damaged { format: "BMP", reason });
    }
    if colours == 0 && bits <= 8 {
        colours = 1 << bits;
    }
    let palette_at = FILE_HEADER + header_size;
    let stored = match (compression, bits) {
        (0, 1 | 4 | 8) => Stored::Indices(bits),
        (1, 8) => Stored::Runs(8),
        (2, 4) => Stored::Runs(4),
        (0, 16) => Stored::Packed { green_bits: 5 },
        (0, 24) => Stored::Bytes(3, [2, 1, 0]),
        (0, 32) => Stored::Bytes(4, [2, 1, 0]),
        (3, _) => bit_fields(bytes, header_size, bits)?,
        _ => return Err(unsupported(format!("{bits} bits of compression {compression} are"))),
    };
    let mut palette = Palette::grey();
    let mut mode = match stored {
        Stored::Bytes(4, _) if compression == 3 && has_alpha(bytes, header_size)? => "RGBA",
        _ => "RGB",
    };
    let mut data = offset;
    if bits <= 8 {
        if !(1..=65536).contains(&colours) {
            return Err(unsupported(format!("palettes of {colours} colours are")));
        }
        let end = (palette_at + entry * colours).min(bytes.len());
        let entries = bytes.get(palette_at..end).unwrap_or_default();
        let rgb: Vec<u8> = entries.chunks_exact(entry).flat_map(|e| [e[2], e[1], e[0]]).collect();
        let grey = |i: usize| if colours == 2 { 255 * i } else { i };
        let is_grey = rgb.len() == 3 * colours
            && rgb
                .chunks_exact(3)
                .enumerate()
                .all(|(i, e)| e.iter().all(|&v| usize::from(v) == grey(i)));
        mode = match (is_grey, colours) {
            (true, ..=2) => "1",
            (true, _) => "L",
            _ => "P",
        };
        if !is_grey || bits == 1 {
            palette = Palette::new(&rgb);
        }
        if offset == palette_at {
            data += entry * colours;
        }
    }
    if data == 0 {
        data = palette_at + if bits <= 8 { entry * colours } else { 0 };
    }
    Ok(Bitmap { width, height, top_down, stored, palette, mode, offset: data, bits })
}

fn masks(bytes: &[u8], header_size: usize) -> Result<[u32; 4], DecodeError> {
    let at = FILE_HEADER + 40;
    let alpha = if header_size >= 56 { u32_at(bytes, at + 12)? } else { 0 };
    Ok([u32_at(bytes, at)?, u32_at(bytes, at + 4)?, u32_at(bytes, at + 8)?, alpha])
}

fn has_alpha(bytes: &[u8], header_size: usize) -> Result<bool, DecodeError> {
    let masks = masks(bytes, header_size)?;
    Ok(masks[3] != 0 || masks == [0; 4])
}

/// The layouts of bit fields that Pillow knows.
fn bit_fields(bytes: &[u8], header_size: usize, bits: usize) -> Result<Stored, DecodeError> {
    let masks = masks(bytes, header_size)?;
    let [red, green, blue, alpha] = masks;
    Ok(match (bits, [red, green, blue], alpha) {
        (32, [0x00ff_0000, 0xff00, 0xff], 0 | 0xff00_0000) | (32, [0, 0, 0], 0) => {
            Stored::Bytes(4, [2, 1, 0])
        }
        (32, [0xff00_0000, 0x00ff_0000, 0xff00], 0 | 0xff) => Stored::Bytes(4, [3, 2, 1]),
        (32, [0xff00_0000, 0xff00, 0xff], 0 | 0x00ff_0000) => Stored::Bytes(4, [3, 1, 0]),
        (32, [0xff, 0xff00, 0x00ff_0000], 0xff00_0000) => Stored::Bytes(4, [0, 1, 2]),
        (24, [0x00ff_0000, 0xff00, 0xff], _) => Stored::Bytes(3, [2, 1, 0]),
        (16, [0xf800, 0x07e0, 0x001f], _) => Stored::Packed { green_bits: 6 },
        (16, [0x7c00, 0x03e0, 0x001f], _) => Stored::Packed { green_bits: 5 },
        _ => return Err(unsupported(format!("bit fields {masks:08x?} of {bits} bits are"))),
    })
}

pub(super) fn header(bytes: &[u8]) -> Result<(usize, usize, &'static str), DecodeError> {
    let bitmap = parse(bytes)?;
    Ok((bitmap.width, bitmap.height, bitmap.mode))
}

pub(super) fn decode(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let bitmap = parse(bytes)?;
    let (width, height) = (bitmap.width, bitmap.height);
    limit.check(width, height)?;
    let data = bytes.get(bitmap.offset..).ok_or(TRUNCATED)?;
    let mut levels = Vec::new();
    if let Stored::Runs(bits) = bitmap.stored {
        let indices = runs(data, bitmap.offset, bits, width, width * height);
        if indices.len() < width * height {
            return Err(TRUNCATED);
        }
        levels.reserve(width * height * 3);
        let rows = indices.chunks_exact(width.max(1));
        let mut add =
            |row: &[u8]| levels.extend(row.iter().flat_map(|&i| bitmap.palette.colour(i)));
        if bitmap.top_down { rows.for_each(&mut add) } else { rows.rev().for_each(&mut add) }
    } else {
        let stride = (width * bitmap.bits).div_ceil(32) * 4;
        // The last row may lack its padding.
        let needed = stride * height.saturating_sub(1) + (width * bitmap.bits).div_ceil(8);
        if data.len() < needed {
            return Err(TRUNCATED);
        }
        levels.reserve(width * height * 3);
        for row in 0..height {
            let stored = if bitmap.top_down { row } else { height - 1 - row };
            let row = &data[stored * stride..data.len().min((stored + 1) * stride)];
            add_row(row, &bitmap, &mut levels);
        }
    }
    Image::new((height, width), 3, levels)
        .map_err(|error| DecodeError::Damaged { format: "BMP", reason: error.to_string() })
}

fn add_row(row: &[u8], bitmap: &Bitmap, levels: &mut Vec<u8>) {
    let width = bitmap.width;
    match &bitmap.stored {
        Stored::Indices(8) => {
            levels.extend(row.iter().take(width).flat_map(|&i| bitmap.palette.colour(i)));
        }
        Stored::Indices(bits) | Stored::Runs(bits) => {
            levels.extend(small(row, *bits).take(width).flat_map(|i| bitmap.palette.colour(i)));
        }
        Stored::Packed { green_bits } => {
            let pixels = row.chunks_exact(2).take(width);
            levels.extend(pixels.flat_map(|pixel| {
                let pixel = u32::from(u16::from_le_bytes([pixel[0], pixel[1]]));
                let green_max = (1 << green_bits) - 1;
                [
                    (pixel >> (5 + green_bits) & 31) * 255 / 31,
                    (pixel >> 5 & green_max) * 255 / green_max,
                    (pixel & 31) * 255 / 31,
                ]
                .map(|level| level as u8)
            }));
        }
        Stored::Bytes(count, at) => {
            let pixels = row.chunks_exact(*count).take(width);
            levels.extend(pixels.flat_map(|pixel| at.map(|i| pixel[i])));
        }
    }
}

/// Unpacks run lengths as Pillow does, at most `len` indices; runs do not go over the end of a row.
fn runs(data: &[u8], offset: usize, bits: usize, width: usize, len: usize) -> Vec<u8> {
    let nibble = |byte: u8, i: usize| if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
    let mut out = Vec::new();
    let (mut at, mut x) = (0, 0);
    while out.len() < len {
        let Some(&[count, byte]) = data.get(at..at + 2).and_then(|pair| pair.first_chunk()) else {
            break;
        };
        at += 2;
        match (count, byte) {
            (1.., _) => {
                let count = usize::from(count).min(width.saturating_sub(x));
                out.extend((0..count).map(|i| if bits == 4 { nibble(byte, i) } else { byte }));
                x += count;
            }
            (0, 0) => {
                out.resize(out.len().next_multiple_of(width), 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let Some(&[right, up]) = data.get(at..at + 2).and_then(|pair| pair.first_chunk())
                else {
                    break;
                };
                at += 2;
                let skipped = usize::from(right) + usize::from(up) * width;
                out.resize(len.min(out.len() + skipped), 0);
                x = out.len() % width;
            }
            (0, _) => {
                let count = usize::from(byte).min(len - out.len());
                let size = if bits == 4 { count.div_ceil(2) } else { count };
                let Some(literal) = data.get(at..at + size) else { break };
                out.extend(
                    (0..count)
                        .map(|i| if bits == 4 { nibble(literal[i / 2], i) } else { literal[i] }),
                );
                at += size;
                x += usize::from(byte);
                // Pillow aligns by the position in the file.
                at += (offset + at) % 2;
            }
        }
    }
    out
}
