//! JPEG by libjpeg-turbo's decoder, to the last bit what Pillow gives.

use std::ffi::{CStr, c_char, c_int};
use std::ops::Range;

use super::exif::Orientation8;
use super::{DecodeError, Limit, Part};

/// J_COLOR_SPACE of jpeglib.h.
mod colour {
    pub(super) const GREY: i32 = 1;
    pub(super) const RGB: i32 = 2;
    pub(super) const YCBCR: i32 = 3;
    pub(super) const CMYK: i32 = 4;
}

/// `nk_info` of jpeg.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    width: u32,
    height: u32,
    components: c_int,
    colour: c_int,
    h: [c_int; 4],
    v: [c_int; 4],
    precision: c_int,
}

#[repr(C)]
struct Handle {
    _opaque: [u8; 0],
}

type Idct = unsafe extern "C" fn(*const i16, *const u16, *const *mut u8, u32);
type RgbRow = unsafe extern "C" fn(*const u8, *const u8, *const u8, *mut u8, u32);

/// `nk_kernels` of jpeg.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Kernels {
    idct: Option<Idct>,
    rgb_row: Option<RgbRow>,
}

impl Kernels {
    #[cfg(target_arch = "x86_64")]
    fn fastest() -> Self {
        Self { idct: Some(super::kernels::idct), rgb_row: Some(super::kernels::rgb_row) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn fastest() -> Self {
        Self::default()
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn decoder_name() -> &'static str {
    if is_x86_feature_detected!("ssse3") {
        "libjpeg-turbo, inner loops in SSSE3"
    } else {
        "libjpeg-turbo, inner loops in SSE2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn decoder_name() -> &'static str {
    "libjpeg-turbo, inner loops in C"
}

/// `nk_region` of jpeg.c: the ends are excluded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Region {
    top: u32,
    bottom: u32,
    left: u32,
    right: u32,
}

// The library that jpeg.c calls must be on the linker's list.
use mozjpeg_sys as _;

#[expect(unsafe_code, reason = "the functions of jpeg.c")]
unsafe extern "C" {
    fn nk_jpeg_new() -> *mut Handle;
    fn nk_jpeg_free(jpeg: *mut Handle);
    fn nk_jpeg_message(jpeg: *const Handle) -> *const c_char;
    fn nk_jpeg_open(jpeg: *mut Handle, bytes: *const u8, count: usize, info: *mut Info) -> c_int;
    fn nk_jpeg_start(
        jpeg: *mut Handle,
        colour: c_int,
        kernels: *const Kernels,
        region: *const Region,
    ) -> c_int;
    fn nk_jpeg_row(jpeg: *mut Handle, row: *mut u8) -> c_int;
    fn nk_jpeg_finish(jpeg: *mut Handle) -> c_int;
}

const OK: c_int = 0;
const TRUNCATED: c_int = 2;

/// One libjpeg decompressor over bytes that outlive it.
struct Jpeg<'a> {
    handle: *mut Handle,
    info: Info,
    bytes: std::marker::PhantomData<&'a [u8]>,
}

impl Drop for Jpeg<'_> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: the handle came from `nk_jpeg_new` and is not used again.
        unsafe {
            nk_jpeg_free(self.handle);
        }
    }
}

impl<'a> Jpeg<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: no precondition.
        let handle = unsafe { nk_jpeg_new() };
        if handle.is_null() {
            return Err(damaged("no memory for the decoder".to_owned()));
        }
        let mut jpeg = Self { handle, info: Info::default(), bytes: std::marker::PhantomData };
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: the handle is live, the bytes outlive `jpeg`, and `info` has the layout of nk_info.
        let code = unsafe { nk_jpeg_open(handle, bytes.as_ptr(), bytes.len(), &raw mut jpeg.info) };
        jpeg.check(code)?;
        Ok(jpeg)
    }

    fn check(&self, code: c_int) -> Result<(), DecodeError> {
        match code {
            OK => Ok(()),
            TRUNCATED => Err(DecodeError::Truncated { format: "JPEG" }),
            _ => {
                #[expect(unsafe_code, reason = "a function of jpeg.c")]
                // SAFETY: the message is a string that ends in 0, inside the live handle.
                let message = unsafe { CStr::from_ptr(nk_jpeg_message(self.handle)) };
                Err(damaged(message.to_string_lossy().into_owned()))
            }
        }
    }

    fn start(
        &mut self,
        colour: i32,
        kernels: &Kernels,
        region: &Region,
    ) -> Result<(), DecodeError> {
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: the handle is live; kernels and region are copied.
        let code = unsafe { nk_jpeg_start(self.handle, colour, kernels, region) };
        self.check(code)
    }

    /// Reads the next row into `row`, which is as long as what was started with asks for.
    fn row(&mut self, row: &mut [u8], len: usize) -> Result<(), DecodeError> {
        assert_eq!(row.len(), len, "a row as long as libjpeg writes");
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: the handle is live, and the row is as long as libjpeg will write.
        let code = unsafe { nk_jpeg_row(self.handle, row.as_mut_ptr()) };
        self.check(code)
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        #[expect(unsafe_code, reason = "a function of jpeg.c")]
        // SAFETY: the handle is live.
        let code = unsafe { nk_jpeg_finish(self.handle) };
        self.check(code)
    }
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: "JPEG", reason }
}

