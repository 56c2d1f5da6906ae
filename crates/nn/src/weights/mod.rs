//! Weights by name: from the formula, a seed, safetensors or an ONNX file.

mod adapt;
pub(crate) mod formula;
mod named;

use crate::architecture::{Architecture, is_filled};
use crate::parameter::ParameterKind;
use crate::reference::Reference;
use nearkin_onnx::{ElementType, Tensor};
use std::collections::BTreeMap;

pub use named::Loaded;

/// The tensors of one architecture, by timm's names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

/// Weights that do not fit.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no safetensors file.
    #[error("not a safetensors file: {0}")]
    Safetensors(String),
    /// Names or shapes of another architecture.
    #[error("{0}")]
    Names(Box<NameMismatch>),
    /// A tensor with NaN or infinity.
    #[error("tensor {name:?} holds {value} at element {index}: weights must be finite")]
    NotFinite {
        /// timm's name.
        name: String,
        /// Its first bad element, row-major.
        index: usize,
        /// That element.
        value: f32,
    },
    /// An element type that is no real number.
    #[error("tensor {name:?}: expected f32, f16, bf16 or f64, found {found}")]
    ElementType {
        /// timm's name.
        name: String,
        /// What it holds.
        found: String,
    },
    /// The graph refused a tensor.
    #[error("{0}")]
    Model(String),
}

/// All names that do not fit, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameMismatch {
    /// The architecture.
    pub variant: String,
    /// Names it needs that the weights lack.
    pub missing: Vec<String>,
    /// Names of the weights that it does not have.
    pub unexpected: Vec<String>,
    /// Names with the shape needed and the shape found.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl std::fmt::Display for NameMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the weights are not those of {}:", self.variant)?;
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                write!(f, "\n  {} {what}: {}", names.len(), names.join(", "))?;
            }
        }
        if !self.misshaped.is_empty() {
            write!(f, "\n  {} of another shape:", self.misshaped.len())?;
            for (name, expected, found) in &self.misshaped {
                write!(f, " {name} (expected {expected:?}, found {found:?})")?;
            }
        }
        Ok(())
    }
}

impl Weights {
    /// The reference formula, with the centres and widths of `reference` where it has them.
    ///
    /// Without them batch normalisation starts at mean 0 and variance 1 instead of statistics
    /// measured on the network, so activations may grow; every other tensor is the same.
    pub fn formula(architecture: &Architecture, reference: Option<&Reference>) -> Self {
        Self::make(architecture, |parameter| {
            let entry = reference.and_then(|r| r.entry(&parameter.name));
            let (centre, half) = entry
                .and_then(|entry| entry.range)
                .unwrap_or_else(|| formula::range(parameter.kind, &parameter.dims));
            formula::fill(&parameter.name, parameter.count(), centre, half)
        })
    }

    /// Seeded initialisation by the family's scheme; the same for the same seed on every machine.
    pub fn init(architecture: &Architecture, seed: u64) -> Self {
        Self::make(architecture, |p| p.init.draw(&p.name, &p.dims, seed))
    }

    fn make(
        architecture: &Architecture,
        mut values: impl FnMut(&crate::Parameter) -> Vec<f32>,
    ) -> Self {
        let filled = architecture.parameters().iter().filter(|p| p.value.is_some());
        let tensors = filled
            .filter_map(|p| Some((p.name.clone(), Tensor::from_f32(p.dims.clone(), &values(p))?)));
        Self { tensors: tensors.collect() }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Refuses weights of another architecture.
    pub(crate) fn check(&self, architecture: &Architecture) -> Result<(), LoadError> {
        let mut mismatch =
            NameMismatch { variant: architecture.name.clone(), ..NameMismatch::default() };
        let mut known = std::collections::BTreeSet::new();
        for parameter in architecture.parameters() {
            known.insert(parameter.name.as_str());
            if parameter.kind == ParameterKind::BatchesTracked {
                continue;
            }
            match self.get(&parameter.name) {
                None => mismatch.missing.push(parameter.name.clone()),
                Some(tensor)
                    if tensor.dims != parameter.dims
                        || tensor.element != ElementType::Float
                        || !is_filled(tensor) =>
                {
                    let shapes = (parameter.dims.clone(), tensor.dims.clone());
                    mismatch.misshaped.push((parameter.name.clone(), shapes.0, shapes.1));
                }
                Some(_) => {}
            }
        }
        mismatch.unexpected =
            self.tensors.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
        mismatch.into_result()
    }
}

impl NameMismatch {
    fn into_result(self) -> Result<(), LoadError> {
        if self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty() {
            return Ok(());
        }
        Err(LoadError::Names(Box::new(self)))
    }
}
