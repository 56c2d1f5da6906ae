//! Rows of vectors, checked once.

use std::borrow::Cow;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::{Distance, DistanceError};

/// Where the first bad value stands.
fn first(values: &[f32], is_bad: impl Fn(f32) -> bool + Sync) -> Option<usize> {
    const CHUNK: usize = 1 << 14;
    // Counting all is faster than stopping at one: it is done many values at a time.
    let any = |chunk: &[f32]| chunk.iter().map(|&v| u32::from(is_bad(v))).sum::<u32>() > 0;
    let chunk = values.par_chunks(CHUNK).position_first(any)?;
    let within = values[chunk * CHUNK..].iter().position(|&v| is_bad(v))?;
    Some(chunk * CHUNK + within)
}

/// Finite rows in row-major order, borrowed where the caller's are.
pub(crate) struct Points<'a> {
    values: Cow<'a, [f32]>,
    rows: usize,
    width: usize,
}

impl<'a> Points<'a> {
    /// Checks `rows`, called `input` in errors; anything but row-major order is copied.
    pub(crate) fn new(
        rows: ArrayView2<'a, f32>,
        input: &'static str,
        distance: Distance,
    ) -> Result<Self, DistanceError> {
        if u32::try_from(rows.nrows()).is_err() {
            return Err(DistanceError::TooMany { found: rows.nrows() });
        }
        let (count, width) = rows.dim();
        let values = match rows.to_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(rows.iter().copied().collect()),
        };
        let place = |at: usize| (at / width, at % width, values[at]);
        if let Some((row, column, found)) = first(&values, |v| !v.is_finite()).map(place) {
            return Err(DistanceError::NotFinite { input, row, column, found });
        }
        if distance.is_of_histograms()
            && let Some((row, column, found)) = first(&values, |v| v < 0.0).map(place)
        {
            return Err(DistanceError::Negative { input, row, column, found });
        }
        Ok(Self { values, rows: count, width })
    }

    /// A copy of some rows.
    pub(crate) fn select(&self, rows: &[usize]) -> Points<'static> {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Points { values: Cow::Owned(values), rows: rows.len(), width: self.width }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}
