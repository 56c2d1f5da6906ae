//! Segmentation: losses that follow the overlap of regions rather than single pixels.
//!
//! Pixels are rows, `[P, C]`: an image `[N, C, H, W]` is permuted to `[N·H·W, C]`. The focal loss of
//! pixels is [`softmax_focal`](crate::softmax_focal) with an ignored label.

mod lovasz;
mod overlap;

pub use lovasz::{Lovasz, lovasz_hinge, lovasz_softmax};
pub use overlap::{Overlap, binary_overlap, overlap};

/// Which classes a mean over classes is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Classes {
    /// Those with at least one pixel among the labels.
    #[default]
    Present,
    /// All of them.
    All,
}
