//! Weighted graphs as compressed rows, checked once.
//!
//! Directed unless [`GraphView::is_symmetric`] says otherwise; no loops, no repeated arcs, no negative
//! weights. What an arc *means* is the constructor's matter, not this module's.

use std::borrow::Cow;

use thiserror::Error;

/// A directed weighted graph on nodes 0 to n − 1, as compressed rows.
///
/// Each row's targets rise strictly and leave out the node itself; weights are finite and at
/// least 0. A graph that was made symmetric knows it: then every edge is stored from both of its ends, with
/// one weight. Algorithms take a [`GraphView`], which a graph on disk has as well.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) offsets: Vec<u64>,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) symmetric: bool,
}

/// A graph that someone else holds: a [`Graph`] in memory or a [`crate::GraphFile`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphView<'a> {
    offsets: &'a [u64],
    targets: &'a [u32],
    weights: &'a [f32],
    symmetric: bool,
}

/// A weighted arc.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc {
    /// Where it begins.
    pub source: u32,
    /// Where it ends.
    pub target: u32,
    /// Its weight, finite, at least 0.
    pub weight: f32,
}

/// What two arcs with the same ends become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeats {
    /// One arc, with the larger weight: the rule of NSL's `add_edge`.
    Largest,
    /// One arc, with the sum of the weights.
    Sum,
    /// An error.
    Refused,
}

/// Why arrays are no graph.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GraphError {
    /// Nodes are numbered in 32 bits.
    #[error("nodes: expected at most {expected}, found {found}", expected = u32::MAX)]
    Nodes {
        /// Number of nodes.
        found: usize,
    },
    /// The rows do not cover the arcs in order.
    #[error("offsets, place {place}: expected {expected}, found {found}")]
    Offsets {
        /// Index into the offsets.
        place: usize,
        /// What would have been right.
        expected: String,
        /// The offset.
        found: u64,
    },
    /// There are not as many weights as targets.
    #[error("weights: expected {expected}, one per target, found {found}")]
    Weights {
        /// Targets.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// An arc leads out of the graph.
    #[error("arc {source_node} -> {target}: expected nodes below {nodes}")]
    Outside {
        /// Its source.
        source_node: u32,
        /// Its target.
        target: u32,
        /// Number of nodes.
        nodes: usize,
    },
    /// An arc ends where it begins.
    #[error("node {node}: expected no arc to itself")]
    Loop {
        /// The node.
        node: u32,
    },
    /// An arc is there twice, or a row's targets do not rise.
    #[error("arc {source_node} -> {target}: expected once and in rising order of targets")]
    Order {
        /// Its source.
        source_node: u32,
        /// Its target.
        target: u32,
    },
    /// A weight is negative, infinite or not a number.
    #[error("arc {source_node} -> {target}: expected a finite weight of at least 0, found {found}")]
    Weight {
        /// Its source.
        source_node: u32,
        /// Its target.
        target: u32,
        /// The weight.
        found: f32,
    },
    /// A graph said to be symmetric is not.
    #[error("arc {source_node} -> {target}: expected its reverse with weight {weight}, found {}", reverse.map_or("none".to_owned(), |w| w.to_string()))]
    Asymmetric {
        /// Its source.
        source_node: u32,
        /// Its target.
        target: u32,
        /// Its weight.
        weight: f32,
        /// The weight of the reverse arc, where there is one.
        reverse: Option<f32>,
    },
}

impl Graph {
    /// Takes compressed rows and checks them. Cost: O(n + m), O(m log degree) if symmetric.
    ///
    /// - `offsets`: `[n + 1]`, from 0 to m, not falling: row i is `offsets[i]..offsets[i + 1]`.
    /// - `targets`, `weights`: `[m]`.
    /// - `symmetric`: whether the graph equals its transpose; checked.
    ///
    /// # Errors
    /// [`GraphError`], with the first place that is wrong.
    ///
    /// # Examples
    /// ```
    /// use nearkin_graph::Graph;
    /// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![0.5, 0.5, 1.0, 1.0], true)?;
    /// assert_eq!(path.view().edge_count(), 2);
    /// assert!(Graph::new(vec![0, 1], vec![0], vec![1.0], false).is_err()); // a loop
    /// # Ok::<(), nearkin_graph::GraphError>(())
    /// ```
    pub fn new(
        offsets: Vec<u64>,
        targets: Vec<u32>,
        weights: Vec<f32>,
        symmetric: bool,
    ) -> Result<Self, GraphError> {
        GraphView::new(&offsets, &targets, &weights, symmetric)?;
        Ok(Self { offsets, targets, weights, symmetric })
    }

