//! InfoNCE between two sides, row i of one belonging to row i of the other; N-pairs is one of them.
//!
//! Van den Oord, Li and Vinyals, 2018, <https://arxiv.org/abs/1807.03748>; both directions: CLIP,
//! Radford et al., 2021, <https://arxiv.org/abs/2103.00020>; N-pairs: Sohn, 2016,
//! <https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective>.

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::pairs::Rows;
use crate::cross_entropy::of_labels;
use crate::graded::{graded_pair, not_negative, positive, same_shape};
use crate::{CrossEntropy, GradedPair, LossError};

/// Who looks for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Queries look for their keys.
    #[default]
    QueriesToKeys,
    /// The mean of both directions, as in CLIP.
    Both,
}

/// Settings of [`info_nce`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// τ, above 0.
    pub temperature: f32,
    /// Who looks for whom.
    pub direction: Direction,
    /// Whether rows are divided by their norm first.
    pub normalised: bool,
}

impl Default for InfoNce {
    /// τ = 0.07, one direction, normalised rows.
    fn default() -> Self {
        Self { temperature: 0.07, direction: Direction::QueriesToKeys, normalised: true }
    }
}

impl InfoNce {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        positive("temperature", self.temperature)
    }
}

/// −mean ln softmax_j(qᵢ·kⱼ/τ) at j = i: each query has to find its key among all keys of the batch.
///
/// Cost: O(n²·d).
///
/// - `queries`, `keys`: `[n, d]`, finite; row i of one belongs to row i of the other.
/// - returns: at least 0, in nats, ln n where all rows are alike; gradients `[n, d]` each.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{InfoNce, info_nce};
/// let rows = ndarray::arr2(&[[1.0_f64, 0.0], [1.0, 0.0]]);
/// let loss = info_nce(rows.view(), rows.view(), &InfoNce::default())?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn info_nce<T: NdFloat>(
    queries: ArrayView2<'_, T>,
    keys: ArrayView2<'_, T>,
    config: &InfoNce,
) -> Result<GradedPair<T, Ix2>, LossError> {
    config.check()?;
    same_shape("keys", queries.shape(), keys.shape())?;
    let q = Rows::new("queries", queries, config.normalised)?;
    let k = Rows::new("keys", keys, config.normalised)?;
    let logits = q.products(&k) / f64::from(config.temperature);
    let (value, g) = diagonal(&logits, config.direction);
    let (gq, gk) = q.products_back(&k, &(g / f64::from(config.temperature)));
    graded_pair((value, gq, gk))
}

/// Cross-entropy of square logits whose row i belongs to class i.
fn diagonal(logits: &Array2<f64>, direction: Direction) -> (f64, Array2<f64>) {
    let labels: Vec<usize> = (0..logits.nrows()).collect();
    let plain = CrossEntropy::default();
    let (value, g) = of_labels(logits, &labels, &plain);
    match direction {
        Direction::QueriesToKeys => (value, g),
        Direction::Both => {
            let (back, g_back) = of_labels(&logits.t().to_owned(), &labels, &plain);
            ((value + back) / 2.0, (g + g_back.t()) / 2.0)
        }
    }
}

/// Settings of [`n_pairs`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NPairs {
    /// λ, at least 0, on the mean squared norm of all rows; 0 by default. The paper uses 0.02 or less.
    pub norm_penalty: f32,
}

/// −mean ln softmax_j(aᵢ·pⱼ) at j = i, plus λ·Σ (‖aᵢ‖² + ‖pᵢ‖²)/2n: one pair of each class.
///
/// Rows are not normalised; their norms are held by the penalty.
///
/// - `anchors`, `positives`: `[n, d]`, finite; row i of both is of class i.
/// - returns: at least 0; gradients `[n, d]` each.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{NPairs, n_pairs};
/// let rows = ndarray::arr2(&[[0.0_f64], [0.0]]);
/// let loss = n_pairs(rows.view(), rows.view(), &NPairs::default())?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn n_pairs<T: NdFloat>(
    anchors: ArrayView2<'_, T>,
    positives: ArrayView2<'_, T>,
    config: &NPairs,
) -> Result<GradedPair<T, Ix2>, LossError> {
    not_negative("norm_penalty", config.norm_penalty)?;
    same_shape("positives", anchors.shape(), positives.shape())?;
    let a = Rows::new("anchors", anchors, false)?;
    let p = Rows::new("positives", positives, false)?;
    let (mut value, g) = diagonal(&a.products(&p), Direction::QueriesToKeys);
    let (mut ga, mut gp) = a.products_back(&p, &g);
    let penalty = f64::from(config.norm_penalty) * crate::graded::share_of(a.y.nrows() as f64);
    for (rows, g) in [(&a, &mut ga), (&p, &mut gp)] {
        value += penalty / 2.0 * rows.y.iter().map(|v| v * v).sum::<f64>();
        g.scaled_add(penalty, &rows.y);
    }
    graded_pair((value, ga, gp))
}
