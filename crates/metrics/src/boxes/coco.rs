//! The COCO evaluation of detections, as pycocotools computes it for boxes.
//!
//! Detections of a class in an image are matched to the truth, highest score first; precision is read at 101 recalls,
//! ten overlaps, four ranges of areas, and three limits on the number of detections.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::overlap::{Box2, BoxError, by_score, check};

/// An object of the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CocoTruth {
    /// Its image.
    pub image: usize,
    /// Its class.
    pub class: usize,
    /// Its box.
    pub bounds: Box2,
    /// What areas are ranged by: that of its mask where there is one, and not of its box.
    pub area: f64,
    /// A crowd: any number of detections may lie in it, and none of them counts.
    pub is_crowd: bool,
}

/// A detected object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its image.
    pub image: usize,
    /// Its class.
    pub class: usize,
    /// Its box.
    pub bounds: Box2,
    /// The higher, the surer.
    pub score: f32,
}

/// Which objects count, by area in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaRange {
    /// All, up to 10¹⁰.
    All,
    /// Up to 32².
    Small,
    /// 32² to 96².
    Medium,
    /// From 96² on.
    Large,
}

impl AreaRange {
    const ALL: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    fn holds(self, area: f64) -> bool {
        let (low, high) = match self {
            Self::All => (0.0, 1e10),
            Self::Small => (0.0, 1024.0),
            Self::Medium => (1024.0, 9216.0),
            Self::Large => (9216.0, 1e10),
        };
        (low..=high).contains(&area)
    }
}

/// The twelve numbers of the COCO challenge; `None` where no object counts (pycocotools says −1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coco {
    /// Mean over classes and overlaps 0.5, 0.55, …, 0.95 of the average precision: "mAP".
    pub ap: Option<f64>,
    /// At overlap 0.5.
    pub ap50: Option<f64>,
    /// At overlap 0.75.
    pub ap75: Option<f64>,
    /// Of small objects.
    pub ap_small: Option<f64>,
    /// Of medium objects.
    pub ap_medium: Option<f64>,
    /// Of large objects.
    pub ap_large: Option<f64>,
    /// Mean recall with 1 detection an image and class.
    pub ar1: Option<f64>,
    /// With 10.
    pub ar10: Option<f64>,
    /// With 100, as all that follow.
    pub ar100: Option<f64>,
    /// Of small objects.
    pub ar_small: Option<f64>,
    /// Of medium objects.
    pub ar_medium: Option<f64>,
    /// Of large objects.
    pub ar_large: Option<f64>,
}

/// Why detections cannot be judged.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CocoError {
    /// A box that is none.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// A score is not a number.
    #[error("detection {at}: expected a number as score, found NaN")]
    NotANumber {
        /// Its place.
        at: usize,
    },
    /// An area is no area.
    #[error("truth {at}: expected a finite area of at least 0, found {found}")]
    Area {
        /// Its place.
        at: usize,
        /// The area.
        found: f64,
    },
}

const OVERLAPS: usize = 10;
const LIMITS: [usize; 3] = [1, 10, 100];

/// Overlap t: 0.5, 0.55, …, 0.95, by numpy's linspace.
fn overlap(t: usize) -> f64 {
    // The step as numpy rounds it, so that an overlap of exactly 0.6 is treated alike.
    if t + 1 == OVERLAPS { 0.95 } else { 0.5 + t as f64 * ((0.95 - 0.5) / 9.0) }
}

/// Recall r: 0, 0.01, …, 1.
fn recall_at(r: usize) -> f64 {
    if r == 100 { 1.0 } else { r as f64 * (1.0 / 100.0) }
}

