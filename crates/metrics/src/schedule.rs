//! Which pairs of blocks are joined when: no block is in two joins at once.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Pairs of blocks still to be joined, handed out to any number of workers.
pub(crate) struct Schedule {
    state: Mutex<State>,
}

struct State {
    /// Pairs in order; taken ones are gone.
    pairs: std::collections::VecDeque<(usize, usize)>,
    busy: Vec<bool>,
    total: usize,
}

pub(crate) enum Next {
    Pair(usize, usize),
    /// All that remains waits for blocks that others hold.
    Wait,
    Done,
}

impl Schedule {
    /// All pairs (i, j), i ≤ j, with i in `strip` and j in `strip` or after it, of `blocks` blocks.
    pub(crate) fn new(strip: Range<usize>, blocks: usize) -> Self {
        let pairs: std::collections::VecDeque<_> = pairs(strip, blocks).into();
        let total = pairs.len();
        Self { state: Mutex::new(State { pairs, busy: vec![false; blocks], total }) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A worker that panics ends the whole search; the lists stay whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next pair of which neither block is in use; both are, until [`Schedule::give_back`].
    pub(crate) fn next(&self) -> Next {
        let mut state = self.state();
        if state.pairs.is_empty() {
            return Next::Done;
        }
        let free = |&(i, j): &(usize, usize)| !state.busy[i] && !state.busy[j];
        let Some(at) = state.pairs.iter().position(free) else {
            return Next::Wait;
        };
        match state.pairs.remove(at) {
            Some((i, j)) => {
                state.busy[i] = true;
                state.busy[j] = true;
                Next::Pair(i, j)
            }
            None => Next::Done,
        }
    }

    /// Frees the blocks of a pair; returns the share of all pairs that was handed out.
    pub(crate) fn give_back(&self, i: usize, j: usize) -> f64 {
        let mut state = self.state();
        state.busy[i] = false;
        state.busy[j] = false;
        1.0 - state.pairs.len() as f64 / state.total as f64
    }
}

/// In rounds of disjoint pairs, so that workers seldom want the same block.
fn pairs(strip: Range<usize>, blocks: usize) -> Vec<(usize, usize)> {
    let (first, m) = (strip.start, strip.len());
    let mut all: Vec<(usize, usize)> = strip.clone().map(|i| (i, i)).collect();
    // A tournament: the last one stays, the others move round a circle. With an odd number one rests.
    let players = m + m % 2;
    for round in 0..players.saturating_sub(1) {
        let circle = players - 1;
        let mut meet = |a: usize, b: usize| {
            if a.max(b) < m {
                all.push((first + a.min(b), first + a.max(b)));
            }
        };
        meet(circle, round);
        for step in 1..players / 2 {
            meet((round + step) % circle, (round + circle - step) % circle);
        }
    }
    let later = blocks - strip.end;
    let (short, long) = (m.min(later), m.max(later));
    for round in 0..if short == 0 { 0 } else { long } {
        for a in 0..short {
            let b = (a + round) % long;
            let (own, other) = if m <= later { (a, b) } else { (b, a) };
            all.push((first + own, strip.end + other));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_meet_every_pair_of_blocks_once() {
        for blocks in 1..12 {
            for size in 1..=blocks {
                let mut all = Vec::new();
                for start in (0..blocks).step_by(size) {
                    all.extend(pairs(start..blocks.min(start + size), blocks));
                }
                all.sort_unstable();
                let expected: Vec<(usize, usize)> =
                    (0..blocks).flat_map(|i| (i..blocks).map(move |j| (i, j))).collect();
                assert_eq!(all, expected, "{blocks} blocks, strips of {size}");
            }
        }
    }

    #[test]
    fn no_block_is_handed_out_twice_at_once() {
        let schedule = Schedule::new(0..3, 3);
        let mut held = Vec::new();
        while let Next::Pair(i, j) = schedule.next() {
            held.push((i, j));
        }
        assert_eq!(held, [(0, 0), (1, 1), (2, 2)]);
        schedule.give_back(1, 1);
        assert!(matches!(schedule.next(), Next::Wait));
        schedule.give_back(2, 2);
        assert!(matches!(schedule.next(), Next::Pair(1, 2)));
    }
}
