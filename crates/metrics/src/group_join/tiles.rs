//! Rows that meet: scores of pairs by tiles, and what passes into both lists.

use std::iter::repeat_n;
use std::ops::Range;

use super::GroupJoin;
use crate::candidates::bits;
use crate::kernel::{Columns, Hit, MAX_PANEL, TILE_ROWS, Term, Thresholds};
use crate::lines::Lines;

/// What a thread needs to let rows meet.
#[derive(Default)]
pub(super) struct Tiles {
    scores: Lines,
    offsets: Vec<f32>,
    thresholds: Vec<f32>,
    hits: Vec<Hit>,
}

impl Tiles {
    /// The first `new` places see each other and all others.
    ///
    /// - `is_shared`: other threads may change the same lists meanwhile.
    pub(super) fn meet(&mut self, of: &GroupJoin<'_>, all: &[u32], new: usize, is_shared: bool) {
        let kernel = of.frame.kernel;
        if self.scores.as_slice().is_empty() {
            self.scores = Lines::zeros(TILE_ROWS * kernel.right);
        }
        self.offsets.clear();
        self.offsets.extend(all.iter().map(|&place| of.halves[place as usize]));
        self.offsets.extend(repeat_n(f32::INFINITY, MAX_PANEL));
        for start in (0..new).step_by(TILE_ROWS) {
            let left = start..new.min(start + TILE_ROWS);
            for first in (start..all.len()).step_by(kernel.right) {
                let right = first..all.len().min(first + kernel.right);
                // Below the diagonal all pairs are met already.
                let rows = left.start..left.end.min(right.end);
                self.tile(of, all, rows, right, is_shared);
            }
        }
    }

    fn tile(
        &mut self,
        of: &GroupJoin<'_>,
        all: &[u32],
        left: Range<usize>,
        right: Range<usize>,
        is_shared: bool,
    ) {
        let (kernel, term, lists) = (of.frame.kernel, of.frame.term, &of.lists);
        let scores = self.scores.as_mut_slice();
        let (start, first) = (left.start, right.start);
        let (lefts, rights) = (&all[left.clone()], &all[right.clone()]);
        kernel.block(term, (of.rows.as_slice(), of.width), lefts, rights, first - start, scores);
        if matches!(term, Term::Square | Term::Difference | Term::Chi) {
            // What was left out is −∞, and stays the worst.
            scores[..lefts.len() * kernel.right]
                .iter_mut()
                .for_each(|score| *score = if *score >= 0.0 { -*score } else { *score });
        }
        self.thresholds.clear();
        self.thresholds.extend(lefts.iter().map(|&place| lists.threshold(place as usize)));
        let columns = self.thresholds.len();
        self.thresholds.extend(rights.iter().map(|&place| lists.threshold(place as usize)));
        self.thresholds.extend(repeat_n(f32::INFINITY, MAX_PANEL));
        self.hits.clear();
        let thresholds = Thresholds {
            rows: &self.thresholds,
            right_offsets: &self.offsets[first..],
            columns: Some(Columns {
                thresholds: &self.thresholds[columns..],
                left_offsets: &self.offsets[start..],
            }),
        };
        kernel.scan(scores, lefts.len(), &thresholds, &mut self.hits);
        let offer = |place: u32, score: f32, other: u32| {
            let _held = is_shared.then(|| lists.lock(place as usize));
            lists.offer(place as usize, score, other);
        };
        for hit in &self.hits {
            let row = usize::from(hit.row);
            for column in bits(hit.by_row | hit.by_column, hit.column) {
                if first + column > start + row {
                    let score = scores[row * kernel.right + column];
                    let bit = 1 << (column - usize::from(hit.column));
                    if hit.by_row & bit != 0 {
                        let score = score - self.offsets[first + column];
                        offer(lefts[row], score, rights[column]);
                    }
                    if hit.by_column & bit != 0 {
                        offer(rights[column], score - self.offsets[start + row], lefts[row]);
                    }
                }
            }
        }
    }
}
