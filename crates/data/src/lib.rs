#![doc = include_str!("../README.md")]

mod batches;
mod check;
mod cifar;
mod dataset;
mod decode;
mod eval;
mod folder;
mod idx;
mod image;
mod imagenet;
mod listing;
mod open;
mod part;
mod preprocess;
mod random;
mod resize;
mod split;
mod vocabulary;
mod walk;

pub use batches::{Batch, Batches};
pub use check::{
    Broken, CHECK_VERSION, Check, CheckError, CheckOptions, ClassCount, Described, Duplicates,
    ImageName, Kind, Match, NEAR_CORRELATION, NearDuplicates, NearImage, PartReport, Sizes, Spread,
    check,
};
pub use cifar::{
    CIFAR_LIMIT_BYTES, Cifar, CifarError, CifarFault, CifarKind, read_cifar, read_cifar_bytes,
};
pub use dataset::{Dataset, LoadError, read_images, read_labels};
pub use decode::{
    DecodeError, DecodeOptions, Header, ImageFormat, MAX_PIXELS, Orientation, decode, header,
    image_format,
};
pub use eval::{CropMode, Eval, EvalTransform};
pub use folder::{FolderError, read_folder};
pub use idx::{IDX_LIMIT_BYTES, Idx, IdxError, read_idx, read_idx_within};
pub use image::{Image, ImageError};
pub use imagenet::{ImageNetError, ImageNetOptions, read_imagenet};
pub use listing::{Format, ListedPart, Listing, Pixels, Quarantined, Region, Sample, Target};
pub use open::{OpenError, OpenOptions};
pub use part::{Part, PartError, Split};
pub use preprocess::{IMAGENET_MEAN, IMAGENET_STD, Preprocess, PreprocessError, Transform};
pub use resize::{Interpolation, MAX_SIDE, ResizeError, Resizer, resize};
pub use split::{Holdout, SplitError, stratified_split};
pub use vocabulary::{LookupError, Synset, Vocabulary, VocabularyError};
