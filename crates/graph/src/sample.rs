//! Edges for a training step, drawn by weight.
//!
//! Edges between labelled and unlabelled images are three kinds, as in Neural Graph Machines (Bui, Ravi and
//! Ramavajjala, 2017, <https://arxiv.org/abs/1703.04818>). A draw is a function of seed, epoch, step and its place in the
//! step: it needs no state, and neither resuming nor threads change it. Draws are with replacement.

use thiserror::Error;

use crate::alias::{AliasBox, alias_boxes, draw};
use crate::graph::{Arc, GraphView};
use crate::random::Stream;

/// Which of an edge's ends have a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// Both.
    Labelled,
    /// One.
    Mixed,
    /// Neither.
    Unlabelled,
}

impl EdgeKind {
    /// All kinds, in the order of [`Proportions`].
    pub const ALL: [EdgeKind; 3] = [EdgeKind::Labelled, EdgeKind::Mixed, EdgeKind::Unlabelled];

    /// The name in tables: `labelled-labelled`, `labelled-unlabelled` or `unlabelled-unlabelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            EdgeKind::Labelled => "labelled-labelled",
            EdgeKind::Mixed => "labelled-unlabelled",
            EdgeKind::Unlabelled => "unlabelled-unlabelled",
        }
    }

    /// The kind of an edge between `labelled[source]` and `labelled[target]`.
    pub fn of(source_is_labelled: bool, target_is_labelled: bool) -> Self {
        match (source_is_labelled, target_is_labelled) {
            (true, true) => EdgeKind::Labelled,
            (false, false) => EdgeKind::Unlabelled,
            _ => EdgeKind::Mixed,
        }
    }
}

/// How a step's edges are divided among the kinds: any finite numbers of at least 0, not all 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proportions {
    /// Labelled–labelled edges.
    pub labelled: f64,
    /// Labelled–unlabelled edges.
    pub mixed: f64,
    /// Unlabelled–unlabelled edges.
    pub unlabelled: f64,
}

/// Why no edges can be drawn.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SampleError {
    /// There is not one mark per node.
    #[error("labelled: expected {expected}, one per node, found {found}")]
    Count {
        /// Nodes.
        expected: usize,
        /// Marks.
        found: usize,
    },
    /// The proportions are none.
    #[error("proportions: expected finite numbers of at least 0, not all 0, found {found:?}")]
    Proportions {
        /// Labelled, mixed, unlabelled.
        found: [f64; 3],
    },
    /// Edges are asked for that the graph does not have.
    #[error("{} edges: expected some of weight above 0 for their share of {share}, found none among {edges}", kind.as_str())]
    NoEdges {
        /// Their kind.
        kind: EdgeKind,
        /// Their proportion.
        share: f64,
        /// Edges of the kind, all of weight 0.
        edges: usize,
    },
    /// An anchor is no node.
    #[error("anchor {place}: expected a node below {nodes}, found {found}")]
    Anchor {
        /// Its place in the batch.
        place: usize,
        /// Nodes.
        nodes: usize,
        /// The anchor.
        found: u32,
    },
}

/// Draws edges of the whole graph, of each kind in its proportion, by weight within a kind.
///
/// An edge of a symmetric graph counts once, from its lower node; arcs of a directed one count each. Edges of weight 0
/// are never drawn. Memory: 20 bytes an edge.
///
/// # Examples
/// ```
/// use nearkin_graph::{EdgeKind, EdgeSampler, Graph, Proportions};
/// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![1.0; 4], true)?;
/// let shares = Proportions { labelled: 0.25, mixed: 0.75, unlabelled: 0.0 };
/// let sampler = EdgeSampler::new(path.view(), &[true, true, false], shares, 7)?;
/// let (epoch, step) = (3, 41);
/// let drawn = sampler.draw(epoch, step, 8);
/// assert_eq!(drawn.iter().filter(|(kind, _)| *kind == EdgeKind::Mixed).count(), 6);
/// assert_eq!(drawn, sampler.draw(epoch, step, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EdgeSampler {
    pools: [Pool; 3],
    /// The shares of the kinds up to and with each, the last 1.
    cumulative: [f64; 3],
    seed: u64,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    edges: Vec<Arc>,
    /// Empty if there is nothing to draw.
    boxes: Vec<AliasBox>,
}

/// Streams of the two samplers differ under one seed.
const EDGES: u64 = 1;
const NEIGHBOURS: u64 = 2;

