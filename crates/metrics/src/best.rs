//! The k lowest of a stream.

/// Keeps the `k` lowest (rank, index) pairs pushed, ties by index, in O(k) memory.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    k: usize,
    entries: Vec<(f64, u32)>,
    /// Nothing above this can be among the k lowest.
    limit: f64,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, entries: Vec::new(), limit: f64::INFINITY }
    }

    pub(crate) fn push(&mut self, rank: f64, index: u32) {
        if rank > self.limit {
            return;
        }
        self.entries.push((rank, index));
        if self.entries.len() >= 2 * self.k + 16 {
            self.shrink();
        }
    }

    /// The k-th lowest rank, once k have been pushed.
    pub(crate) fn kth(&mut self) -> Option<f64> {
        self.shrink();
        (self.entries.len() == self.k).then_some(self.limit)
    }

    /// The k lowest, lowest first.
    pub(crate) fn into_sorted(mut self) -> Vec<(f64, u32)> {
        self.shrink();
        self.entries.sort_unstable_by(compare);
        self.entries
    }

    fn shrink(&mut self) {
        if self.entries.len() >= self.k {
            self.entries.select_nth_unstable_by(self.k - 1, compare);
            self.entries.truncate(self.k);
            self.limit = self.entries[self.k - 1].0;
        }
    }
}

fn compare(a: &(f64, u32), b: &(f64, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_the_start_of_the_sorted_stream(
            ranks in prop::collection::vec(0_u8..20, 1..200), k in 1_usize..40,
        ) {
            let mut all: Vec<(f64, u32)> =
                (0..).zip(&ranks).map(|(i, &rank)| (f64::from(rank), i)).collect();
            let mut best = Best::new(k);
            all.iter().for_each(|&(rank, index)| best.push(rank, index));
            all.sort_by(compare);
            all.truncate(k);
            prop_assert_eq!(best.kth().is_some(), ranks.len() >= k);
            prop_assert_eq!(best.into_sorted(), all);
        }
    }
}
