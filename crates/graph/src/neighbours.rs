//! Nearest neighbours of every point, by whichever exact engine suits the data.

use ndarray::ArrayView2;
use nearkin_metrics::{Distance, DistanceError, Neighbours, top_k_within};
use thiserror::Error;

use crate::kd_tree;

/// How neighbours are searched. All engines are exact and give the same result.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// [`Engine::KdTree`] for at most [`KD_TREE_MAX_WIDTH`] columns and at least
    /// [`KD_TREE_MIN_POINTS`] points, [`Engine::Products`] otherwise.
    Auto,
    /// linfa-nn's k-d tree, in f64. O(n log n) for a few columns, slower than a loop for many.
    KdTree,
    /// Blocked matrix products ([`nearkin_metrics::top_k_within`]); direct sums for Manhattan. O(n² d).
    Products,
}

/// Above this many columns the products are faster: k = 15 nearest of 16 blobs took, in
/// core-seconds by tree and by products, 0.14 and 0.18 for 10,000 × 5, 0.24 and 0.24 for 12,000 × 6,
/// 1.6 and 0.9 for 25,000 × 8 (`benches/neighbours.rs`).
pub const KD_TREE_MAX_WIDTH: usize = 5;
/// Below this many points either engine takes milliseconds.
pub const KD_TREE_MIN_POINTS: usize = 1000;

impl Engine {
    /// The engine that [`Engine::Auto`] stands for; any other is itself.
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

    /// The name in tables: `auto`, `kd-tree` or `products`.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Auto => "auto",
            Engine::KdTree => "kd-tree",
            Engine::Products => "products",
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
    #[error("the {} engine: expected {}, found {}", engine.as_str(), kd_tree::SUPPORTED, distance.as_str())]
    Unsupported {
        /// The engine asked for.
        engine: Engine,
        /// The distance asked for.
        distance: Distance,
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

/// The `k` nearest other points of every point, nearest first.
///
/// Ties break by the lower index, also where the k-th place is shared, so all engines give the same
/// result on any number of threads. A point is left out by its index: a duplicate is a neighbour,
/// at distance 0. Runs on the current rayon pool.
///
/// - `points`: `[n, d]`, d ≥ 1, finite; copied unless row-major.
/// - `k`: 1 ≤ k < n.
/// - returns: indices and distances, `[n, k]`.
///
/// # Errors
/// [`NeighbourError::TooMany`] if `k ≥ n`; [`NeighbourError::NotFinite`] names the first bad value;
/// [`NeighbourError::Unsupported`] for a k-d tree by cosine; see there for the rest.
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
    if let Some(((row, column), &found)) = points.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(NeighbourError::NotFinite { row, column, found });
    }
    match engine.resolve(n, d, distance) {
        Engine::KdTree => kd_tree::nearest(points, k, distance),
        _ => Ok(top_k_within(points, k, distance)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn check(points: &Array2<f32>, k: usize, expected_error: &str) {
        for engine in [Engine::Auto, Engine::KdTree, Engine::Products] {
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
    fn auto_grows_trees_only_for_many_points_of_few_columns() {
        let auto = |n, d| Engine::Auto.resolve(n, d, Distance::Euclidean);
        assert_eq!(auto(KD_TREE_MIN_POINTS, KD_TREE_MAX_WIDTH), Engine::KdTree);
        assert_eq!(auto(KD_TREE_MIN_POINTS - 1, 2), Engine::Products);
        assert_eq!(auto(1 << 20, KD_TREE_MAX_WIDTH + 1), Engine::Products);
        assert_eq!(Engine::KdTree.resolve(2, 512, Distance::Euclidean), Engine::KdTree);
    }
}
