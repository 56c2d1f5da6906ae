//! One part of a data set in memory: images of one shape with a class each, checked once.

use ndarray::{Array4, ArrayView4, Axis};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Holdout, SplitError, stratified_split};

/// The role of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To fit on.
    Train,
    /// To choose settings on.
    Validation,
    /// To report on.
    Test,
}

impl Split {
    /// The name used in tables and files: `train`, `validation` or `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Images `[N, C, H, W]` with C of 1 (grey) or 3 (RGB), one class index each, no side empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    split: Split,
    images: Array4<u8>,
    labels: Vec<usize>,
    classes: usize,
}

/// Why images and labels do not make a part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartError {
    /// There are not as many labels as images.
    #[error("{split} labels: expected {expected}, one per image, found {found}")]
    Count {
        /// The part.
        split: Split,
        /// Number of images.
        expected: usize,
        /// Number of labels.
        found: usize,
    },
    /// There is no image, or images without pixels.
    #[error("{split} images: expected at least one with pixels, found shape {found:?}")]
    Empty {
        /// The part.
        split: Split,
        /// `[N, C, H, W]` found.
        found: [usize; 4],
    },
    /// The images are neither grey nor RGB.
    #[error("{split} images: expected 1 or 3 channels, found {found}")]
    Channels {
        /// The part.
        split: Split,
        /// Channels found.
        found: usize,
    },
    /// A label names no class.
    #[error("{split} label {index}: expected a class below {classes}, found {found}")]
    Label {
        /// The part.
        split: Split,
        /// Row of the label.
        index: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// An index names no image.
    #[error("{split} index: expected one below {expected}, found {found}")]
    Index {
        /// The part.
        split: Split,
        /// Number of images.
        expected: usize,
        /// The index.
        found: usize,
    },
}

impl Part {
    /// Checks and joins images and labels.
    ///
    /// - `images`: `[N, C, H, W]`, levels 0..=255, C of 1 or 3, copied only if not in this order.
    /// - `labels`: `[N]`, each below `classes`.
    ///
    /// # Errors
    /// The first of [`PartError`]'s conditions that holds.
    pub fn new(
        split: Split,
        images: Array4<u8>,
        labels: Vec<usize>,
        classes: usize,
    ) -> Result<Self, PartError> {
        let (n, channels, height, width) = images.dim();
        if images.is_empty() {
            return Err(PartError::Empty { split, found: [n, channels, height, width] });
        }
        if channels != 1 && channels != 3 {
            return Err(PartError::Channels { split, found: channels });
        }
        if labels.len() != n {
            return Err(PartError::Count { split, expected: n, found: labels.len() });
        }
        if let Some((index, &found)) = labels.iter().enumerate().find(|&(_, &l)| l >= classes) {
            return Err(PartError::Label { split, index, classes, found });
        }
        let images = if images.is_standard_layout() {
            images
        } else {
            images.as_standard_layout().into_owned()
        };
        Ok(Self { split, images, labels, classes })
    }

    /// The part's role.
    pub fn split(&self) -> Split {
        self.split
    }

    /// All images, `[N, C, H, W]`, levels 0..=255, in row-major order.
    pub fn images(&self) -> ArrayView4<'_, u8> {
        self.images.view()
    }

    /// The images themselves, without a copy, and the labels.
    pub(crate) fn into_arrays(self) -> (Array4<u8>, Vec<usize>) {
        (self.images, self.labels)
    }

    /// All class indices, `[N]`.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The number of classes that labels may name.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of images N, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a part is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Shape of one image: channels, height, width.
    pub fn image_shape(&self) -> [usize; 3] {
        let (_, c, h, w) = self.images.dim();
        [c, h, w]
    }

    /// Number of images of each class, `[classes]`.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }

    /// Copies the images at `indices`, in that order, into a part with the role `split`.
    ///
    /// # Errors
    /// [`PartError::Index`] for an index of N or more; [`PartError::Empty`] without indices.
    pub fn select(&self, split: Split, indices: &[usize]) -> Result<Part, PartError> {
        if let Some(&found) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(PartError::Index { split: self.split, expected: self.len(), found });
        }
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Part::new(split, self.images.select(Axis(0), indices), labels, self.classes)
    }

    /// Draws a validation part: [`stratified_split`] of this part's labels.
    ///
    /// # Errors
    /// As [`stratified_split`].
    pub fn stratified_split(&self, share: f64, seed: u64) -> Result<Holdout, SplitError> {
        stratified_split(&self.labels, share, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: [usize; 4], labels: &[usize], expected_error: &str) {
        let images = Array4::zeros(shape);
        let error = Part::new(Split::Test, images, labels.to_vec(), 2).unwrap_err();
        assert_eq!(error.to_string(), expected_error);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        check([2, 1, 3, 3], &[0], "test labels: expected 2, one per image, found 1");
        check([2, 1, 3, 3], &[0, 2], "test label 1: expected a class below 2, found 2");
        check([1, 4, 3, 3], &[0], "test images: expected 1 or 3 channels, found 4");
        check(
            [0, 1, 3, 3],
            &[],
            "test images: expected at least one with pixels, found shape [0, 1, 3, 3]",
        );
    }

    #[test]
    fn a_selection_keeps_the_order_asked_for() {
        let images = Array4::from_shape_fn((3, 1, 1, 1), |(n, ..)| n as u8);
        let part = Part::new(Split::Train, images, vec![0, 1, 0], 2).unwrap();
        let some = part.select(Split::Validation, &[2, 1]).unwrap();
        assert_eq!(some.images().iter().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(some.labels(), [0, 1]);
        assert_eq!(some.split().as_str(), "validation");
        assert_eq!(part.class_counts(), [2, 1]);
        let error = part.select(Split::Validation, &[3]).unwrap_err();
        assert_eq!(error.to_string(), "train index: expected one below 3, found 3");
    }
}
