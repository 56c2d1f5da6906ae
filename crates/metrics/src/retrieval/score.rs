//! What each score makes of the ranks of relevant items.

use ndarray::ArrayView2;
use thiserror::Error;

/// A score of one query, from the ranks r₁ < r₂ < … (from 1 on) of its relevant items and their number R.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrievalScore {
    /// The share of the first k that is relevant.
    PrecisionAt(usize),
    /// The share of the R relevant items that is among the first k.
    RecallAt(usize),
    /// 1 if one of the first k is relevant: the cumulative match characteristic, and what metric learning calls
    /// recall at k.
    CmcAt(usize),
    /// Precision at R.
    RPrecision,
    /// Σ over relevant ranks r ≤ R of the precision at r, divided by R (Musgrave et al., 2020,
    /// <https://arxiv.org/abs/2003.08505>).
    MapAtR,
    /// Σ over relevant ranks r ≤ k of the precision at r, divided by R: pytorch-metric-learning's with `k`.
    MapAt(usize),
    /// Σ over all relevant ranks of the precision there, divided by R.
    Map,
    /// 1 / r₁.
    ReciprocalRank,
    /// 1 / r₁, or 0 where r₁ > k.
    ReciprocalRankAt(usize),
    /// Σ over relevant ranks r ≤ k of 1 / log₂(r + 1), divided by that sum of the best order.
    NdcgAt(usize),
    /// The same over all ranks.
    Ndcg,
}

impl RetrievalScore {
    /// How many of the nearest the score looks at, for a query of `relevant` items; all of them if `None`.
    pub fn depth(self, relevant: usize) -> Option<usize> {
        match self {
            Self::PrecisionAt(k)
            | Self::RecallAt(k)
            | Self::CmcAt(k)
            | Self::MapAt(k)
            | Self::ReciprocalRankAt(k)
            | Self::NdcgAt(k) => Some(k),
            Self::RPrecision | Self::MapAtR => Some(relevant),
            Self::Map | Self::ReciprocalRank | Self::Ndcg => None,
        }
    }

    /// The score's usual name, with its k: `precision@5`, `map@r`.
    pub fn name(self) -> String {
        match self {
            Self::PrecisionAt(k) => format!("precision@{k}"),
            Self::RecallAt(k) => format!("recall@{k}"),
            Self::CmcAt(k) => format!("cmc@{k}"),
            Self::RPrecision => "r-precision".into(),
            Self::MapAtR => "map@r".into(),
            Self::MapAt(k) => format!("map@{k}"),
            Self::Map => "map".into(),
            Self::ReciprocalRank => "mrr".into(),
            Self::ReciprocalRankAt(k) => format!("mrr@{k}"),
            Self::NdcgAt(k) => format!("ndcg@{k}"),
            Self::Ndcg => "ndcg".into(),
        }
    }
}

/// The score of one query.
///
/// - `ranks`: of its relevant items, from 1 on, rising; those beyond the score's depth may be missing.
/// - `relevant`: R, at least 1 and at least `ranks.len()`.
/// - returns: in \[0, 1\]; 0 without relevant items.
///
/// # Examples
/// ```
/// use nearkin_metrics::retrieval::{RetrievalScore, score_ranks};
/// // Relevant items come first and third; there are two.
/// assert_eq!(score_ranks(&[1, 3], 2, RetrievalScore::Map), (1.0 + 2.0 / 3.0) / 2.0);
/// assert_eq!(score_ranks(&[1, 3], 2, RetrievalScore::RPrecision), 0.5);
/// ```
pub fn score_ranks(ranks: &[usize], relevant: usize, score: RetrievalScore) -> f64 {
    if relevant == 0 {
        return 0.0;
    }
    let depth = score.depth(relevant).unwrap_or(usize::MAX);
    let ranks = &ranks[..ranks.partition_point(|&rank| rank <= depth)];
    let found = ranks.len() as f64;
    let gain = |rank: usize| (rank as f64 + 1.0).log2().recip();
    match score {
        RetrievalScore::PrecisionAt(k) => found / k as f64,
        RetrievalScore::RPrecision | RetrievalScore::RecallAt(_) => found / relevant as f64,
        RetrievalScore::CmcAt(_) => found.min(1.0),
        RetrievalScore::MapAtR | RetrievalScore::MapAt(_) | RetrievalScore::Map => {
            let precisions = (1..).zip(ranks).map(|(nth, &rank)| f64::from(nth) / rank as f64);
            precisions.sum::<f64>() / relevant as f64
        }
        RetrievalScore::ReciprocalRank | RetrievalScore::ReciprocalRankAt(_) => {
            ranks.first().map_or(0.0, |&rank| (rank as f64).recip())
        }
        RetrievalScore::NdcgAt(_) | RetrievalScore::Ndcg => {
            let best: f64 = (1..=relevant.min(depth)).map(gain).sum();
            ranks.iter().map(|&rank| gain(rank)).sum::<f64>() / best
        }
    }
}

