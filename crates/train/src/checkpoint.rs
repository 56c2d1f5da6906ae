//! Checkpoints: the whole state of a training in one file, checked when it is read.
//!
//! A checkpoint is a safetensors file. Its metadata hold where the training was and the SHA-256 of
//! everything else, so that no damage goes unseen; it is written beside its place and renamed. The last
//! two are kept: one that is damaged is refused, and the one before it is taken.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use sha2::{Digest as _, Sha256};

/// Where a training is, with all its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// What else is to be known: the recipe's hash, the best accuracy, log positions. Text by key.
    pub notes: BTreeMap<String, String>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, ArrayD<f32>>,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file is not what was written.
    #[error("{}: damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The checkpoint is of another training.
    #[error("{}: of another training: {what}: expected {expected}, found {found}", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: String,
        /// As it is now.
        expected: String,
        /// As it was.
        found: String,
    },
}

const VERSION: &str = "1";

impl Checkpoint {
    /// The file's bytes.
    ///
    /// # Errors
    /// What safetensors refuses, in words.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let flat: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, array)| {
                let bytes = array.iter().flat_map(|value| value.to_le_bytes()).collect();
                (name, (array.shape().to_vec(), bytes))
            })
            .collect();
        let mut views = Vec::new();
        for (name, (dims, bytes)) in &flat {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, dims.clone(), bytes);
            views.push((name.as_str(), view.map_err(|error| error.to_string())?));
        }
        let mut notes = self.notes.clone();
        notes.insert("nearkin.checkpoint".to_owned(), VERSION.to_owned());
        notes.insert("step".to_owned(), self.step.to_string());
        let parts = flat.iter().map(|(name, (dims, bytes))| (name.as_str(), &dims[..], &bytes[..]));
        let hash = hash(&notes, parts);
        notes.insert("sha256".to_owned(), hash);
        #[expect(clippy::disallowed_types, reason = "safetensors asks for it, and sorts it")]
        let metadata: std::collections::HashMap<String, String> = notes.into_iter().collect();
        safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
    }

    /// Reads and checks a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let read = |error: safetensors::SafeTensorError| error.to_string();
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(read)?;
        let mut notes: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let expected = notes.remove("sha256").ok_or("expected a hash, found none")?;
        let file = safetensors::SafeTensors::deserialize(bytes).map_err(read)?;
        let mut parts: Vec<(String, Vec<usize>, &[u8])> = Vec::new();
        for (name, view) in file.iter() {
            parts.push((name.to_owned(), view.shape().to_vec(), view.data()));
        }
        parts.sort();
        let found =
            hash(&notes, parts.iter().map(|(name, dims, data)| (name.as_str(), &dims[..], *data)));
        if found != expected {
            return Err(format!("expected SHA-256 {expected}, found {found}"));
        }
        let version = notes.remove("nearkin.checkpoint").unwrap_or_default();
        if version != VERSION {
            return Err(format!("expected version {VERSION}, found {version:?}"));
        }
        let step = notes.remove("step").unwrap_or_default();
        let step = step.parse().map_err(|_| format!("expected a step, found {step:?}"))?;
        let mut tensors = BTreeMap::new();
        for (name, dims, data) in parts {
            let (values, rest) = data.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(format!("{name}: expected f32, found {} bytes", data.len()));
            }
            let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let array = ArrayD::from_shape_vec(dims, values);
            tensors.insert(name, array.map_err(|error| error.to_string())?);
        }
        Ok(Self { step, notes, tensors })
    }
}

fn hash<'a>(
    notes: &BTreeMap<String, String>,
    parts: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
) -> String {
    let mut sha = Sha256::new();
    let mut text = |text: &str| {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text.as_bytes());
    };
    for (key, value) in notes {
        text(key);
        text(value);
    }
    let mut sha = sha;
    for (name, dims, data) in parts {
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name.as_bytes());
        sha.update((dims.len() as u64).to_le_bytes());
        dims.iter().for_each(|&dim| sha.update((dim as u64).to_le_bytes()));
        sha.update((data.len() as u64).to_le_bytes());
        sha.update(data);
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder that holds a training's checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// The newest checkpoint that is sound, and what was refused on the way to it.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Newer ones that are damaged.
    pub refused: Vec<CheckpointError>,
}

