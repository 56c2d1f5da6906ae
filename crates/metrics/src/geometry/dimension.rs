//! The intrinsic dimension: how many coordinates the points have locally, whatever the width of their space.

use ndarray::ArrayView2;

use super::GeometryError;
use crate::{Distance, top_k_within};

/// The dimension by the ratio of the distances to the second and to the first neighbour (TwoNN).
///
/// Ratios μ follow 1 − μ^(−d); d is the slope through the origin of −ln(1 − F(μ)) over ln μ, with F(μ₍ᵢ₎) = i / n
/// and the largest share of ratios left out.
///
/// - `embeddings`: `[n, d]`, n ≥ 3, no duplicates.
/// - `discarded`: the share of largest ratios left out, in \[0, 1); 0.1 in the paper.
///
/// # Errors
/// [`GeometryError`]: too few rows, [`GeometryError::Duplicate`] with its row, [`GeometryError::Equidistant`].
///
/// Source: Facco et al., 2017, <https://doi.org/10.1038/s41598-017-11873-y>.
pub fn intrinsic_dimension_two_nn(
    embeddings: ArrayView2<'_, f32>,
    discarded: f64,
) -> Result<f64, GeometryError> {
    if !(0.0..1.0).contains(&discarded) {
        let (parameter, expected) = ("discarded", "from 0 to below 1");
        return Err(GeometryError::Parameter { parameter, expected, found: discarded });
    }
    let distances = radii(embeddings, 2)?;
    let mut logs: Vec<f64> = distances.iter().map(|r| (r[1] / r[0]).ln()).collect();
    logs.sort_unstable_by(f64::total_cmp);
    let n = logs.len();
    // The last of all has F = 1, whose logarithm is infinite.
    let kept = ((n as f64 * (1.0 - discarded)) as usize).clamp(1, n - 1);
    let (mut products, mut squares) = (0.0, 0.0);
    for (at, log) in (1..).zip(&logs[..kept]) {
        let y = -(1.0 - f64::from(at) / n as f64).ln();
        products += log * y;
        squares += log * log;
    }
    if squares > 0.0 { Ok(products / squares) } else { Err(GeometryError::Equidistant) }
}

/// The dimension by Levina and Bickel's maximum likelihood, averaged as MacKay and Ghahramani propose.
///
/// For each row 1/d̂ = Σⱼ₌₁ᵏ⁻¹ ln(rₖ / rⱼ) / (k − 1), with r the distances to its neighbours; the result is the inverse of
/// the mean of 1/d̂.
///
/// - `embeddings`: `[n, d]`, no duplicates.
/// - `k`: neighbours, 2 ≤ k < n.
///
/// # Errors
/// As [`intrinsic_dimension_two_nn`].
///
/// # Examples
/// ```
/// use nearkin_metrics::geometry::intrinsic_dimension_mle;
/// // A line through three dimensions.
/// let along = |i: usize| (1e3 * (i as f64).sin()).rem_euclid(1.0) as f32;
/// let x = ndarray::Array2::from_shape_fn((200, 3), |(i, j)| along(i) * (j + 1) as f32);
/// let found = intrinsic_dimension_mle(x.view(), 10)?;
/// assert!((found - 1.0).abs() < 0.2);
/// # Ok::<(), nearkin_metrics::geometry::GeometryError>(())
/// ```
///
/// Source: Levina and Bickel, 2004; MacKay and Ghahramani, 2005,
/// <http://www.inference.org.uk/mackay/dimension/>.
pub fn intrinsic_dimension_mle(
    embeddings: ArrayView2<'_, f32>,
    k: usize,
) -> Result<f64, GeometryError> {
    if k < 2 {
        let (parameter, expected) = ("k", "of at least 2");
        return Err(GeometryError::Parameter { parameter, expected, found: k as f64 });
    }
    let distances = radii(embeddings, k)?;
    let inverses = distances.iter().map(|r| {
        let logs = r[..k - 1].iter().map(|near| (r[k - 1] / near).ln());
        logs.sum::<f64>() / (k - 1) as f64
    });
    let mean = inverses.sum::<f64>() / distances.len() as f64;
    if mean > 0.0 { Ok(mean.recip()) } else { Err(GeometryError::Equidistant) }
}

/// Distances to the k nearest others of every row, above 0, in f64.
fn radii(embeddings: ArrayView2<'_, f32>, k: usize) -> Result<Vec<Vec<f64>>, GeometryError> {
    let n = embeddings.nrows();
    if n <= k {
        return Err(GeometryError::Rows { expected: k + 1, found: n });
    }
    let near = top_k_within(embeddings, k, Distance::Euclidean)?;
    let row_of = |row: usize| embeddings.row(row).to_vec();
    let mut all = Vec::with_capacity(n);
    for (row, indices) in near.indices.rows().into_iter().enumerate() {
        let own = row_of(row);
        // Not the f32 distances: ratios near 1 are what counts.
        let of = |&index: &usize| Distance::Euclidean.between(&own, &row_of(index));
        let radii: Vec<f64> = indices.iter().map(of).collect();
        if radii[0] <= 0.0 {
            return Err(GeometryError::Duplicate { row });
        }
        all.push(radii);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn cubes_have_their_dimension_in_any_space() {
        for d in [1, 2, 4] {
            // d coordinates, turned into twelve columns.
            let x = Array2::from_shape_fn((1500, 12), |(i, j)| {
                (0..d).map(|c| crate::noise(i, c) * (crate::noise(1000 + c, 50 + j) - 0.5)).sum()
            });
            let two = intrinsic_dimension_two_nn(x.view(), 0.1).unwrap();
            let mle = intrinsic_dimension_mle(x.view(), 20).unwrap();
            assert!((two / d as f64 - 1.0).abs() < 0.12, "{d}: {two}");
            assert!((mle / d as f64 - 1.0).abs() < 0.15, "{d}: {mle}");
        }
    }

    #[test]
    fn duplicates_and_equal_distances_are_refused() {
        let x = Array2::from_shape_fn((5, 2), |(i, _)| if i == 3 { 1.0 } else { i as f32 });
        let error = intrinsic_dimension_two_nn(x.view(), 0.1).unwrap_err();
        assert_eq!(error, GeometryError::Duplicate { row: 1 });
        let even = Array2::from_shape_fn((4, 4), |(i, j)| f32::from(u8::from(i == j)));
        let error = intrinsic_dimension_mle(even.view(), 3).unwrap_err();
        assert_eq!(error, GeometryError::Equidistant);
        assert_eq!(intrinsic_dimension_two_nn(even.view(), 0.0), Err(GeometryError::Equidistant));
        assert!(intrinsic_dimension_mle(even.view(), 4).is_err());
        assert!(intrinsic_dimension_mle(even.view(), 1).is_err());
        assert!(intrinsic_dimension_two_nn(even.view(), 1.0).is_err());
    }
}
