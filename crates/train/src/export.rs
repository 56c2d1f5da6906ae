//! From a state to files: an ordinary inference graph, and safetensors with timm's names.

use std::collections::BTreeMap;

use nearkin_onnx::{Model, Tensor, TensorData};
use nearkin_runtime::{RunError, State};

use crate::error::TrainError;
use crate::network::Network;
use crate::step::Step;

/// The network with the state's weights and running statistics: what it is after training. Where a
/// moving average was kept, the average.
///
/// # Errors
/// [`TrainError::Step`] if the state cannot be read.
pub fn trained_model(network: &Network, step: &Step, state: &State) -> Result<Model, TrainError> {
    let mut model = network.model.clone();
    let ids: Vec<_> = model.graph.initialisers().iter().map(|(id, _)| *id).collect();
    for id in ids {
        let name = model.graph.value(id).name.clone();
        let Some(slot) = step.evaluated(&name) else { continue };
        let read = |source: RunError| TrainError::Step { step: 0, source };
        let Some(values) = state.tensor(slot).map_err(read)?.into_f32() else { continue };
        let flat: Vec<f32> = values.iter().copied().collect();
        let Some(tensor) = Tensor::from_f32(values.shape().to_vec(), &flat) else { continue };
        model.graph.set_initialiser(id, tensor).map_err(|error| TrainError::Network {
            name: name.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(model)
}

/// The f32 initialisers of a model as safetensors, by their names; constants of the graph, which are
/// no parameters, are left out.
///
/// # Errors
/// [`TrainError::Network`] if a tensor has no values.
pub fn safetensors_bytes(model: &Model) -> Result<Vec<u8>, TrainError> {
    let wrong = |name: &str, reason: String| TrainError::Network { name: name.to_owned(), reason };
    let mut views = BTreeMap::new();
    for (id, tensor) in model.graph.initialisers() {
        let name = &model.graph.value(*id).name;
        if tensor.element != nearkin_onnx::ElementType::Float || name.starts_with("constant/") {
            continue;
        }
        let TensorData::Inline(bytes) = &tensor.data else {
            return Err(wrong(name, "expected its values in memory, found none".to_owned()));
        };
        let view = safetensors::tensor::TensorView::new(
            safetensors::Dtype::F32,
            tensor.dims.clone(),
            bytes,
        );
        views.insert(name.clone(), view.map_err(|error| wrong(name, error.to_string()))?);
    }
    safetensors::serialize(&views, None).map_err(|error| wrong("safetensors", error.to_string()))
}
