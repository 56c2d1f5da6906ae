//! Clusterings: how far two agree, and how well one separates its points.
//!
//! Agreement is read off the contingency table of two labellings and does not depend on what the clusters
//! are called. Separation needs distances. Nothing here clusters.

mod agreement;
mod separation;

pub use agreement::{
    ClusteringError, adjusted_mutual_information, adjusted_rand_index,
    normalised_mutual_information, purity,
};
pub use separation::{SeparationError, davies_bouldin, silhouette, silhouette_samples};
