//! Exact neighbours in bounded memory that survive a kill: finished rows lie in a file.
//!
//! Beside the output NAME stand NAME.parts, to which each finished strip of rows is appended with its hash, and
//! NAME.pending, what is known of the other rows, written anew under a temporary name after every strip.
//! A search that starts again with the same points, k, distance, memory and strips checks both and
//! goes on after the last strip that is whole; anything else in the files is refused or overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2};
use nearkin_metrics::{Distance, Neighbours, Pending, SelfJoin, Strip};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::NeighbourError;
use crate::neighbours::check;

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Strips finished, those of an earlier run included.
    pub strips: usize,
    /// Strips in all.
    pub of: usize,
    /// Share of the current strip that is done, in \[0, 1\].
    pub share: f64,
}

/// Limits of a search that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that the search may use besides the points themselves; `None` for what is fastest.
    pub memory_bytes: Option<u64>,
    /// Strips of rows at least: what a kill can lose is one strip.
    pub strips: usize,
}

/// Why a resumable search failed.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// The points have no neighbours.
    #[error(transparent)]
    Neighbours(#[from] NeighbourError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The files belong to a search of other points or by other rules.
    #[error("{}: expected parts of this search, found those of another: remove it to start anew", path.display())]
    OtherSearch {
        /// The file.
        path: PathBuf,
    },
}

