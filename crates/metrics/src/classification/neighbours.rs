//! Votes of the nearest embeddings by any measure, and without a test part.

use ndarray::{Array2, ArrayView2};

use crate::distances::{Measure, MeasureError, nearest, nearest_within};
use crate::{Accuracy, Knn, KnnError, Labelled, top_k_accuracy};

/// The votes of each query's nearest training embeddings by any measure: [`crate::knn_scores`] beyond cosine.
///
/// [`crate::Vote::Softmax`] weighs a neighbour at distance d by exp(−d / temperature), which for cosine is DINOv2's
/// exp(similarity / temperature) but for a factor that all share.
///
/// - `train`: `[n, d]` with labels below `classes`, n ≥ k; `queries`: `[m, d]`.
/// - returns: `[m, classes]`, each row's votes as shares.
///
/// # Errors
/// [`KnnError`], as [`crate::knn_scores`]; [`KnnError::Measure`] for what only other measures refuse.
pub fn knn_scores_by(
    train: Labelled<'_>,
    queries: ArrayView2<'_, f32>,
    classes: usize,
    knn: &Knn,
    measure: impl Into<Measure>,
) -> Result<Array2<f32>, KnnError> {
    knn.check(&train, classes)?;
    let near = nearest(queries, train.embeddings, knn.k, measure).map_err(kept)?;
    Ok(knn.votes(&near, train.labels, classes))
}

/// The votes of each embedding's nearest other embeddings: every image is classified by all the rest.
///
/// An embedding is left out by its index; a duplicate of it votes.
///
/// - `set`: `[n, d]` with labels below `classes`, n > k.
/// - returns: `[n, classes]`.
///
/// # Errors
/// As [`knn_scores_by`].
///
/// # Examples
/// ```
/// use nearkin_metrics::{Distance, Knn, Labelled, Vote, classification::knn_leave_one_out_accuracy};
/// let x = ndarray::arr2(&[[0.0], [1.0], [5.0], [7.0]]);
/// let set = Labelled { embeddings: x.view(), labels: &[0, 0, 1, 0] };
/// let knn = Knn { k: 1, vote: Vote::Uniform };
/// let found = knn_leave_one_out_accuracy(set, 2, &knn, Distance::Manhattan)?;
/// assert_eq!(found.correct, 2); // 5 is nearest to 7, and 7 to 5
/// # Ok::<(), nearkin_metrics::KnnError>(())
/// ```
pub fn knn_leave_one_out(
    set: Labelled<'_>,
    classes: usize,
    knn: &Knn,
    measure: impl Into<Measure>,
) -> Result<Array2<f32>, KnnError> {
    knn.check(&set, classes)?;
    let near = nearest_within(set.embeddings, knn.k, measure).map_err(kept)?;
    Ok(knn.votes(&near, set.labels, classes))
}

/// Top-1 accuracy of [`knn_leave_one_out`]; equal votes go to the lower class.
///
/// # Errors
/// As [`knn_scores_by`].
pub fn knn_leave_one_out_accuracy(
    set: Labelled<'_>,
    classes: usize,
    knn: &Knn,
    measure: impl Into<Measure>,
) -> Result<Accuracy, KnnError> {
    let labels = set.labels;
    let scores = knn_leave_one_out(set, classes, knn, measure)?;
    Ok(top_k_accuracy(scores.view(), labels, 1)?)
}

/// Distances' own errors keep their variant.
fn kept(error: MeasureError) -> KnnError {
    match error {
        MeasureError::Distance(error) => KnnError::Distance(error),
        other => KnnError::Measure(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distance, Vote, knn_scores};

    #[test]
    fn by_cosine_the_votes_are_those_of_the_common_rule() {
        let x = Array2::from_shape_fn((40, 6), |(i, j)| crate::noise(i, j) - 0.5);
        let labels: Vec<usize> = (0..40).map(|i| i % 3).collect();
        let train = || Labelled { embeddings: x.view(), labels: &labels };
        let knn = Knn { k: 7, ..Knn::default() };
        let queries = Array2::from_shape_fn((9, 6), |(i, j)| crate::noise(i + 50, j) - 0.5);
        let expected = knn_scores(train(), queries.view(), 3, &knn).unwrap();
        let found = knn_scores_by(train(), queries.view(), 3, &knn, Distance::Cosine).unwrap();
        assert_eq!(found, expected);
        // Leaving one out is a search among the others.
        let all = knn_leave_one_out(train(), 3, &knn, Measure::Chebyshev).unwrap();
        let rest: Vec<usize> = (0..40).filter(|&i| i != 11).collect();
        let others = x.select(ndarray::Axis(0), &rest);
        let other_labels: Vec<usize> = rest.iter().map(|&i| labels[i]).collect();
        let others = Labelled { embeddings: others.view(), labels: &other_labels };
        let one = x.slice(ndarray::s![11..12, ..]);
        let expected = knn_scores_by(others, one, 3, &knn, Measure::Chebyshev).unwrap();
        assert_eq!(all.row(11), expected.row(0));
    }

    #[test]
    fn infinite_distances_vote_alike_and_empty_histograms_are_refused() {
        let x = ndarray::arr2(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let set = Labelled { embeddings: x.view(), labels: &[0, 1, 1] };
        let knn = Knn { k: 2, vote: Vote::Softmax { temperature: 1.0 } };
        let votes = knn_leave_one_out(set, 2, &knn, Measure::KullbackLeibler).unwrap();
        assert_eq!(votes.row(1).to_vec(), [0.5, 0.5]);
        let zero = Array2::zeros((3, 2));
        let set = Labelled { embeddings: zero.view(), labels: &[0, 1, 1] };
        let error = knn_leave_one_out(set, 2, &knn, Measure::Hellinger).unwrap_err();
        assert!(error.to_string().contains("row 0: expected a histogram"));
        let none = Knn { k: 0, vote: Vote::Uniform };
        assert!(knn_leave_one_out(set, 2, &none, Measure::Hamming).is_err());
    }
}
