//! The contrastive loss on pairs.
//!
//! Hadsell, Chopra and LeCun, 2006, <https://doi.org/10.1109/CVPR.2006.100>. Of distances, not of
//! similarities.

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::PairReduction;
use super::pairs::{Rows, distances, positive};
use crate::graded::{graded, not_negative};
use crate::{Graded, LossError};

/// Settings of [`contrastive`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrastive {
    /// Pairs that belong together may be this far apart, at least 0.
    pub positive_margin: f32,
    /// Others have to be this far apart, at least 0.
    pub negative_margin: f32,
    /// Hinges, as pytorch-metric-learning's, or squared ones, as the paper's (whose factor ½ is left
    /// to the caller).
    pub power: Power,
    /// Whether rows are divided by their norm first.
    pub normalised: bool,
    /// Over pairs; positive and negative pairs are reduced apart and then added.
    pub reduction: PairReduction,
}

/// What a hinge is raised to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Power {
    /// max(0, x).
    #[default]
    Linear,
    /// max(0, x)².
    Squared,
}

impl Power {
    /// Value and slope of a hinge.
    fn of(self, x: f64) -> (f64, f64) {
        match self {
            _ if x <= 0.0 => (0.0, 0.0),
            Self::Linear => (x, 1.0),
            Self::Squared => (x * x, 2.0 * x),
        }
    }
}

impl Default for Contrastive {
    /// Margins 0 and 1, hinges of normalised rows, as in pytorch-metric-learning.
    fn default() -> Self {
        Self {
            positive_margin: 0.0,
            negative_margin: 1.0,
            power: Power::Linear,
            normalised: true,
            reduction: PairReduction::MeanOfPositive,
        }
    }
}

impl Contrastive {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        not_negative("positive_margin", self.positive_margin)?;
        not_negative("negative_margin", self.negative_margin)
    }
}

/// Σ h(d − m₊) over pairs that belong together and Σ h(m₋ − d) over others, reduced and added.
///
/// d = √(‖x − y‖² + 1e-12), h the hinge. Cost: O(n²·d).
///
/// - `points`: `[n, d]`, finite; `labels`: `n`, equal for rows that belong together.
/// - returns: at least 0; gradient `[n, d]`.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Contrastive, contrastive};
/// let points = ndarray::arr2(&[[0.0_f64], [2.0], [2.5]]);
/// let config = Contrastive { normalised: false, ..Contrastive::default() };
/// let loss = contrastive(points.view(), &[0, 0, 1], &config)?;
/// // One pair 2 apart; of the others one is 0.5 too near.
/// assert!((loss.value - 2.5).abs() < 1e-9);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn contrastive<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Contrastive,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let rows = Rows::labelled(points, labels, config.normalised)?;
    let d = distances(&rows.y);
    let n = labels.len();
    // Value, terms, terms above 0 and slopes, for negative and positive pairs.
    let mut sides = [(0.0, 0, 0), (0.0, 0, 0)];
    let mut slopes = [Array2::zeros((n, n)), Array2::zeros((n, n))];
    for ((i, j), &d) in d.indexed_iter().filter(|((i, j), _)| i != j) {
        let together = positive(labels, i, j);
        let (sign, margin) =
            if together { (1.0, config.positive_margin) } else { (-1.0, config.negative_margin) };
        let (term, slope) = config.power.of(sign * (d - f64::from(margin)));
        let (sum, count, active) = &mut sides[usize::from(together)];
        *sum += term;
        *count += 1;
        *active += usize::from(term > 0.0);
        slopes[usize::from(together)][[i, j]] = sign * slope;
    }
    let (mut value, mut g) = (0.0, Array2::zeros((n, n)));
    for ((sum, count, active), slopes) in sides.into_iter().zip(&slopes) {
        let factor = config.reduction.factor(count, active);
        value += factor * sum;
        g.scaled_add(factor, slopes);
    }
    graded((value, rows.distances_back(&d, &g)))
}
