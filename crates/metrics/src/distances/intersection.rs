//! How much two histograms share, by the sum that it is divided by.

use ndarray::ArrayView1;

use super::MeasureError;
use crate::points::Points;
use crate::{Distance, DistanceError};

/// What the shared mass Σ min(xᵢ, yᵢ) is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntersectionBy {
    /// 1: the shared mass itself.
    Nothing,
    /// Σ yᵢ, the model's mass: Swain and Ballard's. Not symmetric.
    Second,
    /// max(Σ xᵢ, Σ yᵢ): symmetric; 1 less [`Distance::HistogramIntersection`].
    Larger,
    /// min(Σ xᵢ, Σ yᵢ): 1 where one histogram holds the other.
    Smaller,
    /// Σ max(xᵢ, yᵢ): the weighted Jaccard (Ruzicka) similarity.
    Union,
}

/// The histogram intersection Σ min(xᵢ, yᵢ) / normaliser, a similarity.
///
/// - `x`, `y`: `[d]`, finite, at least 0.
/// - returns: in \[0, 1\] but for [`IntersectionBy::Nothing`]; 0 where the normaliser is 0.
///
/// # Errors
/// [`MeasureError::Distance`]: lengths that differ, values that are negative or not finite.
///
/// # Examples
/// ```
/// use nearkin_metrics::distances::{IntersectionBy, histogram_intersection};
/// use ndarray::arr1;
/// let (x, y) = (arr1(&[1.0, 3.0]), arr1(&[2.0, 0.0]));
/// assert_eq!(histogram_intersection(x.view(), y.view(), IntersectionBy::Second)?, 0.5);
/// assert_eq!(histogram_intersection(x.view(), y.view(), IntersectionBy::Larger)?, 0.25);
/// # Ok::<(), nearkin_metrics::distances::MeasureError>(())
/// ```
///
/// Source: Swain and Ballard, 1991, <https://doi.org/10.1007/BF00130487>.
pub fn histogram_intersection(
    x: ArrayView1<'_, f32>,
    y: ArrayView1<'_, f32>,
    by: IntersectionBy,
) -> Result<f64, MeasureError> {
    let like = Distance::HistogramIntersection;
    let x = Points::new(x.insert_axis(ndarray::Axis(0)), "x", like)?;
    let y = Points::new(y.insert_axis(ndarray::Axis(0)), "y", like)?;
    if x.width() != y.width() {
        return Err(DistanceError::Width { expected: x.width(), found: y.width() }.into());
    }
    let pairs = || x.row(0).iter().zip(y.row(0)).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let shared: f64 = pairs().map(|(a, b)| a.min(b)).sum();
    let (of_x, of_y) = pairs().fold((0.0, 0.0), |(s, t), (a, b)| (s + a, t + b));
    let normaliser: f64 = match by {
        IntersectionBy::Nothing => return Ok(shared),
        IntersectionBy::Second => of_y,
        IntersectionBy::Larger => f64::max(of_x, of_y),
        IntersectionBy::Smaller => f64::min(of_x, of_y),
        IntersectionBy::Union => pairs().map(|(a, b)| a.max(b)).sum(),
    };
    Ok(if normaliser > 0.0 { shared / normaliser } else { 0.0 })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use ndarray::{Array1, arr1};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn by_the_larger_sum_it_is_1_less_the_distance(x in prop::collection::vec(0_u8..9, 6), y in prop::collection::vec(0_u8..9, 6)) {
            let (x, y) = (Array1::from(x).mapv(f32::from), Array1::from(y).mapv(f32::from));
            let similarity = histogram_intersection(x.view(), y.view(), IntersectionBy::Larger).unwrap();
            let distance = crate::distance(x.view(), y.view(), Distance::HistogramIntersection).unwrap();
            prop_assert!((similarity + distance - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn every_normaliser_and_what_is_refused() {
        let (x, y) = (arr1(&[1.0, 3.0, 0.0]), arr1(&[2.0, 1.0, 1.0]));
        let by = |by| histogram_intersection(x.view(), y.view(), by).unwrap();
        assert_eq!(by(IntersectionBy::Nothing), 2.0);
        assert_eq!(by(IntersectionBy::Smaller), 0.5);
        assert_eq!(by(IntersectionBy::Union), 2.0 / 6.0);
        let none = arr1(&[0.0, 0.0, 0.0]);
        let zero = histogram_intersection(none.view(), none.view(), IntersectionBy::Union);
        assert_eq!(zero, Ok(0.0));
        let bad =
            histogram_intersection(x.view(), arr1(&[-1.0, 0.0, 0.0]).view(), IntersectionBy::Union);
        assert!(
            bad.unwrap_err().to_string().starts_with("y, row 0, column 0: expected at least 0")
        );
    }
}
