//! What a check found, as data: everything, unabridged, in the order of the listing.

use serde::{Deserialize, Serialize};

use crate::Split;

/// Version of the layout of [`Check`] as JSON. It rises when a field changes its meaning or goes.
pub const CHECK_VERSION: u32 = 1;

/// The result of [`super::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// [`CHECK_VERSION`].
    pub version: u32,
    /// The data set checked.
    pub data: Described,
    /// The data set it was compared with.
    pub against: Option<Described>,
    /// The largest Hamming distance of near duplicates; `None` if none were looked for.
    pub near_distance: Option<u32>,
    /// Each part, as listed.
    pub parts: Vec<PartReport>,
    /// Each class, by index.
    pub classes: Vec<ClassCount>,
    /// Images that could not be read, of both data sets; they take no part in any comparison.
    pub broken: Vec<Broken>,
    /// Images of almost one level, which have no perceptual hash: exact duplicates among them are
    /// found, near ones are not looked for.
    pub flat: Vec<ImageName>,
    /// Groups of images with the same pixels, in one part or several.
    pub duplicates: Vec<Duplicates>,
    /// Groups of different images that look the same; each member is near one other at least.
    pub near_duplicates: Vec<NearDuplicates>,
    /// Images of a part that are in an earlier part too.
    pub leakage: Vec<Match>,
    /// Images that are in the other data set too.
    pub found_in_against: Vec<Match>,
    /// Images that are the same and have different labels.
    pub conflicts: Vec<Match>,
}

/// A data set as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// [`crate::Format::as_str`].
    pub format: String,
    /// Number of images of all parts, broken ones included.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
}

/// One part: how many images, of which sizes and kinds, how even.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// The role.
    pub part: Split,
    /// Images listed.
    pub images: usize,
    /// Images listed that could not be decoded.
    pub broken: usize,
    /// Images without a label.
    pub unlabelled: usize,
    /// Sizes of the images that could be decoded; `None` if there is none.
    pub sizes: Option<Sizes>,
    /// How many images of each pixel layout, by falling count.
    pub modes: Vec<Kind>,
    /// How many images of each file format, by falling count.
    pub file_formats: Vec<Kind>,
    /// Images of the largest class for one of the smallest that is not empty, ≥ 1; `None` without
    /// labels.
    pub imbalance: Option<f64>,
    /// Names of classes without an image in this part.
    pub empty_classes: Vec<String>,
}

/// Sides in pixels. The upper of two middle values is the median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// Number of different sizes.
    pub different: usize,
    /// Widths.
    pub width: Spread<u32>,
    /// Heights.
    pub height: Spread<u32>,
    /// Width / height.
    pub aspect: Spread<f64>,
}

/// The least, the middle and the greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread<T> {
    /// The least.
    pub min: T,
    /// The middle.
    pub median: T,
    /// The greatest.
    pub max: T,
}

/// How often something occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// What.
    pub name: String,
    /// How many images.
    pub images: usize,
}

/// The images of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// How many images of each part show it, in the order of [`Check::parts`]. An image with
    /// several labels counts for each; an object marked difficult does not count.
    pub images: Vec<usize>,
}

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its part; `None` if the reader set it aside.
    pub part: Option<Split>,
    /// Whether it is of the data set compared with.
    pub in_against: bool,
    /// Its name.
    pub name: String,
    /// Where, what was expected, what was found.
    pub reason: String,
}

/// An image by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// Its part.
    pub part: Split,
    /// Its name, unique in its data set.
    pub name: String,
    /// Its label: a class name, or several joined by `+`; `None` without one.
    pub label: Option<String>,
}

/// Images with the same pixels, at least two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// The images.
    pub images: Vec<ImageName>,
    /// Whether all files are the same byte for byte, too; `false` where there is no file for each.
    pub same_bytes: bool,
}

/// Different images that look the same, at least two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearDuplicates {
    /// The images; of those with the same pixels, the first only.
    pub images: Vec<NearImage>,
}

/// A member of a group of near duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearImage {
    /// The image.
    #[serde(flatten)]
    pub image: ImageName,
    /// Hamming distance to the nearest other member.
    pub distance: u32,
}

/// An image and the one most like it, among those it should not be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The image.
    pub image: ImageName,
    /// Its counterpart; the first of several equally near.
    pub same_as: ImageName,
    /// `None` if the pixels are the same, else the Hamming distance, 0 included.
    pub distance: Option<u32>,
}

impl Check {
    /// Whether something was found that makes a result on this data doubtful: broken images, images
    /// shared by parts or with the other data set, contradicting labels. Duplicates within a part,
    /// flat images and uneven classes are told and are no problem by themselves.
    pub fn has_problems(&self) -> bool {
        let matches = [&self.leakage, &self.found_in_against, &self.conflicts];
        !self.broken.is_empty() || matches.iter().any(|found| !found.is_empty())
    }
}
