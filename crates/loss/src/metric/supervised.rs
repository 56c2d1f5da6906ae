//! NT-Xent and the supervised contrastive loss: softmaxes over the similarities of a batch.
//!
//! SimCLR: Chen et al., 2020, <https://arxiv.org/abs/2002.05709>; Khosla et al., 2020,
//! <https://arxiv.org/abs/2004.11362>.

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::pairs::{Rows, positive};
use crate::graded::{graded, positive as above_zero, share_of};
use crate::rows::log_sum_exp;
use crate::{Graded, LossError};

/// Settings of [`nt_xent`]; rows are always normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NtXent {
    /// τ, above 0.
    pub temperature: f32,
}

impl Default for NtXent {
    /// τ = 0.07, as in pytorch-metric-learning; SimCLR's is 0.5 or 0.1.
    fn default() -> Self {
        Self { temperature: 0.07 }
    }
}

/// The normalised, temperature-scaled cross-entropy: each positive pair against the anchor's negatives.
///
/// For every ordered pair (a, p) that belongs together: −ln e^{s_ap/τ} / (e^{s_ap/τ} + Σₙ e^{s_an/τ}),
/// s the cosine and n over rows of other labels; the mean over such pairs. With two views of each
/// image and a label for each image it is SimCLR's.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`, equal for rows that belong together.
/// - returns: at least 0, in nats; gradient `[n, d]`. Cost: O(n²·d), and O(n) for each positive pair.
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{NtXent, nt_xent};
/// let points = ndarray::arr2(&[[1.0_f64, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]);
/// let loss = nt_xent(points.view(), &[0, 0, 1, 1], &NtXent::default())?;
/// assert!((loss.value - 3_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn nt_xent<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    config: &NtXent,
) -> Result<Graded<T, Ix2>, LossError> {
    above_zero("temperature", config.temperature)?;
    let rows = Rows::labelled(points, labels, true)?;
    let sharpness = f64::from(config.temperature).recip();
    let z = rows.products(&rows) * sharpness;
    let n = labels.len();
    let (mut value, mut count, mut g) = (0.0, 0, Array2::zeros(z.dim()));
    for anchor in 0..n {
        let others: Vec<usize> = (0..n).filter(|&i| labels[i] != labels[anchor]).collect();
        let rest = log_sum_exp(others.iter().map(|&i| z[[anchor, i]]));
        let mut onto_rest = 0.0;
        for p in (0..n).filter(|&p| positive(labels, anchor, p)) {
            let s = z[[anchor, p]];
            let whole = log_sum_exp([s, rest].into_iter());
            value += whole - s;
            count += 1;
            g[[anchor, p]] = (s - whole).exp() - 1.0;
            onto_rest += (rest - whole).exp();
        }
        for &i in &others {
            g[[anchor, i]] = onto_rest * (z[[anchor, i]] - rest).exp();
        }
    }
    let factor = share_of(f64::from(count));
    graded((factor * value, rows.own_products_back(&(g * (factor * sharpness)))))
}

/// Settings of [`sup_con`]; rows are always normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SupCon {
    /// τ, above 0.
    pub temperature: f32,
}

impl Default for SupCon {
    /// τ = 0.1, as in the paper.
    fn default() -> Self {
        Self { temperature: 0.1 }
    }
}

/// The supervised contrastive loss, the paper's L_out (equation 2).
///
/// For every row a with positives P(a): −1/|P(a)| Σ_p ln( e^{s_ap/τ} / Σ_{i≠a} e^{s_ai/τ} ), s the
/// cosine; the mean over rows that have positives. The paper's factor τ/τ_base is left out.
///
/// - `points`: `[n, d]`, finite; `labels`: `n`, equal for rows that belong together.
/// - returns: at least 0, in nats; gradient `[n, d]`. Cost: O(n²·d).
///
/// # Errors
/// [`LossError`]: shapes, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{SupCon, sup_con};
/// let points = ndarray::arr2(&[[1.0_f64, 0.0], [1.0, 0.0], [1.0, 0.0]]);
/// let loss = sup_con(points.view(), &[0, 0, 1], &SupCon::default())?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn sup_con<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    config: &SupCon,
) -> Result<Graded<T, Ix2>, LossError> {
    above_zero("temperature", config.temperature)?;
    let rows = Rows::labelled(points, labels, true)?;
    let sharpness = f64::from(config.temperature).recip();
    let z = rows.products(&rows) * sharpness;
    let n = labels.len();
    let (mut value, mut anchors, mut g) = (0.0, 0, Array2::zeros(z.dim()));
    for a in 0..n {
        let positives: Vec<usize> = (0..n).filter(|&p| positive(labels, a, p)).collect();
        if positives.is_empty() {
            continue;
        }
        anchors += 1;
        let whole = log_sum_exp((0..n).filter(|&i| i != a).map(|i| z[[a, i]]));
        for i in (0..n).filter(|&i| i != a) {
            g[[a, i]] = (z[[a, i]] - whole).exp();
        }
        let share = (positives.len() as f64).recip();
        for p in positives {
            value += share * (whole - z[[a, p]]);
            g[[a, p]] -= share;
        }
    }
    let factor = share_of(f64::from(anchors));
    graded((factor * value, rows.own_products_back(&(g * (factor * sharpness)))))
}
