//! The graph regulariser: rows that an edge joins are drawn together.
//!
//! R = L + α·Σ_{(u,v)∈E} w_uv·d(φ(x_u), φ(x_v)). Bui, Ravi and Ramavajjala, 2017,
//! <https://arxiv.org/abs/1703.04818>; Juan et al., 2019, <https://arxiv.org/abs/1902.10814>. It draws
//! no edges: sampling is the caller's.

mod distance;
mod kinds;
mod schedule;
mod space;

pub use distance::EdgeDistance;
pub use kinds::EdgeKindWeights;
pub use schedule::{Alpha, Schedule};
pub use space::Space;

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use crate::graded::{finite, graded, graded_pair, one_per_row, positive, same_shape};
use crate::rows::{give_back, take};
use crate::{Graded, GradedPair, LossError};
use space::Mapped;

/// Under the root of [`EdgeDistance::L2`], so that equal rows have a gradient.
pub const ROOT_EPS: f32 = 1e-12;

/// Which side of an edge holds still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StopGradient {
    /// Both sides move.
    #[default]
    Neither,
    /// u is a target; only v moves.
    First,
    /// v is a target; only u moves.
    Second,
}

/// How the edges' terms become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EdgeReduction {
    /// Σ w·d, the papers' form: α then scales with the number of edges in a batch.
    Sum,
    /// Σ w·d / E.
    #[default]
    Mean,
    /// Σ w·d / Σ w.
    WeightedMean,
}

/// What [`graph_term`] measures; by default squared L2 of the rows as they are, the mean over edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GraphTerm {
    /// d.
    pub distance: EdgeDistance,
    /// What is done to every row first.
    pub space: Space,
    /// Which side holds still.
    pub stop_gradient: StopGradient,
    /// From terms to a number.
    pub reduction: EdgeReduction,
}

impl GraphTerm {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        if self.distance.is_of_probabilities() && self.space != Space::Softmax {
            return Err(LossError::Setting {
                field: "space",
                expected: "softmax with a distance of probabilities",
                found: format!("{:?} with {:?}", self.space, self.distance),
            });
        }
        Ok(())
    }
}

/// Edges of a batch: edge e joins rows `u[e]` and `v[e]` with weight `w[e]`, finite and at least 0.
#[derive(Clone, Copy, Debug)]
pub struct Edges<'a, T> {
    /// First rows, `[E]`.
    pub u: &'a [usize],
    /// Second rows, `[E]`.
    pub v: &'a [usize],
    /// Weights, `[E]`.
    pub w: &'a [T],
}

impl<T: NdFloat> Edges<'_, T> {
    fn checked(&self, rows: usize) -> Result<Vec<f64>, LossError> {
        one_per_row("edges v", self.u.len(), self.v.len())?;
        for (input, side) in [("edges u", self.u), ("edges v", self.v)] {
            if let Some((position, &found)) = side.iter().enumerate().find(|(_, i)| **i >= rows) {
                return Err(LossError::Index { input, position, rows, found });
            }
        }
        weights(self.w, self.u.len())
    }
}

fn weights<T: NdFloat>(w: &[T], edges: usize) -> Result<Vec<f64>, LossError> {
    one_per_row("edge weights", edges, w.len())?;
    let w = ndarray::ArrayView1::from(w);
    let expected = "a weight of at least 0";
    Ok(crate::graded::within("edge weights", &w, expected, |v| v >= 0.0)?.to_vec())
}

/// Σ w_uv·d(φ_u, φ_v) over edges that index into one batch, reduced; α is left to the caller.
///
/// Multiply value and gradient by [`Alpha::at`]. Cost: O(E·d).
///
/// - `points`: `[n, d]`, finite: embeddings, or logits with [`Space::Softmax`].
/// - `edges`: rows below n. A row may occur often; an edge of a row with itself adds w·d(x, x).
/// - returns: at least 0; gradient `[n, d]`; both 0 without edges.
///
/// # Errors
/// [`LossError`]: shapes, indices, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Edges, GraphTerm, graph_term};
/// let points = ndarray::arr2(&[[0.0_f64, 0.0], [3.0, 4.0], [0.0, 1.0]]);
/// let edges = Edges { u: &[0, 0], v: &[1, 2], w: &[1.0, 0.5] };
/// let term = graph_term(points.view(), edges, &GraphTerm::default())?;
/// assert_eq!(term.value, (25.0 + 0.5) / 2.0);
/// assert_eq!(term.gradient.row(1), ndarray::arr1(&[3.0, 4.0]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn graph_term<T: NdFloat>(
    points: ArrayView2<'_, T>,
    edges: Edges<'_, T>,
    config: &GraphTerm,
) -> Result<Graded<T, Ix2>, LossError> {
    over_points(points, edges, config, |d| (d, 1.0))
}

