//! Mutual information, the Rand index and purity of two labellings.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::special::ln_factorials;

/// Why two labellings cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusteringError {
    /// They have different lengths.
    #[error("clusters: expected {expected}, one per label, found {found}")]
    Count {
        /// Number of labels.
        expected: usize,
        /// Number of clusters given.
        found: usize,
    },
    /// There are no points.
    #[error("labels: expected at least one, found none")]
    Empty,
}

/// Counts of points by class and cluster.
struct Table {
    n: f64,
    classes: Vec<usize>,
    clusters: Vec<usize>,
    /// Those that are not 0: (class, cluster, count).
    cells: Vec<(usize, usize, f64)>,
}

impl Table {
    fn new(labels: &[usize], clusters: &[usize]) -> Result<Self, ClusteringError> {
        if labels.len() != clusters.len() {
            return Err(ClusteringError::Count { expected: labels.len(), found: clusters.len() });
        }
        if labels.is_empty() {
            return Err(ClusteringError::Empty);
        }
        let (classes, of_class) = counted(labels);
        let (clusters, of_cluster) = counted(clusters);
        let mut cells: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        for pair in of_class.into_iter().zip(of_cluster) {
            *cells.entry(pair).or_insert(0.0) += 1.0;
        }
        let cells = cells.into_iter().map(|((a, b), count)| (a, b, count)).collect();
        Ok(Self { n: labels.len() as f64, classes, clusters, cells })
    }

    /// Σ p ln(p / (p(class) p(cluster))), at least 0.
    fn mutual_information(&self) -> f64 {
        let terms = self.cells.iter().map(|&(a, b, count)| {
            let by_chance = self.classes[a] as f64 * self.clusters[b] as f64;
            count / self.n * (count * self.n / by_chance).ln()
        });
        terms.sum::<f64>().max(0.0)
    }

    fn entropies(&self) -> (f64, f64) {
        let of = |counts: &[usize]| {
            let terms = counts.iter().map(|&count| {
                let p = count as f64 / self.n;
                -p * p.ln()
            });
            terms.sum::<f64>()
        };
        (of(&self.classes), of(&self.clusters))
    }

    /// Whether nothing is there to be told: one group on both sides, or every point alone on both.
    fn is_trivial(&self) -> bool {
        let (classes, clusters) = (self.classes.len(), self.clusters.len());
        classes == clusters && (classes == 1 || classes as f64 >= self.n)
    }

    /// The mean mutual information of all labellings with these group sizes (Vinh et al., 2010, equation 24a).
    fn expected_information(&self) -> f64 {
        let n = self.n as usize;
        let ln = ln_factorials(n);
        let mut sum = 0.0;
        // Sizes repeat, and so do their terms.
        let sizes = |counts: &[usize]| {
            let mut sizes: BTreeMap<usize, f64> = BTreeMap::new();
            counts.iter().for_each(|&size| *sizes.entry(size).or_insert(0.0) += 1.0);
            sizes
        };
        for (&a, times_a) in &sizes(&self.classes) {
            for (&b, times_b) in &sizes(&self.clusters) {
                let fixed = ln[a] + ln[b] + ln[n - a] + ln[n - b] - ln[n];
                for both in (a + b).saturating_sub(n).max(1)..=a.min(b) {
                    let probability =
                        fixed - ln[both] - ln[a - both] - ln[b - both] - ln[n + both - a - b];
                    let (both, by_chance) = (both as f64, a as f64 * b as f64);
                    let information = both / self.n * (both * self.n / by_chance).ln();
                    sum += times_a * times_b * information * probability.exp();
                }
            }
        }
        sum
    }
}

/// Group sizes in the order of the labels, and each point's group.
fn counted(labels: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut groups: BTreeMap<usize, usize> = labels.iter().map(|&label| (label, 0)).collect();
    groups.values_mut().enumerate().for_each(|(at, group)| *group = at);
    let mut counts = vec![0; groups.len()];
    let of_point: Vec<usize> = labels.iter().map(|label| groups[label]).collect();
    of_point.iter().for_each(|&group| counts[group] += 1);
    (counts, of_point)
}

/// Mutual information over the mean of both entropies, in \[0, 1\].
///
/// 1 for equal partitions, also where both have one group; 0 where one side alone has one.
///
/// - `labels`, `clusters`: `[n]`, n ≥ 1; only equality counts.
///
/// # Errors
/// [`ClusteringError`]: lengths that differ, no point; so for all functions of labellings.
///
/// # Examples
/// ```
/// use nearkin_metrics::clustering::normalised_mutual_information;
/// let found = normalised_mutual_information(&[0, 0, 1, 1], &[5, 5, 3, 3])?;
/// assert!((found - 1.0).abs() < 1e-15);
/// # Ok::<(), nearkin_metrics::clustering::ClusteringError>(())
/// ```
pub fn normalised_mutual_information(
    labels: &[usize],
    clusters: &[usize],
) -> Result<f64, ClusteringError> {
    let table = Table::new(labels, clusters)?;
    if table.is_trivial() {
        return Ok(1.0);
    }
    let (a, b) = table.entropies();
    Ok((table.mutual_information() / ((a + b) / 2.0)).min(1.0))
}

