//! Rows of vectors, checked once; and the centred copy on which matrix products are accurate.

use std::borrow::Cow;

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use crate::{Distance, DistanceError};

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
    ) -> Result<Self, DistanceError> {
        if u32::try_from(rows.nrows()).is_err() {
            return Err(DistanceError::TooMany { found: rows.nrows() });
        }
        if let Some(((row, column), &found)) = rows.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(DistanceError::NotFinite { input, row, column, found });
        }
        let (count, width) = rows.dim();
        let values = match rows.to_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(rows.iter().copied().collect()),
        };
        Ok(Self { values, rows: count, width })
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

/// One of the two sides of a matrix product.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Rows x′ = scale · (x − mean), rounded to f32; for cosine x is first divided by its norm.
    pub(crate) rows: Array2<f32>,
    /// ‖x′‖², in f64.
    pub(crate) squares: Vec<f64>,
    /// Rows whose cosine is not defined, in rising order; empty for other distances.
    pub(crate) zeros: Vec<u32>,
}

/// Moves points close to the origin, so that ‖x‖² + ‖y‖² − 2 x·y loses little to cancellation.
///
/// Distances do not depend on the mean, but the rounding errors of x·y grow with the norms. All
/// rows are scaled by one power of two (exact) so that norms are at most 1 and never overflow.
#[derive(Clone, Debug)]
pub(crate) struct Centre {
    distance: Distance,
    mean: Array1<f64>,
    pub(crate) scale: f64,
}

impl Centre {
    /// The mean of `points`, and the scale that brings both sides' norms to at most 1.
    pub(crate) fn of(points: &Points<'_>, others: &Points<'_>, distance: Distance) -> Self {
        let mut mean = Array1::zeros(points.width());
        for row in 0..points.len() {
            let x = points.row(row);
            let factor = unit_factor(x, distance);
            mean.iter_mut().zip(x).for_each(|(m, &v)| *m += factor * f64::from(v));
        }
        mean /= points.len().max(1) as f64;
        let mut centre = Self { distance, mean, scale: 1.0 };
        let largest = |side: &Points<'_>| {
            (0..side.len())
                .into_par_iter()
                .map(|row| centre.moved(side.row(row)).map(|v| v * v).sum::<f64>())
                .reduce(|| 0.0, f64::max)
        };
        let norm = largest(points).max(largest(others)).sqrt();
        if norm > 0.0 {
            centre.scale = (-norm.log2().ceil()).exp2();
        }
        centre
    }

    pub(crate) fn side(&self, points: &Points<'_>) -> Side {
        let d = points.width();
        let mut rows = Array2::zeros((points.len(), d));
        // A row of no values has no slice to fill; its norm is 0.
        let values = rows.as_slice_mut().unwrap_or_default();
        let squares = if d == 0 {
            vec![0.0; points.len()]
        } else {
            values
                .par_chunks_exact_mut(d)
                .enumerate()
                .map(|(row, out)| {
                    let moved = self.moved(points.row(row));
                    out.iter_mut().zip(moved).for_each(|(o, v)| *o = (self.scale * v) as f32);
                    out.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
                })
                .collect()
        };
        let zeros = match self.distance {
            Distance::Cosine => (0_u32..)
                .zip(0..points.len())
                .filter(|&(_, row)| points.row(row).iter().all(|v| v.abs() <= 0.0))
                .map(|(index, _)| index)
                .collect(),
            _ => Vec::new(),
        };
        Side { rows, squares, zeros }
    }

    /// The squared distance in the scaled space that belongs to a rank of [`Distance::rank`].
    pub(crate) fn scaled_square(&self, rank: f64) -> f64 {
        // ‖x/‖x‖ − y/‖y‖‖² = 2 (1 − cos).
        let square = if self.distance == Distance::Cosine { 2.0 * rank } else { rank };
        square * self.scale * self.scale
    }

    /// The rank that belongs to a squared distance in the scaled space.
    pub(crate) fn rank(&self, scaled_square: f64) -> f64 {
        let square = scaled_square / (self.scale * self.scale);
        if self.distance == Distance::Cosine { square / 2.0 } else { square }
    }

    fn moved<'a>(&'a self, x: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
        let factor = unit_factor(x, self.distance);
        x.iter().zip(&self.mean).map(move |(&v, m)| factor * f64::from(v) - m)
    }
}

/// 1 / ‖x‖ for cosine (0 for a zero vector), 1 otherwise.
fn unit_factor(x: &[f32], distance: Distance) -> f64 {
    if distance != Distance::Cosine {
        return 1.0;
    }
    let square: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    if square > 0.0 { square.sqrt().recip() } else { 0.0 }
}
