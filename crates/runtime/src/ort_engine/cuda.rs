//! CUDA as a device: registered or refused with the reason, never silently replaced.

use super::assignment::Assigned;
use crate::error::DeviceError;
use crate::library::Library;
use nearkin_onnx::{ElementType, Graph};
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::builder::SessionBuilder;
use std::collections::BTreeSet;
use std::path::Path;

/// Adds the CUDA provider to a session to be built.
pub(super) fn register(
    builder: &mut SessionBuilder,
    index: u32,
    library: &Library,
) -> Result<(), DeviceError> {
    let device = i32::try_from(index).unwrap_or(i32::MAX);
    let outcome = CUDA::default().with_device_id(device).register(builder);
    outcome.map_err(|error| classify(error.message(), library))
}

/// True if ONNX Runtime refused a session because a part of it would run on the CPU.
pub(super) fn is_fallback(message: &str) -> bool {
    message.contains("fallback to CPU EP has been explicitly disabled")
}

/// Which of the usual reasons a message of ONNX Runtime tells.
pub(super) fn classify(message: &str, library: &Library) -> DeviceError {
    let reason = || message.trim().to_owned();
    // "… Failed to load library PATH with error: libcublasLt.so.13: cannot open shared object file: …"
    if let Some((_, rest)) = message.split_once("Failed to load library ") {
        let (provider, cause) =
            rest.split_once(" with error: ").unwrap_or((rest, "no reason is given"));
        let cause = cause.trim();
        let named = cause.split([':', '"', ' ']).next().unwrap_or_default();
        let provider_name = Path::new(provider.trim())
            .file_name()
            .map_or_else(|| provider.to_owned(), |name| name.to_string_lossy().into_owned());
        let is_library = named.contains(".so") || named.contains(".dll");
        return if is_library && !named.ends_with(provider_name.as_str()) {
            DeviceError::MissingCudaLibrary {
                library: named.to_owned(),
                reason: cause[named.len()..].trim_start_matches([':', ' ']).to_owned(),
            }
        } else {
            DeviceError::MissingProvider { library: provider_name, reason: cause.to_owned() }
        };
    }
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["not enabled in this build", "is either not enabled", "not supported in this build"])
    {
        return DeviceError::NotBuiltIn { library: library.path.display().to_string() };
    }
    if says(&[
        "no cuda-capable device",
        "cuda failure",
        "cuda driver version",
        "invalid device ordinal",
    ]) {
        return DeviceError::NoGpu { reason: reason() };
    }
    DeviceError::Other { reason: reason() }
}

/// The nodes that would compute on the CPU, those aside that only work out shapes there.
pub(super) fn strays(nodes: &[Assigned], shapes: &BTreeSet<String>) -> Vec<String> {
    let harmless = |node: &Assigned| {
        matches!(node.operator.as_str(), "Shape" | "Size") || shapes.contains(&node.name)
    };
    nodes
        .iter()
        .filter(|node| node.provider != CUDA::NAME && !harmless(node))
        .map(|node| format!("{} {:?}", node.operator, node.name))
        .collect()
}

/// The names of the nodes that give integers or truth values only, as far as types can be inferred.
pub(super) fn shape_nodes(graph: &Graph) -> BTreeSet<String> {
    let mut graph = graph.clone();
    // What cannot be inferred stays unknown, and so counts as computing.
    let _ = graph.infer_types();
    let whole =
        |element| matches!(element, ElementType::Int64 | ElementType::Int32 | ElementType::Bool);
    graph
        .nodes()
        .iter()
        .filter(|node| !node.name.is_empty())
        .filter(|node| {
            let mut outputs = node.outputs.iter().flatten();
            outputs.all(|&id| graph.value(id).ty.as_ref().is_some_and(|ty| whole(ty.element)))
        })
        .map(|node| node.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(provider: &str, operator: &str, name: &str) -> Assigned {
        let [provider, operator, name] = [provider, operator, name].map(str::to_owned);
        Assigned { provider, operator, name }
    }

    #[test]
    fn only_nodes_that_compute_on_the_cpu_are_strays() {
        let nodes = [
            assigned("CUDAExecutionProvider", "Conv", "conv"),
            assigned("CPUExecutionProvider", "Shape", "shape"),
            assigned("CPUExecutionProvider", "Gather", "size"),
            assigned("CPUExecutionProvider", "TopK", "top"),
        ];
        let shapes = BTreeSet::from(["size".to_owned()]);
        assert_eq!(strays(&nodes, &shapes), ["TopK \"top\""]);
    }
}
