//! Which images are the same or alike, and where that does harm.
//!
//! Images with the same pixels are one *content*. Contents with equal hashes whose levels agree are
//! one *point*, so that a thousand look-alikes cost no million comparisons; pairs of points are
//! found once, and what a point must know of its neighbours is kept as the best so far: memory grows
//! with the images, never with the pairs.

use std::collections::BTreeMap;

use super::fingerprint::Likeness;
use super::inspect::Print;
use super::near::pairs_within;
use super::report::{Duplicates, ImageName, Match, NearDuplicates, NearImage};
use crate::{Listing, Sample, Split, Target};

/// An image of either data set, in the order of the listings.
pub(super) struct Seen<'a> {
    pub(super) listing: &'a Listing,
    /// Whether it is of the data set compared with.
    pub(super) in_against: bool,
    pub(super) split: Split,
    pub(super) sample: &'a Sample,
    /// `None` if it is broken.
    pub(super) print: Option<Print>,
}

impl Seen<'_> {
    pub(super) fn name(&self) -> ImageName {
        let class = |&class: &usize| match self.listing.class_names.get(class) {
            Some(name) => name.clone(),
            None => class.to_string(),
        };
        let label = self.label().map(|classes| {
            let names: Vec<String> = classes.iter().map(class).collect();
            names.join("+")
        });
        ImageName { part: self.split, name: self.sample.name.clone(), label }
    }

    /// The classes it shows; `None` if that is not known.
    fn label(&self) -> Option<&[usize]> {
        match &self.sample.target {
            Target::Unlabelled => None,
            Target::Class(class) => Some(std::slice::from_ref(class)),
            Target::Classes { present, .. } => Some(present),
        }
    }

    /// Parts of both data sets, told apart: 0 to 2, and 3 to 5 of the one compared with.
    fn zone(&self) -> usize {
        let split = match self.split {
            Split::Train => 0,
            Split::Validation => 1,
            Split::Test => 2,
        };
        split + if self.in_against { AGAINST } else { 0 }
    }
}

const ZONES: usize = 6;
const AGAINST: usize = 3;

/// What comparing found, as in [`super::report::Check`].
pub(super) struct Matches {
    pub(super) duplicates: Vec<Duplicates>,
    pub(super) near_duplicates: Vec<NearDuplicates>,
    pub(super) leakage: Vec<Match>,
    pub(super) found_in_against: Vec<Match>,
    pub(super) conflicts: Vec<Match>,
}

/// Compares all images with each other; near ones too if there is a distance.
pub(super) fn matches(images: &[Seen<'_>], near_distance: Option<u32>) -> Matches {
    let contents = contents(images);
    let neighbourhood = near_distance.map(|radius| Neighbourhood::new(images, &contents, radius));
    let search = Search { images, contents: &contents, near: neighbourhood.as_ref() };
    let mut matches = Matches {
        duplicates: duplicates(images, &contents),
        near_duplicates: neighbourhood.as_ref().map_or_else(Vec::new, |near| near.groups(&search)),
        leakage: Vec::new(),
        found_in_against: Vec::new(),
        conflicts: Vec::new(),
    };
    // By image, whichever content it belongs to.
    let mut content_of = vec![None; images.len()];
    for (content, members) in contents.iter().enumerate() {
        members.iter().for_each(|&image| content_of[image] = Some(content));
    }
    let mut conflicts = BTreeMap::new();
    for (image, content) in content_of.into_iter().enumerate() {
        let Some(content) = content.filter(|_| !images[image].in_against) else { continue };
        for zone in 0..images[image].zone() {
            matches
                .leakage
                .extend(search.in_zone(content, zone).map(|found| search.matched(image, found)));
        }
        let zones = AGAINST..ZONES;
        let found = zones.filter_map(|zone| search.in_zone(content, zone)).min();
        matches.found_in_against.extend(found.map(|found| search.matched(image, found)));
        if let Some((distance, other)) = search.contradiction(content, image) {
            conflicts.insert((image.min(other), image.max(other)), distance);
        }
    }
    matches.conflicts = conflicts
        .into_iter()
        .map(|((image, other), distance)| search.matched(image, (distance, other)))
        .collect();
    matches
}

/// The images of each content, rising; contents by their first image.
fn contents(images: &[Seen<'_>]) -> Vec<Vec<usize>> {
    let mut contents: BTreeMap<&[u8; 32], Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        if let Some(print) = &image.print {
            contents.entry(&print.pixels).or_default().push(index);
        }
    }
    let mut contents: Vec<Vec<usize>> = contents.into_values().collect();
    contents.sort_unstable_by_key(|members| members[0]);
    contents
}

fn duplicates(images: &[Seen<'_>], contents: &[Vec<usize>]) -> Vec<Duplicates> {
    let group = |members: &Vec<usize>| {
        let own: Vec<usize> = own(images, members).collect();
        (own.len() > 1).then(|| {
            let bytes = |index: usize| images[index].print.as_ref().and_then(|print| print.bytes);
            let first = bytes(own[0]);
            Duplicates {
                same_bytes: first.is_some() && own.iter().all(|&index| bytes(index) == first),
                images: own.iter().map(|&index| images[index].name()).collect(),
            }
        })
    };
    contents.iter().filter_map(group).collect()
}

/// Those of `members` that are of the data set checked.
fn own<'a>(images: &[Seen<'_>], members: &'a [usize]) -> impl Iterator<Item = usize> + use<'a> {
    // Images of the other data set come after all of them.
    let end = members.partition_point(|&index| !images[index].in_against);
    members[..end].iter().copied()
}

/// An image found, with its distance; `None` for the same pixels, which sorts first.
type Found = (Option<u32>, usize);

struct Search<'a> {
    images: &'a [Seen<'a>],
    contents: &'a [Vec<usize>],
    near: Option<&'a Neighbourhood>,
}

