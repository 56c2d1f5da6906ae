//! One side of the scores: moved rows, packed the way the kernel reads them.

use std::ops::Range;

use rayon::prelude::*;

use crate::Distance;
use crate::distance::total;
use crate::frame::{Frame, sum_of_squares};
use crate::kernel::{Kernel, Term};
use crate::lines::Lines;
use crate::points::Points;

/// Columns that are packed at a time.
const COLUMNS: usize = 64;

/// Consecutive rows, in panels of the kernel's width; the last one is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Side {
    kernel: Kernel,
    /// The first row's index among the points.
    pub(crate) first: usize,
    rows: usize,
    width: usize,
    /// `[panels, width, kernel.right]`.
    values: Lines,
    /// ‖x′‖², in f64; 0 where no product is formed.
    pub(crate) squares: Vec<f64>,
    /// What is subtracted from a score of the row, so that it becomes an upper bound but for the other row's
    /// part; infinite where the row is no candidate, and behind the last row.
    pub(crate) offsets: Vec<f32>,
    /// 1 / Σ x′ of histograms; empty for other distances.
    inverses: Vec<f32>,
    /// Indices of rows whose cosine is not defined, rising; empty for other distances.
    pub(crate) zeros: Vec<u32>,
}

impl Side {
    pub(crate) fn new(frame: &Frame, points: &Points<'_>, range: Range<usize>) -> Self {
        let (kernel, width, rows) = (frame.kernel, points.width(), range.len());
        let right = kernel.right;
        let panels = rows.div_ceil(right);
        let mut values = Lines::zeros(panels * width * right);
        let mut squares = vec![0.0; rows];
        let fill = |(panel, (values, squares)): (usize, (&mut [f32], &mut [f64]))| {
            let first = range.start + panel * right;
            let units: Vec<f64> =
                (0..squares.len()).map(|lane| frame.unit(points.row(first + lane))).collect();
            // A few columns at a time, so that what is written stays in the cache.
            let chunks = values.chunks_mut(COLUMNS * right).enumerate();
            for (start, values) in chunks.map(|(chunk, values)| (chunk * COLUMNS, values)) {
                let columns = start..start + values.len() / right;
                for (lane, square) in squares.iter_mut().enumerate() {
                    let x = &points.row(first + lane)[columns.clone()];
                    let mut moved = [0.0; COLUMNS];
                    frame.place(x, columns.start, units[lane], &mut moved);
                    *square += sum_of_squares(&moved);
                    // Every `right`-th value from the lane on is this row's.
                    let own = values[lane..].iter_mut().step_by(right);
                    own.zip(moved).for_each(|(to, v)| *to = v);
                }
            }
        };
        if width > 0 {
            let panels = values.as_mut_slice().par_chunks_exact_mut(width * right);
            panels.zip(squares.par_chunks_mut(right)).enumerate().for_each(fill);
        }
        if frame.term != Term::Product {
            squares.fill(0.0);
        }
        let zeros = match frame.distance {
            Distance::Cosine => range
                .clone()
                .filter(|&row| points.row(row).iter().all(|v| v.abs() <= 0.0))
                .map(|row| row as u32)
                .collect(),
            _ => Vec::new(),
        };
        let inverse = |row| {
            let sum = total(points.row(row)) * frame.scale;
            if sum > 0.0 { sum.recip() as f32 } else { 0.0 }
        };
        let inverses = match frame.term {
            Term::Least => range.clone().into_par_iter().map(inverse).collect(),
            _ => Vec::new(),
        };
        let mut side = Self {
            kernel,
            first: range.start,
            rows,
            width,
            values,
            squares,
            offsets: vec![f32::INFINITY; panels * right],
            inverses,
            zeros,
        };
        let half = if frame.distance == Distance::InnerProduct { 0.0 } else { 0.5 };
        for (offset, &square) in side.offsets.iter_mut().zip(&side.squares) {
            *offset = match frame.term {
                Term::Product => ((half - frame.factor) * square) as f32,
                _ => 0.0,
            };
        }
        for &zero in &side.zeros {
            side.offsets[zero as usize - side.first] = f32::INFINITY;
        }
        side
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(self.kernel.right)
    }

    /// Whether the cosine of the row with this index is not defined.
    pub(crate) fn is_zero(&self, index: usize) -> bool {
        self.zeros.binary_search(&(index as u32)).is_ok()
    }

    /// `[width, kernel.right]`.
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        let length = self.width * self.kernel.right;
        &self.values.as_slice()[panel * length..(panel + 1) * length]
    }

    /// Packs `rows` rows from `first` (counted within this side) for the left of a tile.
    ///
    /// - `first`: a multiple of the kernel's `left`.
    pub(crate) fn pack_left(&self, first: usize, rows: usize, packed: &mut Vec<f32>) {
        if self.width == 0 {
            packed.clear();
            return;
        }
        match self.kernel.left {
            8 => self.pack_groups::<8>(first, rows, packed),
            _ => self.pack_groups::<4>(first, rows, packed),
        }
    }

    /// Panels are read from one end to the other: that is what processors read ahead.
    fn pack_groups<const GROUP: usize>(&self, first: usize, rows: usize, packed: &mut Vec<f32>) {
        let (right, width) = (self.kernel.right, self.width);
        // A panel is a whole number of groups wide.
        let (each, mut group) = (right / GROUP, first / GROUP);
        let end = (first + rows).div_ceil(GROUP);
        packed.resize((end - group) * GROUP * width, 0.0);
        let (mut packed, _) = packed.as_chunks_mut::<GROUP>();
        while group < end {
            let (panel, skip) = (group / each, group % each);
            let count = (each - skip).min(end - group);
            let (own, rest) = packed.split_at_mut(count * width);
            let (columns, _) = self.panel(panel).as_chunks::<GROUP>();
            for (k, columns) in columns.chunks_exact(each).enumerate() {
                for (to, column) in own[k..].iter_mut().step_by(width).zip(&columns[skip..]) {
                    *to = *column;
                }
            }
            packed = rest;
            group += count;
        }
    }

    /// Turns what the kernel summed for rows of `left` from `first` into scores of this panel.
    pub(crate) fn finish(
        &self,
        frame: &Frame,
        left: &Side,
        first: usize,
        panel: usize,
        scores: &mut [f32],
    ) {
        let right = self.kernel.right;
        match frame.term {
            Term::Product => {}
            Term::Square | Term::Difference | Term::Chi => scores.iter_mut().for_each(|s| *s = -*s),
            Term::Least => {
                let own = &self.inverses[panel * right..self.rows.min((panel + 1) * right)];
                let rows = scores.chunks_exact_mut(right).zip(&left.inverses[first..]);
                for (scores, &theirs) in rows {
                    for (score, &own) in scores.iter_mut().zip(own) {
                        *score *= if own < theirs { own } else { theirs };
                    }
                }
            }
        }
    }
}
