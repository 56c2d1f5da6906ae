//! Where a layout starts: every component's spectral coordinates, the components side by side.

use std::cmp::Reverse;

use super::config::Constraint;
use super::constraint::centre;
use super::pairs::Adjacency;
use super::random::Random;
use super::spectral::{START, coordinates};

/// How far components are apart, in units of the width of a disc that would just hold them.
const SPREAD: f64 = 2.5;
/// Jitter, as a share of the map's width: twins with the same neighbours must not coincide.
const JITTER: f64 = 1e-3;

/// Positions `[n, M]` with mean 0 and mean square 1 in each direction.
///
/// A connected graph's columns are uncorrelated as well. Components are placed on a golden spiral,
/// the largest in the middle, each in an area in proportion to its nodes: coordinates of one
/// component say nothing about another.
pub(super) fn start<const M: usize>(graph: &Adjacency, seed: u64) -> Vec<f32> {
    let n = graph.len();
    let components = components(graph);
    let mut out = vec![[0.0_f64; M]; n];
    let mut placed = 0;
    for (index, nodes) in components.iter().enumerate() {
        let share = |nodes: usize| (nodes as f64 / n as f64).powf((M as f64).recip());
        let origin = if index == 0 { [0.0; M] } else { direction::<M>(index) };
        let distance = SPREAD * share(placed + nodes.len() / 2);
        for (&node, local) in nodes.iter().zip(within::<M>(graph, nodes, seed)) {
            out[node as usize] = std::array::from_fn(|axis| {
                distance * origin[axis] + share(nodes.len()) * local[axis]
            });
        }
        placed += nodes.len();
    }
    let mut random = Random::new(seed, 3);
    let mut flat: Vec<f32> =
        out.as_flattened().iter().map(|v| (v + JITTER * random.symmetric()) as f32).collect();
    if components.len() == 1 && n > M {
        Constraint::Standardised.project::<M>(&mut flat);
    } else {
        centre::<M>(&mut flat);
        let square: f64 = flat.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let scale = (flat.len() as f64 / square.max(f64::MIN_POSITIVE)).sqrt();
        flat.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
    flat
}

/// Coordinates of one component, of about unit width.
fn within<const M: usize>(graph: &Adjacency, nodes: &[u32], seed: u64) -> Vec<[f64; M]> {
    match nodes.len() {
        1 => vec![[0.0; M]],
        // Too few to have M smooth coordinates: spread them evenly.
        few if few <= M + 1 => (0..few).map(|k| circle(k as f64 / few as f64)).collect(),
        all if all == graph.len() => coordinates(graph, START, seed),
        _ => coordinates(&part(graph, nodes), START, seed),
    }
}

/// The subgraph of one component, whose nodes rise.
fn part(graph: &Adjacency, nodes: &[u32]) -> Adjacency {
    let mut part = Adjacency { offsets: vec![0], ..Adjacency::default() };
    for &node in nodes {
        let (targets, weights) = graph.row(node as usize);
        // Every target is in the component.
        let local = |target: &u32| nodes.partition_point(|node| node < target) as u32;
        part.targets.extend(targets.iter().map(local));
        part.weights.extend_from_slice(weights);
        part.offsets.push(part.targets.len());
    }
    part
}

/// A direction in which component `index` lies: successive ones are far apart.
fn direction<const M: usize>(index: usize) -> [f64; M] {
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let turn = index as f64 * golden;
    if M < 3 {
        return circle(turn);
    }
    // Fibonacci's points on a sphere, in an order without an end.
    let height = 2.0 * (index as f64 * golden * golden * golden).fract() - 1.0;
    let flat: [f64; M] = circle(turn);
    let width = (1.0 - height * height).sqrt();
    std::array::from_fn(|axis| if axis == 2 { height } else { width * flat[axis] })
}

/// The point of the unit circle after some turns, in the first two axes.
fn circle<const M: usize>(turns: f64) -> [f64; M] {
    let (sin, cos) = (turns * std::f64::consts::TAU).sin_cos();
    std::array::from_fn(|axis| [cos, sin, 0.0][axis.min(2)])
}

/// Nodes of every component in rising order; larger components first, ties by the lowest node.
pub(super) fn components(graph: &Adjacency) -> Vec<Vec<u32>> {
    let mut seen = vec![false; graph.len()];
    let mut found = Vec::new();
    for first in 0..graph.len() {
        if std::mem::replace(&mut seen[first], true) {
            continue;
        }
        let mut nodes = vec![first as u32];
        let mut at = 0;
        while let Some(&node) = nodes.get(at) {
            at += 1;
            for &target in graph.row(node as usize).0 {
                if !std::mem::replace(&mut seen[target as usize], true) {
                    nodes.push(target);
                }
            }
        }
        nodes.sort_unstable();
        found.push(nodes);
    }
    found.sort_by_key(|nodes| Reverse(nodes.len()));
    found
}
