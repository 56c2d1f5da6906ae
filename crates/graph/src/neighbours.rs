//! Nearest neighbours of every point, by whichever engine suits the data.

use std::time::Instant;

use ndarray::{ArrayView2, s};
use nearkin_metrics::{Distance, DistanceError, Neighbours, top_k, top_k_within};
use thiserror::Error;

use crate::{descent, kd_tree, linfa_tree};

/// How neighbours are searched. All engines but [`Engine::Descent`] are exact and give the same result.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// An exact engine chosen by n and d, and by a trial where these do not decide: see [`Engine::resolve`].
    Auto,
    /// A k-d tree in f32 with f64 ranks, for up to 64 columns. O(n log n) where the points have few
    /// dimensions, slower than a loop where they have many.
    KdTree,
    /// linfa-nn's k-d tree, in f64.
    LinfaKdTree,
    /// linfa-nn's ball tree, in f64.
    BallTree,
    /// Blocked matrix products ([`nearkin_metrics::top_k_within`]); direct sums where no product says
    /// the distance. O(n² d) / 2.
    Products,
    /// Approximate: random trees, then neighbours of neighbours ([`crate::descent`]).
    Descent,
}

/// Up to this many columns [`Engine::Auto`] takes the tree without a trial.
pub const KD_TREE_MAX_WIDTH: usize = 4;
/// Up to this many columns it tries both where it pays.
pub const TRIAL_MAX_WIDTH: usize = 24;
/// Below this many points either engine takes milliseconds.
pub const KD_TREE_MIN_POINTS: usize = 1000;

impl Engine {
    /// The engine that [`Engine::Auto`] stands for by size alone; any other is itself.
    ///
    /// The tree for at most [`KD_TREE_MAX_WIDTH`] columns and at least [`KD_TREE_MIN_POINTS`] points, the products
    /// otherwise. Up to [`TRIAL_MAX_WIDTH`] columns [`nearest_neighbours`] does not ask this but times 200
    /// queries of the tree and a share of the products: what counts is the dimension that the points fill.
    ///
    /// - `n`, `d`: points and columns.
    pub fn resolve(self, n: usize, d: usize, distance: Distance) -> Engine {
        let suits_tree = d <= KD_TREE_MAX_WIDTH && n >= KD_TREE_MIN_POINTS;
        match self {
            Engine::Auto if suits_tree && kd_tree::supports(distance) => Engine::KdTree,
            Engine::Auto => Engine::Products,
            engine => engine,
        }
    }

    /// The engine for these points: [`Engine::resolve`], with a trial between its bounds.
    fn choose(self, points: ArrayView2<'_, f32>, k: usize, distance: Distance) -> Engine {
        let (n, d) = points.dim();
        let undecided = d > KD_TREE_MAX_WIDTH && d <= TRIAL_MAX_WIDTH;
        if self != Engine::Auto
            || !undecided
            || !kd_tree::supports(distance)
            || n < 10 * KD_TREE_MIN_POINTS
        {
            return self.resolve(n, d, distance);
        }
        const QUERIES: usize = 200;
        let tree = kd_tree::trial(points, k, distance, QUERIES);
        // The products of a tenth of the points among themselves cost a hundredth of all.
        let few = points.slice(s![..;10, ..]);
        let start = Instant::now();
        if k >= few.nrows() || top_k_within(few, k, distance).is_err() {
            return self.resolve(n, d, distance);
        }
        let products = start.elapsed().as_secs_f64() * rayon::current_num_threads() as f64;
        let share = few.nrows() as f64 / n as f64;
        if tree * n as f64 <= products / (share * share) {
            Engine::KdTree
        } else {
            Engine::Products
        }
    }

    /// The name in tables: `auto`, `kd-tree`, `linfa-kd-tree`, `ball-tree`, `products` or `descent`.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Auto => "auto",
            Engine::KdTree => "kd-tree",
            Engine::LinfaKdTree => "linfa-kd-tree",
            Engine::BallTree => "ball-tree",
            Engine::Products => "products",
            Engine::Descent => "descent",
        }
    }
}

