//! Scores of embeddings with labels.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;
use thiserror::Error;

use super::ranks::each_query;
use super::score::{RetrievalScore, score_ranks};
use crate::distances::{Measure, MeasureError, nearest, nearest_within};
use crate::{DistanceError, Labelled, SelfJoin};

/// What queries are searched among.
#[derive(Clone, Copy, Debug)]
pub enum Gallery<'a> {
    /// The other queries: nothing finds itself.
    Others,
    /// A set of its own.
    Apart(Labelled<'a>),
}

/// Scores of every query that has relevant items.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    /// The queries that count, rising: those whose label another item bears.
    pub queries: Vec<usize>,
    /// `[queries, scores]`, in the order asked for, each in \[0, 1\].
    pub values: Array2<f64>,
}

/// Why retrieval has no score.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RetrievalError {
    /// The embeddings cannot be compared.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// There are not as many labels as embeddings.
    #[error("{input} labels: expected {expected}, one per embedding, found {found}")]
    Count {
        /// Which side.
        input: &'static str,
        /// Embeddings.
        expected: usize,
        /// Labels.
        found: usize,
    },
    /// A score looks at no item, or at more than there are.
    #[error("{score}: expected a k from 1 to {available} items, found {found}")]
    Depth {
        /// The score's name.
        score: String,
        /// Items that a query can find.
        available: usize,
        /// The k given.
        found: usize,
    },
    /// No query shares its label with another item.
    #[error("labels: expected a query that shares its label with another item, found none")]
    AllAlone,
}

impl From<DistanceError> for RetrievalError {
    fn from(error: DistanceError) -> Self {
        Self::Measure(error.into())
    }
}

impl Retrieval {
    /// The mean of each score over the queries.
    pub fn means(&self) -> Vec<f64> {
        // There is at least one query.
        self.values.columns().into_iter().map(|v| v.sum() / v.len() as f64).collect()
    }

    /// The mean of each score over the labels' means: every class counts the same.
    ///
    /// - `labels`: those of all queries.
    pub fn means_of_classes(&self, labels: &[usize]) -> Vec<f64> {
        let mut classes: BTreeMap<usize, (f64, Vec<f64>)> = BTreeMap::new();
        for (&query, values) in self.queries.iter().zip(self.values.rows()) {
            let entry = classes.entry(labels.get(query).copied().unwrap_or_default());
            let (count, sums) = entry.or_insert_with(|| (0.0, vec![0.0; values.len()]));
            *count += 1.0;
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
        }
        let mut means = vec![0.0; self.values.ncols()];
        for (count, sums) in classes.values() {
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / count);
        }
        means.iter().map(|mean| mean / classes.len() as f64).collect()
    }
}

