//! What each fuzz target does with its bytes: the reader must not panic, hang or take much memory,
//! and what it accepts must hold together.
//!
//! Shared by the fuzz targets and by the test over stored findings (`crates/data/tests`), which runs
//! without a fuzzer.

use std::cell::RefCell;
use std::io::{Cursor, Seek as _, Write as _};
use std::path::Path;

use nearkin_data::{
    CifarKind, DecodeOptions, IdxError, ManifestError, ManifestPaths, Split, VocAnnotation, decode,
    header, read_cifar_bytes, read_idx_within, read_images, read_labels, read_manifest,
    read_mask_bytes, read_shard,
};
use tempfile::NamedTempFile;

/// IDX, gzip or plain.
pub(crate) fn idx(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    on_disk(bytes, |path| match read_idx_within(path, LIMIT) {
        Ok(idx) => {
            // Beside an empty dimension the others may be any.
            let count = idx.shape.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
            assert!(count == idx.bytes.len() || idx.shape.contains(&0) && idx.bytes.is_empty());
            assert!(idx.bytes.len() as u64 <= LIMIT);
        }
        Err(IdxError::Io { source, .. }) => panic!("a file that is there: {source}"),
        Err(_) => {}
    });
    on_disk(bytes, |path| {
        let images = read_images(path).is_ok();
        let labels = read_labels(path).is_ok();
        assert!(!(images && labels), "one dimension or several");
    });
}

/// CIFAR-10 and CIFAR-100.
pub(crate) fn cifar(bytes: &[u8]) {
    for kind in [CifarKind::Cifar10, CifarKind::Cifar100] {
        let Ok(records) = read_cifar_bytes(bytes, kind) else { continue };
        let n = bytes.len() / kind.record_bytes();
        assert_eq!(records.images.dim(), (n, 3, 32, 32));
        assert_eq!(records.labels.len(), n);
        assert!(records.labels.iter().all(|&label| usize::from(label) < kind.classes()));
        let coarse = kind.coarse_classes();
        assert_eq!(records.coarse.len(), coarse.map_or(0, |_| n));
        assert!(records.coarse.iter().all(|&c| Some(usize::from(c)) < coarse));
    }
}

/// The front door: any image file.
pub(crate) fn image(bytes: &[u8]) {
    let options = DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() };
    let head = header(bytes);
    let Ok(image) = decode(bytes, &options) else { return };
    let (height, width) = image.size();
    assert!((height as u64) * (width as u64) <= options.max_pixels);
    assert_eq!(image.levels().len(), height * width * image.channels());
    let head = head.expect("what can be decoded has a header");
    assert_eq!((head.height, head.width), (height, width));
    // The same bytes give the same pixels, whatever was decoded before.
    assert_eq!(decode(bytes, &options).as_ref(), Ok(&image));
}

/// Pascal VOC: an annotation, or, from PNG's first bytes on, a mask of classes.
pub(crate) fn voc(bytes: &[u8]) {
    if bytes.starts_with(b"\x89PNG") {
        if let Ok(mask) = read_mask_bytes(bytes) {
            assert!(!mask.is_empty());
        }
        return;
    }
    let Ok(xml) = std::str::from_utf8(bytes) else { return };
    let Ok(annotation) = VocAnnotation::parse(xml) else { return };
    let (height, width) = annotation.size;
    for object in &annotation.objects {
        let region = object.region;
        assert!(!object.class.is_empty());
        assert!(region.height > 0 && region.top + region.height <= height);
        assert!(region.width > 0 && region.left + region.width <= width);
    }
}

/// A manifest: comma or tab separated, or Parquet.
pub(crate) fn manifest(bytes: &[u8]) {
    on_disk(bytes, |path| match read_manifest(path, Split::Train, ManifestPaths::default()) {
        Ok(listing) => {
            let classes = listing.class_names.len();
            for part in &listing.parts {
                let known = |class: usize| class < classes;
                assert!(part.classes().is_none_or(|found| found.into_iter().all(known)));
            }
        }
        Err(ManifestError::Io { source, .. }) => panic!("a file that is there: {source}"),
        Err(_) => {}
    });
}

/// A tar shard.
pub(crate) fn tar(bytes: &[u8]) {
    // Reading from memory cannot fail; what is wrong is in the shard.
    let shard = read_shard(Cursor::new(bytes)).expect("read");
    for member in &shard.members {
        let end = member.offset.checked_add(member.len);
        assert!(end.is_some_and(|end| end <= bytes.len() as u64), "{member:?}");
    }
}

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Runs `read` on a file that holds `bytes`; the file is made once for each thread.
fn on_disk(bytes: &[u8], read: impl FnOnce(&Path)) {
    FILE.with_borrow_mut(|slot| {
        let file = slot.get_or_insert_with(|| NamedTempFile::new().expect("a temporary file"));
        file.rewind().and_then(|()| file.write_all(bytes)).expect("written");
        file.as_file().set_len(bytes.len() as u64).expect("cut to length");
        read(file.path());
    });
}
