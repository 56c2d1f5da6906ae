#![doc = include_str!("../README.md")]

mod architecture;
mod drop_site;
mod family;
mod init;
mod layers;
mod parameter;
pub mod reference;
mod scope;
mod weights;

pub use architecture::{Architecture, EMBEDDING, INPUT, LOGITS};
pub use drop_site::{DropKind, DropSite};
pub use family::{
    Build, BuildSized, Config, CropMode, Entry, Family, Interpolation, Options, Sized, Variant,
};
pub use init::{Init, Scheme};
pub use layers::{Conv, Linear, Pool};
pub use parameter::{Parameter, ParameterKind, Role};
pub use scope::{BuildError, NormKind, Problem, Scope, Value};
pub use weights::{LoadError, Loaded, NameMismatch, Weights};
