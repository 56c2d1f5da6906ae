//! The classes of ImageNet models: which index is which synset, and what it is called.
//!
//! Read from the lists in use: `LOC_synset_mapping.txt`, `imagenet_class_index.json`, timm's synset
//! and lemma lists of 1,000, 21,841 or 21,843 classes. WordNet's hierarchy is not known here: a
//! tabby is no cat.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synset {
    /// The WordNet id, `n` and eight digits, if the list has it.
    pub wnid: Option<String>,
    /// Its names, the usual one first, with spaces for underscores; at least one where there is no
    /// WordNet id.
    pub lemmas: Vec<String>,
}

/// Classes by index, found by WordNet id or name.
///
/// # Examples
/// ```
/// use nearkin_data::Vocabulary;
///
/// let words = Vocabulary::parse("n02123045 tabby, tabby cat\nn02123159 tiger cat\n")?;
/// assert_eq!(words.find("Tabby_Cat")?, 0);
/// assert_eq!(words.find_stem("tiger cat 3")?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    classes: Vec<Synset>,
    by_wnid: BTreeMap<String, usize>,
    /// Rising indices for each name in [`folded`] form.
    by_name: BTreeMap<String, Vec<usize>>,
}

/// Why a list of classes could not be read.
#[derive(Debug, Error)]
pub enum VocabularyError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The text of a file is wrong.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<VocabularyError>,
    },
    /// There is no class in it.
    #[error("expected one class a line, found none")]
    Empty,
    /// A line or entry is no class.
    #[error("{place}: expected {expected}, found {found:?}")]
    Entry {
        /// `line 3` or `entry "7"`.
        place: String,
        /// What would have been read.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Not JSON, though it begins so.
    #[error("expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// One WordNet id for two classes.
    #[error("class {index}: expected a new WordNet id, found {wnid}, which is class {first}")]
    Twice {
        /// The id.
        wnid: String,
        /// The class that had it first.
        first: usize,
        /// The class that has it again.
        index: usize,
    },
    /// Two lists that belong together have different lengths.
    #[error("lemmas: expected {expected}, one for each synset, found {found}")]
    Lengths {
        /// Number of synsets.
        expected: usize,
        /// Number of lines with lemmas.
        found: usize,
    },
}

/// Why a name stands for no class.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// No class is called so.
    #[error("expected the WordNet id or a name of one of {classes} classes, found {name:?}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Number of classes.
        classes: usize,
    },
    /// Several classes are called so.
    #[error("expected the name of one class, found {name:?}, which is any of: {}", candidates.join("; "))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The classes called so, each with index, WordNet id and names.
        candidates: Vec<String>,
    },
}

impl Vocabulary {
    /// Joins classes, in the order of the model's outputs.
    ///
    /// # Errors
    /// [`VocabularyError::Empty`], [`VocabularyError::Twice`].
    pub fn new(classes: Vec<Synset>) -> Result<Self, VocabularyError> {
        if classes.is_empty() {
            return Err(VocabularyError::Empty);
        }
        let mut by_wnid = BTreeMap::new();
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, class) in classes.iter().enumerate() {
            if let Some(wnid) = &class.wnid
                && let Some(first) = by_wnid.insert(wnid.clone(), index)
            {
                return Err(VocabularyError::Twice { wnid: wnid.clone(), first, index });
            }
            for name in class.lemmas.iter().cloned().chain([class.lemmas.join(", ")]) {
                let indices = by_name.entry(folded(&name)).or_default();
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
        }
        Ok(Self { classes, by_wnid, by_name })
    }

    /// Reads a list of classes; see [`Vocabulary::parse`].
    ///
    /// # Errors
    /// [`VocabularyError`], with the file's path.
    pub fn read(path: &Path) -> Result<Self, VocabularyError> {
        let in_file =
            |source| VocabularyError::File { path: path.to_owned(), source: Box::new(source) };
        Self::parse(&read_text(path)?).map_err(in_file)
    }