impl EdgeSampler {
    /// Sorts the edges by kind and prepares the draws. O(m).
    ///
    /// - `labelled`: `[n]`, whether a node has a label.
    /// - `proportions`: of the kinds.
    ///
    /// # Errors
    /// [`SampleError`]: counts that disagree, proportions that are none, a kind with a share but without edges.
    pub fn new(
        graph: GraphView<'_>,
        labelled: &[bool],
        proportions: Proportions,
        seed: u64,
    ) -> Result<Self, SampleError> {
        if labelled.len() != graph.len() {
            return Err(SampleError::Count { expected: graph.len(), found: labelled.len() });
        }
        let found = [proportions.labelled, proportions.mixed, proportions.unlabelled];
        let total: f64 = found.iter().sum();
        if found.iter().any(|share| *share < 0.0) || !total.is_finite() || total <= 0.0 {
            return Err(SampleError::Proportions { found });
        }
        let mut pools = [Pool::default(), Pool::default(), Pool::default()];
        let arcs = graph.arcs().filter(|arc| !graph.is_symmetric() || arc.source < arc.target);
        for arc in arcs {
            let kind = EdgeKind::of(labelled[arc.source as usize], labelled[arc.target as usize]);
            pools[kind as usize].edges.push(arc);
        }
        for ((pool, kind), share) in pools.iter_mut().zip(EdgeKind::ALL).zip(found) {
            if share > 0.0 {
                let boxes = alias_boxes(pool.edges.iter().map(|edge| edge.weight));
                let edges = pool.edges.len();
                pool.boxes = boxes.ok_or(SampleError::NoEdges { kind, share, edges })?;
            }
        }
        let [labelled, mixed, _] = found;
        let cumulative = [labelled / total, (labelled + mixed) / total, 1.0];
        Ok(Self { pools, cumulative, seed })
    }

    /// `count` edges for one step, kind by kind. O(count).
    ///
    /// Of a kind with share p there are ⌊p · count⌋ or one more, drawn so that the mean is p · count.
    pub fn draw(&self, epoch: u64, step: u64, count: usize) -> Vec<(EdgeKind, Arc)> {
        let stream = Stream::new(self.seed, &[EDGES, epoch, step]);
        let start = stream.unit(0);
        let ends = self.cumulative.map(|share| (share * count as f64 + start).floor() as usize);
        let mut drawn = Vec::with_capacity(count);
        for ((kind, pool), end) in EdgeKind::ALL.into_iter().zip(&self.pools).zip(ends) {
            while !pool.boxes.is_empty() && drawn.len() < end.min(count) {
                let place = 2 * drawn.len() as u64;
                let edge = draw(&pool.boxes, stream.at(place + 1), stream.unit(place + 2));
                drawn.push((kind, pool.edges[edge]));
            }
        }
        drawn
    }

    /// How many edges there are of each kind, drawn or not.
    pub fn counts(&self) -> [(EdgeKind, usize); 3] {
        EdgeKind::ALL.map(|kind| (kind, self.pools[kind as usize].edges.len()))
    }
}

/// Draws neighbours of given nodes, by weight.
///
/// Memory: 8 bytes an arc beside the graph's own.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, NeighbourSampler};
/// let star = Graph::new(vec![0, 2, 2, 2], vec![1, 2], vec![0.0, 1.0], false)?;
/// let sampler = NeighbourSampler::new(star.view(), 7);
/// let drawn = sampler.draw(&[0, 1], 3, 0, 0)?;
/// assert_eq!(drawn.len(), 3); // node 1 has no neighbours
/// assert!(drawn.iter().all(|arc| arc.target == 2)); // 1 has weight 0
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NeighbourSampler<'a> {
    graph: GraphView<'a>,
    /// Row by row, as the graph's arcs.
    boxes: Vec<AliasBox>,
    /// Whether a row has weight.
    drawable: Vec<bool>,
    seed: u64,
}

impl<'a> NeighbourSampler<'a> {
    /// Prepares the draws. O(n + m).
    pub fn new(graph: GraphView<'a>, seed: u64) -> Self {
        let mut boxes = Vec::with_capacity(graph.arc_count());
        let mut drawable = Vec::with_capacity(graph.len());
        for node in 0..graph.len() {
            let weights = graph.neighbours(node).1;
            let row = alias_boxes(weights.iter().copied());
            drawable.push(row.is_some());
            boxes.extend(row.unwrap_or_else(|| vec![AliasBox::NONE; weights.len()]));
        }
        Self { graph, boxes, drawable, seed }
    }

