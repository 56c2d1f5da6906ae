//! ONNX Runtime.

mod assignment;
mod cuda;

use crate::error::{LoadError, RunError};
use crate::library::Library;
use crate::options::{Device, Options};
use crate::session::{Engine, Facts};
use crate::source::{Content, Prepared, first_nodes};
use crate::value::{Port, Tensor, TensorView, contiguous};
use ndarray::ArrayD;
use nearkin_onnx::{Dim, ElementType, Shape};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "ort";

/// A session of ONNX Runtime.
pub(crate) struct OrtEngine {
    session: ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
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
        Ok((Self { session, inputs, outputs }, facts))
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
        let selector = outputs.iter().fold(OutputSelector::no_default(), |selector, &output| {
            selector.with(&self.outputs[output].name)
        });
        let options = RunOptions::new().map_err(failed)?.with_outputs(selector);
        let elements: Vec<Elements<'_>> = inputs.iter().map(Elements::of).collect();
        let values = inputs
            .iter()
            .zip(&elements)
            .zip(&self.inputs)
            .map(|((view, elements), port)| {
                Ok((Cow::from(port.name.as_str()), elements.as_ort(view.shape())?))
            })
            .collect::<ort::Result<Vec<_>>>()
            .map_err(failed)?;
        let results = self.session.run_with_options(values, &options).map_err(failed)?;
        outputs
            .iter()
            .map(|&output| {
                let name = &self.outputs[output].name;
                let value = results.get(name).ok_or_else(|| RunError::Engine {
                    engine: NAME,
                    reason: format!("output {name:?} did not come back"),
                })?;
                tensor(name, value)
            })
            .collect()
    }
}

fn failed(error: ort::Error) -> RunError {
    RunError::Engine { engine: NAME, reason: error.to_string() }
}

/// An input's elements where ONNX Runtime reads them: the caller's memory if that is in order.
enum Elements<'a> {
    F32(Cow<'a, [f32]>),
    I64(Cow<'a, [i64]>),
}

impl<'a> Elements<'a> {
    fn of(view: &'a TensorView<'_>) -> Self {
        match view {
            TensorView::F32(view) => Self::F32(contiguous(view)),
            TensorView::I64(view) => Self::I64(contiguous(view)),
        }
    }

    fn as_ort<'s: 'a>(&'s self, shape: &[usize]) -> ort::Result<SessionInputValue<'s>> {
        Ok(match self {
            Self::F32(data) => TensorRef::from_array_view((shape.to_vec(), &**data))?.into(),
            Self::I64(data) => TensorRef::from_array_view((shape.to_vec(), &**data))?.into(),
        })
    }
}

/// Copies an output out of ONNX Runtime's memory, which ends with the run.
fn tensor(name: &str, value: &DynValue) -> Result<Tensor, RunError> {
    let dims = |shape: &ort::value::Shape| -> Vec<usize> {
        shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
    };
    let wrong = |_| RunError::Engine {
        engine: NAME,
        reason: format!("output {name:?} has a shape that is not its elements'"),
    };
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