/// Why points have no neighbours.
#[derive(Debug, Error)]
pub enum NeighbourError {
    /// There are no points.
    #[error("points: expected at least 2, found none")]
    Empty,
    /// The points have no coordinates.
    #[error("points: expected at least 1 column, found 0")]
    NoColumns,
    /// No neighbours were asked for.
    #[error("k: expected at least 1, found 0")]
    None,
    /// As many neighbours as points or more: a point is not its own neighbour.
    #[error("k: expected less than the number of points, {points}, found {k}")]
    TooMany {
        /// Number of points.
        points: usize,
        /// The k given.
        k: usize,
    },
    /// A coordinate is infinite or not a number.
    #[error("point {row}, column {column}: expected a finite value, found {found}")]
    NotFinite {
        /// The first such point.
        row: usize,
        /// Its first such column.
        column: usize,
        /// The value.
        found: f32,
    },
    /// The engine cannot search by this distance.
    #[error("the {} engine: expected {}, found {}", engine.as_str(), engine.supported(), distance.as_str())]
    Unsupported {
        /// The engine asked for.
        engine: Engine,
        /// The distance asked for.
        distance: Distance,
    },
    /// The k-d tree is built for fewer columns.
    #[error("the kd-tree engine: expected at most {max} columns, found {found}", max = kd_tree::MAX_WIDTH)]
    TooWide {
        /// Columns of the points.
        found: usize,
    },
    /// The products cannot be formed.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// linfa-nn refuses to build a tree.
    #[error(transparent)]
    Build(#[from] linfa_nn::BuildError),
    /// linfa-nn refuses a query.
    #[error(transparent)]
    Query(#[from] linfa_nn::NnError),
}

impl Engine {
    fn is_tree(self) -> bool {
        matches!(self, Engine::KdTree | Engine::LinfaKdTree | Engine::BallTree)
    }

    fn supported(self) -> &'static str {
        "euclidean, squared-euclidean or manhattan"
    }
}

/// The `k` nearest other points of every point, nearest first.
///
/// Ties break by the lower index, also where the k-th place is shared, so all exact engines give the same
/// result on any number of threads. A point is left out by its index: a duplicate is a neighbour,
/// at distance 0. Runs on the current rayon pool.
///
/// - `points`: `[n, d]`, d ≥ 1, finite; copied unless row-major.
/// - `k`: 1 ≤ k < n.
/// - returns: indices and distances, `[n, k]`.
///
/// # Errors
/// [`NeighbourError::TooMany`] if `k ≥ n`; [`NeighbourError::NotFinite`] names the first bad value;
/// [`NeighbourError::Unsupported`] for a tree by a distance of another space; see there for the rest.
///
/// # Examples
/// ```
/// use nearkin_graph::{Distance, Engine, nearest_neighbours};
/// let points = ndarray::arr2(&[[0.0], [1.0], [3.0], [2.0]]);
/// let found = nearest_neighbours(points.view(), 2, Distance::Euclidean, Engine::KdTree)?;
/// assert_eq!(found.indices.row(0).to_vec(), [1, 3]);
/// assert_eq!(found.indices.row(1).to_vec(), [0, 3]); // both at 1: the lower index first
/// # Ok::<(), nearkin_graph::NeighbourError>(())
/// ```
pub fn nearest_neighbours(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    engine: Engine,
) -> Result<Neighbours, NeighbourError> {
    check(points, k)?;
    let engine = engine.choose(points, k, distance);
    if engine.is_tree() && !kd_tree::supports(distance) {
        return Err(NeighbourError::Unsupported { engine, distance });
    }
    match engine {
        Engine::KdTree if points.ncols() > kd_tree::MAX_WIDTH => {
            Err(NeighbourError::TooWide { found: points.ncols() })
        }
        Engine::KdTree => Ok(kd_tree::nearest(points, k, distance)),
        Engine::LinfaKdTree | Engine::BallTree => linfa_tree::nearest(points, k, distance, engine),
        Engine::Descent => Ok(descent::descend(points, k, distance, &descent::Descent::default())?),
        Engine::Auto | Engine::Products => Ok(top_k_within(points, k, distance)?),
    }
}

/// What an approximate result found of the true neighbours of a sample of points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// Points in the sample.
    pub points: usize,
    /// Share of their true k nearest that were found, in \[0, 1\]; one as near as the k-th counts.
    pub share: f64,
    /// Of `share`, from how much the points differ; 0 for a single point.
    pub standard_error: f64,
}

/// The recall of `found` on `sample` points drawn by `seed`, against exact neighbours.
///
/// Cost: O(sample · n · d). A point that misses one neighbour is likely to miss more, so the error is several times
/// that of sample · k independent trials: 0.007 was seen at a share of 0.95 on 200 points. Take a thousand or more.
///
/// # Errors
/// [`NeighbourError::Distance`] for what [`nearkin_metrics::top_k`] refuses.
pub fn measured_recall(
    points: ArrayView2<'_, f32>,
    found: &Neighbours,
    distance: Distance,
    sample: usize,
    seed: u64,
) -> Result<Recall, NeighbourError> {
    let (n, k) = found.indices.dim();
    let sample = sample.min(n);
    let mut draws = crate::descent::Draws::new(seed);
    let mut rows: Vec<usize> = (0..sample).map(|_| draws.below(n)).collect();
    rows.sort_unstable();
    rows.dedup();
    let queries = points.select(ndarray::Axis(0), &rows);
    // The row itself is among the nearest of the row, unless k + 1 equal ones have lower indices.
    let exact = top_k(queries.view(), points, (k + 1).min(n), distance)?;
    let mut shares = Vec::with_capacity(rows.len());
    for (at, &row) in rows.iter().enumerate() {
        let others = exact.indices.row(at).into_iter().zip(exact.distances.row(at));
        let limit = others.filter(|&(&j, _)| j != row).take(k).last().map(|(_, &limit)| limit);
        let distances = found.distances.row(row);
        let hits = distances.iter().filter(|&&v| limit.is_some_and(|limit| v <= limit)).count();
        shares.push(hits as f64 / k.max(1) as f64);
    }
    let count = shares.len() as f64;
    let share = shares.iter().sum::<f64>() / count.max(1.0);
    let squares: f64 = shares.iter().map(|one| (one - share) * (one - share)).sum();
    let standard_error = (squares / (count - 1.0).max(1.0) / count.max(1.0)).sqrt();
    Ok(Recall { points: rows.len(), share, standard_error })
}