/// Why lists of neighbours have no score.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// There are not as many labels, or counts, as lists.
    #[error("{input}: expected {expected}, one per list, found {found}")]
    Count {
        /// Which argument.
        input: &'static str,
        /// Number of lists.
        expected: usize,
        /// Number given.
        found: usize,
    },
    /// A list is shorter than a score must look.
    #[error("{score} of list {list}: expected at least {expected} neighbours, found {found}")]
    Short {
        /// The score's name.
        score: String,
        /// The list.
        list: usize,
        /// How far the score looks: R for scores at R.
        expected: usize,
        /// Length of the lists.
        found: usize,
    },
    /// k is 0.
    #[error("{score}: expected a k of at least 1")]
    Depth {
        /// The score's name.
        score: String,
    },
    /// No query has a relevant item, so nothing has a mean.
    #[error("labels: expected a query that shares its label with another item, found none")]
    AllAlone,
}

/// Mean scores of neighbour lists that were found elsewhere.
///
/// - `neighbours`: labels of the nearest items, nearest first, `[n, k]`; the query itself is not among them.
/// - `labels`: of the queries, `[n]`.
/// - `relevant`: R of each query: items with its label in the gallery, itself not counted, `[n]`; queries with
///   0 are left out.
/// - returns: the mean of each score over the other queries.
///
/// # Errors
/// [`ListError`]: counts that differ; lists shorter than a score looks (k ≥ the largest R for scores at R; the
/// whole gallery cannot be checked for scores without a cut, which take a list's end for the gallery's); no
/// query left.
pub fn score_lists(
    neighbours: ArrayView2<'_, usize>,
    labels: &[usize],
    relevant: &[usize],
    scores: &[RetrievalScore],
) -> Result<Vec<f64>, ListError> {
    let (n, k) = neighbours.dim();
    for (input, found) in [("labels", labels.len()), ("relevant", relevant.len())] {
        if found != n {
            return Err(ListError::Count { input, expected: n, found });
        }
    }
    let mut sums = vec![0.0; scores.len()];
    let mut kept = 0;
    for (list, row) in neighbours.rows().into_iter().enumerate() {
        if relevant[list] == 0 {
            continue;
        }
        kept += 1;
        let hits = (1..).zip(row).filter(|&(_, &label)| label == labels[list]);
        let ranks: Vec<usize> = hits.map(|(rank, _)| rank).collect();
        for (sum, &score) in sums.iter_mut().zip(scores) {
            let expected = score.depth(relevant[list]).unwrap_or(0);
            if score.depth(1) == Some(0) {
                return Err(ListError::Depth { score: score.name() });
            }
            if expected > k {
                return Err(ListError::Short { score: score.name(), list, expected, found: k });
            }
            *sum += score_ranks(&ranks, relevant[list], score);
        }
    }
    if kept == 0 {
        return Err(ListError::AllAlone);
    }
    Ok(sums.into_iter().map(|sum| sum / f64::from(kept)).collect())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn scores_of_ranks_worked_by_hand() {
        let check = |score, expected: f64| {
            let found = score_ranks(&[2, 3, 6], 4, score);
            assert!((found - expected).abs() < 1e-15, "{score:?}: {found}, expected {expected}");
        };
        check(RetrievalScore::PrecisionAt(5), 0.4);
        check(RetrievalScore::RecallAt(5), 0.5);
        check(RetrievalScore::CmcAt(1), 0.0);
        check(RetrievalScore::CmcAt(2), 1.0);
        check(RetrievalScore::RPrecision, 0.5);
        check(RetrievalScore::MapAtR, (1.0 / 2.0 + 2.0 / 3.0) / 4.0);
        check(RetrievalScore::MapAt(2), 0.125);
        check(RetrievalScore::Map, (1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 6.0) / 4.0);
        check(RetrievalScore::ReciprocalRank, 0.5);
        check(RetrievalScore::ReciprocalRankAt(1), 0.0);
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        check(RetrievalScore::NdcgAt(2), gain(2.0) / (gain(1.0) + gain(2.0)));
        let best = gain(1.0) + gain(2.0) + gain(3.0) + gain(4.0);
        check(RetrievalScore::Ndcg, (gain(2.0) + gain(3.0) + gain(6.0)) / best);
        assert_eq!(score_ranks(&[], 0, RetrievalScore::Map), 0.0);
    }

    #[test]
    fn short_lists_and_lone_labels_are_refused() {
        let lists = arr2(&[[0, 1], [1, 1]]);
        let score =
            |relevant: &[usize], score| score_lists(lists.view(), &[0, 1], relevant, &[score]);
        assert_eq!(score(&[1, 0], RetrievalScore::RPrecision), Ok(vec![1.0]));
        assert_eq!(
            score(&[1, 3], RetrievalScore::MapAtR).unwrap_err().to_string(),
            "map@r of list 1: expected at least 3 neighbours, found 2"
        );
        assert_eq!(score(&[0, 0], RetrievalScore::Map), Err(ListError::AllAlone));
        assert_eq!(
            score(&[1, 1], RetrievalScore::CmcAt(0)).unwrap_err().to_string(),
            "cmc@0: expected a k of at least 1"
        );
        assert!(score(&[1], RetrievalScore::Map).is_err());
    }
}