/// How well the nearest items of each query share its label.
///
/// Exact: items are ranked by their f64 distance, ties by index. Where no score looks beyond a bounded number of
/// items, only those are searched ([`nearest`]); for scores over whole rankings the items before each relevant one
/// are counted, in blocks. Memory: O(n (k + d)), k the largest depth, or a block of distances (128 MiB). Cost:
/// O(n m d).
///
/// - `queries`: `[n, d]` with labels.
/// - `scores`: what to compute; a k of 1 up to the items that a query can find.
///
/// # Errors
/// [`RetrievalError`]; [`RetrievalError::AllAlone`] if no query has a relevant item.
///
/// # Examples
/// ```
/// use nearkin_metrics::retrieval::{Gallery, RetrievalScore, retrieval};
/// use nearkin_metrics::{Distance, Labelled};
/// let x = ndarray::arr2(&[[0.0], [1.0], [1.5], [9.0]]);
/// let queries = Labelled { embeddings: x.view(), labels: &[0, 0, 1, 2] };
/// let found = retrieval(queries, Gallery::Others, Distance::Euclidean, &[RetrievalScore::Map])?;
/// assert_eq!(found.queries, [0, 1]); // labels 1 and 2 stand alone
/// assert_eq!(found.means(), [0.75]); // 1 is the first of 0, and 0 the second of 1
/// # Ok::<(), nearkin_metrics::retrieval::RetrievalError>(())
/// ```
pub fn retrieval(
    queries: Labelled<'_>,
    gallery: Gallery<'_>,
    measure: impl Into<Measure>,
    scores: &[RetrievalScore],
) -> Result<Retrieval, RetrievalError> {
    let measure = measure.into();
    let embeddings = queries.embeddings;
    let items = match gallery {
        Gallery::Others => again(&queries),
        Gallery::Apart(ref items) => again(items),
    };
    let own = usize::from(matches!(gallery, Gallery::Others));
    for (input, side) in [("query", again(&queries)), ("gallery", again(&items))] {
        let (expected, found) = (side.embeddings.nrows(), side.labels.len());
        if found != expected {
            return Err(RetrievalError::Count { input, expected, found });
        }
    }
    let available = items.embeddings.nrows().saturating_sub(own);
    let bad = |score: &&RetrievalScore| score.depth(1).is_some_and(|k| k == 0 || k > available);
    if let Some(score) = scores.iter().find(bad) {
        let found = score.depth(1).unwrap_or_default();
        return Err(RetrievalError::Depth { score: score.name(), available, found });
    }
    let mut of_label: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (item, &label) in items.labels.iter().enumerate() {
        of_label.entry(label).or_default().push(item);
    }
    let count = |label| of_label.get(label).map_or(0, |items| items.len() - own);
    // Of every query: how many items it should find.
    let relevant: Vec<usize> = queries.labels.iter().map(count).collect();
    let kept: Vec<usize> = (0..embeddings.nrows()).filter(|&query| relevant[query] > 0).collect();
    if kept.is_empty() {
        return Err(RetrievalError::AllAlone);
    }
    // How far the scores look at most; nothing if one looks at everything.
    let depth = scores.iter().flat_map(|score| kept.iter().map(|&q| score.depth(relevant[q])));
    let depth = depth.collect::<Option<Vec<_>>>().map(|depths| depths.into_iter().max());
    let mut values = Vec::with_capacity(kept.len() * scores.len());
    // The scores of a query; none if it has nothing to find.
    let of_ranks = |query: usize, ranks: &[usize]| {
        let all = relevant[query];
        let asked = if all > 0 { scores } else { &[] };
        asked.iter().map(|&score| score_ranks(ranks, all, score)).collect::<Vec<_>>()
    };
    match depth.map(Option::unwrap_or_default) {
        // A quarter of everything is found sooner by counting.
        Some(k) if k == 0 || 4 * k <= available.max(256) => {
            let is_alike = |query: usize, item: usize| items.labels[item] == queries.labels[query];
            let take = |first: usize, ranks: Vec<Vec<usize>>| {
                let found = ranks.into_par_iter().enumerate().with_min_len(256);
                let found = found.flat_map_iter(|(at, ranks)| of_ranks(first + at, &ranks));
                values.par_extend(found);
            };
            near_ranks(embeddings, gallery, measure, k.max(1), &is_alike, take)?;
        }
        _ => {
            let of_query = |query: usize| {
                let all = of_label.get(&queries.labels[query]).map_or(&[][..], Vec::as_slice);
                all.iter().copied().filter(|&item| own == 0 || item != query).collect()
            };
            let own_item = |query: usize| (own == 1).then_some(query);
            let points = items.embeddings;
            each_query(embeddings, points, measure, &of_query, &own_item, |query, ranks| {
                values.extend(of_ranks(query, &ranks));
            })?;
        }
    }
    let shape = (kept.len(), scores.len());
    // Exactly the kept queries were pushed, in order.
    let values = Array2::from_shape_vec(shape, values).unwrap_or_else(|_| Array2::zeros(shape));
    Ok(Retrieval { queries: kept, values })
}

