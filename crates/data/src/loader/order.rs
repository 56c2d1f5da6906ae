//! Which images make up which batch: the order, its shards, where to begin.

use std::ops::Range;
use std::sync::Arc;

use crate::random::SplitMix64;

/// In which order a loader visits the images of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The source's own order.
    Sequential,
    /// A permutation drawn from (seed, epoch) alone: another one each epoch, the same on every
    /// machine.
    Shuffled {
        /// The seed.
        seed: u64,
    },
    /// Exactly these, in this order; an index may come again. For samplers of one's own, such as
    /// one that walks the edges of a graph.
    Indices(Arc<[usize]>),
}

/// Every `count`-th batch, from number `index` on: what one of several processes works on.
///
/// Whole batches are dealt out, so that the batches of all shards together are those of one
/// unsharded run, and images that an explicit order put side by side stay in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which shard, below `count`.
    pub index: usize,
    /// How many shards there are, at least 1.
    pub count: usize,
}

impl Shard {
    /// The only shard.
    pub const WHOLE: Self = Self { index: 0, count: 1 };
}

/// The batches of one epoch. Memory: 8 bytes an image, none for the source's own order.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    indices: Option<Arc<[usize]>>,
    images: usize,
    batch_size: usize,
    shard: Shard,
    first: usize,
    batches: usize,
}

impl Plan {
    /// - `len`: images of the source; explicit indices are below it.
    /// - `first`: batches of this shard to leave out at the beginning.
    pub(crate) fn new(
        order: &Order,
        len: usize,
        epoch: u64,
        batch_size: usize,
        shard: Shard,
        (first, drop_last): (usize, bool),
    ) -> Self {
        let indices = match order {
            Order::Sequential => None,
            Order::Shuffled { seed } => {
                let mut indices: Vec<usize> = (0..len).collect();
                let drawn = SplitMix64(*seed).next_u64();
                SplitMix64(drawn.wrapping_add(SplitMix64(epoch).next_u64())).shuffle(&mut indices);
                Some(indices.into())
            }
            Order::Indices(indices) => Some(Arc::clone(indices)),
        };
        let images = indices.as_ref().map_or(len, |indices| indices.len());
        let Shard { index, count } = shard;
        let all = if drop_last {
            // As many for each shard, so that processes in step end together.
            images / batch_size / count * count
        } else {
            images.div_ceil(batch_size)
        };
        let mine = all.saturating_sub(index).div_ceil(count);
        Self { indices, images, batch_size, shard, first, batches: mine.saturating_sub(first) }
    }

    /// Batches from `first` on.
    pub(crate) fn batches(&self) -> usize {
        self.batches
    }

    /// Images in the largest batch.
    pub(crate) fn largest(&self) -> usize {
        if self.batches == 0 { 0 } else { self.rows(0).len() }
    }

    /// The number of the `k`-th batch among the batches of all shards.
    pub(crate) fn number(&self, k: usize) -> usize {
        (self.first + k) * self.shard.count + self.shard.index
    }

    /// The positions in the order that the `k`-th batch covers.
    pub(crate) fn rows(&self, k: usize) -> Range<usize> {
        let start = self.number(k) * self.batch_size;
        start..self.images.min(start + self.batch_size)
    }

    /// The source's index of the image at `position`.
    pub(crate) fn index(&self, position: usize) -> usize {
        self.indices.as_ref().map_or(position, |indices| indices[position])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches(plan: &Plan) -> Vec<(usize, Vec<usize>)> {
        let indices = |k| plan.rows(k).map(|position| plan.index(position)).collect();
        (0..plan.batches()).map(|k| (plan.number(k), indices(k))).collect()
    }

    fn plan(order: &Order, len: usize, epoch: u64, size: usize, shard: Shard) -> Plan {
        Plan::new(order, len, epoch, size, shard, (0, false))
    }

    #[test]
    fn explicit_indices_are_cut_into_batches_as_they_are() {
        let order = Order::Indices([7, 3, 3, 0, 9].into());
        let plan = plan(&order, 10, 0, 2, Shard::WHOLE);
        assert_eq!(batches(&plan), [(0, vec![7, 3]), (1, vec![3, 0]), (2, vec![9])]);
    }

    #[test]
    fn each_epoch_has_a_permutation_of_its_own() {
        let order = Order::Shuffled { seed: 5 };
        let epoch = |epoch| batches(&plan(&order, 100, epoch, 100, Shard::WHOLE)).remove(0).1;
        let mut sorted = epoch(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(epoch(3), epoch(3));
        assert_ne!(epoch(0), epoch(1));
        // Pinned: a run that is resumed with a later version sees the same images.
        assert_eq!(epoch(0)[..4], PINNED);
    }
    const PINNED: [usize; 4] = [6, 94, 89, 0];

    #[test]
    fn dropping_the_last_leaves_as_many_whole_batches_to_every_shard() {
        let shard = |index| {
            let shard = Shard { index, count: 2 };
            Plan::new(&Order::Sequential, 23, 0, 3, shard, (0, true))
        };
        assert_eq!((shard(0).batches(), shard(1).batches()), (3, 3)); // 7 whole batches, 3 each
        assert_eq!(shard(1).rows(2), 15..18);
    }

    proptest! {
        #[test]
        fn shards_together_are_the_whole_and_a_later_start_is_its_tail(
            len in 0_usize..60, size in 1_usize..9, count in 1_usize..5, first in 0_usize..6,
        ) {
            let order = Order::Shuffled { seed: 1 };
            let whole = batches(&plan(&order, len, 2, size, Shard::WHOLE));
            prop_assert_eq!(whole.iter().map(|(_, batch)| batch.len()).sum::<usize>(), len);
            let mut dealt = Vec::new();
            for index in 0..count {
                let shard = Shard { index, count };
                let mine = batches(&plan(&order, len, 2, size, shard));
                let later = Plan::new(&order, len, 2, size, shard, (first, false));
                prop_assert_eq!(batches(&later), &mine[first.min(mine.len())..]);
                dealt.extend(mine);
            }
            dealt.sort_unstable();
            prop_assert_eq!(dealt, whole);
        }
    }
}
