//! The labels of ImageNet's flat validation folder, in the files that are in use.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Vocabulary;
use crate::vocabulary::is_wnid;

/// Names that are looked for, and in which folders below the images' and the data set's.
const FILES: [&str; 5] = [
    "LOC_val_solution.csv",
    "ILSVRC2012_validation_ground_truth.txt",
    "imagenet_2012_validation_synset_labels.txt",
    "synset_labels.txt",
    "val.txt",
];
const FOLDERS: [&str; 4] = ["", "devkit/data", "ILSVRC2012_devkit_t12/data", "ILSVRC/devkit/data"];

/// The devkit's list of `WordNet id, ILSVRC id, name` lines.
const DEVKIT_CLASSES: &str = "map_clsloc.txt";

/// Labels of validation images, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroundTruth {
    labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Labels {
    /// By the image's name without its ending.
    ByName(BTreeMap<String, Label>),
    /// Image k, from 1, is in line k.
    InOrder(Vec<Label>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Wnid(String),
    /// An index into the classes, from 0.
    Class(usize),
    /// The devkit's own number, from 1, in another order than the models'.
    Devkit(usize),
}

/// What is wrong with a label file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroundTruthFault {
    /// There are no labels in it.
    #[error("expected labels, found none")]
    Empty,
    /// A line is no label.
    #[error("line {line}: expected {expected}, found {found:?}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What would have been read.
        expected: &'static str,
        /// The line.
        found: String,
    },
}

/// Why labels could not be found for images.
#[derive(Debug, Error)]
pub enum GroundTruthError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its text is wrong.
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: GroundTruthFault,
    },
    /// The devkit's numbers need the devkit's list of classes.
    #[error("{}: expected {DEVKIT_CLASSES} beside it, which says what the devkit's numbers mean, found none", path.display())]
    Devkit {
        /// The label file.
        path: PathBuf,
    },
    /// A label names no class.
    #[error("{}: expected one of {classes} classes, found {found}", path.display())]
    Class {
        /// The label file.
        path: PathBuf,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: String,
    },
    /// An image has a number beyond the last line.
    #[error("{}: expected a line for image {number}, found {lines} lines", path.display())]
    Lines {
        /// The label file.
        path: PathBuf,
        /// The image's number, from 1.
        number: usize,
        /// Lines that are there.
        lines: usize,
    },
}

impl GroundTruth {
    /// Reads the text of a label file; which one it is, its content says.
    ///
    /// - `LOC_val_solution.csv`: `ImageId,PredictionString`, the first word of which is a WordNet id;
    /// - lines of an image's name and a WordNet id or a class from 0 on;
    /// - lines of WordNet ids, for image 1 and on;
    /// - lines of the devkit's numbers from 1 on, for image 1 and on.
    ///
    /// # Errors
    /// [`GroundTruthFault`].
    pub fn parse(text: &str) -> Result<Self, GroundTruthFault> {
        let text = text.trim_start_matches('\u{feff}').trim_end();
        if text.is_empty() {
            return Err(GroundTruthFault::Empty);
        }
        let wrong = |index: usize, expected, line: &str| {
            Err(GroundTruthFault::Line { line: index + 1, expected, found: line.to_owned() })
        };
        let csv = text.starts_with("ImageId");
        let mut by_name = BTreeMap::new();
        let mut in_order = Vec::new();
        for (index, line) in text.lines().enumerate().skip(usize::from(csv)) {
            let words: Vec<&str> = line
                .split([',', ' ', '\t'])
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .collect();
            match words[..] {
                [name, label, ..] if in_order.is_empty() && (csv || words.len() == 2) => {
                    let label = match (is_wnid(label), label.parse()) {
                        (true, _) => Label::Wnid(label.to_owned()),
                        (false, Ok(class)) if !csv => Label::Class(class),
                        _ => return wrong(index, "a WordNet id after the image's name", line),
                    };
                    if by_name.insert(stem(name).to_owned(), label).is_some() {
                        return wrong(index, "each image once", line);
                    }
                }
                [label] if by_name.is_empty() && !csv => {
                    in_order.push(match (is_wnid(label), label.parse()) {
                        (true, _) => Label::Wnid(label.to_owned()),
                        (false, Ok(number)) if number > 0 => Label::Devkit(number),
                        _ => return wrong(index, "a WordNet id or a number from 1", line),
                    });
                }
                _ => return wrong(index, "as many words as in the lines before", line),
            }
        }
        Ok(Self {
            labels: if by_name.is_empty() {
                Labels::InOrder(in_order)
            } else {
                Labels::ByName(by_name)
            },
        })
    }

