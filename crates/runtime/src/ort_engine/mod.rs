//! ONNX Runtime.

mod assignment;
mod cuda;

use crate::error::{LoadError, RunError};
use crate::library::Library;
use crate::options::{Device, Options};
use crate::session::{Engine, Facts};
use crate::source::{Content, Prepared, first_nodes};
use crate::state::{Feed, Held, HeldValue};
use crate::value::{Port, Tensor, TensorView, contiguous};
use ndarray::ArrayD;
use nearkin_onnx::{Dim, ElementType, Shape};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, OutputSelector, RunOptions, SessionInputValue};
use ort::value::{DynTensorValueType, DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "ort";

/// A session of ONNX Runtime.
pub(crate) struct OrtEngine {
    session: ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// The GPU that computes, by its index; `None` on the CPU.
    gpu: Option<u32>,
}

impl OrtEngine {
    /// Loads a model on the device that was asked for.
    pub(crate) fn load(
        library: &Library,
        mut prepared: Prepared,
        options: &Options,
    ) -> Result<(Self, Facts), LoadError> {
        let nodes = prepared.graph.as_ref().map(first_nodes).unwrap_or_default();
        // The graph holds on to the file's pages, which would count as this process's memory.
        let graph = prepared.graph.take();
        let shapes = match options.device {
            Device::Cpu => BTreeSet::new(),
            _ => graph.as_ref().map(cuda::shape_nodes).unwrap_or_default(),
        };
        drop(graph);
        let prepared = &prepared;
        let refused = |reason| refused(prepared, reason, &nodes);
        let strict = |index| {
            cuda_session(library, prepared, options, index, &shapes).map_err(|error| match error {
                Refusal::Device(source) => {
                    LoadError::Device { device: options.device.to_string(), source }
                }
                Refusal::Engine(reason) => refused(reason),
            })
        };
        let cpu = || {
            let builder = builder(library, options).map_err(|e| refused(e.to_string()))?;
            commit(builder, prepared).map_err(|e| refused(e.to_string()))
        };
        let (session, notice) = match options.device {
            Device::Cpu => (cpu()?, None),
            Device::Cuda(index) => (strict(index)?, None),
            Device::Auto => match cuda_session(library, prepared, options, 0, &shapes) {
                Ok(session) => (session, None),
                // The model itself may be at fault: the CPU will tell.
                Err(Refusal::Engine(reason)) => (cpu()?, Some(fell_back(&reason))),
                Err(Refusal::Device(error)) => (cpu()?, Some(fell_back(&error.to_string()))),
            },
        };
        let gpu = match options.device {
            Device::Cpu => None,
            Device::Cuda(index) => Some(index),
            Device::Auto => notice.is_none().then_some(0),
        };
        let placed = assignment::nodes(&session).map_err(|e| refused(e.to_string()))?;
        let facts = Facts {
            engine: NAME,
            version: library.version.clone(),
            library: Some(library.path.clone()),
            nodes_per_provider: assignment::count(&placed),
            notice,
        };
        let inputs = ports(session.inputs()).map_err(refused)?;
        let outputs = ports(session.outputs()).map_err(refused)?;
        Ok((Self { session, inputs, outputs, gpu }, facts))
    }
}

fn fell_back(reason: &str) -> String {
    format!("device auto: running on the CPU, CUDA is not used ({reason})")
}

/// `nodes`: the first node of every operator.
fn refused(prepared: &Prepared, reason: String, nodes: &BTreeMap<String, String>) -> LoadError {
    let model = prepared.name.clone();
    match unknown_operator(&reason) {
        Some(operator) => {
            let node = nodes.get(&operator).map_or("unnamed", String::as_str).to_owned();
            LoadError::UnknownOperator { model, engine: NAME, operator, node }
        }
        None => LoadError::Engine { model, engine: NAME, reason },
    }
}

/// The operator that a message of ONNX Runtime calls unknown: `Fatal error: acme:Twist(-1) is not a
/// registered function/op`, `No Op registered for Twist with domain_version of 18`.
fn unknown_operator(message: &str) -> Option<String> {
    if let Some((before, _)) = message.split_once(" is not a registered function") {
        let name = before.rsplit(' ').next()?.split('(').next()?;
        return Some(name.trim_start_matches(':').replace(':', "."));
    }
    let (_, rest) = message.split_once("No Op registered for ")?;
    rest.split(' ').next().map(str::to_owned)
}

enum Refusal {
    Device(crate::DeviceError),
    Engine(String),
}

impl From<ort::Error> for Refusal {
    fn from(error: ort::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

/// A session on CUDA alone. Nodes that only compute shapes may run on the CPU, as ONNX Runtime
/// places them there on purpose; any other node there is an error.
fn cuda_session(
    library: &Library,
    prepared: &Prepared,
    options: &Options,
    index: u32,
    shapes: &BTreeSet<String>,
) -> Result<ort::session::Session, Refusal> {
    let register = |strict: bool| -> Result<SessionBuilder, Refusal> {
        let mut builder = builder(library, options)?;
        if strict {
            builder = builder.with_disable_cpu_fallback().map_err(ort::Error::from)?;
        }
        cuda::register(&mut builder, index, library).map_err(Refusal::Device)?;
        Ok(builder)
    };
    match commit(register(true)?, prepared) {
        Ok(session) => Ok(session),
        Err(error) if cuda::is_fallback(error.message()) => {
            let session = commit(register(false)?, prepared)?;
            let nodes = assignment::nodes(&session)?;
            let stray = cuda::strays(&nodes, shapes);
            if stray.is_empty() {
                Ok(session)
            } else {
                Err(Refusal::Device(crate::DeviceError::CpuFallback { nodes: stray }))
            }
        }
        Err(error) => Err(match cuda::classify(error.message(), library) {
            crate::DeviceError::Other { reason } => Refusal::Engine(reason),
            device => Refusal::Device(device),
        }),
    }
}

fn builder(library: &Library, options: &Options) -> ort::Result<SessionBuilder> {
    Ok(ort::session::Session::builder(&library.environment)?
        .with_intra_threads(options.thread_count())?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(!options.frugal_memory)?
        .with_config_entry("session.record_ep_graph_assignment_info", "1")?)
}

fn commit(mut builder: SessionBuilder, prepared: &Prepared) -> ort::Result<ort::session::Session> {
    match &prepared.content {
        Content::File(path) => builder.commit_from_file(path),
        Content::Memory { bytes, folder } => {
            if let Some(folder) = folder.as_deref().and_then(std::path::Path::to_str) {
                let folder = if folder.is_empty() { "." } else { folder };
                builder = builder.with_config_entry(
                    "session.model_external_initializers_file_folder_path",
                    folder,
                )?;
            }
            builder.commit_from_memory(bytes)
        }
    }
}

fn ports(outlets: &[Outlet]) -> Result<Vec<Port>, String> {
    outlets
        .iter()
        .map(|outlet| {
            let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
                return Err(format!("{:?} is no tensor but {}", outlet.name(), outlet.dtype()));
            };
            let dims = shape.iter().zip(dimension_symbols.iter()).map(|(&size, symbol)| {
                usize::try_from(size).map_or_else(|_| Dim::from_parameter(symbol), Dim::Known)
            });
            Ok(Port {
                name: outlet.name().to_owned(),
                element: element(*ty),
                shape: Some(Shape(dims.collect())),
            })
        })
        .collect()
}

/// ONNX Runtime numbers its element types as ONNX does.
fn element(ty: TensorElementType) -> ElementType {
    let code = ort::sys::ONNXTensorElementDataType::from(ty) as i32;
    ElementType::from_code(code).unwrap_or(ElementType::Float)
}

impl Engine for OrtEngine {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &[usize],
    ) -> Result<Vec<Tensor>, RunError> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let feeds: Vec<Feed<'_, '_>> = inputs.iter().cloned().map(Feed::Given).collect();
        Ok(self.advance(&feeds, outputs, &[])?.0)
    }

    fn advance(
        &mut self,
        inputs: &[Feed<'_, '_>],
        outputs: &[usize],
        kept: &[usize],
    ) -> Result<(Vec<Tensor>, Vec<Held>), RunError> {
        let elements: Vec<Elements<'_>> = inputs.iter().map(Elements::of).collect();
        let name = |&output: &usize| self.outputs[output].name.clone();
        let (copied, held): (Vec<String>, Vec<String>) =
            (outputs.iter().map(name).collect(), kept.iter().map(name).collect());
        // Both outlive the results that borrow them.
        let (options, binding);
        let mut results = match self.gpu.filter(|_| !kept.is_empty()) {
            Some(gpu) => {
                binding = self.bind(&elements, (&copied, &held), gpu).map_err(failed)?;
                self.session.run_binding(&binding)
            }
            None => {
                let all = copied.iter().chain(&held);
                let selector =
                    all.fold(OutputSelector::no_default(), |selector, name| selector.with(name));
                options = RunOptions::new().map_err(failed)?.with_outputs(selector);
                let values = elements
                    .iter()
                    .zip(&self.inputs)
                    .map(|(elements, port)| Ok((Cow::from(port.name.as_str()), elements.as_ort()?)))
                    .collect::<ort::Result<Vec<_>>>()
                    .map_err(failed)?;
                self.session.run_with_options(values, &options)
            }
        }
        .map_err(failed)?;
        let missing = |name: &String| RunError::Engine {
            engine: NAME,
            reason: format!("output {name:?} did not come back"),
        };
        let copied = copied
            .iter()
            .map(|name| to_host(name, results.get(name).ok_or_else(|| missing(name))?));
        let copied = copied.collect::<Result<_, _>>()?;
        let held = held.iter().map(|name| {
            results
                .remove(name)
                .map(|value| Held(HeldValue::Ort(value)))
                .ok_or_else(|| missing(name))
        });
        Ok((copied, held.collect::<Result<_, _>>()?))
    }
}

