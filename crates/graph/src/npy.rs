//! Points from NumPy's `.npy` files.
//!
//! Format versions 1 to 3, arrays of two dimensions of f32 or f64 in either byte order and either memory order:
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. No pickled objects, no other types.

use ndarray::{Array2, ArrayView2, ShapeBuilder as _};
use thiserror::Error;
use zerocopy::FromBytes as _;

/// Why bytes are no points.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NpyError {
    /// The bytes do not begin as an `.npy` file does.
    #[error("expected an .npy file, found other content")]
    Magic,
    /// The header ends early, or is not what NumPy writes.
    #[error("header: expected {expected}, found {found:?}")]
    Header {
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// There are fewer or more bytes than the shape says.
    #[error("values: expected {expected} bytes for shape {shape:?}, found {found}")]
    Size {
        /// The shape.
        shape: [usize; 2],
        /// The bytes it needs, if they can be counted.
        expected: String,
        /// The bytes that are there.
        found: usize,
    },
}

/// A header is a line of Python; NumPy's own limit.
const MAX_HEADER: usize = 10_000;

/// Reads points `[n, d]` from the bytes of an `.npy` file; f64 is rounded to f32.
///
/// # Errors
/// [`NpyError`]: no `.npy` file, another type or number of dimensions, bytes that do not fill the shape.
///
/// # Examples
/// ```
/// let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
/// let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
/// bytes.extend((header.len() as u16).to_le_bytes());
/// bytes.extend(header.as_bytes());
/// bytes.extend([0.5_f32, 2.0].map(f32::to_le_bytes).concat());
/// assert_eq!(nearkin_graph::read_npy(&bytes)?, ndarray::arr2(&[[0.5, 2.0]]));
/// # Ok::<(), nearkin_graph::NpyError>(())
/// ```
pub fn read_npy(bytes: &[u8]) -> Result<Array2<f32>, NpyError> {
    let (header, values) = split(bytes)?;
    let descr = entry(header, "descr")?;
    let (decode, width): (fn(&[u8]) -> f32, usize) = match descr.trim_matches(['\'', '"']) {
        "<f4" => (|b| f32::from_le_bytes(array(b)), 4),
        ">f4" => (|b| f32::from_be_bytes(array(b)), 4),
        "<f8" => (|b| f64::from_le_bytes(array(b)) as f32, 8),
        ">f8" => (|b| f64::from_be_bytes(array(b)) as f32, 8),
        _ => return Err(wrong("'descr' of <f4, >f4, <f8 or >f8", descr)),
    };
    let by_columns = match entry(header, "fortran_order")? {
        "True" => true,
        "False" => false,
        other => return Err(wrong("'fortran_order' of True or False", other)),
    };
    let (rows, columns) = shape(entry(header, "shape")?)?;
    let expected = rows.checked_mul(columns).and_then(|count| count.checked_mul(width));
    if expected != Some(values.len()) {
        return Err(NpyError::Size {
            shape: [rows, columns],
            expected: expected
                .map_or("more than there can be".to_owned(), |bytes| bytes.to_string()),
            found: values.len(),
        });
    }
    let numbers = values.chunks_exact(width).map(decode).collect();
    // As many numbers as the shape says: checked above.
    Array2::from_shape_vec((rows, columns).set_f(by_columns), numbers)
        .map_err(|_| wrong("a shape of two dimensions", header))
}

/// The points of an `.npy` file where they lie, such as in a mapped file; `None` where they have to be
/// converted or moved: for f64, big-endian numbers, columns first, or bytes that are not aligned.
///
/// # Errors
/// As [`read_npy`].
pub fn npy_view(bytes: &[u8]) -> Result<Option<ArrayView2<'_, f32>>, NpyError> {
    let (header, values) = split(bytes)?;
    let as_they_lie = entry(header, "descr")?.trim_matches(['\'', '"']) == "<f4"
        && entry(header, "fortran_order")? == "False"
        && cfg!(target_endian = "little");
    if !as_they_lie {
        return Ok(None);
    }
    let shape = shape(entry(header, "shape")?)?;
    let Ok(numbers) = <[f32]>::ref_from_bytes(values) else { return Ok(None) };
    // Another number of values than the shape says is told by the reader that converts.
    Ok(ArrayView2::from_shape(shape, numbers).ok())
}

fn array<const WIDTH: usize>(bytes: &[u8]) -> [u8; WIDTH] {
    *bytes.first_chunk().unwrap_or(&[0; WIDTH])
}

fn wrong(expected: &'static str, found: &str) -> NpyError {
    NpyError::Header { expected, found: found.chars().take(80).collect() }
}

/// The header's text, and the values.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), NpyError> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or(NpyError::Magic)?;
    let early = || wrong("its own length of bytes", "the end of the file");
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(early)?;
    let (length, rest) = match version {
        [1, _] => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(early)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, _] => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(early)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        [major, minor] => return Err(wrong("format version 1 to 3", &format!("{major}.{minor}"))),
    };
    if length > MAX_HEADER {
        return Err(wrong("at most 10000 bytes", &length.to_string()));
    }
    let (header, values) = rest.split_at_checked(length).ok_or_else(early)?;
    let header = str::from_utf8(header).map_err(|_| wrong("text", "other bytes"))?;
    Ok((header, values))
}

