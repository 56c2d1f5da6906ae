//! Images inside tar archives, in WebDataset's layout.
//!
//! Members that share their name up to the first dot are one sample: `000017.jpg`, `000017.cls`
//! (<https://github.com/webdataset/webdataset>). Nothing is extracted: a sample says where in the
//! archive its bytes lie. Compressed archives have no such place and are refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, EntryType};
use thiserror::Error;

use crate::braces::{BraceError, expand_braces};
use crate::folder::named_split;
use crate::labels::{LabelFault, listed_names, targets};
use crate::walk::{entries, is_image_ending, name_below, own_name, printable_bytes};
use crate::{Format, ListedPart, Listing, Pixels, Quarantined, Sample, Split};

/// Bytes that a member with a label may have.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// Why shards could not be listed.
#[derive(Debug, Error)]
pub enum ShardError {
    /// An archive or folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The archive or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Braces in the path are wrong.
    #[error(transparent)]
    Braces(#[from] BraceError),
    /// There is no archive.
    #[error("{}: expected tar archives, found none", path.display())]
    NoShards {
        /// The path.
        path: PathBuf,
    },
    /// A label makes no class.
    #[error("{name}: {fault}")]
    Label {
        /// The sample.
        name: String,
        /// What is wrong.
        fault: LabelFault,
    },
    /// No image is left.
    #[error("{}: expected images, found none in {shards} archives{}", path.display(), first(quarantine))]
    NoImages {
        /// The path.
        path: PathBuf,
        /// Number of archives.
        shards: usize,
        /// What was set aside.
        quarantine: Vec<Quarantined>,
    },
}

fn first(quarantine: &[Quarantined]) -> String {
    quarantine
        .first()
        .map_or_else(String::new, |q| format!(", the first: {}: {}", q.name, q.reason))
}

/// What one archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarShard {
    /// Its images, in the archive's order.
    pub members: Vec<ShardMember>,
    /// Members that are neither an image nor a label.
    pub ignored: usize,
    /// What is wrong with it, by the member's name; an empty name is the archive itself.
    pub faults: Vec<Quarantined>,
}

/// One image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMember {
    /// Its name in the archive; bytes that are no text as `\xE9`.
    pub name: String,
    /// Its first byte in the archive.
    pub offset: u64,
    /// Its number of bytes.
    pub len: u64,
    /// No, one or several labels.
    pub labels: Vec<String>,
}

/// The members of one key.
#[derive(Default)]
struct Group {
    image: Option<ShardMember>,
    /// Labels by where they are from: `.cls`, `.json`, `.txt`, the first that there is.
    labels: [Option<Vec<String>>; 3],
}

/// Reads the directory of an archive, and its labels; images are passed over.
///
/// A label is the text of the `.cls` member; else what the `.json` member has under `label`, `cls`,
/// `class`, `target` or `labels`; else the text of the `.txt` member. An archive that ends too early
/// keeps the members that are whole. Cost: one look at each member, and memory for names.
///
/// # Errors
/// Only if reading itself fails; what is wrong with the content is in [`TarShard::faults`].
pub fn read_shard(mut archive: impl Read + Seek) -> io::Result<TarShard> {
    let total = archive.seek(SeekFrom::End(0))?;
    archive.seek(SeekFrom::Start(0))?;
    let mut shard = TarShard::default();
    let mut order = Vec::new();
    let mut groups: BTreeMap<Vec<u8>, Group> = BTreeMap::new();
    let mut end = 0;
    let mut archive = Archive::new(archive);
    for entry in archive.entries_with_seek()? {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let reason = format!("after byte {end}: expected a tar header, found: {error}");
                shard.faults.push(Quarantined { name: String::new(), reason });
                end = total;
                break;
            }
        };
        let kind = entry.header().entry_type();
        let path = entry.path_bytes().into_owned();
        let name = printable_bytes(&path);
        let (offset, len) = (entry.raw_file_position(), entry.size());
        end = offset.saturating_add(len);
        let mut fault = |reason: String| {
            shard.faults.push(Quarantined { name: name.clone(), reason });
        };
        if kind == EntryType::GNUSparse {
            fault("expected a whole member, found a sparse one".to_owned());
            continue;
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        if end > total {
            fault(format!(
                "expected {len} bytes from byte {offset} on, found {}: the archive is cut short",
                total.saturating_sub(offset)
            ));
            break;
        }
        let base = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let Some(dot) = path[base..].iter().position(|&byte| byte == b'.').filter(|&d| d > 0)
        else {
            shard.ignored += 1;
            continue;
        };
        let key = path[..base + dot].to_vec();
        let ending = String::from_utf8_lossy(&path[base + dot + 1..]).to_ascii_lowercase();
        let source = ["cls", "json", "txt"].iter().position(|&known| known == ending);
        if source.is_none() && !is_image_ending(&ending) {
            shard.ignored += 1;
            continue;
        }
        let group = groups.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Group::default()
        });
        match source {
            None if group.image.is_some() => {
                fault("expected one image with this key, found another before".to_owned());
            }
            None => {
                group.image = Some(ShardMember { name, offset, len, labels: Vec::new() });
            }
            Some(_) if len > MAX_LABEL_BYTES => {
                fault(format!("expected at most {MAX_LABEL_BYTES} bytes, found {len}"));
            }
            Some(source) => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                match label(&bytes, source) {
                    Ok(labels) => group.labels[source] = labels,
                    Err(reason) => fault(reason),
                }
            }
        }
    }
    // Two blocks of zeros end an archive; without them its tail may be lost.
    if end.saturating_add(1024) > total && end < total.saturating_add(1) && shard.faults.is_empty()
    {
        let reason = "expected two blocks of zeros at the end, found none: the archive may be cut \
                      short"
            .to_owned();
        shard.faults.push(Quarantined { name: String::new(), reason });
    }
    for key in order {
        let Some(Group { image, labels }) = groups.remove(&key) else { continue };
        match image {
            Some(image) => {
                let labels = labels.into_iter().flatten().next().unwrap_or_default();
                shard.members.push(ShardMember { labels, ..image });
            }
            None => shard.faults.push(Quarantined {
                name: printable_bytes(&key),
                reason: "expected an image with this key, found only a label".to_owned(),
            }),
        }
    }
    Ok(shard)
}

