//! NumPy's legacy generator, for draws that others made with it.
//!
//! `numpy.random.RandomState(seed)` is MT19937 (Matsumoto and Nishimura, 1998,
//! <https://doi.org/10.1145/272991.272995>) seeded by Knuth's rule; `permutation` is Fisher and
//! Yates from the end with masked rejection. NumPy promises that both stay as they are. Only what
//! permutations need is here.

const LENGTH: usize = 624;
const SHIFT: usize = 397;

/// `numpy.random.RandomState`, bit for bit.
#[derive(Clone)]
pub struct RandomState {
    state: [u32; LENGTH],
    next: usize,
}

impl std::fmt::Debug for RandomState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RandomState").field("next", &self.next).finish_non_exhaustive()
    }
}

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; LENGTH];
        for i in 1..LENGTH {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: LENGTH }
    }

    /// `random_state.permutation(items)` of a one-dimensional array.
    ///
    /// # Examples
    /// ```
    /// // numpy.random.RandomState(0).permutation(5)
    /// let drawn = nearkin_data::RandomState::new(0).permutation((0..5).collect());
    /// assert_eq!(drawn, [2, 0, 1, 3, 4]);
    /// ```
    #[must_use]
    pub fn permutation<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for last in (1..items.len()).rev() {
            let chosen = self.up_to(last as u64) as usize;
            items.swap(last, chosen);
        }
        items
    }

    /// `random_interval` of NumPy's C code: 0 to `most`, both included.
    fn up_to(&mut self, most: u64) -> u64 {
        let mask = u64::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = if most <= u64::from(u32::MAX) {
                u64::from(self.next_u32())
            } else {
                let high = u64::from(self.next_u32());
                (high << 32) | u64::from(self.next_u32())
            };
            if value & mask <= most {
                return value & mask;
            }
        }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == LENGTH {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..LENGTH {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % LENGTH] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % LENGTH] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        // First outputs of mt19937ar.c with init_genrand(5489), as in the C++ standard, where the
        // 10,000th is 4123659995.
        let mut random = RandomState::new(5489);
        assert_eq!(random.next_u32(), 3_499_211_612);
        let last = (1..10_000).map(|_| random.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn one_item_or_none_draws_nothing() {
        let mut random = RandomState::new(3);
        assert_eq!(random.permutation(vec![7]), [7]);
        assert!(random.permutation(Vec::<u8>::new()).is_empty());
        assert_eq!(random.next, LENGTH);
    }
}
