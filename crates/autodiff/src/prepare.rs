//! Puts a forward graph into training form: the batch a number, shapes known, parameters as inputs,
//! batch normalisation by the batch's own statistics, and the outputs that backward rules need.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{
    Dim, ElementType, Graph, InferError, Model, Node, Shape, TensorType, ValueId, infer,
};

use crate::emit::{Emit, attr};
use crate::error::{AutodiffError, Problem};
use crate::fold::{Known, Small};
use crate::gelu::gelus;
use crate::mask::{Mask, MaskInput};
use crate::rules::{axis, centred, constant_ints};

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
    /// Masks with their inputs.
    pub(crate) masks: Vec<(ValueId, MaskInput)>,
}

/// How a forward graph is put into training form.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    /// Images in a batch.
    pub(crate) batch: usize,
    /// Initialisers that become inputs of the graph.
    pub(crate) inputs: &'a BTreeSet<&'a str>,
    pub(crate) batch_norm: BatchNorm,
    pub(crate) masks: &'a [Mask],
}

/// Rewrites `model` in this form.
pub(crate) fn prepare(model: &Model, form: Form<'_>) -> Result<Prepared, AutodiffError> {
    let from = &model.graph;
    let mut pass = Pass {
        from,
        form,
        of_data: of_data(from),
        emit: Emit::new(Graph::new(&from.name), "backward"),
        map: BTreeMap::new(),
        known: Known::default(),
        names: BTreeMap::new(),
        statistics: Vec::new(),
        momenta: BTreeMap::new(),
        gelus: gelus(from),
        masks: Vec::new(),
        masked: BTreeMap::new(),
    };
    pass.check_masks().and_then(|()| pass.sources()).map_err(|problem| problem.at(""))?;
    for node in from.nodes() {
        pass.node(node).map_err(|problem| problem.at(node.describe()))?;
    }
    let Pass { emit, names, statistics, masks, .. } = pass;
    Ok(Prepared { emit, names, statistics, masks })
}

struct Pass<'a> {
    from: &'a Graph,
    form: Form<'a>,
    /// Values that depend on an input of the graph.
    of_data: BTreeSet<ValueId>,
    emit: Emit,
    /// From values of the forward graph to what reads of them find.
    map: BTreeMap<ValueId, ValueId>,
    known: Known,
    names: BTreeMap<String, ValueId>,
    statistics: Vec<(String, ValueId)>,
    /// Running statistics that have been followed: one layer may be applied twice.
    momenta: BTreeMap<String, usize>,
    /// Values that are a GELU of others.
    gelus: BTreeMap<ValueId, ValueId>,
    masks: Vec<(ValueId, MaskInput)>,
    /// What one reader finds, by its name and the value of the forward graph.
    masked: BTreeMap<(&'a str, ValueId), ValueId>,
}

