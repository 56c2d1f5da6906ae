//! Overlap of boxes.

use ndarray::Array2;
use thiserror::Error;

/// A box with corners (left, top) and (right, bottom), in any unit; left ≤ right and top ≤ bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    /// Least x.
    pub left: f64,
    /// Least y.
    pub top: f64,
    /// Largest x.
    pub right: f64,
    /// Largest y.
    pub bottom: f64,
}

/// Why boxes cannot be compared.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BoxError {
    /// A corner is not finite, or the corners are the wrong way round.
    #[error(
        "{input} {at}: expected finite corners with left ≤ right and top ≤ bottom, found {found:?}"
    )]
    Corners {
        /// Which argument.
        input: &'static str,
        /// Its place.
        at: usize,
        /// The box.
        found: Box2,
    },
    /// There are not as many scores as boxes.
    #[error("scores: expected {expected}, one per box, found {found}")]
    Count {
        /// Number of boxes.
        expected: usize,
        /// Number of scores.
        found: usize,
    },
    /// A score is not a number.
    #[error("score {at}: expected a number, found NaN")]
    NotANumber {
        /// Its place.
        at: usize,
    },
    /// The threshold is not a share.
    #[error("threshold: expected a share from 0 to 1, found {found}")]
    Threshold {
        /// The threshold given.
        found: f64,
    },
}

impl Box2 {
    /// From the corner of least coordinates and the size, COCO's `[x, y, width, height]`.
    pub fn from_size([x, y, width, height]: [f64; 4]) -> Self {
        Self { left: x, top: y, right: x + width, bottom: y + height }
    }

    /// Its area.
    pub fn area(self) -> f64 {
        (self.right - self.left) * (self.bottom - self.top)
    }

    /// The area that both cover.
    pub fn shared(self, other: Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        if width > 0.0 && height > 0.0 { width * height } else { 0.0 }
    }

    /// Intersection over union, in \[0, 1\]; 0 where the union has no area.
    pub fn iou(self, other: Self) -> f64 {
        let shared = self.shared(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    fn is_sound(self) -> bool {
        let Self { left, top, right, bottom } = self;
        [left, top, right, bottom].iter().all(|v| v.is_finite()) && left <= right && top <= bottom
    }
}

pub(super) fn check(boxes: &[Box2], input: &'static str) -> Result<(), BoxError> {
    match boxes.iter().enumerate().find(|(_, one)| !one.is_sound()) {
        Some((at, &found)) => Err(BoxError::Corners { input, at, found }),
        None => Ok(()),
    }
}

/// Intersection over union of every box of `first` with every one of `second`, `[n, m]`.
///
/// # Errors
/// [`BoxError::Corners`].
///
/// # Examples
/// ```
/// use nearkin_metrics::boxes::{Box2, box_iou};
/// let a = [Box2::from_size([0.0, 0.0, 2.0, 2.0])];
/// let b = [Box2::from_size([1.0, 0.0, 2.0, 2.0])];
/// assert_eq!(box_iou(&a, &b)?[[0, 0]], 2.0 / 6.0);
/// # Ok::<(), nearkin_metrics::boxes::BoxError>(())
/// ```
pub fn box_iou(first: &[Box2], second: &[Box2]) -> Result<Array2<f64>, BoxError> {
    check(first, "first box")?;
    check(second, "second box")?;
    let shape = (first.len(), second.len());
    Ok(Array2::from_shape_fn(shape, |(i, j)| first[i].iou(second[j])))
}

/// The boxes that remain when each suppresses all of lower score that overlap it by more than `threshold`.
///
/// Greedy, from the highest score on; equal scores by index. Cost: O(n · kept).
///
/// - `threshold`: intersection over union, in \[0, 1\].
/// - returns: indices of the boxes kept, highest score first.
///
/// # Errors
/// [`BoxError`].
pub fn non_maximum_suppression(
    boxes: &[Box2],
    scores: &[f32],
    threshold: f64,
) -> Result<Vec<usize>, BoxError> {
    check(boxes, "box")?;
    if scores.len() != boxes.len() {
        return Err(BoxError::Count { expected: boxes.len(), found: scores.len() });
    }
    if let Some(at) = scores.iter().position(|score| score.is_nan()) {
        return Err(BoxError::NotANumber { at });
    }
    if !(0.0..=1.0).contains(&threshold) {
        return Err(BoxError::Threshold { found: threshold });
    }
    let mut kept: Vec<usize> = Vec::new();
    for at in by_score(scores) {
        if kept.iter().all(|&other| boxes[other].iou(boxes[at]) <= threshold) {
            kept.push(at);
        }
    }
    Ok(kept)
}

/// Indices by falling score; equal ones (−0 is 0) keep their order.
pub(super) fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| (scores[b] + 0.0).total_cmp(&(scores[a] + 0.0)));
    order
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overlaps_are_those_of_counted_cells(a in prop::array::uniform4(0_u8..6), b in prop::array::uniform4(0_u8..6)) {
            let made = |v: [u8; 4]| Box2::from_size(v.map(f64::from));
            let inside = |v: [u8; 4], x: u8, y: u8| x >= v[0] && x < v[0] + v[2] && y >= v[1] && y < v[1] + v[3];
            let (mut both, mut any) = (0.0, 0.0);
            for x in 0..12 {
                for y in 0..12 {
                    both += f64::from(u8::from(inside(a, x, y) && inside(b, x, y)));
                    any += f64::from(u8::from(inside(a, x, y) || inside(b, x, y)));
                }
            }
            let expected = if any > 0.0 { both / any } else { 0.0 };
            prop_assert!((made(a).iou(made(b)) - expected).abs() < 1e-12);
        }

        #[test]
        fn what_is_kept_does_not_overlap_and_what_is_not_does(
            rows in prop::collection::vec((prop::array::uniform4(0_u8..6), 0_u8..4), 0..20),
        ) {
            let boxes: Vec<Box2> = rows.iter().map(|r| Box2::from_size(r.0.map(f64::from))).collect();
            let scores: Vec<f32> = rows.iter().map(|r| f32::from(r.1)).collect();
            let kept = non_maximum_suppression(&boxes, &scores, 0.3).unwrap();
            for (at, one) in boxes.iter().enumerate() {
                let suppressed = kept.iter().any(|&other| {
                    other != at && one.iou(boxes[other]) > 0.3 && (scores[other], at) > (scores[at], other)
                        || other != at && one.iou(boxes[other]) > 0.3 && scores[other] > scores[at]
                });
                prop_assert_eq!(kept.contains(&at), !suppressed);
            }
        }
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        let inside_out = Box2 { left: 1.0, top: 0.0, right: 0.0, bottom: 1.0 };
        assert!(box_iou(&[inside_out], &[]).unwrap_err().to_string().starts_with("first box 0"));
        let flat = Box2::from_size([0.0, 0.0, 0.0, 5.0]);
        assert_eq!(flat.iou(flat), 0.0);
        assert!(non_maximum_suppression(&[flat], &[f32::NAN], 0.5).is_err());
        assert!(non_maximum_suppression(&[flat], &[], 0.5).is_err());
        assert!(non_maximum_suppression(&[flat], &[0.0], 1.5).is_err());
    }
}
