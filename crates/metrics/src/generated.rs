//! Generated images: do their embeddings lie where those of real ones do?
//!
//! Every function takes two sets of embeddings, or class probabilities; which network makes them is the caller's
//! choice and decides what a number can be compared with.

mod frechet;
mod inception;
mod kernel_distance;
mod manifold;

use thiserror::Error;

use crate::DistanceError;
use crate::classification::ClassificationError;
use crate::distances::CovarianceError;

pub use frechet::{frechet_distance, frechet_distance_of_moments};
pub use inception::{InceptionScore, inception_score};
pub use kernel_distance::{KernelDistance, kernel_distance, kernel_distance_of_subsets};
pub use manifold::{DistributionOverlap, distribution_overlap};

/// Why two sets cannot be compared.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GeneratedError {
    /// Widths that differ, values that are not finite, too many neighbours.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// A set without a covariance, or a covariance that is none.
    #[error(transparent)]
    Covariance(#[from] CovarianceError),
    /// Values that are no probabilities.
    #[error(transparent)]
    Probabilities(#[from] ClassificationError),
    /// There are too few rows.
    #[error("{input}: expected at least {expected} rows, found {found}")]
    Rows {
        /// Which set.
        input: &'static str,
        /// The fewest that do.
        expected: usize,
        /// Rows given.
        found: usize,
    },
    /// No parts or subsets.
    #[error("{input}: expected at least 1, found 0")]
    None {
        /// Which number.
        input: &'static str,
    },
    /// The eigenvalues did not converge.
    #[error("covariances: the eigenvalues of their product did not converge")]
    NotConverged,
}
