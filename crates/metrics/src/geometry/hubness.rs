//! Hubs: points that are among the neighbours of very many others.

use ndarray::ArrayView2;

use super::GeometryError;
use crate::distances::{Measure, nearest_within};

/// How unevenly points occur among each other's neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Hubness {
    /// Nₖ: how many points have this one among their k nearest, `[n]`; the mean is k.
    pub occurrences: Vec<usize>,
    /// The third standardised moment of Nₖ: about 0 without hubs; 0 where all occur equally often.
    pub skewness: f64,
    /// The share of points that are nobody's neighbour.
    pub antihub_share: f64,
}

/// How often each point is among the `k` nearest of another, and how skewed that is.
///
/// In many dimensions some points become neighbours of a great many and most of none, which spoils kNN and graphs.
///
/// - `embeddings`: `[n, d]`; 1 ≤ k < n.
///
/// # Errors
/// [`GeometryError::Measure`].
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, geometry::hubness};
/// let x = ndarray::arr2(&[[0.0, 0.0], [1.0, 0.0], [-1.1, 0.0], [0.0, 1.2]]);
/// let found = hubness(x.view(), 1, Distance::Euclidean)?;
/// assert_eq!(found.occurrences, [3, 1, 0, 0]);
/// # Ok::<(), nearkin_metrics::geometry::GeometryError>(())
/// ```
///
/// Source: Radovanović, Nanopoulos and Ivanović, 2010, <https://jmlr.org/papers/v11/radovanovic10a.html>.
pub fn hubness(
    embeddings: ArrayView2<'_, f32>,
    k: usize,
    measure: impl Into<Measure>,
) -> Result<Hubness, GeometryError> {
    let near = nearest_within(embeddings, k, measure)?;
    let mut occurrences = vec![0_usize; embeddings.nrows()];
    near.indices.iter().for_each(|&index| occurrences[index] += 1);
    let n = occurrences.len() as f64;
    let moment = |power: i32| {
        let terms = occurrences.iter().map(|&count| (count as f64 - k as f64).powi(power));
        terms.sum::<f64>() / n
    };
    let variance = moment(2);
    let skewness = if variance > 0.0 { moment(3) / variance.powf(1.5) } else { 0.0 };
    let antihubs = occurrences.iter().filter(|&&count| count == 0).count();
    Ok(Hubness { skewness, antihub_share: antihubs as f64 / n, occurrences })
}
