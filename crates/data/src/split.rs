//! Seeded splits of a labelled part. The images stay where they are: a split is two index lists.

use thiserror::Error;

use crate::Split;
use crate::draw::shuffled_classes;

/// Indices into a part, in rising order; together every index once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdout {
    /// What stays, for training.
    pub kept: Vec<usize>,
    /// What is put aside, for validation.
    pub held_out: Vec<usize>,
}

/// Why a part could not be split.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// The share is not a fraction strictly between 0 and 1.
    #[error("share to hold out: expected a number above 0 and below 1, found {found}")]
    Share {
        /// The share given.
        found: f64,
    },
    /// A class has too few members to be on both sides.
    #[error("class {class}: expected at least {expected} members to split, found {found}")]
    TooFew {
        /// The class.
        class: usize,
        /// The fewest that would do.
        expected: usize,
        /// Its members.
        found: usize,
    },
    /// No image of each class is asked for.
    #[error("images of each class: expected at least 1, found {found}")]
    PerClass {
        /// The number given.
        found: usize,
    },
    /// Too few or too many folds.
    #[error("folds: expected 2 to {images}, the number of images, found {found}")]
    Folds {
        /// Number of images.
        images: usize,
        /// The number given.
        found: usize,
    },
    /// A label names no class.
    #[error("label {index}: expected a class below {classes}, found {found}")]
    Class {
        /// Row of the label.
        index: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// An image has no or several classes.
    #[error("{name}: expected one class, found none or several")]
    NoClass {
        /// The sample.
        name: String,
    },
    /// An index names no image.
    #[error("index: expected one below {images}, found {found}")]
    Index {
        /// Number of images.
        images: usize,
        /// The index.
        found: usize,
    },
    /// There is no such part.
    #[error("expected a {split} part, found none")]
    NoPart {
        /// The role.
        split: Split,
    },
    /// A part cannot be split into itself.
    #[error("expected two different roles, found {split} twice")]
    SameRole {
        /// The role.
        split: Split,
    },
}

/// Holds out the given share of every class, drawn by `seed`.
///
/// A class with m members loses round(share · m) of them, at least one and at most m − 1, so that
/// both sides know every class. The same labels, share and seed give the same split on every
/// machine. Cost: O(n).
///
/// - `labels`: `[n]`, the class of each image.
/// - `share`: in (0, 1).
///
/// # Errors
/// [`SplitError::Share`] outside (0, 1); [`SplitError::TooFew`] names the first class with one member.
///
/// # Examples
/// ```
/// let labels = [0, 0, 0, 0, 1, 1, 1, 1];
/// let split = nearkin_data::stratified_split(&labels, 0.25, 0)?;
/// assert_eq!(split.held_out.len(), 2);
/// assert_eq!(split.held_out.iter().map(|&i| labels[i]).sum::<usize>(), 1);
/// # Ok::<(), nearkin_data::SplitError>(())
/// ```
pub fn stratified_split(labels: &[usize], share: f64, seed: u64) -> Result<Holdout, SplitError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(SplitError::Share { found: share });
    }
    let mut split = Holdout { kept: Vec::new(), held_out: Vec::new() };
    for members in shuffled_classes(labels, seed) {
        let found = members.len();
        if found < 2 {
            return Err(SplitError::TooFew { class: labels[members[0]], expected: 2, found });
        }
        let held = ((share * found as f64).round() as usize).clamp(1, found - 1);
        split.held_out.extend_from_slice(&members[..held]);
        split.kept.extend_from_slice(&members[held..]);
    }
    split.kept.sort_unstable();
    split.held_out.sort_unstable();
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_seed_always_draws_the_same_images() {
        let labels: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let split = stratified_split(&labels, 0.1, 7).unwrap();
        assert_eq!(split.held_out, [7, 20, 33, 34]);
        assert_ne!(stratified_split(&labels, 0.1, 8).unwrap(), split);
    }

    #[test]
    fn shares_outside_the_unit_interval_and_lone_labels_are_refused() {
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(matches!(stratified_split(&[0, 0], share, 0), Err(SplitError::Share { .. })));
        }
        let lone = stratified_split(&[3, 0, 0], 0.5, 0).unwrap_err();
        assert_eq!(lone.to_string(), "class 3: expected at least 2 members to split, found 1");
    }

    proptest! {
        #[test]
        fn both_sides_know_every_class_and_share_no_image(
            counts in prop::collection::vec(2_usize..20, 1..6),
            share in 0.01_f64..0.99,
            seed: u64,
        ) {
            let labels: Vec<usize> =
                counts.iter().enumerate().flat_map(|(class, &m)| vec![class; m]).collect();
            let split = stratified_split(&labels, share, seed).unwrap();
            let mut all = [split.kept.clone(), split.held_out.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for (class, &m) in counts.iter().enumerate() {
                let held = split.held_out.iter().filter(|&&i| labels[i] == class).count();
                prop_assert_eq!(held, ((share * m as f64).round() as usize).clamp(1, m - 1));
            }
        }
    }
}
