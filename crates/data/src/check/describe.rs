//! How many images, of which sizes and kinds, how evenly over the classes.

use std::collections::{BTreeMap, BTreeSet};

use super::matches::Seen;
use super::report::{ClassCount, Described, Kind, PartReport, Sizes, Spread};
use crate::{ListedPart, Listing, Target};

pub(super) fn described(listing: &Listing) -> Described {
    Described {
        name: listing.name.clone(),
        path: listing.root.display().to_string(),
        format: listing.format.as_str().to_owned(),
        images: listing.count(),
        classes: listing.class_names.len(),
    }
}

/// Describes a part; `images` are its samples as seen.
pub(super) fn part(listing: &Listing, part: &ListedPart, images: &[Seen<'_>]) -> PartReport {
    let counts = class_counts(listing, part);
    let filled = counts.iter().filter(|&&n| n > 0);
    let (least, most) = (filled.clone().min(), filled.max());
    let empty = listing.class_names.iter().zip(&counts).filter(|(_, n)| **n == 0);
    let prints: Vec<_> = images.iter().filter_map(|image| image.print.as_ref()).collect();
    let unlabelled = |image: &&Seen<'_>| image.sample.target == Target::Unlabelled;
    PartReport {
        part: part.split,
        images: part.samples.len(),
        broken: images.len() - prints.len(),
        unlabelled: images.iter().filter(unlabelled).count(),
        sizes: sizes(&prints.iter().map(|print| print.size).collect::<Vec<_>>()),
        modes: kinds(prints.iter().map(|print| print.mode.to_owned())),
        file_formats: kinds(prints.iter().map(|print| match print.format {
            Some(format) => format.to_string(),
            None => listing.format.as_str().to_owned(),
        })),
        imbalance: least.zip(most).map(|(&least, &most)| most as f64 / least as f64),
        // Without a single label nothing is known of the classes.
        empty_classes: match most {
            Some(_) => empty.map(|(name, _)| name.clone()).collect(),
            None => Vec::new(),
        },
    }
}

/// Images of each class for each part.
pub(super) fn classes(listing: &Listing) -> Vec<ClassCount> {
    let counts: Vec<Vec<usize>> =
        listing.parts.iter().map(|part| class_counts(listing, part)).collect();
    let names = listing.class_names.iter().enumerate();
    names
        .map(|(class, name)| ClassCount {
            name: name.clone(),
            images: counts.iter().map(|part| part[class]).collect(),
        })
        .collect()
}

fn class_counts(listing: &Listing, part: &ListedPart) -> Vec<usize> {
    let mut counts = vec![0; listing.class_names.len()];
    let mut count = |class: usize| {
        if let Some(n) = counts.get_mut(class) {
            *n += 1;
        }
    };
    for sample in &part.samples {
        match &sample.target {
            Target::Unlabelled => {}
            Target::Class(class) => count(*class),
            Target::Classes { present, .. } => present.iter().copied().for_each(&mut count),
        }
    }
    counts
}

/// Spread of sizes (height, width).
fn sizes(sizes: &[(u32, u32)]) -> Option<Sizes> {
    let different = sizes.iter().collect::<BTreeSet<_>>().len();
    let width: Vec<u32> = sizes.iter().map(|size| size.1).collect();
    let height: Vec<u32> = sizes.iter().map(|size| size.0).collect();
    let aspect = sizes.iter().map(|&(h, w)| f64::from(w) / f64::from(h)).collect();
    Some(Sizes {
        different,
        width: spread(width, u32::cmp)?,
        height: spread(height, u32::cmp)?,
        aspect: spread(aspect, f64::total_cmp)?,
    })
}

fn spread<T: Copy>(
    mut values: Vec<T>,
    compare: fn(&T, &T) -> std::cmp::Ordering,
) -> Option<Spread<T>> {
    values.sort_unstable_by(compare);
    Some(Spread {
        min: *values.first()?,
        median: *values.get(values.len() / 2)?,
        max: *values.last()?,
    })
}

/// By falling count, then by name.
fn kinds(names: impl Iterator<Item = String>) -> Vec<Kind> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut kinds: Vec<Kind> =
        counts.into_iter().map(|(name, images)| Kind { name, images }).collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.images));
    kinds
}
