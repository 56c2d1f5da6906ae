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
    reason_of(message, &library.path.display().to_string())
}

fn reason_of(message: &str, onnx_runtime: &str) -> DeviceError {
    // "Failed to load library PROVIDER with error: libcublasLt.so.13: cannot open …"
    if let Some((_, rest)) = message.split_once("Failed to load library ") {
        let (provider, cause) =
            rest.split_once(" with error: ").unwrap_or((rest, "no reason is given"));
        return unloadable(provider.trim(), cause.trim());
    }
    // "… CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=… ; file=…"
    if let Some(start) = message.find("CUDA failure ") {
        let words = message[start..].split(" ;").next().unwrap_or_default();
        return DeviceError::NoGpu { reason: words.trim().to_owned() };
    }
    let says = |words: &str| message.to_lowercase().contains(words);
    if says("invalid device id") || says("invalid device ordinal") {
        return DeviceError::NoGpu { reason: message.trim().to_owned() };
    }
    if says("not enabled in this build") || says("is either not enabled") {
        return DeviceError::NotBuiltIn { library: onnx_runtime.to_owned() };
    }
    DeviceError::Other { reason: message.trim().to_owned() }
}

/// Why the library of the provider does not load: itself, a library of CUDA, or the driver's.
fn unloadable(provider: &str, cause: &str) -> DeviceError {
    let provider = Path::new(provider)
        .file_name()
        .map_or_else(|| provider.to_owned(), |name| name.to_string_lossy().into_owned());
    let (named, rest) = cause.split_once(':').unwrap_or((cause, ""));
    let is_library = named.contains(".so") || named.contains(".dll");
    if !is_library || named.contains(' ') || named.ends_with(provider.as_str()) {
        return DeviceError::MissingProvider { library: provider, reason: cause.to_owned() };
    }
    if named.starts_with("libcuda.so") || named.starts_with("nvcuda.dll") {
        return DeviceError::NoGpu {
            reason: format!("NVIDIA's driver is not installed ({cause})"),
        };
    }
    DeviceError::MissingCudaLibrary { library: named.to_owned(), reason: rest.trim().to_owned() }
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

    fn check(message: &str, expect: &str) {
        assert_eq!(reason_of(message, "libonnxruntime.so").to_string(), expect, "{message}");
    }

    #[test]
    fn the_reasons_are_told_apart() {
        let load = "Failed to load library /x/libonnxruntime_providers_cuda.so with error: ";
        check(
            &format!("{load}libcublasLt.so.13: cannot open shared object file: No such file"),
            "the CUDA provider needs libcublasLt.so.13, which cannot be loaded: \
             cannot open shared object file: No such file",
        );
        check(
            &format!("{load}/x/libonnxruntime_providers_cuda.so: cannot open shared object file"),
            "the provider library libonnxruntime_providers_cuda.so cannot be loaded: \
             /x/libonnxruntime_providers_cuda.so: cannot open shared object file",
        );
        check(
            &format!("{load}libcuda.so.1: cannot open shared object file: No such file"),
            "no usable GPU: NVIDIA's driver is not installed \
             (libcuda.so.1: cannot open shared object file: No such file)",
        );
        check(
            "provider_options_utils.h:187 Parse Failed to parse provider option \"device_id\": CUDA \
             failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=h ; line=70 ;",
            "no usable GPU: CUDA failure 100: no CUDA-capable device is detected",
        );
        check(
            "CUDA execution provider is not enabled in this build.",
            "libonnxruntime.so was built without CUDA; `cargo xtask setup --device cuda` \
             brings a build with it",
        );
        check("something else", "something else");
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
