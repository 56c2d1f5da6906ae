//! Graphs from graphs: made symmetric, joined, intersected, thinned.

use crate::graph::{Arc, Graph, GraphError, GraphView, is_weight};

/// What becomes of an edge that its two ends weigh differently, or that only one of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symmetry {
    /// The weight that is there; of two, their mean.
    Union,
    /// The larger; a missing arc counts as 0. NSL's `add_undirected_edges`.
    Max,
    /// (wᵢⱼ + wⱼᵢ)/2, a missing arc counting as 0.
    Mean,
}

/// The undirected graph of all edges that either end has. O(n + m log degree).
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, Symmetry, symmetrised};
/// let one_way = Graph::from_arcs(2, vec![Arc { source: 0, target: 1, weight: 0.5 }], Repeats::Refused)?;
/// let weight = |rule| symmetrised(one_way.view(), rule).view().weight(1, 0);
/// assert_eq!(weight(Symmetry::Union), Some(0.5));
/// assert_eq!(weight(Symmetry::Mean), Some(0.25));
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn symmetrised(graph: GraphView<'_>, rule: Symmetry) -> Graph {
    with_reverse(graph, |forth, back| {
        Some(match (rule, forth, back) {
            (Symmetry::Union, Some(w), None) | (Symmetry::Union, None, Some(w)) => w,
            (Symmetry::Max, a, b) => a.unwrap_or(0.0).max(b.unwrap_or(0.0)),
            (_, a, b) => middle(a.unwrap_or(0.0), b.unwrap_or(0.0)),
        })
    })
}

/// The undirected graph of the edges that both ends have; weights are the mean of the two. O(n + m log degree).
///
/// Of a graph of nearest neighbours: the mutual ones.
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, mutual};
/// let arc = |source, target, weight| Arc { source, target, weight };
/// let arcs = vec![arc(0, 1, 1.0), arc(1, 0, 0.5), arc(1, 2, 1.0)];
/// let graph = mutual(Graph::from_arcs(3, arcs, Repeats::Refused)?.view());
/// assert_eq!(graph.view().edge_count(), 1);
/// assert_eq!(graph.view().weight(0, 1), Some(0.75));
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn mutual(graph: GraphView<'_>) -> Graph {
    with_reverse(graph, |forth, back| Some(middle(forth?, back?)))
}

/// The mean; halves are added, so that no sum overflows.
fn middle(a: f32, b: f32) -> f32 {
    a / 2.0 + b / 2.0
}

/// A symmetric graph of `weight(w_ij, w_ji)`, which must be symmetric itself.
fn with_reverse(
    graph: GraphView<'_>,
    weight: impl Fn(Option<f32>, Option<f32>) -> Option<f32>,
) -> Graph {
    let mut arcs = Vec::with_capacity(2 * graph.arc_count());
    for Arc { source, target, weight: forth } in graph.arcs() {
        let back = graph.weight(target as usize, source as usize);
        if let Some(weight) = weight(Some(forth), back) {
            arcs.push(Arc { source, target, weight });
            if back.is_none() {
                arcs.push(Arc { source: target, target: source, weight });
            }
        }
    }
    gather(graph.len(), arcs, true)
}

/// A graph of arcs that are known to be sound.
fn gather(n: usize, mut arcs: Vec<Arc>, symmetric: bool) -> Graph {
    arcs.sort_unstable_by_key(|arc| (arc.source, arc.target));
    let mut offsets = vec![0_u64; n + 1];
    arcs.iter().for_each(|arc| offsets[arc.source as usize + 1] += 1);
    (0..n).for_each(|i| offsets[i + 1] += offsets[i]);
    let targets = arcs.iter().map(|arc| arc.target).collect();
    let weights = arcs.iter().map(|arc| arc.weight).collect();
    Graph { offsets, targets, weights, symmetric }
}

