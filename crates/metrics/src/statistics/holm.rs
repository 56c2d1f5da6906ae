//! Holm's correction of many tests.

use thiserror::Error;

/// Why p values cannot be corrected.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum HolmError {
    /// A value is no probability.
    #[error("p value {at}: expected a number from 0 to 1, found {found}")]
    Probability {
        /// Its place.
        at: usize,
        /// The value.
        found: f64,
    },
}

/// p values corrected so that the chance of any false rejection among all tests stays below the level.
///
/// With p₍₁₎ ≤ … ≤ p₍ₘ₎ the i-th becomes the largest of (m − j + 1) p₍ⱼ₎, j ≤ i, at most 1. It assumes nothing about
/// how the tests depend on each other.
///
/// - `p_values`: in \[0, 1\], in any order.
/// - returns: the corrected ones, in the same order.
///
/// # Errors
/// [`HolmError`].
///
/// # Examples
/// ```
/// let found = nearkin_metrics::statistics::holm(&[0.04, 0.01, 0.03])?;
/// assert_eq!(found, [0.06, 0.03, 0.06]);
/// # Ok::<(), nearkin_metrics::statistics::HolmError>(())
/// ```
///
/// Source: S. Holm, 1979, <https://www.jstor.org/stable/4615733>.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, HolmError> {
    if let Some((at, &found)) = p_values.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p))
    {
        return Err(HolmError::Probability { at, found });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut most = 0.0;
    for (nth, at) in order.into_iter().enumerate() {
        most = f64::max(most, (p_values.len() - nth) as f64 * p_values[at]).min(1.0);
        corrected[at] = most;
    }
    Ok(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_falls_and_none_exceeds_1() {
        assert_eq!(holm(&[]), Ok(Vec::new()));
        assert_eq!(holm(&[0.5, 0.5, 0.5]), Ok(vec![1.0; 3]));
        assert!(holm(&[0.5, f64::NAN]).unwrap_err().to_string().starts_with("p value 1"));
    }
}