    /// The WordNet ids that are named, sorted, each once.
    pub(crate) fn wnids(&self) -> Vec<String> {
        let wnid = |label: &Label| match label {
            Label::Wnid(wnid) => Some(wnid.clone()),
            _ => None,
        };
        let mut wnids: Vec<String> = match &self.labels {
            Labels::ByName(labels) => labels.values().filter_map(wnid).collect(),
            Labels::InOrder(labels) => labels.iter().filter_map(wnid).collect(),
        };
        wnids.sort();
        wnids.dedup();
        wnids
    }
}

/// A label file that was read, with what its numbers mean.
pub(crate) struct Truth {
    path: PathBuf,
    truth: GroundTruth,
    /// WordNet ids by the devkit's number.
    devkit: BTreeMap<usize, String>,
}

impl Truth {
    /// The first known label file in or below `folders`.
    pub(crate) fn find(folders: &[&Path]) -> Option<PathBuf> {
        let places = folders.iter().flat_map(|f| FOLDERS.iter().map(move |inside| f.join(inside)));
        places.flat_map(|place| FILES.map(|name| place.join(name))).find(|path| path.is_file())
    }

    pub(crate) fn read(path: &Path) -> Result<Self, GroundTruthError> {
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|source| GroundTruthError::Io { path: path.to_owned(), source })
        };
        let truth = GroundTruth::parse(&read(path)?)
            .map_err(|fault| GroundTruthError::Content { path: path.to_owned(), fault })?;
        let mut devkit = BTreeMap::new();
        if let Labels::InOrder(labels) = &truth.labels
            && labels.iter().any(|label| matches!(label, Label::Devkit(_)))
        {
            let list = path.with_file_name(DEVKIT_CLASSES);
            if !list.is_file() {
                return Err(GroundTruthError::Devkit { path: path.to_owned() });
            }
            for (index, line) in read(&list)?.lines().enumerate() {
                let mut words = line.split_whitespace();
                let wnid = words.next().filter(|wnid| is_wnid(wnid));
                let number = words.next().and_then(|word| word.parse().ok());
                let (Some(wnid), Some(number)) = (wnid, number) else {
                    let expected = "a WordNet id and a number";
                    let found = line.to_owned();
                    let fault = GroundTruthFault::Line { line: index + 1, expected, found };
                    return Err(GroundTruthError::Content { path: list, fault });
                };
                devkit.insert(number, wnid.to_owned());
            }
        }
        Ok(Self { path: path.to_owned(), truth, devkit })
    }

    pub(crate) fn wnids(&self) -> Vec<String> {
        let mut wnids = self.truth.wnids();
        wnids.extend(self.devkit.values().cloned());
        wnids.sort();
        wnids.dedup();
        wnids
    }

    /// The class of the image with this file name; `None` if the file does not list it.
    pub(crate) fn class(
        &self,
        name: &str,
        vocabulary: &Vocabulary,
    ) -> Result<Option<usize>, GroundTruthError> {
        let stem = stem(name);
        let label = match &self.truth.labels {
            Labels::ByName(labels) => labels.get(stem),
            Labels::InOrder(labels) => {
                let digits = stem.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                match digits.parse::<usize>() {
                    Ok(number) if number > 0 => {
                        Some(labels.get(number - 1).ok_or_else(|| GroundTruthError::Lines {
                            path: self.path.clone(),
                            number,
                            lines: labels.len(),
                        })?)
                    }
                    _ => None,
                }
            }
        };
        let Some(label) = label else { return Ok(None) };
        let (class, found) = match label {
            Label::Wnid(wnid) => (vocabulary.find_wnid(wnid), wnid.clone()),
            Label::Class(class) => {
                (Some(*class).filter(|&class| class < vocabulary.len()), class.to_string())
            }
            Label::Devkit(number) => (
                self.devkit.get(number).and_then(|wnid| vocabulary.find_wnid(wnid)),
                format!("the devkit's number {number}"),
            ),
        };
        let (path, classes) = (self.path.clone(), vocabulary.len());
        class.map(Some).ok_or(GroundTruthError::Class { path, classes, found })
    }
}

/// A file's name without folder and ending.
pub(crate) fn stem(name: &str) -> &str {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').map_or(base, |(stem, _)| stem)
}
