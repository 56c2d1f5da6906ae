#![doc = include_str!("../README.md")]

mod augment;
mod batches;
mod dataset;
mod idx;
mod image;
mod listing;
mod part;
mod preprocess;
mod random;
mod resize;
mod split;

pub use augment::{
    Augment, AugmentError, Augmenter, ColorJitter, Cutout, Draw, EraseFill, Framing, GaussianNoise,
    Mix, MixMode, MixTargets, Operation, RandAugment, RandChoice, RandomAffine, RandomBlur,
    RandomErasing, RandomRotation, Sampling, Warp,
};
pub use batches::{Batch, Batches};
pub use dataset::{Dataset, LoadError, read_images, read_labels};
pub use idx::{IDX_LIMIT_BYTES, Idx, IdxError, read_idx, read_idx_within};
pub use image::{Image, ImageError};
pub use listing::{Format, ListedPart, Listing, Pixels, Quarantined, Region, Sample, Target};
pub use part::{Part, PartError, Split};
pub use preprocess::{IMAGENET_MEAN, IMAGENET_STD, Preprocess, PreprocessError, Transform};
pub use resize::{Interpolation, MAX_SIDE, ResizeError, Resizer, resize};
pub use split::{Holdout, SplitError, stratified_split};
