//! From a file or bytes to tract's own graph.

use super::{NAME, guarded};
use crate::error::LoadError;
use crate::source::{Content, Prepared, operator_name};
use crate::value::Port;
use nearkin_onnx::{Bytes, Dim, ElementType, Graph, Shape, ValueId};
use prost::Message;
use std::path::Path;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{DatumType, Framework, InferenceModel, OutletId, TractResult};
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::Factoid;

/// Domains whose operators tract knows by their bare names.
const DOMAINS: &[&str] = &["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// tract's graph, not yet analysed: with its shapes as the file has them.
pub(super) fn inference_model(mut prepared: Prepared) -> Result<InferenceModel, LoadError> {
    // Intermediate shapes of other exporters contradict a batch that is fixed later.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    // The graph holds on to the file's pages, which would count as this process's memory.
    if let Some(graph) = prepared.graph.take() {
        check_operators(&onnx, &graph, &prepared.name)?;
    }
    let Prepared { name, content, .. } = prepared;
    guarded(|| match content {
        Content::File(path) => onnx.model_for_path(&path),
        Content::Memory { bytes, folder } => from_memory(&onnx, bytes, folder.as_deref()),
    })
    .map_err(|reason| LoadError::Engine { model: name, engine: NAME, reason })
}

fn from_memory(onnx: &Onnx, bytes: Bytes, folder: Option<&Path>) -> TractResult<InferenceModel> {
    let proto = ModelProto::decode(&*bytes)?;
    drop(bytes);
    let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
    let parsed = onnx.parse(&proto, folder.as_deref())?;
    match parsed.unresolved_inputs.as_slice() {
        [] => Ok(parsed.model),
        missing => Err(tract_onnx::tract_core::internal::anyhow!("nothing provides {missing:?}")),
    }
}

fn check_operators(onnx: &Onnx, graph: &Graph, model: &str) -> Result<(), LoadError> {
    let known = |node: &nearkin_onnx::Node| {
        DOMAINS.contains(&node.domain.as_str()) && onnx.op_register.0.contains_key(&node.op)
    };
    match graph.nodes().iter().find(|node| !known(node)) {
        None => Ok(()),
        Some(node) => Err(LoadError::UnknownOperator {
            model: model.to_owned(),
            engine: NAME,
            operator: operator_name(node),
            node: if node.name.is_empty() { "unnamed".to_owned() } else { node.name.clone() },
        }),
    }
}

/// Inputs and outputs as the file declares them.
pub(super) fn declared_ports(graph: &Graph) -> (Vec<Port>, Vec<Port>) {
    let port = |&id: &ValueId| {
        let value = graph.value(id);
        Port {
            name: value.name.clone(),
            element: value.ty.as_ref().map_or(ElementType::Float, |ty| ty.element),
            shape: value.ty.as_ref().and_then(|ty| ty.shape.clone()),
        }
    };
    // An input with an initialiser is a constant to tract.
    let fed = |id: &&ValueId| graph.initialiser(**id).is_none();
    let inputs = graph.inputs().iter().filter(fed).map(port).collect();
    (inputs, graph.outputs().iter().map(port).collect())
}

/// Inputs and outputs as tract knows them.
pub(super) fn ports(model: &InferenceModel) -> Result<(Vec<Port>, Vec<Port>), String> {
    let show = |error| format!("{error:#}");
    let port = |outlet: &OutletId| {
        let fact = model.outlet_fact(*outlet).map_err(show)?;
        let dims = fact.shape.rank().concretize().map(|_| {
            let dims = fact.shape.dims().map(|dim| dim.concretize());
            dims.map(|dim| match dim.as_ref().map(|dim| (dim.to_usize(), dim)) {
                Some((Ok(size), _)) => Dim::Known(size),
                Some((Err(_), dim)) => Dim::from_parameter(&dim.to_string()),
                None => Dim::Unknown,
            })
        });
        let label = model.outlet_label(*outlet).map(str::to_owned);
        Ok(Port {
            name: label.unwrap_or_else(|| model.node(outlet.node).name.clone()),
            element: element(fact.datum_type.concretize().unwrap_or(DatumType::F32)),
            shape: dims.map(|dims| Shape(dims.collect())),
        })
    };
    let inputs = model.input_outlets().map_err(show)?;
    let outputs = model.output_outlets().map_err(show)?;
    let all = |outlets: &[OutletId]| outlets.iter().map(port).collect::<Result<Vec<_>, String>>();
    Ok((all(inputs)?, all(outputs)?))
}

fn element(ty: DatumType) -> ElementType {
    match ty {
        DatumType::I64 => ElementType::Int64,
        DatumType::I32 => ElementType::Int32,
        DatumType::I16 => ElementType::Int16,
        DatumType::I8 => ElementType::Int8,
        DatumType::U8 => ElementType::Uint8,
        DatumType::U16 => ElementType::Uint16,
        DatumType::U32 => ElementType::Uint32,
        DatumType::U64 => ElementType::Uint64,
        DatumType::Bool => ElementType::Bool,
        DatumType::F16 => ElementType::Float16,
        DatumType::F64 => ElementType::Double,
        DatumType::String => ElementType::String,
        _ => ElementType::Float,
    }
}