/// The same set for as long as it is borrowed: views of two lifetimes are of two types.
fn again<'a>(set: &'a Labelled<'_>) -> Labelled<'a> {
    Labelled { embeddings: set.embeddings.view(), labels: set.labels }
}

/// Rows of queries that are searched at once in a gallery of their own.
const QUERY_ROWS: usize = 4096;

/// Hands over, for runs of queries in order, the ranks of those among the k nearest items that are alike the query.
fn near_ranks(
    queries: ArrayView2<'_, f32>,
    gallery: Gallery<'_>,
    measure: Measure,
    k: usize,
    is_alike: &(dyn Fn(usize, usize) -> bool + Sync),
    mut take: impl FnMut(usize, Vec<Vec<usize>>),
) -> Result<(), MeasureError> {
    let of_lists = |first: usize, indices: &Array2<usize>| {
        let of_list = |(at, list): (usize, ArrayView1<'_, usize>)| {
            let alike = (1..).zip(list).filter(|&(_, &item)| is_alike(first + at, item));
            alike.map(|(rank, _)| rank).collect()
        };
        indices.axis_iter(Axis(0)).into_par_iter().enumerate().map(of_list).collect()
    };
    match (gallery, measure) {
        (Gallery::Others, Measure::Of(distance)) => {
            // Finished strips give their candidates back.
            let strips = queries.nrows().div_ceil(1 << 15);
            let mut join = SelfJoin::new(queries, k, distance, None, strips)?;
            let is_alike = |query, item: u32| is_alike(query, item as usize);
            while let Some((first, ranks)) = join.next_ranks(&is_alike) {
                take(first, ranks);
            }
        }
        (Gallery::Others, _) => {
            take(0, of_lists(0, &nearest_within(queries, k, measure)?.indices));
        }
        (Gallery::Apart(items), _) => {
            for first in (0..queries.nrows()).step_by(QUERY_ROWS) {
                let block = queries.slice(s![first..queries.nrows().min(first + QUERY_ROWS), ..]);
                let found = nearest(block, items.embeddings, k, measure)?;
                take(first, of_lists(first, &found.indices));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Distance;
    use ndarray::arr2;
    use proptest::prelude::*;

    const SCORES: [RetrievalScore; 8] = [
        RetrievalScore::PrecisionAt(1),
        RetrievalScore::RecallAt(3),
        RetrievalScore::CmcAt(2),
        RetrievalScore::RPrecision,
        RetrievalScore::MapAtR,
        RetrievalScore::MapAt(2),
        RetrievalScore::ReciprocalRankAt(3),
        RetrievalScore::NdcgAt(3),
    ];

    /// Sorts everything for every query.
    fn oracle(
        x: &Array2<f32>,
        labels: &[usize],
        y: Option<(&Array2<f32>, &[usize])>,
        measure: Measure,
        scores: &[RetrievalScore],
    ) -> Option<Vec<f64>> {
        let (items, item_labels) = y.unwrap_or((x, labels));
        let mut rows = Vec::new();
        for (i, &label) in labels.iter().enumerate() {
            let distance =
                |j: usize| crate::distances::between(x.row(i), items.row(j), measure).unwrap();
            let mut order: Vec<(f64, usize)> = (0..items.nrows())
                .filter(|&j| y.is_some() || j != i)
                .map(|j| (distance(j), j))
                .collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let hits = (1..).zip(&order).filter(|(_, pair)| item_labels[pair.1] == label);
            let ranks: Vec<usize> = hits.map(|(rank, _)| rank).collect();
            if !ranks.is_empty() {
                rows.push(
                    scores.iter().map(|&s| score_ranks(&ranks, ranks.len(), s)).collect::<Vec<_>>(),
                );
            }
        }
        let n = rows.len() as f64;
        let mean = |s: usize| rows.iter().map(|row| row[s]).sum::<f64>() / n;
        (!rows.is_empty()).then(|| (0..scores.len()).map(mean).collect())
    }

    proptest! {
        #[test]
        fn scores_are_those_of_a_full_sort(
            n in 5_usize..30, m in 5_usize..30, classes in 1_usize..8, seed in 0_usize..1000, coarse: bool,
        ) {
            let value = |i: usize, j: usize| {
                let v = crate::noise(i + 70 * seed, j);
                // Coarse values: ties do occur.
                if coarse { (4.0 * v).floor() / 2.0 } else { v }
            };
            let label = |i: usize| (crate::noise(i + 70 * seed, 99) * classes as f32) as usize;
            let x = Array2::from_shape_fn((n, 4), |(i, j)| value(i, j));
            let y = Array2::from_shape_fn((m, 4), |(i, j)| value(i + 35, j));
            let (of_x, of_y): (Vec<_>, Vec<_>) = ((0..n).map(label).collect(), (35..35 + m).map(label).collect());
            let queries = Labelled { embeddings: x.view(), labels: &of_x };
            let items = Labelled { embeddings: y.view(), labels: &of_y };
            let mut whole = SCORES.to_vec();
            whole.extend([RetrievalScore::Map, RetrievalScore::ReciprocalRank, RetrievalScore::Ndcg]);
            for measure in [Distance::SquaredEuclidean.into(), Measure::Chebyshev] {
                for scores in [&SCORES[..], &whole[..]] {
                    let found = retrieval(queries, Gallery::Others, measure, scores).ok().map(|r| r.means());
                    let expected = oracle(&x, &of_x, None, measure, scores);
                    prop_assert_eq!(found.is_some(), expected.is_some());
                    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                        prop_assert!((found - expected).abs() < 1e-12);
                    }
                    let found = retrieval(queries, Gallery::Apart(items), measure, scores).ok().map(|r| r.means());
                    let expected = oracle(&x, &of_x, Some((&y, &of_y)), measure, scores);
                    prop_assert_eq!(found.is_some(), expected.is_some());
                    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                        prop_assert!((found - expected).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn order_among_near_ties_is_exact_where_it_matters() {
        // f32 products tell few of these apart; duplicates of either label are ties to be broken by index.
        for distance in Distance::ALL {
            let x = Array2::from_shape_fn((400, 40), |(i, j)| {
                300.0 + (crate::noise(i / 2, j) * 3.0).floor() / 512.0
            });
            let labels: Vec<usize> =
                (0..400).map(|i| (crate::noise(i, 77) * 30.0) as usize).collect();
            let queries = Labelled { embeddings: x.view(), labels: &labels };
            let found = retrieval(queries, Gallery::Others, distance, &SCORES).unwrap().means();
            let measure = Measure::from(distance);
            let expected = oracle(&x, &labels, None, measure, &SCORES).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{distance:?}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn every_class_counts_the_same_in_the_mean_of_classes() {
        let values = arr2(&[[1.0], [0.0], [0.5]]);
        let found = Retrieval { queries: vec![0, 2, 3], values };
        assert_eq!(found.means(), [0.5]);
        assert_eq!(found.means_of_classes(&[7, 1, 7, 2]), [0.5]);
        assert_eq!(found.means_of_classes(&[7, 1, 2, 2]), [0.625]);
    }

    #[test]
    fn what_has_no_score_is_refused() {
        let x = arr2(&[[0.0], [1.0], [2.0]]);
        let error = |labels: &[usize], score| {
            let queries = Labelled { embeddings: x.view(), labels };
            let found = retrieval(queries, Gallery::Others, Distance::Euclidean, &[score]);
            found.unwrap_err().to_string()
        };
        assert_eq!(
            error(&[0, 0, 1], RetrievalScore::RecallAt(3)),
            "recall@3: expected a k from 1 to 2 items, found 3"
        );
        assert!(error(&[0, 0, 1], RetrievalScore::CmcAt(0)).contains("found 0"));
        assert!(error(&[0, 1, 2], RetrievalScore::Map).contains("found none"));
        assert!(error(&[0, 1], RetrievalScore::Map).starts_with("query labels: expected 3"));
    }
}
