//! The triplet loss, with a margin or soft, over all or mined triplets.
//!
//! Schroff, Kalenichenko and Philbin, 2015, <https://arxiv.org/abs/1503.03832> (semi-hard); Hermans,
//! Beyer and Leibe, 2017, <https://arxiv.org/abs/1703.07737> (batch-hard, soft margin).

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::PairReduction;
use super::pairs::{Rows, distances, positive};
use crate::graded::{graded, not_negative};
use crate::rows::{sigmoid, softplus};
use crate::{Graded, LossError};

/// What a triplet costs, of x = d(a, p) − d(a, n).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// max(0, x + m), m at least 0.
    Hinge(f32),
    /// ln(1 + eˣ): never quite satisfied.
    Soft,
}

/// Which triplets (a, p, n) count: `a` and `p` belong together, `n` does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mining {
    /// All of them.
    All,
    /// Those with d(a, p) < d(a, n) ≤ d(a, p) + `within`: the negative is further, but not by enough.
    SemiHard {
        /// Above 0; usually the margin.
        within: f32,
    },
    /// For each anchor, its furthest positive and its nearest negative.
    Hard,
}

/// Settings of [`triplet`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triplet {
    /// What a triplet costs.
    pub margin: Margin,
    /// Which triplets count.
    pub mining: Mining,
    /// Whether rows are divided by their norm first.
    pub normalised: bool,
    /// Over triplets.
    pub reduction: PairReduction,
}

impl Default for Triplet {
    /// Margin 0.05, all triplets of normalised rows, as in pytorch-metric-learning.
    fn default() -> Self {
        Self {
            margin: Margin::Hinge(0.05),
            mining: Mining::All,
            normalised: true,
            reduction: PairReduction::MeanOfPositive,
        }
    }
}

impl Triplet {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        if let Margin::Hinge(margin) = self.margin {
            not_negative("margin", margin)?;
        }
        if let Mining::SemiHard { within } = self.mining {
            crate::graded::positive("within", within)?;
        }
        Ok(())
    }
}

/// The triplet loss of rows by their labels.
///
/// d = √(‖x − y‖² + 1e-12). Cost: O(n²·d), and O(n³) comparisons unless mining is hard.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`, equal for rows that belong together.
/// - returns: at least 0; gradient `[n, d]`. Which triplets count is no part of the derivative.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Margin, Mining, Triplet, triplet};
/// let points = ndarray::arr2(&[[0.0_f64], [1.0], [1.5]]);
/// let config = Triplet {
///     margin: Margin::Hinge(0.25),
///     mining: Mining::Hard,
///     normalised: false,
///     ..Triplet::default()
/// };
/// // Anchor 0: 1 − 1.5 + 0.25 < 0. Anchor 1: 1 − 0.5 + 0.25.
/// let loss = triplet(points.view(), &[0, 0, 1], &config)?;
/// assert!((loss.value - 0.75).abs() < 1e-9);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn triplet<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Triplet,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let rows = Rows::labelled(points, labels, config.normalised)?;
    let d = distances(&rows.y);
    let chosen = mined(&d, labels, config.mining);
    graded(over(&rows, &d, &chosen, config))
}

/// The triplet loss over given triplets (anchor, positive, negative), as a miner returns them.
///
/// `config.mining` takes no part.
///
/// - `points`: `[n, d]`, finite; `triplets`: rows below n.
/// - returns: at least 0; gradient `[n, d]`.
///
/// # Errors
/// [`LossError`]: rows, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Triplet, triplet_of};
/// let points = ndarray::arr2(&[[0.0_f64], [2.0], [3.0]]);
/// let config = Triplet { normalised: false, ..Triplet::default() };
/// let loss = triplet_of(points.view(), &[(0, 2, 1)], &config)?;
/// assert!((loss.value - 1.05).abs() < 1e-6);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn triplet_of<T: NdFloat>(
    points: ArrayView2<'_, T>,
    triplets: &[(usize, usize, usize)],
    config: &Triplet,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let rows = points.nrows();
    for (position, &(a, p, n)) in triplets.iter().enumerate() {
        if let Some(&found) = [a, p, n].iter().find(|&&row| row >= rows) {
            return Err(LossError::Index { input: "triplet", position, rows, found });
        }
    }
    let rows = Rows::new("points", points, config.normalised)?;
    let d = distances(&rows.y);
    graded(over(&rows, &d, triplets, config))
}

fn over(
    rows: &Rows,
    d: &Array2<f64>,
    triplets: &[(usize, usize, usize)],
    config: &Triplet,
) -> (f64, Array2<f64>) {
    let (mut sum, mut active) = (0.0, 0);
    let mut g = Array2::zeros(d.dim());
    for &(anchor, near, far) in triplets {
        let x = d[[anchor, near]] - d[[anchor, far]];
        let (term, slope) = match config.margin {
            Margin::Soft => (softplus(x), sigmoid(x)),
            Margin::Hinge(margin) => {
                let over = x + f64::from(margin);
                (over.max(0.0), f64::from(u8::from(over > 0.0)))
            }
        };
        sum += term;
        active += usize::from(term > 0.0);
        g[[anchor, near]] += slope;
        g[[anchor, far]] -= slope;
    }
    let factor = config.reduction.factor(triplets.len(), active);
    (factor * sum, rows.distances_back(d, &(g * factor)))
}

/// The triplets that count, in order of anchor, positive, negative.
pub(crate) fn mined(
    d: &Array2<f64>,
    labels: &[usize],
    mining: Mining,
) -> Vec<(usize, usize, usize)> {
    let n = labels.len();
    let mut chosen = Vec::new();
    for anchor in 0..n {
        let positives = || (0..n).filter(move |&p| positive(labels, anchor, p));
        let negatives = || (0..n).filter(move |&i| labels[i] != labels[anchor]);
        if mining == Mining::Hard {
            let at = |row: usize| d[[anchor, row]];
            let furthest = positives().reduce(|a, b| if at(b) > at(a) { b } else { a });
            let nearest = negatives().reduce(|a, b| if at(b) < at(a) { b } else { a });
            if let (Some(p), Some(negative)) = (furthest, nearest) {
                chosen.push((anchor, p, negative));
            }
            continue;
        }
        for p in positives() {
            let counts = |&negative: &usize| match mining {
                Mining::SemiHard { within } => {
                    let further = d[[anchor, negative]] - d[[anchor, p]];
                    further > 0.0 && further <= f64::from(within)
                }
                Mining::All | Mining::Hard => true,
            };
            chosen.extend(negatives().filter(counts).map(|negative| (anchor, p, negative)));
        }
    }
    chosen
}
