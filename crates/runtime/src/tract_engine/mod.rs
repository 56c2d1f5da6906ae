//! tract, on the CPU.
//!
//! tract plans for fixed shapes. A model with convolutions whose images are independent of each
//! other is planned for one image, and a batch runs image by image, spread over the threads: that
//! is two to four times faster than a plan for the batch, and needs one copy of the weights. Any
//! other model is planned for each batch size that is asked for; the last few plans are kept.

mod independence;
mod load;

use crate::error::{LoadError, RunError};

use crate::session::{Engine, Facts};
use crate::source::Prepared;
use crate::value::{Port, Tensor, TensorView, contiguous};
use independence::images_are_independent;
use ndarray::ArrayD;
use nearkin_onnx::Dim;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::prelude::{
    DatumType, Graph as TractGraph, InferenceModel, IntoTValue, TValue, TVec,
    Tensor as TractTensor, TractResult, TypedFact, TypedOp,
};
use tract_onnx::tract_core::internal::{RunOptions, TypedSimplePlan};
use tract_onnx::tract_core::tract_linalg::multithread::Executor;
use tract_onnx::tract_hir::infer::Factoid;

pub(crate) const NAME: &str = "tract";

/// The release that the workspace pins; the crate has no function that tells it.
const VERSION: &str = "0.23.9";

/// Plans kept for other shapes than those last run.
const PLANS_KEPT: usize = 3;

type TypedModel = TractGraph<TypedFact, Box<dyn TypedOp>>;

/// A model in tract.
pub(crate) struct TractEngine {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Absent once the one plan that is needed exists.
    model: Option<InferenceModel>,
    /// By the shapes of the inputs, the last used at the end.
    plans: Vec<(Vec<Vec<usize>>, Plan)>,
    image_by_image: bool,
    pool: Arc<rayon::ThreadPool>,
}

/// One set of weights in tract's order, to be run in two ways.
#[derive(Clone)]
struct Plan {
    /// One run at a time, on all threads.
    spread: Arc<TypedSimplePlan>,
    /// Many runs side by side, each on one thread.
    single: Arc<TypedSimplePlan>,
}

impl TractEngine {
    /// Reads a model and, if only its batch is open, plans it for one image.
    pub(crate) fn load(prepared: Prepared, threads: usize) -> Result<(Self, Facts), LoadError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("tract-{index}"))
            .build()
            .map_err(|error| LoadError::Threads { threads, reason: error.to_string() })?;
        let name = prepared.name.clone();
        let refuse = |reason| LoadError::Engine { model: name.clone(), engine: NAME, reason };
        let image_by_image = prepared.graph.as_ref().is_some_and(|graph| {
            let convolves = |node: &nearkin_onnx::Node| node.is_standard() && node.op == "Conv";
            graph.nodes().iter().any(convolves) && images_are_independent(graph)
        });
        let declared = prepared.graph.as_ref().map(load::declared_ports);
        let model = load::inference_model(prepared)?;
        let (inputs, outputs) = match declared {
            Some(ports) => ports,
            None => load::ports(&model).map_err(refuse)?,
        };
        let mut engine = Self {
            inputs,
            outputs,
            model: Some(model),
            plans: Vec::new(),
            image_by_image,
            pool: Arc::new(pool),
        };
        let shapes: Option<Vec<Vec<usize>>> = engine
            .inputs
            .iter()
            .map(|port| {
                let dims = &port.shape.as_ref()?.0;
                let size = |(axis, dim): (usize, &Dim)| match dim.known() {
                    None if axis == 0 => Some(dim.per_item().unwrap_or(1)),
                    size => size,
                };
                dims.iter().enumerate().map(size).collect()
            })
            .collect();
        let mut nodes = BTreeMap::new();
        if let Some(shapes) = shapes {
            let plan = engine.plan(shapes).map_err(refuse)?;
            nodes.insert(NAME.to_owned(), computing_nodes(plan.spread.model()));
            if image_by_image {
                engine.model = None;
            }
        } else {
            // Shapes that only a run will tell: nothing is planned, and no node is placed, before.
            nodes.insert(NAME.to_owned(), 0);
        }
        let facts = Facts {
            engine: NAME,
            version: VERSION.to_owned(),
            library: None,
            nodes_per_provider: nodes,
            notice: None,
        };
        Ok((engine, facts))
    }

    /// The plan for these shapes, made now if there is none.
    fn plan(&mut self, shapes: Vec<Vec<usize>>) -> Result<Plan, String> {
        if let Some(position) = self.plans.iter().position(|(known, _)| *known == shapes) {
            let entry = self.plans.remove(position);
            self.plans.push(entry);
        } else {
            let model = self.model.as_ref().ok_or("planned for one image only")?;
            let plan = guarded(|| make_plan(model, &shapes, &self.pool))?;
            if self.plans.len() >= PLANS_KEPT {
                self.plans.remove(0);
            }
            self.plans.push((shapes, plan));
        }
        self.plans.last().map(|(_, plan)| plan.clone()).ok_or_else(|| "no plan".to_owned())
    }

    /// Runs every image by itself, side by side.
    fn run_images(
        &mut self,
        inputs: &[TensorView<'_>],
        images: usize,
        outputs: &[usize],
    ) -> Result<Vec<Tensor>, String> {
        let mut shapes: Vec<Vec<usize>> = inputs.iter().map(|v| v.shape().to_vec()).collect();
        shapes.iter_mut().for_each(|shape| shape[0] = 1);
        let plan = self.plan(shapes.clone())?;
        // With fewer images than threads, the threads left over help within the images.
        let plan = if images < self.pool.current_num_threads() { plan.spread } else { plan.single };
        let elements: Vec<Elements<'_>> = inputs.iter().map(Elements::of).collect();
        let run = |image: usize| -> Result<TVec<TValue>, String> {
            let values = elements.iter().zip(&shapes).map(|(all, shape)| all.image(image, shape));
            let values = values.collect::<Result<TVec<TValue>, String>>()?;
            guarded(|| plan.run(values))
        };
        let results: Vec<TVec<TValue>> = self
            .pool
            .install(|| (0..images).into_par_iter().map(run).collect::<Result<Vec<_>, String>>())?;
        outputs.iter().map(|&output| join(results.iter().map(|values| &*values[output]))).collect()
    }

    fn run_whole(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &[usize],
    ) -> Result<Vec<Tensor>, String> {
        let plan = self.plan(inputs.iter().map(|view| view.shape().to_vec()).collect())?;
        let values = inputs.iter().map(|view| {
            let elements = Elements::of(view);
            elements.image(0, view.shape())
        });
        let values = values.collect::<Result<TVec<TValue>, String>>()?;
        let results = guarded(|| plan.spread.run(values))?;
        outputs.iter().map(|&output| join(std::iter::once(&*results[output]))).collect()
    }
}