    /// Sorts arcs into a graph of `n` nodes; loops are refused. Cost: O(n + m log m).
    ///
    /// # Errors
    /// [`GraphError`]; [`GraphError::Order`] for a repeated arc under [`Repeats::Refused`].
    ///
    /// # Examples
    /// ```
    /// use nearkin_graph::{Arc, Graph, Repeats};
    /// let arc = |weight| Arc { source: 1, target: 0, weight };
    /// let graph = Graph::from_arcs(2, vec![arc(0.25), arc(0.5)], Repeats::Largest)?;
    /// assert_eq!(graph.view().weight(1, 0), Some(0.5));
    /// # Ok::<(), nearkin_graph::GraphError>(())
    /// ```
    pub fn from_arcs(n: usize, mut arcs: Vec<Arc>, repeats: Repeats) -> Result<Self, GraphError> {
        if u32::try_from(n).is_err() {
            return Err(GraphError::Nodes { found: n });
        }
        for &Arc { source, target, weight: found } in &arcs {
            if source.max(target) as usize >= n {
                return Err(GraphError::Outside { source_node: source, target, nodes: n });
            }
            if !is_weight(found) {
                return Err(GraphError::Weight { source_node: source, target, found });
            }
        }
        // By weight too, so that a sum does not depend on the order of the input.
        arcs.sort_unstable_by(|a, b| {
            (a.source, a.target).cmp(&(b.source, b.target)).then(a.weight.total_cmp(&b.weight))
        });
        let mut merged: Vec<Arc> = Vec::with_capacity(arcs.len());
        for arc in arcs {
            match merged.last_mut() {
                Some(last) if (last.source, last.target) == (arc.source, arc.target) => {
                    match repeats {
                        Repeats::Largest => last.weight = last.weight.max(arc.weight),
                        Repeats::Sum => last.weight += arc.weight,
                        Repeats::Refused => {
                            let (source_node, target) = (arc.source, arc.target);
                            return Err(GraphError::Order { source_node, target });
                        }
                    }
                }
                _ => merged.push(arc),
            }
        }
        Self::from_sorted(n, &merged, false)
    }

    /// From arcs in order, without repeats.
    pub(crate) fn from_sorted(n: usize, arcs: &[Arc], symmetric: bool) -> Result<Self, GraphError> {
        let mut offsets = vec![0_u64; n + 1];
        arcs.iter().for_each(|arc| offsets[arc.source as usize + 1] += 1);
        (0..n).for_each(|i| offsets[i + 1] += offsets[i]);
        let targets = arcs.iter().map(|arc| arc.target).collect();
        let weights = arcs.iter().map(|arc| arc.weight).collect();
        Self::new(offsets, targets, weights, symmetric)
    }

    /// The graph to read.
    pub fn view(&self) -> GraphView<'_> {
        GraphView {
            offsets: &self.offsets,
            targets: &self.targets,
            weights: &self.weights,
            symmetric: self.symmetric,
        }
    }
}

pub(crate) fn is_weight(weight: f32) -> bool {
    weight.is_finite() && weight >= 0.0
}

impl<'a> GraphView<'a> {
    /// Looks at compressed rows after checking them, as [`Graph::new`] does.
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn new(
        offsets: &'a [u64],
        targets: &'a [u32],
        weights: &'a [f32],
        symmetric: bool,
    ) -> Result<Self, GraphError> {
        check_offsets(offsets, targets.len() as u64)?;
        if targets.len() != weights.len() {
            return Err(GraphError::Weights { expected: targets.len(), found: weights.len() });
        }
        let view = Self { offsets, targets, weights, symmetric };
        view.check_rows()?;
        if symmetric {
            view.check_symmetry()?;
        }
        Ok(view)
    }

    /// A view of rows that were checked before.
    pub(crate) fn trusted(
        offsets: &'a [u64],
        targets: &'a [u32],
        weights: &'a [f32],
        symmetric: bool,
    ) -> Self {
        Self { offsets, targets, weights, symmetric }
    }