impl Search<'_> {
    /// The image of a zone most like a content.
    fn in_zone(&self, content: usize, zone: usize) -> Option<Found> {
        let same = self.contents[content].iter().find(|&&image| self.images[image].zone() == zone);
        if let Some(&image) = same {
            return Some((None, image));
        }
        let near = self.near?;
        let (distance, image) = near.points[near.point_of[content]?].around.best[zone]?;
        Some((Some(distance), image))
    }

    /// The image most like `image` with another label.
    fn contradiction(&self, content: usize, image: usize) -> Option<Found> {
        let label = self.images[image].label()?;
        let differs =
            |&other: &usize| self.images[other].label().is_some_and(|other| other != label);
        let same = own(self.images, &self.contents[content]).find(differs);
        if let Some(other) = same {
            return Some((None, other));
        }
        let near = self.near?;
        let labelled = near.points[near.point_of[content]?].around.labelled;
        let found = labelled.into_iter().flatten().find(|(_, other)| differs(other));
        found.map(|(distance, other)| (Some(distance), other))
    }

    fn matched(&self, image: usize, (distance, other): Found) -> Match {
        Match { image: self.images[image].name(), same_as: self.images[other].name(), distance }
    }
}

/// The points, and what each knows of those near it.
struct Neighbourhood {
    points: Vec<Point>,
    /// The point of each content; `None` if it is flat.
    point_of: Vec<Option<usize>>,
}

/// The nearest images of a point, with their distances.
#[derive(Clone, Copy, Default)]
struct Around {
    /// The nearest image of each zone.
    best: [Option<(u32, usize)>; ZONES],
    /// The two nearest own images with different labels.
    labelled: [Option<(u32, usize)>; 2],
}

struct Point {
    /// Contents of the data set checked.
    own: Vec<usize>,
    /// What there is at this point or near it.
    around: Around,
    /// Distance to the nearest other point with own contents.
    nearest_own: Option<u32>,
    /// The group's first point, through any number of steps.
    group: usize,
}

