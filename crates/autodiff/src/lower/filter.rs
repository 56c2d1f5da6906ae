//! Weights in blocks, and back.
//!
//! A dense filter `[K, C, kh, kw]` lies as `[K/b, C/b, kh, kw, b of C, b of K]`, a depthwise one as
//! `[C/b, kh, kw, b]`. Both are reached by ONNX Runtime's own reordering of images, which is many
//! times as quick as a transposition: a filter is taken for an image with rows of its other axes.

use nearkin_onnx::ValueId;

use super::Pass;
use super::choose::padded;
use crate::error::Problem;

impl Pass<'_> {
    fn length(&self) -> usize {
        self.block.unwrap_or(1)
    }

    /// `[K, C, …]` filled to whole blocks, in blocks of C alone: `[K, C/b, kh·kw, b]`.
    fn half_blocked(&mut self, w: ValueId) -> Result<(ValueId, [usize; 4]), Problem> {
        let block = self.length();
        let w = self.fill(w, 0, block)?;
        let w = self.fill(w, 1, block)?;
        let dims = self.four(w)?;
        Ok((self.blocks_of(w, &dims, false)?, dims))
    }

    /// `x [n·b, rest]` in blocks of the first axis: `[n, rest, b]`.
    fn first_axis_inside(&mut self, x: ValueId, rest: usize) -> Result<ValueId, Problem> {
        let block = self.length();
        let count: usize = self.e.dims(x)?.iter().product::<usize>() / (rest * block);
        let dims = [count, block, 1, rest];
        let x = self.e.reshape(x, &dims)?;
        self.blocks_of(x, &dims, false)
    }

    /// The filter of a forward convolution, dense or in groups.
    pub(super) fn dense_filter(&mut self, w: ValueId) -> Result<ValueId, Problem> {
        let (half, dims) = self.half_blocked(w)?;
        let y = self.first_axis_inside(half, dims[1] * dims[2] * dims[3])?;
        self.e.reshape(y, &dims)
    }

    /// The filter over an image with less channels than a block: `[K/b, C, kh, kw, b]`.
    pub(super) fn narrow_filter(&mut self, w: ValueId) -> Result<ValueId, Problem> {
        let w = self.fill(w, 0, self.length())?;
        let dims = self.four(w)?;
        let y = self.first_axis_inside(w, dims[1] * dims[2] * dims[3])?;
        self.e.reshape(y, &dims)
    }

    /// The filter `[C, 1, kh, kw]` of a depthwise convolution, mirrored or not.
    pub(super) fn depthwise_filter(
        &mut self,
        w: ValueId,
        mirrored: bool,
    ) -> Result<ValueId, Problem> {
        let w = self.fill(w, 0, self.length())?;
        let dims = self.four(w)?;
        let taps = dims[2] * dims[3];
        let mut y = self.first_axis_inside(w, taps)?;
        if mirrored && taps > 1 {
            y = self.e.reshape(y, &[dims[0] / self.length(), taps, self.length()])?;
            y = self.mirror(y, 1)?;
        }
        self.e.reshape(y, &dims)
    }

    /// The filter with the roles of K and C exchanged, `[C/b, K/b, kh, kw, b of K · b of C]`.
    pub(super) fn turned_filter(&mut self, w: ValueId) -> Result<ValueId, Problem> {
        let block = self.length();
        let (half, [outputs, channels, high, wide]) = self.half_blocked(w)?;
        let (k, c, taps) = (outputs / block, channels / block, high * wide);
        let y = self.e.reshape(half, &[k, block, c, taps, block])?;
        let y = self.e.transpose(y, &[2, 0, 3, 1, 4])?;
        self.e.reshape(y, &[c, k, high, wide, block * block])
    }

    /// The same mirrored, as the filter `[C, K, kh, kw]` of a convolution.
    pub(super) fn mirrored_filter(&mut self, w: ValueId) -> Result<ValueId, Problem> {
        let block = self.length();
        let turned = self.turned_filter(w)?;
        let dims = self.e.dims(turned)?;
        let (c, k, high, wide) = (dims[0], dims[1], dims[2], dims[3]);
        let mut y = turned;
        if high * wide > 1 {
            y = self.e.reshape(y, &[c, k, high * wide, block * block])?;
            y = self.mirror(y, 2)?;
        }
        self.e.reshape(y, &[c * block, k * block, high, wide])
    }

    /// The positions of an axis in this order.
    pub(super) fn take(
        &mut self,
        x: ValueId,
        axis: usize,
        places: &[usize],
    ) -> Result<ValueId, Problem> {
        if places.iter().copied().eq(0..self.e.dims(x)?[axis]) {
            return Ok(x);
        }
        let places = self.e.sizes(places)?;
        self.e.op("Gather", &[x, places], vec![crate::emit::attr("axis", axis as i64)])
    }

    fn mirror(&mut self, x: ValueId, axis: usize) -> Result<ValueId, Problem> {
        let back: Vec<usize> = (0..self.e.dims(x)?[axis]).rev().collect();
        self.take(x, axis, &back)
    }

    /// A dense filter's gradient as blocks lie, `[K/b, C/b, kh·kw, b of C, b of K]`, as ONNX has it.
    pub(super) fn dense_filter_back(
        &mut self,
        y: ValueId,
        [outputs, channels, high, wide]: [usize; 4],
    ) -> Result<ValueId, Problem> {
        let block = self.length();
        let (k, c) = (padded(outputs, block), padded(channels, block));
        let rest = c * high * wide;
        let y = self.e.reshape(y, &[k / block, block, 1, rest])?;
        let half = self.of_blocks(y, &[k / block, block, 1, rest], false)?;
        let half = self.e.reshape(half, &[k, c, high, wide])?;
        let w = self.of_blocks(half, &[k, channels, high, wide], false)?;
        self.e.slice(w, 0, 0, outputs)
    }

    /// A gradient `[K/b, rest, b]` as `[K, rest]`.
    pub(super) fn first_axis_outside(
        &mut self,
        y: ValueId,
        outputs: usize,
        rest: usize,
    ) -> Result<ValueId, Problem> {
        let block = self.length();
        let k = padded(outputs, block);
        let dims = [k / block, block, 1, rest];
        let y = self.e.reshape(y, &dims)?;
        let y = self.of_blocks(y, &dims, false)?;
        let y = self.e.reshape(y, &[k, rest])?;
        self.e.slice(y, 0, 0, outputs)
    }

    fn four(&self, x: ValueId) -> Result<[usize; 4], Problem> {
        let dims = self.e.dims(x)?;
        <[usize; 4]>::try_from(dims).map_err(|_| Problem::NoOutput)
    }
}
