//! Convolutions and their gradients in blocks.

use nearkin_onnx::{Node, ValueId};

use super::blocked::{blocked, plain};
use super::choose::{self, Kind, Pointwise, padded};
use super::{Pass, Place};
use crate::emit::{attr, attr_sizes};
use crate::error::Problem;
use crate::windows::Windows;

impl Pass<'_> {
    pub(super) fn convolution(
        &mut self,
        node: &Node,
        output: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let (x, w) = two(node)?;
        let (x_dims, w_dims, out) = (self.dims(x)?, self.dims(w)?, self.dims(output)?);
        if x_dims.len() != 4 {
            return Ok(None);
        }
        let mut windows = Windows::of(node, &w_dims[2..], &x_dims[2..]);
        let Some(kind) = choose::kind(x_dims[1], w_dims[0], &windows, block) else {
            return Ok(None);
        };
        let image = if kind == Kind::Narrow { self.plain(x)? } else { self.blocked(x)? };
        let w = self.plain(w)?;
        let filter = match kind {
            Kind::Narrow => self.narrow_filter(w)?,
            Kind::Depthwise => self.depthwise_filter(w, false)?,
            Kind::Dense | Kind::Grouped => self.dense_filter(w)?,
        };
        if kind == Kind::Depthwise {
            windows.groups = padded(x_dims[1], block);
        }
        let mut inputs = vec![Some(image), Some(filter)];
        if let Some(&Some(bias)) = node.inputs.get(2) {
            let bias = self.plain(bias)?;
            inputs.push(Some(self.fill(bias, 0, block)?));
        }
        let out = [out[0], padded(out[1], block), out[2], out[3]];
        self.nchwc("Conv", &inputs, windows.attributes(), &out).map(|y| Some(blocked(y)))
    }

    /// ∂x: a convolution of g with the mirrored filter; for a stride s, one for each of the s × s
    /// positions of a pixel, with the taps that reach it.
    pub(super) fn input_grad(
        &mut self,
        node: &Node,
        output: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let (g, w) = two(node)?;
        let (dims, w_dims) = (self.dims(output)?, self.dims(w)?);
        if dims.len() != 4 {
            return Ok(None);
        }
        let windows = Windows::of(node, &w_dims[2..], &dims[2..]);
        let kind = choose::kind(dims[1], w_dims[0], &windows, block);
        let Some(kind @ (Kind::Dense | Kind::Depthwise)) = kind else { return Ok(None) };
        let out = self.dims(g)?;
        if windows.stride.iter().any(|&s| s != 1) {
            let Some(phases) = Phases::of(&windows, &dims[2..], &out[2..]) else {
                return Ok(None);
            };
            return self.strided_input_grad(kind, (g, w), &dims, &phases).map(|x| Some(blocked(x)));
        }
        let mut pads = [0; 4];
        for i in 0..2 {
            let reach = windows.dilation[i] * (windows.kernel[i] - 1);
            let before = reach.checked_sub(windows.before(i));
            let Some(before) = before else { return Ok(None) };
            let after = (dims[2 + i] + reach).checked_sub(out[2 + i] + before);
            let Some(after) = after else { return Ok(None) };
            (pads[i], pads[2 + i]) = (before, after);
        }
        let g = self.blocked(g)?;
        let w = self.plain(w)?;
        let wide = padded(dims[1], block);
        let (filter, groups) = match kind {
            Kind::Depthwise => (self.depthwise_filter(w, true)?, wide),
            _ => (self.mirrored_filter(w)?, 1),
        };
        let windows = Windows { pads: pads.to_vec(), groups, ..windows };
        let shape = [dims[0], wide, dims[2], dims[3]];
        let x = self.nchwc("Conv", &[Some(g), Some(filter)], windows.attributes(), &shape)?;
        Ok(Some(blocked(x)))
    }

    fn strided_input_grad(
        &mut self,
        kind: Kind,
        (g, w): (ValueId, ValueId),
        dims: &[usize],
        phases: &Phases,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let (images, wide) = (dims[0], padded(dims[1], block));
        let [high, long] = [0, 1].map(|i| dims[2 + i] / phases.stride[i]);
        let g = self.blocked(g)?;
        let w = self.plain(w)?;
        let filter = match kind {
            Kind::Depthwise => {
                let filter = self.depthwise_filter(w, false)?;
                let taps = self.e.dims(filter)?;
                self.e.reshape(filter, &[wide / block, 1, taps[2], taps[3], block])?
            }
            _ => self.turned_filter(w)?,
        };
        let groups = if kind == Kind::Depthwise { wide } else { 1 };
        let apart = [images, wide / block, high, long, 1, block];
        let mut rows = Vec::new();
        for vertical in &phases.axes[0] {
            let mut row = Vec::new();
            for horizontal in &phases.axes[1] {
                let (Some(v), Some(h)) = (vertical, horizontal) else {
                    row.push(self.e.zeros(&apart)?);
                    continue;
                };
                let part = self.take(filter, 2, &v.taps)?;
                let part = self.take(part, 3, &h.taps)?;
                let inputs = self.e.dims(part)?[1] * if groups == 1 { block } else { 1 };
                let part = self.e.reshape(part, &[wide, inputs, v.taps.len(), h.taps.len()])?;
                let windows = Windows {
                    kernel: vec![v.taps.len(), h.taps.len()],
                    stride: vec![1, 1],
                    dilation: vec![1, 1],
                    pads: vec![v.before, h.before, v.after, h.after],
                    groups,
                };
                let shape = [images, wide, high, long];
                let y = self.nchwc("Conv", &[Some(g), Some(part)], windows.attributes(), &shape)?;
                row.push(self.e.reshape(y, &apart)?);
            }
            let row = self.e.concat(&row, 4)?;
            rows.push(self.e.reshape(row, &[images, wide / block, high, 1, dims[3] * block])?);
        }
        let x = self.e.concat(&rows, 3)?;
        self.e.reshape(x, &[images, wide, dims[2], dims[3]])
    }

    pub(super) fn weight_grad(
        &mut self,
        node: &Node,
        output: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let (g, x) = two(node)?;
        let (dims, x_dims, g_dims) = (self.dims(output)?, self.dims(x)?, self.dims(g)?);
        if dims.len() != 4 {
            return Ok(None);
        }
        let windows = Windows::of(node, &dims[2..], &x_dims[2..]);
        let kind = choose::kind(x_dims[1], dims[0], &windows, block);
        if windows.dilation.iter().any(|&d| d != 1) {
            return Ok(None);
        }
        let w_dims = [dims[0], dims[1], dims[2], dims[3]];
        let seen = Seen::of(&windows, &x_dims[2..], &g_dims[2..]);
        let gradient = match kind {
            Some(Kind::Dense) if windows.kernel == [1, 1] => {
                self.pointwise_weight_grad((g, x), w_dims, &windows)?
            }
            Some(Kind::Dense | Kind::Narrow) => {
                let parts = x_dims[0] / choose::images_at_once(x_dims[0], block);
                if parts > choose::MOST_PARTS {
                    return Ok(None);
                }
                self.dense_weight_grad((g, x), kind == Some(Kind::Narrow), w_dims, &seen)?
            }
            Some(Kind::Depthwise) => self.depthwise_weight_grad((g, x), w_dims, &seen)?,
            Some(Kind::Grouped) | None => return Ok(None),
        };
        Ok(Some(plain(gradient)))
    }

    /// ∂w of a dense convolution, one convolution for a few images at a time.
    ///
    /// The images are its channels, g its filter, as it lies: `[K/b, images, H, W, b]`. x is read as
    /// an image `[C/b, images, H, W·b]`, whose rows hold pixels and channels side by side. A window
    /// of g's size over it, with steps of b between its columns, then gives for each tap of the
    /// kernel and each channel of x the products with all channels of g: `[K/b, kh, kw·b of C, b of
    /// K]`, which is how a filter lies.
    fn dense_weight_grad(
        &mut self,
        (g, x): (ValueId, ValueId),
        narrow: bool,
        [outputs, channels, high, wide]: [usize; 4],
        seen: &Seen,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let x_dims = self.dims(x)?;
        let images = x_dims[0];
        let (inner, c) =
            if narrow { (channels, 1) } else { (block, padded(channels, block) / block) };
        let image = if narrow {
            let x = self.plain(x)?;
            self.e.transpose(x, &[0, 2, 3, 1])?
        } else {
            self.blocked(x)?
        };
        let image = self.e.reshape(image, &[images, c, x_dims[2], x_dims[3], inner])?;
        let image = self.crop(image, seen)?;
        let image_high = self.e.dims(image)?[2];
        let image =
            self.e.pad(image, &[0, 0, 0, seen.before[1], 0], &[0, 0, 0, seen.after[1], 0])?;
        let long = self.e.dims(image)?[3] * inner;
        let (k, out) = (padded(outputs, block) / block, seen.out);
        let g = self.blocked(g)?;

        let at_once = choose::images_at_once(images, block);
        let parts = images / at_once;
        let image = self.e.reshape(image, &[parts, at_once, c, image_high * long])?;
        let image = if c > 1 { self.e.transpose(image, &[0, 2, 1, 3])? } else { image };
        let g = self.e.reshape(g, &[parts, at_once, k, out[0] * out[1] * block])?;
        let g = if k > 1 { self.e.transpose(g, &[0, 2, 1, 3])? } else { g };
        let (images_of, grads_of) = (self.split(image, parts)?, self.split(g, parts)?);

        let windows = Windows {
            kernel: out.to_vec(),
            stride: vec![1, 1],
            dilation: vec![seen.stride[0], seen.stride[1] * inner],
            pads: vec![seen.before[0], 0, seen.after[0], 0],
            groups: 1,
        };
        let shape = [c, k * block, high, wide * inner];
        let mut sum = None;
        for (image, g) in images_of.into_iter().zip(grads_of) {
            let image = self.e.reshape(image, &[c, at_once, image_high, long])?;
            let g = self.e.reshape(g, &[k * block, at_once, out[0], out[1]])?;
            let mut inputs = vec![Some(image), Some(g)];
            if let Some(sum) = sum {
                inputs.extend([None, Some(sum)]);
            }
            sum = Some(self.nchwc("Conv", &inputs, windows.attributes(), &shape)?);
        }
        let y = sum.ok_or(Problem::NoOutput)?;
        if narrow {
            let y = self.first_axis_outside(y, outputs, high * wide * channels)?;
            let y = self.e.reshape(y, &[outputs, high * wide, channels])?;
            let y = self.e.transpose(y, &[0, 2, 1])?;
            return self.e.reshape(y, &[outputs, channels, high, wide]);
        }
        let y = self.e.reshape(y, &[c, k, high * wide * block * block])?;
        let y = if c > 1 && k > 1 { self.e.transpose(y, &[1, 0, 2])? } else { y };
        self.dense_filter_back(y, [outputs, channels, high, wide])
    }

    /// ∂w of a depthwise convolution: every channel of every image by itself, g as the filter, which
    /// in blocks lies as a depthwise filter does; then the sum over the images.
    fn depthwise_weight_grad(
        &mut self,
        (g, x): (ValueId, ValueId),
        [outputs, _, high, wide]: [usize; 4],
        seen: &Seen,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let x_dims = self.dims(x)?;
        let (images, channels) = (x_dims[0], padded(outputs, block));
        let (g, x) = (self.blocked(g)?, self.blocked(x)?);
        let x = self.e.reshape(x, &[images, channels / block, x_dims[2], x_dims[3], block])?;
        let mut x = self.crop(x, seen)?;
        let mut pads = vec![seen.before[0], seen.before[1], seen.after[0], seen.after[1]];
        if choose::pads_depthwise(wide) {
            x = self.e.pad(x, &[0, 0, 0, pads[1], 0], &[0, 0, 0, pads[3], 0])?;
            (pads[1], pads[3]) = (0, 0);
        }
        let size = self.e.dims(x)?;
        let x = self.e.reshape(x, &[1, images * channels, size[2], size[3]])?;
        let g = self.e.reshape(g, &[images * channels, 1, seen.out[0], seen.out[1]])?;
        let windows = Windows {
            kernel: seen.out.to_vec(),
            stride: vec![1, 1],
            dilation: seen.stride.to_vec(),
            pads,
            groups: images * channels,
        };
        let shape = [1, images * channels, high, wide];
        let y = self.nchwc("Conv", &[Some(x), Some(g)], windows.attributes(), &shape)?;
        let y = self.e.reshape(y, &[images, channels * high * wide])?;
        let y = self.e.sum(y, &[0], false)?;
        let y = self.first_axis_outside(y, outputs, high * wide)?;
        self.e.reshape(y, &[outputs, 1, high, wide])
    }

    fn pointwise_weight_grad(
        &mut self,
        (g, x): (ValueId, ValueId),
        [outputs, channels, ..]: [usize; 4],
        windows: &Windows,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let (x_dims, g_dims) = (self.dims(x)?, self.dims(g)?);
        let (images, pixels) = (x_dims[0], g_dims[2] * g_dims[3]);
        let g = self.blocked(g)?;
        let mut own = self.blocked(x)?;
        // With a stride, only every s-th pixel is seen.
        if !windows.is_pointwise() {
            let c = padded(channels, block) / block;
            own = self.e.reshape(own, &[images, c, x_dims[2], x_dims[3], block])?;
            let seen = Seen::of(windows, &x_dims[2..], &g_dims[2..]);
            own = self.e.pad(
                own,
                &[0, 0, seen.before[0], seen.before[1], 0],
                &[0, 0, seen.after[0], seen.after[1], 0],
            )?;
            let range = |i: usize| {
                let end = (g_dims[2 + i] - 1) * windows.stride[i] + 1;
                (2 + i, 0, end, windows.stride[i])
            };
            own = self.e.slice_steps(own, &[range(0), range(1)])?;
            own = self.e.reshape(own, &[images, c * block, g_dims[2], g_dims[3]])?;
        }
        // The narrower of the two is brought into another order, the wider read as it lies.
        let swapped = channels > outputs;
        let (narrow, wide) = if swapped { (g, own) } else { (own, g) };
        let (few, many) = (channels.min(outputs), channels.max(outputs));
        let product = match choose::pointwise(few, pixels, block) {
            Pointwise::Convolution => self.pixels_meet(narrow, wide, few, many)?,
            Pointwise::Product => {
                let plain = self.of_blocks(narrow, &[images, few, g_dims[2], g_dims[3]], false)?;
                let rows = self.e.reshape(plain, &[images, 1, few, pixels])?;
                let blocks = padded(many, block) / block;
                let columns = self.e.reshape(wide, &[images, blocks, pixels, block])?;
                let product = self.e.matmul(rows, columns)?;
                self.e.sum(product, &[0], false)?
            }
        };
        // `[many/b, few, b]` → `[many, few]`
        let y = self.first_axis_outside(product, many, few)?;
        let y = if swapped { self.e.swap(y)? } else { y };
        self.e.reshape(y, &[outputs, channels, 1, 1])
    }

    /// Σ over pixels of narrow · wide as `[many/b, few, b]`: a pointwise convolution whose channels
    /// are the pixels, one group for each image, with `wide` as its filter.
    fn pixels_meet(
        &mut self,
        narrow: ValueId,
        wide: ValueId,
        few: usize,
        many: usize,
    ) -> Result<ValueId, Problem> {
        let block = self.block.unwrap_or(1);
        let dims = self.e.dims(narrow)?;
        let (images, pixels) = (dims[0], dims[2] * dims[3]);
        let (n, m) = (padded(few, block) / block, padded(many, block) / block);
        let x = self.e.reshape(narrow, &[images, n, pixels, block])?;
        let x = if n > 1 { self.e.transpose(x, &[1, 0, 2, 3])? } else { x };
        let x = self.e.reshape(x, &[n * images, pixels, 1, block])?;
        let x = self.blocks_of(x, &[n * images, pixels, 1, block], false)?;
        let x = self.e.reshape(x, &[n, images * pixels, 1, block])?;
        let filter = self.e.reshape(wide, &[images * m * block, pixels, 1, 1])?;
        let attributes = vec![attr_sizes("kernel_shape", &[1, 1]), attr("group", images as i64)];
        let shape = [n, images * m * block, 1, block];
        let y = self.nchwc("Conv", &[Some(x), Some(filter)], attributes, &shape)?;
        let y = self.e.reshape(y, &[n, images, m * block * block])?;
        let y = self.e.sum(y, &[1], false)?;
        // `[n, m, b of narrow, b of wide]` → `[m, n·b, b]`, without the filling.
        let y = self.e.reshape(y, &[n, m, block * block])?;
        let y = if n > 1 && m > 1 { self.e.transpose(y, &[1, 0, 2])? } else { y };
        let y = self.e.reshape(y, &[m, n * block, block])?;
        self.e.slice(y, 1, 0, few)
    }

    /// `[N, C/b, H, W, b]` without the last pixels, which no window sees.
    fn crop(&mut self, x: ValueId, seen: &Seen) -> Result<ValueId, Problem> {
        let dims = self.e.dims(x)?;
        let range = |i: usize| (2 + i, 0, dims[2 + i] - seen.idle[i], 1);
        self.e.slice_steps(x, &[range(0), range(1)])
    }

    /// Equal parts along the first axis.
    fn split(&mut self, x: ValueId, parts: usize) -> Result<Vec<ValueId>, Problem> {
        if parts == 1 {
            return Ok(vec![x]);
        }
        let attributes = vec![attr("axis", 0i64), attr("num_outputs", parts as i64)];
        self.e.many("Split", &[Some(x)], attributes, parts)
    }
}

