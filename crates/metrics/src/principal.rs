//! The directions in which rows vary most, from a sample: few columns that nearly keep distances.
//!
//! Orthogonal iteration (Golub and Van Loan, "Matrix computations", section 8.2.4) with the sample's second moments.
//! A few steps do: the directions need not be exact, only orthonormal.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

/// Steps of the iteration.
const STEPS: usize = 2;

/// Rows of the sample whose neighbours are compared, at most.
const QUERIES: usize = 128;

/// Orthonormal directions, the one that shows most first.
#[derive(Debug)]
pub(crate) struct Principal {
    /// `[directions, d]`.
    pub(crate) directions: Array2<f32>,
    /// Products of the sample with them, `[m, directions]`.
    seen: Array2<f32>,
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
        let seen = sample.dot(&directions.t());
        let squares = seen.columns().into_iter().map(|column| column.dot(&column));
        let mut order: Vec<(f32, usize)> = squares.zip(0..).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let order: Vec<usize> = order.into_iter().map(|(_, column)| column).collect();
        Self { directions: directions.select(Axis(0), &order), seen: seen.select(Axis(1), &order) }
    }

    /// The fewest directions, a multiple of 16 below `limit`, by which `share` of the `k` nearest of a row are among
    /// the `kept` nearest: as found within the sample.
    pub(crate) fn needed(
        &self,
        sample: ArrayView2<'_, f32>,
        (k, kept): (usize, usize),
        share: f64,
        limit: usize,
    ) -> Option<usize> {
        let m = sample.nrows();
        let queries: Vec<usize> = (0..m).step_by(m.div_ceil(QUERIES).max(1)).collect();
        if kept + 1 >= m {
            return None;
        }
        let truth = nearest(sample, &queries, k);
        let widths = (16..limit.min(self.directions.nrows() + 1)).step_by(16);
        widths.into_iter().find(|&width| {
            let found = nearest(self.seen.slice(s![.., ..width]), &queries, kept);
            let pairs = truth.iter().zip(&found);
            let hits: usize =
                pairs.map(|(a, b)| a.iter().filter(|&row| b.contains(row)).count()).sum();
            hits as f64 >= share * (queries.len() * k) as f64
        })
    }
}

/// The `count` nearest other rows of each query, in no order.
fn nearest(rows: ArrayView2<'_, f32>, queries: &[usize], count: usize) -> Vec<Vec<u32>> {
    let halves: Vec<f32> = rows.rows().into_iter().map(|row| row.dot(&row) / 2.0).collect();
    let few = |queries: &[usize]| {
        let products = rows.select(Axis(0), queries).dot(&rows.t());
        let of = |(&query, products): (&usize, ArrayView1<'_, f32>)| {
            let others = products.iter().zip(&halves).map(|(v, half)| half - v).zip(0_u32..);
            let mut all: Vec<(f32, u32)> =
                others.filter(|&(_, row)| row as usize != query).collect();
            all.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all[..count].iter().map(|&(_, row)| row).collect()
        };
        queries.iter().zip(products.rows()).map(of).collect::<Vec<Vec<u32>>>()
    };
    queries.par_chunks(16).flat_map_iter(few).collect()
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
    }

    #[test]
    fn as_many_directions_are_needed_as_tell_neighbours_apart() {
        let needed = |widths: fn(usize) -> f32| {
            let sample = Array2::from_shape_fn((900, 60), |(i, j)| widths(j) * (noise(i, j) - 0.5));
            let found = Principal::of(sample.view(), 60);
            found.needed(sample.view(), (5, 10), 0.95, 48)
        };
        assert_eq!(needed(|column| if column < 4 { 1.0 } else { 0.01 }), Some(16));
        assert_eq!(needed(|column| if column < 30 { 1.0 } else { 0.01 }), Some(32));
        assert_eq!(needed(|_| 1.0), None);
    }

    #[test]
    fn clusters_far_apart_do_not_hide_what_tells_neighbours_apart() {
        // Two columns show nearly all of the squares, and nothing within a cluster.
        let sample = Array2::from_shape_fn((900, 200), |(i, j)| {
            let far = if j < 2 { 1000.0 * noise(i % 5, j) } else { 0.0 };
            far + noise(i, j) - 0.5
        });
        let found = Principal::of(sample.view(), 128);
        assert_eq!(found.needed(sample.view(), (5, 10), 0.95, 129), None);
    }

    #[test]
    fn points_that_are_all_one_have_no_directions() {
        let found = Principal::of(Array2::zeros((10, 3)).view(), 2);
        assert!(found.directions.iter().all(|v| v.abs() <= 0.0));
    }
}
