//! Two graphs over the same nodes, side by side.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::graph::GraphView;

/// What two graphs share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphDifference {
    /// The number of nodes of both.
    pub nodes: usize,
    /// Arcs that both have.
    pub both: usize,
    /// Arcs that only the first has.
    pub only_first: usize,
    /// Arcs that only the second has.
    pub only_second: usize,
    /// both / (both + only first + only second), in \[0, 1\]; 1 if neither has arcs.
    pub jaccard: f64,
    /// The mean of the same quotient over single nodes' rows.
    pub mean_row_jaccard: f64,
    /// Nodes whose rows have the same targets.
    pub equal_rows: usize,
    /// The largest difference of weights of an arc that both have.
    pub largest_weight_difference: f64,
}

/// Why graphs cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompareError {
    /// They have different numbers of nodes.
    #[error("second graph: expected {expected} nodes as in the first, found {found}")]
    Nodes {
        /// Nodes of the first.
        expected: usize,
        /// Nodes of the second.
        found: usize,
    },
}

/// Compares two graphs arc by arc. O(n + m).
///
/// # Errors
/// [`CompareError::Nodes`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, compare_graphs};
/// let one = Graph::new(vec![0, 2, 2, 2], vec![1, 2], vec![1.0, 0.5], false)?;
/// let other = Graph::new(vec![0, 1, 1, 1], vec![1], vec![0.75], false)?;
/// let difference = compare_graphs(one.view(), other.view())?;
/// assert_eq!((difference.jaccard, difference.only_first), (0.5, 1));
/// assert_eq!(difference.largest_weight_difference, 0.25);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare_graphs(
    first: GraphView<'_>,
    second: GraphView<'_>,
) -> Result<GraphDifference, CompareError> {
    if first.len() != second.len() {
        return Err(CompareError::Nodes { expected: first.len(), found: second.len() });
    }
    let nodes = first.len();
    let quotient = |both: usize, all: usize| if all == 0 { 1.0 } else { both as f64 / all as f64 };
    let (mut both, mut equal_rows, mut rows, mut largest) = (0, 0, 0.0, 0.0_f64);
    for node in 0..nodes {
        let (one, other) = (first.neighbours(node), second.neighbours(node));
        let mut shared = 0;
        for (target, &weight) in one.0.iter().zip(one.1) {
            if let Ok(place) = other.0.binary_search(target) {
                shared += 1;
                largest = largest.max((f64::from(weight) - f64::from(other.1[place])).abs());
            }
        }
        let all = one.0.len() + other.0.len() - shared;
        rows += quotient(shared, all);
        equal_rows += usize::from(all == shared);
        both += shared;
    }
    let (only_first, only_second) = (first.arc_count() - both, second.arc_count() - both);
    Ok(GraphDifference {
        nodes,
        both,
        only_first,
        only_second,
        jaccard: quotient(both, both + only_first + only_second),
        mean_row_jaccard: if nodes == 0 { 1.0 } else { rows / nodes as f64 },
        equal_rows,
        largest_weight_difference: largest,
    })
}

impl GraphDifference {
    /// A table for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{name:<22}{value}");
        };
        line("nodes", self.nodes.to_string());
        line("arcs of both", self.both.to_string());
        line("only of the first", self.only_first.to_string());
        line("only of the second", self.only_second.to_string());
        line(
            "Jaccard",
            format!("{:.4}, mean over nodes {:.4}", self.jaccard, self.mean_row_jaccard),
        );
        line("equal rows", self.equal_rows.to_string());
        line("weights differ by", format!("at most {:.3e}", self.largest_weight_difference));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    fn graphs() -> impl Strategy<Value = Graph> {
        prop::collection::vec((0_u32..6, 0_u32..6, 0_u8..4), 0..20).prop_map(|list| {
            let arcs = list.into_iter().filter(|(source, target, _)| source != target);
            let arcs = arcs.map(|(source, target, w)| Arc { source, target, weight: f32::from(w) });
            Graph::from_arcs(6, arcs.collect(), Repeats::Largest).unwrap()
        })
    }

    #[test]
    fn graphs_of_different_size_are_not_compared() {
        let graph = |n: usize| Graph::new(vec![0; n + 1], vec![], vec![], true).unwrap();
        let error = compare_graphs(graph(2).view(), graph(3).view()).unwrap_err();
        assert_eq!(error.to_string(), "second graph: expected 2 nodes as in the first, found 3");
        let same = compare_graphs(graph(0).view(), graph(0).view()).unwrap();
        assert!((same.jaccard + same.mean_row_jaccard - 2.0).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_sets(a in graphs(), b in graphs()) {
            let set = |g: &Graph| {
                g.view().arcs().map(|arc| (arc.source, arc.target)).collect::<std::collections::BTreeSet<_>>()
            };
            let (x, y) = (set(&a), set(&b));
            let found = compare_graphs(a.view(), b.view()).unwrap();
            prop_assert_eq!(found.both, x.intersection(&y).count());
            prop_assert_eq!(found.only_first, x.difference(&y).count());
            prop_assert_eq!(found.only_second, y.difference(&x).count());
            let equal = (0..6).filter(|&i| a.view().neighbours(i).0 == b.view().neighbours(i).0).count();
            prop_assert_eq!(found.equal_rows, equal);
            prop_assert_eq!(found.to_text().lines().count(), 7);
        }
    }
}
