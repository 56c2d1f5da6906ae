#![doc = include_str!("../README.md")]

mod augment;
mod batches;
mod braces;
mod cache;
mod check;
mod cifar;
mod dataset;
mod decode;
mod draw;
mod eval;
mod folder;
mod ground_truth;
mod idx;
mod image;
mod imagenet;
mod labels;
mod listing;
mod loader;
mod manifest;
mod numpy;
mod open;
mod parquet_rows;
mod part;
mod preprocess;
mod random;
mod relabel;
mod resize;
mod selection;
mod shards;
mod split;
mod voc;
mod vocabulary;
mod walk;

pub use augment::{
    Augment, AugmentError, Augmenter, ColorJitter, Cutout, Draw, EraseFill, Framing, GaussianNoise,
    Mix, MixMode, MixTargets, Operation, RandAugment, RandChoice, RandomAffine, RandomBlur,
    RandomErasing, RandomRotation, Sampling, Warp,
};
pub use batches::{Batch, Batches};
pub use braces::{BraceError, expand_braces};
pub use cache::{
    Cache, CacheBuildError, CacheConfig, CacheError, CacheKey, CacheProgress, Cached, CachedError,
    CachedWorker, FromImage, FromLevels, Identity, IdentityError, KeyPart, OnProgress,
};
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
    DecodeError, DecodeOptions, Header, ImageFormat, MAX_PIXELS, Orientation, decode, decoder_name,
    header, image_format,
};
pub use draw::{draw_labels, draw_per_class, stratified_folds};
pub use eval::{CropMode, Eval, EvalError, EvalTransform};
pub use folder::{FolderError, read_folder};
pub use ground_truth::{GroundTruth, GroundTruthError, GroundTruthFault};
pub use idx::{IDX_LIMIT_BYTES, Idx, IdxError, read_idx, read_idx_bytes, read_idx_within};
pub use image::{Image, ImageError};
pub use imagenet::{ImageNetError, ImageNetOptions, read_imagenet};
pub use labels::LabelFault;
pub use listing::{Format, ListedPart, Listing, Pixels, Quarantined, Region, Sample, Target};
pub use loader::{
    Augmented, Epoch, EpochError, Evaluate, Fault, LoadedBatch, Loader, LoaderConfig, LoaderError,
    LoaderReport, MAX_FILE_BYTES, Order, Place, Prepare, SampleError, SampleReader, SampleWorker,
    Samples, Shard, Source, Stage, StageTimes, Worker,
};
pub use manifest::{
    ManifestError, ManifestFault, ManifestPaths, ManifestRow, read_manifest, read_manifest_rows,
};
pub use numpy::RandomState;
pub use open::{OpenError, OpenOptions};
pub use parquet_rows::read_parquet_rows;
pub use part::{Part, PartError, Split};
pub use preprocess::{IMAGENET_MEAN, IMAGENET_STD, Preprocess, PreprocessError, Transform};
pub use resize::{Interpolation, MAX_SIDE, ResizeError, Resizer, resize};
pub use shards::{ShardError, ShardMember, TarShard, read_shard, read_shards};
pub use split::{Holdout, SplitError, stratified_split};
pub use voc::{
    MaskError, MaskFault, VOC_BORDER, VocAnnotation, VocError, VocLists, VocObject, VocObjects,
    VocOptions, VocTask, VocXmlError, read_mask, read_mask_bytes, read_voc,
};
pub use vocabulary::{LookupError, Synset, Vocabulary, VocabularyError};