/// Decodes the rows and columns that `wanted` names for an image of (H, W), or all, into `levels`.
pub(super) fn decode<E: From<DecodeError>>(
    bytes: &[u8],
    limit: Limit,
    levels: &mut Vec<u8>,
    wanted: impl FnOnce((usize, usize)) -> Result<(Range<usize>, Range<usize>), E>,
) -> Result<Part, E> {
    decode_by(&Kernels::fastest(), bytes, limit, levels, wanted)
}

fn decode_by<E: From<DecodeError>>(
    kernels: &Kernels,
    bytes: &[u8],
    limit: Limit,
    levels: &mut Vec<u8>,
    wanted: impl FnOnce((usize, usize)) -> Result<(Range<usize>, Range<usize>), E>,
) -> Result<Part, E> {
    let jpeg = Jpeg::open(bytes)?;
    let size = (jpeg.info.height as usize, jpeg.info.width as usize);
    limit.check(size.1, size.0)?;
    let (mut rows, mut columns) = wanted(size)?;
    if kernels.rgb_row.is_none() || jpeg.info.colour != colour::YCBCR {
        (rows, columns) = (0..size.0, 0..size.1);
    }
    let part = Part { rows, columns };
    read(jpeg, kernels, &part, levels)?;
    Ok(part)
}

fn read(
    mut jpeg: Jpeg<'_>,
    kernels: &Kernels,
    part: &Part,
    levels: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let Part { rows, columns } = part;
    let (width, height) = (jpeg.info.width as usize, jpeg.info.height as usize);
    let region = Region {
        top: rows.start as u32,
        bottom: rows.end as u32,
        left: columns.start as u32,
        right: columns.end as u32,
    };
    let len = columns.len() * 3;
    // Whatever the levels held before is written over.
    levels.resize(rows.len() * len, 0);
    let mut targets = levels.chunks_exact_mut(len.max(1));
    match jpeg.info.components {
        1 => {
            jpeg.start(colour::GREY, kernels, &region)?;
            let mut grey = vec![0; width];
            for row in targets {
                jpeg.row(&mut grey, width)?;
                for (pixel, &level) in row.chunks_exact_mut(3).zip(&grey) {
                    pixel.fill(level);
                }
            }
        }
        3 => {
            jpeg.start(colour::RGB, kernels, &region)?;
            // Rows outside the region are read, so that a file cut short is told, but not written.
            let mut unwritten = vec![0; len];
            for row in 0..height {
                let target = if rows.contains(&row) { targets.next() } else { None };
                jpeg.row(target.unwrap_or(&mut unwritten), len)?;
            }
        }
        4 => {
            jpeg.start(colour::CMYK, kernels, &region)?;
            let mut inks = vec![0; width * 4];
            for row in targets {
                jpeg.row(&mut inks, width * 4)?;
                for (pixel, ink) in row.chunks_exact_mut(3).zip(inks.chunks_exact(4)) {
                    // Pillow takes every CMYK file for one of Adobe's, whose levels are inverted.
                    let ink = [255 - ink[0], 255 - ink[1], 255 - ink[2], 255 - ink[3]];
                    pixel.copy_from_slice(&cmyk_to_rgb(ink));
                }
            }
        }
        found => {
            return Err(DecodeError::Unsupported {
                format: "JPEG",
                what: format!("{found} components per pixel"),
            });
        }
    }
    jpeg.finish()
}

/// Pillow's `convert("RGB")` of one CMYK pixel.
fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = u32::from(255 - k);
    [c, m, y].map(|ink| {
        let product = u32::from(ink) * white + 128;
        let scaled = ((product >> 8) + product) >> 8;
        (white.saturating_sub(scaled)) as u8
    })
}

