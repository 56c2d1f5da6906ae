//! Linear layers over tokens in blocks.
//!
//! Tokens `[…, D]` lie as an image of one row, `[1, D, 1, T]` in blocks of D, T the product of the
//! other dimensions. A linear layer is then a pointwise convolution, and so are its gradients: on
//! one core with AVX-512 these ran at 82 to 92 thousand million products a second, where `Gemm` made
//! 52 to 71. Between the layers of an MLP everything stays so; what is normalised over D, or cut into
//! heads, lies as ONNX has it.

use nearkin_onnx::{Node, ValueId};

use super::blocked::plain;
use super::choose::{self, fits, padded};
use super::{Pass, Place};
use crate::emit::attr_sizes;
use crate::error::Problem;

impl Pass<'_> {
    /// Rows and width of tokens, if they are worth it.
    fn token_dims(&self, dims: &[usize], block: usize) -> Option<(usize, usize)> {
        let (&width, rest) = dims.split_last()?;
        let count: usize = rest.iter().product();
        (fits(width, block) && choose::tokens(count, width)).then_some((count, width))
    }

    /// `[…, D]` in blocks of D.
    pub(super) fn tokens(&mut self, id: ValueId) -> Result<ValueId, Problem> {
        let place = self.place(id)?;
        if let Some(tokens) = place.tokens {
            return Ok(tokens);
        }
        let dims = self.dims(id)?;
        let width = dims.last().copied().unwrap_or(1);
        let count = dims.iter().product::<usize>() / width.max(1);
        let x = self.plain(id)?;
        let x = self.e.reshape(x, &[1, 1, count, width])?;
        let found = self.blocks_of(x, &[1, width, 1, count], true)?;
        let place = self.place(id)?;
        self.places.insert(id, Place { tokens: Some(found), ..place });
        Ok(found)
    }

    /// Tokens as ONNX has them.
    pub(super) fn out_of_tokens(&mut self, x: ValueId, of: ValueId) -> Result<ValueId, Problem> {
        let dims = self.dims(of)?;
        let width = dims.last().copied().unwrap_or(1);
        let count = self.e.dims(x)?[3];
        let rows = self.of_blocks(x, &[1, width, 1, count], true)?;
        self.e.reshape(rows, &dims)
    }

    /// a·b of tokens a `[…, D]` and a matrix b `[D, K]`.
    pub(super) fn product(&mut self, node: &Node, block: usize) -> Result<Option<Place>, Problem> {
        let &[Some(a), Some(b)] = &node.inputs[..] else { return Ok(None) };
        let (a_dims, b_dims) = (self.dims(a)?, self.dims(b)?);
        let &[width, outputs] = &b_dims[..] else { return Ok(None) };
        let Some((count, _)) = self.token_dims(&a_dims, block) else { return Ok(None) };
        if a_dims.len() < 2 || !fits(outputs, block) || !choose::tokens(count, outputs) {
            return Ok(None);
        }
        let x = self.tokens(a)?;
        let b = self.plain(b)?;
        // `[D, K]` → `[K/b, D, b]`, which is how the filter lies.
        let b = self.fill(b, 0, block)?;
        let rows = padded(width, block);
        let filter = self.e.reshape(b, &[1, rows, 1, outputs])?;
        let filter = self.blocks_of(filter, &[1, outputs, rows, 1], true)?;
        let wide = padded(outputs, block);
        let filter = self.e.reshape(filter, &[wide, rows, 1, 1])?;
        let attributes = vec![attr_sizes("kernel_shape", &[1, 1])];
        let y = self.nchwc("Conv", &[Some(x), Some(filter)], attributes, &[1, wide, 1, count])?;
        Ok(Some(of_tokens(y)))
    }

    /// aᵀ·g of tokens a `[T, D]` and g `[T, K]`: the gradient of a linear layer's weights.
    ///
    /// A pointwise convolution whose channels are the tokens: one of the two, as it lies in blocks,
    /// is the filter, the other the image, in blocks of tokens.
    pub(super) fn outer(&mut self, node: &Node, block: usize) -> Result<Option<Place>, Problem> {
        let &[Some(a), Some(g)] = &node.inputs[..] else { return Ok(None) };
        let scaled = node.float("alpha").is_some_and(|alpha| (alpha - 1.0).abs() > f32::EPSILON);
        if node.int("transA") != Some(1) || node.int("transB") == Some(1) || scaled {
            return Ok(None);
        }
        let (a_dims, g_dims) = (self.dims(a)?, self.dims(g)?);
        let (Some((count, width)), Some((_, outputs))) =
            (self.token_dims(&a_dims, block), self.token_dims(&g_dims, block))
        else {
            return Ok(None);
        };
        if count % block != 0 {
            return Ok(None);
        }
        let there = |pass: &Self, id| pass.place(id).map(|place| place.tokens.is_some());
        let filter_is_g = match (there(self, a)?, there(self, g)?) {
            (true, false) => false,
            (false, true) => true,
            _ => outputs >= width,
        };
        let (filter, image) = if filter_is_g { (g, a) } else { (a, g) };
        let (many, few) = if filter_is_g { (outputs, width) } else { (width, outputs) };
        let filter = self.tokens(filter)?;
        let wide = padded(many, block);
        let filter = self.e.reshape(filter, &[wide, count, 1, 1])?;
        let image = self.plain(image)?;
        let shape = [1, count, 1, few];
        let image = self.e.reshape(image, &shape)?;
        let image = self.blocks_of(image, &shape, false)?;
        let attributes = vec![attr_sizes("kernel_shape", &[1, 1])];
        let out = [1, wide, 1, few];
        let y = self.nchwc("Conv", &[Some(image), Some(filter)], attributes, &out)?;
        let y = self.of_blocks(y, &[1, many, 1, few], filter_is_g)?;
        self.e.reshape(y, &[width, outputs]).map(|y| Some(plain(y)))
    }

    /// The sum over all tokens, or over all pixels of each channel, if that is what `node` gives.
    pub(super) fn sum_of(
        &mut self,
        node: &Node,
        output: ValueId,
    ) -> Result<Option<Place>, Problem> {
        let &[Some(x), Some(axes)] = &node.inputs[..] else { return Ok(None) };
        let (place, dims) = (self.place(x)?, self.dims(x)?);
        let axes = self.plain(axes)?;
        let Some(axes) = crate::rules::constant_ints(&self.e, axes) else { return Ok(None) };
        let mut axes: Vec<usize> =
            axes.iter().map(|&axis| crate::rules::axis(axis, dims.len())).collect();
        axes.sort_unstable();
        let sum = match place {
            Place { tokens: Some(tokens), .. } if axes.iter().copied().eq(0..dims.len() - 1) => {
                let count = self.e.dims(tokens)?[3];
                let mean = self.image_means(tokens, dims[dims.len() - 1])?;
                self.e.scale(mean, count as f32)?
            }
            Place { blocked: Some(_), .. } if axes == [0, 2, 3] => {
                let Some(Place { plain: Some(sum), .. }) = self.channel_sum(x)? else {
                    return Ok(None);
                };
                sum
            }
            _ => return Ok(None),
        };
        let out = self.dims(output)?;
        self.e.reshape(sum, &out).map(|sum| Some(plain(sum)))
    }
}

/// Tokens in blocks.
pub(super) fn of_tokens(id: ValueId) -> Place {
    Place { tokens: Some(id), ..Place::default() }
}