impl OrtEngine {
    /// Leaves the kept outputs on the GPU, from where the next run takes them.
    fn bind(
        &self,
        elements: &[Elements<'_>],
        (copied, held): (&[String], &[String]),
        gpu: u32,
    ) -> ort::Result<IoBinding> {
        let mut binding = self.session.create_binding()?;
        for (elements, port) in elements.iter().zip(&self.inputs) {
            binding.bind_input(&port.name, &*elements.as_ort()?)?;
        }
        let index = i32::try_from(gpu).unwrap_or(i32::MAX);
        let memory = |device, index| {
            MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)
        };
        for name in copied {
            binding.bind_output_to_device(name, &memory(AllocationDevice::CPU, 0)?)?;
        }
        for name in held {
            binding.bind_output_to_device(name, &memory(AllocationDevice::CUDA, index)?)?;
        }
        Ok(binding)
    }
}

fn failed(error: ort::Error) -> RunError {
    RunError::Engine { engine: NAME, reason: error.to_string() }
}

/// An input's elements where ONNX Runtime reads them: the caller's memory if that is in order, or
/// what an earlier run left.
enum Elements<'a> {
    F32(Cow<'a, [f32]>, Vec<usize>),
    I64(Cow<'a, [i64]>, Vec<usize>),
    Kept(&'a DynValue),
}

impl<'a> Elements<'a> {
    fn of(feed: &'a Feed<'_, '_>) -> Self {
        match feed {
            Feed::Given(TensorView::F32(view)) => {
                Self::F32(contiguous(view), view.shape().to_vec())
            }
            Feed::Given(TensorView::I64(view)) => {
                Self::I64(contiguous(view), view.shape().to_vec())
            }
            Feed::Held(Held(HeldValue::Ort(value))) => Self::Kept(value),
            // What the caller put into a state is in order.
            Feed::Held(Held(HeldValue::Host(Tensor::F32(array)))) => {
                Self::F32(in_order(array), array.shape().to_vec())
            }
            Feed::Held(Held(HeldValue::Host(Tensor::I64(array)))) => {
                Self::I64(in_order(array), array.shape().to_vec())
            }
        }
    }

    fn as_ort<'s: 'a>(&'s self) -> ort::Result<SessionInputValue<'s>> {
        Ok(match self {
            Self::F32(data, shape) => TensorRef::from_array_view((shape.clone(), &**data))?.into(),
            Self::I64(data, shape) => TensorRef::from_array_view((shape.clone(), &**data))?.into(),
            Self::Kept(value) => (*value).into(),
        })
    }
}

fn in_order<T: Copy>(array: &ArrayD<T>) -> Cow<'_, [T]> {
    match array.as_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(array.iter().copied().collect()),
    }
}

/// Copies an output out of ONNX Runtime's memory, on whatever device it is.
pub(crate) fn to_host(name: &str, value: &DynValue) -> Result<Tensor, RunError> {
    let dims = |shape: &ort::value::Shape| -> Vec<usize> {
        shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
    };
    let wrong = |_| RunError::Engine {
        engine: NAME,
        reason: format!("output {name:?} has a shape that is not its elements'"),
    };
    if let Ok(tensor) = value.view().downcast::<DynTensorValueType>()
        && !tensor.memory_info().is_cpu_accessible()
    {
        let copy = tensor.to(AllocationDevice::CPU, 0).map_err(failed)?;
        return to_host(name, &copy.into_dyn());
    }
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            ArrayD::from_shape_vec(dims(shape), data.to_vec()).map(Tensor::F32).map_err(wrong)
        }
        Some(TensorElementType::Int64) => {
            let (shape, data) = value.try_extract_tensor::<i64>().map_err(failed)?;
            ArrayD::from_shape_vec(dims(shape), data.to_vec()).map(Tensor::I64).map_err(wrong)
        }
        _ => {
            Err(RunError::OutputElement { name: name.to_owned(), found: value.dtype().to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_operator_is_read_from_the_message() {
        let check = |message: &str, operator| {
            assert_eq!(unknown_operator(message).as_deref(), operator, "{message}");
        };
        check("Fatal error: acme:Twist(-1) is not a registered function/op", Some("acme.Twist"));
        check("Fatal error: :Twist(-1) is not a registered function/op", Some("Twist"));
        check("No Op registered for Twist with domain_version of 18", Some("Twist"));
        check("Load model failed", None);
    }
}