/// Why graphs cannot be combined.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CombineError {
    /// There are no graphs.
    #[error("graphs: expected at least 1, found none")]
    Empty,
    /// Two graphs have different numbers of nodes.
    #[error("graph {graph}: expected {expected} nodes as in the first, found {found}")]
    Nodes {
        /// Its place in the list, from 0.
        graph: usize,
        /// Nodes of the first.
        expected: usize,
        /// Its nodes.
        found: usize,
    },
    /// A graph's factor is negative or not finite.
    #[error("graph {graph}: expected a finite factor of at least 0, found {found}")]
    Factor {
        /// Its place in the list, from 0.
        graph: usize,
        /// The factor.
        found: f32,
    },
    /// A weighted sum overflows.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// There is not one part per node.
    #[error("parts: expected {expected}, one per node, found {found}")]
    Parts {
        /// Nodes.
        expected: usize,
        /// Parts.
        found: usize,
    },
}

/// All arcs of any of the graphs; their weights are Σ factor · weight over the graphs that have them.
///
/// Symmetric if all the graphs are. O(m log m) for m arcs together.
///
/// - `graphs`: each with its factor, finite, at least 0; over the same nodes.
///
/// # Errors
/// [`CombineError`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, union};
/// let edge = |target, weight| Graph::from_arcs(3, vec![Arc { source: 0, target, weight }], Repeats::Refused);
/// let (near, clicked) = (edge(1, 0.5)?, edge(2, 1.0)?);
/// let both = union(&[(near.view(), 1.0), (clicked.view(), 0.25)])?;
/// assert_eq!(both.view().neighbours(0), ([1, 2].as_slice(), [0.5, 0.25].as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn union(graphs: &[(GraphView<'_>, f32)]) -> Result<Graph, CombineError> {
    combined(graphs, 1)
}

/// The arcs that all the graphs have; their weights are Σ factor · weight. Otherwise as [`union`].
///
/// # Errors
/// As [`union`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, intersection};
/// let edge = |target, weight| Graph::from_arcs(3, vec![Arc { source: 0, target, weight }], Repeats::Refused);
/// let (a, b, c) = (edge(1, 0.5)?, edge(1, 1.0)?, edge(2, 1.0)?);
/// assert_eq!(intersection(&[(a.view(), 1.0), (b.view(), 0.5)])?.view().weights(), [1.0]);
/// assert_eq!(intersection(&[(a.view(), 1.0), (c.view(), 1.0)])?.view().arc_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn intersection(graphs: &[(GraphView<'_>, f32)]) -> Result<Graph, CombineError> {
    combined(graphs, graphs.len())
}

/// Arcs that at least `wanted` of the graphs have.
fn combined(graphs: &[(GraphView<'_>, f32)], wanted: usize) -> Result<Graph, CombineError> {
    let Some(expected) = graphs.first().map(|(graph, _)| graph.len()) else {
        return Err(CombineError::Empty);
    };
    for (place, &(graph, factor)) in graphs.iter().enumerate() {
        if graph.len() != expected {
            return Err(CombineError::Nodes { graph: place, expected, found: graph.len() });
        }
        if !is_weight(factor) {
            return Err(CombineError::Factor { graph: place, found: factor });
        }
    }
    let mut arcs = Vec::new();
    let mut row: Vec<(u32, f64)> = Vec::new();
    for source in 0..expected {
        row.clear();
        for &(graph, factor) in graphs {
            let (targets, weights) = graph.neighbours(source);
            let weights = weights.iter().map(|&w| f64::from(factor) * f64::from(w));
            row.extend(targets.iter().copied().zip(weights));
        }
        // Stable: weights are added in the order of the graphs.
        row.sort_by_key(|&(target, _)| target);
        for same in row.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() >= wanted) {
            let weight = same.iter().map(|&(_, w)| w).sum::<f64>() as f32;
            arcs.push(Arc { source: source as u32, target: same[0].0, weight });
        }
    }
    let symmetric = graphs.iter().all(|(graph, _)| graph.is_symmetric());
    Ok(Graph::from_sorted(expected, &arcs, symmetric)?)
}

/// At most `max_neighbours` arcs from each node: the heaviest, ties by lower index. O(m log m).
///
/// A symmetric graph stays so, and every node keeps at most that many edges: edges are taken from the heaviest
/// down while both their ends have room (a greedy b-matching), so that a hub's many light edges
/// go first. Of a directed graph each row is cut for itself: NSL's `max_nbrs`.
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, capped};
/// let arc = |target, weight| Arc { source: 0, target, weight };
/// let arcs = vec![arc(1, 0.1), arc(2, 0.9), arc(3, 0.5)];
/// let graph = capped(Graph::from_arcs(4, arcs, Repeats::Refused)?.view(), 2);
/// assert_eq!(graph.view().neighbours(0).0, [2, 3]);
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn capped(graph: GraphView<'_>, max_neighbours: usize) -> Graph {
    let mut edges: Vec<Arc> =
        if graph.is_symmetric() { graph.edges().collect() } else { graph.arcs().collect() };
    edges.sort_unstable_by(|a, b| {
        b.weight.total_cmp(&a.weight).then((a.source, a.target).cmp(&(b.source, b.target)))
    });
    let mut room = vec![max_neighbours; graph.len()];
    let mut kept = Vec::new();
    for edge in edges {
        let (source, target) = (edge.source as usize, edge.target as usize);
        if room[source] == 0 || (graph.is_symmetric() && room[target] == 0) {
            continue;
        }
        room[source] -= 1;
        kept.push(edge);
        if graph.is_symmetric() {
            room[target] -= 1;
            kept.push(Arc { source: edge.target, target: edge.source, weight: edge.weight });
        }
    }
    gather(graph.len(), kept, graph.is_symmetric())
}

