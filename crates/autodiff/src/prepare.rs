//! Puts a forward graph into training form: the batch a number, shapes known, parameters as inputs,
//! batch normalisation by the batch's own statistics, and the outputs that backward rules need.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{Dim, Graph, InferError, Model, Node, Shape, TensorType, ValueId, infer};

use crate::emit::{Emit, attr};
use crate::error::{AutodiffError, Problem};
use crate::fold::Known;
use crate::gelu::gelus;
use crate::rules::centred;

/// How batch normalisation is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// By the statistics of the batch; running statistics follow with the layer's momentum.
    #[default]
    OfBatch,
    /// By the running statistics, which stay as they are.
    Frozen,
}

/// A graph in training form.
pub(crate) struct Prepared {
    pub(crate) emit: Emit,
    /// Values by the name they had in the forward graph.
    pub(crate) names: BTreeMap<String, ValueId>,
    /// Running statistics: name of the parameter, and its value after the step.
    pub(crate) statistics: Vec<(String, ValueId)>,
}

/// Rewrites `model` for batches of `batch` images.
///
/// Initialisers named in `inputs` become inputs of the graph.
pub(crate) fn prepare(
    model: &Model,
    batch: usize,
    inputs: &BTreeSet<&str>,
    batch_norm: BatchNorm,
) -> Result<Prepared, AutodiffError> {
    let from = &model.graph;
    let mut pass = Pass {
        from,
        batch_norm,
        emit: Emit::new(Graph::new(&from.name), "backward"),
        map: BTreeMap::new(),
        known: Known::default(),
        names: BTreeMap::new(),
        statistics: Vec::new(),
        momenta: BTreeMap::new(),
        gelus: gelus(from),
    };
    pass.sources(batch, inputs).map_err(|problem| problem.at(""))?;
    for node in from.nodes() {
        pass.node(node).map_err(|problem| problem.at(node.describe()))?;
    }
    Ok(Prepared { emit: pass.emit, names: pass.names, statistics: pass.statistics })
}

struct Pass<'a> {
    from: &'a Graph,
    batch_norm: BatchNorm,
    emit: Emit,
    map: BTreeMap<ValueId, ValueId>,
    known: Known,
    names: BTreeMap<String, ValueId>,
    statistics: Vec<(String, ValueId)>,
    /// Running statistics that have been followed: one layer may be applied twice.
    momenta: BTreeMap<String, usize>,
    /// Values that are a GELU of others.
    gelus: BTreeMap<ValueId, ValueId>,
}

