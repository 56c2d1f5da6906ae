//! What to know of a graph before training on it.

use std::fmt::Write as _;

use ndarray::ArrayView2;
use nearkin_metrics::{Distance, DistanceError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::graph::GraphView;
use crate::histogram::Histogram;
use crate::purity::{Purity, PurityError, label_purity};

/// Counts, degrees, components, hubs, and how far labels agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphStatistics {
    /// The number of nodes n.
    pub nodes: usize,
    /// Pairs of nodes joined in one direction or both.
    pub edges: usize,
    /// Stored arcs.
    pub arcs: usize,
    /// Whether the graph was made as a symmetric one.
    pub symmetric: bool,
    /// Arcs without their reverse.
    pub one_way_arcs: usize,
    /// Nodes without any edge.
    pub isolated: usize,
    /// Parts that no edge joins, isolated nodes included.
    pub components: usize,
    /// Nodes of the largest part.
    pub largest_component: usize,
    /// The number of edges of a node, in either direction: their mean.
    pub mean_degree: f64,
    /// How many nodes have how many edges: (degree, nodes), by degree.
    pub degrees: Vec<(usize, usize)>,
    /// Who is chosen how often.
    pub hubs: Hubs,
    /// The weights of arcs; `None` without arcs.
    pub weights: Option<Histogram>,
    /// The lengths of edges; `None` unless they were given.
    pub lengths: Option<Histogram>,
    /// Agreement with labels; `None` unless they were given.
    pub purity: Option<Purity>,
}

/// k-occurrence: how often nodes are the target of arcs. Radovanović, Nanopoulos and Ivanović, 2010, "Hubs in Space",
/// <https://www.jmlr.org/papers/v11/radovanovic10a.html>.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hubs {
    /// E (N − μ)³ / σ³ of the in-degrees N; 0 if all are equal. Above 1 a few nodes are neighbours of very many.
    pub skewness: f64,
    /// Nodes that no arc leads to.
    pub never_chosen: usize,
    /// The ten most chosen, (node, in-degree), ties by index.
    pub most_chosen: Vec<(usize, usize)>,
}

/// How many bins weights and lengths are shown in.
const BINS: usize = 20;

/// Measures a graph. O(n + m log degree).
///
/// - `labels`: `[n]`, for [`GraphStatistics::purity`].
/// - `lengths`: of edges, for their histogram: see [`edge_lengths`].
///
/// # Errors
/// [`PurityError`] unless there is one label, or none, per node.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, graph_statistics};
/// let path = Graph::new(vec![0, 1, 3, 4, 4], vec![1, 0, 2, 1], vec![1.0; 4], true)?;
/// let statistics = graph_statistics(path.view(), None, None)?;
/// assert_eq!((statistics.edges, statistics.isolated, statistics.components), (2, 1, 2));
/// assert_eq!(statistics.degrees, [(0, 1), (1, 2), (2, 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn graph_statistics(
    graph: GraphView<'_>,
    labels: Option<&[Option<usize>]>,
    lengths: Option<&[f32]>,
) -> Result<GraphStatistics, PurityError> {
    let purity = labels.map(|labels| label_purity(graph, labels)).transpose()?;
    let n = graph.len();
    let mut chosen = vec![0_usize; n];
    graph.targets().iter().for_each(|&target| chosen[target as usize] += 1);
    let mutual: Vec<usize> = (0..n)
        .into_par_iter()
        .map(|node| {
            let (targets, _) = graph.neighbours(node);
            if graph.is_symmetric() {
                return targets.len();
            }
            targets.iter().filter(|&&t| graph.weight(t as usize, node).is_some()).count()
        })
        .collect();
    let degree = |node: usize| graph.row(node).len() + chosen[node] - mutual[node];
    let mut degrees: Vec<usize> = (0..n).map(degree).collect();
    degrees.sort_unstable();
    let edges = degrees.iter().sum::<usize>() / 2;
    let sizes = components(graph);
    Ok(GraphStatistics {
        nodes: n,
        edges,
        arcs: graph.arc_count(),
        symmetric: graph.is_symmetric(),
        one_way_arcs: graph.arc_count() - mutual.iter().sum::<usize>(),
        isolated: degrees.iter().take_while(|&&degree| degree == 0).count(),
        components: sizes.len(),
        largest_component: sizes.first().copied().unwrap_or(0),
        mean_degree: if n == 0 { 0.0 } else { 2.0 * edges as f64 / n as f64 },
        degrees: degrees.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect(),
        hubs: hubs(&chosen),
        weights: Histogram::new(graph.weights(), BINS),
        lengths: lengths.and_then(|lengths| Histogram::new(lengths, BINS)),
        purity,
    })
}

