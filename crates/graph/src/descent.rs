//! Approximate neighbours for large n: random trees, then neighbours of neighbours.
//!
//! Points are projected on differences of random pairs of points, and trees halve them again and again
//! at the median of one random direction of that sketch (Dasgupta and Freund, "Random projection trees",
//! 2008). Points of a leaf see each other by blocked products; then every point sees the neighbours of its
//! neighbours until little changes (NN-descent: Dong, Moses and Li, 2011). It does not
//! promise a recall: [`crate::measured_recall`] says what was found.

use ndarray::{Array2, ArrayView2, Axis};
use nearkin_metrics::{Distance, DistanceError, GroupJoin, Neighbours};
use rayon::prelude::*;

/// How hard [`descend`] tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// Random trees.
    pub trees: usize,
    /// Points of a leaf, at most.
    pub leaf: usize,
    /// Rounds of neighbours of neighbours, at most.
    pub rounds: usize,
    /// Neighbours followed from each point in a round.
    pub reach: usize,
    /// A round that changes less than this share of all entries is the last.
    pub tolerance: f64,
    /// Of the random draws.
    pub seed: u64,
}

impl Default for Descent {
    fn default() -> Self {
        Self { trees: 12, leaf: 240, rounds: 1, reach: 12, tolerance: 0.02, seed: 0 }
    }
}

/// Columns of the sketch that trees are grown on, at most.
const SKETCH: usize = 32;

/// Approximately the `k` nearest other points of every point; deterministic for a seed, on any number of threads.
///
/// - `points`: `[n, d]`, finite.
/// - `k`: 1 ≤ k < n.
///
/// # Errors
/// As [`nearkin_metrics::top_k_within`].
pub fn descend(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    how: &Descent,
) -> Result<Neighbours, DistanceError> {
    let n = points.nrows();
    let mut draws = Draws::new(how.seed);
    let sketch = sketch(points, distance, &mut draws);
    let leaf = how.leaf.max(2 * k).max(16);
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut leaves = grow(&sketch, &mut order, leaf, draws.next());
    let mut join = GroupJoin::new(points, k, distance, order.clone())?;
    // From here on points are known by their places in the first tree's order.
    let sketch = sketch.select(Axis(0), &order.iter().map(|&i| i as usize).collect::<Vec<_>>());
    let mut places: Vec<u32> = (0..n as u32).collect();
    for tree in 0..how.trees.max(1) {
        if tree > 0 {
            leaves = grow(&sketch, &mut places, leaf, draws.next());
        }
        let groups: Vec<&[u32]> = leaves.windows(2).map(|ends| &places[ends[0]..ends[1]]).collect();
        join.join(&groups);
    }
    for _ in 0..how.rounds {
        if join.expand(how.reach.max(1)) < how.tolerance {
            break;
        }
    }
    Ok(join.finish())
}

/// Projections of all points on differences of random pairs, `[n, min(d, SKETCH)]`.
fn sketch(points: ArrayView2<'_, f32>, distance: Distance, draws: &mut Draws) -> Array2<f32> {
    let (n, d) = points.dim();
    let mut directions = Array2::<f32>::zeros((SKETCH.min(d), d));
    for mut direction in directions.rows_mut() {
        let (a, b) = (points.row(draws.below(n)), points.row(draws.below(n)));
        let scale = |row: ndarray::ArrayView1<'_, f32>| match distance {
            Distance::Cosine => row.dot(&row).sqrt().max(f32::MIN_POSITIVE).recip(),
            _ => 1.0,
        };
        let (of_a, of_b) = (scale(a), scale(b));
        direction.iter_mut().zip(a.iter().zip(b)).for_each(|(v, (a, b))| *v = a * of_a - b * of_b);
        let norm = direction.dot(&direction).sqrt();
        // Equal points, or values beyond f32: an axis does as well.
        if norm > 0.0 && norm.is_finite() {
            direction.mapv_inplace(|v| v / norm);
        } else {
            direction.fill(0.0);
            direction[draws.below(d)] = 1.0;
        }
    }
    let mut sketch = Array2::zeros((n, directions.nrows()));
    sketch.axis_chunks_iter_mut(Axis(0), 1024).into_par_iter().enumerate().for_each(
        |(chunk, mut out)| {
            let first = chunk * 1024;
            let rows = points.slice(ndarray::s![first..first + out.nrows(), ..]);
            ndarray::linalg::general_mat_mul(1.0, &rows, &directions.t(), 0.0, &mut out);
            if distance == Distance::Cosine {
                for (mut out, row) in out.rows_mut().into_iter().zip(rows.rows()) {
                    let norm = row.dot(&row).sqrt();
                    out.mapv_inplace(|v| if norm > 0.0 { v / norm } else { 0.0 });
                }
            }
        },
    );
    sketch
}

