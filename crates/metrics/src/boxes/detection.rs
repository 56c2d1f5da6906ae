//! Average precision of detections at one overlap, by PASCAL VOC's rule.

use std::collections::BTreeMap;

use thiserror::Error;

use super::coco::Detection;
use super::overlap::{Box2, BoxError, by_score, check};
use crate::classification::{VocRule, interpolated};

/// Why detections have no average precision.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DetectionError {
    /// A box that is none, or an overlap that is no share.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// A score is not a number.
    #[error("detection {at}: expected a number as score, found NaN")]
    NotANumber {
        /// Its place.
        at: usize,
    },
    /// There is no object that counts.
    #[error("truth: expected at least one object that is not difficult, found none")]
    NoObject,
}

/// The average precision of detections of one class over all images, at one overlap.
///
/// A detection, highest score first, belongs to the object of its image that it overlaps most. It is right if that
/// overlap is at least `overlap` and the object was not found before, ignored if the object is difficult, and wrong
/// otherwise. Overlaps are of areas without the development kit's "+ 1" for whole pixels.
///
/// - `truths`: (image, box, whether it is difficult).
/// - `detections`: of this class; [`Detection::class`] is not looked at.
/// - `overlap`: intersection over union, in \[0, 1\]; ½ in VOC.
///
/// # Errors
/// [`DetectionError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::boxes::{Box2, Detection, detection_average_precision};
/// use nearkin_metrics::classification::VocRule;
/// let bounds = Box2::from_size([0.0, 0.0, 4.0, 4.0]);
/// let found = [Detection { image: 3, class: 0, bounds, score: 0.9 }];
/// let ap = detection_average_precision(&[(3, bounds, false), (4, bounds, false)], &found, 0.5, VocRule::Area)?;
/// assert_eq!(ap, 0.5);
/// # Ok::<(), nearkin_metrics::boxes::DetectionError>(())
/// ```
///
/// Source: Everingham et al., 2010, <https://doi.org/10.1007/s11263-009-0275-4>.
pub fn detection_average_precision(
    truths: &[(usize, Box2, bool)],
    detections: &[Detection],
    overlap: f64,
    rule: VocRule,
) -> Result<f64, DetectionError> {
    check(&truths.iter().map(|truth| truth.1).collect::<Vec<_>>(), "truth")?;
    check(&detections.iter().map(|d| d.bounds).collect::<Vec<_>>(), "detection")?;
    if !(0.0..=1.0).contains(&overlap) {
        return Err(BoxError::Threshold { found: overlap }.into());
    }
    if let Some(at) = detections.iter().position(|d| d.score.is_nan()) {
        return Err(DetectionError::NotANumber { at });
    }
    let positives = truths.iter().filter(|truth| !truth.2).count();
    if positives == 0 {
        return Err(DetectionError::NoObject);
    }
    let mut of_image: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, truth) in truths.iter().enumerate() {
        of_image.entry(truth.0).or_default().push(at);
    }
    let mut is_found = vec![false; truths.len()];
    let mut hits = Vec::with_capacity(detections.len());
    for at in by_score(&detections.iter().map(|d| d.score).collect::<Vec<_>>()) {
        let Detection { image, bounds, .. } = detections[at];
        let mut best: Option<(f64, usize)> = None;
        for &object in of_image.get(&image).map_or(&[][..], Vec::as_slice) {
            let shared = bounds.iou(truths[object].1);
            if best.is_none_or(|best| shared > best.0) {
                best = Some((shared, object));
            }
        }
        match best.filter(|best| best.0 >= overlap) {
            Some((_, object)) if truths[object].2 => {}
            Some((_, object)) => {
                hits.push(!is_found[object]);
                is_found[object] = true;
            }
            None => hits.push(false),
        }
    }
    Ok(interpolated(&hits, positives, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficult_objects_are_ignored_and_second_hits_are_wrong() {
        let side = |x: f64| Box2::from_size([x, 0.0, 4.0, 4.0]);
        let found = |x: f64, score| Detection { image: 0, class: 0, bounds: side(x), score };
        let truths = [(0, side(0.0), false), (0, side(10.0), true), (0, side(20.0), false)];
        let detections = [found(10.0, 0.9), found(0.0, 0.8), found(0.0, 0.7), found(20.0, 0.6)];
        let of = |rule| detection_average_precision(&truths, &detections, 0.5, rule).unwrap();
        // Right, wrong, right: precision 1, then ⅔.
        assert!((of(VocRule::Area) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        assert!((of(VocRule::ElevenPoints) - (6.0 + 5.0 * 2.0 / 3.0) / 11.0).abs() < 1e-15);
        let none = detection_average_precision(&truths[1..2], &detections, 0.5, VocRule::Area);
        assert_eq!(none, Err(DetectionError::NoObject));
        assert!(detection_average_precision(&truths, &detections, 2.0, VocRule::Area).is_err());
    }
}