/// The `k` nearest other points of every point, exactly, going on where a killed run stopped.
///
/// - `points`: `[n, d]`, finite; a view of a mapped file costs no memory of its own.
/// - `beside`: the path that the parts are named after; they are removed when all is done.
/// - `progress`: told how far the search is, from any thread.
///
/// # Errors
/// [`ResumeError::OtherSearch`] if parts of another search lie there; [`NeighbourError`] as for
/// [`crate::nearest_neighbours`]; [`ResumeError::File`].
pub fn resumable_neighbours(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    bounds: Bounds,
    beside: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Neighbours, ResumeError> {
    check(points, k)?;
    let mut join = SelfJoin::new(points, k, distance, bounds.memory_bytes, bounds.strips)
        .map_err(NeighbourError::from)?;
    let identity = identity(points, k, distance, &join);
    let parts = Parts { path: named(beside, "parts"), identity, k };
    let pending_path = named(beside, "pending");
    let mut neighbours = Neighbours {
        indices: Array2::zeros((points.nrows(), k)),
        distances: Array2::zeros((points.nrows(), k)),
    };
    let mut done = 0;
    let (whole, length) = parts.read()?;
    if let Some((strips, pending)) = read_pending(&pending_path, &identity)? {
        // The list of what is pending is written after the strip: it may lag by one, never lead.
        if strips <= whole.len() && join.resume(strips, &pending).is_ok() {
            done = strips;
        }
    }
    whole.iter().take(done).for_each(|(strip, _)| enter(&mut neighbours, strip));
    let keep = if done == 0 { HEADER } else { whole[done - 1].1 };
    let mut file = parts.open(keep, length)?;
    let of = join.strips();
    loop {
        let strips = done;
        let told = |share| progress(Progress { strips, of, share });
        let Some(strip) = join.next_strip(&told) else { break };
        parts.append(&mut file, &strip)?;
        enter(&mut neighbours, &strip);
        done += 1;
        write_pending(&pending_path, &identity, done, &join.pending())?;
    }
    drop(file);
    for path in [&parts.path, &pending_path] {
        fs::remove_file(path).map_err(|source| failed(path, source))?;
    }
    Ok(neighbours)
}

fn enter(neighbours: &mut Neighbours, strip: &Strip) {
    let rows = strip.first..strip.first + strip.neighbours.indices.nrows();
    let part = ndarray::s![rows, ..];
    neighbours.indices.slice_mut(part).assign(&strip.neighbours.indices);
    neighbours.distances.slice_mut(part).assign(&strip.neighbours.distances);
}

type Hash = [u8; 32];
const HEADER: u64 = 40;
const MAGIC: &[u8; 8] = b"nkparts1";

/// What makes a search this one: the points to the last bit, k, the distance, and how rows are cut.
fn identity(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    join: &SelfJoin<'_>,
) -> Hash {
    let mut hash = Sha256::new();
    let cut =
        [points.nrows(), points.ncols(), k, join.strip_rows(), usize::from(join.is_symmetric())];
    cut.iter().for_each(|&number| hash.update((number as u64).to_le_bytes()));
    hash.update(distance.as_str());
    let mut bytes = Vec::new();
    for row in points.rows() {
        bytes.clear();
        row.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

fn named(beside: &Path, what: &str) -> PathBuf {
    let mut name = beside.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn failed(path: &Path, source: io::Error) -> ResumeError {
    ResumeError::File { path: path.to_owned(), source }
}

/// The file of finished strips: magic and identity, then for each strip its first row and number of rows (u64),
/// indices (u64) and distances (f32), and the hash of all that.
struct Parts {
    path: PathBuf,
    identity: Hash,
    k: usize,
}

impl Parts {
    /// The strips that are whole, each with where it ends, and the length of the file.
    fn read(&self) -> Result<(Vec<(Strip, u64)>, u64), ResumeError> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => file.read_to_end(&mut bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => Err(error),
        }
        .map_err(|source| failed(&self.path, source))?;
        let length = bytes.len() as u64;
        if bytes.len() < HEADER as usize {
            return Ok((Vec::new(), length));
        }
        if &bytes[..8] != MAGIC || bytes[8..40] != self.identity {
            return Err(ResumeError::OtherSearch { path: self.path.clone() });
        }
        let (mut strips, mut at) = (Vec::new(), HEADER as usize);
        while let Some((strip, end)) = self.strip(&bytes, at) {
            at = end;
            strips.push((strip, end as u64));
        }
        Ok((strips, length))
    }

    /// The strip at `at`, if it is whole, and where it ends.
    fn strip(&self, bytes: &[u8], at: usize) -> Option<(Strip, usize)> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at.checked_add(8)?)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let (first, rows) = (number(at)?, usize::try_from(number(at + 8)?).ok()?);
        let entries = rows.checked_mul(self.k)?;
        let body = entries.checked_mul(12)?.checked_add(16)?;
        let end = at.checked_add(body)?;
        let (data, hash) = (bytes.get(at..end)?, bytes.get(end..end.checked_add(32)?)?);
        if Sha256::digest(data).as_slice() != hash {
            return None;
        }
        let (indices, distances) = data[16..].split_at(8 * entries);
        let indices = indices.as_chunks::<8>().0.iter().map(|&b| u64::from_le_bytes(b) as usize);
        let distances = distances.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
        let neighbours = Neighbours {
            indices: Array2::from_shape_vec((rows, self.k), indices.collect()).ok()?,
            distances: Array2::from_shape_vec((rows, self.k), distances.collect()).ok()?,
        };
        Some((Strip { first: usize::try_from(first).ok()?, neighbours }, end + 32))
    }

    /// The file, cut off after `keep` bytes and ready for more.
    fn open(&self, keep: u64, length: u64) -> Result<File, ResumeError> {
        let open = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
            if length < HEADER {
                file.set_len(0)?;
                file.write_all(MAGIC)?;
                file.write_all(&self.identity)?;
            } else {
                file.set_len(keep)?;
            }
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        open().map_err(|source| failed(&self.path, source))
    }

    fn append(&self, file: &mut File, strip: &Strip) -> Result<(), ResumeError> {
        let Strip { first, neighbours } = strip;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(*first as u64).to_le_bytes());
        bytes.extend_from_slice(&(neighbours.indices.nrows() as u64).to_le_bytes());
        neighbours.indices.iter().for_each(|&i| bytes.extend_from_slice(&(i as u64).to_le_bytes()));
        neighbours.distances.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        let hash = Sha256::digest(&bytes);
        let write = || {
            file.write_all(&bytes)?;
            file.write_all(&hash)?;
            file.sync_data()
        };
        let mut write = write;
        write().map_err(|source| failed(&self.path, source))
    }
}

/// Identity, number of finished strips, first row, then for each row its number of entries (u32) and entries
/// (rank f64, index u32); and the hash of all that.
fn write_pending(
    path: &Path,
    identity: &Hash,
    strips: usize,
    pending: &Pending,
) -> Result<(), ResumeError> {
    let mut bytes = identity.to_vec();
    bytes.extend_from_slice(&(strips as u64).to_le_bytes());
    bytes.extend_from_slice(&(pending.first as u64).to_le_bytes());
    for near in &pending.near {
        bytes.extend_from_slice(&(near.len() as u32).to_le_bytes());
        for (rank, index) in near {
            bytes.extend_from_slice(&rank.to_le_bytes());
            bytes.extend_from_slice(&index.to_le_bytes());
        }
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    let beside = named(path, "new");
    fs::write(&beside, &bytes).map_err(|source| failed(&beside, source))?;
    fs::rename(&beside, path).map_err(|source| failed(path, source))
}

fn read_pending(path: &Path, identity: &Hash) -> Result<Option<(usize, Pending)>, ResumeError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    Ok(parse_pending(&bytes, identity))
}