impl Checkpoints {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn new(folder: &Path) -> Result<Self, CheckpointError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| CheckpointError::Io { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes a checkpoint and removes all but the last two.
    ///
    /// # Errors
    /// [`CheckpointError::Io`], such as for a full disk: what was there stays.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let path = self.folder.join(format!("step-{:010}.safetensors", checkpoint.step));
        self.write(&path, checkpoint)?;
        let old = self.list()?;
        for path in &old[..old.len().saturating_sub(2)] {
            // One too many does no harm.
            let _ = std::fs::remove_file(path);
        }
        Ok(path)
    }

    /// Writes the best checkpoint so far in place of the one before.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let path = self.folder.join("best.safetensors");
        self.write(&path, checkpoint)?;
        Ok(path)
    }

    /// The best checkpoint, if one was written.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is damaged.
    pub fn best(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let path = self.folder.join("best.safetensors");
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// The newest sound checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`] if there are checkpoints and none is sound, or the folder cannot be read.
    pub fn last(&self) -> Result<Option<Found>, CheckpointError> {
        let mut refused = Vec::new();
        for path in self.list()?.iter().rev() {
            match read(path) {
                Ok(checkpoint) => return Ok(Some(Found { checkpoint, refused })),
                Err(error) => refused.push(error),
            }
        }
        refused.into_iter().next().map_or(Ok(None), Err)
    }

    /// Checkpoints of steps, rising.
    fn list(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let failed = |source| CheckpointError::Io { path: self.folder.clone(), source };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let is_step = name.to_str().is_some_and(|name| {
                name.strip_prefix("step-").is_some_and(|rest| rest.ends_with(".safetensors"))
            });
            if is_step {
                paths.push(self.folder.join(name));
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn write(&self, path: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
        let bytes =
            checkpoint.to_bytes().map_err(|reason| failed(std::io::Error::other(reason)))?;
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = std::fs::File::create(&part).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, path)
        });
        written.map_err(|source| {
            // What is left of it helps nobody.
            let _ = std::fs::remove_file(&part);
            failed(source)
        })
    }
}

fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let bytes = std::fs::read(path)
        .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    Checkpoint::from_bytes(&bytes)
        .map_err(|reason| CheckpointError::Damaged { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let array =
            ArrayD::from_shape_vec(vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, step as f32]);
        Checkpoint {
            step,
            notes: [("best".to_owned(), "0.5".to_owned())].into(),
            tensors: [("fc.weight".to_owned(), array.unwrap())].into(),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_bit_for_bit() {
        let written = checkpoint(7);
        assert_eq!(Checkpoint::from_bytes(&written.to_bytes().unwrap()), Ok(written));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let bytes = checkpoint(7).to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // A changed byte between tokens of the header may still say the same.
            if let Ok(read) = Checkpoint::from_bytes(&damaged) {
                assert_eq!(read, checkpoint(7), "byte {at}");
            }
            assert!(Checkpoint::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_last_two_stay_and_a_damaged_one_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoints::new(folder.path()).unwrap();
        assert!(kept.last().unwrap().is_none());
        for step in [1, 2, 3] {
            kept.save(&checkpoint(step)).unwrap();
        }
        assert_eq!(kept.list().unwrap().len(), 2);
        let newest = kept.list().unwrap().pop().unwrap();
        let mut bytes = std::fs::read(&newest).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&newest, &bytes).unwrap();
        let found = kept.last().unwrap().unwrap();
        assert_eq!(found.checkpoint, checkpoint(2));
        assert!(found.refused[0].to_string().contains("damaged: expected SHA-256"));
    }
}