impl Pass<'_> {
    fn sources(&mut self, batch: usize, inputs: &BTreeSet<&str>) -> Result<(), Problem> {
        let from = self.from;
        for &id in from.inputs() {
            let value = from.value(id);
            // Files of old IR versions list initialisers as inputs too.
            if from.initialiser(id).is_some() {
                continue;
            }
            let fixed = value.ty.clone().map(|ty| fix(ty, batch));
            let ty = fixed.ok_or_else(|| Problem::Shape {
                value: value.name.clone(),
                found: "nothing".to_owned(),
            })?;
            let new = self.emit.graph.add_input(&value.name, ty)?;
            self.place(id, new);
        }
        for (id, tensor) in from.initialisers() {
            let name = &from.value(*id).name;
            let new = if inputs.contains(name.as_str()) {
                let ty =
                    TensorType { element: tensor.element, shape: Some(Shape::known(&tensor.dims)) };
                self.emit.graph.add_input(name, ty)?
            } else {
                let new = self.emit.graph.add_initialiser(name, tensor.clone())?;
                self.known.note(new, tensor);
                new
            };
            self.place(*id, new);
        }
        Ok(())
    }

    fn place(&mut self, old: ValueId, new: ValueId) {
        self.map.insert(old, new);
        self.names.insert(self.from.value(old).name.clone(), new);
    }

    fn node(&mut self, node: &Node) -> Result<(), Problem> {
        let mut new = node.clone();
        for input in new.inputs.iter_mut().flatten() {
            *input = *self
                .map
                .get(input)
                .ok_or_else(|| Problem::NoSuchValue(self.from.value(*input).name.clone()))?;
        }
        if let Some(tensor) = self.known.value(&self.emit.graph, &new)
            && let Some(output) = node.outputs.first().copied().flatten()
        {
            let id =
                self.emit.graph.add_initialiser(&self.from.value(output).name, tensor.clone())?;
            self.known.note(id, &tensor);
            self.place(output, id);
            return Ok(());
        }
        let gelu = node.outputs.first().copied().flatten().and_then(|y| self.gelus.get(&y));
        if let Some(x) = gelu.and_then(|x| self.map.get(x)).copied() {
            let mut new = Node::new("Gelu", &[x]);
            new.name.clone_from(&node.name);
            return self.copy(node, new, 1);
        }
        match new.op.as_str() {
            _ if !new.is_standard() => {}
            // Exported for inference: nothing is dropped. Its mask is of no use without it.
            "Dropout" => {
                let (Some(&Some(x)), Some(&Some(y))) = (new.inputs.first(), node.outputs.first())
                else {
                    return Err(Problem::NoOutput);
                };
                self.place(y, x);
                return Ok(());
            }
            "BatchNormalization" if self.batch_norm == BatchNorm::OfBatch => {
                return self.batch_norm_of_batch(node, new);
            }
            "LayerNormalization" => return self.copy(node, new, 3),
            "MaxPool" => return self.copy(node, new, 2),
            _ => {}
        }
        let count = node.outputs.len();
        self.copy(node, new, count)
    }

    /// Appends `new` with at least `count` outputs; those of the forward node keep their names.
    fn copy(&mut self, node: &Node, mut new: Node, count: usize) -> Result<(), Problem> {
        let count = count.max(node.outputs.len());
        new.outputs = vec![None; count];
        let types: Vec<Option<TensorType>> = match infer(&self.emit.graph, &new) {
            Ok(types) => types.into_iter().map(Some).collect(),
            // What has no rule may still be known from the file, and may need no gradient.
            Err(InferError::NoRule(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for index in 0..count {
            let old = node.outputs.get(index).copied().flatten();
            let name = match old {
                Some(old) => self.from.value(old).name.clone(),
                None => format!("{}#{index}", node.name),
            };
            let declared = old.and_then(|old| self.from.value(old).ty.clone());
            let ty = types.get(index).cloned().flatten().or(declared);
            let id = self.emit.graph.add_value(&name, ty)?;
            new.outputs[index] = Some(id);
            if let Some(old) = old {
                self.place(old, id);
            }
        }
        self.emit.graph.add_node(new)?;
        Ok(())
    }

    /// Mean and two-pass variance of the batch, fed to the inference form; the running statistics
    /// follow with the unbiased variance, as in PyTorch.
    fn batch_norm_of_batch(&mut self, node: &Node, mut new: Node) -> Result<(), Problem> {
        let input =
            |index: usize| new.inputs.get(index).copied().flatten().ok_or(Problem::NoOutput);
        let (x, running_mean, running_var) = (input(0)?, input(3)?, input(4)?);
        let e = &mut self.emit;
        let dims = e.dims(x)?;
        let axes: Vec<usize> = (0..dims.len()).filter(|&i| i != 1).collect();
        let count: usize = axes.iter().map(|&i| dims[i]).product();
        if count < 2 {
            return Err(Problem::Setting {
                field: "batch",
                expected: "at least 2 elements for each channel of batch normalisation",
                found: count.to_string(),
            });
        }
        let share = (count as f32).recip();
        let sum = e.channel_sum(x)?;
        let mean = e.scale(sum, share)?;
        // Two passes: the mean of squares less the square of the mean loses its digits.
        let centred = centred(e, x, mean)?;
        let square = e.channel_dot(centred, centred)?;
        let var = e.scale(square, share)?;
        let keep = node.float("momentum").unwrap_or(0.9);
        let unbiased = count as f32 / (count - 1) as f32;
        for (running, of_batch, scale) in [(running_mean, mean, 1.0), (running_var, var, unbiased)]
        {
            let name = self.emit.graph.value(running).name.clone();
            // A layer applied twice in one step follows twice, in order.
            let earlier = self.momenta.get(&name).map(|&place| self.statistics[place].1);
            let e = &mut self.emit;
            let old = e.scale(earlier.unwrap_or(running), keep)?;
            let fresh = e.scale(of_batch, (1.0 - keep) * scale)?;
            let next = e.add(old, fresh)?;
            match self.momenta.get(&name) {
                Some(&place) => self.statistics[place].1 = next,
                None => {
                    self.momenta.insert(name.clone(), self.statistics.len());
                    self.statistics.push((name, next));
                }
            }
        }
        new.inputs[3] = Some(mean);
        new.inputs[4] = Some(var);
        new.attributes.retain(|a| a.name != "training_mode" && a.name != "momentum");
        new.attributes.push(attr("momentum", keep));
        self.copy(node, new, 1)?;
        if let Some(&y) = node.outputs.first().copied().flatten().and_then(|y| self.map.get(&y)) {
            self.emit.mark_of_batch(y);
        }
        Ok(())
    }
}

/// The type with every symbol as `batch` times its factor.
fn fix(ty: TensorType, batch: usize) -> TensorType {
    let shape = ty.shape.map(|shape| {
        let fixed = shape.0.into_iter().map(|dim| match dim {
            Dim::Symbol { factor, .. } => Dim::Known(factor * batch),
            other => other,
        });
        Shape(fixed.collect())
    });
    TensorType { element: ty.element, shape }
}
