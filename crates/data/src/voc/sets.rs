//! The lists of `ImageSets`: which images a part has, and which classes they show.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::VocError;

/// An image in a list, with the line it is in, from 1.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) line: usize,
}

/// What a list of a class says of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// 1: there.
    Present,
    /// 0: there, but only as objects marked difficult.
    Difficult,
    /// −1: not there.
    Absent,
}

impl Presence {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Presence::Present => "1",
            Presence::Difficult => "0",
            Presence::Absent => "-1",
        }
    }
}

/// The images of a list such as `train.txt`, each once.
pub(super) fn read_list(path: &Path) -> Result<Vec<Listed>, VocError> {
    let mut seen = BTreeMap::new();
    let mut list = Vec::new();
    for (line, text) in lines(path)? {
        let id = text.split_whitespace().next().unwrap_or_default().to_owned();
        // An id becomes a file's name: it must not lead out of the folder.
        if id.contains(['/', '\\', '\0']) || id.starts_with('.') {
            return Err(entry(path, line, "the name of an image without its ending", &text));
        }
        if let Some(first) = seen.insert(id.clone(), line) {
            let expected = format!("an image that is not in line {first}");
            return Err(entry(path, line, &expected, &text));
        }
        list.push(Listed { id, line });
    }
    Ok(list)
}

/// What a list of a class says by image, with the line.
pub(super) type ClassList = BTreeMap<String, (Presence, usize)>;

/// Reads `<class>_<split>.txt`.
pub(super) fn read_class_list(path: &Path) -> Result<ClassList, VocError> {
    let mut list = ClassList::new();
    for (line, text) in lines(path)? {
        let mut words = text.split_whitespace();
        let presence = match (words.next(), words.next(), words.next()) {
            (Some(id), Some(flag), None) => match flag {
                "1" => Some((id, Presence::Present)),
                "0" => Some((id, Presence::Difficult)),
                "-1" => Some((id, Presence::Absent)),
                _ => None,
            },
            _ => None,
        };
        let Some((id, presence)) = presence else {
            return Err(entry(path, line, "an image and 1, 0 or -1", &text));
        };
        if let Some((_, first)) = list.insert(id.to_owned(), (presence, line)) {
            let expected = format!("an image that is not in line {first}");
            return Err(entry(path, line, &expected, &text));
        }
    }
    Ok(list)
}

/// The classes that have a list for `split`, sorted: file names `<class>_<split>.txt`.
pub(super) fn classes_listed(folder: &Path, split: &str) -> Result<Vec<String>, VocError> {
    let io = |source| VocError::Io { path: folder.to_owned(), source };
    let ending = format!("_{split}.txt");
    let mut classes = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let class = name.to_str().and_then(|name| name.strip_suffix(&ending));
        classes.extend(class.filter(|class| !class.is_empty()).map(str::to_owned));
    }
    classes.sort();
    Ok(classes)
}

fn lines(path: &Path) -> Result<Vec<(usize, String)>, VocError> {
    let bytes = fs::read(path).map_err(|source| VocError::Io { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(index, line)| (index + 1, line.to_owned())).collect())
}

fn entry(path: &Path, line: usize, expected: &str, found: &str) -> VocError {
    VocError::Entry {
        path: path.to_owned(),
        line,
        expected: expected.to_owned(),
        found: found.trim().to_owned(),
    }
}
