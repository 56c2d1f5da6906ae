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
                let pairs = used..used + row.len();
                let forces = self.squares[pairs.clone()].iter().zip(&self.differences[pairs]);
                for (force, difference) in forces {
                    total.iter_mut().zip(difference).for_each(|(t, d)| *t += force * d);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::pairs::Pair;
    use crate::map::random::Random;

    const NODES: usize = 700;

    fn pairs() -> (Vec<Pair>, Vec<f32>, Vec<Pair>) {
        let mut random = Random::new(5, 9);
        let mut draw = |count: usize| {
            let mut pairs: Vec<Pair> = (0..count)
                // Node 0 has more pairs than a batch holds.
                .map(|at| {
                    (
                        if at % 2 == 0 { 0 } else { random.below(300) as u32 },
                        300 + random.below(400) as u32,
                    )
                })
                .collect();
            pairs.sort_unstable();
            pairs.dedup();
            pairs
        };
        let (attracted, repelled) = (draw(4000), draw(4000));
        let weights = attracted.iter().map(|&(i, j)| 0.25 + (i + j) as f32 % 3.0).collect();
        (attracted, weights, repelled)
    }

    fn objective() -> Objective {
        let (attracted, weights, repelled) = pairs();
        let ones = vec![1.0; repelled.len()];
        Objective::new(
            Adjacency::new(NODES, &attracted, &weights),
            Adjacency::new(NODES, &repelled, &ones),
        )
    }

    /// The average distortion in f64, pair by pair.
    fn oracle<const M: usize>(x: &[f64]) -> f64 {
        let (attracted, weights, repelled) = pairs();
        let square = |&(i, j): &Pair| -> f64 {
            (0..M).map(|a| (x[i as usize * M + a] - x[j as usize * M + a]).powi(2)).sum()
        };
        let pulls = attracted.iter().zip(&weights);
        let pulls = pulls.map(|(p, &w)| Penalty::Attraction.distortion(square(p), w.into()));
        let pushes = repelled.iter().map(|p| Penalty::Repulsion.distortion(square(p), 1.0));
        pulls.chain(pushes).sum::<f64>() / (attracted.len() + repelled.len()) as f64
    }

    fn positions(m: usize) -> Vec<f32> {
        let mut random = Random::new(1, 4);
        (0..NODES * m).map(|_| 2.0 * random.symmetric() as f32).collect()
    }

    fn check<const M: usize>() {
        let x = positions(M);
        let mut gradient = vec![f32::NAN; x.len()];
        let value = objective().evaluate::<M>(&x, &mut gradient);
        let exact: Vec<f64> = x.iter().copied().map(f64::from).collect();
        assert!((value - oracle::<M>(&exact)).abs() < 1e-7, "{value}");
        let largest = gradient.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        for at in (0..x.len()).step_by(41) {
            let at_step = |step: f64| {
                let mut moved = exact.clone();
                moved[at] += step;
                oracle::<M>(&moved)
            };
            let slope = (at_step(1e-6) - at_step(-1e-6)) / 2e-6;
            let error = (f64::from(gradient[at]) - slope).abs();
            assert!(error < 1e-5 * f64::from(largest), "{at}: {} {slope}", gradient[at]);
        }
    }

    #[test]
    fn value_and_gradient_are_those_of_central_differences_in_f64() {
        check::<2>();
        check::<3>();
    }

    #[test]
    fn moving_all_nodes_changes_nothing() {
        let x = positions(2);
        let moved: Vec<f32> = x.iter().map(|v| v + 0.5).collect();
        let (mut here, mut there) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let objective = objective();
        let values =
            [objective.evaluate::<2>(&x, &mut here), objective.evaluate::<2>(&moved, &mut there)];
        assert!((values[0] - values[1]).abs() < 1e-7, "{values:?}");
        let sum: f64 = here.iter().map(|&g| f64::from(g)).sum();
        assert!(sum.abs() < 1e-7, "{sum}");
        let largest = here.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        assert!(here.iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-4 * largest));
    }

    #[test]
    fn coincident_nodes_have_a_finite_value_and_no_force() {
        let mut gradient = vec![1.0; 2 * NODES];
        let value = objective().evaluate::<2>(&vec![0.5; 2 * NODES], &mut gradient);
        assert!(value.is_finite());
        assert!(gradient.iter().all(|&g| g.abs() <= 0.0));
    }
}
