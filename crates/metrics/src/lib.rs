//! x
mod best;
mod distance;
mod pairwise;
mod points;
mod top_k;

pub use distance::{Distance, DistanceError, distance};
pub use pairwise::pairwise;
pub use top_k::{Neighbours, top_k, top_k_within};