    fn check_rows(self) -> Result<(), GraphError> {
        let nodes = self.len();
        for source_node in 0..nodes as u32 {
            let (targets, weights) = self.neighbours(source_node as usize);
            let mut last = None;
            for (&target, &found) in targets.iter().zip(weights) {
                if target as usize >= nodes {
                    return Err(GraphError::Outside { source_node, target, nodes });
                }
                if target == source_node {
                    return Err(GraphError::Loop { node: target });
                }
                if last.is_some_and(|last| last >= target) {
                    return Err(GraphError::Order { source_node, target });
                }
                if !is_weight(found) {
                    return Err(GraphError::Weight { source_node, target, found });
                }
                last = Some(target);
            }
        }
        Ok(())
    }

    fn check_symmetry(self) -> Result<(), GraphError> {
        for Arc { source: source_node, target, weight } in self.arcs() {
            let reverse = self.weight(target as usize, source_node as usize);
            if reverse.is_none_or(|reverse| reverse.to_bits() != weight.to_bits()) {
                return Err(GraphError::Asymmetric { source_node, target, weight, reverse });
            }
        }
        Ok(())
    }

    /// The number of nodes n.
    pub fn len(self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no nodes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the graph was made, and checked, as one where every arc has its reverse, of the same weight.
    pub fn is_symmetric(self) -> bool {
        self.symmetric
    }

    /// The number of stored arcs; of a symmetric graph twice the number of edges.
    pub fn arc_count(self) -> usize {
        self.targets.len()
    }

    /// The number of edges: pairs of nodes that are joined in one direction or both. O(m log degree).
    pub fn edge_count(self) -> usize {
        if self.symmetric { self.arc_count() / 2 } else { self.edges().count() }
    }

    /// Where each row begins, and the end: `[n + 1]`.
    pub fn offsets(self) -> &'a [u64] {
        self.offsets
    }

    /// The target of each arc, row by row.
    pub fn targets(self) -> &'a [u32] {
        self.targets
    }

    /// The weight of each arc, row by row.
    pub fn weights(self) -> &'a [f32] {
        self.weights
    }

    /// Where in [`GraphView::targets`] the arcs of `node` are.
    ///
    /// # Panics
    /// If `node` is not below [`GraphView::len`].
    pub fn row(self, node: usize) -> std::ops::Range<usize> {
        self.offsets[node] as usize..self.offsets[node + 1] as usize
    }

    /// The nodes that arcs lead to from `node`, rising, and the weights of these arcs.
    ///
    /// # Panics
    /// If `node` is not below [`GraphView::len`].
    pub fn neighbours(self, node: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.row(node);
        (&self.targets[range.clone()], &self.weights[range])
    }

    /// The weight of the arc from `source` to `target`, if there is one. O(log degree).
    ///
    /// # Panics
    /// If `source` is not below [`GraphView::len`].
    pub fn weight(self, source: usize, target: usize) -> Option<f32> {
        let (targets, weights) = self.neighbours(source);
        let place = targets.binary_search(&u32::try_from(target).ok()?).ok()?;
        Some(weights[place])
    }

    /// All arcs, by source and then by target.
    pub fn arcs(self) -> impl Iterator<Item = Arc> + 'a {
        (0..self.len()).flat_map(move |source| {
            let (targets, weights) = self.neighbours(source);
            targets.iter().zip(weights).map(move |(&target, &weight)| Arc {
                source: source as u32,
                target,
                weight,
            })
        })
    }

    /// Every joined pair once: the arc from the lower node, or the only one there is.
    pub fn edges(self) -> impl Iterator<Item = Arc> + 'a {
        self.arcs().filter(move |arc| {
            let (source, target) = (arc.source as usize, arc.target as usize);
            source < target || (!self.symmetric && self.weight(target, source).is_none())
        })
    }

    /// A copy to own.
    pub fn to_graph(self) -> Graph {
        Graph {
            offsets: self.offsets.to_vec(),
            targets: self.targets.to_vec(),
            weights: self.weights.to_vec(),
            symmetric: self.symmetric,
        }
    }
}

