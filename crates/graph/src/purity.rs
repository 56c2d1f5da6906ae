//! How far a graph agrees with labels.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::graph::GraphView;

/// How many arcs stay within a label. Only arcs with two labelled ends count.
///
/// An edge of a symmetric graph is two arcs, so shares of edges are the same as shares of arcs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purity {
    /// Arcs whose ends have the same label.
    pub same: usize,
    /// Arcs whose ends have a label.
    pub arcs: usize,
    /// Edge homophily, `same / arcs`, in \[0, 1\]; 0 without arcs.
    pub share: f64,
    /// The weight of the former over the weight of the latter, in \[0, 1\]; 0 without weight.
    pub weighted: f64,
    /// What `share` would be on average if labels had nothing to do with the graph: Σ p² over the labels' shares p of
    /// labelled nodes.
    pub chance: f64,
    /// For each label, in rising order.
    pub classes: Vec<ClassPurity>,
}

/// Where the arcs of one label's nodes lead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassPurity {
    /// The label.
    pub label: usize,
    /// Nodes that have it.
    pub nodes: usize,
    /// Arcs from them to labelled nodes.
    pub arcs: usize,
    /// The share of those that stays within the label, in \[0, 1\]; 0 without arcs.
    pub share: f64,
    /// The share of them that leads to each label, `[classes]`, in the order of [`Purity::classes`].
    pub to: Vec<f64>,
}

/// Why labels and a graph cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PurityError {
    /// There is not one label, or none, per node.
    #[error("labels: expected {expected}, one per node, found {found}")]
    Count {
        /// Nodes.
        expected: usize,
        /// Labels.
        found: usize,
    },
}

/// Edge homophily of a graph under labels, also for each label. O(m log classes + classes²).
///
/// - `labels`: `[n]`; `None` for a node without.
///
/// # Errors
/// [`PurityError::Count`] unless there is one label, or none, per node.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, label_purity};
/// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![1.0, 1.0, 3.0, 3.0], true)?;
/// let purity = label_purity(path.view(), &[Some(7), Some(7), Some(8)])?;
/// assert_eq!((purity.share, purity.weighted), (0.5, 0.25));
/// assert_eq!(purity.classes[0].to, [2.0 / 3.0, 1.0 / 3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn label_purity(graph: GraphView<'_>, labels: &[Option<usize>]) -> Result<Purity, PurityError> {
    if labels.len() != graph.len() {
        return Err(PurityError::Count { expected: graph.len(), found: labels.len() });
    }
    let mut known: Vec<usize> = labels.iter().copied().flatten().collect();
    known.sort_unstable();
    let groups: Vec<&[usize]> = known.chunk_by(|a, b| a == b).collect();
    let place = |label: usize| groups.binary_search_by_key(&label, |group| group[0]).ok();
    let class_of: Vec<Option<usize>> = labels.iter().map(|label| place((*label)?)).collect();
    let mut counts = vec![vec![0_usize; groups.len()]; groups.len()];
    let (mut weight, mut weight_within) = (0.0, 0.0);
    for arc in graph.arcs() {
        let ends = (class_of[arc.source as usize], class_of[arc.target as usize]);
        if let (Some(from), Some(to)) = ends {
            counts[from][to] += 1;
            weight += f64::from(arc.weight);
            weight_within += if from == to { f64::from(arc.weight) } else { 0.0 };
        }
    }
    let share = |part: usize, all: usize| if all == 0 { 0.0 } else { part as f64 / all as f64 };
    let classes: Vec<ClassPurity> = groups
        .iter()
        .zip(&counts)
        .enumerate()
        .map(|(own, (group, row))| {
            let arcs = row.iter().sum();
            let to = row.iter().map(|&count| share(count, arcs)).collect();
            let (label, nodes) = (group[0], group.len());
            ClassPurity { label, nodes, arcs, share: share(row[own], arcs), to }
        })
        .collect();
    let arcs = classes.iter().map(|class| class.arcs).sum();
    let same = (0..groups.len()).map(|class| counts[class][class]).sum();
    Ok(Purity {
        same,
        arcs,
        share: share(same, arcs),
        weighted: if weight > 0.0 { weight_within / weight } else { 0.0 },
        chance: groups.iter().map(|group| share(group.len(), known.len()).powi(2)).sum(),
        classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    #[test]
    fn one_label_per_node_is_demanded() {
        let graph = Graph::new(vec![0, 0, 0], vec![], vec![], true).unwrap();
        let error = label_purity(graph.view(), &[None]).unwrap_err();
        assert_eq!(error.to_string(), "labels: expected 2, one per node, found 1");
        let purity = label_purity(graph.view(), &[None, None]).unwrap();
        assert_eq!((purity.arcs, purity.classes.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn every_share_is_what_counting_pairs_gives(
            list in prop::collection::vec((0_u32..8, 0_u32..8, 0_u8..9), 0..50),
            labels in prop::collection::vec(prop::option::weighted(0.8, 3_usize..6), 8),
        ) {
            let arcs = list.into_iter().filter(|(source, target, _)| source != target);
            let arcs = arcs.map(|(source, target, w)| Arc { source, target, weight: f32::from(w) });
            let graph = Graph::from_arcs(8, arcs.collect(), Repeats::Largest).unwrap();
            let purity = label_purity(graph.view(), &labels).unwrap();
            let label = |node: u32| labels[node as usize];
            let between = |a: usize, b: usize| {
                let arcs = graph.view().arcs();
                arcs.filter(|arc| (label(arc.source), label(arc.target)) == (Some(a), Some(b))).count()
            };
            let between = &between;
            let from = |a: usize| (3..6).map(|b| between(a, b)).sum::<usize>();
            for class in &purity.classes {
                prop_assert_eq!(class.arcs, from(class.label));
                for (other, &share) in purity.classes.iter().zip(&class.to) {
                    let expected = between(class.label, other.label) as f64 / class.arcs.max(1) as f64;
                    prop_assert!((share - expected).abs() < 1e-12);
                }
            }
            prop_assert_eq!(purity.same, (3..6).map(|a| between(a, a)).sum::<usize>());
            prop_assert_eq!(purity.arcs, (3..6).map(from).sum::<usize>());
        }
    }
}
