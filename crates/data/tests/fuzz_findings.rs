//! What fuzzing found, and the fixtures it began with, through the bodies of the fuzz targets.
#![expect(clippy::unwrap_used, reason = "what a test cannot read ends it")]

#[path = "../../../fuzz/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Runs a target's body on each file of `folder`, and on each beginning of the small ones.
fn all_of(folder: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for path in files {
        let bytes = std::fs::read(path).unwrap();
        body(&bytes);
        let cuts = if bytes.len() <= 512 { bytes.len() } else { 0 };
        (0..cuts).for_each(|end| body(&bytes[..end]));
    }
}

#[test]
fn idx_survives_what_was_found() {
    all_of("fuzz/idx", targets::idx);
    all_of("idx", targets::idx);
}

#[test]
fn image_survives_what_was_found() {
    all_of("fuzz/image", targets::image);
    all_of("pixels/files", targets::image);
}

#[test]
fn a_jpeg_component_without_a_scan_is_read_as_pillow_reads_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/fuzz/image/jpeg-component-without-scan");
    let bytes = std::fs::read(path).unwrap();
    let image = nearkin_data::decode(&bytes, &nearkin_data::DecodeOptions::default()).unwrap();
    // SHA-256 of Image.open(…).convert("RGB").tobytes() of Pillow 13.0.0.
    let expected = "81ac2162d79546c824ca5ae5ca15708c8476a3f379de980ba096e3624ccd82d3";
    let found: String =
        Sha256::digest(image.levels()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((image.size(), found.as_str()), ((35, 41), expected));
}

#[test]
fn manifest_survives_what_was_found() {
    all_of("fuzz/manifest", targets::manifest);
}

#[test]
fn voc_survives_its_fixtures() {
    all_of("voc/VOCdevkit/VOC2007/Annotations", targets::voc);
    all_of("voc", targets::voc);
}

#[test]
fn any_file_in_the_place_of_another_is_refused_or_sound() {
    let bodies = [
        targets::idx,
        targets::cifar,
        targets::image,
        targets::voc,
        targets::manifest,
        targets::tar,
    ];
    for folder in ["idx", "fuzz/idx", "fuzz/image", "fuzz/manifest", "pixels", "voc", "check"] {
        bodies.into_iter().for_each(|body| all_of(folder, body));
    }
}
