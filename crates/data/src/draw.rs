//! Few labels out of many, and folds: draws by class and seed. Nothing is copied.

use crate::random::SplitMix64;
use crate::{Holdout, RandomState, SplitError};

/// Draws `labels.len()`'s few labelled images as the published tables of semi-supervised runs do.
///
/// For each class c in order: `rng.permutation(np.where(y == c)[0])[:count // classes]` with one
/// `rng = np.random.RandomState(seed)`, bit for bit. If `classes` does not divide `count`, fewer
/// than `count` are drawn, as in Python.
///
/// - `labels`: `[n]`, the class of each image, each below `classes`.
/// - `count`: labels in all, at least `classes`.
/// - returns: `[classes · (count / classes)]` indices, class by class, in the order drawn.
///
/// # Errors
/// [`SplitError::Class`] for a label of `classes` or more; [`SplitError::TooFew`] names the first
/// class with fewer members than are to be drawn; [`SplitError::PerClass`] if that is none.
///
/// # Examples
/// ```
/// let labels = [0, 1, 0, 1, 0, 1];
/// let drawn = nearkin_data::draw_labels(&labels, 2, 4, 0)?;
/// // With rng = np.random.RandomState(0): [4 2], then [5 1].
/// assert_eq!(drawn, [4, 2, 5, 1]);
/// # Ok::<(), nearkin_data::SplitError>(())
/// ```
pub fn draw_labels(
    labels: &[usize],
    classes: usize,
    count: usize,
    seed: u32,
) -> Result<Vec<usize>, SplitError> {
    let each = count.checked_div(classes).unwrap_or(0);
    if each == 0 {
        return Err(SplitError::PerClass { found: each });
    }
    let mut members = vec![Vec::new(); classes];
    for (index, &found) in labels.iter().enumerate() {
        let class = members.get_mut(found);
        class.ok_or(SplitError::Class { index, classes, found })?.push(index);
    }
    let mut random = RandomState::new(seed);
    let mut drawn = Vec::with_capacity(classes * each);
    for (class, members) in members.into_iter().enumerate() {
        let found = members.len();
        if found < each {
            return Err(SplitError::TooFew { class, expected: each, found });
        }
        drawn.extend(random.permutation(members).into_iter().take(each));
    }
    Ok(drawn)
}

/// Draws `count` images of every class by `seed`; they are `kept`, the rest is `held_out`.
///
/// The same labels, count and seed give the same draw on every machine. Cost: O(n log n).
///
/// - `labels`: `[n]`, the class of each image.
/// - `count`: at least 1. A class may have just as many.
///
/// # Errors
/// [`SplitError::PerClass`] for 0; [`SplitError::TooFew`] names the first class with fewer.
///
/// # Examples
/// ```
/// let labels = [0, 0, 0, 1, 1, 1, 1];
/// let draw = nearkin_data::draw_per_class(&labels, 2, 0)?;
/// assert_eq!((draw.kept.len(), draw.held_out.len()), (4, 3));
/// # Ok::<(), nearkin_data::SplitError>(())
/// ```
pub fn draw_per_class(labels: &[usize], count: usize, seed: u64) -> Result<Holdout, SplitError> {
    if count == 0 {
        return Err(SplitError::PerClass { found: count });
    }
    let mut split = Holdout { kept: Vec::new(), held_out: Vec::new() };
    for members in shuffled_classes(labels, seed) {
        let found = members.len();
        if found < count {
            return Err(SplitError::TooFew { class: labels[members[0]], expected: count, found });
        }
        split.kept.extend_from_slice(&members[..count]);
        split.held_out.extend_from_slice(&members[count..]);
    }
    split.kept.sort_unstable();
    split.held_out.sort_unstable();
    Ok(split)
}