fn hubs(chosen: &[usize]) -> Hubs {
    let n = chosen.len().max(1) as f64;
    let mean = chosen.iter().sum::<usize>() as f64 / n;
    let moment = |power| chosen.iter().map(|&c| (c as f64 - mean).powi(power)).sum::<f64>() / n;
    let variance = moment(2);
    let mut order: Vec<(usize, usize)> = chosen.iter().copied().enumerate().collect();
    order.sort_unstable_by_key(|&(node, count)| (std::cmp::Reverse(count), node));
    order.truncate(10);
    Hubs {
        skewness: if variance > 0.0 { moment(3) / variance.powf(1.5) } else { 0.0 },
        never_chosen: chosen.iter().filter(|&&count| count == 0).count(),
        most_chosen: order,
    }
}

/// Sizes of the parts that no arc joins, largest first. O(n + m α(n)).
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, components};
/// let graph = Graph::new(vec![0, 1, 1, 1], vec![1], vec![1.0], false)?;
/// assert_eq!(components(graph.view()), [2, 1]);
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn components(graph: GraphView<'_>) -> Vec<usize> {
    let mut parents: Vec<u32> = (0..graph.len() as u32).collect();
    for arc in graph.arcs() {
        let (a, b) = (root(&mut parents, arc.source), root(&mut parents, arc.target));
        // The lower index stays: no order of arcs matters, and paths stay short by halving.
        parents[a.max(b) as usize] = a.min(b);
    }
    let mut sizes = vec![0; graph.len()];
    for node in 0..graph.len() as u32 {
        sizes[root(&mut parents, node) as usize] += 1;
    }
    sizes.retain(|&size| size > 0);
    sizes.sort_unstable_by_key(|&size| std::cmp::Reverse(size));
    sizes
}

fn root(parents: &mut [u32], mut node: u32) -> u32 {
    while parents[node as usize] != node {
        let above = parents[parents[node as usize] as usize];
        parents[node as usize] = above;
        node = above;
    }
    node
}

/// The distance between the ends of every edge, in the order of [`GraphView::edges`]. O(m d).
///
/// - `points`: `[n, d]`, finite.
///
/// # Errors
/// [`DistanceError::Width`] if there is not a point for each node; [`DistanceError::NotFinite`] with its row.
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Graph, edge_lengths};
/// let graph = Graph::new(vec![0, 0, 1], vec![0], vec![1.0], false)?;
/// let points = ndarray::arr2(&[[0.0, 0.0], [3.0, 4.0]]);
/// assert_eq!(edge_lengths(graph.view(), points.view(), Distance::Euclidean)?, [5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn edge_lengths(
    graph: GraphView<'_>,
    points: ArrayView2<'_, f32>,
    distance: Distance,
) -> Result<Vec<f32>, DistanceError> {
    if points.nrows() != graph.len() {
        return Err(DistanceError::Width { expected: graph.len(), found: points.nrows() });
    }
    if let Some(((row, column), &found)) = points.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(DistanceError::NotFinite { input: "points", row, column, found });
    }
    let (rows, d) = (points.as_standard_layout(), points.ncols());
    // Row-major by construction: the slice is there.
    let values = rows.as_slice().unwrap_or_default();
    let row = |node: u32| &values[node as usize * d..(node as usize + 1) * d];
    let length = |rank| distance.of_rank(rank) as f32;
    Ok(graph.edges().map(|e| length(distance.rank(row(e.source), row(e.target)))).collect())
}