/// Σ w·d(aᵢ, bᵢ) over row-aligned matrices, reduced: for neighbours that are a batch of their own.
///
/// - `first`, `second`: `[E, d]`, finite; `w`: `E` weights, at least 0.
/// - returns: at least 0; gradients `[E, d]` each, 0 for a side that holds still.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{EdgeDistance, GraphTerm, graph_term_rows};
/// let (a, b) = (ndarray::arr2(&[[1.0_f64, -1.0]]), ndarray::arr2(&[[0.0, 1.0]]));
/// let l1 = GraphTerm { distance: EdgeDistance::L1, ..GraphTerm::default() };
/// let term = graph_term_rows(a.view(), b.view(), &[2.0], &l1)?;
/// assert_eq!(term.value, 6.0);
/// assert_eq!(term.first, ndarray::arr2(&[[2.0, -2.0]]));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn graph_term_rows<T: NdFloat>(
    first: ArrayView2<'_, T>,
    second: ArrayView2<'_, T>,
    w: &[T],
    config: &GraphTerm,
) -> Result<GradedPair<T, Ix2>, LossError> {
    config.check()?;
    same_shape("second", first.shape(), second.shape())?;
    let (a, b) = (finite("first", &first)?, finite("second", &second)?);
    let w = weights(w, a.nrows())?;
    let (a, b) = (Mapped::new(config.space, a), Mapped::new(config.space, b));
    let (value, ga, gb) = along_rows(&a, &b, &w, config, |d| (d, 1.0));
    graded_pair((value, a.back(ga, config.distance), b.back(gb, config.distance)))
}

/// Settings of [`repulsive_term`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repulsion {
    /// Distance, space, stop-gradient and reduction, as for the edges.
    pub term: GraphTerm,
    /// m, above 0: pairs further apart than this are left alone.
    pub margin: f32,
}

impl Repulsion {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        self.term.check()?;
        positive("margin", self.margin)
    }
}

/// Σ w·max(0, m − d(φ_u, φ_v))² over pairs that are *not* neighbours, reduced.
///
/// The regulariser alone is least where all rows are one; this term pushes pairs apart until they
/// are m away, so that the embedding cannot collapse. It is the negative part of the contrastive
/// loss: Hadsell, Chopra and LeCun, 2006, <https://doi.org/10.1109/CVPR.2006.100>. Exactly equal
/// rows have no direction to part in: their gradient is 0.
///
/// - `points`, `pairs`: as for [`graph_term`].
///
/// # Errors
/// As [`graph_term`], and for a margin that is not above 0.
///
/// # Examples
/// ```
/// use nearkin_loss::{EdgeDistance, Edges, GraphTerm, Repulsion, repulsive_term};
/// let points = ndarray::arr2(&[[0.0_f64], [0.5], [9.0]]);
/// let pairs = Edges { u: &[0, 0], v: &[1, 2], w: &[1.0, 1.0] };
/// let l1 = GraphTerm { distance: EdgeDistance::L1, ..GraphTerm::default() };
/// let term = repulsive_term(points.view(), pairs, &Repulsion { term: l1, margin: 1.0 })?;
/// assert_eq!(term.value, 0.25 / 2.0);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn repulsive_term<T: NdFloat>(
    points: ArrayView2<'_, T>,
    pairs: Edges<'_, T>,
    config: &Repulsion,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let margin = f64::from(config.margin);
    let hinge = |d: f64| {
        let short = (margin - d).max(0.0);
        (short * short, -2.0 * short)
    };
    over_points(points, pairs, &config.term, hinge)
}

fn over_points<T: NdFloat>(
    points: ArrayView2<'_, T>,
    edges: Edges<'_, T>,
    config: &GraphTerm,
    of_distance: impl Fn(f64) -> (f64, f64),
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let w = edges.checked(points.nrows())?;
    let mapped = Mapped::new(config.space, finite("points", &points)?);
    let (a, b) = (mapped.take(edges.u), mapped.take(edges.v));
    let (value, ga, gb) = along_rows(&a, &b, &w, config, of_distance);
    let mut g = Array2::zeros(points.dim());
    give_back(&mut g, edges.u, &ga);
    give_back(&mut g, edges.v, &gb);
    graded((value, mapped.back(g, config.distance)))
}

/// The reduced Σ w·f(d) and its gradients with respect to the mapped rows; `of_distance` gives f and
/// its slope.
fn along_rows(
    a: &Mapped,
    b: &Mapped,
    w: &[f64],
    config: &GraphTerm,
    of_distance: impl Fn(f64) -> (f64, f64),
) -> (f64, Array2<f64>, Array2<f64>) {
    let factor = match config.reduction {
        EdgeReduction::Sum => 1.0,
        EdgeReduction::Mean => crate::graded::share_of(w.len() as f64),
        EdgeReduction::WeightedMean => crate::graded::share_of(w.iter().sum()),
    };
    let mut value = 0.0;
    let (mut ga, mut gb) = (Array2::zeros(a.y.dim()), Array2::zeros(a.y.dim()));
    for (edge, w) in w.iter().enumerate() {
        let pair = distance::Pair::new(a, b, edge);
        let (term, slope) = of_distance(pair.distance(config.distance));
        value += factor * w * term;
        let scale = factor * w * slope;
        pair.gradient(config.distance, scale, ga.row_mut(edge), gb.row_mut(edge));
    }
    match config.stop_gradient {
        StopGradient::Neither => {}
        StopGradient::First => ga.fill(0.0),
        StopGradient::Second => gb.fill(0.0),
    }
    (value, ga, gb)
}

impl Mapped {
    fn take(&self, chosen: &[usize]) -> Self {
        let log = self.log.as_ref().map(|log| take(log.view(), chosen));
        Self { space: self.space, y: take(self.y.view(), chosen), log, norms: None }
    }
}