/// Mutual information less what chance gives, over the mean of both entropies less the same.
///
/// About 0 for labellings that have nothing to do with each other, whatever their numbers of groups; may be below.
/// Cost: O(n) for each pair of group sizes that differ.
///
/// # Errors
/// As [`normalised_mutual_information`].
///
/// Source: Vinh, Epps and Bailey, 2010, <https://jmlr.org/papers/v11/vinh10a.html>.
pub fn adjusted_mutual_information(
    labels: &[usize],
    clusters: &[usize],
) -> Result<f64, ClusteringError> {
    let table = Table::new(labels, clusters)?;
    if table.is_trivial() {
        return Ok(1.0);
    }
    let (a, b) = table.entropies();
    let expected = table.expected_information();
    let room = (a + b) / 2.0 - expected;
    // Partitions of which one has a single group: no information, and none expected.
    let room = if room.abs() < f64::EPSILON { f64::EPSILON.copysign(room) } else { room };
    Ok((table.mutual_information() - expected) / room)
}

/// The share of pairs on which both labellings agree, adjusted for chance: 1 for equal partitions, 0 on average for
/// random ones.
///
/// # Errors
/// As [`normalised_mutual_information`].
///
/// Source: Hubert and Arabie, 1985, <https://doi.org/10.1007/BF01908075>.
pub fn adjusted_rand_index(labels: &[usize], clusters: &[usize]) -> Result<f64, ClusteringError> {
    let table = Table::new(labels, clusters)?;
    let pairs = |count: f64| count * (count - 1.0) / 2.0;
    let together: f64 = table.cells.iter().map(|cell| pairs(cell.2)).sum();
    let of = |counts: &[usize]| counts.iter().map(|&count| pairs(count as f64)).sum::<f64>();
    let (a, b) = (of(&table.classes), of(&table.clusters));
    let all = pairs(table.n);
    let (expected, largest) = (if all > 0.0 { a * b / all } else { 0.0 }, (a + b) / 2.0);
    // No pair is together on either side, or all are on both: the partitions are equal.
    if largest - expected <= 0.0 {
        return Ok(1.0);
    }
    Ok((together - expected) / (largest - expected))
}

/// The share of points that bear the commonest label of their cluster, in (0, 1\].
///
/// It is 1 where every point is a cluster of its own: compare only equal numbers of clusters.
///
/// # Errors
/// As [`normalised_mutual_information`].
pub fn purity(labels: &[usize], clusters: &[usize]) -> Result<f64, ClusteringError> {
    let table = Table::new(labels, clusters)?;
    let mut most = vec![0.0_f64; table.clusters.len()];
    table.cells.iter().for_each(|&(_, b, count)| most[b] = most[b].max(count));
    Ok(most.iter().sum::<f64>() / table.n)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The mean over all orders of a small labelling.
    fn mean_information(labels: &[usize], clusters: &[usize]) -> f64 {
        let mut order = clusters.to_vec();
        let (mut sum, mut count) = (0.0, 0.0);
        permute(&mut order, 0, &mut |order| {
            sum += Table::new(labels, order).unwrap().mutual_information();
            count += 1.0;
        });
        sum / count
    }

    fn permute(values: &mut Vec<usize>, at: usize, take: &mut dyn FnMut(&[usize])) {
        if at == values.len() {
            return take(values);
        }
        for other in at..values.len() {
            values.swap(at, other);
            permute(values, at + 1, take);
            values.swap(at, other);
        }
    }

    proptest! {
        #[test]
        fn expected_information_is_the_mean_over_all_orders(pairs in prop::collection::vec((0_usize..3, 0_usize..3), 1..7)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let found = Table::new(&a, &b).unwrap().expected_information();
            prop_assert!((found - mean_information(&a, &b)).abs() < 1e-13);
        }

        #[test]
        fn the_rand_index_counts_pairs(pairs in prop::collection::vec((0_usize..4, 0_usize..4), 2..20)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let n = a.len();
            let (mut both, mut first, mut second, mut all) = (0.0, 0.0, 0.0, 0.0);
            for i in 0..n {
                for j in 0..i {
                    both += f64::from(u8::from(a[i] == a[j] && b[i] == b[j]));
                    first += f64::from(u8::from(a[i] == a[j]));
                    second += f64::from(u8::from(b[i] == b[j]));
                    all += 1.0;
                }
            }
            let (expected, largest) = (first * second / all, (first + second) / 2.0);
            let index = if largest == expected { 1.0 } else { (both - expected) / (largest - expected) };
            prop_assert!((adjusted_rand_index(&a, &b).unwrap() - index).abs() < 1e-12);
            // Names do not matter.
            let renamed: Vec<usize> = b.iter().map(|v| 9 - 2 * v).collect();
            for of in [normalised_mutual_information, adjusted_mutual_information, adjusted_rand_index, purity] {
                prop_assert!((of(&a, &b).unwrap() - of(&a, &renamed).unwrap()).abs() < 1e-12);
                prop_assert!((of(&a, &a).unwrap() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn single_groups_and_what_is_refused() {
        assert_eq!(normalised_mutual_information(&[1, 1], &[2, 2]), Ok(1.0));
        assert_eq!(normalised_mutual_information(&[1, 2], &[2, 2]), Ok(0.0));
        assert!(adjusted_mutual_information(&[1, 2, 2], &[2, 2, 2]).unwrap().abs() < 1e-9);
        assert_eq!(adjusted_rand_index(&[0], &[0]), Ok(1.0));
        assert_eq!(purity(&[0, 1, 1, 0], &[0, 0, 1, 1]), Ok(0.5));
        assert_eq!(purity(&[], &[]), Err(ClusteringError::Empty));
        assert_eq!(
            purity(&[1], &[]).unwrap_err().to_string(),
            "clusters: expected 1, one per label, found 0"
        );
    }
}
