//! One training step as one graph: forward, loss, backward, optimiser.

use std::collections::BTreeSet;

use nearkin_onnx::{Model, Tensor, ValueId};

use crate::accumulate::apply;
use crate::checkpoint::Values;
use crate::error::{AutodiffError, Problem};
use crate::lower::{Lowering, lower};
use crate::mask::MaskInput;
use crate::optimiser::Optimiser;
use crate::prepare::{BatchNorm, Form, Prepared, is_standardisation, of_data, prepare};
use crate::separate::separate;
use crate::sweep::{backward, with_graph};
use crate::training::{Trainable, Training};
use crate::update::{Parameters, Update};

/// A tensor that goes from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name of the input, which is the parameter's own: `fc.weight`, or `fc.weight/momentum`,
    /// `fc.weight/average` for what belongs to it.
    pub input: String,
    /// Name of the output that is fed to it in the next step: `next/…`.
    pub output: String,
    /// Its value before the first step.
    pub start: Tensor,
}

/// A number that is fed anew in each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// η.
    LearningRate,
    /// 1 − β₁ᵗ.
    FirstCorrection,
    /// 1 − β₂ᵗ.
    SecondCorrection,
}

impl Scalar {
    /// Name of the input, a scalar f32.
    pub fn input(self) -> &'static str {
        match self {
            Self::LearningRate => "step/learning_rate",
            Self::FirstCorrection => "step/first_correction",
            Self::SecondCorrection => "step/second_correction",
        }
    }
}

/// The L2 norm of all gradients together, before clipping: an output of every step.
const GRADIENT_NORM: &str = "step/gradient_norm";

/// A graph that does one step, or two that do one in parts.
///
/// Where gradients are accumulated, `model` runs once for each micro-batch and then `apply` once;
/// both read and write the same slots. Each is fed the slots, scalars and masks that it has inputs
/// for, and passes on the slots that it has outputs for.
#[derive(Clone, Debug)]
pub struct TrainingStep {
    /// Inputs: those of the forward graph, the scalars, the slots, the masks. Outputs: those of the
    /// forward graph, [`TrainingStep::GRADIENT_NORM`], the slots' next values.
    ///
    /// Where gradients are accumulated, it adds those of a micro-batch to slots `NAME/gradient`,
    /// follows running statistics, and leaves the rest to `apply`.
    pub model: Model,
    /// The optimiser's step along the mean of the accumulated gradients, which it clips and whose
    /// norm it gives, with the accumulated gradients at zero again; none if every batch is a step.
    pub apply: Option<Model>,
    /// What goes from step to step: parameters first, in the order they were given, then their
    /// optimiser's state, averages, accumulated gradients, and running statistics.
    pub slots: Vec<Slot>,
    /// What is fed anew in each step.
    pub scalars: Vec<Scalar>,
    /// What is dropped anew in each batch or micro-batch.
    pub masks: Vec<MaskInput>,
    optimiser: Optimiser,
}

impl TrainingStep {
    /// Name of the output with the L2 norm of all gradients together, before clipping.
    pub const GRADIENT_NORM: &str = GRADIENT_NORM;

    /// The numbers to feed in step `t`, counted from 1, by input name.
    pub fn scalars_at(&self, t: u64, learning_rate: f64) -> Vec<(&'static str, f32)> {
        let (first, second) = self.optimiser.corrected_betas().unwrap_or_default();
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(t as f64)) as f32;
        let number = |scalar: &Scalar| match scalar {
            Scalar::LearningRate => learning_rate as f32,
            Scalar::FirstCorrection => correction(first),
            Scalar::SecondCorrection => correction(second),
        };
        self.scalars.iter().map(|scalar| (scalar.input(), number(scalar))).collect()
    }

    /// The masks to feed in step `t`: name, dimensions, elements in row-major order.
    ///
    /// They depend on `seed`, `t` and the names alone: a run that is resumed drops the same. Where
    /// gradients are accumulated, `t` counts micro-batches.
    pub fn masks_at(&self, seed: u64, t: u64) -> Vec<(&str, &[usize], Vec<f32>)> {
        let drawn = |mask: &MaskInput| mask.draw(seed, t);
        self.masks.iter().map(|m| (m.input.as_str(), m.dims.as_slice(), drawn(m))).collect()
    }
}

