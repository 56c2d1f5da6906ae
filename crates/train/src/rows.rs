//! Which images and edges make up which step: a function of seed and step alone, so that a training
//! that is resumed sees what it would have seen.

use nearkin_data::RandomState;
use nearkin_graph::{EdgeKind, EdgeSampler, GraphView, NeighbourSampler, Proportions, SampleError};

use crate::error::TrainError;
use crate::objective::Rows;
use crate::recipe::{GraphRecipe, Sampling};

/// What a step is fed, by index into the training part.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRows {
    /// Images: labelled ones first, then what edges need, as many in every step.
    pub images: Vec<usize>,
    /// How many of them are there for their labels.
    pub labelled: usize,
    /// Rows of the first ends, `[E]`.
    pub u: Vec<i64>,
    /// Rows of the second ends, `[E]`.
    pub v: Vec<i64>,
    /// Weights, `[E]`; 0 pads.
    pub w: Vec<f32>,
    /// For each edge, a row that is pushed away from its first end.
    pub far: Vec<i64>,
}

/// Draws the rows of steps.
pub struct RowPlan<'a> {
    labelled: Vec<usize>,
    edges: Option<Edges<'a>>,
    rows: Rows,
    per_epoch: u64,
    seed: u64,
}

enum Edges<'a> {
    Whole(EdgeSampler),
    Neighbours(NeighbourSampler<'a>),
}

