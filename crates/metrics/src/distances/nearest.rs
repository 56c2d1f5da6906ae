//! The nearest rows by any measure.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::direct::{Rows, same_width};
use super::{Measure, MeasureError};
use crate::best::Best;
use crate::{DistanceError, Neighbours, top_k, top_k_within};

/// The `k` rows of `points` nearest to each row of `queries`: [`top_k`] by any measure.
///
/// Ties go to the lower index. [`Measure::Of`] is searched by blocked kernels; the others are summed in f64,
/// all pairs, in O(n m d), without keeping them.
///
/// - `queries`: `[n, d]`, `points`: `[m, d]`; 1 ≤ k ≤ m.
///
/// # Errors
/// [`MeasureError`], as [`super::pairwise`]; [`DistanceError::Neighbours`] for k of 0 or above m.
pub fn nearest(
    queries: ArrayView2<'_, f32>,
    points: ArrayView2<'_, f32>,
    k: usize,
    measure: impl Into<Measure>,
) -> Result<Neighbours, MeasureError> {
    let measure = measure.into();
    if let Measure::Of(distance) = measure {
        return Ok(top_k(queries, points, k, distance)?);
    }
    let queries = Rows::new(queries, "queries", measure)?;
    let points = Rows::new(points, "points", measure)?;
    same_width(queries.width(), points.width())?;
    among(&queries, &points, k, false)
}

/// The `k` other rows nearest to each row: [`top_k_within`] by any measure.
///
/// # Errors
/// As [`nearest`]; k ≤ n − 1.
pub fn nearest_within(
    points: ArrayView2<'_, f32>,
    k: usize,
    measure: impl Into<Measure>,
) -> Result<Neighbours, MeasureError> {
    let measure = measure.into();
    if let Measure::Of(distance) = measure {
        return Ok(top_k_within(points, k, distance)?);
    }
    let points = Rows::new(points, "points", measure)?;
    among(&points, &points, k, true)
}

fn among(
    queries: &Rows,
    points: &Rows,
    k: usize,
    without_own: bool,
) -> Result<Neighbours, MeasureError> {
    let available = points.len() - usize::from(without_own && points.len() > 0);
    if k == 0 || k > available {
        return Err(DistanceError::Neighbours { available, found: k }.into());
    }
    let near: Vec<Vec<(f64, u32)>> = (0..queries.len())
        .into_par_iter()
        .map(|row| {
            let mut best = Best::new(k);
            queries.each(row, points, |other, distance| {
                if !(without_own && other == row) {
                    best.push(distance, other as u32);
                }
            });
            best.into_sorted()
        })
        .collect();
    let n = near.len();
    let flat: Vec<(f64, u32)> = near.concat();
    Ok(Neighbours {
        indices: Array2::from_shape_fn((n, k), |(i, j)| flat[i * k + j].1 as usize),
        distances: Array2::from_shape_fn((n, k), |(i, j)| flat[i * k + j].0 as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Distance;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nearest_are_the_start_of_all_sorted(n in 2_usize..20, k in 1_usize..20, seed in 0_usize..500) {
            let x = Array2::from_shape_fn((n, 6), |(i, j)| (4.0 * crate::noise(i + 30 * seed, j)).floor() + 0.5);
            let k = k.min(n - 1);
            for measure in [Measure::Chebyshev, Measure::JensenShannon, Distance::Manhattan.into()] {
                let found = nearest_within(x.view(), k, measure).unwrap();
                let across = nearest(x.view(), x.view(), k, measure).unwrap();
                for i in 0..n {
                    let distance = |j: usize| super::super::between(x.row(i), x.row(j), measure).unwrap();
                    let mut all: Vec<(f64, usize)> = (0..n).map(|j| (distance(j), j)).collect();
                    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    let expected: Vec<usize> = all.iter().map(|pair| pair.1).collect();
                    prop_assert_eq!(across.indices.row(i).to_vec(), &expected[..k]);
                    let others: Vec<usize> = expected.into_iter().filter(|&j| j != i).collect();
                    prop_assert_eq!(found.indices.row(i).to_vec(), &others[..k]);
                }
            }
        }
    }

    #[test]
    fn k_out_of_range_is_refused() {
        let x = Array2::zeros((3, 2));
        let error = |k| nearest_within(x.view(), k, Measure::Hamming).unwrap_err().to_string();
        assert_eq!(error(3), "k: expected 1 to 2 neighbours, found 3");
        assert_eq!(error(0), "k: expected 1 to 2 neighbours, found 0");
    }
}