/// Reorders `places` leaf by leaf; returns where each leaf begins, and the end.
fn grow(sketch: &Array2<f32>, places: &mut [u32], leaf: usize, seed: u64) -> Vec<usize> {
    // Halved until a leaf is small enough: all leaves have nearly the same size.
    fn split(sketch: &Array2<f32>, places: &mut [u32], leaf: usize, seed: u64) -> Vec<usize> {
        if places.len() <= leaf {
            return vec![places.len()];
        }
        let mut draws = Draws::new(seed);
        let (a, b) = (draws.below(places.len()), draws.below(places.len()));
        let direction = &sketch.row(places[a] as usize) - &sketch.row(places[b] as usize);
        let direction = direction.as_slice().unwrap_or_default();
        let width = sketch.ncols();
        let values = sketch.as_slice().unwrap_or_default();
        let project = |&place: &u32| {
            let row = &values[place as usize * width..][..width];
            let sum: f32 = row.iter().zip(direction).map(|(x, y)| x * y).sum();
            (if sum.is_finite() { sum } else { 0.0 }, place)
        };
        let mut projected: Vec<(f32, u32)> = places.iter().map(project).collect();
        let middle = places.len() / 2;
        projected.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.iter_mut().zip(&projected).for_each(|(place, &(_, to))| *place = to);
        drop(projected);
        // Sorted places are read in order further down, and no history of the selection remains.
        let (left, right) = places.split_at_mut(middle);
        left.sort_unstable();
        right.sort_unstable();
        let (for_left, for_right) = (draws.next(), draws.next());
        let (mut sizes, more) = rayon::join(
            || split(sketch, left, leaf, for_left),
            || split(sketch, right, leaf, for_right),
        );
        sizes.extend(more);
        sizes
    }
    places.sort_unstable();
    let sizes = split(sketch, places, leaf, seed);
    let mut ends = vec![0];
    ends.extend(sizes.iter().scan(0, |end, size| {
        *end += size;
        Some(*end)
    }));
    ends
}

/// SplitMix64: draws that depend on the seed alone.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..`end`; 0 if there is nothing to draw from.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, measured_recall, nearest_neighbours};

    fn curved(n: usize, d: usize) -> Array2<f32> {
        let mut draws = Draws::new(3);
        let mut uniform = move || (draws.next() >> 40) as f32 / (1 << 24) as f32;
        let latent = Array2::from_shape_simple_fn((n, 5), &mut uniform);
        let basis = Array2::from_shape_simple_fn((5, d), || uniform() - 0.5);
        latent.dot(&basis).mapv(|v| (3.0 * v).sin())
    }

    #[test]
    fn most_neighbours_are_found_and_the_number_of_threads_changes_nothing() {
        let points = curved(6000, 40);
        for distance in [Distance::Euclidean, Distance::Cosine, Distance::Manhattan] {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let how = Descent::default();
                pool.install(|| descend(points.view(), 10, distance, &how).unwrap())
            };
            let found = with(1);
            assert_eq!(found, with(3));
            let recall = measured_recall(points.view(), &found, distance, 300, 1).unwrap();
            assert!(recall.share > 0.95, "{distance:?}: {recall:?}");
            let exact = nearest_neighbours(points.view(), 10, distance, Engine::Products).unwrap();
            let hits = found.indices.rows().into_iter().zip(exact.indices.rows());
            let hits: usize =
                hits.map(|(a, b)| a.iter().filter(|j| b.iter().any(|i| i == *j)).count()).sum();
            let share = hits as f64 / exact.indices.len() as f64;
            assert!((share - recall.share).abs() < 0.02, "{share} {recall:?}");
        }
    }

    #[test]
    fn a_few_points_are_one_leaf_and_so_exact() {
        let points = curved(150, 7);
        let found = descend(points.view(), 9, Distance::Euclidean, &Descent::default()).unwrap();
        let exact =
            nearest_neighbours(points.view(), 9, Distance::Euclidean, Engine::Products).unwrap();
        assert_eq!(found, exact);
    }

    #[test]
    fn equal_points_have_neighbours_at_distance_0() {
        let points = Array2::<f32>::ones((1000, 3));
        let found = descend(points.view(), 4, Distance::Euclidean, &Descent::default()).unwrap();
        assert!(found.distances.iter().all(|&v| v <= 0.0));
        assert!(found.indices.indexed_iter().all(|((i, _), &j)| i != j));
    }
}