/// Splits into `folds` parts with the same share of every class, drawn by `seed`.
///
/// Fold i holds out part i and keeps the others. Sizes of parts differ by at most 1, and so do the
/// counts of each class in them. Cost: O(n · folds).
///
/// - `labels`: `[n]`, the class of each image.
/// - `folds`: at least 2 and at most n.
/// - returns: `[folds]`.
///
/// # Errors
/// [`SplitError::Folds`] outside that range.
///
/// # Examples
/// ```
/// let folds = nearkin_data::stratified_folds(&[0, 1, 0, 1, 0, 1], 3, 0)?;
/// assert!(folds.iter().all(|fold| fold.held_out.len() == 2 && fold.kept.len() == 4));
/// # Ok::<(), nearkin_data::SplitError>(())
/// ```
pub fn stratified_folds(
    labels: &[usize],
    folds: usize,
    seed: u64,
) -> Result<Vec<Holdout>, SplitError> {
    if folds < 2 || folds > labels.len() {
        return Err(SplitError::Folds { images: labels.len(), found: folds });
    }
    // Dealing out goes on from class to class, so that no fold gets the rest of each.
    let mut fold_of = vec![0; labels.len()];
    let dealt = shuffled_classes(labels, seed).into_iter().flatten();
    dealt.enumerate().for_each(|(turn, index)| fold_of[index] = turn % folds);
    let fold = |fold: usize| {
        let (held_out, kept) = (0..labels.len()).partition(|&index| fold_of[index] == fold);
        Holdout { kept, held_out }
    };
    Ok((0..folds).map(fold).collect())
}

/// The members of each class that has some, classes rising, members shuffled.
pub(crate) fn shuffled_classes(labels: &[usize], seed: u64) -> Vec<Vec<usize>> {
    // A stable sort by class groups the members of each class, in rising order of index.
    let mut by_class: Vec<usize> = (0..labels.len()).collect();
    by_class.sort_by_key(|&i| labels[i]);
    let mut random = SplitMix64(seed);
    let classes = by_class.chunk_by_mut(|&a, &b| labels[a] == labels[b]);
    classes
        .map(|members| {
            random.shuffle(members);
            members.to_vec()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let check = |error: SplitError, expected: &str| assert_eq!(error.to_string(), expected);
        let labels = [0, 0, 1];
        let few = "class 1: expected at least 2 members to split, found 1";
        check(draw_per_class(&labels, 2, 0).unwrap_err(), few);
        check(draw_labels(&labels, 2, 4, 0).unwrap_err(), few);
        let absent = "class 2: expected at least 1 members to split, found 0";
        check(draw_labels(&labels, 3, 3, 0).unwrap_err(), absent);
        let label = "label 2: expected a class below 1, found 1";
        check(draw_labels(&labels, 1, 1, 0).unwrap_err(), label);
        let none = "images of each class: expected at least 1, found 0";
        check(draw_labels(&labels, 2, 1, 0).unwrap_err(), none);
        check(draw_labels(&labels, 0, 1, 0).unwrap_err(), none);
        check(draw_per_class(&labels, 0, 0).unwrap_err(), none);
        let folds = "folds: expected 2 to 3, the number of images, found 4";
        check(stratified_folds(&labels, 4, 0).unwrap_err(), folds);
        assert!(stratified_folds(&labels, 1, 0).is_err());
    }

    proptest! {
        #[test]
        fn folds_hold_out_every_image_once_and_every_class_evenly(
            labels in prop::collection::vec(0_usize..5, 2..80), folds in 2_usize..9, seed: u64,
        ) {
            prop_assume!(folds <= labels.len());
            let split = stratified_folds(&labels, folds, seed).unwrap();
            let mut all: Vec<usize> = split.iter().flat_map(|f| f.held_out.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in 0..5 {
                let counts = split.iter().map(|fold| {
                    fold.held_out.iter().filter(|&&i| labels[i] == class).count()
                });
                let counts: Vec<usize> = counts.collect();
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(most - least <= 1);
            }
            for fold in &split {
                prop_assert_eq!(fold.kept.len() + fold.held_out.len(), labels.len());
                prop_assert!(fold.kept.iter().all(|i| !fold.held_out.contains(i)));
            }
        }

        #[test]
        fn a_draw_has_as_many_of_each_class_as_asked(
            labels in prop::collection::vec(0_usize..3, 1..60), count in 1_usize..6, seed: u64,
        ) {
            let mut counts = [0; 3];
            labels.iter().for_each(|&label| counts[label] += 1);
            match draw_per_class(&labels, count, seed) {
                Ok(draw) => for (class, &all) in counts.iter().enumerate() {
                    let kept = draw.kept.iter().filter(|&&i| labels[i] == class).count();
                    prop_assert_eq!(kept, count.min(all));
                },
                Err(_) => prop_assert!(counts.iter().any(|&n| n > 0 && n < count)),
            }
        }
    }
}
