//! The one EXIF tag that changes pixels: which way the camera was held.

use crate::Image;

/// EXIF orientation, 1 to 8; 1 is upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation8(u8);

impl Default for Orientation8 {
    fn default() -> Self {
        Self(1)
    }
}

/// Tag 0x0112 of the first directory of a TIFF header; upright where it is absent or damaged.
pub(super) fn orientation(tiff: &[u8]) -> Orientation8 {
    read(tiff)
        .filter(|value| (1..=8).contains(value))
        .map(|value| Orientation8(value as u8))
        .unwrap_or_default()
}

fn read(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = usize::try_from(u32_at(4)?).ok()?;
    let entries = usize::from(u16_at(directory)?);
    let entry = (0..entries)
        .filter_map(|i| directory.checked_add(2 + 12 * i))
        .find(|&entry| u16_at(entry) == Some(0x0112))?;
    u16_at(entry.checked_add(8)?)
}

/// Turns and mirrors as Pillow's `ImageOps.exif_transpose`.
pub(super) fn upright(image: Image, orientation: Orientation8) -> Image {
    let (height, width) = image.size();
    let channels = image.channels();
    let swapped = orientation.0 >= 5;
    let (rows, columns) = if swapped { (width, height) } else { (height, width) };
    if orientation.0 == 1 {
        return image;
    }
    let source = image.levels();
    let mut levels = Vec::with_capacity(source.len());
    for r in 0..rows {
        for c in 0..columns {
            let (y, x) = match orientation.0 {
                2 => (r, width - 1 - c),
                3 => (height - 1 - r, width - 1 - c),
                4 => (height - 1 - r, c),
                5 => (c, r),
                6 => (height - 1 - c, r),
                7 => (height - 1 - c, width - 1 - r),
                _ => (c, width - 1 - r),
            };
            let at = (y * width + x) * channels;
            levels.extend_from_slice(&source[at..at + channels]);
        }
    }
    Image::new((rows, columns), channels, levels).unwrap_or(image)
}
