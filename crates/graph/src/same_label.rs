//! Edges between images of one class, few enough to keep.

use crate::graph::{Arc, Graph, GraphError, Repeats};
use crate::random::Stream;

/// The graph that joins points of one label, each to at most `max_neighbours` others; weights are 1.
///
/// A class of at most `max_neighbours` + 1 points is complete. A larger one becomes a circle in an order
/// drawn from `seed`, each point joined to the ⌊max/2⌋ next on either side and, for an odd cap, to one
/// opposite: every point has exactly the cap, but for one with a single edge less where both the cap and the class are
/// odd, and with 2 or more the class is connected. Cost: O(n · max_neighbours).
///
/// - `labels`: `[n]`; points without one get no edges.
///
/// # Errors
/// [`GraphError::Nodes`] for more points than 32 bits count.
///
/// # Examples
/// ```
/// use nearkin_graph::same_label_graph;
/// let graph = same_label_graph(&[Some(3), None, Some(3), Some(8), Some(3)], 2, 0)?;
/// assert_eq!(graph.view().neighbours(0).0, [2, 4]);
/// assert_eq!(graph.view().edge_count(), 3);
/// # Ok::<(), nearkin_graph::GraphError>(())
/// ```
pub fn same_label_graph(
    labels: &[Option<usize>],
    max_neighbours: usize,
    seed: u64,
) -> Result<Graph, GraphError> {
    let n = labels.len();
    if u32::try_from(n).is_err() {
        return Err(GraphError::Nodes { found: n });
    }
    let mut labelled: Vec<(usize, u32)> =
        labels.iter().zip(0..).filter_map(|(label, i)| label.map(|label| (label, i))).collect();
    labelled.sort_unstable();
    let mut arcs = Vec::new();
    for class in labelled.chunk_by(|a, b| a.0 == b.0) {
        let mut circle: Vec<u32> = class.iter().map(|&(_, i)| i).collect();
        // By label: adding a class does not change the others.
        Stream::new(seed, &[class[0].0 as u64]).shuffle(&mut circle);
        for (a, b) in chords(circle.len(), max_neighbours) {
            let (a, b) = (circle[a], circle[b]);
            arcs.push(Arc { source: a, target: b, weight: 1.0 });
            arcs.push(Arc { source: b, target: a, weight: 1.0 });
        }
    }
    let graph = Graph::from_arcs(n, arcs, Repeats::Refused)?;
    Ok(Graph { symmetric: true, ..graph })
}

/// Pairs of places on a circle of `size`, each place in at most `degree` of them.
fn chords(size: usize, degree: usize) -> Vec<(usize, usize)> {
    if size <= degree.saturating_add(1) {
        return (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b))).collect();
    }
    let near = (0..size).flat_map(|a| (1..=degree / 2).map(move |step| (a, (a + step) % size)));
    // The steps above stay below this one, since degree ≤ size − 2.
    let opposite = size / 2;
    let across = (0..opposite * (degree % 2)).map(|a| (a, a + opposite));
    near.chain(across).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_seed_decides_who_is_joined() {
        let labels = vec![Some(0); 40];
        let drawn = |seed| same_label_graph(&labels, 3, seed).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    proptest! {
        #[test]
        fn every_point_has_its_cap_and_only_its_own_class(
            labels in prop::collection::vec(prop::option::weighted(0.9, 0_usize..3), 0..50), cap in 0_usize..9,
        ) {
            let graph = same_label_graph(&labels, cap, 5).unwrap();
            let view = graph.view();
            prop_assert!(crate::GraphView::new(view.offsets(), view.targets(), view.weights(), true).is_ok());
            for class in 0..3 {
                let members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == Some(class)).collect();
                let full = cap.min(members.len().saturating_sub(1));
                let degrees: Vec<usize> = members.iter().map(|&i| view.neighbours(i).0.len()).collect();
                let short = degrees.iter().filter(|&&degree| degree != full).count();
                let odd = full % 2 == 1 && members.len() % 2 == 1;
                prop_assert_eq!(short, usize::from(odd), "{:?}", degrees);
                prop_assert!(degrees.iter().all(|&degree| degree == full || degree + 1 == full));
            }
            for arc in view.arcs() {
                prop_assert!(labels[arc.source as usize].is_some());
                prop_assert_eq!(labels[arc.source as usize], labels[arc.target as usize]);
            }
        }
    }
}
