//! Distances and similarities: of two vectors, row by row, and of all pairs.
//!
//! One list of measures ([`Measure`]) holds those with blocked kernels ([`crate::Distance`]) and the
//! others, which are summed directly in f64, many values at a time. [`Mahalanobis`] is fitted first.
//! Definitions are scipy's where scipy has them; what happens at 0 / 0 is stated with each and is
//! never NaN. Nothing here learns a metric.

mod direct;
mod intersection;
mod lanes;
mod mahalanobis;
mod measure;
mod nearest;

pub use direct::{between, pairwise, row_wise};
pub use intersection::{IntersectionBy, histogram_intersection};
pub use mahalanobis::{Covariance, CovarianceError, Mahalanobis, Shrunk, covariance, ledoit_wolf};
pub use measure::{Measure, MeasureError};
pub use nearest::{nearest, nearest_within};

pub(crate) use direct::{Rows, same_width};
pub(crate) use mahalanobis::{centred, gram, symmetric};
