//! One training step as one graph: forward, loss, backward, optimiser.

use std::collections::BTreeSet;

use nearkin_onnx::{Model, Shape, Tensor, TensorType, ValueId};

use crate::error::{AutodiffError, Problem};
use crate::lower::{Lowering, lower};
use crate::optimiser::{Optimiser, Rates};
use crate::prepare::{BatchNorm, prepare};
use crate::sweep::{backward, with_graph};

/// A parameter that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainable {
    /// The initialiser's name.
    pub name: String,
    /// Weight decay λ, at least 0; usually 0 for biases and normalisation.
    pub decay: f32,
    /// Factor on the learning rate, above 0: layer-wise decay.
    pub rate: f32,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Images in a batch, at least 1.
    pub batch: usize,
    /// What is trained; everything else stays as it is.
    pub trainable: Vec<Trainable>,
    /// How it follows the gradient.
    pub optimiser: Optimiser,
    /// How batch normalisation is trained.
    pub batch_norm: BatchNorm,
    /// Scales the gradients of all parameters together down to this L2 norm, above 0.
    pub clip_norm: Option<f32>,
    /// Keeps a moving average of every parameter, a ← decay·a + (1 − decay)·θ; in (0, 1).
    pub average: Option<f32>,
    /// In which operators the step is written.
    pub lowering: Lowering,
}

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