fn check_offsets(offsets: &[u64], arcs: u64) -> Result<(), GraphError> {
    let wrong = |place: usize, expected: Cow<'_, str>, found| {
        Err(GraphError::Offsets { place, expected: expected.into_owned(), found })
    };
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return wrong(0, "0".into(), 0);
    };
    if u32::try_from(offsets.len() - 1).is_err() {
        return Err(GraphError::Nodes { found: offsets.len() - 1 });
    }
    if first != 0 {
        return wrong(0, "0".into(), first);
    }
    if let Some(place) = (1..offsets.len()).find(|&i| offsets[i] < offsets[i - 1]) {
        return wrong(place, format!("at least {}", offsets[place - 1]).into(), offsets[place]);
    }
    if last != arcs {
        let expected = format!("{arcs}, the number of targets");
        return wrong(offsets.len() - 1, expected.into(), last);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(offsets: &[u64], targets: &[u32], weights: &[f32], symmetric: bool) -> String {
        GraphView::new(offsets, targets, weights, symmetric).unwrap_err().to_string()
    }

    #[test]
    fn every_broken_rule_is_named_with_its_place() {
        assert_eq!(refused(&[], &[], &[], false), "offsets, place 0: expected 0, found 0");
        assert_eq!(refused(&[1, 1], &[], &[], false), "offsets, place 0: expected 0, found 1");
        assert_eq!(
            refused(&[0, 2, 1], &[1], &[1.0], false),
            "offsets, place 2: expected at least 2, found 1"
        );
        assert_eq!(
            refused(&[0, 2], &[1], &[1.0], false),
            "offsets, place 1: expected 1, the number of targets, found 2"
        );
        assert_eq!(
            refused(&[0, 1, 1], &[1], &[], false),
            "weights: expected 1, one per target, found 0"
        );
        assert_eq!(refused(&[0, 1, 1], &[2], &[1.0], false), "arc 0 -> 2: expected nodes below 2");
        assert_eq!(refused(&[0, 0, 1], &[1], &[1.0], false), "node 1: expected no arc to itself");
        assert_eq!(
            refused(&[0, 2, 2], &[1, 1], &[1.0, 1.0], false),
            "arc 0 -> 1: expected once and in rising order of targets"
        );
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(
                refused(&[0, 1, 1], &[1], &[bad], false).contains("a finite weight of at least 0")
            );
        }
        assert_eq!(
            refused(&[0, 1, 1], &[1], &[1.0], true),
            "arc 0 -> 1: expected its reverse with weight 1, found none"
        );
        assert_eq!(
            refused(&[0, 1, 2], &[1, 0], &[1.0, 2.0], true),
            "arc 0 -> 1: expected its reverse with weight 1, found 2"
        );
    }

    #[test]
    fn a_graph_without_nodes_is_a_graph() {
        let graph = Graph::from_arcs(0, Vec::new(), Repeats::Refused).unwrap();
        assert!(graph.view().is_empty());
        assert_eq!(graph.view().arcs().count(), 0);
    }

    proptest! {
        #[test]
        fn arcs_in_any_order_make_the_graph_that_a_matrix_says(
            list in prop::collection::vec((0_u32..8, 0_u32..8, 0_u8..9), 0..60),
        ) {
            let arcs: Vec<Arc> = list
                .iter()
                .filter(|(source, target, _)| source != target)
                .map(|&(source, target, w)| Arc { source, target, weight: f32::from(w) })
                .collect();
            let largest = Graph::from_arcs(8, arcs.clone(), Repeats::Largest).unwrap();
            let sum = Graph::from_arcs(8, arcs.clone(), Repeats::Sum).unwrap();
            let mut joined = 0;
            for i in 0..8_u32 {
                for j in 0..8_u32 {
                    let own: Vec<f32> = arcs
                        .iter()
                        .filter(|arc| (arc.source, arc.target) == (i, j))
                        .map(|arc| arc.weight)
                        .collect();
                    let (i, j) = (i as usize, j as usize);
                    prop_assert_eq!(largest.view().weight(i, j), own.iter().copied().reduce(f32::max));
                    prop_assert_eq!(sum.view().weight(i, j), own.iter().copied().reduce(|a, b| a + b));
                    let back = largest.view().weight(j, i);
                    joined += usize::from(i < j && (!own.is_empty() || back.is_some()));
                }
            }
            prop_assert_eq!(largest.view().edge_count(), joined);
            prop_assert_eq!(largest.view().arcs().count(), largest.view().arc_count());
        }
    }
}