impl Neighbourhood {
    fn new(images: &[Seen<'_>], contents: &[Vec<usize>], radius: u32) -> Self {
        let likeness =
            |content: usize| images[contents[content][0]].print.as_ref()?.likeness.as_ref();
        let mut point_of = vec![None; contents.len()];
        let mut points = Vec::new();
        let mut leaders: Vec<&Likeness> = Vec::new();
        let mut by_hash: Vec<(&Likeness, usize)> =
            (0..contents.len()).filter_map(|c| Some((likeness(c)?, c))).collect();
        by_hash.sort_by_key(|&(likeness, content)| (likeness.hash, content));
        for equal in by_hash.chunk_by(|a, b| a.0.hash == b.0.hash) {
            let first = points.len();
            for &(likeness, content) in equal {
                let leader = (first..points.len()).find(|&p| leaders[p].confirms(likeness));
                let point = leader.unwrap_or_else(|| {
                    leaders.push(likeness);
                    points.push(Point::new(points.len()));
                    points.len() - 1
                });
                points[point].add(images, &contents[content], content);
                point_of[content] = Some(point);
            }
        }
        let alone: Vec<Around> = points.iter().map(|point| point.around).collect();
        let hashes: Vec<_> = leaders.iter().map(|leader| leader.hash).collect();
        let mut neighbourhood = Self { points, point_of };
        pairs_within(&hashes, radius, |i, j, distance| {
            if leaders[i].confirms(leaders[j]) {
                neighbourhood.points[i].around.hear(images, &alone[j], distance);
                neighbourhood.points[j].around.hear(images, &alone[i], distance);
                neighbourhood.join(i, j, distance);
            }
        });
        neighbourhood
    }

    /// Puts two points with own contents into one group.
    fn join(&mut self, i: usize, j: usize, distance: u32) {
        if self.points[i].own.is_empty() || self.points[j].own.is_empty() {
            return;
        }
        for point in [i, j] {
            let nearest = &mut self.points[point].nearest_own;
            *nearest = Some(nearest.map_or(distance, |known| known.min(distance)));
        }
        let (i, j) = (self.group_of(i), self.group_of(j));
        self.points[i.max(j)].group = i.min(j);
    }

    fn group_of(&mut self, mut point: usize) -> usize {
        while self.points[point].group != point {
            let above = self.points[point].group;
            self.points[point].group = self.points[above].group;
            point = above;
        }
        point
    }

    fn groups(&self, search: &Search<'_>) -> Vec<NearDuplicates> {
        let root = |mut point: usize| {
            while self.points[point].group != point {
                point = self.points[point].group;
            }
            point
        };
        let mut groups: BTreeMap<usize, Vec<(usize, Option<u32>)>> = BTreeMap::new();
        for (index, point) in self.points.iter().enumerate() {
            let distance = if point.own.len() > 1 { Some(0) } else { point.nearest_own };
            let members = point.own.iter().map(|&content| (search.contents[content][0], distance));
            groups.entry(root(index)).or_default().extend(members);
        }
        let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort_unstable_by_key(|group| group[0].0);
        let near_image = |(image, distance): (usize, Option<u32>)| NearImage {
            image: search.images[image].name(),
            distance: distance.unwrap_or_default(),
        };
        let group = |members: Vec<_>| NearDuplicates {
            images: members.into_iter().map(near_image).collect(),
        };
        groups.into_iter().map(group).collect()
    }
}

impl Point {
    fn new(index: usize) -> Self {
        Self { own: Vec::new(), around: Around::default(), nearest_own: None, group: index }
    }