/// The labels in a member; `None` if it has none, as JSON that is about something else.
fn label(bytes: &[u8], source: usize) -> Result<Option<Vec<String>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("expected text: {error}"))?;
    let trimmed = text.trim();
    if source != 1 {
        return Ok((!trimmed.is_empty()).then(|| vec![trimmed.to_owned()]));
    }
    let json: serde_json::Value =
        serde_json::from_str(trimmed).map_err(|error| format!("expected JSON: {error}"))?;
    let found = ["label", "cls", "class", "target", "labels"].iter().find_map(|key| json.get(key));
    let one = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(text.trim().to_owned()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("expected a label of text or a number, found {other}")),
    };
    Ok(match found {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::Array(several)) => {
            Some(several.iter().map(one).collect::<Result<_, _>>()?)
        }
        Some(single) => Some(vec![one(single)?]),
    })
}

/// The archives that `path` stands for: a file, a pattern with braces as `{000000..000003}`, or a
/// folder with archives in it or in folders for the splits. `None` if it is none of these.
pub(crate) fn shard_paths(path: &Path) -> Option<Result<Vec<PathBuf>, BraceError>> {
    let is_tar = |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tar"));
    if path.is_file() {
        return is_tar(path).then(|| Ok(vec![path.to_owned()]));
    }
    if path.is_dir() {
        let mut shards = Vec::new();
        for entry in entries(path).ok()?.0 {
            if !entry.is_folder && is_tar(&entry.path) {
                shards.push(entry.path);
            } else if entry.is_folder && named_split(&entry.name()).is_some() {
                let inside = entries(&entry.path).ok()?.0.into_iter().map(|entry| entry.path);
                shards.extend(inside.filter(|path| is_tar(path) && path.is_file()));
            }
        }
        return (!shards.is_empty()).then_some(Ok(shards));
    }
    let text = path.to_str().filter(|text| text.contains('{') && is_tar(path))?;
    Some(expand_braces(text).map(|names| names.into_iter().map(PathBuf::from).collect()))
}

/// Lists the images of tar archives; see [`read_shard`] for what makes a sample.
///
/// - `path`: an archive, `shard-{000000..000003}.tar`, or a folder of archives. All archives of a
///   pattern must be there.
/// - `unnamed`: the role of archives that name none. `train-000.tar` and `val/000.tar` do.
///
/// Labels become classes as in a manifest. What is wrong with a member or with the end of an
/// archive is set aside.
///
/// # Errors
/// [`ShardError`].
pub fn read_shards(path: &Path, unnamed: Split) -> Result<Listing, ShardError> {
    let none = || ShardError::NoShards { path: path.to_owned() };
    let shards = shard_paths(path).ok_or_else(none)??;
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let mut quarantine = Vec::new();
    let mut ignored = 0;
    let mut found = Vec::new();
    for shard in &shards {
        let io = |source| ShardError::Io { path: shard.clone(), source };
        let read = read_shard(BufReader::new(File::open(shard).map_err(io)?)).map_err(io)?;
        let name = name_below(shard, root);
        ignored += read.ignored;
        quarantine.extend(read.faults.into_iter().map(|Quarantined { name: member, reason }| {
            let slash = if member.is_empty() { "" } else { "/" };
            Quarantined { name: format!("{name}{slash}{member}"), reason }
        }));
        let split = split_of(shard, root).unwrap_or(unnamed);
        let place: Arc<Path> = Arc::from(shard.as_path());
        found
            .extend(read.members.into_iter().map(|m| (split, Arc::clone(&place), name.clone(), m)));
    }
    let labels: Vec<&[String]> = found.iter().map(|(.., m)| m.labels.as_slice()).collect();
    let (class_names, targets) = targets(&labels, listed_names(root)).map_err(|(row, fault)| {
        let (_, _, shard, member) = &found[row];
        ShardError::Label { name: format!("{shard}/{}", member.name), fault }
    })?;
    let mut parts: BTreeMap<Split, Vec<Sample>> = BTreeMap::new();
    for ((split, path, shard, member), target) in found.into_iter().zip(targets) {
        let ShardMember { name, offset, len, .. } = member;
        let pixels = Pixels::Slice { path, offset, len };
        let name = format!("{shard}/{name}");
        let sample = Sample { name, pixels, region: None, target, mask: None };
        parts.entry(split).or_default().push(sample);
    }
    if parts.is_empty() {
        let (path, shards) = (path.to_owned(), shards.len());
        return Err(ShardError::NoImages { path, shards, quarantine });
    }
    Ok(Listing {
        name: own_name(path),
        root: root.to_owned(),
        format: Format::Tar,
        class_names,
        class_ids: Vec::new(),
        parts: parts.into_iter().map(|(split, samples)| ListedPart { split, samples }).collect(),
        ignored,
        quarantine,
    })
}

/// The role in an archive's name, or in that of its folder below `root`.
fn split_of(shard: &Path, root: &Path) -> Option<Split> {
    let below = shard.strip_prefix(root).unwrap_or(shard);
    let names = below.iter().rev().filter_map(OsStr::to_str);
    names.flat_map(|name| name.split(|c: char| !c.is_ascii_alphanumeric())).find_map(named_split)
}
