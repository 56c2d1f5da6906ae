//! All pairs of hashes within a Hamming distance, exactly, without comparing all pairs.
//!
//! Multi-index hashing: two words of 64 bits that differ in at most r bits agree on at least one of
//! r + 1 disjoint groups of bits, so only words that share a group's value are compared.
//! Norouzi, Punjani and Fleet, 2012, <https://arxiv.org/abs/1307.2982>, with a search radius of 0
//! in each group. It keeps no index: all pairs are found at once by sorting.

use super::fingerprint::PerceptualHash;

/// The largest distance that can be asked for: groups of fewer than four bits tell nothing apart.
pub(super) const MAX_DISTANCE: u32 = 16;

/// Calls `found(i, j, distance)` once for each pair i < j of `hashes` at a distance of at most
/// `radius`; the order of the calls depends on the hashes only.
///
/// Cost: (radius + 1) sorts, and about (radius + 1) n² / 2^(64 / (radius + 1)) comparisons when
/// bits are spread evenly. Memory: 12 bytes for each hash.
pub(super) fn pairs_within(
    hashes: &[PerceptualHash],
    radius: u32,
    mut found: impl FnMut(usize, usize, u32),
) {
    let groups: Vec<u64> = (0..=radius).map(|group| mask(group, radius + 1)).collect();
    let mut keyed: Vec<(u64, u32)> = Vec::with_capacity(hashes.len());
    for (number, &group) in groups.iter().enumerate() {
        keyed.clear();
        keyed.extend(hashes.iter().zip(0..).map(|(hash, i)| (hash.phash & group, i)));
        keyed.sort_unstable();
        for bucket in keyed.chunk_by(|a, b| a.0 == b.0) {
            for (position, &(_, i)) in bucket.iter().enumerate() {
                let hash = hashes[i as usize];
                for &(_, j) in &bucket[position + 1..] {
                    let other = hashes[j as usize];
                    let difference = hash.phash ^ other.phash;
                    if difference.count_ones() > radius {
                        continue;
                    }
                    let distance = hash.distance(other);
                    // A pair is told by the first group that it agrees on.
                    let told = groups[..number].iter().any(|earlier| difference & earlier == 0);
                    if distance <= radius && !told {
                        found(i as usize, j as usize, distance);
                    }
                }
            }
        }
    }
}

/// The bits `group`, `group + groups`, `group + 2 groups` … of 64. Neighbouring coefficients go
/// together, so that dealing the bits out in turn makes the groups about equally telling.
fn mask(group: u32, groups: u32) -> u64 {
    (group..64).step_by(groups as usize).fold(0, |mask, bit| mask | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use proptest::prelude::*;

    fn all_pairs(hashes: &[PerceptualHash], radius: u32) -> Vec<(usize, usize, u32)> {
        let mut pairs = Vec::new();
        for i in 0..hashes.len() {
            for j in i + 1..hashes.len() {
                let distance = hashes[i].distance(hashes[j]);
                if distance <= radius {
                    pairs.push((i, j, distance));
                }
            }
        }
        pairs
    }

    proptest! {
        #[test]
        fn the_pairs_are_those_that_comparing_all_finds(seed: u64, n in 0_usize..120, radius in 0..=MAX_DISTANCE) {
            let mut random = SplitMix64(seed);
            // A few centres with some bits turned, so that every distance occurs.
            let hashes: Vec<PerceptualHash> = (0..n)
                .map(|_| {
                    let mut word = |centre: u64| {
                        let flips = random.next_u64() % 12;
                        (0..flips).fold(centre, |w, _| w ^ 1 << (random.next_u64() % 64))
                    };
                    let centre = if word(0) % 2 == 0 { 0x0123_4567_89ab_cdef } else { !0 };
                    PerceptualHash { phash: word(centre), dhash: word(centre) }
                })
                .collect();
            let mut pairs = Vec::new();
            pairs_within(&hashes, radius, |i, j, distance| pairs.push((i, j, distance)));
            pairs.sort_unstable();
            prop_assert_eq!(pairs, all_pairs(&hashes, radius));
        }
    }

    #[test]
    fn groups_deal_out_every_bit_once() {
        for radius in 0..=MAX_DISTANCE {
            let masks: Vec<u64> = (0..=radius).map(|group| mask(group, radius + 1)).collect();
            assert_eq!(masks.iter().map(|mask| mask.count_ones()).sum::<u32>(), 64);
            assert_eq!(masks.iter().fold(0, |all, mask| all | mask), u64::MAX);
        }
    }
}
