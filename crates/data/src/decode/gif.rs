//! The first frame of a GIF, on a screen of its transparent colour or else of colour 0, as Pillow.

use gif::{ColorOutput, Decoder, DecodingError};

use super::{DecodeError, Limit, Palette};
use crate::Image;

pub(super) fn decode(bytes: &[u8], limit: Limit) -> Result<Image, DecodeError> {
    let (width, height, mut decoder) = open(bytes, limit)?;
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(error)?;
    let palette = decoder.palette().map_or_else(|_| Palette::grey(), Palette::new);
    let frame = decoder.current_frame_info().ok_or_else(|| damaged("no frame".to_owned()))?;
    let ground = palette.colour(frame.transparent.unwrap_or(0));
    let (top, left) = (usize::from(frame.top), usize::from(frame.left));
    let (rows, columns) = (usize::from(frame.height), usize::from(frame.width));
    let mut levels: Vec<u8> = ground.into_iter().cycle().take(width * height * 3).collect();
    let target = levels.chunks_exact_mut(width * 3).skip(top).take(rows);
    for (target, row) in target.zip(indices.chunks_exact(columns.max(1))) {
        for (pixel, &index) in target[left * 3..].chunks_exact_mut(3).zip(row) {
            pixel.copy_from_slice(&palette.colour(index));
        }
    }
    Image::new((height, width), 3, levels).map_err(|error| damaged(error.to_string()))
}

pub(super) fn header(bytes: &[u8]) -> Result<(usize, usize, &'static str), DecodeError> {
    let (width, height, decoder) = open(bytes, Limit(u64::MAX))?;
    let frame = decoder.current_frame_info();
    let has_palette =
        decoder.global_palette().is_some() || frame.is_some_and(|f| f.palette.is_some());
    Ok((width, height, if has_palette { "P" } else { "L" }))
}

type Open<'a> = (usize, usize, Decoder<&'a [u8]>);

/// The screen's sides, widened to hold the first frame, and a decoder before that frame's pixels.
fn open(bytes: &[u8], limit: Limit) -> Result<Open<'_>, DecodeError> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(bytes).map_err(error)?;
    let (mut width, mut height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    let frame = decoder.next_frame_info().map_err(error)?;
    let frame = frame.ok_or_else(|| damaged("no frame".to_owned()))?;
    width = width.max(usize::from(frame.left) + usize::from(frame.width));
    height = height.max(usize::from(frame.top) + usize::from(frame.height));
    limit.check(width, height)?;
    Ok((width, height, decoder))
}

fn error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::UnexpectedEof => DecodeError::Truncated { format: "GIF" },
        DecodingError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: "GIF" }
        }
        error => damaged(error.to_string()),
    }
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: "GIF", reason }
}
