//! Where training drops values at random; inference drops nothing, so no operator is built for it.

use crate::scope::{Builder, Scope, Value};
use nearkin_onnx::{Graph, ValueId};

/// A value that training multiplies by a random mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropSite {
    /// Its name in the graph.
    pub value: String,
    /// Name of the node for which alone it is masked; none if it is for all that read it.
    pub reader: Option<String>,
    /// What is dropped.
    pub kind: DropKind,
}

/// What a [`DropSite`] drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// The whole branch of an image: stochastic depth. Huang et al., 2016,
    /// <https://arxiv.org/abs/1603.09382>.
    Path {
        /// The block, counted from 0 in order of execution.
        block: usize,
        /// Blocks that drop a branch, at least 1.
        blocks: usize,
    },
    /// Each element on its own. Srivastava et al., 2014,
    /// <https://jmlr.org/papers/v15/srivastava14a.html>.
    Elements,
}

impl DropSite {
    /// The share that is dropped here, by timm's rule: branches from 0 in the first block linearly
    /// to `drop_path` in the last, elements `drop_rate` everywhere.
    ///
    /// ```
    /// use nearkin_nn::{DropKind, DropSite};
    /// let kind = DropKind::Path { block: 2, blocks: 5 };
    /// let site = DropSite { value: "layer1.1.bn2".into(), reader: None, kind };
    /// assert_eq!(site.rate(0.5, 0.0), 0.25);
    /// ```
    pub fn rate(&self, drop_path: f32, drop_rate: f32) -> f32 {
        match self.kind {
            DropKind::Path { blocks: 0 | 1, .. } => 0.0,
            DropKind::Path { block, blocks } => drop_path * block as f32 / (blocks - 1) as f32,
            DropKind::Elements => drop_rate,
        }
    }
}

/// A mark of the builder; values are named when the graph is finished.
pub(crate) struct Mark {
    value: ValueId,
    reader: Option<String>,
    /// Path of the block whose branch is dropped; none for elements.
    block: Option<String>,
}

impl Scope {
    /// Marks `x`, the output of a residual branch of this block, as what training drops as a whole.
    ///
    /// Branches that are marked in one scope belong to one block and share its rate.
    pub fn drop_path(&self, x: Value) -> Value {
        self.mark_drop(x, None, Some(self.path_of("")))
    }

    /// Marks `x` as what training drops elements of.
    pub fn dropout(&self, x: Value) -> Value {
        self.mark_drop(x, None, None)
    }

    /// The same for the layer `reader` alone.
    pub(crate) fn dropout_before(&self, x: Value, reader: &str) {
        self.mark_drop(x, Some(self.path_of(reader)), None);
    }

    fn mark_drop(&self, x: Value, reader: Option<String>, block: Option<String>) -> Value {
        if let Value(Some(value)) = x {
            self.builder().borrow_mut().drops.push(Mark { value, reader, block });
        }
        x
    }
}

impl Builder {
    /// The marks by the names of the finished graph, in order of building.
    pub(crate) fn drop_sites(drops: &[Mark], graph: &Graph) -> Vec<DropSite> {
        let mut blocks: Vec<&str> = Vec::new();
        for block in drops.iter().filter_map(|mark| mark.block.as_deref()) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        let place = |path: &str| blocks.iter().position(|block| *block == path).unwrap_or_default();
        let site = |mark: &Mark| DropSite {
            value: graph.value(mark.value).name.clone(),
            reader: mark.reader.clone(),
            kind: mark.block.as_deref().map_or(DropKind::Elements, |path| DropKind::Path {
                block: place(path),
                blocks: blocks.len(),
            }),
        };
        drops.iter().map(site).collect()
    }
}