impl<'a> RowPlan<'a> {
    /// Prepares the draws.
    ///
    /// - `labels`: whether each training image has a label that may be used.
    /// - `graph`: over the training images; needed if `recipe` is there.
    /// - `batch`: labelled images in a step; fewer if there are not so many.
    ///
    /// # Errors
    /// [`TrainError::Data`]: no labelled image, a graph of another number of images;
    /// [`TrainError::Edges`]: a kind of edges that the graph lacks.
    pub fn new(
        labels: &[bool],
        graph: Option<(GraphView<'a>, &GraphRecipe)>,
        batch: usize,
        per_epoch: u64,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let labelled: Vec<usize> = (0..labels.len()).filter(|&i| labels[i]).collect();
        if labelled.is_empty() {
            return Err(TrainError::Data {
                what: "training part",
                expected: "at least one labelled image".to_owned(),
                found: format!("{} images without a label", labels.len()),
            });
        }
        let rows = Self::shape(labelled.len(), batch, graph.map(|(_, recipe)| recipe)).0;
        let edges = match graph {
            None => None,
            Some((view, recipe)) => {
                if view.len() != labels.len() {
                    return Err(TrainError::Data {
                        what: "graph",
                        expected: format!("{} nodes, one for each training image", labels.len()),
                        found: format!("{} nodes", view.len()),
                    });
                }
                Some(match recipe.sampling {
                    Sampling::Edges => {
                        let shares = by_weight(view, labels);
                        Edges::Whole(EdgeSampler::new(view, labels, shares, seed)?)
                    }
                    Sampling::Kinds(labelled, mixed, unlabelled) => {
                        let shares = Proportions { labelled, mixed, unlabelled };
                        Edges::Whole(EdgeSampler::new(view, labels, shares, seed)?)
                    }
                    Sampling::Neighbours => Edges::Neighbours(NeighbourSampler::new(view, seed)),
                })
            }
        };
        Ok(Self { labelled, edges, rows, per_epoch: per_epoch.max(1), seed })
    }

    /// Labelled rows and edges of every step, and its images: they do not depend on the graph.
    ///
    /// - `labelled`: labelled images in all.
    pub(crate) fn shape(
        labelled: usize,
        batch: usize,
        recipe: Option<&GraphRecipe>,
    ) -> (Rows, usize) {
        let count = batch.min(labelled).max(1);
        let (edges, further) = match recipe.map(|recipe| (recipe.sampling, recipe.edges)) {
            None => (0, 0),
            Some((Sampling::Neighbours, edges)) => {
                let edges = edges.div_ceil(count) * count;
                (edges, edges)
            }
            Some((_, edges)) => (edges, 2 * edges),
        };
        (Rows { labelled: count, edges, further }, count + further)
    }

    /// The rows of step `step`, counted from 0 over the whole training.
    ///
    /// # Errors
    /// [`SampleError`] never for a plan that was made.
    pub fn step(&self, step: u64) -> Result<StepRows, SampleError> {
        let count = self.rows.labelled;
        let mut images = self.labelled_of(step, count);
        let (epoch, within) = (step / self.per_epoch, step % self.per_epoch);
        let (mut u, mut v, mut w) = (Vec::new(), Vec::new(), Vec::new());
        match &self.edges {
            None => {}
            Some(Edges::Whole(sampler)) => {
                for (_, arc) in sampler.draw(epoch, within, self.rows.edges) {
                    for (side, node) in [(&mut u, arc.source), (&mut v, arc.target)] {
                        side.push(images.len() as i64);
                        images.push(node as usize);
                    }
                    w.push(1.0);
                }
            }
            Some(Edges::Neighbours(sampler)) => {
                let each = self.rows.edges / count;
                let anchors: Vec<u32> = images.iter().map(|&image| image as u32).collect();
                for (row, anchor) in anchors.iter().enumerate() {
                    // An anchor without neighbours keeps its place, with edges of weight 0.
                    let seed_step = within.wrapping_mul(1 << 20).wrapping_add(row as u64);
                    let drawn = sampler.draw(&[*anchor], each, epoch, seed_step)?;
                    for place in 0..each {
                        let arc = drawn.get(place);
                        u.push(row as i64);
                        v.push(images.len() as i64);
                        w.push(if arc.is_some() { 1.0 } else { 0.0 });
                        images.push(arc.map_or(*anchor, |arc| arc.target) as usize);
                    }
                }
            }
        }
        let far = self.far(step, &v);
        Ok(StepRows { images, labelled: count, u, v, w, far })
    }

    /// Images `step·count ..` of an endless row of permutations.
    fn labelled_of(&self, step: u64, count: usize) -> Vec<usize> {
        let n = self.labelled.len() as u64;
        let start = step * count as u64;
        let mut images = Vec::with_capacity(count);
        let mut cycle = None;
        for position in start..start + count as u64 {
            let wanted = position / n;
            if cycle.as_ref().is_none_or(|(number, _)| *number != wanted) {
                let order =
                    RandomState::new(mixed(self.seed, wanted)).permutation(self.labelled.clone());
                cycle = Some((wanted, order));
            }
            if let Some((_, order)) = &cycle {
                images.push(order[(position % n) as usize]);
            }
        }
        images
    }

    /// The second ends in another order: rows that are hardly ever neighbours of the first.
    fn far(&self, step: u64, v: &[i64]) -> Vec<i64> {
        if v.is_empty() {
            return Vec::new();
        }
        RandomState::new(mixed(self.seed ^ 0x5eed, step)).permutation(v.to_vec())
    }
}

/// A 32-bit seed of two numbers: the finaliser of SplitMix64.
fn mixed(seed: u64, number: u64) -> u32 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

/// The kinds in the proportion of their weights, so that every edge is drawn by its own.
fn by_weight(view: GraphView<'_>, labelled: &[bool]) -> Proportions {
    let mut shares = Proportions { labelled: 0.0, mixed: 0.0, unlabelled: 0.0 };
    for arc in view.arcs() {
        let (source, target) = (arc.source as usize, arc.target as usize);
        // An edge of a symmetric graph is stored in both directions.
        if view.is_symmetric() && source > target {
            continue;
        }
        let weight = f64::from(arc.weight);
        match EdgeKind::of(labelled[source], labelled[target]) {
            EdgeKind::Labelled => shares.labelled += weight,
            EdgeKind::Mixed => shares.mixed += weight,
            EdgeKind::Unlabelled => shares.unlabelled += weight,
        }
    }
    shares
}