/// Nodes that compute: constants and inputs do not.
fn computing_nodes(model: &TypedModel) -> usize {
    let idle = |name: &str| matches!(name, "Const" | "Source");
    model.nodes().iter().filter(|node| !idle(&node.op.name())).count()
}

fn make_plan(
    model: &InferenceModel,
    shapes: &[Vec<usize>],
    pool: &Arc<rayon::ThreadPool>,
) -> TractResult<Plan> {
    use tract_onnx::prelude::{InferenceFact, InferenceModelExt};
    let mut model = model.clone();
    for (i, shape) in shapes.iter().enumerate() {
        let ty = model.input_fact(i)?.datum_type.concretize().unwrap_or(DatumType::F32);
        model.set_input_fact(i, InferenceFact::dt_shape(ty, shape))?;
    }
    let model = Arc::new(model.into_optimized()?);
    let on = |executor| {
        let options = RunOptions { executor: Some(executor), ..RunOptions::default() };
        TypedSimplePlan::new_with_options(model.clone(), &options)
    };
    let spread = match pool.current_num_threads() {
        1 => Executor::SingleThread,
        _ => Executor::MultiThread(pool.clone()),
    };
    Ok(Plan { spread: on(spread)?, single: on(Executor::SingleThread)? })
}

/// Runs tract, which panics on some models where it should return an error.
fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("it panicked: {}", text.unwrap_or("without a message")))
        }
    }
}

impl Engine for TractEngine {
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
        let images = inputs.first().and_then(|view| view.shape().first()).copied().unwrap_or(1);
        let together = inputs.iter().all(|view| view.shape().first() == Some(&images));
        let results = if self.image_by_image && images > 1 && together {
            self.run_images(inputs, images, outputs)
        } else {
            self.run_whole(inputs, outputs)
        };
        results.map_err(|reason| RunError::Engine { engine: NAME, reason })
    }
}

/// An input's elements in order, from which tract copies its own tensors.
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

    /// The tensor of this shape that is number `image` in a row of them.
    fn image(&self, image: usize, shape: &[usize]) -> Result<TValue, String> {
        let size: usize = shape.iter().product();
        let range = image * size..(image + 1) * size;
        let tensor = match self {
            Self::F32(all) => TractTensor::from_shape(shape, &all[range]),
            Self::I64(all) => TractTensor::from_shape(shape, &all[range]),
        };
        tensor.map(IntoTValue::into_tvalue).map_err(|error| format!("{error:#}"))
    }
}

/// Copies tensors that follow each other along the first axis into one.
fn join<'a>(parts: impl Iterator<Item = &'a TractTensor>) -> Result<Tensor, String> {
    // tract keeps integers that may be dimensions as expressions.
    let plain = |part: &'a TractTensor| match part.datum_type() {
        DatumType::TDim => part.cast_to_dt(DatumType::I64),
        _ => Ok(Cow::Borrowed(part)),
    };
    let parts = parts.map(plain).collect::<TractResult<Vec<_>>>().map_err(|e| format!("{e:#}"))?;
    let first = parts.first().ok_or("nothing came back")?;
    let mut shape = first.shape().to_vec();
    if parts.len() > 1 {
        match shape.first_mut() {
            Some(rows) => *rows *= parts.len(),
            None => return Err("an output has no axis for the batch".to_owned()),
        }
    }
    match first.datum_type() {
        DatumType::F32 => gather::<f32>(&parts, shape).map(Tensor::F32),
        DatumType::I64 => gather::<i64>(&parts, shape).map(Tensor::I64),
        other => Err(format!("an output has elements {other:?}, expected f32 or i64")),
    }
}

fn gather<T: tract_onnx::prelude::Datum + Copy>(
    parts: &[Cow<'_, TractTensor>],
    shape: Vec<usize>,
) -> Result<ArrayD<T>, String> {
    let mut all = Vec::with_capacity(shape.iter().product());
    for part in parts {
        let view = part.view();
        all.extend_from_slice(view.as_slice::<T>().map_err(|error| format!("{error:#}"))?);
    }
    ArrayD::from_shape_vec(shape, all).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_told_is_the_one_pinned() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains(&format!("tract-onnx = \"={VERSION}\"")));
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_words() {
        let reason = guarded::<()>(|| panic!("index {}", 7)).unwrap_err();
        assert_eq!(reason, "it panicked: index 7");
    }
}