/// The EXIF orientation 1 to 8 of a JPEG file, 1 where it says none.
pub(super) fn orientation(bytes: &[u8]) -> Orientation8 {
    let mut found = Orientation8::default();
    let _ = segments(bytes, |marker, body| {
        if marker == 0xe1
            && let Some(tiff) = body.strip_prefix(b"Exif\0\0")
        {
            found = super::exif::orientation(tiff);
            return true;
        }
        false
    });
    found
}

/// Width, height and components of the frame, from its header.
pub(super) fn frame(bytes: &[u8]) -> Result<(u32, u32, u8), DecodeError> {
    let mut found = None;
    segments(bytes, |marker, body| {
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame && let [_, h1, h0, w1, w0, components, ..] = *body {
            let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
            found = Some((side(w1, w0), side(h1, h0), components));
        }
        is_frame
    })?;
    found.ok_or_else(|| damaged("no frame header".to_owned()))
}

/// Calls `visit` with each segment before the first scan until it says true.
fn segments(bytes: &[u8], mut visit: impl FnMut(u8, &[u8]) -> bool) -> Result<(), DecodeError> {
    let truncated = || DecodeError::Truncated { format: "JPEG" };
    let mut rest = bytes.get(2..).ok_or_else(truncated)?;
    loop {
        // Any bytes may stand before a marker, and any number of 0xff begin one.
        let start = rest.iter().position(|&b| b == 0xff).ok_or_else(truncated)?;
        rest = &rest[start..];
        let code = rest.iter().position(|&b| b != 0xff).ok_or_else(truncated)?;
        let marker = rest[code];
        rest = &rest[code + 1..];
        match marker {
            0 | 1 | 0xd0..=0xd8 => continue,
            0xd9 | 0xda => return Ok(()),
            _ => {}
        }
        let [high, low, ..] = *rest else { return Err(truncated()) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(2..length.max(2)).ok_or_else(truncated)?;
        if visit(marker, body) {
            return Ok(());
        }
        rest = &rest[length.max(2)..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Limit = Limit(1 << 30);

    fn files() -> Vec<(String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/pixels/files");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("jpeg-"))
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        assert!(files.len() > 50, "{} files", files.len());
        files
    }

    fn decoded(
        kernels: &Kernels,
        bytes: &[u8],
        wanted: impl FnOnce((usize, usize)) -> (Range<usize>, Range<usize>),
    ) -> Result<(Part, Vec<u8>), DecodeError> {
        // What is not written shows.
        let mut levels = vec![77; 100_000];
        let part = decode_by(kernels, bytes, LIMIT, &mut levels, |size| {
            Ok::<_, DecodeError>(wanted(size))
        })?;
        Ok((part, levels))
    }

    fn whole((height, width): (usize, usize)) -> (Range<usize>, Range<usize>) {
        (0..height, 0..width)
    }

    #[test]
    fn our_kernels_give_what_libjpegs_own_give() {
        for (name, bytes) in files() {
            let ours = decoded(&Kernels::fastest(), &bytes, whole).map(|(_, levels)| levels);
            let theirs = decoded(&Kernels::default(), &bytes, whole).map(|(_, levels)| levels);
            assert_eq!(ours, theirs, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_region_is_that_part_of_the_whole(cut in (0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0)) {
            let range = |side: usize, a: f64, b: f64| {
                let start = ((side as f64 * a) as usize).min(side - 1);
                start..start + 1 + ((side - start - 1) as f64 * b) as usize
            };
            for (name, bytes) in files() {
                let Ok((all, expected)) = decoded(&Kernels::fastest(), &bytes, whole) else { continue };
                let (part, found) = decoded(&Kernels::fastest(), &bytes, |(height, width)| {
                    (range(height, cut.0, cut.1), range(width, cut.2, cut.3))
                })
                .unwrap();
                let len = part.columns.len() * 3;
                for (row, found) in part.rows.clone().zip(found.chunks_exact(len)) {
                    let at = (row * all.columns.len() + part.columns.start) * 3;
                    prop_assert_eq!(found, &expected[at..at + len], "{}, row {}", name, row);
                }
            }
        }

        #[test]
        fn any_damage_is_decoded_or_refused_alike_in_parts_and_whole(
            which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut files = files();
            let (name, mut bytes) = files.swap_remove(which.index(files.len()));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let limit = Limit(1 << 20);
            let mut levels = Vec::new();
            let all = decode_by(&Kernels::fastest(), &bytes, limit, &mut levels, |size| {
                Ok::<_, DecodeError>(whole(size))
            });
            let part = decode_by(&Kernels::fastest(), &bytes, limit, &mut levels, |(height, width)| {
                Ok::<_, DecodeError>((height / 2..height, width / 2..width))
            });
            prop_assert_eq!(all.err(), part.err(), "{} at {}", name, at);
        }
    }
}
