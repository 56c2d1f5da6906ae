//! A graph as a picture: positions in 2 or 3 dimensions in which neighbours are near.
//!
//! The problem is PyMDE's `preserve_neighbors` (Agrawal, Ali and Boyd, 2021, *Minimum-Distortion
//! Embedding*, <https://arxiv.org/abs/2103.02559>): edges attract, as many sampled pairs that are no
//! edges repel, and the average distortion is minimised by projected L-BFGS from a spectral start.
//! Unlike UMAP's stochastic descent the result is the same on any number of threads and processors.
//!
//! It shows neighbourhoods. Distances between groups, their sizes and densities mean little in any
//! such map, so no function here measures them.

mod config;
mod constraint;
mod dense;
mod distortion;
mod lbfgs;
mod objective;
mod pairs;
mod penalty;
mod picture;
mod random;
mod spectral;
mod start;
mod vectors;

use ndarray::Array2;

pub use config::{Constraint, MapConfig, MapError};
pub use distortion::{
    DistortedPair, DistortionsCdf, distortions, distortions_cdf, high_distortion_pairs,
};
pub use pairs::{Edge, neighbour_edges};
pub use picture::{
    Format, PALETTE, Paper, PictureError, Rgb, Scatter, Style, colour, draw, html, png, svg,
};

use lbfgs::{Limits, Problem, minimise};
use objective::Objective;
use pairs::{Adjacency, dissimilar, merge};

/// Where the nodes of a graph are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// `[n, 2 or 3]`, with mean 0.
    pub positions: Array2<f32>,
    /// The pairs that shaped it, lower node first, and their weights: first edges, above 0, then
    /// repelled pairs, −1. Both in rising order.
    pub pairs: Vec<(u32, u32, f32)>,
    /// The mean of their distortions, which was minimised.
    pub average_distortion: f64,
    /// The norm of its gradient on the constraint.
    pub residual: f64,
    /// Steps of the optimiser.
    pub iterations: usize,
    /// How often the optimiser asked for the gradient.
    pub evaluations: usize,
}

/// Lays a graph out so that edges are short and other pairs are not.
///
/// Minimises the average over p pairs of
///
/// - w log(1 + d^1.5) for edges i–j, with d = ‖xᵢ − xⱼ‖,
/// - −log(1 − e^(−d)) for pairs drawn uniformly from those that are no edges,
///
/// over positions with mean 0. Edges that join the same nodes add their weights; loops and edges of
/// weight 0 are left out. Components start side by side, isolated nodes on the rim. Runs on the
/// current rayon pool; the result depends on `config.seed` and not on the number of threads.
/// Cost: O(edges) an iteration; memory: about 100 bytes an edge.
///
/// - `n`: nodes; 0 gives an empty map, 1 a point at the origin.
/// - `edges`: ends below `n`, in any order and direction.
///
/// # Errors
/// [`MapError::Node`] and [`MapError::Weight`] name the first edge that does not fit; the others
/// say which setting does not.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Edge, MapConfig, layout};
/// let edge = |source, target| Edge { source, target, weight: 1.0 };
/// let map = layout(6, &[edge(0, 1), edge(1, 2), edge(3, 4), edge(4, 5)], &MapConfig::default())?;
/// let distance = |i, j| {
///     let difference = &map.positions.row(i) - &map.positions.row(j);
///     difference.dot(&difference).sqrt()
/// };
/// assert!(distance(0, 2) < 0.7 * distance(0, 3)); // friends of friends, and strangers
/// # Ok::<(), nearkin_graph::map::MapError>(())
/// ```
pub fn layout(n: usize, edges: &[Edge], config: &MapConfig) -> Result<Map, MapError> {
    config.check(n)?;
    match config.dimensions {
        2 => lay_out::<2>(n, edges, config),
        _ => lay_out::<3>(n, edges, config),
    }
}

fn lay_out<const M: usize>(n: usize, edges: &[Edge], config: &MapConfig) -> Result<Map, MapError> {
    let (attracted, weights) = merge(n, edges)?;
    let wanted = (config.repulsive_fraction() * attracted.len() as f64) as usize;
    let repelled = dissimilar(n, &attracted, wanted, config.seed);
    let graph = Adjacency::new(n, &attracted, &weights);
    let mut x = start::start::<M>(&graph, config.seed);
    if config.constraint == Constraint::Standardised {
        config.constraint.project::<M>(&mut x);
    }
    let away = Adjacency::new(n, &repelled, &vec![1.0; repelled.len()]);
    let problem =
        Layout::<M> { objective: Objective::new(graph, away), constraint: config.constraint };
    let limits = Limits {
        iterations: config.max_iterations,
        tolerance: config.tolerance,
        memory: config.memory,
    };
    let solution = minimise(&problem, x, limits);
    let attracted = attracted.iter().zip(weights).map(|(&(i, j), weight)| (i, j, weight));
    let repelled = repelled.iter().map(|&(i, j)| (i, j, -1.0));
    let mut positions = Array2::zeros((n, M));
    positions.iter_mut().zip(&solution.x).for_each(|(to, &from)| *to = from);
    Ok(Map {
        positions,
        pairs: attracted.chain(repelled).collect(),
        average_distortion: solution.value,
        residual: solution.residual,
        iterations: solution.iterations,
        evaluations: solution.evaluations,
    })
}

/// The average distortion on the constraint.
struct Layout<const M: usize> {
    objective: Objective,
    constraint: Constraint,
}

impl<const M: usize> Problem for Layout<M> {
    fn evaluate(&self, x: &mut [f32], gradient: &mut [f32]) -> f64 {
        self.constraint.project::<M>(x);
        let value = self.objective.evaluate::<M>(x, gradient);
        self.constraint.to_tangent::<M>(x, gradient);
        value
    }
}
