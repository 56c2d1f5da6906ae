//! Draws by weight in constant time.

/// One of n equal boxes: its own index up to `share`, another above.
///
/// n boxes hold n weights so that an index is drawn by weight with two random numbers. Walker, 1977,
/// <https://doi.org/10.1145/355744.355749>; filled in O(n) by Vose's method, 1991,
/// <https://doi.org/10.1109/32.92917>.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliasBox {
    share: f32,
    other: u32,
}

impl AliasBox {
    /// Fills the place of a box that is never drawn from.
    pub(crate) const NONE: Self = Self { share: 0.0, other: 0 };
}

/// The boxes of weights, finite and at least 0; `None` if they sum to 0.
pub(crate) fn alias_boxes(
    weights: impl ExactSizeIterator<Item = f32> + Clone,
) -> Option<Vec<AliasBox>> {
    let n = weights.len();
    let total: f64 = weights.clone().map(f64::from).sum();
    if total <= 0.0 {
        return None;
    }
    // Each index's weight in boxes.
    let mut filled: Vec<f64> = weights.map(|w| f64::from(w) / total * n as f64).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| filled[i] < 1.0);
    let heaviest = (0..n).max_by(|&a, &b| filled[a].total_cmp(&filled[b])).unwrap_or(0);
    let mut boxes = vec![AliasBox { share: 1.0, other: 0 }; n];
    while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
        small.pop();
        boxes[low] = AliasBox { share: filled[low] as f32, other: high as u32 };
        filled[high] -= 1.0 - filled[low];
        if filled[high] < 1.0 {
            large.pop();
            small.push(high);
        }
    }
    // What is left is 1 but for rounding; an index without weight must still not be drawn.
    for left in small {
        let share = if filled[left] > 0.5 { 1.0 } else { 0.0 };
        boxes[left] = AliasBox { share, other: heaviest as u32 };
    }
    Some(boxes)
}

/// An index into `boxes`, which are not empty.
///
/// - `bits`: 64 random bits.
/// - `unit`: a random number in [0, 1).
pub(crate) fn draw(boxes: &[AliasBox], bits: u64, unit: f64) -> usize {
    let own = crate::random::below(bits, boxes.len());
    let AliasBox { share, other } = boxes[own];
    if unit < f64::from(share) { own } else { other as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probabilities(weights: &[f32]) -> Vec<f64> {
        let boxes = alias_boxes(weights.iter().copied()).unwrap();
        let n = boxes.len();
        let mut all = vec![0.0; n];
        for (own, found) in boxes.iter().enumerate() {
            all[own] += f64::from(found.share) / n as f64;
            all[found.other as usize] += (1.0 - f64::from(found.share)) / n as f64;
        }
        all
    }

    #[test]
    fn nothing_to_draw_makes_no_table() {
        assert!(alias_boxes([].into_iter()).is_none());
        assert!(alias_boxes([0.0, 0.0].into_iter()).is_none());
    }

    #[test]
    fn extreme_weights_neither_overflow_nor_vanish() {
        let probabilities = probabilities(&[f32::MAX, f32::MAX, 0.0, f32::MIN_POSITIVE]);
        assert!((probabilities[0] - 0.5).abs() < 1e-6 && (probabilities[1] - 0.5).abs() < 1e-6);
        assert!(probabilities[2] <= 0.0);
    }

    proptest! {
        #[test]
        fn the_boxes_hold_the_weights(
            weights in prop::collection::vec(prop_oneof![Just(0.0_f32), 0.0_f32..1.0, 1e3_f32..1e6], 1..200),
        ) {
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            prop_assume!(total > 0.0);
            for (found, &weight) in probabilities(&weights).into_iter().zip(&weights) {
                prop_assert!((found - f64::from(weight) / total).abs() < 1e-7);
                prop_assert!(weight > 0.0 || found <= 0.0, "drawn without weight");
            }
        }
    }
}
