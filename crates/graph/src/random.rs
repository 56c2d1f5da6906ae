//! Seeded numbers that are a function of their place, not of what was drawn before.

/// SplitMix64's step: Steele, Lea and Flood, 2014, <https://doi.org/10.1145/2660193.2660195>.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function, a bijection of 64 bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers for one key; the i-th can be had without those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of a seed and of any number of coordinates (epoch, step, …), in order.
    pub(crate) fn new(seed: u64, coordinates: &[u64]) -> Self {
        let start = mix(seed.wrapping_add(STEP));
        // Mixed after each coordinate, so that neither their order nor the seed's place is lost.
        Self(coordinates.iter().fold(start, |state, &c| mix((state ^ c).wrapping_add(STEP))))
    }

    /// Number `index` of the stream.
    pub(crate) fn at(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1))))
    }

    /// Number `index` as a real in [0, 1).
    pub(crate) fn unit(self, index: u64) -> f64 {
        (self.at(index) >> 11) as f64 * (-53.0_f64).exp2()
    }

    /// Shuffles by Fisher and Yates.
    pub(crate) fn shuffle<T>(self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, below(self.at(last as u64), last + 1));
        }
    }
}

/// An index below `n` from 64 random bits; the bias, below n / 2⁶⁴, is of no account here.
pub(crate) fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_published_generator_started_at_its_key() {
        // First outputs of Vigna's splitmix64.c from state 1234567.
        let stream = Stream(1_234_567);
        let first: Vec<u64> = (0..3).map(|i| stream.at(i)).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn coordinates_are_not_interchangeable() {
        let first = |seed, coordinates: &[u64]| Stream::new(seed, coordinates).at(0);
        let all = [first(0, &[0, 1]), first(0, &[1, 0]), first(1, &[0, 0]), first(0, &[0])];
        let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }
}