fn two(node: &Node) -> Result<(ValueId, ValueId), Problem> {
    match node.inputs[..] {
        [Some(a), Some(b), ..] => Ok((a, b)),
        _ => Err(Problem::NoOutput),
    }
}

/// What the windows of a convolution see of its image, axis by axis.
struct Seen {
    stride: [usize; 2],
    before: [usize; 2],
    /// Padding behind the image that a window sees.
    after: [usize; 2],
    /// Pixels at the end of the image that no window sees.
    idle: [usize; 2],
    out: [usize; 2],
}

impl Seen {
    fn of(windows: &Windows, image: &[usize], out: &[usize]) -> Self {
        let end = |i: usize| (out[i] - 1) * windows.stride[i] + windows.kernel[i];
        let whole = |i: usize| image[i] + windows.before(i);
        Self {
            stride: [windows.stride[0], windows.stride[1]],
            before: [windows.before(0), windows.before(1)],
            after: [0, 1].map(|i| end(i).saturating_sub(whole(i))),
            idle: [0, 1].map(|i| whole(i).saturating_sub(end(i))),
            out: [out[0], out[1]],
        }
    }
}

/// Where the pixels of a strided convolution's image get their gradient from, by position in a step.
struct Phases {
    stride: [usize; 2],
    axes: [Vec<Option<Phase>>; 2],
}

