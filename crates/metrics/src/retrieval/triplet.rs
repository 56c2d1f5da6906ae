//! How often the positive is nearer than the negative.

use ndarray::ArrayView2;

use crate::distances::{Measure, MeasureError, row_wise};

/// The share of triplets whose anchor is nearer to its positive than to its negative; ties count ½.
///
/// - `anchors`, `positives`, `negatives`: `[n, d]`.
/// - returns: in \[0, 1\]; 0 without triplets.
///
/// # Errors
/// [`MeasureError`], as [`row_wise`].
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, retrieval::triplet_accuracy};
/// use ndarray::arr2;
/// let (a, p, n) = (arr2(&[[0.0], [0.0]]), arr2(&[[1.0], [3.0]]), arr2(&[[2.0], [2.0]]));
/// assert_eq!(triplet_accuracy(a.view(), p.view(), n.view(), Distance::Euclidean)?, 0.5);
/// # Ok::<(), nearkin_metrics::distances::MeasureError>(())
/// ```
pub fn triplet_accuracy(
    anchors: ArrayView2<'_, f32>,
    positives: ArrayView2<'_, f32>,
    negatives: ArrayView2<'_, f32>,
    measure: impl Into<Measure>,
) -> Result<f64, MeasureError> {
    let measure = measure.into();
    let near = row_wise(anchors, positives, measure)?;
    let far = row_wise(anchors, negatives, measure)?;
    let points = near.iter().zip(&far).map(|(near, far)| match near.total_cmp(far) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    });
    Ok(points.sum::<f64>() / near.len().max(1) as f64)
}
