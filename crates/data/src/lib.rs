#![doc = include_str!("../README.md")]

mod augment;
mod batches;
mod cache;
mod dataset;
mod decode;
mod eval;
mod idx;
mod image;
mod listing;
mod loader;
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
pub use cache::{
    Cache, CacheBuildError, CacheConfig, CacheError, CacheKey, CacheProgress, Cached, CachedError,
    CachedWorker, FromImage, FromLevels, Identity, IdentityError, KeyPart, OnProgress,
};
pub use dataset::{Dataset, LoadError, read_images, read_labels};
pub use decode::{
    DecodeError, DecodeOptions, Header, ImageFormat, MAX_PIXELS, Orientation, decode, header,
    image_format,
};
pub use eval::{CropMode, Eval, EvalError, EvalTransform};
pub use idx::{IDX_LIMIT_BYTES, Idx, IdxError, read_idx, read_idx_within};
pub use image::{Image, ImageError};
pub use listing::{Format, ListedPart, Listing, Pixels, Quarantined, Region, Sample, Target};
pub use loader::{
    Augmented, Epoch, EpochError, Evaluate, Fault, LoadedBatch, Loader, LoaderConfig, LoaderError,
    LoaderReport, MAX_FILE_BYTES, Order, Place, Prepare, SampleError, SampleReader, SampleWorker,
    Samples, Shard, Source, Stage, StageTimes, Worker,
};
pub use part::{Part, PartError, Split};
pub use preprocess::{IMAGENET_MEAN, IMAGENET_STD, Preprocess, PreprocessError, Transform};
pub use resize::{Interpolation, MAX_SIDE, ResizeError, Resizer, resize};
pub use split::{Holdout, SplitError, stratified_split};
