//! Miners: which pairs and triplets of a batch are worth a loss, as lists of rows.
//!
//! The losses of this crate mine by themselves where their papers do; these lists are for
//! [`triplet_of`](crate::triplet_of), for statistics, and for losses of one's own.

use ndarray::{ArrayView2, NdFloat};

use crate::metric::{Rows, counting, distances, mined, positive};
use crate::random::SplitMix64;
use crate::{LossError, Mining};

/// Ordered pairs of rows, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPairs {
    /// Rows that belong together.
    pub positives: Vec<(usize, usize)>,
    /// Rows that do not.
    pub negatives: Vec<(usize, usize)>,
}

/// All ordered pairs of different rows.
///
/// # Examples
/// ```
/// let pairs = nearkin_loss::all_pairs(&[7, 7, 3]);
/// assert_eq!(pairs.positives, [(0, 1), (1, 0)]);
/// assert_eq!(pairs.negatives, [(0, 2), (1, 2), (2, 0), (2, 1)]);
/// ```
pub fn all_pairs(labels: &[usize]) -> LabelPairs {
    let mut pairs = LabelPairs::default();
    for i in 0..labels.len() {
        for j in (0..labels.len()).filter(|&j| j != i) {
            let side =
                if positive(labels, i, j) { &mut pairs.positives } else { &mut pairs.negatives };
            side.push((i, j));
        }
    }
    pairs
}

/// Triplets (anchor, positive, negative) by Euclidean distance, in ascending order.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`.
/// - `normalised`: whether rows are divided by their norm first.
///
/// # Errors
/// [`LossError`]: shapes or values that do not fit; a semi-hard range that is not above 0.
///
/// # Examples
/// ```
/// use nearkin_loss::{Mining, mine_triplets};
/// let points = ndarray::arr2(&[[0.0_f64], [1.0], [1.5], [4.0]]);
/// let labels = [0, 0, 1, 1];
/// let semi_hard = Mining::SemiHard { within: 1.0 };
/// let found = mine_triplets(points.view(), &labels, semi_hard, false)?;
/// assert_eq!(found, [(0, 1, 2), (3, 2, 1)]);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn mine_triplets<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    mining: Mining,
    normalised: bool,
) -> Result<Vec<(usize, usize, usize)>, LossError> {
    if let Mining::SemiHard { within } = mining {
        crate::graded::positive("within", within)?;
    }
    let rows = Rows::labelled(points, labels, normalised)?;
    Ok(mined(&distances(&rows.y), labels, mining))
}

/// The pairs that the multi-similarity paper keeps, by cosine.
///
/// A negative counts if it is more similar than the least similar positive − ε, a positive if it is
/// less similar than the most similar negative + ε.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`; `epsilon`: at least 0, 0.1 in the paper.
///
/// # Errors
/// [`LossError`]: shapes, values or a setting that do not fit.
///
/// # Examples
/// ```
/// let points = ndarray::arr2(&[[1.0_f64, 0.0], [0.8, 0.6], [-1.0, 0.0]]);
/// let pairs = nearkin_loss::multi_similarity_pairs(points.view(), &[0, 0, 1], 0.1)?;
/// assert!(pairs.positives.is_empty());
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn multi_similarity_pairs<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    epsilon: f32,
) -> Result<LabelPairs, LossError> {
    crate::graded::not_negative("epsilon", epsilon)?;
    let rows = Rows::labelled(points, labels, true)?;
    let s = rows.products(&rows);
    let mut pairs = LabelPairs::default();
    for a in 0..labels.len() {
        let (positives, negatives) = counting(&s, labels, a, Some(epsilon));
        pairs.positives.extend(positives.into_iter().map(|p| (a, p)));
        pairs.negatives.extend(negatives.into_iter().map(|n| (a, n)));
    }
    Ok(pairs)
}

/// For each positive pair (a, p) one negative, drawn so that its distance to `a` is spread evenly.
///
/// On the unit sphere in d dimensions distances crowd near √2, with density
/// q(D) ∝ D^(d−2)·(1 − D²/4)^((d−3)/2); a negative is drawn with probability ∝ 1/q, distances below
/// `cutoff` counting as `cutoff`. Wu et al., 2017, <https://arxiv.org/abs/1706.07567>.
///
/// - `points`: `[n, d]`, finite, d ≥ 2; normalised first. `labels`: `n`.
/// - `cutoff`: above 0 and below √2, 0.5 in the paper.
/// - returns: triplets in order of anchor and positive; none for an anchor without negatives.
///
/// # Errors
/// [`LossError`]: shapes, values or a setting that do not fit.
///
/// # Examples
/// ```
/// let points = ndarray::arr2(&[[1.0_f64, 0.0], [0.6, 0.8], [0.0, 1.0]]);
/// let labels = [0, 0, 1];
/// let found = nearkin_loss::distance_weighted_triplets(points.view(), &labels, 0.5, 1)?;
/// assert_eq!(found, [(0, 1, 2), (1, 0, 2)]);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn distance_weighted_triplets<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    cutoff: f32,
    seed: u64,
) -> Result<Vec<(usize, usize, usize)>, LossError> {
    let fits = |v| v > 0.0 && v < std::f32::consts::SQRT_2;
    crate::graded::setting("cutoff", cutoff, "a distance above 0 and below √2", fits)?;
    if points.ncols() < 2 {
        let (expected, found) = ("at least 2".to_owned(), points.ncols().to_string());
        return Err(LossError::Shape { input: "width of points", expected, found });
    }
    let d = distances(&Rows::labelled(points, labels, true)?.y);
    let width = points.ncols() as f64;
    let log_weight = |distance: f64| {
        // The density vanishes at 2 (or grows there in two dimensions): stay a little below.
        let distance = distance.clamp(f64::from(cutoff), 1.999);
        let sphere = 1.0 - distance * distance / 4.0;
        -(width - 2.0) * distance.ln() - (width - 3.0) / 2.0 * sphere.ln()
    };
    let mut random = SplitMix64(seed);
    let mut found = Vec::new();
    for a in 0..labels.len() {
        let negatives: Vec<usize> = (0..labels.len()).filter(|&n| labels[n] != labels[a]).collect();
        let logs: Vec<f64> = negatives.iter().map(|&n| log_weight(d[[a, n]])).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        let sums: Vec<f64> = logs
            .iter()
            .map(|log| {
                total += (log - largest).exp();
                total
            })
            .collect();
        for p in (0..labels.len()).filter(|&p| positive(labels, a, p)) {
            let drawn = random.unit() * total;
            let place = sums.partition_point(|&sum| sum <= drawn);
            if let Some(&negative) = negatives.get(place.min(negatives.len().saturating_sub(1))) {
                found.push((a, p, negative));
            }
        }
    }
    Ok(found)
}
