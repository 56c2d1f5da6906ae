//! Tokens cut into heads and put together again.
//!
//! A head of whole blocks is a run of blocks, so that attention's `[N, heads, L, d]` is one
//! transposition away from tokens in blocks, and parts of a layer's width are cut and joined as they
//! lie.

use nearkin_onnx::{Node, ValueId};

use super::blocked::plain;
use super::linear::of_tokens;
use super::{Pass, Place, choose};
use crate::error::Problem;

impl Pass<'_> {
    /// A change of shape that keeps tokens apart.
    pub(super) fn reshaped(
        &mut self,
        x: ValueId,
        to: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let place = self.place(x)?;
        let (from, to) = (self.dims(x)?, self.dims(to)?);
        if let Some(tokens) = place.tokens {
            if from.last() == to.last() {
                let plain = place.plain.map(|x| self.e.reshape(x, &to)).transpose()?;
                return Ok(Some(Place { plain, ..of_tokens(tokens) }));
            }
            let heads = Some(tokens).filter(|_| merges(&to, &from, block));
            return Ok(heads.map(|_| Place { heads, ..Place::default() }));
        }
        if !merges(&from, &to, block) {
            return Ok(None);
        }
        if let Some(heads) = place.heads {
            return Ok(Some(of_tokens(heads)));
        }
        let Some(turned) = place.turned else { return Ok(None) };
        // `[N, heads, L, d]` → `[heads, d/b, N, L, b]`.
        let [images, tokens, heads, width] = [from[0], from[1], from[2], from[3]];
        let apart = [images, heads, tokens, width / block, block];
        let y = self.e.reshape(turned, &apart)?;
        let y = self.e.transpose(y, &[1, 3, 0, 2, 4])?;
        let y = self.e.reshape(y, &[1, heads * width, 1, images * tokens])?;
        Ok(Some(of_tokens(y)))
    }

    /// Tokens and heads exchanged, `[N, L, heads, d]` ↔ `[N, heads, L, d]`.
    pub(super) fn heads_turned(
        &mut self,
        x: ValueId,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let dims = self.dims(x)?;
        let &[images, second, third, width] = &dims[..] else { return Ok(None) };
        if let Some(tokens) = self.place(x)?.heads {
            let apart = [third, width / block, images, second, block];
            let y = self.e.reshape(tokens, &apart)?;
            let y = self.e.transpose(y, &[2, 0, 3, 1, 4])?;
            return self.e.reshape(y, &[images, third, second, width]).map(|y| Some(plain(y)));
        }
        if width % block != 0 || !choose::tokens(images * third, second * width) {
            return Ok(None);
        }
        let turned = Some(self.plain(x)?);
        Ok(Some(Place { turned, ..Place::default() }))
    }

    /// Heads as ONNX has them, `dims` `[…, heads, d]`.
    pub(super) fn out_of_heads(
        &mut self,
        heads: ValueId,
        dims: &[usize],
    ) -> Result<ValueId, Problem> {
        let lies = self.e.dims(heads)?;
        let rows = self.of_blocks(heads, &lies, true)?;
        self.e.reshape(rows, dims)
    }

    /// Tokens cut along their width, if every part is whole blocks; whether they were.
    pub(super) fn split_tokens(&mut self, node: &Node, block: usize) -> Result<bool, Problem> {
        let Some(&Some(x)) = node.inputs.first() else { return Ok(false) };
        let (place, dims) = (self.place(x)?, self.dims(x)?);
        let along = crate::rules::axis(node.int("axis").unwrap_or(0), dims.len());
        let (Some(tokens), true) = (place.tokens, along + 1 == dims.len()) else {
            return Ok(false);
        };
        let mut sizes = Vec::new();
        for &output in node.outputs.iter().flatten() {
            sizes.push(self.dims(output)?[along]);
        }
        let whole = sizes.iter().all(|size| size % block == 0);
        if !whole || sizes.len() != node.outputs.len() {
            return Ok(false);
        }
        let parts = self.e.sizes(&sizes)?;
        let attributes = vec![crate::emit::attr("axis", 1i64)];
        let parts = self.e.many("Split", &[Some(tokens), Some(parts)], attributes, sizes.len())?;
        for (&output, part) in node.outputs.iter().flatten().zip(parts) {
            self.places.insert(output, of_tokens(part));
        }
        Ok(true)
    }

    /// Tokens joined along their width.
    pub(super) fn join_tokens(
        &mut self,
        node: &Node,
        block: usize,
    ) -> Result<Option<Place>, Problem> {
        let mut parts = Vec::new();
        for input in &node.inputs {
            let Some(x) = *input else { return Ok(None) };
            let (place, dims) = (self.place(x)?, self.dims(x)?);
            let along = crate::rules::axis(node.int("axis").unwrap_or(0), dims.len());
            let whole = dims.last().is_some_and(|width| width % block == 0);
            match place.tokens {
                Some(tokens) if whole && along + 1 == dims.len() => parts.push(tokens),
                _ => return Ok(None),
            }
        }
        if parts.is_empty() {
            Ok(None)
        } else {
            self.e.concat(&parts, 1).map(|y| Some(of_tokens(y)))
        }
    }
}

/// Whether `[…, heads, d]` becomes `[…, heads·d]`, d whole blocks.
fn merges(apart: &[usize], joined: &[usize], block: usize) -> bool {
    let (Some((&width, rest)), Some((&all, outer))) = (apart.split_last(), joined.split_last())
    else {
        return false;
    };
    let Some((&heads, leading)) = rest.split_last() else { return false };
    leading == outer && leading.len() == 2 && heads * width == all && width % block == 0
}