    /// Reads synsets from one file and their names from another, line by line in the same order:
    /// timm's `imagenet21k_goog_synsets.txt` and `imagenet21k_wordnet_lemmas.txt`.
    ///
    /// # Errors
    /// [`VocabularyError::Lengths`] if one is longer; otherwise as [`Vocabulary::read`].
    pub fn read_lists(synsets: &Path, lemmas: &Path) -> Result<Self, VocabularyError> {
        let mut classes = Self::read(synsets)?.classes;
        let names = read_text(lemmas)?;
        let names: Vec<&str> = names.lines().collect();
        if names.len() != classes.len() {
            let (expected, found) = (classes.len(), names.len());
            let source = Box::new(VocabularyError::Lengths { expected, found });
            return Err(VocabularyError::File { path: lemmas.to_owned(), source });
        }
        for (class, names) in classes.iter_mut().zip(names) {
            class.lemmas = split_lemmas(names);
        }
        Self::new(classes)
    }

    /// Reads the text of a list, class 0 first; which list it is, its content says.
    ///
    /// - JSON `{"0": ["n01440764", "tench"], …}` with all numbers from 0 on, in any order;
    /// - lines `n01440764 tench, Tinca tinca`, with a space or a tab after the WordNet id;
    /// - lines of WordNet ids;
    /// - lines of names, separated by commas.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn parse(text: &str) -> Result<Self, VocabularyError> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') {
            return Self::new(parse_json(text)?);
        }
        let mut classes = Vec::new();
        let mut with_wnid = None;
        for (index, line) in text.trim_end().lines().enumerate() {
            let line = line.trim();
            let first = line.split([' ', '\t']).next().unwrap_or_default();
            let has_wnid = is_wnid(first);
            let lemmas = split_lemmas(if has_wnid { &line[first.len()..] } else { line });
            let names_nothing = lemmas.is_empty() && !has_wnid;
            if names_nothing || *with_wnid.get_or_insert(has_wnid) != has_wnid {
                return Err(VocabularyError::Entry {
                    place: format!("line {}", index + 1),
                    expected: if with_wnid == Some(true) { "a WordNet id" } else { "names" },
                    found: line.to_owned(),
                });
            }
            classes.push(Synset { wnid: has_wnid.then(|| first.to_owned()), lemmas });
        }
        Self::new(classes)
    }

    /// These classes with the names that `table` has for their WordNet ids, such as timm's
    /// `imagenet_synset_to_lemma.txt`. A class that the table lacks keeps what it had.
    #[must_use]
    pub fn with_lemmas_of(&self, table: &Vocabulary) -> Self {
        let named = |class: &Synset| {
            let wnid = class.wnid.as_ref();
            let other = wnid.and_then(|wnid| table.by_wnid.get(wnid));
            let lemmas = other.map_or(&class.lemmas, |&index| &table.classes[index].lemmas);
            Synset { wnid: class.wnid.clone(), lemmas: lemmas.clone() }
        };
        // Ids were checked, and names cannot fail.
        Self::new(self.classes.iter().map(named).collect()).unwrap_or_else(|_| self.clone())
    }

    /// The classes, by index.
    pub fn classes(&self) -> &[Synset] {
        &self.classes
    }

    /// The number of classes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// A class's usual name: its first lemma, or its WordNet id where it has none.
    pub fn name(&self, class: usize) -> Option<&str> {
        let class = self.classes.get(class)?;
        class.lemmas.first().or(class.wnid.as_ref()).map(String::as_str)
    }

    /// The usual names of all classes, by index.
    pub fn names(&self) -> Vec<String> {
        (0..self.len()).filter_map(|class| self.name(class)).map(str::to_owned).collect()
    }

    /// The WordNet ids of all classes, by index; `None` if the list has none.
    pub fn wnids(&self) -> Option<Vec<String>> {
        self.classes.iter().map(|class| class.wnid.clone()).collect()
    }

    /// The class with this WordNet id.
    pub fn find_wnid(&self, wnid: &str) -> Option<usize> {
        self.by_wnid.get(wnid).copied()
    }

    /// The classes that `name` may mean, rising: a WordNet id, one of the names, or all names of a
    /// class in order with commas. Case does not matter, and underscores are spaces.
    pub fn candidates(&self, name: &str) -> Vec<usize> {
        let wnid = name.trim().to_ascii_lowercase();
        match self.find_wnid(&wnid) {
            Some(class) => vec![class],
            None => self.by_name.get(&folded(name)).cloned().unwrap_or_default(),
        }
    }

    /// The one class that `name` means; see [`Vocabulary::candidates`].
    ///
    /// # Errors
    /// [`LookupError::Ambiguous`] lists all classes called so.
    pub fn find(&self, name: &str) -> Result<usize, LookupError> {
        match self.candidates(name)[..] {
            [] => Err(LookupError::Unknown { name: name.to_owned(), classes: self.len() }),
            [class] => Ok(class),
            ref several => Err(LookupError::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().map(|&class| self.described(class)).collect(),
            }),
        }
    }

    /// The class that a file's name without its ending means: `tabby cat`, `tabby_cat_3`,
    /// `tabby cat (3)`, `n02123045_17` or `n02123045_tabby`.
    ///
    /// # Errors
    /// As [`Vocabulary::find`].
    pub fn find_stem(&self, stem: &str) -> Result<usize, LookupError> {
        if let Some(wnid) = stem.get(..9).filter(|wnid| is_wnid(&wnid.to_ascii_lowercase())) {
            return self.find(wnid);
        }
        match self.find(stem) {
            Err(LookupError::Unknown { .. }) => {}
            outcome => return outcome,
        }
        let bare = stem.trim_end_matches(|c: char| c.is_ascii_digit() || " _-()".contains(c));
        self.find(bare).map_err(|error| match error {
            LookupError::Unknown { classes, .. } => {
                LookupError::Unknown { name: stem.to_owned(), classes }
            }
            ambiguous => ambiguous,
        })
    }

    fn described(&self, class: usize) -> String {
        let Synset { wnid, lemmas } = &self.classes[class];
        let wnid = wnid.as_deref().unwrap_or("no id");
        format!("class {class} ({wnid}: {})", lemmas.join(", "))
    }
}

