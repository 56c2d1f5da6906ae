//! The files of the repository, and writing one without ever leaving half of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Every file that git tracks or would track, relative to `root`, sorted.
///
/// Without git or outside a checkout (an unpacked archive), every file but `target`, `.git` and
/// caches.
pub(crate) fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let mut files: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .context("git ls-files: a file name is not UTF-8")?
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| root.join(path).is_file())
            .collect(),
        _ => walk(root)?,
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            let skipped = ["target", ".git", "__pycache__"].iter().any(|skipped| name == *skipped);
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if kind.is_file() && !skipped {
                files.push(entry.path().strip_prefix(root)?.to_path_buf());
            }
        }
    }
    Ok(files)
}

/// The SHA-256 of every file of the repository.
pub(crate) fn fingerprints(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut sums = BTreeMap::new();
    for file in tracked(root)? {
        let sum = sha256(&root.join(&file))?;
        sums.insert(file, sum);
    }
    Ok(sums)
}

/// The SHA-256 of one file, in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("{}", path.display()))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes `content` beside `path` and renames it there.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{}: no folder", path.display()))?;
    let written = (|| -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut beside = tempfile::Builder::new().permissions_of(path).tempfile_in(folder)?;
        beside.write_all(content)?;
        beside.persist(path)?;
        Ok(())
    })();
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Gives a temporary file the permissions that the file it replaces has, or would have had.
trait PermissionsOf {
    fn permissions_of(&mut self, path: &Path) -> &mut Self;
}

impl PermissionsOf for tempfile::Builder<'_, '_> {
    fn permissions_of(&mut self, path: &Path) -> &mut Self {
        if let Ok(metadata) = fs::metadata(path) {
            self.permissions(metadata.permissions());
        } else {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                self.permissions(fs::Permissions::from_mode(0o666)); // less the umask
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_file_is_the_published_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("abc");
        write(&path, b"abc").expect("written");
        assert_eq!(
            sha256(&path).expect("read"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_written_file_leaves_nothing_beside_it_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("sub/file");
        write(&path, b"old").expect("written");
        write(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::read_dir(folder.path().join("sub")).expect("listed").count(), 1);
    }

    #[test]
    fn outside_a_checkout_the_folder_is_walked_without_build_outputs() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for path in ["a.rs", "sub/b.rs", "target/c.rs", "sub/__pycache__/d.pyc"] {
            write(&folder.path().join(path), b"").expect("written");
        }
        let mut files = walk(folder.path()).expect("walked");
        files.sort();
        assert_eq!(files, [PathBuf::from("a.rs"), PathBuf::from("sub/b.rs")]);
    }
}
