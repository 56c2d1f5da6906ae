//! Images in blocks of channels: what happens between convolutions.
//!
//! A blocked value has ONNX's dimensions `[N, C, H, W]`, its elements in the order
//! `[N, C/block, H, W, block]`, and C filled up to whole blocks. What lies in the filling is of no
//! account: weights are 0 there, and sums over channels leave it out.

use nearkin_onnx::{Attribute, AttributeValue, Node, ValueId};

use super::choose::{fits, padded};
use super::linear::of_tokens;
use super::{Pass, Place, standard};
use crate::emit::{attr, attr_sizes};
use crate::error::Problem;
use crate::primitive;
use crate::rules::constant_floats;

/// ONNX Runtime's domain of blocked operators.
pub(super) const DOMAIN: &str = "com.microsoft.nchwc";
/// Its domain of further operators, which has GELU in one.
pub(super) const CONTRIB: &str = "com.microsoft";

/// Operators of one input that change every element by itself.
const UNARY: &[&str] = &[
    "Abs",
    "Clip",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
];
/// The same of two inputs of equal dimensions, or one of them a scalar.
const BINARY: &[&str] = &["Add", "Max", "Min", "Mul", "Sub"];

impl Pass<'_> {
    /// Where the output of `node` is, if the node was written in blocks.
    pub(super) fn in_blocks(
        &mut self,
        node: &Node,
        output: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let Some(&Some(first)) = node.inputs.first() else { return Ok(None) };
        if node.domain == primitive::DOMAIN {
            return match node.op.as_str() {
                primitive::INPUT_GRAD => self.input_grad(node, output, block),
                primitive::WEIGHT_GRAD => self.weight_grad(node, output, block),
                primitive::CHANNEL_SUM => self.channel_sum(first),
                primitive::CHANNEL_DOT => self.channel_dot(node),
                primitive::CHANNEL_AFFINE => self.affine_of(node, first),
                primitive::GATE => self.gate(node),
                primitive::GELU_GRAD => self.gelu_grad(node),
                _ => Ok(None),
            };
        }
        if !node.is_standard() {
            return Ok(None);
        }
        match node.op.as_str() {
            "Conv" => self.convolution(node, output, block),
            "BatchNormalization" => self.batch_norm(node, first),
            "GlobalAveragePool" => {
                let dims = self.dims(first)?;
                let Some(x) = self.already_blocked(first)? else { return Ok(None) };
                let mean = self.image_means(x, dims[1])?;
                let mean = self.e.reshape(mean, &[dims[0], dims[1], 1, 1])?;
                Ok(Some(plain(mean)))
            }
            "Transpose" if node.ints("perm") == Some(&[0, 2, 1, 3]) => {
                self.heads_turned(first, block)
            }
            "Transpose" => self.turned(node, first),
            "Concat" => self.join_tokens(node, block),
            "Expand" => self.spread(first, output),
            "MatMul" => self.product(node, block),
            "Gemm" => self.outer(node, block),
            "Reshape" => self.reshaped(first, output, block),
            "ReduceSum" => self.sum_of(node, output),
            op if UNARY.contains(&op) => self.unary(node, first),
            op if BINARY.contains(&op) => self.binary(node),
            _ => Ok(None),
        }
    }

    /// An operator of the blocked domain.
    pub(super) fn nchwc(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attributes: Vec<Attribute>,
        dims: &[usize],
    ) -> Result<ValueId, Problem> {
        self.e.foreign(DOMAIN, op, inputs, attributes, dims)
    }

    /// `x [N, C, H, W]` as it is in ONNX → blocks.
    pub(super) fn blocks_of(
        &mut self,
        x: ValueId,
        dims: &[usize],
        channels_last: bool,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let out = [dims[0], padded(dims[1], block), dims[2], dims[3]];
        let attributes = if channels_last { vec![attr("channels_last", 1i64)] } else { vec![] };
        self.nchwc("ReorderInput", &[Some(x)], attributes, &out)
    }

    /// Blocks → `dims` as ONNX has it, or `[N, H, W, C]`.
    pub(super) fn of_blocks(
        &mut self,
        x: ValueId,
        dims: &[usize],
        channels_last: bool,
    ) -> Result<ValueId, Problem> {
        let mut attributes = vec![attr("channels", dims[1] as i64)];
        let mut out = dims.to_vec();
        if channels_last {
            attributes.push(attr("channels_last", 1i64));
            out = vec![dims[0], dims[2], dims[3], dims[1]];
        }
        self.nchwc("ReorderOutput", &[Some(x)], attributes, &out)
    }

    pub(super) fn out_of_blocks(
        &mut self,
        x: ValueId,
        of: ValueId,
        channels_last: bool,
    ) -> Result<ValueId, Problem> {
        let dims = self.dims(of)?;
        self.of_blocks(x, &dims, channels_last)
    }

    /// The value in blocks, if that is where it lies; a copy of one number for each channel counts.
    pub(super) fn already_blocked(&mut self, id: ValueId) -> Result<Option<ValueId>, Problem> {
        let place = self.place(id)?;
        if place.blocked.is_some() || place.rows.is_some() || place.spread.is_some() {
            return self.blocked(id).map(Some);
        }
        Ok(None)
    }

    /// The value in blocks; its channels must fit.
    pub(super) fn blocked(&mut self, id: ValueId) -> Result<ValueId, Problem> {
        let place = self.place(id)?;
        let dims = self.dims(id)?;
        let block = self.block.unwrap_or(1);
        let found = match place {
            Place { blocked: Some(blocked), .. } => return Ok(blocked),
            Place { rows: Some(rows), .. } => self.blocks_of(rows, &dims, true)?,
            Place { spread: Some(one), .. } => {
                let one = self.fill(one, 1, block)?;
                let wide = padded(dims[1], block);
                let one = self.e.reshape(one, &[dims[0], wide / block, 1, block])?;
                let all = [dims[0], wide / block, dims[2] * dims[3], block];
                let all = self.e.expand(one, &all)?;
                self.e.reshape(all, &[dims[0], wide, dims[2], dims[3]])?
            }
            _ => {
                let x = self.plain(id)?;
                self.blocks_of(x, &dims, false)?
            }
        };
        let place = self.place(id)?;
        self.places.insert(id, Place { blocked: Some(found), ..place });
        Ok(found)
    }

    /// `x` with zeros to whole blocks along `axis`.
    pub(super) fn fill(
        &mut self,
        x: ValueId,
        axis: usize,
        block: usize,
    ) -> Result<ValueId, Problem> {
        let dims = self.e.dims(x)?;
        let mut after = vec![0; dims.len()];
        after[axis] = padded(dims[axis], block) - dims[axis];
        self.e.pad(x, &vec![0; dims.len()], &after)
    }

    /// s·x + t for each channel, of blocks: a depthwise 1×1 convolution, one pass over memory.
    pub(super) fn affine(
        &mut self,
        x: ValueId,
        scale: ValueId,
        shift: Option<ValueId>,
    ) -> Result<ValueId, Problem> {
        let dims = self.e.dims(x)?;
        let block = self.block.unwrap_or(1);
        let rows = [dims[0], dims[1], 1, dims[2] * dims[3]];
        let flat = self.e.reshape(x, &rows)?;
        let scale = self.fill(scale, 0, block)?;
        let scale = self.e.reshape(scale, &[dims[1], 1, 1, 1])?;
        let shift = shift.map(|shift| self.fill(shift, 0, block)).transpose()?;
        let attributes = vec![attr_sizes("kernel_shape", &[1, 1]), attr("group", dims[1] as i64)];
        let mut inputs = vec![Some(flat), Some(scale)];
        inputs.extend(shift.map(Some));
        let y = self.nchwc("Conv", &inputs, attributes, &rows)?;
        self.e.reshape(y, &dims)
    }

    fn affine_of(&mut self, node: &Node, x: ValueId) -> Result<Option<Place>, Problem> {
        let Some(x) = self.already_blocked(x)? else { return Ok(None) };
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let (Some(scale), Some(shift)) = (input(1), input(2)) else { return Ok(None) };
        let (scale, shift) = (self.plain(scale)?, self.plain(shift)?);
        let none = constant_floats(&self.e, shift)
            .is_some_and(|values| values.iter().all(|v| v.to_bits() == 0));
        self.affine(x, scale, (!none).then_some(shift)).map(|y| Some(blocked(y)))
    }

    /// Batch normalisation by given statistics: (γ/√(σ² + ε))·x + (β − μ·γ/√(σ² + ε)).
    fn batch_norm(&mut self, node: &Node, x: ValueId) -> Result<Option<Place>, Problem> {
        let Some(own) = self.already_blocked(x)? else { return Ok(None) };
        let mut numbers = Vec::new();
        for input in node.inputs.iter().skip(1) {
            numbers.push(self.plain(input.ok_or(Problem::NoOutput)?)?);
        }
        let &[scale, shift, mean, var] = &numbers[..] else { return Ok(None) };
        let eps = node.float("epsilon").unwrap_or(1e-5);
        let inverse = crate::rules::inverse_deviation(&mut self.e, var, eps)?;
        let slope = self.e.mul(scale, inverse)?;
        // The backward pass keeps x − μ where μ is the batch's: then x can go.
        if let Some(centred) = self.centred(node)? {
            return self.affine(centred, slope, Some(shift)).map(|y| Some(blocked(y)));
        }
        let moved = self.e.mul(mean, slope)?;
        let shift = self.e.sub(shift, moved)?;
        self.affine(own, slope, Some(shift)).map(|y| Some(blocked(y)))
    }

    /// x − μ in blocks, if it was computed before this normalisation of x by μ.
    fn centred(&mut self, norm: &Node) -> Result<Option<ValueId>, Problem> {
        let (Some(&Some(x)), Some(&Some(mean))) = (norm.inputs.first(), norm.inputs.get(3)) else {
            return Ok(None);
        };
        let negated = |shift: ValueId| {
            let producer = self.from.producer(shift).map(|id| self.from.node(id));
            producer.is_some_and(|node| node.op == "Neg" && node.inputs[..] == [Some(mean)])
        };
        let is_centred = |node: &&Node| {
            node.op == primitive::CHANNEL_AFFINE
                && node.inputs.first() == Some(&Some(x))
                && node.inputs.get(2).copied().flatten().is_some_and(negated)
        };
        let found = self.from.nodes().iter().find(is_centred);
        let output = found.and_then(|node| node.outputs.first().copied().flatten());
        match output.filter(|id| self.places.contains_key(id)) {
            Some(id) => self.already_blocked(id),
            None => Ok(None),
        }
    }

    /// Means over each image, `[N, C]`.
    pub(super) fn image_means(&mut self, x: ValueId, channels: usize) -> Result<ValueId, Problem> {
        let dims = self.e.dims(x)?;
        let pooled = [dims[0], dims[1], 1, 1];
        let mean = self.nchwc("GlobalAveragePool", &[Some(x)], vec![], &pooled)?;
        let mean = self.e.reshape(mean, &dims[..2])?;
        self.e.slice(mean, 1, 0, channels)
    }

    pub(super) fn channel_sum(&mut self, x: ValueId) -> Result<Option<Place>, Problem> {
        let dims = self.dims(x)?;
        let Some(x) = self.already_blocked(x)? else { return Ok(None) };
        let mean = self.image_means(x, dims[1])?;
        let sum = self.e.sum(mean, &[0], false)?;
        let sum = self.e.scale_unless_one(sum, (dims[2] * dims[3]) as f32)?;
        Ok(Some(plain(sum)))
    }

    /// Σ a·b of each channel and image, a depthwise convolution with b as the kernel.
    fn channel_dot(&mut self, node: &Node) -> Result<Option<Place>, Problem> {
        let &[Some(a), Some(b)] = &node.inputs[..] else { return Ok(None) };
        let dims = self.dims(a)?;
        let Some((a, b)) = self.both_blocked(a, b)? else { return Ok(None) };
        let wide = self.e.dims(a)?[1];
        let (planes, pixels) = (dims[0] * wide, dims[2] * dims[3]);
        let a = self.e.reshape(a, &[1, planes, 1, pixels])?;
        let b = self.e.reshape(b, &[planes, 1, 1, pixels])?;
        let attributes =
            vec![attr_sizes("kernel_shape", &[1, pixels]), attr("group", planes as i64)];
        let dots = self.nchwc("Conv", &[Some(a), Some(b)], attributes, &[1, planes, 1, 1])?;
        let dots = self.e.reshape(dots, &[dims[0], wide])?;
        let sum = self.e.sum(dots, &[0], false)?;
        self.e.slice(sum, 0, 0, dims[1]).map(|sum| Some(plain(sum)))
    }

    /// Two images of equal dimensions, both in blocks if one of them is.
    fn both_blocked(
        &mut self,
        a: ValueId,
        b: ValueId,
    ) -> Result<Option<(ValueId, ValueId)>, Problem> {
        let block = self.block.unwrap_or(1);
        let dims = self.dims(a)?;
        if dims.len() != 4 || dims != self.dims(b)? || !fits(dims[1], block) {
            return Ok(None);
        }
        if self.already_blocked(a)?.is_none() && self.already_blocked(b)?.is_none() {
            return Ok(None);
        }
        Ok(Some((self.blocked(a)?, self.blocked(b)?)))
    }

    fn gate(&mut self, node: &Node) -> Result<Option<Place>, Problem> {
        let &[Some(g), Some(y)] = &node.inputs[..] else { return Ok(None) };
        let Some((g, y)) = self.both_blocked(g, y)? else { return Ok(None) };
        let step = || vec![attr("alpha", standard::STEP), attr("beta", 0.0f32)];
        let above = self.e.op("HardSigmoid", &[y], step())?;
        let mask = match node.float("max") {
            None => above,
            Some(max) => {
                // 1 where ½ − y/(2·max) > 0 and y > 0: −½ − y/(2·max) + above, then the step.
                let channels = self.e.dims(y)?[1];
                let slope = self.e.tensor(&[channels], &vec![-0.5 / max; channels])?;
                let shift = self.e.tensor(&[channels], &vec![-0.5; channels])?;
                let low = self.affine(y, slope, Some(shift))?;
                let sum = self.with_sum(low, above)?.ok_or(Problem::NoOutput)?;
                let parameters = AttributeValue::Floats(vec![standard::STEP, 0.0]);
                self.with_activation(sum, "HardSigmoid", Some(parameters))?
                    .ok_or(Problem::NoOutput)?
            }
        };
        self.e.mul(g, mask).map(|y| Some(blocked(y)))
    }

    /// Images or tokens of equal dimensions, all where the first is found: images in blocks if one
    /// of them is, tokens if all of them are.
    fn together(&mut self, ids: &[ValueId]) -> Result<Option<(Vec<ValueId>, Form)>, Problem> {
        let dims = self.dims(ids[0])?;
        for &id in &ids[1..] {
            if self.dims(id)? != dims {
                return Ok(None);
            }
        }
        let mut tokens = Vec::new();
        let mut in_blocks = false;
        for &id in ids {
            tokens.extend(self.place(id)?.tokens);
            in_blocks |= self.already_blocked(id)?.is_some();
        }
        if tokens.len() == ids.len() {
            return Ok(Some((tokens, of_tokens)));
        }
        if !in_blocks || dims.len() != 4 || !fits(dims[1], self.block.unwrap_or(1)) {
            return Ok(None);
        }
        let found = ids.iter().map(|&id| self.blocked(id)).collect::<Result<_, _>>()?;
        Ok(Some((found, blocked)))
    }

    fn unary(&mut self, node: &Node, x: ValueId) -> Result<Option<Place>, Problem> {
        let Some((own, form)) = self.together(&[x])? else { return Ok(None) };
        let own = own[0];
        if node.op == "Gelu" {
            if node.string("approximate").is_some_and(|form| form != "none") {
                return Ok(None);
            }
            let dims = self.e.dims(own)?;
            let y = self.e.foreign(CONTRIB, "Gelu", &[Some(own)], vec![], &dims)?;
            return Ok(Some(form(y)));
        }
        let activation = match node.op.as_str() {
            "Relu" => Some(("Relu", None)),
            "Clip" => {
                let Some((min, max)) = self.bounds(node)? else { return Ok(None) };
                Some(("Clip", Some(AttributeValue::Floats(vec![min, max]))))
            }
            _ => None,
        };
        // The convolution that made x clips on the way, if nobody else reads x.
        if let (Some((name, parameters)), Some(1)) = (activation, self.uses.get(&x))
            && let Some(y) = self.with_activation(own, name, parameters)?
        {
            return Ok(Some(form(y)));
        }
        let mut inputs = vec![own];
        for &more in node.inputs.iter().skip(1).flatten() {
            inputs.push(self.plain(more)?);
        }
        let y = self.e.op(&node.op, &inputs, node.attributes.clone())?;
        Ok(Some(form(y)))
    }

    /// Least and largest of a `Clip`, if they are constant.
    fn bounds(&mut self, node: &Node) -> Result<Option<(f32, f32)>, Problem> {
        let mut found = [f32::MIN, f32::MAX];
        for (i, name) in ["min", "max"].into_iter().enumerate() {
            match node.inputs.get(1 + i).copied().flatten() {
                Some(id) => {
                    let id = self.plain(id)?;
                    let value = constant_floats(&self.e, id).and_then(|v| v.first().copied());
                    let Some(value) = value else { return Ok(None) };
                    found[i] = value;
                }
                None => found[i] = node.float(name).unwrap_or(found[i]),
            }
        }
        Ok(Some((found[0], found[1])))
    }

    fn binary(&mut self, node: &Node) -> Result<Option<Place>, Problem> {
        let &[Some(a), Some(b)] = &node.inputs[..] else { return Ok(None) };
        let (a_dims, b_dims) = (self.dims(a)?, self.dims(b)?);
        if a_dims != b_dims {
            let larger = |x: &[usize], y: &[usize]| {
                x.iter().product::<usize>() > y.iter().product() && x.len() >= y.len()
            };
            if larger(&a_dims, &b_dims) {
                return self.with_numbers(node, a, b, true);
            }
            if larger(&b_dims, &a_dims) {
                return self.with_numbers(node, b, a, false);
            }
            return Ok(None);
        }
        let Some((both, form)) = self.together(&[a, b])? else { return Ok(None) };
        let (x, y) = (both[0], both[1]);
        if node.op == "Add" {
            // A convolution adds on the way, if nobody else reads what it would have given.
            for (own, other, id) in [(x, y, a), (y, x, b)] {
                if self.uses.get(&id) == Some(&1)
                    && let Some(sum) = self.with_sum(own, other)?
                {
                    return Ok(Some(form(sum)));
                }
            }
        }
        self.e.op(&node.op, &[x, y], vec![]).map(|y| Some(form(y)))
    }

    /// An operator on an image or tokens `x` and one number, or one for each channel; `first` says
    /// whether x is its first input.
    fn with_numbers(
        &mut self,
        node: &Node,
        x: ValueId,
        numbers: ValueId,
        first: bool,
    ) -> Result<Option<Place>, Problem> {
        let (dims, few) = (self.dims(x)?, self.dims(numbers)?);
        let Some((own, form)) = self.together(&[x])? else { return Ok(None) };
        let own = own[0];
        let tokens = self.place(x)?.tokens.is_some();
        let number = self.plain(numbers)?;
        if few.iter().product::<usize>() == 1 {
            let number = self.e.reshape(number, &[])?;
            let inputs = if first { [own, number] } else { [number, own] };
            return self.e.op(&node.op, &inputs, vec![]).map(|y| Some(form(y)));
        }
        let channels = if tokens { dims[dims.len() - 1] } else { dims[1] };
        let per_channel = match (tokens, &few[..]) {
            (true, &[width]) => width == channels,
            (false, &[1, width, 1, 1]) => width == channels,
            _ => false,
        };
        if !per_channel {
            return Ok(None);
        }
        let number = self.e.reshape(number, &[channels])?;
        let y = match node.op.as_str() {
            "Mul" => self.affine(own, number, None)?,
            "Add" => {
                let alone = self.uses.get(&x) == Some(&1);
                let biased = if alone { self.with_bias(own, number)? } else { None };
                match biased {
                    Some(y) => y,
                    None => {
                        let ones = self.e.tensor(&[channels], &vec![1.0; channels])?;
                        self.affine(own, ones, Some(number))?
                    }
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(form(y)))
    }

    fn gelu_grad(&mut self, node: &Node) -> Result<Option<Place>, Problem> {
        let &[Some(g), Some(x)] = &node.inputs[..] else { return Ok(None) };
        let Some((both, form)) = self.together(&[g, x])? else { return Ok(None) };
        let (g, x) = (both[0], both[1]);
        let (t, erf) = standard::erf(&mut self.e, x)?;
        let steep = standard::steep(&mut self.e, t)?;
        // ½ + erf/2 + t·bell on the way.
        let channels = self.e.dims(x)?[1];
        let half = self.e.tensor(&[channels], &vec![0.5; channels])?;
        let share = self.affine(erf, half, Some(half))?;
        let slope = self.with_sum(share, steep)?.ok_or(Problem::NoOutput)?;
        self.e.mul(g, slope).map(|y| Some(form(y)))
    }

    /// Channels to the end: from blocks in one operator; back: noted, until somebody reads it.
    fn turned(&mut self, node: &Node, x: ValueId) -> Result<Option<Place>, Problem> {
        let Some(order) = node.ints("perm") else { return Ok(None) };
        let dims = self.dims(x)?;
        match order {
            [0, 2, 3, 1] => {
                let place = self.place(x)?;
                if let Some(rows) = place.rows {
                    return Ok(Some(plain(rows)));
                }
                let Some(own) = self.already_blocked(x)? else { return Ok(None) };
                self.of_blocks(own, &dims, true).map(|rows| Some(plain(rows)))
            }
            [0, 3, 1, 2] if fits(dims[3], self.block.unwrap_or(1)) => {
                let rows = self.plain(x)?;
                Ok(Some(Place { rows: Some(rows), ..Place::default() }))
            }
            _ => Ok(None),
        }
    }

    /// One number for each channel and image, copied to every pixel.
    fn spread(&mut self, x: ValueId, output: ValueId) -> Result<Option<Place>, Problem> {
        let (from, to) = (self.dims(x)?, self.dims(output)?);
        let block = self.block.unwrap_or(1);
        if to.len() != 4 || from[..] != [to[0], to[1], 1, 1] || !fits(to[1], block) {
            return Ok(None);
        }
        let one = self.plain(x)?;
        Ok(Some(Place { spread: Some(one), ..Place::default() }))
    }

    /// The convolution that gives `x`, behind a change of shape.
    fn convolution_of(&self, x: ValueId) -> Option<Node> {
        let graph = &self.e.graph;
        let producer = |id| graph.producer(id).map(|node| graph.node(node));
        let mut node = producer(x)?;
        if node.is_standard() && node.op == "Reshape" {
            node = producer(node.inputs.first().copied().flatten()?)?;
        }
        (node.domain == DOMAIN && node.op == "Conv").then(|| node.clone())
    }

    /// The convolution that gives `x`, with `other` added; none if x is no convolution, or one that
    /// adds or clips already.
    pub(super) fn with_sum(
        &mut self,
        x: ValueId,
        other: ValueId,
    ) -> Result<Option<ValueId>, Problem> {
        let Some(node) = self.convolution_of(x) else { return Ok(None) };
        if node.inputs.len() > 3 || node.attribute("activation").is_some() {
            return Ok(None);
        }
        let shape = self.output_dims(&node)?;
        let other = self.e.reshape(other, &shape)?;
        let mut inputs = node.inputs.clone();
        inputs.resize(3, None);
        inputs.push(Some(other));
        let y = self.nchwc("Conv", &inputs, node.attributes, &shape)?;
        let dims = self.e.dims(x)?;
        self.e.reshape(y, &dims).map(Some)
    }

    /// The convolution that gives `x`, with an activation; none if there is one already.
    pub(super) fn with_activation(
        &mut self,
        x: ValueId,
        name: &'static str,
        parameters: Option<AttributeValue>,
    ) -> Result<Option<ValueId>, Problem> {
        let Some(node) = self.convolution_of(x) else { return Ok(None) };
        if node.attribute("activation").is_some() {
            return Ok(None);
        }
        let shape = self.output_dims(&node)?;
        let mut attributes = node.attributes;
        attributes.push(attr("activation", name));
        if let Some(value) = parameters {
            attributes.push(Attribute { name: "activation_params".to_owned(), value });
        }
        let y = self.nchwc("Conv", &node.inputs, attributes, &shape)?;
        let dims = self.e.dims(x)?;
        self.e.reshape(y, &dims).map(Some)
    }

    /// The convolution that gives `x`, with a bias; none if it has one, adds, or clips.
    fn with_bias(&mut self, x: ValueId, bias: ValueId) -> Result<Option<ValueId>, Problem> {
        let Some(node) = self.convolution_of(x) else { return Ok(None) };
        if node.inputs.len() > 2 || node.attribute("activation").is_some() {
            return Ok(None);
        }
        let shape = self.output_dims(&node)?;
        let bias = self.fill(bias, 0, self.block.unwrap_or(1))?;
        let mut inputs = node.inputs.clone();
        inputs.push(Some(bias));
        let y = self.nchwc("Conv", &inputs, node.attributes, &shape)?;
        let dims = self.e.dims(x)?;
        self.e.reshape(y, &dims).map(Some)
    }

    fn output_dims(&self, node: &Node) -> Result<Vec<usize>, Problem> {
        self.e.dims(node.outputs.first().copied().flatten().ok_or(Problem::NoOutput)?)
    }
}

/// From a value to where it is said to lie.
type Form = fn(ValueId) -> Place;

/// A value that is as ONNX has it.
pub(super) fn plain(id: ValueId) -> Place {
    Place { plain: Some(id), ..Place::default() }
}

/// A value in blocks.
pub(super) fn blocked(id: ValueId) -> Place {
    Place { blocked: Some(id), ..Place::default() }
}
