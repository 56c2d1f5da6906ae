//! Distances between two vectors, in f64: the definitions that the blocked kernels answer to.

use ndarray::ArrayView1;
use thiserror::Error;

use crate::exact;

/// A distance between two vectors of f32.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distance {
    /// √Σ (xᵢ − yᵢ)².
    Euclidean,
    /// Σ (xᵢ − yᵢ)².
    SquaredEuclidean,
    /// 1 − x·y / (‖x‖ ‖y‖), in \[0, 2\]; 1 where a vector is zero.
    Cosine,
    /// Σ |xᵢ − yᵢ|.
    Manhattan,
    /// −x·y: the largest inner product is the nearest. Not a metric; may be below 0.
    InnerProduct,
    /// 1 − Σ min(xᵢ, yᵢ) / max(Σ xᵢ, Σ yᵢ) of histograms xᵢ, yᵢ ≥ 0, in \[0, 1\]; 1 where one is empty.
    ///
    /// Swain and Ballard, "Color indexing", 1991, normalise by one of the two sums; the larger one
    /// makes it symmetric. Of histograms that sum to 1 it is half the Manhattan distance.
    HistogramIntersection,
    /// Σ (xᵢ − yᵢ)² / (xᵢ + yᵢ) of histograms xᵢ, yᵢ ≥ 0, without the ½ that some add; columns in
    /// which both are 0 count 0.
    ChiSquared,
}

/// Why distances could not be computed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DistanceError {
    /// The two sides have vectors of different lengths.
    #[error(
        "vectors of different lengths: expected {expected} values as on the left, found {found}"
    )]
    Width {
        /// Length on the left.
        expected: usize,
        /// Length on the right.
        found: usize,
    },
    /// A value is infinite or not a number.
    #[error("{input}, row {row}, column {column}: expected a finite value, found {found}")]
    NotFinite {
        /// Which argument.
        input: &'static str,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        found: f32,
    },
    /// A histogram holds a negative value.
    #[error(
        "{input}, row {row}, column {column}: expected at least 0 in a histogram, found {found}"
    )]
    Negative {
        /// Which argument.
        input: &'static str,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        found: f32,
    },
    /// A distance to search within is not a number.
    #[error("limit: expected a distance, found {found}")]
    Limit {
        /// The limit given.
        found: f64,
    },
    /// More neighbours were asked for than there are, or none.
    #[error("k: expected 1 to {available} neighbours, found {found}")]
    Neighbours {
        /// How many there are.
        available: usize,
        /// The k given.
        found: usize,
    },
    /// Not even the smallest blocks fit into the memory allowed.
    #[error("memory: expected room for at least one block of rows, found {found} bytes")]
    Memory {
        /// The bytes given.
        found: u64,
    },
    /// A search cannot go on from what was kept of another.
    #[error(
        "resume: expected what was kept after {strips} strips of the same search, found lists that do not fit"
    )]
    Resume {
        /// The strips that were finished.
        strips: usize,
    },
    /// Indices of points are kept in 32 bits.
    #[error("points: expected at most {expected}, found {found}", expected = u32::MAX)]
    TooMany {
        /// Number of points.
        found: usize,
    },
}

/// The distance between two vectors, summed in f64.
///
/// - `x`, `y`: `[d]`, finite.
/// - returns: in the units of the distance; at least 0, except for [`Distance::InnerProduct`].
///   Relative error about 10⁻¹⁵; for cosine, inner product and histogram intersection this is the
///   error relative to the terms that are summed.
///
/// # Errors
/// [`DistanceError::Width`], [`DistanceError::NotFinite`], and [`DistanceError::Negative`] for the
/// distances of histograms (`row` is 0).
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, distance};
/// use ndarray::arr1;
/// let (x, y) = (arr1(&[0.0, 3.0]), arr1(&[4.0, 0.0]));
/// assert_eq!(distance(x.view(), y.view(), Distance::Euclidean)?, 5.0);
/// assert_eq!(distance(x.view(), y.view(), Distance::Cosine)?, 1.0);
/// # Ok::<(), nearkin_metrics::DistanceError>(())
/// ```
pub fn distance(
    x: ArrayView1<'_, f32>,
    y: ArrayView1<'_, f32>,
    distance: Distance,
) -> Result<f64, DistanceError> {
    if x.len() != y.len() {
        return Err(DistanceError::Width { expected: x.len(), found: y.len() });
    }
    check_finite(x, "x")?;
    check_finite(y, "y")?;
    if distance.is_of_histograms() {
        check_sign(x, "x")?;
        check_sign(y, "y")?;
    }
    let (x, y) = (x.to_vec(), y.to_vec());
    Ok(distance.between(&x, &y))
}