impl Pass<'_> {
    fn sources(&mut self) -> Result<(), Problem> {
        let (from, Form { batch, inputs, .. }) = (self.from, self.form);
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
            self.place(id, new)?;
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
            self.place(*id, new)?;
        }
        Ok(())
    }

    /// Every mask must be of a value that is there, and each of its own.
    fn check_masks(&self) -> Result<(), Problem> {
        let mut known = BTreeSet::new();
        for mask in self.form.masks {
            mask.check()?;
            let absent = |name: &String| Problem::NoSuchValue(name.clone());
            let id = self.from.find(&mask.value).ok_or_else(|| absent(&mask.value))?;
            let reads = |name: &&String| {
                let mut nodes = self.from.nodes().iter().filter(|node| node.name == **name);
                nodes.any(|node| node.inputs.contains(&Some(id)))
            };
            if let Some(reader) = mask.reader.as_ref().filter(|name| !reads(name)) {
                let expected = "the name of a node that reads the value";
                let found = format!("{reader:?} for {}", mask.value);
                return Err(Problem::Setting { field: "mask", expected, found });
            }
            if !known.insert((&mask.value, &mask.reader)) {
                let (expected, found) = ("one mask for each value", mask.value.clone());
                return Err(Problem::Setting { field: "mask", expected, found });
            }
        }
        Ok(())
    }

    /// Reads of `old` find `new` from now on, times its masks.
    fn place(&mut self, old: ValueId, new: ValueId) -> Result<(), Problem> {
        let name = &self.from.value(old).name;
        self.names.insert(name.clone(), new);
        let of_value = self.form.masks.iter().filter(|mask| mask.value == *name && mask.rate > 0.0);
        let (for_all, for_one): (Vec<&Mask>, Vec<&Mask>) =
            of_value.partition(|mask| mask.reader.is_none());
        let mut shared = new;
        for mask in for_all {
            shared = self.masked(mask, shared)?;
        }
        for mask in for_one {
            let own = self.masked(mask, shared)?;
            if let Some(reader) = &mask.reader {
                self.masked.insert((reader, old), own);
            }
        }
        self.map.insert(old, shared);
        Ok(())
    }

    fn masked(&mut self, mask: &Mask, x: ValueId) -> Result<ValueId, Problem> {
        let e = &mut self.emit;
        if e.element(x) != Some(ElementType::Float) {
            let (expected, found) = ("a value of f32", mask.value.clone());
            return Err(Problem::Setting { field: "mask", expected, found });
        }
        let input = mask.input(&e.dims(x)?)?;
        let id = e.graph.add_input(&input.input, TensorType::f32(Shape::known(&input.dims)))?;
        self.masks.push((id, input));
        e.mul(x, id)
    }

    fn node(&mut self, node: &Node) -> Result<(), Problem> {
        let mut new = node.clone();
        for input in new.inputs.iter_mut().flatten() {
            let own = self.masked.get(&(node.name.as_str(), *input));
            let found = own.or_else(|| self.map.get(input));
            let absent = || Problem::NoSuchValue(self.from.value(*input).name.clone());
            *input = *found.ok_or_else(absent)?;
        }
        if let Some(value) = self.known.value(&self.emit.graph, &new)
            && let Some(output) = node.outputs.first().copied().flatten()
        {
            return self.fold(node, new, output, value);
        }
        let gelu = node.outputs.first().copied().flatten().and_then(|y| self.gelus.get(&y));
        if let Some(x) = gelu.and_then(|x| self.map.get(x)).copied() {
            let mut new = Node::new("Gelu", &[x]);
            new.name.clone_from(&node.name);
            return self.copy(node, new, 1).map(drop);
        }
        match new.op.as_str() {
            _ if !new.is_standard() => {}
            // Nothing is dropped but by a mask of the output. The node's own is of no use without it.
            "Dropout" => {
                let (Some(&Some(x)), Some(&Some(y))) = (new.inputs.first(), node.outputs.first())
                else {
                    return Err(Problem::NoOutput);
                };
                return self.place(y, x);
            }
            "BatchNormalization" => {
                // What else a training form gives is worked out here.
                let mut node = node.clone();
                node.outputs.truncate(1);
                let own = is_standardisation(&node, &self.of_data);
                // An exporter may write the batch's statistics out before the node: they are kept.
                let given = node.inputs.get(3).copied().flatten();
                let running = given.is_some_and(|mean| self.from.initialiser(mean).is_some());
                if own || (running && self.form.batch_norm == BatchNorm::OfBatch) {
                    return self.batch_norm_of_batch(&node, new, !own);
                }
                new.attributes.retain(|a| a.name != "training_mode");
                return self.copy(&node, new, 1).map(drop);
            }
            "Pad" => self.pad_every_axis(&mut new)?,
            "LayerNormalization" => return self.copy(node, new, 3).map(drop),
            "MaxPool" => return self.copy(node, new, 2).map(drop),
            _ => {}
        }
        let count = node.outputs.len();
        self.copy(node, new, count).map(drop)
    }

    /// Puts a constant in the place of `new`, or remembers what it gives if that is not i64.
    fn fold(
        &mut self,
        node: &Node,
        new: Node,
        output: ValueId,
        value: Small,
    ) -> Result<(), Problem> {
        let types = infer(&self.emit.graph, &new).ok();
        let element = types.and_then(|types| types.first().map(|ty| ty.element));
        let tensor = value.to_tensor().filter(|_| element == Some(ElementType::Int64));
        let id = match tensor {
            Some(tensor) => {
                let name = &self.from.value(output).name;
                let id = self.emit.graph.add_initialiser(name, tensor)?;
                self.place(output, id)?;
                id
            }
            None => *self.copy(node, new, 1)?.first().ok_or(Problem::NoOutput)?,
        };
        self.known.keep(id, value);
        Ok(())
    }

    /// Appends `new` with at least `count` outputs, which it returns; those of the forward node keep
    /// their names.
    fn copy(&mut self, node: &Node, mut new: Node, count: usize) -> Result<Vec<ValueId>, Problem> {
        let count = count.max(node.outputs.len());
        new.outputs = vec![None; count];
        let types: Vec<Option<TensorType>> = match infer(&self.emit.graph, &new) {
            Ok(types) => types.into_iter().map(Some).collect(),
            // What has no rule may still be known from the file, and may need no gradient.
            Err(InferError::NoRule(_) | InferError::UnknownInput { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut ids = Vec::with_capacity(count);
        for index in 0..count {
            let old = node.outputs.get(index).copied().flatten();
            let name = match old {
                Some(old) => self.from.value(old).name.clone(),
                // Exporters may leave a node without a name, but no value.
                None => format!("{}#{index}", self.first_output(node)),
            };
            let declared = old.and_then(|old| self.from.value(old).ty.clone()).map(only_numbers);
            let ty = types.get(index).cloned().flatten().or(declared);
            let id = self.emit.graph.add_value(&name, ty)?;
            new.outputs[index] = Some(id);
            ids.push(id);
        }
        self.emit.graph.add_node(new)?;
        for (old, &id) in node.outputs.iter().zip(&ids) {
            if let Some(old) = *old {
                self.place(old, id)?;
            }
        }
        Ok(ids)
    }

    /// Rewrites `Pad` with axes, of which ONNX Runtime 1.31's transpose optimiser knows nothing: it
    /// takes their pads for those of all axes where a backward pass brings a transpose near them.
    fn pad_every_axis(&mut self, new: &mut Node) -> Result<(), Problem> {
        let constant = |index: usize| {
            let id = new.inputs.get(index).copied().flatten()?;
            constant_ints(&self.emit, id)
        };
        let (Some(pads), Some(axes), Some(&Some(x))) =
            (constant(1), constant(3), new.inputs.first())
        else {
            return Ok(());
        };
        let rank = self.emit.dims(x)?.len();
        let mut all = vec![0; 2 * rank];
        for (i, &at) in axes.iter().enumerate() {
            let along = axis(at, rank);
            let wrong = || Problem::NoRuleFor(format!("pads {pads:?} along {axes:?}"));
            for (side, from) in [(0, i), (rank, i + axes.len())] {
                let pad = *pads.get(from).ok_or_else(wrong)?;
                *all.get_mut(side + along).filter(|_| along < rank).ok_or_else(wrong)? = pad;
            }
        }
        new.inputs.truncate(3);
        new.inputs[1] = Some(self.emit.ints(&all)?);
        Ok(())
    }

    fn first_output(&self, node: &Node) -> &str {
        node.outputs.iter().flatten().next().map_or("", |&id| &self.from.value(id).name)
    }

    /// Mean and two-pass variance of the batch, fed to the inference form; the running statistics
    /// follow with the unbiased variance, as in PyTorch.
    ///
    /// - `follow`: whether there are running statistics at all.
    fn batch_norm_of_batch(
        &mut self,
        node: &Node,
        mut new: Node,
        follow: bool,
    ) -> Result<(), Problem> {
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
        e.keep(mean);
        e.keep(var);
        let keep = node.float("momentum").unwrap_or(0.9);
        let unbiased = count as f32 / (count - 1) as f32;
        let running = [(running_mean, mean, 1.0), (running_var, var, unbiased)];
        for (running, of_batch, scale) in running.into_iter().filter(|_| follow) {
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
        if let Some(&y) = self.copy(node, new, 1)?.first() {
            self.emit.mark_of_batch(y);
        }
        Ok(())
    }
}

/// Values that depend on an input of the graph, as constants and weights do not.
pub(crate) fn of_data(graph: &Graph) -> BTreeSet<ValueId> {
    let fed = graph.inputs().iter().filter(|id| graph.initialiser(**id).is_none());
    let mut found: BTreeSet<ValueId> = fed.copied().collect();
    for node in graph.nodes() {
        if node.inputs.iter().flatten().any(|input| found.contains(input)) {
            found.extend(node.outputs.iter().flatten());
        }
    }
    found
}

/// Whether this is a batch normalisation of weights by their own statistics, as weight
/// standardisation is exported: it is the same in training, and follows nothing.
pub(crate) fn is_standardisation(node: &Node, of_data: &BTreeSet<ValueId>) -> bool {
    node.op == "BatchNormalization"
        && node.int("training_mode") == Some(1)
        && !node.inputs.first().is_some_and(|x| x.is_some_and(|x| of_data.contains(&x)))
}

/// The type without a shape that is not all numbers: an exporter's symbols need not be the batch.
fn only_numbers(ty: TensorType) -> TensorType {
    TensorType { shape: ty.shape.filter(|shape| shape.to_known().is_some()), ..ty }
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