/// Only the arcs whose two ends are in the same part. O(n + m).
///
/// The guard against leakage: with parts for training and test images, no edge pulls a training image
/// towards a test image. How many arcs went is the difference of the counts.
///
/// - `parts`: `[n]`, any numbers.
///
/// # Errors
/// [`CombineError::Parts`] unless there is one part per node.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, within_parts};
/// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![1.0; 4], true)?;
/// let (train, test) = (0, 1);
/// let guarded = within_parts(path.view(), &[train, train, test])?;
/// assert_eq!(guarded.view().edge_count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn within_parts(graph: GraphView<'_>, parts: &[usize]) -> Result<Graph, CombineError> {
    if parts.len() != graph.len() {
        return Err(CombineError::Parts { expected: graph.len(), found: parts.len() });
    }
    let inside = |arc: &Arc| parts[arc.source as usize] == parts[arc.target as usize];
    let arcs = graph.arcs().filter(inside).collect();
    Ok(gather(graph.len(), arcs, graph.is_symmetric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repeats;
    use proptest::prelude::*;

    const N: usize = 7;

    fn graphs() -> impl Strategy<Value = Graph> {
        prop::collection::vec((0..N as u32, 0..N as u32, 0_u8..8), 0..50).prop_map(|list| {
            let arcs = list.into_iter().filter(|(source, target, _)| source != target);
            let arcs = arcs.map(|(source, target, w)| Arc { source, target, weight: f32::from(w) });
            Graph::from_arcs(N, arcs.collect(), Repeats::Largest).unwrap()
        })
    }

    /// Looks at every pair of nodes, and at the graph by the rules of a new one.
    fn check(graph: &Graph, expected: impl Fn(usize, usize) -> Option<f32>) {
        GraphView::new(&graph.offsets, &graph.targets, &graph.weights, graph.symmetric).unwrap();
        for i in 0..N {
            for j in 0..N {
                assert_eq!(graph.view().weight(i, j), expected(i, j), "{i} -> {j}");
            }
        }
    }

    #[test]
    fn graphs_that_do_not_fit_together_are_refused() {
        let (two, three) = (
            Graph::new(vec![0; 3], vec![], vec![], true).unwrap(),
            Graph::new(vec![0; 4], vec![], vec![], true).unwrap(),
        );
        assert_eq!(union(&[]).unwrap_err(), CombineError::Empty);
        let error = union(&[(two.view(), 1.0), (three.view(), 1.0)]).unwrap_err();
        assert_eq!(error.to_string(), "graph 1: expected 2 nodes as in the first, found 3");
        for found in [-1.0, f32::NAN, f32::INFINITY] {
            let error = intersection(&[(two.view(), found)]).unwrap_err();
            assert!(matches!(error, CombineError::Factor { graph: 0, .. }));
        }
        let error = within_parts(two.view(), &[0]).unwrap_err();
        assert_eq!(error.to_string(), "parts: expected 2, one per node, found 1");
    }

    proptest! {
        #[test]
        fn symmetric_graphs_follow_their_rule_on_every_pair(graph in graphs()) {
            let view = graph.view();
            for rule in [Symmetry::Union, Symmetry::Max, Symmetry::Mean] {
                check(&symmetrised(view, rule), |i, j| match (view.weight(i, j), view.weight(j, i)) {
                    (None, None) => None,
                    (Some(a), Some(b)) if rule == Symmetry::Max => Some(a.max(b)),
                    (Some(a), Some(b)) => Some((a + b) / 2.0),
                    (Some(w), None) | (None, Some(w)) if rule == Symmetry::Mean => Some(w / 2.0),
                    (Some(w), None) | (None, Some(w)) => Some(w),
                });
            }
            let both = mutual(view);
            prop_assert!(both.view().is_symmetric());
            check(&both, |i, j| Some((view.weight(i, j)? + view.weight(j, i)?) / 2.0));
        }

        #[test]
        fn unions_and_intersections_add_what_is_there(a in graphs(), b in graphs()) {
            let (x, y) = (a.view(), b.view());
            check(&union(&[(x, 2.0), (y, 0.5)]).unwrap(), |i, j| match (x.weight(i, j), y.weight(i, j)) {
                (None, None) => None,
                (v, w) => Some(2.0 * v.unwrap_or(0.0) + 0.5 * w.unwrap_or(0.0)),
            });
            check(&intersection(&[(x, 2.0), (y, 0.5)]).unwrap(), |i, j| {
                Some(2.0 * x.weight(i, j)? + 0.5 * y.weight(i, j)?)
            });
        }

        #[test]
        fn a_cap_keeps_the_heaviest_of_each_row(graph in graphs(), cap in 0_usize..5) {
            let view = graph.view();
            check(&capped(view, cap), |i, j| {
                let weight = view.weight(i, j)?;
                let (targets, weights) = view.neighbours(i);
                let before = |(&t, &w): (&u32, &f32)| w > weight || (w >= weight && (t as usize) < j);
                (targets.iter().zip(weights).filter(|&pair| before(pair)).count() < cap).then_some(weight)
            });
        }

        #[test]
        fn a_capped_symmetric_graph_has_no_room_for_an_edge_it_left_out(graph in graphs(), cap in 1_usize..4) {
            let whole = symmetrised(graph.view(), Symmetry::Max);
            let thin = capped(whole.view(), cap);
            let kept = |i: usize, j: usize| thin.view().weight(i, j);
            check(&thin, |i, j| whole.view().weight(i, j).filter(|_| kept(i, j).is_some()));
            for edge in whole.view().edges() {
                let (i, j) = (edge.source as usize, edge.target as usize);
                // The lightest that an end kept, if it is full.
                let full = |i: usize| {
                    let weights = thin.view().neighbours(i).1;
                    (weights.len() == cap).then(|| weights.iter().copied().fold(f32::MAX, f32::min))
                };
                prop_assert!(thin.view().neighbours(i).0.len() <= cap);
                let outdone = |i| full(i).is_some_and(|lightest| lightest >= edge.weight);
                prop_assert!(kept(i, j).is_some() || outdone(i) || outdone(j));
            }
        }

        #[test]
        fn the_guard_leaves_exactly_the_arcs_within_parts(
            graph in graphs(), parts in prop::collection::vec(0_usize..3, N),
        ) {
            let guarded = within_parts(graph.view(), &parts).unwrap();
            check(&guarded, |i, j| graph.view().weight(i, j).filter(|_| parts[i] == parts[j]));
        }
    }
}