/// A graph that does one step.
#[derive(Clone, Debug)]
pub struct TrainingStep {
    /// Inputs: those of the forward graph, the scalars, the slots. Outputs: those of the forward
    /// graph, [`TrainingStep::GRADIENT_NORM`], the slots' next values.
    pub model: Model,
    /// What goes from step to step: parameters first, in the order they were given, then their
    /// optimiser's state, averages, and running statistics.
    pub slots: Vec<Slot>,
    /// What is fed anew in each step.
    pub scalars: Vec<Scalar>,
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
    check(training).map_err(whole)?;
    let statistics = running_statistics(model, training.batch_norm);
    let names = training.trainable.iter().map(|parameter| parameter.name.as_str());
    let inputs: BTreeSet<&str> = names.chain(statistics.iter().map(String::as_str)).collect();
    let mut prepared = prepare(model, training.batch, &inputs, training.batch_norm)?;
    let find = |name: &str| {
        let known = prepared.names.get(name).copied();
        known.ok_or_else(|| whole(Problem::NoSuchValue(name.to_owned())))
    };
    let loss = find(loss)?;
    let start = |name: &str| {
        let tensor = model.graph.find(name).and_then(|id| model.graph.initialiser(id));
        tensor.cloned().ok_or_else(|| whole(Problem::NoSuchValue(name.to_owned())))
    };
    let mut starts = Vec::new();
    let mut ids = Vec::new();
    for parameter in &training.trainable {
        starts.push(start(&parameter.name)?);
        ids.push(find(&parameter.name)?);
    }
    let mut outputs: Vec<ValueId> = Vec::new();
    for &output in model.graph.outputs() {
        let id = find(&model.graph.value(output).name)?;
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    let e = &mut prepared.emit;
    let mut grads = Vec::new();
    for (parameter, grad) in training.trainable.iter().zip(backward(e, loss, &ids)?) {
        let unused = || whole(Problem::Unused { name: parameter.name.clone() });
        grads.push(grad.ok_or_else(unused)?);
    }
    let mut build = Build { prepared, slots: Vec::new(), next: Vec::new() };
    let scalars = build.optimise(training, &ids, grads, &starts, &mut outputs).map_err(whole)?;
    build.statistics(&start)?;
    let Build { prepared, slots, next } = build;
    outputs.extend(next);
    let graph = lower(&prepared.emit.graph, &outputs, training.lowering).map_err(whole)?;
    Ok(TrainingStep {
        model: with_graph(model, graph, training.lowering),
        slots,
        scalars,
        optimiser: training.optimiser,
    })
}

fn check(training: &Training) -> Result<(), Problem> {
    training.optimiser.check()?;
    training.lowering.check()?;
    let wrong = |field, expected, found: String| Err(Problem::Setting { field, expected, found });
    if training.batch == 0 {
        return wrong("batch", "at least 1", "0".to_owned());
    }
    if training.trainable.is_empty() {
        return wrong("trainable", "at least one parameter", "none".to_owned());
    }
    for Trainable { name, decay, rate } in &training.trainable {
        if !(*decay >= 0.0 && decay.is_finite()) {
            return wrong("weight decay", "at least 0", format!("{decay} of {name}"));
        }
        if !(*rate > 0.0 && rate.is_finite()) {
            return wrong("learning rate factor", "above 0", format!("{rate} of {name}"));
        }
    }
    if let Some(clip) = training.clip_norm.filter(|&clip| !(clip > 0.0 && clip.is_finite())) {
        return wrong("clip_norm", "above 0", clip.to_string());
    }
    if let Some(keep) = training.average.filter(|&keep| !(keep > 0.0 && keep < 1.0)) {
        return wrong("average", "above 0 and below 1", keep.to_string());
    }
    Ok(())
}

/// Names of the running statistics that a step changes.
fn running_statistics(model: &Model, batch_norm: BatchNorm) -> Vec<String> {
    if batch_norm == BatchNorm::Frozen {
        return Vec::new();
    }
    let norms = model.graph.nodes().iter().filter(|node| node.op == "BatchNormalization");
    let statistics = norms.flat_map(|node| node.inputs.iter().skip(3).take(2).flatten());
    let fixed = statistics.filter(|id| model.graph.initialiser(**id).is_some());
    fixed.map(|&id| model.graph.value(id).name.clone()).collect()
}

struct Build {
    prepared: crate::prepare::Prepared,
    slots: Vec<Slot>,
    next: Vec<ValueId>,
}

impl Build {
    fn optimise(
        &mut self,
        training: &Training,
        parameters: &[ValueId],
        grads: Vec<ValueId>,
        starts: &[Tensor],
        outputs: &mut Vec<ValueId>,
    ) -> Result<Vec<Scalar>, Problem> {
        let e = &mut self.prepared.emit;
        e.set_prefix("step");
        let mut squares = Vec::new();
        for &grad in &grads {
            squares.push(e.op(
                "ReduceSumSquare",
                &[grad],
                vec![crate::emit::attr("keepdims", 0i64)],
            )?);
        }
        let mut sum = squares[0];
        for &square in &squares[1..] {
            sum = e.add(sum, square)?;
        }
        let norm = e.op("Sqrt", &[sum], vec![])?;
        outputs.push(e.output(norm, GRADIENT_NORM)?);
        let grads = match training.clip_norm {
            None => grads,
            Some(limit) => {
                // PyTorch's rule: limit / (norm + 1e-6), at most 1.
                let (limit, small, one) = (e.scalar(limit)?, e.scalar(1e-6)?, e.scalar(1.0)?);
                let shifted = e.add(norm, small)?;
                let ratio = e.div(limit, shifted)?;
                let factor = e.op("Min", &[ratio, one], vec![])?;
                grads.into_iter().map(|grad| e.mul(grad, factor)).collect::<Result<_, _>>()?
            }
        };
        let mut scalars = vec![Scalar::LearningRate];
        let scalar = || TensorType::f32(Shape::known(&[]));
        let learning_rate = e.graph.add_input(Scalar::LearningRate.input(), scalar())?;
        let mut corrections = None;
        if training.optimiser.corrected_betas().is_some() {
            let pair = [Scalar::FirstCorrection, Scalar::SecondCorrection];
            scalars.extend(pair);
            let first = e.graph.add_input(pair[0].input(), scalar())?;
            corrections = Some((first, e.graph.add_input(pair[1].input(), scalar())?));
        }
        let rates = Rates { learning_rate, corrections };
        let (mut states, mut averages) = (Vec::new(), Vec::new());
        for (i, parameter) in training.trainable.iter().enumerate() {
            let Trainable { name, decay, rate } = parameter;
            let e = &mut self.prepared.emit;
            let zero = || {
                let count = starts[i].count().unwrap_or_default();
                Tensor::from_f32(starts[i].dims.clone(), &vec![0.0; count]).ok_or(Problem::NoOutput)
            };
            let mut state = Vec::new();
            for kept in training.optimiser.state() {
                let ty = TensorType::f32(Shape::known(&starts[i].dims));
                state.push(e.graph.add_input(&format!("{name}/{kept}"), ty)?);
            }
            let (next, new_state) = training.optimiser.update(
                e,
                parameters[i],
                grads[i],
                &state,
                &rates,
                (*decay, *rate),
            )?;
            self.slot(name.clone(), next, starts[i].clone())?;
            for (kept, new) in training.optimiser.state().iter().zip(new_state) {
                states.push((format!("{name}/{kept}"), new, zero()?));
            }
            if let Some(keep) = training.average {
                let e = &mut self.prepared.emit;
                let input = format!("{name}/average");
                let ty = TensorType::f32(Shape::known(&starts[i].dims));
                let old = e.graph.add_input(&input, ty)?;
                let (old, new) = (e.scale(old, keep)?, e.scale(next, 1.0 - keep)?);
                averages.push((input, e.add(old, new)?, starts[i].clone()));
            }
        }
        for (input, next, start) in states.into_iter().chain(averages) {
            self.slot(input, next, start)?;
        }
        Ok(scalars)
    }

    fn statistics(
        &mut self,
        start: &impl Fn(&str) -> Result<Tensor, AutodiffError>,
    ) -> Result<(), AutodiffError> {
        for (name, next) in std::mem::take(&mut self.prepared.statistics) {
            let start = start(&name)?;
            self.slot(name, next, start).map_err(|problem| problem.at(""))?;
        }
        Ok(())
    }

    fn slot(&mut self, input: String, next: ValueId, start: Tensor) -> Result<(), Problem> {
        let output = format!("next/{input}");
        self.next.push(self.prepared.emit.output(next, &output)?);
        self.slots.push(Slot { input, output, start });
        Ok(())
    }
}