/// One position: the taps that see it, in the order of the outputs they belong to.
struct Phase {
    taps: Vec<usize>,
    before: usize,
    after: usize,
}

impl Phases {
    /// None for dilated windows, images that are no whole number of steps, or windows that leave
    /// pixels before the first one out.
    fn of(windows: &Windows, image: &[usize], out: &[usize]) -> Option<Self> {
        let axis = |i: usize| -> Option<Vec<Option<Phase>>> {
            let (kernel, stride) = (windows.kernel[i], windows.stride[i]);
            if windows.dilation[i] != 1 || !image[i].is_multiple_of(stride) {
                return None;
            }
            let count = image[i] / stride;
            let phase = |position: usize| -> Option<Option<Phase>> {
                let at = position + windows.before(i);
                // Output o sees the position through tap at − stride·o, relative to its step.
                let taps: Vec<usize> = (0..kernel)
                    .rev()
                    .filter(|tap| (at + stride * kernel - tap).is_multiple_of(stride))
                    .collect();
                let Some(&last) = taps.first() else { return Some(None) };
                // The first output in question, at or before the pixel's own step.
                let ahead = last.checked_sub(at).map_or_else(
                    || -(((at - last) / stride) as i64),
                    |late| (late / stride) as i64,
                );
                let before = usize::try_from(ahead).ok()?;
                let after = (count + taps.len() - 1).checked_sub(out[i] + before)?;
                Some(Some(Phase { taps, before, after }))
            };
            (0..stride).map(phase).collect()
        };
        Some(Self { stride: [windows.stride[0], windows.stride[1]], axes: [axis(0)?, axis(1)?] })
    }
}
