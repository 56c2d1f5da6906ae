//! Gradient checkpointing: values between boundaries are not kept for the backward pass but computed
//! again in it. Chen et al., 2016, <https://arxiv.org/abs/1604.06174>.
//!
//! An engine that finds equal nodes on equal inputs merges them, and may run a node as soon as its
//! inputs are there; either would keep what is to be let go. So what a segment starts from is first
//! added to a zero that the engine cannot know before the gradient arrives at the segment's end.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{ElementType, Node, NodeId, ValueId};

use crate::emit::Emit;
use crate::error::Problem;

/// Which values of the forward pass are kept for the backward pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// All that it needs.
    #[default]
    Off,
    /// Values through which all that follows goes, such as the outputs of residual blocks, and what
    /// follows the last of them: so many that what is kept, with the largest part that is computed
    /// again, is least: about √L of L values of equal size.
    Auto,
    /// These, by name, and what follows the last of them in the order of the file.
    At(Vec<String>),
}

/// What the backward pass reads of the forward one.
pub(crate) struct Recompute {
    forward: Vec<NodeId>,
    /// Position of the last node of every segment that is computed again.
    ends: Vec<usize>,
    /// What depends on the images or anything else that is fed.
    activations: BTreeSet<ValueId>,
    /// Segments that were computed again: from values to their copies.
    copies: BTreeMap<usize, BTreeMap<ValueId, ValueId>>,
}

/// What a plan is made from.
pub(crate) struct Values<'a> {
    /// By the name they had in the forward graph.
    pub(crate) names: &'a BTreeMap<String, ValueId>,
    /// Inputs that go from step to step.
    pub(crate) state: &'a BTreeSet<ValueId>,
}

impl Recompute {
    /// Keeps everything.
    pub(crate) fn nothing(forward: Vec<NodeId>) -> Self {
        let (ends, activations, copies) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { forward, ends, activations, copies }
    }

    /// - `depends`: values that a parameter changes.
    pub(crate) fn plan(
        e: &Emit,
        forward: Vec<NodeId>,
        depends: &BTreeSet<ValueId>,
        checkpoint: &Checkpoint,
        values: &Values<'_>,
    ) -> Result<Self, Problem> {
        let mut plan = Self::nothing(forward);
        if *checkpoint == Checkpoint::Off {
            return Ok(plan);
        }
        let fed = e.graph.inputs().iter().filter(|id| !values.state.contains(id));
        plan.activations = fed.copied().collect();
        for &id in &plan.forward {
            let node = e.graph.node(id);
            if node.inputs.iter().flatten().any(|input| plan.activations.contains(input)) {
                let outputs = node.outputs.iter().flatten().filter(|id| !e.is_kept(**id));
                plan.activations.extend(outputs);
            }
        }
        plan.ends = match checkpoint {
            Checkpoint::Off => Vec::new(),
            Checkpoint::Auto => plan.chosen(e, depends),
            Checkpoint::At(names) => {
                let ends = names.iter().map(|name| plan.position(e, values.names, name));
                ends.collect::<Result<BTreeSet<usize>, _>>()?.into_iter().collect()
            }
        };
        Ok(plan)
    }

    fn position(
        &self,
        e: &Emit,
        names: &BTreeMap<String, ValueId>,
        name: &str,
    ) -> Result<usize, Problem> {
        let id = names.get(name).ok_or_else(|| Problem::NoSuchValue(name.to_owned()))?;
        let producer = e.graph.producer(*id);
        let place = self.forward.iter().position(|id| Some(*id) == producer);
        let (expected, found) = ("a value that a node of the network makes", name.to_owned());
        place.ok_or(Problem::Setting { field: "checkpoint", expected, found })
    }

    /// Boundaries by search over the size of a segment.
    fn chosen(&self, e: &Emit, depends: &BTreeSet<ValueId>) -> Vec<usize> {
        let count = |id: &ValueId| e.dims(*id).map_or(0, |dims| dims.iter().product::<usize>());
        let sizes: Vec<usize> = self
            .forward
            .iter()
            .map(|&id| {
                let outputs = e.graph.node(id).outputs.iter().flatten();
                let saved = |id: &&ValueId| depends.contains(*id) && self.activations.contains(*id);
                outputs.filter(saved).map(count).sum()
            })
            .collect();
        let gates = self.gates(e, depends);
        let total: usize = sizes.iter().sum();
        let mut best = (total, Vec::new());
        for parts in 2..=gates.len().min(64) + 1 {
            let budget = total / parts;
            let (mut ends, mut kept, mut largest, mut open) = (Vec::new(), 0, 0, 0);
            for (position, size) in sizes.iter().enumerate() {
                open += size;
                largest = largest.max(open);
                if let Some(gate) = gates.get(&position).filter(|_| open >= budget) {
                    ends.push(position);
                    kept += count(gate);
                    open = 0;
                }
            }
            if kept + largest < best.0 {
                best = (kept + largest, ends);
            }
        }
        best.1
    }

