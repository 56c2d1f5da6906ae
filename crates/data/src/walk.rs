//! Finding image files below a folder: sorted by bytes, whatever their names hold.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Quarantined;

/// Folders inside folders that are followed; deeper ones are set aside.
const MAX_DEPTH: usize = 32;

/// File names with these endings, in any case, are taken for images. Whether they hold one, and
/// whether it is of the kind the name says, shows when they are decoded.
const IMAGE_ENDINGS: [&str; 13] =
    ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// An image file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// The path below the data set's root, with `/`.
    pub(crate) name: String,
}

/// An entry of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) is_folder: bool,
}

impl Entry {
    pub(crate) fn file_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> String {
        printable(self.file_name())
    }
}

/// What [`images_below`] found besides images.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Files that are no images by their names.
    pub(crate) ignored: usize,
    pub(crate) quarantine: Vec<Quarantined>,
}

/// The entries of `folder` that are not hidden, sorted by the bytes of their names, and the number
/// of hidden files. Links are followed; a link to nothing counts as a file.
pub(crate) fn entries(folder: &Path) -> io::Result<(Vec<Entry>, usize)> {
    let mut entries = Vec::new();
    let mut hidden = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            hidden += 1;
            continue;
        }
        let kind = entry.file_type()?;
        let path = entry.path();
        let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
        entries.push(Entry { path, is_folder });
    }
    entries.sort_by(|a, b| a.file_name().as_encoded_bytes().cmp(b.file_name().as_encoded_bytes()));
    Ok((entries, hidden))
}

/// Whether a file's name ends as an image's does.
pub(crate) fn is_image(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(is_image_ending)
}

/// As [`is_image`], of the ending without its dot.
pub(crate) fn is_image_ending(ending: &str) -> bool {
    IMAGE_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// All images in `folder` and its sub-folders; those of a folder before those of its sub-folders.
pub(crate) fn images_below(folder: &Path, root: &Path, rest: &mut Rest) -> Vec<Found> {
    let mut images = Vec::new();
    walk(folder, root, &mut Vec::new(), rest, &mut images);
    images
}

fn walk(
    folder: &Path,
    root: &Path,
    above: &mut Vec<PathBuf>,
    rest: &mut Rest,
    images: &mut Vec<Found>,
) {
    let mut set_aside = |reason: String| {
        rest.quarantine.push(Quarantined { name: name_below(folder, root), reason });
    };
    // A link may lead back to a folder above; its real path tells.
    let real = match folder.canonicalize() {
        Ok(real) => real,
        Err(error) => return set_aside(format!("cannot be read: {error}")),
    };
    if above.contains(&real) {
        return set_aside("expected new images, found a link back to a folder above".to_owned());
    }
    if above.len() == MAX_DEPTH {
        return set_aside(format!("expected at most {MAX_DEPTH} folders inside each other"));
    }
    let (entries, hidden) = match entries(folder) {
        Ok(entries) => entries,
        Err(error) => return set_aside(format!("cannot be read: {error}")),
    };
    rest.ignored += hidden;
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.is_folder);
    images.extend(files.into_iter().filter_map(|file| found(file, root, rest)));
    above.push(real);
    for sub in folders {
        walk(&sub.path, root, above, rest, images);
    }
    above.pop();
}

/// The file as an image, or counted as ignored.
pub(crate) fn found(file: Entry, root: &Path, rest: &mut Rest) -> Option<Found> {
    if is_image(&file.path) {
        Some(Found { name: name_below(&file.path, root), path: file.path })
    } else {
        rest.ignored += 1;
        None
    }
}

/// The path below `root` with `/`, as [`printable`]; the whole path where it is not below.
pub(crate) fn name_below(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut name = String::new();
    for part in below.iter() {
        if !name.is_empty() && !name.ends_with('/') {
            name.push('/');
        }
        name.push_str(&printable(part));
    }
    name
}

/// The name as text: what is not UTF-8 is written `\xE9`, so that different names stay different.
pub(crate) fn printable(name: &OsStr) -> String {
    printable_bytes(name.as_encoded_bytes())
}

/// As [`printable`], of a name that is no path of this machine.
pub(crate) fn printable_bytes(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
    }
    text
}

/// The folder's or file's own name, also for `.` and paths that end in `..`.
pub(crate) fn own_name(path: &Path) -> String {
    let named = |path: &Path| path.file_name().map(printable);
    named(path)
        .or_else(|| path.canonicalize().ok().as_deref().and_then(named))
        .unwrap_or_else(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_in_any_case() {
        assert!(is_image(Path::new("a/n01440764_18.JPEG")));
        assert!(!is_image(Path::new("jpg")));
        assert!(!is_image(Path::new("a.jpg.txt")));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes| printable(OsStr::from_bytes(bytes));
        assert_eq!(name(b"caf\xe9.jpg"), "caf\\xE9.jpg");
        assert_ne!(name(b"caf\xe9.jpg"), name(b"caf\xe8.jpg"));
        assert_eq!(name_below(Path::new("/r/a/b.jpg"), Path::new("/r")), "a/b.jpg");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_above_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/1.jpg"), []).unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
        let mut rest = Rest::default();
        let images = images_below(root.path(), root.path(), &mut rest);
        assert_eq!(images.len(), 1);
        assert_eq!(rest.quarantine[0].name, "a/loop");
    }
}
