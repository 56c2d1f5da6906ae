//! McNemar's test: do two models differ on the same images?

use crate::special::{erfc, ln_factorials};

/// The test's results for both forms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// Two-sided p of the exact binomial test of the discordant images.
    pub exact: f64,
    /// (|b − c| − 1)² / (b + c), with Edwards' correction for continuity; 0 for b = c.
    pub statistic: f64,
    /// Its p by χ² with one degree of freedom.
    pub corrected: f64,
}

/// McNemar's test on the images that only one of two models has right.
///
/// Without a difference each discordant image is a fair coin. The exact p is min(1, 2 P(X ≤ min(b, c))) of
/// X ~ Binomial(b + c, ½); the corrected χ² is close to it from about 25 images on. Cost: O(b + c).
///
/// - `only_first`, `only_second`: b and c; without any, p is 1.
///
/// # Examples
/// ```
/// let found = nearkin_metrics::statistics::mcnemar(2, 10);
/// assert!((found.exact - 0.0386).abs() < 5e-5); // 2 (1 + 12 + 66) / 2¹²
/// assert!((found.statistic - 49.0 / 12.0).abs() < 1e-15);
/// ```
///
/// Source: Q. McNemar, 1947, <https://doi.org/10.1007/BF02295996>; A. L. Edwards, 1948,
/// <https://doi.org/10.1007/BF02289261>.
pub fn mcnemar(only_first: usize, only_second: usize) -> McNemar {
    let (b, c) = (only_first as f64, only_second as f64);
    let n = only_first + only_second;
    if n == 0 {
        return McNemar { exact: 1.0, statistic: 0.0, corrected: 1.0 };
    }
    let ln = ln_factorials(n);
    let halves = n as f64 * 2_f64.ln();
    let tail: f64 =
        (0..=only_first.min(only_second)).map(|k| (ln[n] - ln[k] - ln[n - k] - halves).exp()).sum();
    let gap = ((b - c).abs() - 1.0).max(0.0);
    let statistic = gap * gap / (b + c);
    // χ² of one degree is a squared normal variable.
    McNemar { exact: (2.0 * tail).min(1.0), statistic, corrected: erfc((statistic / 2.0).sqrt()) }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;

    #[test]
    fn both_forms_agree_for_many_images_and_are_1_without_a_difference() {
        for (b, c) in [(60, 90), (500, 420), (10_000, 10_200)] {
            let found = mcnemar(b, c);
            assert!((found.exact / found.corrected - 1.0).abs() < 0.02, "{found:?}");
        }
        assert_eq!(mcnemar(0, 0).exact, 1.0);
        assert_eq!(mcnemar(7, 7), McNemar { exact: 1.0, statistic: 0.0, corrected: 1.0 });
        assert!((mcnemar(0, 5).exact - 2.0 / 32.0).abs() < 1e-15);
        assert_eq!(mcnemar(3, 9), mcnemar(9, 3));
    }
}
