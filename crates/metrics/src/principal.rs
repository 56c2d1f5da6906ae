//! The directions in which rows vary most, from a sample: few columns that nearly keep distances.
//!
//! Orthogonal iteration (Golub and Van Loan, "Matrix computations", section 8.2.4) with the sample's second moments.
//! A few steps do: the directions need not be exact, only orthonormal.

use ndarray::{Array2, ArrayView2, Axis};

/// Steps of the iteration.
const STEPS: usize = 3;

/// Orthonormal directions, the one that shows most first.
#[derive(Debug)]
pub(crate) struct Principal {
    /// `[directions, d]`.
    pub(crate) directions: Array2<f32>,
    /// Of each direction, the share of the sample's squares that it shows.
    pub(crate) shares: Vec<f64>,
}

impl Principal {
    /// - `sample`: `[m, d]`, moved to the origin.
    /// - `count`: directions, at most d.
    pub(crate) fn of(sample: ArrayView2<'_, f32>, count: usize) -> Self {
        let d = sample.ncols();
        let mut state = 1_u64;
        let mut directions = Array2::from_shape_simple_fn((count.min(d), d), || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        });
        orthonormalise(&mut directions);
        for _ in 0..STEPS {
            directions = sample.dot(&directions.t()).t().dot(&sample);
            orthonormalise(&mut directions);
        }
        let square = |v: &f32| f64::from(*v) * f64::from(*v);
        let total: f64 = sample.iter().map(square).sum();
        let seen = sample.dot(&directions.t());
        let mut shares: Vec<(f64, usize)> = seen
            .columns()
            .into_iter()
            .map(|column| column.iter().map(square).sum::<f64>() / total.max(f64::MIN_POSITIVE))
            .zip(0..)
            .collect();
        shares.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let order: Vec<usize> = shares.iter().map(|&(_, column)| column).collect();
        let shares = shares.into_iter().map(|(share, _)| share).collect();
        Self { directions: directions.select(Axis(0), &order), shares }
    }

    /// How many directions show this share of all squares, if that many are there.
    pub(crate) fn needed(&self, share: f64) -> Option<usize> {
        let mut sum = 0.0;
        self.shares.iter().position(|one| {
            sum += one;
            sum >= share
        })
    }
}

/// Makes the rows orthonormal one after the other; rows in the span of earlier ones become 0.
fn orthonormalise(rows: &mut Array2<f32>) {
    for row in 0..rows.nrows() {
        let (done, mut rest) = rows.view_mut().split_at(Axis(0), row);
        let mut own = rest.row_mut(0);
        let before = own.dot(&own);
        // Twice is enough: what the first pass leaves of the others is rounding.
        for _ in 0..2 {
            let parts = done.dot(&own);
            own -= &parts.dot(&done);
        }
        let square = own.dot(&own);
        if square > before * 1e-10 && square > f32::MIN_POSITIVE {
            own /= square.sqrt();
        } else {
            own.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    #[test]
    fn directions_are_orthonormal_and_the_widest_comes_first() {
        let widths = [1.0, 9.0, 0.1, 4.0, 0.0];
        let sample = Array2::from_shape_fn((500, 5), |(i, j)| widths[j] * (noise(i, j) - 0.5));
        let found = Principal::of(sample.view(), 5);
        let products = found.directions.dot(&found.directions.t());
        // The column without width leaves no fifth direction.
        for (at, &v) in products.indexed_iter() {
            let expected = if at.0 == at.1 && at.0 < 4 { 1.0 } else { 0.0 };
            assert!((v - expected).abs() < 1e-5, "{at:?}: {v}");
        }
        assert!(found.directions[[0, 1]].abs() > 0.999);
        assert!(found.directions[[1, 3]].abs() > 0.99);
        // Of variances 81, 16, 1 and 0.01.
        assert!((found.shares[0] - 81.0 / 98.01).abs() < 0.03, "{:?}", found.shares);
        assert_eq!((found.needed(0.5), found.needed(0.9)), (Some(0), Some(1)));
    }

    #[test]
    fn points_that_are_all_one_have_no_directions() {
        let found = Principal::of(Array2::zeros((10, 3)).view(), 2);
        assert!(found.directions.iter().all(|v| v.abs() <= 0.0));
        assert_eq!(found.needed(0.9), None);
    }
}