/// The value of a key: up to the next comma outside parentheses.
fn entry<'a>(header: &'a str, key: &'static str) -> Result<&'a str, NpyError> {
    let missing =
        || wrong(if key == "shape" { "a 'shape'" } else { "'descr' and 'fortran_order'" }, header);
    let quoted = ["'", "\""].map(|quote| format!("{quote}{key}{quote}"));
    let after =
        quoted.iter().find_map(|key| header.split_once(key.as_str())).ok_or_else(missing)?.1;
    let value = after.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = if value.starts_with('(') {
        value.find(')').map(|end| end + 1)
    } else {
        value.find([',', '}'])
    };
    Ok(value[..end.ok_or_else(missing)?].trim())
}

fn shape(text: &str) -> Result<(usize, usize), NpyError> {
    let two = || wrong("a shape of two dimensions", text);
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).ok_or_else(two)?;
    let sizes: Option<Vec<usize>> = inner
        .trim()
        .trim_end_matches(',')
        .split(',')
        .map(|size| size.trim().parse().ok())
        .collect();
    match sizes.as_deref() {
        Some(&[rows, columns]) => Ok((rows, columns)),
        _ => Err(two()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;
    use proptest::prelude::*;

    fn file(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        let length = header.len() as u32;
        bytes.extend(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn what_lies_in_order_is_seen_in_place() {
        let values = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat();
        // A header that makes the values aligned wherever the bytes begin on a multiple of 4.
        let aligned = |descr: &str| {
            let text = header(descr, "False", "(2, 3)");
            let fill = (4 - (10 + text.len()) % 4) % 4;
            format!("{}{}", " ".repeat(fill), text)
        };
        let bytes = file(1, &aligned("<f4"), &values);
        let room = vec![0_f32; bytes.len() / 4 + 1];
        let mut words = room;
        let place = zerocopy::IntoBytes::as_mut_bytes(&mut words[..]);
        place[..bytes.len()].copy_from_slice(&bytes);
        let seen = npy_view(&place[..bytes.len()]).unwrap().unwrap();
        assert_eq!(seen, read_npy(&bytes).unwrap());
        assert_eq!(npy_view(&file(1, &aligned("<f8"), &[0; 48])).unwrap(), None);
        assert_eq!(npy_view(&place[..bytes.len() - 4]).unwrap(), None, "too few values");
        assert!(npy_view(b"other").is_err());
    }

    #[test]
    fn both_types_byte_orders_and_memory_orders_are_read() {
        let by_rows = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let expected = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let check = |version, descr, fortran, values: Vec<u8>| {
            let bytes = file(version, &header(descr, fortran, "(2, 3)"), &values);
            assert_eq!(read_npy(&bytes).unwrap(), expected);
        };
        check(1, "<f4", "False", by_rows.map(f32::to_le_bytes).concat());
        check(2, ">f4", "False", by_rows.map(f32::to_be_bytes).concat());
        let by_columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        check(3, "<f8", "True", by_columns.map(f64::to_le_bytes).concat());
        check(1, ">f8", "True", by_columns.map(f64::to_be_bytes).concat());
    }

    #[test]
    fn what_numpy_itself_wrote_is_read() {
        // numpy.save of numpy.array([[0.5, -2.0]], dtype=numpy.float64), NumPy 2.4.6.
        let mut bytes =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }"
                .to_vec();
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend([0.5_f64, -2.0].map(f64::to_le_bytes).concat());
        assert_eq!(read_npy(&bytes).unwrap(), arr2(&[[0.5, -2.0]]));
    }

    #[test]
    fn what_is_no_array_of_points_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let error = read_npy(bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(b"", "expected an .npy file");
        check(b"\x93NUMPY\x01", "header: expected its own length");
        check(&file(9, "", b""), "header: expected format version 1 to 3, found \"9.0\"");
        check(&file(1, "{}", b""), "header: expected 'descr' and");
        check(
            &file(1, &header("<i8", "False", "(1, 1)"), &[0; 8]),
            "header: expected 'descr' of <f4",
        );
        check(
            &file(1, &header("|O", "False", "(1, 1)"), &[0; 8]),
            "header: expected 'descr' of <f4",
        );
        check(
            &file(1, &header("<f4", "maybe", "(1, 1)"), &[0; 4]),
            "header: expected 'fortran_order'",
        );
        for shape in ["(4,)", "(1, 2, 2)", "()", "(-1, 4)", "(a, b)", "7"] {
            check(
                &file(1, &header("<f4", "False", shape), &[0; 16]),
                "header: expected a shape of two",
            );
        }
        check(
            &file(1, &header("<f4", "False", "(2, 2)"), &[0; 15]),
            "values: expected 16 bytes for shape [2, 2], found 15",
        );
        let huge = header("<f4", "False", "(9223372036854775807, 9)");
        check(&file(1, &huge, &[0; 16]), "values: expected more than there can be");
        check(&file(2, &"x".repeat(10_001), b""), "header: expected at most 10000 bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(place in 0_usize..90, byte in any::<u8>(), cut in 0_usize..90) {
            let mut bytes = file(1, &header("<f4", "False", "(2, 2)"), &[0; 16]);
            let length = bytes.len();
            bytes[place % length] = byte;
            bytes.truncate(length - cut.min(length));
            if let Ok(points) = read_npy(&bytes) {
                prop_assert!(points.len() <= bytes.len() / 4);
            }
        }
    }
}