/// Makes the step that lowers `loss`, a value of the forward graph `model` with one element.
///
/// Standard operators only, so any ONNX engine runs it. Cost: about three forward passes.
///
/// # Errors
/// [`AutodiffError`]: an operator without a rule, named with its place; [`Problem::NoSuchValue`] for
/// a parameter that is no initialiser, [`Problem::Unused`] for one that the loss does not depend
/// on; [`Problem::Setting`] for a setting outside its range.
pub fn training_step(
    model: &Model,
    loss: &str,
    training: &Training,
) -> Result<TrainingStep, AutodiffError> {
    let whole = |problem: Problem| problem.at("");
    training.check().map_err(whole)?;
    let model = &separate(model);
    let statistics = running_statistics(model, training.batch_norm);
    let names = training.trainable.iter().map(|parameter| parameter.name.as_str());
    let inputs: BTreeSet<&str> = names.chain(statistics.iter().map(String::as_str)).collect();
    // An exporter that stores equal tensors once makes one of a bias and a mean that are both 0.
    let is_both = |parameter: &&Trainable| statistics.contains(&parameter.name);
    if let Some(parameter) = training.trainable.iter().find(is_both) {
        return Err(whole(Problem::Setting {
            field: "trainable",
            expected: "parameters that are no running statistics (export trained weights)",
            found: parameter.name.clone(),
        }));
    }
    let Training { batch, batch_norm, ref masks, .. } = *training;
    let Prepared { mut emit, names, statistics, masks } =
        prepare(model, Form { batch, inputs: &inputs, batch_norm, masks })?;
    let absent = |name: &str| whole(Problem::NoSuchValue(name.to_owned()));
    let find = |name: &str| names.get(name).copied().ok_or_else(|| absent(name));
    let loss = find(loss)?;
    let start = |name: &str| {
        let tensor = model.graph.find(name).and_then(|id| model.graph.initialiser(id));
        tensor.cloned().ok_or_else(|| absent(name))
    };
    let mut parameters = Parameters::default();
    for Trainable { name, .. } in &training.trainable {
        parameters.starts.push(start(name)?);
        parameters.ids.push(find(name)?);
    }
    let mut outputs: Vec<ValueId> = Vec::new();
    for &output in model.graph.outputs() {
        let id = find(&model.graph.value(output).name)?;
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    let state = inputs.iter().filter_map(|name| names.get(*name).copied()).collect();
    let values = Values { names: &names, state: &state };
    let grads = backward(&mut emit, loss, &parameters.ids, &training.checkpoint, &values)?;
    for (parameter, grad) in training.trainable.iter().zip(grads) {
        let unused = || whole(Problem::Unused { name: parameter.name.clone() });
        parameters.grads.push(grad.ok_or_else(unused)?);
    }
    let mut update = Update::new(&mut emit);
    let (apply, scalars) = match training.accumulate {
        None => {
            let (norm, scalars) = update.optimise(training, &parameters).map_err(whole)?;
            outputs.push(norm);
            (None, scalars)
        }
        Some(count) => {
            update.accumulate(training, &parameters).map_err(whole)?;
            let apply = apply(training, &parameters.starts, count).map_err(whole)?;
            update.slots = apply.slots;
            (Some(with_graph(model, apply.graph, Lowering::Standard)), apply.scalars)
        }
    };
    for (name, next) in statistics {
        update.slot(&name, next, start(&name)?).map_err(whole)?;
    }
    let Update { slots, next, .. } = update;
    outputs.extend(next);
    let optional = masks.iter().map(|(id, _)| *id).collect();
    let graph = lower(&emit.graph, &outputs, &optional, training.lowering).map_err(whole)?;
    let masks = masks.into_iter().map(|(_, mask)| mask);
    let masks = masks.filter(|mask| graph.find(&mask.input).is_some()).collect();
    Ok(TrainingStep {
        model: with_graph(model, graph, training.lowering),
        apply,
        slots,
        scalars,
        masks,
        optimiser: training.optimiser,
    })
}

/// Names of the running statistics that a step changes.
fn running_statistics(model: &Model, batch_norm: BatchNorm) -> Vec<String> {
    if batch_norm == BatchNorm::Frozen {
        return Vec::new();
    }
    let of_data = of_data(&model.graph);
    let norms = model
        .graph
        .nodes()
        .iter()
        .filter(|node| node.op == "BatchNormalization" && !is_standardisation(node, &of_data));
    let statistics = norms.flat_map(|node| node.inputs.iter().skip(3).take(2).flatten());
    let fixed = statistics.filter(|id| model.graph.initialiser(**id).is_some());
    fixed.map(|&id| model.graph.value(id).name.clone()).collect()
}
