//! Gradients of several micro-batches before one step of the optimiser.
//!
//! The mean over k micro-batches of a loss that is itself a mean is the loss of one batch k times as
//! large, at the memory of one micro-batch; batch normalisation alone sees smaller batches.

use nearkin_onnx::{Graph, Tensor, ValueId};

use crate::emit::Emit;
use crate::error::Problem;
use crate::prune::prune;
use crate::step::{Scalar, Slot};
use crate::training::Training;
use crate::update::{Parameters, Update, zeros};

/// Name of the slot with the gradient of a parameter.
fn slot_of(parameter: &str) -> String {
    format!("{parameter}/gradient")
}

impl Update<'_> {
    /// Adds the gradients of a micro-batch to those before it. [`apply`] declares the slots.
    pub(crate) fn accumulate(
        &mut self,
        training: &Training,
        parameters: &Parameters,
    ) -> Result<(), Problem> {
        let named = training.trainable.iter().map(|parameter| slot_of(&parameter.name));
        for ((name, &grad), start) in named.zip(&parameters.grads).zip(&parameters.starts) {
            let before = self.input(&name, start)?;
            let sum = self.emit.add(before, grad)?;
            self.next.push(self.emit.output(sum, &format!("next/{name}"))?);
        }
        Ok(())
    }
}

/// The graph that follows accumulated gradients.
pub(crate) struct Apply {
    pub(crate) graph: Graph,
    pub(crate) slots: Vec<Slot>,
    pub(crate) scalars: Vec<Scalar>,
}

/// The optimiser's step along the mean of `count` gradients.
pub(crate) fn apply(
    training: &Training,
    starts: &[Tensor],
    count: usize,
) -> Result<Apply, Problem> {
    let mut emit = Emit::new(Graph::new("apply"), "step");
    let mut update = Update::new(&mut emit);
    let mut parameters = Parameters { starts: starts.to_vec(), ..Parameters::default() };
    let mut sums: Vec<(String, ValueId)> = Vec::new();
    for (parameter, start) in training.trainable.iter().zip(starts) {
        parameters.ids.push(update.input(&parameter.name, start)?);
        let name = slot_of(&parameter.name);
        let sum = update.input(&name, start)?;
        parameters.grads.push(update.emit.scale_unless_one(sum, (count as f32).recip())?);
        sums.push((name, sum));
    }
    let (norm, scalars) = update.optimise(training, &parameters)?;
    let learning_rate = update.emit.graph.find(Scalar::LearningRate.input());
    let learning_rate = learning_rate.ok_or(Problem::NoOutput)?;
    // Zeros that no engine folds into a constant as large as the parameters, and that no NaN
    // outlives.
    let never = update.emit.op("Less", &[learning_rate, learning_rate], vec![])?;
    for ((name, sum), start) in sums.into_iter().zip(starts) {
        let zero = update.emit.keep_where(never, sum)?;
        update.slot(&name, zero, zeros(start)?)?;
    }
    let Update { slots, next, .. } = update;
    let outputs = [vec![norm], next].concat();
    let graph = prune(&emit.graph, &outputs, &std::collections::BTreeSet::new())?;
    Ok(Apply { graph, slots, scalars })
}
