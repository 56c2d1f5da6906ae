//! Batches of a part, prepared for a model, in one buffer that is used again.

use std::ops::Range;

use ndarray::{Array4, ArrayView4, s};

use crate::{Part, Preprocess, PreprocessError, Transform};

/// Consecutive images of a part, ready for a model. Memory: one batch, whatever the part's size.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    part: &'a Part,
    transform: Transform,
    buffer: Array4<f32>,
    next: usize,
}

/// One batch; its values are overwritten by the next.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// `[B, C, H, W]`, normalised, row-major; B is the batch size, less for the last batch.
    pub images: ArrayView4<'a, f32>,
    /// Class indices, `[B]`.
    pub labels: &'a [usize],
    /// Which images of the part these are.
    pub indices: Range<usize>,
}

impl Part {
    /// Batches of `batch_size` images in the part's order, prepared by `preprocess`.
    ///
    /// # Errors
    /// [`PreprocessError::BatchSize`] for 0; otherwise as [`Transform::new`].
    pub fn batches(
        &self,
        preprocess: &Preprocess,
        batch_size: usize,
    ) -> Result<Batches<'_>, PreprocessError> {
        if batch_size == 0 {
            return Err(PreprocessError::BatchSize);
        }
        let transform = Transform::new(preprocess, self.image_shape())?;
        let (height, width) = preprocess.size;
        let rows = batch_size.min(self.len());
        let buffer = Array4::zeros((rows, preprocess.channels, height, width));
        Ok(Batches { part: self, transform, buffer, next: 0 })
    }
}

impl Batches<'_> {
    /// The next batch, or `None` after the last image.
    ///
    /// Not an [`Iterator`], because a batch borrows the buffer.
    pub fn next_batch(&mut self) -> Option<Batch<'_>> {
        let first = self.next;
        let indices = first..self.part.len().min(first + self.buffer.dim().0);
        if indices.is_empty() {
            return None;
        }
        self.next = indices.end;
        let image_len: usize = self.part.image_shape().iter().product();
        let output_len = self.transform.output_len();
        // Parts and buffers are row-major: neither slice is ever absent.
        let levels = self.part.images().to_slice().unwrap_or_default();
        let levels = levels[first * image_len..indices.end * image_len].chunks_exact(image_len);
        let outputs = self.buffer.as_slice_mut().unwrap_or_default().chunks_exact_mut(output_len);
        levels.zip(outputs).for_each(|(image, out)| self.transform.run(image, out));
        Some(Batch {
            images: self.buffer.slice(s![..indices.len(), .., .., ..]),
            labels: &self.part.labels()[indices.clone()],
            indices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interpolation, Split};
    use proptest::prelude::*;

    fn part(n: usize) -> Part {
        let images = Array4::from_shape_fn((n, 1, 3, 2), |(n, _, h, w)| (40 * n + 7 * h + w) as u8);
        Part::new(Split::Test, images, (0..n).map(|i| i % 3).collect(), 3).unwrap()
    }

    fn preprocess() -> Preprocess {
        Preprocess {
            size: (5, 4),
            channels: 3,
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
            interpolation: Interpolation::Bicubic,
        }
    }

    #[test]
    fn a_batch_size_of_0_is_refused() {
        assert_eq!(part(2).batches(&preprocess(), 0).unwrap_err(), PreprocessError::BatchSize);
    }

    proptest! {
        #[test]
        fn batches_of_any_size_are_the_whole_part_in_order(n in 1_usize..9, size in 1_usize..12) {
            let part = part(n);
            let whole = preprocess().apply(part.images()).unwrap();
            let mut batches = part.batches(&preprocess(), size).unwrap();
            let mut seen = 0;
            while let Some(batch) = batches.next_batch() {
                prop_assert_eq!(batch.indices.start, seen);
                seen = batch.indices.end;
                prop_assert!(batch.images.is_standard_layout());
                prop_assert_eq!(batch.images, whole.slice(s![batch.indices.clone(), .., .., ..]));
                prop_assert_eq!(batch.labels, &part.labels()[batch.indices]);
            }
            prop_assert_eq!(seen, n);
            prop_assert!(batches.next_batch().is_none());
        }
    }
}