/// Average precision and recall of `detections`.
///
/// Only classes with an object in the truth count. Cost: O(detections · objects) in each image and class.
///
/// # Errors
/// [`CocoError`].
///
/// # Examples
/// ```
/// use nearkin_metrics::boxes::{Box2, CocoTruth, Detection, coco};
/// let bounds = Box2::from_size([10.0, 10.0, 40.0, 40.0]);
/// let truth = CocoTruth { image: 1, class: 7, bounds, area: 1600.0, is_crowd: false };
/// let near = Box2::from_size([10.0, 10.0, 40.0, 31.0]); // overlap 0.775: right at six of ten thresholds
/// let found = coco(&[truth], &[Detection { image: 1, class: 7, bounds: near, score: 0.9 }])?;
/// assert!((found.ap.unwrap() - 0.6).abs() < 1e-12);
/// assert!((found.ap75.unwrap() - 1.0).abs() < 1e-12 && found.ap_small.is_none());
/// # Ok::<(), nearkin_metrics::boxes::CocoError>(())
/// ```
///
/// Source: <https://cocodataset.org/#detection-eval> and pycocotools 2.0's `COCOeval`.
pub fn coco(truths: &[CocoTruth], detections: &[Detection]) -> Result<Coco, CocoError> {
    let bounds = |boxes: Vec<Box2>, name| check(&boxes, name);
    bounds(truths.iter().map(|t| t.bounds).collect(), "truth")?;
    bounds(detections.iter().map(|d| d.bounds).collect(), "detection")?;
    if let Some(at) = detections.iter().position(|d| d.score.is_nan()) {
        return Err(CocoError::NotANumber { at });
    }
    let bad = |t: &CocoTruth| !(t.area.is_finite() && t.area >= 0.0);
    if let Some((at, truth)) = truths.iter().enumerate().find(|(_, t)| bad(t)) {
        return Err(CocoError::Area { at, found: truth.area });
    }
    let mut cells: BTreeMap<(usize, usize), (Vec<CocoTruth>, Vec<Detection>)> = BTreeMap::new();
    for truth in truths {
        cells.entry((truth.class, truth.image)).or_default().0.push(*truth);
    }
    for detection in detections {
        cells.entry((detection.class, detection.image)).or_default().1.push(*detection);
    }
    let classes: BTreeSet<usize> = truths.iter().map(|truth| truth.class).collect();
    let curves: Vec<Vec<Curve>> = AreaRange::ALL
        .iter()
        .map(|&range| {
            let of_class = |&class: &usize| {
                let images: Vec<Matched> = cells
                    .range((class, 0)..=(class, usize::MAX))
                    .map(|(_, (truths, detections))| Matched::new(truths, detections, range))
                    .collect();
                Curve::new(&images)
            };
            classes.iter().map(of_class).collect()
        })
        .collect();
    let precision = |range: usize, at: Option<usize>| {
        let of = |curve: &Curve| {
            let all = curve.precision?;
            Some(at.map_or_else(|| all.iter().sum::<f64>() / OVERLAPS as f64, |t| all[t]))
        };
        mean(curves[range].iter().filter_map(of))
    };
    let recall = |range: usize, limit: usize| {
        mean(curves[range].iter().filter_map(|curve| Some(curve.recall?[limit])))
    };
    Ok(Coco {
        ap: precision(0, None),
        ap50: precision(0, Some(0)),
        ap75: precision(0, Some(5)),
        ap_small: precision(1, None),
        ap_medium: precision(2, None),
        ap_large: precision(3, None),
        ar1: recall(0, 0),
        ar10: recall(0, 1),
        ar100: recall(0, 2),
        ar_small: recall(1, 2),
        ar_medium: recall(2, 2),
        ar_large: recall(3, 2),
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), v| (count + 1, sum + v));
    (count > 0).then(|| sum / f64::from(count))
}

/// The detections of a class in an image, highest score first, and what became of each.
struct Matched {
    scores: Vec<f32>,
    /// By overlap, then detection.
    fates: Vec<[Fate; OVERLAPS]>,
    /// Objects that count.
    objects: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Right,
    Wrong,
    /// Matched to an object that does not count, or to none and of an area that does not.
    Ignored,
}

impl Matched {
    fn new(truths: &[CocoTruth], detections: &[Detection], range: AreaRange) -> Self {
        let scores: Vec<f32> = detections.iter().map(|d| d.score).collect();
        let mut order = by_score(&scores);
        order.truncate(LIMITS[LIMITS.len() - 1]);
        // Those that count come first, otherwise in their order.
        let mut truths: Vec<(CocoTruth, bool)> =
            truths.iter().map(|t| (*t, t.is_crowd || !range.holds(t.area))).collect();
        truths.sort_by_key(|truth| truth.1);
        let mut fates = vec![[Fate::Wrong; OVERLAPS]; order.len()];
        let overlaps: Vec<Vec<f64>> = order
            .iter()
            .map(|&at| truths.iter().map(|t| overlap_with(detections[at].bounds, &t.0)).collect())
            .collect();
        for t in 0..OVERLAPS {
            let mut is_taken = vec![false; truths.len()];
            for ((nth, &at), fates) in order.iter().enumerate().zip(&mut fates) {
                let mut best = overlap(t).min(1.0 - 1e-10);
                let mut matched: Option<usize> = None;
                for (object, (truth, is_ignored)) in truths.iter().enumerate() {
                    if is_taken[object] && !truth.is_crowd {
                        continue;
                    }
                    // A match that counts is not given up for one that does not.
                    if matched.is_some_and(|m| !truths[m].1) && *is_ignored {
                        break;
                    }
                    if overlaps[nth][object] >= best {
                        best = overlaps[nth][object];
                        matched = Some(object);
                    }
                }
                fates[t] = match matched {
                    Some(object) => {
                        is_taken[object] = true;
                        if truths[object].1 { Fate::Ignored } else { Fate::Right }
                    }
                    None if !range.holds(detections[at].bounds.area()) => Fate::Ignored,
                    None => Fate::Wrong,
                };
            }
        }
        let scores = order.iter().map(|&at| scores[at]).collect();
        Self { scores, fates, objects: truths.iter().filter(|truth| !truth.1).count() }
    }
}