fn check_finite(vector: ArrayView1<'_, f32>, input: &'static str) -> Result<(), DistanceError> {
    match vector.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((column, &found)) => Err(DistanceError::NotFinite { input, row: 0, column, found }),
        None => Ok(()),
    }
}

fn check_sign(vector: ArrayView1<'_, f32>, input: &'static str) -> Result<(), DistanceError> {
    match vector.iter().enumerate().find(|&(_, &v)| v < 0.0) {
        Some((column, &found)) => Err(DistanceError::Negative { input, row: 0, column, found }),
        None => Ok(()),
    }
}

impl Distance {
    /// Every distance.
    pub const ALL: [Distance; 7] = [
        Distance::Euclidean,
        Distance::SquaredEuclidean,
        Distance::Cosine,
        Distance::Manhattan,
        Distance::InnerProduct,
        Distance::HistogramIntersection,
        Distance::ChiSquared,
    ];

    /// Whether it is defined for values of at least 0 only.
    pub fn is_of_histograms(self) -> bool {
        matches!(self, Distance::HistogramIntersection | Distance::ChiSquared)
    }

    /// The name in tables: `euclidean`, `squared-euclidean`, `cosine`, `manhattan`, `inner-product`,
    /// `histogram-intersection` or `chi-squared`.
    pub fn as_str(self) -> &'static str {
        match self {
            Distance::Euclidean => "euclidean",
            Distance::SquaredEuclidean => "squared-euclidean",
            Distance::Cosine => "cosine",
            Distance::Manhattan => "manhattan",
            Distance::InnerProduct => "inner-product",
            Distance::HistogramIntersection => "histogram-intersection",
            Distance::ChiSquared => "chi-squared",
        }
    }

    /// The distance of finite slices of one length.
    pub(crate) fn between(self, x: &[f32], y: &[f32]) -> f64 {
        self.of_rank(self.rank(x, y))
    }

    /// What neighbours are ranked by, in f64: the distance, or its square where that says the same.
    ///
    /// Every exact engine ranks by this very number, so that all of them break the same ties.
    ///
    /// - `x`, `y`: `[d]`, finite; of unequal slices the shorter length counts.
    pub fn rank(self, x: &[f32], y: &[f32]) -> f64 {
        exact::rank(self, x, y)
    }

    /// The rank, for any instructions; the order of additions is part of the definition.
    #[inline(always)]
    pub(crate) fn rank_here(self, x: &[f32], y: &[f32]) -> f64 {
        match self {
            Distance::Euclidean | Distance::SquaredEuclidean => {
                sum_of(x, y, |a, b| (a - b) * (a - b))
            }
            Distance::Cosine => cosine(x, y),
            Distance::Manhattan => sum_of(x, y, |a, b| (a - b).abs()),
            Distance::InnerProduct => -sum_of(x, y, |a, b| a * b),
            Distance::HistogramIntersection => {
                let larger = total(x).max(total(y));
                let shared = sum_of(x, y, |a, b| if a < b { a } else { b });
                // Sums in one order: of equal histograms the quotient is exactly 1.
                if larger > 0.0 { 1.0 - shared / larger } else { 1.0 }
            }
            Distance::ChiSquared => sum_of(x, y, |a, b| {
                let sum = a + b;
                if sum > 0.0 { (a - b) * (a - b) / sum } else { 0.0 }
            }),
        }
    }

    /// The distance that belongs to a rank.
    pub fn of_rank(self, rank: f64) -> f64 {
        if self == Distance::Euclidean { rank.sqrt() } else { rank }
    }
}

#[inline(always)]
fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let product = |a: f64, b: f64| a * b;
    // √(‖x‖²‖y‖²) is exact for equal vectors, so that their distance is exactly 0. Squares of f32
    // and their products stay inside f64 (at most 10^154 here, at least 10^-180).
    let norms = (sum_of(x, x, product) * sum_of(y, y, product)).sqrt();
    if norms > 0.0 { (1.0 - sum_of(x, y, product) / norms).clamp(0.0, 2.0) } else { 1.0 }
}

/// Σ xᵢ, in the order of [`sum_of`].
#[inline(always)]
pub(crate) fn total(x: &[f32]) -> f64 {
    sum_of(x, x, |a, _| a)
}

/// Independent sums side by side: what a processor needs to add more than one number at a time.
const LANES: usize = 16;

