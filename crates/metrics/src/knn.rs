//! Classification by the nearest embeddings, as DINOv2 evaluates backbones.
//!
//! Embeddings are compared by cosine; the k nearest training rows vote for their class with weight
//! exp(similarity / T) (T = 0.07, k = 20), the rule of
//! <https://github.com/facebookresearch/dinov2/blob/main/dinov2/eval/knn.py>, after Wu et al., 2018,
//! <https://arxiv.org/abs/1805.01978>. Nothing is fitted, so it says what the embedding alone knows.

use ndarray::{Array2, ArrayView2};
use thiserror::Error;

use crate::distances::MeasureError;
use crate::{Accuracy, AccuracyError, Distance, DistanceError, Neighbours, top_k, top_k_accuracy};

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vote {
    /// One vote each.
    Uniform,
    /// exp(cosine similarity / temperature), as DINOv2.
    Softmax {
        /// Above 0; 0.07 in DINOv2.
        temperature: f64,
    },
}

/// The rule of a nearest-neighbour classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knn {
    /// Neighbours that vote, at least 1.
    pub k: usize,
    /// Their weights.
    pub vote: Vote,
}

impl Default for Knn {
    /// DINOv2's: k = 20, temperature 0.07.
    fn default() -> Self {
        Self { k: 20, vote: Vote::Softmax { temperature: 0.07 } }
    }
}

impl Knn {
    /// Whether the training part and the rule fit.
    pub(crate) fn check(&self, train: &Labelled<'_>, classes: usize) -> Result<(), KnnError> {
        let Labelled { embeddings, labels } = train;
        if let Vote::Softmax { temperature: found } = self.vote
            && !(found.is_finite() && found > 0.0)
        {
            return Err(KnnError::Temperature { found });
        }
        if labels.len() != embeddings.nrows() {
            return Err(KnnError::Count { expected: embeddings.nrows(), found: labels.len() });
        }
        if let Some((row, &found)) = labels.iter().enumerate().find(|&(_, &label)| label >= classes)
        {
            return Err(KnnError::Label { row, classes, found });
        }
        if self.k == 0 {
            let available = embeddings.nrows();
            return Err(DistanceError::Neighbours { available, found: 0 }.into());
        }
        Ok(())
    }

    /// Shares of the votes of neighbours, of which every row has at least one.
    pub(crate) fn votes(&self, near: &Neighbours, labels: &[usize], classes: usize) -> Array2<f32> {
        let mut scores = Array2::zeros((near.indices.nrows(), classes));
        let mut votes = vec![0.0_f64; classes];
        let rows = near.indices.rows().into_iter().zip(near.distances.rows());
        for ((indices, distances), mut out) in rows.zip(scores.rows_mut()) {
            votes.fill(0.0);
            // Relative to the nearest: the same shares, and no overflow at any temperature.
            let nearest = f64::from(distances[0]);
            for (&index, &distance) in indices.iter().zip(distances) {
                votes[labels[index]] += match self.vote {
                    Vote::Uniform => 1.0,
                    Vote::Softmax { temperature } => {
                        let further = f64::from(distance) - nearest;
                        // Infinite less infinite: all are equally far.
                        if further.is_nan() { 1.0 } else { (-further / temperature).exp() }
                    }
                };
            }
            let total: f64 = votes.iter().sum();
            out.iter_mut().zip(&votes).for_each(|(score, vote)| *score = (vote / total) as f32);
        }
        scores
    }
}

/// Embeddings and the classes of their images.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// `[n, d]`, finite.
    pub embeddings: ArrayView2<'a, f32>,
    /// `[n]`, each below the number of classes.
    pub labels: &'a [usize],
}