    /// `per_anchor` arcs from each anchor in turn, by weight; none from an anchor without any of weight above 0.
    ///
    /// O(1) for each. The draw depends on seed, epoch, step, and the anchor's place in the batch.
    ///
    /// # Errors
    /// [`SampleError::Anchor`] for an anchor that is no node.
    pub fn draw(
        &self,
        anchors: &[u32],
        per_anchor: usize,
        epoch: u64,
        step: u64,
    ) -> Result<Vec<Arc>, SampleError> {
        let stream = Stream::new(self.seed, &[NEIGHBOURS, epoch, step]);
        let nodes = self.graph.len();
        let mut drawn = Vec::with_capacity(anchors.len() * per_anchor);
        for (place, &source) in anchors.iter().enumerate() {
            let node = source as usize;
            if node >= nodes {
                return Err(SampleError::Anchor { place, nodes, found: source });
            }
            if !self.drawable[node] {
                continue;
            }
            let boxes = &self.boxes[self.graph.row(node)];
            let (targets, weights) = self.graph.neighbours(node);
            for column in 0..per_anchor {
                let number = 2 * (place * per_anchor + column) as u64;
                let arc = draw(boxes, stream.at(number), stream.unit(number + 1));
                drawn.push(Arc { source, target: targets[arc], weight: weights[arc] });
            }
        }
        Ok(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Repeats, Symmetry, symmetrised};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The χ² statistic of counts, and the value that one in a thousand exceeds (Wilson and Hilferty's approximation).
    fn chi_square(observed: &[usize], expected: &[f64]) -> (f64, f64) {
        let terms = observed.iter().zip(expected).filter(|(_, e)| **e > 0.0);
        let statistic = terms.clone().map(|(&o, e)| (o as f64 - e).powi(2) / e).sum();
        let freedom = terms.count() as f64 - 1.0;
        let spread = 2.0 / (9.0 * freedom);
        (statistic, freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3))
    }

    /// 30 nodes, the first 12 labelled, weights of five orders of magnitude, some of them 0.
    fn graph() -> (Graph, Vec<bool>) {
        let stream = Stream::new(3, &[]);
        let mut arcs = Vec::new();
        for source in 0..30_u32 {
            for target in source + 1..30 {
                let place = u64::from(source * 30 + target);
                if stream.unit(2 * place) < 0.25 {
                    let weight = (10.0 * stream.unit(2 * place + 1)).exp() as f32;
                    arcs.push(Arc {
                        source,
                        target,
                        weight: if weight < 2.0 { 0.0 } else { weight },
                    });
                }
            }
        }
        let graph = Graph::from_arcs(30, arcs, Repeats::Refused).unwrap();
        (symmetrised(graph.view(), Symmetry::Max), (0..30).map(|node| node < 12).collect())
    }

    const SHARES: Proportions = Proportions { labelled: 2.0, mixed: 3.0, unlabelled: 5.0 };

    #[test]
    fn edges_of_each_kind_come_as_often_as_their_weights_say() {
        let (graph, labelled) = graph();
        let sampler = EdgeSampler::new(graph.view(), &labelled, SHARES, 11).unwrap();
        let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        let (mut kinds, steps, batch) = ([0; 3], 4000, 37);
        for step in 0..steps {
            let drawn = sampler.draw(step / 100, step % 100, batch);
            assert_eq!(drawn.len(), batch);
            for (kind, share) in EdgeKind::ALL.into_iter().zip([0.2, 0.3, 0.5]) {
                let of_kind = drawn.iter().filter(|(k, _)| *k == kind).count();
                assert!((of_kind as f64 - share * batch as f64).abs() < 1.0);
                kinds[kind as usize] += of_kind;
            }
            for (_, edge) in drawn {
                *counts.entry((edge.source, edge.target)).or_default() += 1;
            }
        }
        for (kind, share) in EdgeKind::ALL.into_iter().zip([0.2, 0.3, 0.5]) {
            let mean = kinds[kind as usize] as f64 / steps as f64;
            assert!((mean - share * batch as f64).abs() < 0.03, "{mean} edges of {kind:?}");
            let is_kind = |arc: &Arc| {
                EdgeKind::of(labelled[arc.source as usize], labelled[arc.target as usize]) == kind
            };
            let edges: Vec<Arc> = graph.view().edges().filter(is_kind).collect();
            assert_eq!(sampler.counts()[kind as usize], (kind, edges.len()));
            let total: f64 = edges.iter().map(|edge| f64::from(edge.weight)).sum();
            let expected: Vec<f64> = edges
                .iter()
                .map(|e| f64::from(e.weight) / total * kinds[kind as usize] as f64)
                .collect();
            let seen = |e: &Arc| counts.get(&(e.source, e.target)).copied().unwrap_or(0);
            let observed: Vec<usize> = edges.iter().map(seen).collect();
            let (statistic, limit) = chi_square(&observed, &expected);
            assert!(statistic < limit, "{kind:?}: χ² {statistic}, expected below {limit}");
            let weightless = edges.iter().filter(|edge| edge.weight <= 0.0);
            assert!(weightless.map(seen).all(|count| count == 0));
        }
    }

    #[test]
    fn neighbours_come_as_often_as_their_weights_say() {
        let (graph, _) = graph();
        let sampler = NeighbourSampler::new(graph.view(), 5);
        let anchors: Vec<u32> = (0..30).chain(0..30).collect();
        let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for step in 0..2000 {
            for arc in sampler.draw(&anchors, 2, 0, step).unwrap() {
                *counts.entry((arc.source, arc.target)).or_default() += 1;
            }
        }
        // All rows in one statistic: a row of one neighbour has no freedom.
        let (mut sum, mut freedom) = (0.0, 0.0);
        for node in 0..30_usize {
            let (targets, weights) = graph.view().neighbours(node);
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (&target, &weight) in targets.iter().zip(weights) {
                let seen = counts.get(&(node as u32, target)).copied().unwrap_or(0);
                let expected = 8000.0 * f64::from(weight) / total;
                assert!(expected > 0.0 || seen == 0);
                if expected > 1.0 {
                    sum += (seen as f64 - expected).powi(2) / expected;
                    freedom += 1.0;
                }
            }
            freedom -= 1.0;
        }
        let deviation: f64 = (sum - freedom) / (2.0_f64 * freedom).sqrt();
        assert!(deviation.abs() < 3.3, "χ² {sum} of {freedom} degrees of freedom");
    }

    #[test]
    fn draws_depend_on_seed_epoch_step_and_place_alone() {
        let (graph, labelled) = graph();
        let sampler = |seed| EdgeSampler::new(graph.view(), &labelled, SHARES, seed).unwrap();
        let whole = sampler(1).draw(2, 3, 64);
        assert_ne!(whole, sampler(2).draw(2, 3, 64));
        assert_ne!(whole, sampler(1).draw(3, 2, 64));
        let one = sampler(1);
        let threads: Vec<_> = std::thread::scope(|scope| {
            let draw =
                |_| scope.spawn(|| (0..9).map(|step| one.draw(2, step, 64)).collect::<Vec<_>>());
            (0..4).map(draw).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(threads.iter().all(|drawn| drawn[3] == whole && *drawn == threads[0]));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let (graph, labelled) = graph();
        let refused = |labelled: &[bool], shares| {
            EdgeSampler::new(graph.view(), labelled, shares, 0).unwrap_err().to_string()
        };
        assert_eq!(refused(&[true], SHARES), "labelled: expected 30, one per node, found 1");
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            let shares = Proportions { labelled: bad, ..SHARES };
            assert!(refused(&labelled, shares).starts_with("proportions: expected finite numbers"));
        }
        let none = Proportions { labelled: 0.0, mixed: 0.0, unlabelled: 0.0 };
        assert!(refused(&labelled, none).starts_with("proportions"));
        assert_eq!(
            refused(&[true; 30], SHARES),
            "labelled-unlabelled edges: expected some of weight above 0 for their share of 3, found none among 0"
        );
        let error = NeighbourSampler::new(graph.view(), 0).draw(&[0, 30], 1, 0, 0).unwrap_err();
        assert_eq!(error.to_string(), "anchor 1: expected a node below 30, found 30");
    }

    proptest! {
        #[test]
        fn every_drawn_edge_is_the_graphs_and_of_its_kind(
            count in 0_usize..50, epoch in 0_u64..9, step in 0_u64..9, seed in any::<u64>(),
        ) {
            let (graph, labelled) = graph();
            let sampler = EdgeSampler::new(graph.view(), &labelled, SHARES, seed).unwrap();
            let drawn = sampler.draw(epoch, step, count);
            prop_assert_eq!(drawn.len(), count);
            for (kind, edge) in drawn {
                let (source, target) = (edge.source as usize, edge.target as usize);
                prop_assert_eq!(graph.view().weight(source, target), Some(edge.weight));
                prop_assert_eq!(EdgeKind::of(labelled[source], labelled[target]), kind);
            }
        }
    }
}
