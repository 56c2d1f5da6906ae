//! Weights from files, matched by name.

use super::{LoadError, NameMismatch, Weights, adapt};
use crate::architecture::Architecture;
use crate::parameter::{Parameter, ParameterKind, Role};
use nearkin_onnx::{ElementType, Model, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// Weights from a file, and what was done to make them fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The weights.
    pub weights: Weights,
    /// One sentence for each tensor that was adapted or made anew.
    pub adapted: Vec<String>,
}

/// A tensor of a file: its dimensions, its type's name, and its elements on demand.
struct Source<'a> {
    dims: Vec<usize>,
    type_name: String,
    values: Box<dyn Fn() -> Option<Vec<f32>> + 'a>,
}

impl Weights {
    /// Reads safetensors bytes (callers may memory-map the file).
    ///
    /// Names are timm's. Weights for other options are adapted as timm does: the first convolution
    /// to `in_chans`, position embeddings to `img_size`; a head for another `num_classes` is made
    /// anew from `seed`; a head is ignored where none is wanted. Half precisions and f64 become f32.
    ///
    /// # Errors
    /// [`LoadError::Names`] lists every missing, unexpected and mis-shaped name at once;
    /// [`LoadError::NotFinite`] names the first NaN or infinity.
    pub fn from_safetensors(
        architecture: &Architecture,
        bytes: &[u8],
        seed: u64,
    ) -> Result<Loaded, LoadError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| LoadError::Safetensors(e.to_string()))?;
        let sources = file
            .iter()
            .map(|(name, view)| {
                let (dtype, data) = (view.dtype(), view.data());
                let source = Source {
                    dims: view.shape().to_vec(),
                    type_name: format!("{dtype:?}"),
                    values: Box::new(move || decode(dtype, data)),
                };
                (name.to_owned(), source)
            })
            .collect();
        load(architecture, sources, seed)
    }

    /// Takes the initialisers of an ONNX file whose names are timm's.
    ///
    /// # Errors
    /// As [`Weights::from_safetensors`].
    pub fn from_onnx(
        architecture: &Architecture,
        model: &Model,
        seed: u64,
    ) -> Result<Loaded, LoadError> {
        let known: Vec<&str> = architecture.parameters().iter().map(|p| p.name.as_str()).collect();
        let graph = &model.graph;
        let sources = graph
            .initialisers()
            .iter()
            .map(|(id, tensor)| (graph.value(*id).name.as_str(), tensor))
            // Besides parameters a graph holds constants (axes, shapes), which are not weights.
            .filter(|(name, tensor)| {
                known.contains(name)
                    || (tensor.element == ElementType::Float && !name.starts_with("constant/"))
            })
            .map(|(name, tensor)| {
                let source = Source {
                    dims: tensor.dims.clone(),
                    type_name: format!("{:?}", tensor.element),
                    values: Box::new(move || decode_onnx(tensor)),
                };
                (name.to_owned(), source)
            })
            .collect();
        load(architecture, sources, seed)
    }
}

fn decode(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::F16 => {
            data.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
        }
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()
        }
        _ => return None,
    })
}

fn decode_onnx(tensor: &Tensor) -> Option<Vec<f32>> {
    let TensorData::Inline(bytes) = &tensor.data else { return None };
    match tensor.element {
        ElementType::Float => decode(Dtype::F32, bytes),
        ElementType::Double => decode(Dtype::F64, bytes),
        ElementType::Float16 => decode(Dtype::F16, bytes),
        ElementType::Bfloat16 => decode(Dtype::BF16, bytes),
        _ => None,
    }
}

fn load(
    architecture: &Architecture,
    mut sources: BTreeMap<String, Source<'_>>,
    seed: u64,
) -> Result<Loaded, LoadError> {
    let mut weights = Weights::default();
    let mut adapted = Vec::new();
    let mut mismatch =
        NameMismatch { variant: architecture.name.clone(), ..NameMismatch::default() };
    for parameter in architecture.parameters() {
        let source = sources.remove(&parameter.name);
        if parameter.kind == ParameterKind::BatchesTracked {
            continue;
        }
        let Some(source) = source else {
            mismatch.missing.push(parameter.name.clone());
            continue;
        };
        let values = if source.dims == parameter.dims {
            read(parameter, &source)?
        } else if parameter.role == Role::Classifier {
            adapted.push(format!(
                "{} is made anew (seed {seed}): {:?} in the file, {:?} wanted",
                parameter.name, source.dims, parameter.dims
            ));
            parameter.init.draw(&parameter.name, &parameter.dims, seed)
        } else if let Some(values) =
            adapt::adapt(parameter, &source.dims, &read(parameter, &source)?)
        {
            adapted.push(format!(
                "{} is adapted from {:?} to {:?}",
                parameter.name, source.dims, parameter.dims
            ));
            values
        } else {
            let name = parameter.name.clone();
            mismatch.misshaped.push((name, parameter.dims.clone(), source.dims));
            continue;
        };
        if let Some(tensor) = Tensor::from_f32(parameter.dims.clone(), &values) {
            weights.tensors.insert(parameter.name.clone(), tensor);
        }
    }
    // An unwanted head is no mistake.
    if architecture.num_classes == 0 {
        let head = format!("{}.", architecture.classifier);
        sources.retain(|name, _| !name.starts_with(&head));
    }
    mismatch.unexpected = sources.into_keys().collect();
    mismatch.into_result()?;
    Ok(Loaded { weights, adapted })
}

fn read(parameter: &Parameter, source: &Source<'_>) -> Result<Vec<f32>, LoadError> {
    let values = (source.values)().ok_or_else(|| LoadError::ElementType {
        name: parameter.name.clone(),
        found: source.type_name.clone(),
    })?;
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => {
            Err(LoadError::NotFinite { name: parameter.name.clone(), index, value: values[index] })
        }
        None => Ok(values),
    }
}