/// Whether a name is `n` and eight digits.
pub(crate) fn is_wnid(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 9 && bytes[0] == b'n' && bytes[1..].iter().all(u8::is_ascii_digit)
}

fn read_text(path: &Path) -> Result<String, VocabularyError> {
    fs::read_to_string(path).map_err(|source| VocabularyError::Io { path: path.to_owned(), source })
}

fn folded(name: &str) -> String {
    let spaced = name.to_lowercase().replace('_', " ");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn split_lemmas(text: &str) -> Vec<String> {
    let names = text.split(',').map(|name| name.trim().replace('_', " "));
    names.filter(|name| !name.is_empty()).collect()
}

fn parse_json(text: &str) -> Result<Vec<Synset>, VocabularyError> {
    let entries: BTreeMap<String, (String, String)> = serde_json::from_str(text)?;
    let mut classes = vec![None; entries.len()];
    for (key, (wnid, lemmas)) in entries {
        let entry = |expected, found: &str| VocabularyError::Entry {
            place: format!("entry {key:?}"),
            expected,
            found: found.to_owned(),
        };
        if !is_wnid(&wnid) {
            return Err(entry("a WordNet id", &wnid));
        }
        let place = key.parse().ok().and_then(|index: usize| classes.get_mut(index));
        let place = place.ok_or_else(|| entry("a number below the number of entries", &key))?;
        if place.is_some() {
            return Err(entry("each number once", &key));
        }
        *place = Some(Synset { wnid: Some(wnid), lemmas: split_lemmas(&lemmas) });
    }
    // As many entries as places, and none twice: every place is taken.
    Ok(classes.into_iter().flatten().collect())
}
