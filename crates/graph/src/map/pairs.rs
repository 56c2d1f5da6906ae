//! The two kinds of pairs that shape a map: edges, which attract, and sampled others, which repel.

use nearkin_metrics::Neighbours;

use super::config::MapError;
use super::random::Random;

/// Two nodes that belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// One end.
    pub source: usize,
    /// The other end; the order is of no importance.
    pub target: usize,
    /// How much the ends attract each other, finite and at least 0.
    pub weight: f32,
}

/// The edges of a k-nearest-neighbour graph, with weight 1 for each choice.
///
/// Where i and j chose each other the edge comes twice, and so counts 2, as in PyMDE.
///
/// - returns: n · k edges, in the order of `neighbours`.
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Engine, map, nearest_neighbours};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0]]);
/// let near = nearest_neighbours(points.view(), 1, Distance::Euclidean, Engine::Auto)?;
/// let edges = map::neighbour_edges(&near);
/// assert_eq!((edges[2].source, edges[2].target), (2, 1));
/// # Ok::<(), nearkin_graph::NeighbourError>(())
/// ```
pub fn neighbour_edges(neighbours: &Neighbours) -> Vec<Edge> {
    let edge = |((source, _), &target)| Edge { source, target, weight: 1.0 };
    neighbours.indices.indexed_iter().map(edge).collect()
}

/// Two nodes, the lower first.
pub(super) type Pair = (u32, u32);

/// Checks edges and merges what joins the same nodes: weights add up, loops and weights of 0 go.
///
/// - returns: pairs in rising order, and their weights.
pub(super) fn merge(nodes: usize, edges: &[Edge]) -> Result<(Vec<Pair>, Vec<f32>), MapError> {
    let mut all = Vec::with_capacity(edges.len());
    for (index, &Edge { source, target, weight }) in edges.iter().enumerate() {
        let found = source.max(target);
        if found >= nodes {
            return Err(MapError::Node { edge: index, nodes, found });
        }
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(MapError::Weight { edge: index, found: weight });
        }
        if source != target && weight > 0.0 {
            all.push((source.min(target) as u32, found as u32, weight));
        }
    }
    // Weights take part in the order, so that their sum does not depend on that of the edges.
    all.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    let same = all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
    Ok(same
        .map(|chunk| {
            let weight: f64 = chunk.iter().map(|&(.., weight)| f64::from(weight)).sum();
            ((chunk[0].0, chunk[0].1), (weight as f32).min(f32::MAX))
        })
        .unzip())
}

/// About `wanted` different pairs that are not among `edges`, drawn uniformly.
///
/// As PyMDE's, the draw may give a few pairs less than wanted, since what comes twice or is an edge
/// is left out. Where the wanted are more than half of what there is, all pairs are listed and
/// exactly as many chosen as wanted, or as there are.
///
/// - `edges`: in rising order, the lower node first.
/// - returns: pairs in rising order.
pub(super) fn dissimilar(nodes: usize, edges: &[Pair], wanted: usize, seed: u64) -> Vec<Pair> {
    let mut random = Random::new(seed, 1);
    let n = nodes as u64;
    let complement = (n * n.saturating_sub(1) / 2).saturating_sub(edges.len() as u64);
    let mut chosen = Vec::new();
    if complement <= 2 * wanted as u64 {
        let all = (0..nodes as u32).flat_map(|i| (i + 1..nodes as u32).map(move |j| (i, j)));
        chosen = all.filter(|pair| edges.binary_search(pair).is_err()).collect();
        // The first of a Fisher–Yates shuffle.
        for place in 0..wanted.min(chosen.len()) {
            let other = place + random.below((chosen.len() - place) as u64) as usize;
            chosen.swap(place, other);
        }
        chosen.truncate(wanted);
    } else {
        while chosen.len() < wanted {
            let (i, j) = (random.below(n) as u32, random.below(n) as u32);
            if i != j {
                chosen.push((i.min(j), i.max(j)));
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    let mut rest = edges;
    chosen.retain(|pair| {
        while let [first, others @ ..] = rest
            && first < pair
        {
            rest = others;
        }
        rest.first() != Some(pair)
    });
    chosen
}

/// Pairs as compressed rows, each pair in the rows of both its nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Adjacency {
    /// Where each node's row begins in the lists below, and the end: `[n + 1]`.
    pub(super) offsets: Vec<usize>,
    /// The other node.
    pub(super) targets: Vec<u32>,
    /// The weight of the pair.
    pub(super) weights: Vec<f32>,
}

impl Adjacency {
    /// - `pairs`: in rising order, so that targets rise within a row.
    pub(super) fn new(nodes: usize, pairs: &[Pair], weights: &[f32]) -> Self {
        let mut offsets = vec![0; nodes + 1];
        for &(i, j) in pairs {
            offsets[i as usize + 1] += 1;
            offsets[j as usize + 1] += 1;
        }
        (0..nodes).for_each(|i| offsets[i + 1] += offsets[i]);
        let mut ends = offsets.clone();
        let mut row = Self {
            targets: vec![0; 2 * pairs.len()],
            weights: vec![0.0; 2 * pairs.len()],
            offsets,
        };
        let mut put = |from: u32, to: u32, weight: f32| {
            let place = ends[from as usize];
            ends[from as usize] += 1;
            (row.targets[place], row.weights[place]) = (to, weight);
        };
        // Lower neighbours of every node first, in rising order; then the higher ones.
        pairs.iter().zip(weights).for_each(|(&(i, j), &weight)| put(j, i, weight));
        pairs.iter().zip(weights).for_each(|(&(i, j), &weight)| put(i, j, weight));
        row
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// A node's neighbours and the weights of the pairs.
    pub(super) fn row(&self, node: usize) -> (&[u32], &[f32]) {
        let row = self.offsets[node]..self.offsets[node + 1];
        (&self.targets[row.clone()], &self.weights[row])
    }
}
