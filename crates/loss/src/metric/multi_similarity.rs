//! The multi-similarity loss.
//!
//! Wang et al., 2019, <https://arxiv.org/abs/1904.06627>.

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::pairs::{Rows, positive};
use crate::graded::{graded, not_negative, positive as above_zero, setting, share_of};
use crate::rows::log_sum_exp;
use crate::{Graded, LossError};

/// Settings of [`multi_similarity`]; rows are always normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiSimilarity {
    /// α, above 0: sharpness among pairs that belong together.
    pub alpha: f32,
    /// β, above 0: sharpness among others.
    pub beta: f32,
    /// λ: the similarity that parts them.
    pub base: f32,
    /// ε, at least 0, of the paper's mining: a negative counts if it is more similar than the least
    /// similar positive − ε, a positive if it is less similar than the most similar negative + ε.
    /// None: all pairs count.
    pub mining: Option<f32>,
}

impl Default for MultiSimilarity {
    /// α = 2, β = 50, λ = 0.5, ε = 0.1, as in the paper (whose text says λ = 1, its code 0.5).
    fn default() -> Self {
        Self { alpha: 2.0, beta: 50.0, base: 0.5, mining: Some(0.1) }
    }
}

impl MultiSimilarity {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        above_zero("alpha", self.alpha)?;
        above_zero("beta", self.beta)?;
        setting("base", self.base, "a finite number", |_| true)?;
        self.mining.map_or(Ok(()), |epsilon| not_negative("mining", epsilon))
    }
}

/// mean over rows of ln(1 + Σ_p e^{−α(s_ap − λ)})/α + ln(1 + Σ_n e^{β(s_an − λ)})/β, s the cosine.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`, equal for rows that belong together.
/// - returns: at least 0; gradient `[n, d]`. The mean is over all rows, those without a pair that
///   counts being 0. Which pairs count is no part of the derivative. Cost: O(n²·d).
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{MultiSimilarity, multi_similarity};
/// let points = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// let config = MultiSimilarity { base: 0.0, mining: None, ..MultiSimilarity::default() };
/// let loss = multi_similarity(points.view(), &[0, 1], &config)?;
/// assert!((loss.value - 2_f64.ln() / 50.0).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn multi_similarity<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    config: &MultiSimilarity,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    let rows = Rows::labelled(points, labels, true)?;
    let s = rows.products(&rows);
    let (alpha, beta) = (f64::from(config.alpha), f64::from(config.beta));
    let base = f64::from(config.base);
    let (mut value, mut g) = (0.0, Array2::zeros(s.dim()));
    for a in 0..labels.len() {
        let (positives, negatives) = counting(&s, labels, a, config.mining);
        for (chosen, sharpness) in [(positives, -alpha), (negatives, beta)] {
            let exponent = |i: usize| sharpness * (s[[a, i]] - base);
            let whole =
                log_sum_exp(std::iter::once(0.0).chain(chosen.iter().map(|&i| exponent(i))));
            value += whole / sharpness.abs();
            for &i in &chosen {
                g[[a, i]] = sharpness.signum() * (exponent(i) - whole).exp();
            }
        }
    }
    let factor = share_of(labels.len() as f64);
    graded((factor * value, rows.own_products_back(&(g * factor))))
}

/// The positives and negatives of row `a` that count.
pub(crate) fn counting(
    s: &Array2<f64>,
    labels: &[usize],
    a: usize,
    mining: Option<f32>,
) -> (Vec<usize>, Vec<usize>) {
    let rows = 0..labels.len();
    let mut positives: Vec<usize> = rows.clone().filter(|&p| positive(labels, a, p)).collect();
    let mut negatives: Vec<usize> = rows.filter(|&i| labels[i] != labels[a]).collect();
    if let Some(epsilon) = mining.map(f64::from) {
        let least = positives.iter().map(|&p| s[[a, p]]).fold(f64::INFINITY, f64::min);
        let most = negatives.iter().map(|&i| s[[a, i]]).fold(f64::NEG_INFINITY, f64::max);
        positives.retain(|&p| s[[a, p]] - epsilon < most);
        negatives.retain(|&i| s[[a, i]] + epsilon > least);
    }
    (positives, negatives)
}