fn parse_pending(bytes: &[u8], identity: &Hash) -> Option<(usize, Pending)> {
    let (data, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(data).as_slice() != hash || data.get(..32)? != identity {
        return None;
    }
    let mut rest = data.get(32..)?;
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    let strips = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let first = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let mut near = Vec::new();
    while let Some(count) = take(4) {
        let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
        let entries = take(count.checked_mul(12)?)?.as_chunks::<12>().0;
        let entry = |bytes: &[u8; 12]| {
            let (rank, index) = bytes.split_at(8);
            let index = u32::from_le_bytes(index.try_into().ok()?);
            Some((f64::from_le_bytes(rank.try_into().ok()?), index))
        };
        near.push(entries.iter().map(entry).collect::<Option<Vec<_>>>()?);
    }
    let (strips, first) = (usize::try_from(strips).ok()?, usize::try_from(first).ok()?);
    Some((strips, Pending { first, near }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, nearest_neighbours};
    use std::sync::Mutex;

    fn points() -> Array2<f32> {
        Array2::from_shape_fn((1500, 6), |(i, j)| ((i * 7919 + j * 104_729) % 211) as f32)
    }

    const K: usize = 7;

    fn run(beside: &Path, bounds: Bounds) -> Result<(Neighbours, Vec<Progress>), ResumeError> {
        let told = Mutex::new(Vec::new());
        let points = points();
        let found =
            resumable_neighbours(points.view(), K, Distance::Euclidean, bounds, beside, &|p| {
                told.lock().unwrap().push(p);
            })?;
        Ok((found, told.into_inner().unwrap()))
    }

    /// Leaves the files as a kill during strip `strips` would; returns how many strips there are.
    fn killed(beside: &Path, bounds: Bounds, strips: usize) -> usize {
        let points = points();
        let mut join = SelfJoin::new(
            points.view(),
            K,
            Distance::Euclidean,
            bounds.memory_bytes,
            bounds.strips,
        )
        .unwrap();
        let identity = identity(points.view(), K, Distance::Euclidean, &join);
        let parts = Parts { path: named(beside, "parts"), identity, k: K };
        let mut file = parts.open(HEADER, 0).unwrap();
        for done in 1..=strips {
            let strip = join.next_strip(&|_| ()).unwrap();
            parts.append(&mut file, &strip).unwrap();
            write_pending(&named(beside, "pending"), &identity, done, &join.pending()).unwrap();
        }
        join.strips()
    }

    #[test]
    fn a_killed_search_goes_on_without_redoing_strips_and_gives_the_same_result() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join("graph");
        let whole = nearest_neighbours(points().view(), K, Distance::Euclidean, Engine::Products);
        let whole = whole.unwrap();
        for memory_bytes in [None, Some(700_000)] {
            let bounds = Bounds { memory_bytes, strips: 3 };
            for strips in 0..=2 {
                let of = killed(&beside, bounds, strips);
                assert!(of >= 3);
                // A torn write at the end of the file is overwritten.
                let mut file =
                    OpenOptions::new().append(true).open(named(&beside, "parts")).unwrap();
                file.write_all(&[7; 100]).unwrap();
                let (found, told) = run(&beside, bounds).unwrap();
                assert_eq!(found, whole);
                assert_eq!(told[0].strips, strips, "finished strips are not redone");
                assert_eq!(told[0].of, of);
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no parts remain");
            }
        }
    }

    #[test]
    fn damaged_parts_are_searched_again_and_those_of_another_search_refused() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join("graph");
        let bounds = Bounds { memory_bytes: None, strips: 3 };
        killed(&beside, bounds, 2);
        let parts = named(&beside, "parts");
        let mut bytes = fs::read(&parts).unwrap();
        bytes[100] ^= 1;
        fs::write(&parts, &bytes).unwrap();
        let (found, told) = run(&beside, bounds).unwrap();
        assert_eq!(told[0].strips, 0);
        let whole = nearest_neighbours(points().view(), K, Distance::Euclidean, Engine::Products);
        assert_eq!(found, whole.unwrap());

        killed(&beside, bounds, 1);
        let other = resumable_neighbours(
            points().view(),
            K + 1,
            Distance::Euclidean,
            bounds,
            &beside,
            &|_| (),
        );
        assert!(matches!(other, Err(ResumeError::OtherSearch { .. })));
    }

    #[test]
    fn too_little_memory_is_refused_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { memory_bytes: Some(1000), strips: 1 };
        let error = run(&folder.path().join("graph"), bounds).unwrap_err().to_string();
        assert!(error.contains("memory: expected room"), "{error}");
    }
}
