//! How well frozen embeddings tell the classes apart.

use nearkin_metrics::{
    Accuracy, AccuracyError, Knn, KnnError, Labelled, ProbeError, TYPICAL_DISCORDANT_SHARE, Vote,
    knn_accuracy, linear_probe, smallest_detectable_difference, top_k_accuracy,
};

use crate::record::{Rate, Row};
use crate::suite::Probe;

/// Guesses that count for the second accuracy; fewer where there are fewer classes.
const TOP: usize = 5;

/// Why embeddings cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// The linear probe cannot be fitted.
    #[error("linear probe: {0}")]
    Probe(#[from] ProbeError),
    /// The neighbours cannot vote.
    #[error("nearest neighbours: {0}")]
    Knn(#[from] KnnError),
    /// Scores and labels do not fit.
    #[error("accuracy: {0}")]
    Accuracy(#[from] AccuracyError),
}

/// What a linear classifier reads off the embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probed {
    /// The first guess is right.
    pub top1: Rate,
    /// One of the first five guesses is right.
    pub top5: Rate,
    /// The penalty α that the validation part chose.
    pub penalty: f64,
}

/// Fits a linear probe on `train` and scores it on `test`: see [`linear_probe`].
///
/// - `classes`: of both parts together.
/// - `seed`: draws the validation part.
///
/// # Errors
/// [`QualityError`].
pub fn probe(
    train: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    probe: &Probe,
    seed: u64,
) -> Result<Probed, QualityError> {
    let settings = nearkin_metrics::Probe {
        validation_share: probe.validation,
        seed,
        ..nearkin_metrics::Probe::default()
    };
    let probed = linear_probe(train, test.embeddings, classes, &settings)?;
    let accuracy = |k| top_k_accuracy(probed.scores.view(), test.labels, k);
    Ok(Probed {
        top1: rate(accuracy(1)?),
        top5: rate(accuracy(TOP.min(classes))?),
        penalty: probed.alpha,
    })
}

/// The share of `test` that its nearest neighbours in `train` vote right: see [`knn_accuracy`].
///
/// # Errors
/// [`QualityError`].
pub fn vote(
    train: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    probe: &Probe,
) -> Result<Rate, QualityError> {
    let temperature = f64::from(probe.temperature);
    let knn = Knn { k: probe.neighbours, vote: Vote::Softmax { temperature } };
    Ok(rate(knn_accuracy(train, test, classes, &knn)?))
}

fn rate(accuracy: Accuracy) -> Rate {
    let interval = accuracy.interval();
    Rate {
        value: accuracy.share(),
        low: interval.low,
        high: interval.high,
        correct: accuracy.correct,
        total: accuracy.total,
    }
}

/// The smallest difference in accuracy between two of `rows` that their test images can show, if
/// two models disagree on a tenth of the images; `None` without rows.
#[must_use]
pub fn smallest_difference(rows: &[Row]) -> Option<f64> {
    let images = rows.first()?.measured.quality.top1.total;
    Some(smallest_detectable_difference(images, TYPICAL_DISCORDANT_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    const PROBE: Probe = Probe { neighbours: 3, temperature: 0.07, validation: 0.25 };

    /// Eight points of each of three classes, in three corners; `noise` mixes them.
    fn corners(noise: f32) -> (Array2<f32>, Vec<usize>) {
        let labels: Vec<_> = (0..24).map(|i| i % 3).collect();
        let points = Array2::from_shape_fn((24, 3), |(i, d)| {
            let spread = ((i * 7 + d * 5) % 11) as f32 / 11.0 - 0.5;
            f32::from(u8::from(d == labels[i])) + noise * spread
        });
        (points, labels)
    }

    #[test]
    fn what_is_apart_is_told_apart() {
        let (points, labels) = corners(0.1);
        let all = Labelled { embeddings: points.view(), labels: &labels };
        let probed = probe(all, all, 3, &PROBE, 0).unwrap();
        assert_eq!((probed.top1.correct, probed.top1.total), (24, 24));
        assert!(probed.top1.low < 1.0 && probed.top1.high >= 1.0);
        assert_eq!(probed.top5.correct, 24, "fewer classes than guesses");
        assert_eq!(vote(all, all, 3, &PROBE).unwrap().correct, 24);
    }

    #[test]
    fn embeddings_that_are_not_numbers_are_refused_with_their_place() {
        let (mut points, labels) = corners(0.1);
        let good = points.clone();
        points[[5, 1]] = f32::NAN;
        let bad = Labelled { embeddings: points.view(), labels: &labels };
        let good = Labelled { embeddings: good.view(), labels: &labels };
        let error = probe(bad, good, 3, &PROBE, 0).unwrap_err().to_string();
        assert!(error.contains("embedding 5, column 1"), "{error}");
        assert!(vote(good, bad, 3, &PROBE).is_err());
    }

    #[test]
    fn ten_thousand_images_resolve_less_than_one_point() {
        let mut row = crate::record::tests::row("a");
        assert!((smallest_difference(&[row.clone()]).unwrap() - 0.042).abs() < 5e-4);
        row.measured.quality.top1.total = 10_000;
        assert!((smallest_difference(&[row]).unwrap() - 0.009).abs() < 5e-4);
        assert_eq!(smallest_difference(&[]), None);
    }
}
