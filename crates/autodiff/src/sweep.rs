//! The reverse sweep: from the loss back to every value whose gradient is wanted.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{ElementType, Model, ValueId};

use crate::checkpoint::{Checkpoint, Recompute, Values};
use crate::emit::Emit;
use crate::error::{AutodiffError, Problem};
use crate::lower::{Lowering, lower};
use crate::prepare::{BatchNorm, Form, prepare};
use crate::rules::{self, Call};
use crate::separate::separate;

/// Emits the gradients of `loss` with respect to `wrt`; none for what it does not depend on.
pub(crate) fn backward(
    e: &mut Emit,
    loss: ValueId,
    wrt: &[ValueId],
    checkpoint: &Checkpoint,
    values: &Values<'_>,
) -> Result<Vec<Option<ValueId>>, AutodiffError> {
    let name = e.graph.value(loss).name.clone();
    let dims = e.dims(loss).map_err(|problem| problem.at(""))?;
    if dims.iter().product::<usize>() != 1 {
        return Err(Problem::Loss { name, found: dims }.at(""));
    }
    let forward: Vec<_> = e.graph.node_ids().collect();
    let mut depends: BTreeSet<ValueId> = wrt.iter().copied().collect();
    for &id in &forward {
        let node = e.graph.node(id);
        if node.inputs.iter().flatten().any(|input| depends.contains(input)) {
            let outputs = node.outputs.iter().flatten();
            depends.extend(outputs.filter(|&&id| e.element(id) == Some(ElementType::Float)));
        }
    }
    let mut grads: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
    if depends.contains(&loss) {
        let one = e.scalar(1.0).and_then(|one| e.reshape(one, &dims));
        grads.insert(loss, vec![one.map_err(|problem| problem.at(""))?]);
    }
    let mut plan = Recompute::plan(e, forward.clone(), &depends, checkpoint, values)
        .map_err(|problem| problem.at(""))?;
    for (position, &id) in forward.iter().enumerate().rev() {
        let node = e.graph.node(id).clone();
        let place = || node.describe();
        let needs: Vec<bool> =
            node.inputs.iter().map(|input| input.is_some_and(|id| depends.contains(&id))).collect();
        if !needs.contains(&true) {
            continue;
        }
        let mut arrived = Vec::new();
        for output in &node.outputs {
            let parts = output.and_then(|id| grads.get(&id)).cloned().unwrap_or_default();
            arrived.push(total(e, &parts).map_err(|problem| problem.at(place()))?);
        }
        let Some(&first) = arrived.iter().flatten().next() else { continue };
        let late = plan.node(e, position, first).map_err(|problem| problem.at(place()))?;
        let call = Call { node: late, grads: arrived, needs };
        let given = rules::run(e, &call).map_err(|problem| problem.at(place()))?;
        for ((input, grad), needed) in node.inputs.iter().zip(given).zip(&call.needs) {
            if let (Some(input), Some(grad), true) = (input, grad, needed) {
                grads.entry(*input).or_default().push(grad);
            }
        }
    }
    wrt.iter()
        .map(|id| {
            let parts = grads.get(id).cloned().unwrap_or_default();
            total(e, &parts).map_err(|problem| problem.at(e.graph.value(*id).name.clone()))
        })
        .collect()
}

/// The sum of what arrived, in the order of arrival.
fn total(e: &mut Emit, parts: &[ValueId]) -> Result<Option<ValueId>, Problem> {
    let Some((&first, rest)) = parts.split_first() else { return Ok(None) };
    rest.iter().try_fold(first, |sum, &part| e.add(sum, part)).map(Some)
}

/// A graph that computes a loss and its gradients.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Inputs: those of the forward graph, and each of the values asked for that was a constant.
    /// Outputs: those of the forward graph, then the gradients.
    pub model: Model,
    /// For each value asked for, the name of the output with its gradient: `gradient/NAME`.
    pub outputs: Vec<String>,
}

/// The gradients of a scalar loss with respect to inputs or constants of a forward graph.
///
/// - `model`: a forward graph whose symbolic dimensions are all the batch.
/// - `loss`: the name of a value with one element.
/// - `wrt`: names of inputs or initialisers; initialisers become inputs.
/// - `batch`: images in a batch, at least 1.
///
/// # Errors
/// [`AutodiffError`] names the first node without a rule; [`Problem::Unused`] a value that the loss
/// does not depend on; [`Problem::NoSuchValue`] a name that the graph does not have.
pub fn gradients(
    model: &Model,
    loss: &str,
    wrt: &[&str],
    batch: usize,
    batch_norm: BatchNorm,
) -> Result<Gradients, AutodiffError> {
    gradients_lowered(model, loss, wrt, batch, batch_norm, Lowering::Standard)
}

/// [`gradients`] in the operators of a lowering.
///
/// # Errors
/// As [`gradients`]; [`Problem::Setting`] for a lowering that is none.
pub fn gradients_lowered(
    model: &Model,
    loss: &str,
    wrt: &[&str],
    batch: usize,
    batch_norm: BatchNorm,
    lowering: Lowering,
) -> Result<Gradients, AutodiffError> {
    lowering.check().map_err(|problem| problem.at(""))?;
    let model = &separate(model);
    let inputs: BTreeSet<&str> = wrt.iter().copied().collect();
    let form = Form { batch, inputs: &inputs, batch_norm, masks: &[] };
    let mut prepared = prepare(model, form)?;
    let find = |name: &str| {
        let known = prepared.names.get(name).copied();
        known.ok_or_else(|| Problem::NoSuchValue(name.to_owned()).at(""))
    };
    let loss = find(loss)?;
    let ids: Vec<ValueId> = wrt.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    let mut outputs: Vec<ValueId> = Vec::new();
    for &output in model.graph.outputs() {
        let id = find(&model.graph.value(output).name)?;
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    let e = &mut prepared.emit;
    let values = Values { names: &prepared.names, state: &BTreeSet::new() };
    let grads = backward(e, loss, &ids, &Checkpoint::Off, &values)?;
    let mut names = Vec::new();
    for (name, grad) in wrt.iter().zip(grads) {
        let grad = grad.ok_or_else(|| Problem::Unused { name: (*name).to_owned() }.at(""))?;
        let output = format!("gradient/{name}");
        outputs.push(e.output(grad, &output).map_err(|problem| problem.at(""))?);
        names.push(output);
    }
    let graph = lower(&prepared.emit.graph, &outputs, &BTreeSet::new(), lowering)
        .map_err(|problem| problem.at(""))?;
    Ok(Gradients { model: with_graph(model, graph, lowering), outputs: names })
}

/// A model of this graph with the operator sets of `model`, at least the version that rules emit,
/// and those of the lowering.
pub(crate) fn with_graph(model: &Model, graph: nearkin_onnx::Graph, lowering: Lowering) -> Model {
    let mut new = Model::new(graph);
    for (domain, version) in &model.opsets {
        let own = domain.is_empty() || domain == "ai.onnx";
        if own {
            new.opsets[0].1 = new.opsets[0].1.max(*version);
        } else {
            new.opsets.push((domain.clone(), *version));
        }
    }
    for &(domain, version) in lowering.domains() {
        if !new.opsets.iter().any(|(known, _)| known == domain) {
            new.opsets.push((domain.to_owned(), version));
        }
    }
    new.metadata.clone_from(&model.metadata);
    new
}
