//! The average distortion of a map and its gradient.
//!
//! E(X) = (1/p) Σ f(‖xᵢ − xⱼ‖) over p pairs, attracted and repelled. Every pair stands in the rows
//! of both its nodes, so a node's gradient is a sum over its own row: nothing is scattered, and any
//! number of threads adds in the same order. That costs every penalty twice, which is cheap beside
//! the fetching of positions.

use rayon::prelude::*;

use super::pairs::Adjacency;
use super::penalty::{LANES, Penalty, SOFTENING};

/// Pairs and their penalties.
#[derive(Clone, Debug)]
pub(super) struct Objective {
    kinds: [(Penalty, Adjacency); 2],
    pairs: usize,
}

/// Nodes whose gradient one task computes.
const NODES: usize = 512;
/// Pairs whose penalty is computed together, a multiple of [`LANES`].
const BATCH: usize = 512;

impl Objective {
    pub(super) fn new(attracted: Adjacency, repelled: Adjacency) -> Self {
        let pairs = (attracted.targets.len() + repelled.targets.len()) / 2;
        Self { kinds: [(Penalty::Attraction, attracted), (Penalty::Repulsion, repelled)], pairs }
    }

    /// The average distortion of `positions`, whose gradient is written to `gradient`.
    ///
    /// - `positions`, `gradient`: `[n, M]`, row by row.
    pub(super) fn evaluate<const M: usize>(&self, positions: &[f32], gradient: &mut [f32]) -> f64 {
        let (positions, _) = positions.as_chunks::<M>();
        let (gradient, _) = gradient.as_chunks_mut::<M>();
        let scale = 1.0 / self.pairs.max(1) as f64;
        let sums: Vec<f64> = gradient
            .par_chunks_mut(NODES)
            .enumerate()
            .map(|(chunk, gradient)| {
                gradient.fill([0.0; M]);
                let mut batch = Batch::<M>::new();
                let add = |(penalty, adjacency): &(Penalty, Adjacency)| {
                    batch.add(*penalty, adjacency, positions, chunk * NODES, gradient)
                };
                let sum: f64 = self.kinds.iter().map(add).sum();
                gradient.as_flattened_mut().iter_mut().for_each(|g| *g *= scale as f32);
                sum
            })
            .collect();
        // Each pair was counted from both of its nodes.
        0.5 * scale * sums.iter().sum::<f64>()
    }
}

/// Differences of positions for some of a row's pairs, or of several rows.
struct Batch<const M: usize> {
    differences: [[f32; M]; BATCH],
    squares: [f32; BATCH],
    weights: [f32; BATCH],
}

impl<const M: usize> Batch<M> {
    fn new() -> Self {
        Self { differences: [[0.0; M]; BATCH], squares: [1.0; BATCH], weights: [0.0; BATCH] }
    }

    /// Adds the unscaled gradient of nodes from `first` on; returns the sum of their distortions.
    fn add(
        &mut self,
        penalty: Penalty,
        adjacency: &Adjacency,
        positions: &[[f32; M]],
        first: usize,
        gradient: &mut [[f32; M]],
    ) -> f64 {
        let offsets = &adjacency.offsets[first..=first + gradient.len()];
        let end = offsets[gradient.len()];
        let (mut start, mut node, mut sum) = (offsets[0], 0, 0.0);
        while start < end {
            let stop = (start + BATCH).min(end);
            let rows = || Rows { offsets, at: start, stop, node };
            let mut filled = 0;
            for (node, row) in rows() {
                let own = positions[first + node];
                for &target in &adjacency.targets[row] {
                    let other = positions[target as usize];
                    let mut square = SOFTENING;
                    for axis in 0..M {
                        let difference = own[axis] - other[axis];
                        self.differences[filled][axis] = difference;
                        square += difference * difference;
                    }
                    self.squares[filled] = square;
                    filled += 1;
                }
            }
            self.weights[..filled].copy_from_slice(&adjacency.weights[start..stop]);
            let padded = filled.next_multiple_of(LANES);
            self.squares[filled..padded].fill(1.0);
            self.weights[filled..padded].fill(0.0);
            sum += penalty.apply(&mut self.squares[..padded], &self.weights[..padded]);
            let mut used = 0;
            for (row_node, row) in rows() {
                let total = &mut gradient[row_node];
                for pair in used..used + row.len() {
                    for axis in 0..M {
                        total[axis] += self.squares[pair] * self.differences[pair][axis];
                    }
                }
                used += row.len();
                node = row_node;
            }
            start = stop;
        }
        sum
    }
}

/// The parts of rows that lie in a range of pairs: a node and its pairs.
struct Rows<'a> {
    offsets: &'a [usize],
    at: usize,
    stop: usize,
    node: usize,
}

impl Iterator for Rows<'_> {
    type Item = (usize, std::ops::Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.stop {
            return None;
        }
        while self.offsets[self.node + 1] <= self.at {
            self.node += 1;
        }
        let end = self.offsets[self.node + 1].min(self.stop);
        let row = std::mem::replace(&mut self.at, end)..end;
        Some((self.node, row))
    }
}
