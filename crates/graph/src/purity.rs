//! How far a graph agrees with labels, before anything is trained on it.

use thiserror::Error;

use crate::SimilarityGraph;

/// The edges of a graph that join nodes of one label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Purity {
    /// Edges whose ends have the same label.
    pub same: usize,
    /// All edges.
    pub edges: usize,
    /// The weight of the former over the weight of all, in \[0, 1\]; 0 without edges.
    pub weighted: f64,
}

impl Purity {
    /// Edge homophily: the share of edges within a label, in \[0, 1\]; 0 without edges.
    pub fn share(self) -> f64 {
        if self.edges == 0 { 0.0 } else { self.same as f64 / self.edges as f64 }
    }
}

/// Why labels and a graph cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PurityError {
    /// There are not as many labels as nodes.
    #[error("labels: expected {expected}, one per node, found {found}")]
    Count {
        /// Nodes.
        expected: usize,
        /// Labels.
        found: usize,
    },
}

/// Edge homophily of a graph under labels.
///
/// Labels that follow nothing in the graph give about Σ pᵧ² over the shares pᵧ of the labels.
///
/// - `labels`: `[n]`.
///
/// # Errors
/// [`PurityError::Count`] unless there is one label per node.
///
/// # Examples
/// ```
/// use nearkin_graph::{Engine, gaussian_knn_graph, label_purity};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0]]);
/// let graph = gaussian_knn_graph(points.view(), 1, 1.0, Engine::Auto)?;
/// assert_eq!(label_purity(&graph, &[7, 7, 8])?.share(), 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn label_purity(graph: &SimilarityGraph, labels: &[usize]) -> Result<Purity, PurityError> {
    if labels.len() != graph.len() {
        return Err(PurityError::Count { expected: graph.len(), found: labels.len() });
    }
    let mut purity = Purity { same: 0, edges: 0, weighted: 0.0 };
    let mut total = 0.0;
    for (i, j, weight) in graph.edges() {
        let weight = f64::from(weight);
        purity.edges += 1;
        total += weight;
        if labels[i] == labels[j] {
            purity.same += 1;
            purity.weighted += weight;
        }
    }
    if total > 0.0 {
        purity.weighted /= total;
    }
    Ok(purity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, gaussian_knn_graph};
    use ndarray::arr2;

    #[test]
    fn weights_favour_short_edges() {
        let points = arr2(&[[0.0], [1.0], [3.0]]);
        let graph = gaussian_knn_graph(points.view(), 1, 1.0, Engine::Auto).unwrap();
        let purity = label_purity(&graph, &[0, 0, 1]).unwrap();
        assert_eq!((purity.same, purity.edges), (1, 2));
        let expected = (-1.0_f64).exp() / ((-1.0_f64).exp() + (-4.0_f64).exp());
        assert!((purity.weighted - expected).abs() < 1e-7);
    }

    #[test]
    fn one_label_per_node_is_demanded() {
        let points = arr2(&[[0.0], [1.0]]);
        let graph = gaussian_knn_graph(points.view(), 1, 1.0, Engine::Auto).unwrap();
        let error = label_purity(&graph, &[0]).unwrap_err();
        assert_eq!(error.to_string(), "labels: expected 2, one per node, found 1");
    }
}
