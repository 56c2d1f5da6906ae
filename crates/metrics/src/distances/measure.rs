//! The list of measures, and what each one means.

use thiserror::Error;

use crate::{Distance, DistanceError};

/// How far two vectors x, y of d values are apart.
///
/// Histograms have values of at least 0; where a definition speaks of p and q they are x / Σx and y / Σy,
/// and an empty histogram is refused. All logarithms are natural.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// One of the distances with blocked kernels.
    Of(Distance),
    /// (Σ |xᵢ − yᵢ|ᵖ)^(1/p), p ≥ 1.
    Minkowski {
        /// The order, at least 1 and finite.
        p: f64,
    },
    /// max |xᵢ − yᵢ|.
    Chebyshev,
    /// Σ |xᵢ − yᵢ| / (|xᵢ| + |yᵢ|); columns in which both are 0 count 0.
    Canberra,
    /// Σ |xᵢ − yᵢ| / Σ |xᵢ + yᵢ|; 0 where both sums are, infinite where only the lower one is.
    BrayCurtis,
    /// 1 − cosine of x − mean(x) and y − mean(y), in \[0, 2\]; 1 where a vector is constant.
    Correlation,
    /// √(½ Σ (√pᵢ − √qᵢ)²), in \[0, 1\].
    Hellinger,
    /// √(½ KL(p ‖ m) + ½ KL(q ‖ m)) with m = (p + q) / 2, in \[0, √ln 2\]: the root, as scipy.
    JensenShannon,
    /// KL(p ‖ q) = Σ pᵢ ln(pᵢ / qᵢ); infinite where some qᵢ is 0 and pᵢ is not. Not symmetric.
    KullbackLeibler,
    /// Σ |Pᵢ − Qᵢ| of the cumulative sums P, Q: the earth mover's (Wasserstein-1) distance of two histograms over
    /// the same bins, in bin widths.
    EarthMovers,
    /// The share of columns in which x and y differ; 0 for vectors without values.
    Hamming,
    /// 1 − |X ∩ Y| / |X ∪ Y| of the sets of columns that are not 0; 0 where both are empty.
    Jaccard,
    /// 1 − 2 |X ∩ Y| / (|X| + |Y|) of the same sets; 0 where both are empty.
    Dice,
}

/// Why measures could not be computed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MeasureError {
    /// Widths that differ, values that are not finite, negative histograms, a k out of range.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// A histogram without mass has no shares.
    #[error("{input}, row {row}: expected a histogram with a sum above 0, found an empty one")]
    Empty {
        /// Which argument.
        input: &'static str,
        /// Its row.
        row: usize,
    },
    /// The order of a Minkowski distance.
    #[error("p: expected a finite number of at least 1, found {found}")]
    Order {
        /// The order given.
        found: f64,
    },
    /// Row-wise distances need as many rows on both sides.
    #[error("y: expected {expected} rows, as x has, found {found}")]
    Rows {
        /// Rows of x.
        expected: usize,
        /// Rows of y.
        found: usize,
    },
}

impl From<Distance> for Measure {
    fn from(distance: Distance) -> Self {
        Measure::Of(distance)
    }
}

impl Measure {
    /// Whether it is defined for values of at least 0 only.
    pub fn is_of_histograms(self) -> bool {
        match self {
            Measure::Of(distance) => distance.is_of_histograms(),
            _ => self.is_of_shares(),
        }
    }

    /// Whether rows are divided by their sums first.
    pub(crate) fn is_of_shares(self) -> bool {
        matches!(
            self,
            Measure::Hellinger
                | Measure::JensenShannon
                | Measure::KullbackLeibler
                | Measure::EarthMovers
        )
    }

    /// The name in tables, such as `chebyshev`; Minkowski's does not tell its order.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Of(distance) => distance.as_str(),
            Measure::Minkowski { .. } => "minkowski",
            Measure::Chebyshev => "chebyshev",
            Measure::Canberra => "canberra",
            Measure::BrayCurtis => "bray-curtis",
            Measure::Correlation => "correlation",
            Measure::Hellinger => "hellinger",
            Measure::JensenShannon => "jensen-shannon",
            Measure::KullbackLeibler => "kullback-leibler",
            Measure::EarthMovers => "earth-movers",
            Measure::Hamming => "hamming",
            Measure::Jaccard => "jaccard",
            Measure::Dice => "dice",
        }
    }

    /// The similarity that belongs to a distance, where the literature has one: the cosine, the
    /// correlation, the inner product, the intersection, and the shares of Jaccard, Dice, Bray–Curtis
    /// and Hamming.
    ///
    /// # Examples
    /// ```
    /// use nearkin_metrics::{Distance, distances::Measure};
    /// assert_eq!(Measure::from(Distance::Cosine).similarity(0.25), Some(0.75));
    /// assert_eq!(Measure::Chebyshev.similarity(0.25), None);
    /// ```
    pub fn similarity(self, distance: f64) -> Option<f64> {
        match self {
            Measure::Of(Distance::InnerProduct) => Some(-distance),
            Measure::Of(Distance::Cosine | Distance::HistogramIntersection)
            | Measure::Correlation
            | Measure::Jaccard
            | Measure::Dice
            | Measure::BrayCurtis
            | Measure::Hamming => Some(1.0 - distance),
            _ => None,
        }
    }

    pub(crate) fn check(self) -> Result<(), MeasureError> {
        match self {
            Measure::Minkowski { p } if !(p.is_finite() && p >= 1.0) => {
                Err(MeasureError::Order { found: p })
            }
            _ => Ok(()),
        }
    }
}
