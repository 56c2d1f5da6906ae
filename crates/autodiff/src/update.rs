//! From gradients to the next parameters: norm, clipping, optimiser, averages.

use nearkin_onnx::{Shape, Tensor, TensorType, ValueId};

use crate::emit::{Emit, attr};
use crate::error::Problem;
use crate::optimiser::Rates;
use crate::step::{Scalar, Slot, TrainingStep};
use crate::training::{Trainable, Training};

/// The parameters of a step in a graph.
#[derive(Default)]
pub(crate) struct Parameters {
    pub(crate) ids: Vec<ValueId>,
    pub(crate) grads: Vec<ValueId>,
    /// Before the first step.
    pub(crate) starts: Vec<Tensor>,
}

/// A slot with its output.
type Kept = (Slot, ValueId);

/// A graph that tensors go through from step to step.
pub(crate) struct Update<'a> {
    pub(crate) emit: &'a mut Emit,
    pub(crate) slots: Vec<Slot>,
    /// Outputs of the slots, in their order.
    pub(crate) next: Vec<ValueId>,
}

impl<'a> Update<'a> {
    pub(crate) fn new(emit: &'a mut Emit) -> Self {
        emit.set_prefix("step");
        Self { emit, slots: Vec::new(), next: Vec::new() }
    }

    /// A slot, from an input that is there to `next`.
    pub(crate) fn slot(
        &mut self,
        input: &str,
        next: ValueId,
        start: Tensor,
    ) -> Result<(), Problem> {
        let (slot, next) = self.kept(input, next, start)?;
        self.slots.push(slot);
        self.next.push(next);
        Ok(())
    }

    /// The same, to be listed later.
    fn kept(&mut self, input: &str, next: ValueId, start: Tensor) -> Result<Kept, Problem> {
        let output = format!("next/{input}");
        let next = self.emit.output(next, &output)?;
        Ok((Slot { input: input.to_owned(), output, start }, next))
    }

    /// A new input of a tensor's shape.
    pub(crate) fn input(&mut self, name: &str, like: &Tensor) -> Result<ValueId, Problem> {
        Ok(self.emit.graph.add_input(name, TensorType::f32(Shape::known(&like.dims)))?)
    }

    /// One step of the optimiser; returns the output with the gradients' norm, and the scalars.
    ///
    /// The order of the nodes is for engines that run depth first from the last output, as ONNX
    /// Runtime does: norm, then the parameters from the last to the first, each with its state. So
    /// gradients are made in the order of the backward pass, which lets go of its activations on the
    /// way, and each is let go when its own parameter has followed it.
    pub(crate) fn optimise(
        &mut self,
        training: &Training,
        parameters: &Parameters,
    ) -> Result<(ValueId, Vec<Scalar>), Problem> {
        let Parameters { ids, grads, starts } = parameters;
        let clipped = match training.clip_norm {
            Some(limit) => {
                let norm = self.norm(grads)?;
                Some((norm, self.shrink(norm, limit)?))
            }
            None => None,
        };
        let (rates, scalars) = self.rates(training)?;
        let (mut states, mut averages) = (Vec::new(), Vec::new());
        for (i, parameter) in training.trainable.iter().enumerate() {
            let Trainable { name, decay, rate } = parameter;
            let grad = match clipped {
                Some((_, factor)) => self.emit.mul(grads[i], factor)?,
                None => grads[i],
            };
            let mut state = Vec::new();
            for kept in training.optimiser.state() {
                state.push(self.input(&format!("{name}/{kept}"), &starts[i])?);
            }
            let (e, optimiser) = (&mut *self.emit, &training.optimiser);
            let (next, new_state) =
                optimiser.update(e, ids[i], grad, &state, &rates, (*decay, *rate))?;
            for (kept, new) in optimiser.state().iter().zip(new_state) {
                let kept = self.kept(&format!("{name}/{kept}"), new, zeros(&starts[i])?)?;
                states.push(kept);
            }
            if let Some(keep) = training.average {
                let input = format!("{name}/average");
                let old = self.input(&input, &starts[i])?;
                let e = &mut *self.emit;
                let (old, new) = (e.scale(old, keep)?, e.scale(next, 1.0 - keep)?);
                let average = e.add(old, new)?;
                averages.push(self.kept(&input, average, starts[i].clone())?);
            }
            self.slot(name, next, starts[i].clone())?;
        }
        for (slot, next) in states.into_iter().chain(averages) {
            self.slots.push(slot);
            self.next.push(next);
        }
        let norm = match clipped {
            Some((norm, _)) => norm,
            None => self.norm(grads)?,
        };
        Ok((self.emit.output(norm, TrainingStep::GRADIENT_NORM)?, scalars))
    }

    /// The L2 norm of all gradients together, the last parameter's square first.
    fn norm(&mut self, grads: &[ValueId]) -> Result<ValueId, Problem> {
        let mut squares = Vec::new();
        for &grad in grads.iter().rev() {
            let keep = vec![attr("keepdims", 0i64)];
            squares.push(self.emit.op("ReduceSumSquare", &[grad], keep)?);
        }
        let (&first, rest) = squares.split_first().ok_or(Problem::NoOutput)?;
        let sum = rest.iter().try_fold(first, |sum, &square| self.emit.add(sum, square))?;
        self.emit.op("Sqrt", &[sum], vec![])
    }

    /// PyTorch's rule for clipping: limit / (norm + 1e-6), at most 1.
    fn shrink(&mut self, norm: ValueId, limit: f32) -> Result<ValueId, Problem> {
        let e = &mut *self.emit;
        let (limit, small, one) = (e.scalar(limit)?, e.scalar(1e-6)?, e.scalar(1.0)?);
        let shifted = e.add(norm, small)?;
        let ratio = e.div(limit, shifted)?;
        e.op("Min", &[ratio, one], vec![])
    }

    fn rates(&mut self, training: &Training) -> Result<(Rates, Vec<Scalar>), Problem> {
        let mut scalars = vec![Scalar::LearningRate];
        let mut add = |scalar: Scalar| {
            self.emit.graph.add_input(scalar.input(), TensorType::f32(Shape::known(&[])))
        };
        let learning_rate = add(Scalar::LearningRate)?;
        let mut corrections = None;
        if training.optimiser.corrected_betas().is_some() {
            let pair = [Scalar::FirstCorrection, Scalar::SecondCorrection];
            corrections = Some((add(pair[0])?, add(pair[1])?));
            scalars.extend(pair);
        }
        Ok((Rates { learning_rate, corrections }, scalars))
    }
}

/// Zeros of a tensor's shape.
pub(crate) fn zeros(like: &Tensor) -> Result<Tensor, Problem> {
    let count = like.count().unwrap_or_default();
    Tensor::from_f32(like.dims.clone(), &vec![0.0; count]).ok_or(Problem::NoOutput)
}