    /// Adds a content, given by its number and its images.
    fn add(&mut self, images: &[Seen<'_>], members: &[usize], content: usize) {
        if own(images, members).next().is_some() {
            self.own.push(content);
        }
        for &image in members {
            keep_least(&mut self.around.best[images[image].zone()], (0, image));
        }
        for image in own(images, members) {
            self.around.hear_label(images, (0, image));
        }
    }
}

impl Around {
    /// Takes in what a point at `distance` knows of itself.
    fn hear(&mut self, images: &[Seen<'_>], other: &Self, distance: u32) {
        for (mine, other) in self.best.iter_mut().zip(other.best) {
            if let Some((_, image)) = other {
                keep_least(mine, (distance, image));
            }
        }
        for (_, image) in other.labelled.into_iter().flatten() {
            self.hear_label(images, (distance, image));
        }
    }

    /// Keeps the two nearest labelled images whose labels differ.
    fn hear_label(&mut self, images: &[Seen<'_>], candidate: (u32, usize)) {
        let label = images[candidate.1].label();
        if label.is_none() {
            return;
        }
        let [first, second] = &mut self.labelled;
        let same = |slot: &Option<(u32, usize)>| {
            slot.is_some_and(|(_, image)| images[image].label() == label)
        };
        if first.is_none() || same(first) {
            keep_least(first, candidate);
        } else if first.is_some_and(|first| candidate < first) {
            *second = first.replace(candidate);
        } else {
            keep_least(second, candidate);
        }
    }
}

fn keep_least(slot: &mut Option<(u32, usize)>, candidate: (u32, usize)) {
    if slot.is_none_or(|known| candidate < known) {
        *slot = Some(candidate);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::check::fingerprint::pixel_digest;
    use crate::random::SplitMix64;
    use crate::{Format, Image, Pixels};

    /// One of a few patterns, with `noise` of its levels moved a little.
    fn print(pattern: u64, noise: usize) -> Print {
        let mut random = SplitMix64(pattern);
        let knots: Vec<u8> = (0..16).map(|_| random.next_u64() as u8).collect();
        // 4 × 4 tiles of 8 × 8 levels.
        let mut levels: Vec<u8> = (0..1024).map(|i| knots[i / 256 * 4 + i % 32 / 8]).collect();
        (0..noise).for_each(|i| levels[i * 37 % 1024] ^= 1 + 3 * (i % 2) as u8);
        let image = Image::new((32, 32), 1, levels).unwrap();
        Print {
            size: (32, 32),
            mode: "L",
            format: None,
            bytes: None,
            pixels: pixel_digest(&image),
            likeness: Likeness::of(&image).unwrap(),
        }
    }

    fn listing() -> Listing {
        Listing {
            name: "n".into(),
            root: PathBuf::new(),
            format: Format::Folder,
            class_names: vec!["a".into(), "b".into(), "c".into()],
            class_ids: Vec::new(),
            parts: Vec::new(),
            ignored: 0,
            quarantine: Vec::new(),
        }
    }

    /// Every pair, by the definition.
    fn found_by_comparing_all(
        images: &[Seen<'_>],
        image: usize,
        radius: u32,
        candidate: impl Fn(&Seen<'_>) -> bool,
    ) -> Option<Found> {
        let one = images[image].print.as_ref()?;
        let found = images.iter().enumerate().filter_map(|(index, seen)| {
            let other = seen.print.as_ref().filter(|_| index != image && candidate(seen))?;
            if one.pixels == other.pixels {
                return Some((None, index));
            }
            let (a, b) = (one.likeness.as_ref()?, other.likeness.as_ref()?);
            let distance = a.hash.distance(b.hash);
            (distance <= radius && a.confirms(b)).then_some((Some(distance), index))
        });
        found.min()
    }

    proptest! {
        #[test]
        fn matches_are_those_that_comparing_all_pairs_finds(
            drawn in prop::collection::vec((0_u64..5, 0_usize..6, 0_usize..4, 0_usize..5), 0..40),
            radius in 0_u32..12,
        ) {
            let listing = listing();
            let mut drawn = drawn;
            drawn.sort_by_key(|(.., zone)| *zone);
            let names = (0..drawn.len()).map(|i| i.to_string());
            let samples: Vec<Sample> = names
                .zip(&drawn)
                .map(|(name, &(.., class, _))| Sample {
                    name,
                    pixels: Pixels::File(PathBuf::new()),
                    region: None,
                    target: if class == 3 { Target::Unlabelled } else { Target::Class(class) },
                    mask: None,
                })
                .collect();
            let images: Vec<Seen<'_>> = samples
                .iter()
                .zip(&drawn)
                .map(|(sample, &(pattern, noise, _, zone))| Seen {
                    listing: &listing,
                    in_against: zone >= 3,
                    split: [Split::Train, Split::Validation, Split::Test][zone % 3],
                    sample,
                    print: Some(print(pattern, noise)),
                })
                .collect();
            let search = |image, candidate: &dyn Fn(&Seen<'_>) -> bool| {
                found_by_comparing_all(&images, image, radius, candidate)
            };
            let (mut leakage, mut against, mut conflicts) = (vec![], vec![], BTreeMap::new());
            for (index, image) in images.iter().enumerate().filter(|(_, seen)| !seen.in_against) {
                for zone in 0..image.zone() {
                    leakage.extend(search(index, &|seen| seen.zone() == zone).map(|f| (index, f)));
                }
                against.extend(search(index, &|seen| seen.in_against).map(|f| (index, f)));
                let other_label = |seen: &Seen<'_>| {
                    let (mine, other) = (image.label(), seen.label());
                    !seen.in_against && mine.is_some() && other.is_some() && mine != other
                };
                if let Some((distance, other)) = search(index, &other_label) {
                    conflicts.insert((index.min(other), index.max(other)), distance);
                }
            }
            let found = matches(&images, Some(radius));
            let plain = |found: &[Match]| -> Vec<(usize, Found)> {
                let number = |image: &ImageName| image.name.parse().unwrap();
                found.iter().map(|m| (number(&m.image), (m.distance, number(&m.same_as)))).collect()
            };
            prop_assert_eq!(plain(&found.leakage), leakage);
            prop_assert_eq!(plain(&found.found_in_against), against);
            let conflicts: Vec<(usize, Found)> =
                conflicts.into_iter().map(|((a, b), distance)| (a, (distance, b))).collect();
            prop_assert_eq!(plain(&found.conflicts), conflicts);
        }
    }

    #[test]
    fn the_patterns_of_the_test_are_near_with_noise_and_far_without_relation() {
        let likeness = |pattern, noise| print(pattern, noise).likeness.unwrap();
        let (a, b) = (likeness(0, 0), likeness(0, 5));
        assert!(a.confirms(&b) && a.hash.distance(b.hash) <= 12 && a != b);
        assert!(!a.confirms(&likeness(1, 0)));
    }
}