pub(crate) fn check(points: ArrayView2<'_, f32>, k: usize) -> Result<(), NeighbourError> {
    let (n, d) = points.dim();
    if n == 0 {
        return Err(NeighbourError::Empty);
    }
    if d == 0 {
        return Err(NeighbourError::NoColumns);
    }
    if k == 0 {
        return Err(NeighbourError::None);
    }
    if k >= n {
        return Err(NeighbourError::TooMany { points: n, k });
    }
    let bad = |row: &ndarray::ArrayView1<'_, f32>| {
        row.iter().map(|v| u32::from(!v.is_finite())).sum::<u32>() > 0
    };
    if let Some(row) = points.rows().into_iter().position(|row| bad(&row)) {
        let place = points.row(row).into_iter().enumerate().find(|(_, v)| !v.is_finite());
        if let Some((column, &found)) = place {
            return Err(NeighbourError::NotFinite { row, column, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    const ENGINES: [Engine; 6] = [
        Engine::Auto,
        Engine::KdTree,
        Engine::LinfaKdTree,
        Engine::BallTree,
        Engine::Products,
        Engine::Descent,
    ];

    fn check(points: &Array2<f32>, k: usize, expected_error: &str) {
        for engine in ENGINES {
            let error = nearest_neighbours(points.view(), k, Distance::Euclidean, engine);
            assert_eq!(error.unwrap_err().to_string(), expected_error);
        }
    }

    #[test]
    fn what_would_make_an_engine_panic_is_refused_by_all() {
        let mut points = Array2::<f32>::zeros((3, 2));
        check(&points, 3, "k: expected less than the number of points, 3, found 3");
        check(&points, 0, "k: expected at least 1, found 0");
        check(&Array2::zeros((0, 2)), 1, "points: expected at least 2, found none");
        check(&Array2::zeros((1, 2)), 1, "k: expected less than the number of points, 1, found 1");
        check(&Array2::zeros((3, 0)), 1, "points: expected at least 1 column, found 0");
        points[[1, 1]] = f32::NAN;
        points[[2, 0]] = f32::INFINITY;
        check(&points, 1, "point 1, column 1: expected a finite value, found NaN");
    }

    #[test]
    fn a_tree_by_cosine_is_refused_and_never_chosen() {
        let points = Array2::<f32>::ones((3, 2));
        let error =
            nearest_neighbours(points.view(), 1, Distance::Cosine, Engine::KdTree).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kd-tree engine: expected euclidean, squared-euclidean or manhattan, found cosine"
        );
        assert_eq!(Engine::Auto.resolve(1 << 20, 2, Distance::Cosine), Engine::Products);
    }

    #[test]
    fn the_error_of_a_measured_recall_is_that_of_points_not_of_entries() {
        // Half of the points have lost all their neighbours, the others none.
        let points = Array2::from_shape_fn((400, 1), |(i, _)| i as f32);
        let mut found =
            nearest_neighbours(points.view(), 4, Distance::Euclidean, Engine::Products).unwrap();
        for (row, mut distances) in found.distances.rows_mut().into_iter().enumerate() {
            if row % 2 == 0 {
                distances.fill(100.0);
            }
        }
        let recall = measured_recall(points.view(), &found, Distance::Euclidean, 200, 1).unwrap();
        assert!((recall.share - 0.5).abs() < 4.0 * recall.standard_error, "{recall:?}");
        let expected = 0.5 / (recall.points as f64).sqrt();
        assert!((recall.standard_error - expected).abs() < 0.1 * expected, "{recall:?}");
    }

    #[test]
    fn auto_grows_trees_only_for_many_points_of_few_columns() {
        let auto = |n, d| Engine::Auto.resolve(n, d, Distance::Euclidean);
        assert_eq!(auto(KD_TREE_MIN_POINTS, KD_TREE_MAX_WIDTH), Engine::KdTree);
        assert_eq!(auto(KD_TREE_MIN_POINTS - 1, 2), Engine::Products);
        assert_eq!(auto(1 << 20, KD_TREE_MAX_WIDTH + 1), Engine::Products);
        assert_eq!(Engine::KdTree.resolve(2, 512, Distance::Euclidean), Engine::KdTree);
    }
}