/// Why embeddings could not be classified by their neighbours.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum KnnError {
    /// The temperature is not above 0.
    #[error("temperature: expected a finite number above 0, found {found}")]
    Temperature {
        /// The temperature given.
        found: f64,
    },
    /// There are not as many training labels as embeddings.
    #[error("training labels: expected {expected}, one per embedding, found {found}")]
    Count {
        /// Embeddings.
        expected: usize,
        /// Labels.
        found: usize,
    },
    /// A training label names no class.
    #[error("training label {row}: expected a class below {classes}, found {found}")]
    Label {
        /// Its row.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// The embeddings have no neighbours. In the message "points" are the training embeddings,
    /// "queries" the embeddings to classify.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// The embeddings have no distance by the measure chosen.
    #[error(transparent)]
    Measure(MeasureError),
    /// The votes have no accuracy: no test image, or test labels that do not fit.
    #[error("test part: {0}")]
    Accuracy(#[from] AccuracyError),
}

/// The votes of each query's nearest training embeddings.
///
/// Among neighbours at the same distance the lower training index votes. A zero embedding has
/// similarity 0 to all. Exact ([`top_k`]); cost: O(queries · n · d).
///
/// - `train`: `[n, d]` with labels below `classes`, n ≥ k.
/// - `queries`: `[m, d]`.
/// - returns: `[m, classes]`, each row's votes as shares, summing to 1; classes without a vote have 0.
///
/// # Errors
/// [`KnnError`]: k of 0 or above n, a temperature that is not above 0, labels that do not fit,
/// values that are not finite.
///
/// # Examples
/// ```
/// use nearkin_metrics::{Knn, Labelled, Vote, knn_scores};
/// let train = ndarray::arr2(&[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]);
/// let train = Labelled { embeddings: train.view(), labels: &[0, 0, 1] };
/// let query = ndarray::arr2(&[[1.0, 0.2]]);
/// let votes = knn_scores(train, query.view(), 2, &Knn { k: 3, vote: Vote::Uniform })?;
/// assert!((votes[[0, 0]] - 2.0 / 3.0).abs() < 1e-6);
/// # Ok::<(), nearkin_metrics::KnnError>(())
/// ```
pub fn knn_scores(
    train: Labelled<'_>,
    queries: ArrayView2<'_, f32>,
    classes: usize,
    knn: &Knn,
) -> Result<Array2<f32>, KnnError> {
    knn.check(&train, classes)?;
    let neighbours = top_k(queries, train.embeddings, knn.k, Distance::Cosine)?;
    Ok(knn.votes(&neighbours, train.labels, classes))
}

/// Top-1 accuracy of [`knn_scores`] on a test part; equal votes go to the lower class.
///
/// # Errors
/// As [`knn_scores`]; [`KnnError::Accuracy`] if the test part is empty or its labels do not fit.
pub fn knn_accuracy(
    train: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    knn: &Knn,
) -> Result<Accuracy, KnnError> {
    let scores = knn_scores(train, test.embeddings, classes, knn)?;
    Ok(top_k_accuracy(scores.view(), test.labels, 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn votes_are_dinov2s_softmax_of_similarities() {
        let train = arr2(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]);
        let train = Labelled { embeddings: train.view(), labels: &[0, 1, 1, 2] };
        let query = arr2(&[[2.0, 0.0]]);
        let knn = Knn { k: 3, vote: Vote::Softmax { temperature: 0.5 } };
        let votes = knn_scores(train, query.view(), 3, &knn).unwrap();
        // Similarities 1, 0.6 and 0; the fourth, −1, is not among the three nearest.
        let weights = [2.0_f32.exp(), 1.2_f32.exp(), 0.0_f32.exp()];
        let total: f32 = weights.iter().sum();
        assert!((votes[[0, 0]] - weights[0] / total).abs() < 1e-6);
        assert!((votes[[0, 1]] - (weights[1] + weights[2]) / total).abs() < 1e-6);
        assert!(votes[[0, 2]].abs() < f32::MIN_POSITIVE);
    }

    #[test]
    fn a_near_neighbour_outvotes_two_far_ones() {
        let train = arr2(&[[1.0, 0.05], [0.5, 1.0], [0.5, -1.0]]);
        let train = Labelled { embeddings: train.view(), labels: &[1, 0, 0] };
        let test = arr2(&[[1.0, 0.0]]);
        let test = Labelled { embeddings: test.view(), labels: &[1] };
        let accuracy = |knn: Knn| knn_accuracy(train, test, 2, &knn).unwrap().correct;
        assert_eq!(accuracy(Knn { k: 3, ..Knn::default() }), 1);
        assert_eq!(accuracy(Knn { k: 3, vote: Vote::Uniform }), 0);
    }

    #[test]
    fn tiny_temperatures_and_zero_embeddings_give_votes_that_sum_to_1() {
        let train = arr2(&[[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]);
        let train = Labelled { embeddings: train.view(), labels: &[0, 1, 1] };
        let queries = arr2(&[[1.0, 0.0], [0.0, 0.0]]);
        let knn = Knn { k: 3, vote: Vote::Softmax { temperature: 1e-9 } };
        let votes = knn_scores(train, queries.view(), 2, &knn).unwrap();
        assert_eq!(votes.row(0).to_vec(), [0.0, 1.0]);
        assert!((votes[[1, 0]] - 1.0 / 3.0).abs() < 1e-6);
    }

    fn check(labels: &[usize], knn: Knn, expected_error: &str) {
        let rows = arr2(&[[0.0, 1.0], [1.0, 0.0]]);
        let part = Labelled { embeddings: rows.view(), labels };
        let error = knn_accuracy(part, part, 2, &knn).unwrap_err();
        assert_eq!(error.to_string(), expected_error);
    }

    #[test]
    fn rules_and_labels_that_do_not_fit_are_refused() {
        check(&[0, 1], Knn::default(), "k: expected 1 to 2 neighbours, found 20");
        let one = Knn { k: 1, vote: Vote::Uniform };
        check(&[0], one, "training labels: expected 2, one per embedding, found 1");
        check(&[0, 2], one, "training label 1: expected a class below 2, found 2");
        let cold = Knn { k: 1, vote: Vote::Softmax { temperature: 0.0 } };
        check(&[0, 1], cold, "temperature: expected a finite number above 0, found 0");
    }
}
