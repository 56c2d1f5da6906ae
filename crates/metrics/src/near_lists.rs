//! The best entries seen so far of every row, in one piece of memory that threads share.
//!
//! An entry is one number, so that lists can be atomics: reading a list that another thread
//! changes is harmless. Which entries are kept depends on the entries offered alone, not on their order.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

/// A score and a place, as a number that is larger for a better score, then for a lower place. The last
/// bit tells entries that came since [`NearLists::settle`]. 0 is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// The last bit of the score is given up.
    fn new(score: f32, place: u32) -> Self {
        let bits = score.to_bits();
        // Rising with the score, negative ones reversed.
        let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u64::from(rising >> 1) << 33 | u64::from(!place) << 1 | 1)
    }

    fn is_none(self) -> bool {
        self.0 == 0
    }

    /// At most what was given.
    pub(crate) fn score(self) -> f32 {
        let rising = ((self.0 >> 33) as u32) << 1;
        f32::from_bits(if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising })
    }

    pub(crate) fn place(self) -> u32 {
        !((self.0 >> 1) as u32)
    }

    pub(crate) fn is_new(self) -> bool {
        self.0 & 1 == 1
    }
}

/// `kept` entries of each row, the best first.
pub(crate) struct NearLists {
    kept: usize,
    /// `[n, kept]`.
    entries: Vec<AtomicU64>,
    /// The bits of the lowest score that may enter.
    thresholds: Vec<AtomicU32>,
    /// One for some neighbouring rows.
    locks: Vec<Mutex<()>>,
}

/// Rows that share a lock.
const ROWS_A_LOCK: usize = 8;

impl NearLists {
    pub(crate) fn new(n: usize, kept: usize) -> Self {
        Self {
            kept,
            entries: (0..n * kept).map(|_| AtomicU64::new(0)).collect(),
            thresholds: (0..n).map(|_| AtomicU32::new(f32::MIN.to_bits())).collect(),
            locks: (0..n.div_ceil(ROWS_A_LOCK)).map(|_| Mutex::new(())).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.thresholds.len()
    }

    /// What a score must reach to enter; it may have risen since.
    pub(crate) fn threshold(&self, row: usize) -> f32 {
        f32::from_bits(self.thresholds[row].load(Relaxed))
    }

    /// Held while a row that others may change is changed.
    pub(crate) fn lock(&self, row: usize) -> MutexGuard<'_, ()> {
        // The lock guards no value that a panic could leave half changed: entries are whole numbers.
        self.locks[row / ROWS_A_LOCK].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, row: usize) -> &[AtomicU64] {
        &self.entries[row * self.kept..][..self.kept]
    }

    /// The entries of a row, the best first.
    pub(crate) fn entries(&self, row: usize) -> impl Iterator<Item = Entry> {
        let all = self.row(row).iter().map(|entry| Entry(entry.load(Relaxed)));
        all.take_while(|entry| !entry.is_none())
    }

    /// Enters a row unless it is there, or too far. A pair's score is the same each time.
    ///
    /// No one else changes this row meanwhile: it is locked, or no other thread is given it.
    pub(crate) fn offer(&self, row: usize, score: f32, place: u32) {
        if score < self.threshold(row) {
            return;
        }
        let (entries, entry) = (self.row(row), Entry::new(score, place).0);
        let mut at = entries.len();
        while at > 0 {
            let other = entries[at - 1].load(Relaxed) | 1;
            if other == entry {
                return;
            }
            if other > entry {
                break;
            }
            at -= 1;
        }
        if at == entries.len() {
            return;
        }
        for to in (at + 1..entries.len()).rev() {
            entries[to].store(entries[to - 1].load(Relaxed), Relaxed);
        }
        entries[at].store(entry, Relaxed);
        let last = Entry(entries[entries.len() - 1].load(Relaxed));
        if !last.is_none() {
            self.thresholds[row].store(last.score().to_bits(), Relaxed);
        }
    }

    /// No entry is new any more.
    pub(crate) fn settle(&mut self) {
        self.entries.par_iter_mut().with_min_len(1 << 14).for_each(|entry| *entry.get_mut() &= !1);
    }

    /// The share of all entries that came since [`NearLists::settle`].
    pub(crate) fn share_of_new(&self) -> f64 {
        let new = self.entries.par_iter().with_min_len(1 << 14);
        let new: u64 = new.map(|entry| entry.load(Relaxed) & 1).sum();
        new as f64 / self.entries.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    #[test]
    fn an_entry_holds_its_score_and_place_in_order() {
        let scores = [f32::MIN, -2.5, -1e-30, 0.0, 1e-30, 0.75, f32::MAX];
        let entries: Vec<Entry> = scores.iter().map(|&score| Entry::new(score, 7)).collect();
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        for (entry, &score) in entries.iter().zip(&scores) {
            assert!(entry.score() <= score, "{score}");
            assert!(score - entry.score() <= score.abs() * f32::EPSILON, "{score}");
            assert!(entry.place() == 7 && entry.is_new() && !entry.is_none());
        }
        assert!(Entry::new(1.0, 3).0 > Entry::new(1.0, 4).0);
        assert_eq!(Entry::new(1.0, u32::MAX).place(), u32::MAX);
    }

    #[test]
    fn the_best_are_kept_once_in_any_order() {
        let score = |place: u32| (noise(place as usize, 1) * 20.0).floor();
        let with = |order: &mut dyn Iterator<Item = u32>| {
            let lists = NearLists::new(2, 9);
            order.for_each(|place| lists.offer(1, score(place), place));
            assert_eq!(lists.entries(0).count(), 0);
            lists.entries(1).map(Entry::place).collect::<Vec<_>>()
        };
        let mut expected: Vec<u32> = (0..200).collect();
        expected.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        expected.truncate(9);
        assert_eq!(with(&mut (0..200)), expected);
        assert_eq!(with(&mut (0..400).rev().map(|at| at % 200)), expected);
    }

    #[test]
    fn what_came_since_is_counted() {
        let mut lists = NearLists::new(2, 2);
        (0..2).for_each(|row| lists.offer(row, 0.0, 5));
        lists.settle();
        lists.offer(0, 1.0, 6);
        assert!((lists.share_of_new() - 0.25).abs() < 1e-12);
        assert_eq!(lists.entries(0).map(Entry::is_new).collect::<Vec<_>>(), [true, false]);
    }
}
