//! Decoding against what Pillow makes of the same files (`fixtures/pixels/make.py`).

#![expect(clippy::unwrap_used, reason = "a fixture that is not there fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{DecodeError, DecodeOptions, Orientation, decode, decoder_name, header};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pixels")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join("files").join(name)).unwrap()
}

fn table(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Compares every file of a table with the levels beside it, and lists all that differ.
fn check(table_name: &str, levels_name: &str, options: &DecodeOptions, least: usize) {
    let levels = fs::read(folder().join(levels_name)).unwrap();
    let mut rest = &levels[..];
    let mut faults = Vec::new();
    let rows = table(table_name);
    assert!(rows.len() >= least, "{} files", rows.len());
    for row in rows {
        let (name, height, width) = (&row[0], &row[row.len() - 2], &row[row.len() - 1]);
        let (height, width): (usize, usize) = (height.parse().unwrap(), width.parse().unwrap());
        let (expected, after) = rest.split_at(height * width * 3);
        rest = after;
        match decode(&file(name), options) {
            Err(error) => faults.push(format!("{name}: {error}")),
            Ok(found) if found.size() != (height, width) => {
                faults.push(format!("{name}: {:?} for {height} × {width}", found.size()));
            }
            Ok(found) => {
                let pairs = found.levels().iter().zip(expected);
                let differences: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
                let count = differences.iter().filter(|&&d| d > 0).count();
                if let (most @ 1.., count) = (differences.iter().max().copied().unwrap(), count) {
                    faults.push(format!("{name}: {count} of {} by at most {most}", expected.len()));
                }
            }
        }
    }
    assert!(rest.is_empty(), "{} levels belong to no file", rest.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_level_of_every_kind_of_file_equals_pillows() {
    check("expected.tsv", "expected.rgb", &DecodeOptions::default(), 100);
}

#[test]
fn orientation_is_applied_where_asked_for() {
    let options = DecodeOptions { orientation: Orientation::Apply, ..DecodeOptions::default() };
    check("upright.tsv", "upright.rgb", &options, 10);
}

#[test]
fn headers_tell_format_size_and_mode_without_pixels() {
    for row in table("expected.tsv") {
        let [name, format, mode, height, width] = &row[..] else { panic!("{row:?}") };
        let found = header(&file(name)).unwrap();
        let format = if format == "MPO" { "JPEG" } else { format };
        assert_eq!(found.format.to_string().to_uppercase(), format, "{name}");
        assert_eq!(
            (&found.height.to_string(), &found.width.to_string()),
            (height, width),
            "{name}"
        );
        assert_eq!(found.mode, mode, "{name}");
    }
}

#[test]
fn what_pillow_refuses_is_refused() {
    let mut accepted = Vec::new();
    for row in table("refused.tsv") {
        if decode(&file(&row[0]), &DecodeOptions::default()).is_ok() {
            accepted.push(row[0].clone());
        }
    }
    assert_eq!(accepted, [""; 0]);
}

#[test]
fn refusals_say_what_was_expected_and_found() {
    let error = |name: &str| decode(&file(name), &DecodeOptions::default()).unwrap_err();
    assert_eq!(error("empty.jpg").to_string(), "expected an image, found an empty file");
    assert_eq!(
        error("text.png").to_string(),
        "expected JPEG, PNG, WebP, BMP or GIF, found a file that begins with 54 68 69 73 20 69 73 20"
    );
    assert_eq!(
        error("png-bomb.png").to_string(),
        "1048576 × 1048576 pixels (height × width): expected at most 178956970 in all"
    );
    assert!(matches!(error("jpeg-bomb.jpg"), DecodeError::TooLarge { width: 65500, .. }));
    for name in
        ["jpeg-cut.jpg", "jpeg-progressive-cut.jpg", "png-cut.png", "bmp-cut.bmp", "gif-cut.gif"]
    {
        assert!(matches!(error(name), DecodeError::Truncated { .. }), "{name}: {}", error(name));
    }
    let few = DecodeOptions { max_pixels: 37 * 50 - 1, ..DecodeOptions::default() };
    let error = decode(&file("jpeg-420.jpg"), &few).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { height: 37, width: 50, limit: 1849 });
    assert!(decoder_name().starts_with("libjpeg-turbo"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn damaged_files_are_decoded_or_refused(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..4), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let rows = table("expected.tsv");
        let mut bytes = file(&rows[which.index(rows.len())][0]);
        for (at, byte, kind) in damage {
            // Headers are where most is decided.
            let range = if kind == 0 { bytes.len() } else { bytes.len().min(64) };
            bytes[at.index(range)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let options = DecodeOptions { max_pixels: 1 << 20, orientation: Orientation::Apply };
        let _ = header(&bytes);
        if let Ok(image) = decode(&bytes, &options) {
            let (height, width) = image.size();
            prop_assert_eq!(image.levels().len(), height * width * 3);
            prop_assert!(height * width <= 1 << 20);
        }
    }
}