    /// Positions after which one value alone, made there, is still read.
    fn gates(&self, e: &Emit, depends: &BTreeSet<ValueId>) -> BTreeMap<usize, ValueId> {
        let mut last_read: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (position, &id) in self.forward.iter().enumerate() {
            let inputs = e.graph.node(id).inputs.iter().flatten();
            last_read.extend(inputs.map(|&input| (input, position)));
        }
        let mut gates = BTreeMap::new();
        let mut open: BTreeSet<ValueId> = BTreeSet::new();
        for (position, &id) in self.forward.iter().enumerate() {
            let node = e.graph.node(id);
            let is_open = |id: &&ValueId| {
                let read = last_read.get(*id).is_some_and(|&last| last > position);
                read && self.activations.contains(*id)
            };
            open.extend(node.outputs.iter().flatten().filter(is_open));
            open.retain(|id| last_read[id] > position);
            if let (1, Some(&gate)) = (open.len(), open.first())
                && node.outputs.contains(&Some(gate))
                && depends.contains(&gate)
            {
                gates.insert(position, gate);
            }
        }
        gates
    }

    /// The node at a position of the forward pass, its values computed again if they are not kept.
    ///
    /// - `arrived`: a gradient of its outputs.
    pub(crate) fn node(
        &mut self,
        e: &mut Emit,
        position: usize,
        arrived: ValueId,
    ) -> Result<Node, Problem> {
        let mut node = e.graph.node(self.forward[position]).clone();
        let segment = self.ends.partition_point(|&end| end < position);
        if segment == self.ends.len() {
            return Ok(node);
        }
        if !self.copies.contains_key(&segment) {
            let copies = self.compute_again(e, segment, arrived)?;
            self.copies.insert(segment, copies);
        }
        if let Some(copies) = self.copies.get(&segment) {
            for id in node.inputs.iter_mut().chain(&mut node.outputs).flatten() {
                *id = copies.get(id).copied().unwrap_or(*id);
            }
        }
        Ok(node)
    }

    /// Copies of all nodes of a segment that depend on what is fed; those that no rule reads are
    /// left out with the rest of what nothing depends on.
    fn compute_again(
        &self,
        e: &mut Emit,
        segment: usize,
        arrived: ValueId,
    ) -> Result<BTreeMap<ValueId, ValueId>, Problem> {
        let zero = late_zero(e, arrived)?;
        let start = segment.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        let mut copies: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for position in start..=self.ends[segment] {
            let mut node = e.graph.node(self.forward[position]).clone();
            if node.outputs.iter().flatten().any(|id| e.is_kept(*id)) {
                continue;
            }
            if !node.inputs.iter().flatten().any(|input| copies.contains_key(input)) {
                let gated = |id: &&ValueId| {
                    self.activations.contains(*id) && e.element(**id) == Some(ElementType::Float)
                };
                // What depends on no such value is small or belongs to the parameters: it is kept.
                let Some(&input) = node.inputs.iter().flatten().find(gated) else { continue };
                let late = e.add(input, zero)?;
                copies.insert(input, late);
            }
            for input in node.inputs.iter_mut().flatten() {
                *input = copies.get(input).copied().unwrap_or(*input);
            }
            for output in node.outputs.iter_mut().flatten() {
                let value = e.graph.value(*output).clone();
                let copy = e.graph.add_value(&again(&value.name), value.ty)?;
                if e.is_of_batch(*output) {
                    e.mark_of_batch(copy);
                }
                copies.insert(*output, copy);
                *output = copy;
            }
            node.name = again(&node.name);
            e.graph.add_node(node)?;
        }
        Ok(copies)
    }
}

fn again(name: &str) -> String {
    format!("again/{name}")
}

/// The scalar 0, which is known to be so only when `arrived` is there. No NaN comes through.
fn late_zero(e: &mut Emit, arrived: ValueId) -> Result<ValueId, Problem> {
    let ranges: Vec<_> = (0..e.dims(arrived)?.len()).map(|axis| (axis, 0, 1, 1)).collect();
    let first = e.slice_steps(arrived, &ranges)?;
    let first = e.reshape(first, &[])?;
    let never = e.op("Less", &[first, first], vec![])?;
    e.keep_where(never, first)
}
