#![doc = include_str!("../README.md")]

use nearkin_nn::{Entry, Family};
use std::collections::BTreeMap;

/// Every family of the zoo. A new family is one line here.
static FAMILIES: &[&Family] = &[
    &nearkin_convnet::FAMILY,
    &nearkin_convnext::FAMILY,
    &nearkin_fcnn::FAMILY,
    &nearkin_resnet::FAMILY,
    &nearkin_vgg::FAMILY,
    &nearkin_vit::FAMILY,
];

/// How many similar names an [`UnknownVariant`] offers.
const SUGGESTIONS: usize = 5;

/// Families by name, variants by name.
#[derive(Clone, Debug)]
pub struct Registry {
    families: Vec<&'static Family>,
}

/// A name that no family builds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no variant is called {name:?}; the nearest names are {}", nearest.join(", "))]
pub struct UnknownVariant {
    /// The name.
    pub name: String,
    /// Names of variants, the most similar first.
    pub nearest: Vec<String>,
}

/// A family whose name, or one of whose variants' names, is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} of family {family:?} is registered already")]
pub struct NameTaken {
    /// The family to be added.
    pub family: String,
    /// The name.
    pub name: String,
}

impl Registry {
    /// The families of this workspace.
    pub fn standard() -> Self {
        Self { families: FAMILIES.to_vec() }
    }

    /// The same with one more family.
    ///
    /// # Errors
    /// [`NameTaken`] if the family's name or that of a variant is in use.
    pub fn with(mut self, family: &'static Family) -> Result<Self, NameTaken> {
        let taken =
            |name: &str| NameTaken { family: family.name.to_owned(), name: name.to_owned() };
        if self.families.iter().any(|known| known.name == family.name) {
            return Err(taken(family.name));
        }
        let known: BTreeMap<String, ()> =
            self.entries().map(|entry| (entry.name().to_owned(), ())).collect();
        if let Some(variant) = family.variants.iter().find(|v| known.contains_key(v.name.as_ref()))
        {
            return Err(taken(&variant.name));
        }
        self.families.push(family);
        Ok(self)
    }

    /// All families, in order of their names.
    pub fn families(&self) -> &[&'static Family] {
        &self.families
    }

    /// All listed variants, by family.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.families.iter().flat_map(|family| family.entries())
    }

    /// The variant of this name: a listed one, or one whose name gives its sizes.
    ///
    /// # Errors
    /// [`UnknownVariant`] with the nearest names.
    pub fn variant(&self, name: &str) -> Result<Entry, UnknownVariant> {
        let found = self.families.iter().find_map(|family| family.variant(name));
        found.ok_or_else(|| UnknownVariant { name: name.to_owned(), nearest: self.nearest(name) })
    }

    /// The listed variants whose name, or `group/name`, matches `glob` (`*` any text, `?` any
    /// character); a name without wildcards may also be one that gives sizes.
    ///
    /// # Errors
    /// [`UnknownVariant`] if none matches.
    pub fn matching(&self, glob: &str) -> Result<Vec<Entry>, UnknownVariant> {
        if !glob.contains(['*', '?']) {
            let group: Vec<Entry> =
                self.families.iter().filter(|f| f.name == glob).flat_map(|f| f.entries()).collect();
            return if group.is_empty() {
                self.variant(glob).map(|entry| vec![entry])
            } else {
                Ok(group)
            };
        }
        let matches = |entry: &Entry| {
            glob_matches(glob, entry.name())
                || glob_matches(glob, &format!("{}/{}", entry.family.name, entry.name()))
        };
        let found: Vec<Entry> = self.entries().filter(matches).collect();
        if found.is_empty() {
            return Err(UnknownVariant { name: glob.to_owned(), nearest: self.nearest(glob) });
        }
        Ok(found)
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(usize, String)> = self
            .entries()
            .map(|entry| (strsim::damerau_levenshtein(name, entry.name()), entry.name().to_owned()))
            .collect();
        scored.sort();
        scored.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
    }
}

/// True if `text` is of the form `glob`, where `*` stands for any text and `?` for one character.
///
/// ```
/// assert!(nearkin_zoo::glob_matches("resnet*d", "resnet101d"));
/// assert!(!nearkin_zoo::glob_matches("resnet*d", "resnet101"));
/// ```
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                retry = Some((g + 1, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            // The last star takes one character more.
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (g, t) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}
