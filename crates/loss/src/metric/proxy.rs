//! Losses against one trained proxy for each class: proxy-NCA and proxy-anchor.
//!
//! Movshovitz-Attias et al., 2017, <https://arxiv.org/abs/1703.07464>; Kim et al., 2020,
//! <https://arxiv.org/abs/2003.13911>.

use ndarray::{Array2, ArrayView2, Ix2, NdFloat};

use super::margin::{Bend, bent_softmax};
use super::pairs::Rows;
use crate::graded::{graded_pair, labels_fit, not_negative, positive, share_of};
use crate::rows::log_sum_exp;
use crate::{GradedPair, LossError};

/// Settings of [`proxy_nca`]; rows and proxies are always normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProxyNca {
    /// s, above 0: the factor on squared distances.
    pub scale: f32,
}

impl Default for ProxyNca {
    /// s = 1, as in the paper.
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

/// −mean ln softmax_c(−s·‖x̂ᵢ − p̂_c‖²) at the label.
///
/// The softmax is over all proxies, as in ProxyNCA++ (Teh, DeVries and Taylor, 2020,
/// <https://arxiv.org/abs/2004.01113>) and pytorch-metric-learning; the first paper leaves the
/// label's own proxy out of the denominator, which has no lower bound.
///
/// - `points`: `[n, d]`, finite; `labels`: `n` classes below `C`; `proxies`: `[C, d]`, finite.
/// - returns: at least 0, in nats; gradients `[n, d]` and `[C, d]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{ProxyNca, proxy_nca};
/// let points = ndarray::arr2(&[[1.0_f64, 1.0]]);
/// let proxies = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// let loss = proxy_nca(points.view(), &[0], proxies.view(), &ProxyNca::default())?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn proxy_nca<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    proxies: ArrayView2<'_, T>,
    config: &ProxyNca,
) -> Result<GradedPair<T, Ix2>, LossError> {
    positive("scale", config.scale)?;
    // ‖x̂ − p̂‖² = 2 − 2·cos, and softmax does not see the 2.
    bent_softmax(points, labels, proxies, Bend::Straight, 2.0 * f64::from(config.scale))
}

/// Settings of [`proxy_anchor`]; rows and proxies are always normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProxyAnchor {
    /// α, above 0: sharpness.
    pub alpha: f32,
    /// δ, at least 0: the margin on cosines.
    pub margin: f32,
}

impl Default for ProxyAnchor {
    /// α = 32, δ = 0.1, as in the paper.
    fn default() -> Self {
        Self { alpha: 32.0, margin: 0.1 }
    }
}

impl ProxyAnchor {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        positive("alpha", self.alpha)?;
        not_negative("margin", self.margin)
    }
}

/// Each proxy against the whole batch.
///
/// 1/|P⁺| Σ_p ln(1 + Σ_{x of p} e^{−α(s − δ)}) + 1/|P| Σ_p ln(1 + Σ_{other x} e^{α(s + δ)}), s the
/// cosine and P⁺ the proxies with a row in the batch.
///
/// - `points`: `[n, d]`, finite; `labels`: `n` classes below `C`; `proxies`: `[C, d]`, finite.
/// - returns: at least 0; gradients `[n, d]` and `[C, d]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{ProxyAnchor, proxy_anchor};
/// let points = ndarray::arr2(&[[1.0_f64, 0.0]]);
/// let proxies = ndarray::arr2(&[[0.0_f64, 1.0], [0.0, 1.0]]);
/// let config = ProxyAnchor { margin: 0.0, ..ProxyAnchor::default() };
/// let loss = proxy_anchor(points.view(), &[0], proxies.view(), &config)?;
/// assert!((loss.value - 1.5 * 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn proxy_anchor<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    proxies: ArrayView2<'_, T>,
    config: &ProxyAnchor,
) -> Result<GradedPair<T, Ix2>, LossError> {
    config.check()?;
    let classes = proxies.nrows();
    labels_fit(labels, points.nrows(), classes, None)?;
    if points.ncols() != proxies.ncols() {
        let (expected, found) = (points.ncols().to_string(), proxies.ncols().to_string());
        return Err(LossError::Shape { input: "width of proxies", expected, found });
    }
    let x = Rows::new("points", points, true)?;
    let p = Rows::new("proxies", proxies, true)?;
    let s = x.products(&p);
    let (alpha, margin) = (f64::from(config.alpha), f64::from(config.margin));
    let present = (0..classes).filter(|class| labels.contains(class)).count();
    let (mut value, mut g) = (0.0, Array2::zeros(s.dim()));
    for class in 0..classes {
        let side = |own: bool| (0..labels.len()).filter(move |&i| (labels[i] == class) == own);
        for (own, sign, count) in [(true, -1.0, present), (false, 1.0, classes)] {
            let exponent = |i: usize| sign * alpha * (s[[i, class]] + sign * margin);
            let whole = log_sum_exp(std::iter::once(0.0).chain(side(own).map(exponent)));
            let factor = share_of(count as f64);
            value += factor * whole;
            for i in side(own) {
                g[[i, class]] = factor * sign * alpha * (exponent(i) - whole).exp();
            }
        }
    }
    let (gx, gp) = x.products_back(&p, &g);
    graded_pair((value, gx, gp))
}