impl GraphStatistics {
    /// A table for a terminal, with a line for each finding.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let share = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
        let mut line = |name: &str, value: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{name:<22}{value}");
        };
        line("nodes", self.nodes.to_string());
        let kind = if self.symmetric { "undirected" } else { "directed" };
        line("edges", format!("{} ({kind}, {} arcs)", self.edges, self.arcs));
        let one_way = share(self.one_way_arcs, self.arcs);
        line("one-way arcs", format!("{} ({one_way:.1} %)", self.one_way_arcs));
        let (lowest, highest) = (self.degrees.first(), self.degrees.last());
        if let (Some((lowest, _)), Some((highest, _))) = (lowest, highest) {
            line("degree", format!("{lowest} to {highest}, mean {:.2}", self.mean_degree));
        }
        line("isolated", format!("{} ({:.1} %)", self.isolated, share(self.isolated, self.nodes)));
        let largest = share(self.largest_component, self.nodes);
        line("components", format!("{}, the largest {largest:.1} % of nodes", self.components));
        line(
            "hubs",
            format!("skewness {:.2}, {} never chosen", self.hubs.skewness, self.hubs.never_chosen),
        );
        let most = self.hubs.most_chosen.iter().map(|(node, count)| format!("{node} ({count})"));
        line("most chosen", most.collect::<Vec<_>>().join(", "));
        for (name, histogram) in [("weights", &self.weights), ("edge lengths", &self.lengths)] {
            if let Some(h) = histogram {
                line(
                    name,
                    format!("{:.4} to {:.4}, mean {:.4}  {}", h.min, h.max, h.mean, h.sparkline()),
                );
            }
        }
        if let Some(purity) = &self.purity {
            line(
                "label purity",
                format!(
                    "{:.4}, by weight {:.4}, by chance {:.4}",
                    purity.share, purity.weighted, purity.chance
                ),
            );
            for class in &purity.classes {
                let name = format!("  label {}", class.label);
                line(
                    &name,
                    format!("{:.4} of {} arcs, {} nodes", class.share, class.arcs, class.nodes),
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    const N: usize = 9;

    fn graphs() -> impl Strategy<Value = Graph> {
        prop::collection::vec((0..N as u32, 0..N as u32), 0..24).prop_map(|list| {
            let arcs = list.into_iter().filter(|(source, target)| source != target);
            let arcs = arcs.map(|(source, target)| Arc { source, target, weight: 1.0 });
            Graph::from_arcs(N, arcs.collect(), Repeats::Largest).unwrap()
        })
    }

    #[test]
    fn a_star_is_a_hub() {
        let arcs = (1..6).map(|source| Arc { source, target: 0, weight: 0.5 }).collect();
        let graph = Graph::from_arcs(7, arcs, Repeats::Refused).unwrap();
        let statistics = graph_statistics(graph.view(), None, None).unwrap();
        // In-degrees 5 0 0 0 0 0 0: μ = 5/7; scipy.stats.skew gives 2.0412.
        assert!((statistics.hubs.skewness - 2.041_241).abs() < 1e-5);
        assert_eq!(statistics.hubs.never_chosen, 6);
        assert_eq!(statistics.hubs.most_chosen[..2], [(0, 5), (1, 0)]);
        assert_eq!(statistics.one_way_arcs, 5);
        let text = statistics.to_text();
        assert!(text.contains("components            2, the largest 85.7 % of nodes"), "{text}");
    }

    #[test]
    fn statistics_survive_json() {
        let graph = Graph::new(vec![0, 1, 2], vec![1, 0], vec![0.5; 2], true).unwrap();
        let labels = [Some(0), Some(1)];
        let statistics = graph_statistics(graph.view(), Some(&labels), Some(&[2.0])).unwrap();
        let json = serde_json::to_string(&statistics).unwrap();
        assert_eq!(serde_json::from_str::<GraphStatistics>(&json).unwrap(), statistics);
        assert!(statistics.to_text().contains("label purity          0.0000"));
    }

    #[test]
    fn a_graph_without_nodes_has_statistics() {
        let graph = Graph::new(vec![0], vec![], vec![], true).unwrap();
        let statistics = graph_statistics(graph.view(), Some(&[]), Some(&[])).unwrap();
        assert_eq!((statistics.components, &statistics.weights), (0, &None));
        assert!(!statistics.to_text().contains("NaN"));
    }

    #[test]
    fn points_that_do_not_fit_the_graph_have_no_lengths() {
        let graph = Graph::new(vec![0, 1, 2], vec![1, 0], vec![0.5; 2], true).unwrap();
        let of = |points: &ndarray::Array2<f32>| {
            edge_lengths(graph.view(), points.view(), Distance::Cosine)
        };
        assert!(matches!(of(&ndarray::arr2(&[[1.0]])), Err(DistanceError::Width { .. })));
        let error = of(&ndarray::arr2(&[[1.0], [f32::NAN]])).unwrap_err();
        assert!(error.to_string().starts_with("points, row 1, column 0"), "{error}");
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_matrix(graph in graphs()) {
            let view = graph.view();
            let statistics = graph_statistics(view, None, None).unwrap();
            let mut joined = [[false; N]; N];
            for arc in view.arcs() {
                joined[arc.source as usize][arc.target as usize] = true;
                joined[arc.target as usize][arc.source as usize] = true;
            }
            let degree = |i: usize| joined[i].iter().filter(|&&there| there).count();
            let total: usize = (0..N).map(degree).sum();
            prop_assert_eq!(statistics.edges, total / 2);
            prop_assert_eq!(statistics.edges, view.edge_count());
            prop_assert_eq!(statistics.isolated, (0..N).filter(|&i| degree(i) == 0).count());
            for &(of, nodes) in &statistics.degrees {
                prop_assert_eq!(nodes, (0..N).filter(|&i| degree(i) == of).count());
            }
            let one_way = view.arcs().filter(|a| view.weight(a.target as usize, a.source as usize).is_none());
            prop_assert_eq!(statistics.one_way_arcs, one_way.count());
            // Components by Warshall's closure.
            let mut reach = joined;
            (0..N).for_each(|i| reach[i][i] = true);
            for k in 0..N {
                for i in 0..N {
                    for j in 0..N {
                        reach[i][j] |= reach[i][k] && reach[k][j];
                    }
                }
            }
            let firsts = (0..N).filter(|&i| (0..i).all(|j| !reach[i][j]));
            let mut sizes: Vec<usize> = firsts.map(|i| reach[i].iter().filter(|&&r| r).count()).collect();
            sizes.sort_unstable_by_key(|&size| std::cmp::Reverse(size));
            prop_assert_eq!(components(view), sizes);
        }
    }
}