/// Intersection over union; over the detection's own area where the object is a crowd.
fn overlap_with(detection: Box2, truth: &CocoTruth) -> f64 {
    let shared = detection.shared(truth.bounds);
    let of = if truth.is_crowd {
        detection.area()
    } else {
        detection.area() + truth.bounds.area() - shared
    };
    if of > 0.0 { shared / of } else { 0.0 }
}

/// Of a class and a range of areas; nothing where no object counts.
struct Curve {
    /// Average precision at each overlap, with 100 detections.
    precision: Option<[f64; OVERLAPS]>,
    /// Mean recall over the overlaps, at each limit.
    recall: Option<[f64; 3]>,
}

impl Curve {
    fn new(images: &[Matched]) -> Self {
        let objects: usize = images.iter().map(|image| image.objects).sum();
        if objects == 0 {
            return Self { precision: None, recall: None };
        }
        let mut precision = [0.0; OVERLAPS];
        let mut recall = [0.0; 3];
        for (limit, recall) in LIMITS.into_iter().zip(&mut recall) {
            let (mut scores, mut fates) = (Vec::new(), Vec::new());
            for image in images {
                let kept = limit.min(image.scores.len());
                scores.extend_from_slice(&image.scores[..kept]);
                fates.extend_from_slice(&image.fates[..kept]);
            }
            let order = by_score(&scores);
            for (t, precision) in precision.iter_mut().enumerate() {
                let fates: Vec<Fate> = order.iter().map(|&at| fates[at][t]).collect();
                let (average, reached) = averaged(&fates, objects as f64);
                *recall += reached;
                // The last limit is the largest.
                *precision = average;
            }
        }
        let recall = recall.map(|sum| sum / OVERLAPS as f64);
        Self { precision: Some(precision), recall: Some(recall) }
    }
}

/// Mean precision at 101 recalls, and the recall reached.
fn averaged(fates: &[Fate], objects: f64) -> (f64, f64) {
    let (mut right, mut wrong) = (0.0, 0.0);
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for fate in fates {
        match fate {
            Fate::Right => right += 1.0,
            Fate::Wrong => wrong += 1.0,
            Fate::Ignored => continue,
        }
        // The smallest number that keeps 0 / 0 away, as there.
        curve.push((right / objects, right / (right + wrong + f64::EPSILON)));
    }
    let mut best = 0.0;
    for point in curve.iter_mut().rev() {
        best = f64::max(best, point.1);
        point.1 = best;
    }
    let at = |r: usize| {
        let from = curve.partition_point(|point| point.0 < recall_at(r));
        curve.get(from).map_or(0.0, |point| point.1)
    };
    ((0..=100).map(at).sum::<f64>() / 101.0, right / objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(x: f64, side: f64) -> CocoTruth {
        let bounds = Box2::from_size([x, 0.0, side, side]);
        CocoTruth { image: 0, class: 0, bounds, area: side * side, is_crowd: false }
    }

    fn detection(x: f64, side: f64, score: f32) -> Detection {
        Detection { image: 0, class: 0, bounds: Box2::from_size([x, 0.0, side, side]), score }
    }

    #[test]
    fn a_second_detection_of_one_object_is_wrong_unless_it_is_a_crowd() {
        let twice =
            [detection(0.0, 50.0, 0.9), detection(0.0, 50.0, 0.8), detection(100.0, 50.0, 0.7)];
        let mut truths = [truth(0.0, 50.0), truth(100.0, 50.0)];
        let found = coco(&truths, &twice).unwrap();
        // Precision 1 to recall ½ (51 points), then ⅔.
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((found.ap.unwrap() - expected).abs() < 1e-12, "{found:?}");
        assert_eq!(found.ar1, Some(0.5));
        truths[0].is_crowd = true;
        assert!((coco(&truths, &twice).unwrap().ap.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn areas_part_the_objects_and_detections_without_one_are_ignored_outside() {
        let truths = [truth(0.0, 20.0), truth(100.0, 50.0)];
        let found =
            coco(&truths, &[detection(100.0, 50.0, 0.9), detection(300.0, 10.0, 0.95)]).unwrap();
        assert_eq!((found.ap_small, found.ap_large), (Some(0.0), None));
        assert!((found.ap_medium.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_find_has_no_score_and_bad_input_is_refused() {
        assert_eq!(coco(&[], &[detection(0.0, 1.0, 0.5)]).unwrap().ap, None);
        let nan = coco(&[], &[detection(0.0, 1.0, f32::NAN)]).unwrap_err();
        assert_eq!(nan, CocoError::NotANumber { at: 0 });
        let bad = CocoTruth { area: -1.0, ..truth(0.0, 1.0) };
        assert_eq!(coco(&[bad], &[]), Err(CocoError::Area { at: 0, found: -1.0 }));
        assert!(coco(&[truth(0.0, -1.0)], &[]).is_err());
    }
}
