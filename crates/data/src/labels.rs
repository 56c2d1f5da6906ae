//! Classes from labels as text: numbers, or names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use thiserror::Error;

use crate::Target;

/// Classes that numbers may ask for: a single wrong label must not make millions of names.
const MAX_CLASSES: u64 = 1 << 20;

/// Lists of names that may lie beside a manifest or shards, one a line.
const NAME_LISTS: [&str; 2] = ["classes.txt", "classnames.txt"];

/// Why labels make no classes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelFault {
    /// A number that is no class.
    #[error("expected a class from 0 to {most}, found {found}")]
    Number {
        /// The highest class.
        most: u64,
        /// The number.
        found: i64,
    },
    /// A name that is not in the list.
    #[error("expected one of {classes} classes, found {found:?}")]
    Name {
        /// Number of classes in the list.
        classes: usize,
        /// The name.
        found: String,
    },
}

/// The names of the list beside a manifest or shards, if there is one.
pub(crate) fn listed_names(folder: &Path) -> Option<Vec<String>> {
    let text = NAME_LISTS.iter().find_map(|name| fs::read_to_string(folder.join(name)).ok())?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    (!names.is_empty()).then_some(names)
}

/// Class names, and what each row shows.
///
/// If all labels are numbers they are the classes. Otherwise they are names, and classes are
/// numbered by the bytes of the names, or as `known` lists them. If any row has several labels, all
/// labelled rows have sets of classes. A fault comes with the row's index.
pub(crate) fn targets(
    rows: &[&[String]],
    known: Option<Vec<String>>,
) -> Result<(Vec<String>, Vec<Target>), (usize, LabelFault)> {
    let numbers = rows.iter().flat_map(|row| row.iter()).map(|label| label.parse::<i64>().ok());
    let highest = numbers.clone().flatten().max();
    let all_numbers = highest.is_some() && numbers.clone().all(|number| number.is_some());
    let class_names = match (known, highest.filter(|_| all_numbers)) {
        (Some(known), _) => known,
        (None, Some(highest)) => {
            let count = u64::try_from(highest).unwrap_or(0).min(MAX_CLASSES - 1) + 1;
            (0..count).map(|class| class.to_string()).collect()
        }
        (None, None) => {
            let mut names: Vec<String> = rows.iter().flat_map(|row| row.iter()).cloned().collect();
            names.sort();
            names.dedup();
            names
        }
    };
    let index: BTreeMap<&str, usize> =
        class_names.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)).collect();
    let class = |label: &String| match label.parse::<i64>() {
        Ok(found) if all_numbers => usize::try_from(found)
            .ok()
            .filter(|&class| class < class_names.len())
            .ok_or(LabelFault::Number { most: class_names.len() as u64 - 1, found }),
        _ => index
            .get(label.as_str())
            .copied()
            .ok_or_else(|| LabelFault::Name { classes: class_names.len(), found: label.clone() }),
    };
    let several = rows.iter().any(|row| row.len() > 1);
    let target = |(row, labels): (usize, &&[String])| {
        let mut classes =
            labels.iter().map(class).collect::<Result<Vec<_>, _>>().map_err(|e| (row, e))?;
        Ok(match classes[..] {
            [] => Target::Unlabelled,
            [class] if !several => Target::Class(class),
            _ => {
                classes.sort_unstable();
                classes.dedup();
                Target::Classes { present: classes, difficult: Vec::new() }
            }
        })
    };
    let targets = rows.iter().enumerate().map(target).collect::<Result<_, _>>()?;
    Ok((class_names, targets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[&[&str]], known: Option<&[&str]>) -> Result<(String, Vec<Target>), String> {
        let owned = |labels: &[&str]| labels.iter().map(|&l| l.to_owned()).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| owned(row)).collect();
        let rows: Vec<&[String]> = rows.iter().map(Vec::as_slice).collect();
        let read = targets(&rows, known.map(owned));
        read.map(|(names, targets)| (names.join(" "), targets))
            .map_err(|(row, fault)| format!("row {row}: {fault}"))
    }

    #[test]
    fn numbers_are_classes_and_names_are_sorted() {
        let (names, targets) = check(&[&["2"], &[], &["0"]], None).unwrap();
        assert_eq!(names, "0 1 2");
        assert_eq!(targets, [Target::Class(2), Target::Unlabelled, Target::Class(0)]);
        let (names, targets) = check(&[&["dog"], &["10"]], None).unwrap();
        assert_eq!((names.as_str(), &targets[0]), ("10 dog", &Target::Class(1)));
        let (_, targets) = check(&[&["dog"]], Some(&["dog", "cat"])).unwrap();
        assert_eq!(targets, [Target::Class(0)]);
    }

    #[test]
    fn one_row_with_several_labels_makes_sets_of_all() {
        let (_, targets) = check(&[&["b", "a"], &["b"], &[]], None).unwrap();
        let set = |present: &[usize]| Target::Classes {
            present: present.to_vec(),
            difficult: Vec::new(),
        };
        assert_eq!(targets, [set(&[0, 1]), set(&[1]), Target::Unlabelled]);
    }

    #[test]
    fn labels_that_name_no_class_are_refused() {
        let error = |rows, known| check(rows, known).unwrap_err();
        let negative = "row 1: expected a class from 0 to 3, found -1";
        assert_eq!(error(&[&["3"], &["-1"]], None), negative);
        let huge = "row 0: expected a class from 0 to 1048575, found 999999999999";
        assert_eq!(error(&[&["999999999999"]], None), huge);
        let known = Some(&["cat", "dog"][..]);
        assert_eq!(error(&[&["2"]], known), "row 0: expected a class from 0 to 1, found 2");
        let name = "row 0: expected one of 2 classes, found \"cow\"";
        assert_eq!(error(&[&["cow"]], known), name);
    }
}
