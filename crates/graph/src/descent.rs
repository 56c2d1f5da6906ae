//! Approximate neighbours for large n: random trees, then neighbours of neighbours.
//!
//! Trees halve the points again and again at the median of one direction, the difference of two random points
//! in the few columns in which all vary most (Dasgupta and Freund, "Random projection trees", 2008). Points of a leaf
//! see each other by blocked products; then neighbours of a point do, until little
//! changes (NN-descent: Dong, Moses and Li, 2011). It does not
//! promise a recall: [`crate::measured_recall`] says what was found.

use ndarray::ArrayView2;
use nearkin_metrics::{Distance, DistanceError, GroupJoin, Neighbours};

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
        Self { trees: 6, leaf: 256, rounds: 8, reach: 16, tolerance: 0.02, seed: 0 }
    }
}

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
    let leaf = how.leaf.max(2 * k).max(16);
    let mut join = GroupJoin::new(points, k, distance)?;
    let mut places: Vec<u32> = (0..n as u32).collect();
    let leaves = grow(&join, &mut places, leaf / FINER, draws.next());
    // From here on points are known by their places in the first tree's order.
    join.reorder(&places)?;
    places.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
    let meet = |join: &GroupJoin<'_>, places: &[u32], leaves: &[usize]| {
        let groups: Vec<&[u32]> = leaves.windows(2).map(|ends| &places[ends[0]..ends[1]]).collect();
        join.join(&groups);
    };
    meet(&join, &places, &leaves);
    let coarser: Vec<usize> = leaves.iter().step_by(FINER).chain([&n]).copied().collect();
    meet(&join, &places, &coarser);
    for _ in 1..how.trees {
        let leaves = grow(&join, &mut places, leaf, draws.next());
        meet(&join, &places, &leaves);
        places.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
    }
    follow(&mut join, how);
    if join.is_blurred() {
        join.sharpen();
        follow(&mut join, how);
    }
    Ok(join.finish())
}

/// Neighbours of neighbours, until little changes.
fn follow(join: &mut GroupJoin<'_>, how: &Descent) {
    for _ in 0..how.rounds {
        if join.expand(how.reach.max(1)) < how.tolerance {
            break;
        }
    }
}

/// The first tree goes on to leaves this much smaller: near points get close places, and lists that begin with near
/// points are entered less often.
const FINER: usize = 4;

/// Above this many points trees see the sketch of points alone.
const ROUGH: usize = 1 << 12;

/// Below this many points one thread goes on alone.
const ALONE: usize = 1 << 12;

/// Reorders `places` leaf by leaf; returns where each leaf begins, and the end.
///
fn grow(join: &GroupJoin<'_>, places: &mut [u32], leaf: usize, seed: u64) -> Vec<usize> {
    let sizes = split(join, places, leaf, seed, &mut Scratch::default());
    let mut ends = vec![0];
    ends.extend(sizes.iter().scan(0, |end, size| {
        *end += size;
        Some(*end)
    }));
    ends
}

#[derive(Default)]
struct Scratch {
    direction: Vec<f32>,
    projected: Vec<f32>,
    sorted: Vec<f32>,
    right: Vec<u32>,
}

/// The product of rows of a multiple of sixteen columns.
fn product(x: &[f32], y: &[f32]) -> f32 {
    let (x, _) = x.as_chunks::<16>();
    let (y, _) = y.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (x, y) in x.iter().zip(y) {
        (0..16).for_each(|lane| sums[lane] += x[lane] * y[lane]);
    }
    let fours: [f32; 4] =
        std::array::from_fn(|at| (sums[at] + sums[at + 4]) + (sums[at + 8] + sums[at + 12]));
    (fours[0] + fours[1]) + (fours[2] + fours[3])
}

/// Halves `places` until leaves are small enough, so that all have nearly the same size; returns their sizes.
fn split(
    join: &GroupJoin<'_>,
    places: &mut [u32],
    leaf: usize,
    seed: u64,
    scratch: &mut Scratch,
) -> Vec<usize> {
    if places.len() <= leaf {
        return vec![places.len()];
    }
    let mut draws = Draws::new(seed);
    let (a, b) = (draws.below(places.len()), draws.below(places.len()));
    let (a, b) = (places[a] as usize, places[b] as usize);
    let Scratch { direction, projected, sorted, right } = &mut *scratch;
    // Few columns show where most points lie; what tells the last ones apart may be in any.
    let is_rough = places.len() > ROUGH;
    let row = |place: usize| if is_rough { join.sketch(place) } else { join.row(place) };
    direction.clear();
    direction.extend(row(a).iter().zip(row(b)).map(|(a, b)| a - b));
    projected.clear();
    projected.extend(places.iter().map(|&place| product(row(place as usize), direction)));
    sorted.clone_from(projected);
    let middle = places.len() / 2;
    let (before, &mut median, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
    // As many of those at the median go to the left as fill it up. Both sides keep their order, in which
    // neighbours in memory are read one after the other.
    let mut ties = before.iter().filter(|v| v.total_cmp(&median).is_eq()).count();
    right.clear();
    let mut left = 0;
    for (at, value) in projected.iter().enumerate() {
        let place = places[at];
        let order = value.total_cmp(&median);
        let is_tie = order.is_eq() && ties > 0;
        ties -= usize::from(is_tie);
        if order.is_lt() || is_tie {
            places[left] = place;
            left += 1;
        } else {
            right.push(place);
        }
    }
    places[left..].copy_from_slice(right);
    let is_large = places.len() > ALONE;
    let (left, right) = places.split_at_mut(left);
    let (for_left, for_right) = (draws.next(), draws.next());
    let (mut sizes, more) = if is_large {
        rayon::join(
            || split(join, left, leaf, for_left, &mut Scratch::default()),
            || split(join, right, leaf, for_right, &mut Scratch::default()),
        )
    } else {
        let sizes = split(join, left, leaf, for_left, scratch);
        (sizes, split(join, right, leaf, for_right, scratch))
    };
    sizes.extend(more);
    sizes
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
    use ndarray::Array2;

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

    /// Groups far apart, of which few columns show all, with neighbours that only the other columns show.
    fn grouped(n: usize, d: usize, group: usize) -> Array2<f32> {
        let points = curved(n, d);
        Array2::from_shape_fn((n, d), |(i, j)| {
            let centre = ((i / group * 31 + j * 17) % 29) as f32 / 29.0 - 0.5;
            50.0 * centre + 0.01 * points[[i * 7919 % n, j]]
        })
    }

    #[test]
    fn what_few_columns_hide_is_found_by_all() {
        let points = grouped(12_000, 64, 60);
        let found = descend(points.view(), 10, Distance::Euclidean, &Descent::default()).unwrap();
        let recall = measured_recall(points.view(), &found, Distance::Euclidean, 300, 1).unwrap();
        assert!(recall.share > 0.95, "{recall:?}");
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
