//! The shape of an embedding: how evenly it fills its space, and how many dimensions it uses.
//!
//! These need no classifier; only alignment needs pairs that belong together. Whether a map keeps
//! neighbours is told by [`crate::faithfulness`].

mod dimension;
mod hubness;
mod spread;

pub use dimension::{intrinsic_dimension_mle, intrinsic_dimension_two_nn};
pub use hubness::{Hubness, hubness};
pub use spread::{GeometryError, alignment, effective_rank, uniformity};
