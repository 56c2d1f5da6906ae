//! Blocks of rows against each other, tile by tile: what a thread of a search does.

use std::ops::Range;

use crate::candidates::{Rows, Search, TileHits};
use crate::frame::Frame;
use crate::kernel::{Columns, Hit, Kernel, TILE_ROWS, Thresholds};
use crate::lines::Lines;
use crate::side::Side;

/// What a thread needs to score tiles.
#[derive(Default)]
pub(crate) struct Scratch {
    left: Vec<f32>,
    /// The first row in `left`.
    packed: usize,
    pub(crate) scores: Lines,
    hits: Vec<Hit>,
    /// Places of what passed.
    places: Vec<u32>,
}

impl Scratch {
    /// Packs rows of `left` from `first` on.
    pub(crate) fn pack(&mut self, left: &Side, first: usize, rows: usize) {
        left.pack_left(first, rows, &mut self.left);
        self.packed = first;
    }

    /// Scores rows of `left` from `first` on, packed before, against a panel.
    ///
    /// - `first`: a whole number of packed groups after the first row packed.
    pub(crate) fn score(
        &mut self,
        frame: &Frame,
        left: &Side,
        first: usize,
        rows: usize,
        right: &Side,
        panel: usize,
    ) {
        let kernel = frame.kernel;
        if self.scores.as_slice().is_empty() {
            self.scores = Lines::zeros(TILE_ROWS * kernel.right);
        }
        let scores = self.scores.as_mut_slice();
        let packed = &self.left[(first - self.packed) * frame.width..];
        kernel.tile(frame.term, frame.width, packed, rows, right.panel(panel), scores);
        right.finish(frame, left, first, panel, &mut scores[..rows * kernel.right]);
        self.hits.clear();
    }

    /// The scores of the last tile that passed by row, or by column.
    fn passed(&mut self, kernel: Kernel, by_column: bool) -> TileHits<'_> {
        self.places.clear();
        kernel.places(&self.hits, by_column, &mut self.places);
        TileHits { places: &self.places, scores: self.scores.as_slice(), width: kernel.right }
    }

    /// All rows of one block with all of another, either serving the other.
    pub(crate) fn join(
        &mut self,
        search: &Search<'_>,
        side: &Side,
        rows: &mut Rows,
        columns: &mut Rows,
    ) {
        let right = search.frame.kernel.right;
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            for panel in columns.first / right..(columns.first + columns.len()).div_ceil(right) {
                self.score(search.frame, side, at, count, side, panel);
                let offsets = &side.offsets[panel * right..];
                let own = panel * right - columns.first;
                let thresholds = Thresholds {
                    rows: &rows.thresholds[first..],
                    right_offsets: offsets,
                    columns: Some(Columns {
                        thresholds: &columns.thresholds[own..],
                        left_offsets: &side.offsets[at..],
                    }),
                };
                search.frame.kernel.scan(
                    self.scores.as_slice(),
                    count,
                    &thresholds,
                    &mut self.hits,
                );
                let kernel = search.frame.kernel;
                let tile = self.passed(kernel, false);
                rows.take_rows(search, first, panel * right, &tile, offsets);
                let tile = self.passed(kernel, true);
                columns.take_columns(search, own, at, &tile, &side.offsets[at..]);
            }
        }
    }

    /// All rows of a block with each other.
    pub(crate) fn join_with_itself(&mut self, search: &Search<'_>, side: &Side, rows: &mut Rows) {
        let right = search.frame.kernel.right;
        let end = rows.first + rows.len();
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first;
            self.pack(side, at, count);
            for panel in at / right..end.div_ceil(right) {
                // Rows of the tile before the panel meet it as any other; its own rows form a square that
                // holds both halves of their pairs.
                let before = count.min(panel * right - at);
                self.meet(search, side, rows, first..first + before, panel, true);
                let square = first + before..first + count.min(before + right);
                self.meet(search, side, rows, square, panel, false);
            }
        }
    }

    /// Rows of a block with a panel of the block; for the panel's sake too if they serve `both`.
    fn meet(
        &mut self,
        search: &Search<'_>,
        side: &Side,
        rows: &mut Rows,
        range: Range<usize>,
        panel: usize,
        both: bool,
    ) {
        if range.is_empty() {
            return;
        }
        let right = search.frame.kernel.right;
        let (first, count, at) = (range.start, range.len(), rows.first + range.start);
        let own = panel * right - rows.first;
        self.score(search.frame, side, at, count, side, panel);
        let offsets = &side.offsets[panel * right..];
        let columns = both.then(|| Columns {
            thresholds: &rows.thresholds[own..],
            left_offsets: &side.offsets[at..],
        });
        let thresholds =
            Thresholds { rows: &rows.thresholds[first..], right_offsets: offsets, columns };
        search.frame.kernel.scan(self.scores.as_slice(), count, &thresholds, &mut self.hits);
        let kernel = search.frame.kernel;
        rows.take_rows(search, first, panel * right, &self.passed(kernel, false), offsets);
        if both {
            let tile = self.passed(kernel, true);
            rows.take_columns(search, own, at, &tile, &side.offsets[at..]);
        }
    }

    /// All rows of a block of `left` with all of `right`, for the block alone.
    pub(crate) fn search(
        &mut self,
        search: &Search<'_>,
        left: &Side,
        rows: &mut Rows,
        right: &Side,
    ) {
        let width = search.frame.kernel.right;
        for first in (0..rows.len()).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.len() - first);
            let at = rows.first + first - left.first;
            self.pack(left, at, count);
            for panel in 0..right.panels() {
                self.score(search.frame, left, at, count, right, panel);
                let offsets = &right.offsets[panel * width..];
                let thresholds = Thresholds {
                    rows: &rows.thresholds[first..],
                    right_offsets: offsets,
                    columns: None,
                };
                search.frame.kernel.scan(
                    self.scores.as_slice(),
                    count,
                    &thresholds,
                    &mut self.hits,
                );
                let tile = self.passed(search.frame.kernel, false);
                rows.take_rows(search, first, right.first + panel * width, &tile, offsets);
            }
        }
    }

    /// Calls `found` with (row of the block of `side`, other row, score's upper bound) of every pair of
    /// distinct rows of two blocks whose score reaches the first row's threshold; each pair once.
    pub(crate) fn pairs(
        &mut self,
        frame: &Frame,
        side: &Side,
        rows: Range<usize>,
        columns: Range<usize>,
        thresholds: &[f32],
        mut found: impl FnMut(usize, usize),
    ) {
        let right = frame.kernel.right;
        for at in rows.clone().step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows.end - at);
            self.pack(side, at, count);
            let first = if rows == columns { at } else { columns.start };
            for panel in first / right..columns.end.div_ceil(right) {
                self.score(frame, side, at, count, side, panel);
                let thresholds = Thresholds {
                    rows: &thresholds[at..],
                    right_offsets: &side.offsets[panel * right..],
                    columns: None,
                };
                frame.kernel.scan(self.scores.as_slice(), count, &thresholds, &mut self.hits);
                for hit in &self.hits {
                    let row = at + usize::from(hit.row);
                    for column in crate::candidates::bits(hit.by_row, hit.column) {
                        let column = panel * right + column;
                        if row < column {
                            found(row, column);
                        }
                    }
                }
            }
        }
    }
}