/// Σ term(xᵢ, yᵢ) in sixteen sums.
#[inline(always)]
fn sum_of(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let d = x.len().min(y.len());
    let (x_chunks, x_rest) = x[..d].as_chunks::<LANES>();
    let (y_chunks, y_rest) = y[..d].as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    let rest = x_rest.iter().zip(y_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b)));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;
    use proptest::prelude::*;

    fn check(kind: Distance, x: &[f32], y: &[f32], expected: f64) {
        let (x, y) = (Array1::from(x.to_vec()), Array1::from(y.to_vec()));
        let found = distance(x.view(), y.view(), kind).unwrap();
        assert!((found - expected).abs() < 1e-14, "{kind:?}: {found}, expected {expected}");
    }

    #[test]
    fn known_values() {
        check(Distance::Euclidean, &[1.0, 2.0], &[4.0, 6.0], 5.0);
        check(Distance::SquaredEuclidean, &[1.0, 2.0], &[4.0, 6.0], 25.0);
        check(Distance::Manhattan, &[1.0, 2.0], &[4.0, 6.0], 7.0);
        check(Distance::Cosine, &[1.0, 0.0], &[1.0, 1.0], 1.0 - 0.5_f64.sqrt());
        check(Distance::Cosine, &[0.0, 0.0], &[1.0, 1.0], 1.0);
        check(Distance::Cosine, &[2.0, -1.0], &[-4.0, 2.0], 2.0);
        check(Distance::Manhattan, &[], &[], 0.0);
        check(Distance::InnerProduct, &[1.0, 2.0], &[4.0, 6.0], -16.0);
        check(Distance::HistogramIntersection, &[1.0, 3.0], &[2.0, 0.0], 0.75);
        check(Distance::HistogramIntersection, &[1.0, 3.0], &[1.0, 3.0], 0.0);
        check(Distance::HistogramIntersection, &[0.0, 0.0], &[0.0, 0.0], 1.0);
        check(Distance::ChiSquared, &[1.0, 3.0, 0.0], &[3.0, 0.0, 0.0], 4.0);
    }

    #[test]
    fn extreme_values_neither_overflow_nor_vanish() {
        check(Distance::Cosine, &[f32::MAX, 0.0], &[f32::MAX, 0.0], 0.0);
        let tiny = f32::from_bits(1);
        check(Distance::Cosine, &[tiny, 0.0], &[0.0, tiny], 1.0);
        check(Distance::Cosine, &[tiny, 0.0], &[tiny, 0.0], 0.0);
        let wide = distance(
            Array1::from(vec![f32::MAX; 9]).view(),
            Array1::from(vec![f32::MIN; 9]).view(),
            Distance::Euclidean,
        );
        assert!((wide.unwrap() / (6.0 * f64::from(f32::MAX)) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn lengths_that_differ_and_values_that_are_not_finite_are_refused() {
        let (x, y) = (Array1::from(vec![1.0, f32::NAN]), Array1::from(vec![1.0]));
        let error = distance(x.view(), y.view(), Distance::Cosine).unwrap_err();
        assert_eq!(error, DistanceError::Width { expected: 2, found: 1 });
        let error = distance(x.view(), x.view(), Distance::Cosine).unwrap_err();
        assert_eq!(error.to_string(), "x, row 0, column 1: expected a finite value, found NaN");
        let negative = Array1::from(vec![1.0, -2.0]);
        let error = distance(negative.view(), negative.view(), Distance::ChiSquared).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x, row 0, column 1: expected at least 0 in a histogram, found -2"
        );
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() {
        for d in [0, 1, 15, 16, 40, 784] {
            let vector = |i: usize| (0..d).map(|j| crate::noise(i, j)).collect::<Vec<f32>>();
            let (x, y) = (vector(1), vector(2));
            for kind in Distance::ALL {
                assert_eq!(kind.rank(&x, &y).to_bits(), kind.rank_here(&x, &y).to_bits());
            }
        }
    }

    proptest! {
        #[test]
        fn distances_are_symmetric_and_zero_on_equal_vectors(
            pair in prop::collection::vec((-1e3_f32..1e3, -1e3_f32..1e3), 1..70),
        ) {
            let (x, y): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            for kind in [
                Distance::Euclidean,
                Distance::SquaredEuclidean,
                Distance::Cosine,
                Distance::Manhattan,
            ] {
                prop_assert!(kind.between(&x, &y) >= 0.0);
                prop_assert!((kind.between(&x, &y) - kind.between(&y, &x)).abs() < 1e-12);
                prop_assert!(kind.between(&x, &x) < f64::MIN_POSITIVE);
            }
        }
    }
}
