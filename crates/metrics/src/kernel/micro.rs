//! The loops of the kernel over any vector type; they are inlined where the instructions are on.

use super::vector::Vector;
use super::{Hit, Term, Thresholds};

pub(super) struct Tile<'a> {
    pub(super) term: Term,
    pub(super) width: usize,
    pub(super) left: &'a [f32],
    /// A multiple of the rows packed together.
    pub(super) rows: usize,
    pub(super) panel: &'a [f32],
    pub(super) scores: &'a mut [f32],
}

pub(super) struct Block<'a> {
    pub(super) term: Term,
    pub(super) width: usize,
    pub(super) rows: &'a [f32],
    pub(super) left: &'a [u32],
    pub(super) right: &'a [u32],
    pub(super) first: usize,
    /// Scores from one left row to the next.
    pub(super) stride: usize,
    pub(super) scores: &'a mut [f32],
}

pub(super) struct Scan<'a> {
    pub(super) scores: &'a [f32],
    pub(super) rows: usize,
    pub(super) with: &'a Thresholds<'a>,
}

/// Columns summed before the sum joins the others, at most: for products as many as fill half of the
/// first cache with a panel; few for sums of like signs, which then lose as little as a sum in f64 shows.
pub(super) fn depth(term: Term) -> usize {
    if term == Term::Product { 160 } else { 32 }
}

/// # Safety
/// The instructions of `V` are there; `left` holds `rows` · `width` values, `panel` and `scores` as many as
/// [`super::Kernel::tile`] asserts, with `MR` and `NV` · `LANES` the kernel's sizes.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(tile: Tile<'_>) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match tile.term {
            Term::Product => sums::<V, MR, NV>(tile, |sum, a, b| a.mul_add(b, sum)),
            Term::Square => sums::<V, MR, NV>(tile, |sum, a, b| square(sum, a, b)),
            Term::Difference => sums::<V, MR, NV>(tile, |sum, a, b| sum.add(a.sub(b).abs())),
            Term::Least => sums::<V, MR, NV>(tile, |sum, a, b| sum.add(a.min(b))),
            Term::Chi => sums::<V, MR, NV>(tile, |sum, a, b| chi(sum, a, b)),
        }
    }
}

/// sum + (a − b)².
#[inline(always)]
unsafe fn square<V: Vector>(sum: V, a: V, b: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let difference = a.sub(b);
        difference.mul_add(difference, sum)
    }
}

/// sum + (a − b)² / (a + b).
#[inline(always)]
unsafe fn chi<V: Vector>(sum: V, a: V, b: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let difference = a.sub(b);
        let total = a.add(b).max(V::splat(super::CHI_FLOOR));
        let share = difference.mul_add(total.reciprocal(), V::splat(0.0));
        difference.mul_add(share, sum)
    }
}

/// # Safety
/// The instructions of `V` are there, and `block` holds what [`super::Kernel::block`] asserts for `MR`.
#[inline(always)]
pub(super) unsafe fn block<V: Vector, const MR: usize>(block: Block<'_>) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match block.term {
            Term::Product => pairs::<V, MR>(block, |sum, a, b| a.mul_add(b, sum)),
            Term::Square => pairs::<V, MR>(block, |sum, a, b| square(sum, a, b)),
            Term::Difference => pairs::<V, MR>(block, |sum, a, b| sum.add(a.sub(b).abs())),
            Term::Least => pairs::<V, MR>(block, |sum, a, b| sum.add(a.min(b))),
            Term::Chi => pairs::<V, MR>(block, |sum, a, b| chi(sum, a, b)),
        }
    }
}

/// `MR` rows against four at a time: each pair's lanes are summed over the columns, then across.
#[inline(always)]
unsafe fn pairs<V: Vector, const MR: usize>(block: Block<'_>, step: impl Fn(V, V, V) -> V + Copy) {
    let Block { width, rows, left, right, first, stride, scores, .. } = block;
    for i in (0..left.len()).step_by(MR) {
        // The last ones are taken again where a group is not full.
        let own: [*const f32; MR] = std::array::from_fn(|row| {
            rows[left[(i + row).min(left.len() - 1)] as usize * width..][..width].as_ptr()
        });
        for j in (0..right.len()).step_by(4) {
            // SAFETY: i + MR rows of `stride` ≥ j + 4 scores are there, and all rows hold `width`
            // values, a multiple of the lanes.
            unsafe {
                let scores = scores.as_mut_ptr().add(i * stride + j);
                if first + j + 3 <= i {
                    for row in 0..MR {
                        scores.add(row * stride).cast::<[f32; 4]>().write([f32::NEG_INFINITY; 4]);
                    }
                    continue;
                }
                let other: [*const f32; 4] = std::array::from_fn(|column| {
                    rows[right[(j + column).min(right.len() - 1)] as usize * width..][..width]
                        .as_ptr()
                });
                let mut sums = [[V::splat(0.0); 4]; MR];
                for at in (0..width).step_by(V::LANES) {
                    let b: [V; 4] = std::array::from_fn(|column| V::load(other[column].add(at)));
                    for (sums, own) in sums.iter_mut().zip(own) {
                        let a = V::load(own.add(at));
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = step(*sum, a, b);
                        }
                    }
                }
                for (row, &sums) in sums.iter().enumerate() {
                    scores.add(row * stride).cast::<[f32; 4]>().write(V::sums(sums));
                }
            }
        }
    }
}

/// Values in a cache line.
const LINE: usize = 16;

#[inline(always)]
unsafe fn sums<V: Vector, const MR: usize, const NV: usize>(
    tile: Tile<'_>,
    step: impl Fn(V, V, V) -> V + Copy,
) {
    let Tile { term, width, left, rows, panel, scores } = tile;
    let right = NV * V::LANES;
    if width == 0 {
        scores[..rows * right].fill(0.0);
        return;
    }
    // Chunks of equal size.
    let chunk = width.div_ceil(width.div_ceil(depth(term)));
    for start in (0..width).step_by(chunk) {
        let columns = chunk.min(width - start);
        // The slice that follows in memory is the next one read, here or in the next panel.
        let slice = columns * right;
        let share = slice.div_ceil(rows / MR).next_multiple_of(LINE);
        let mut ahead = panel.as_ptr().wrapping_add(start * right + slice);
        for row in (0..rows).step_by(MR) {
            for line in (0..share).step_by(LINE) {
                V::prefetch(ahead.wrapping_add(line));
            }
            ahead = ahead.wrapping_add(share);
            // SAFETY: row + MR ≤ rows and start + columns ≤ width, so all stays inside the slices.
            unsafe {
                micro::<V, MR, NV>(
                    columns,
                    left.as_ptr().add(row * width + start * MR),
                    panel.as_ptr().add(start * right),
                    scores.as_mut_ptr().add(row * right),
                    start == 0,
                    step,
                );
            }
        }
    }
}

/// `MR` × `NV` registers of sums over `columns`, written or added to `scores`.
#[inline(always)]
unsafe fn micro<V: Vector, const MR: usize, const NV: usize>(
    columns: usize,
    mut left: *const f32,
    mut panel: *const f32,
    scores: *mut f32,
    first: bool,
    step: impl Fn(V, V, V) -> V + Copy,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; MR];
        for _ in 0..columns {
            let mut right = [V::splat(0.0); NV];
            for (v, right) in right.iter_mut().enumerate() {
                *right = V::load(panel.add(v * V::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(*left.add(row));
                for (v, sum) in sums.iter_mut().enumerate() {
                    // Read from memory by the addition itself, so that no sum leaves its register.
                    let again = V::FEW && v == NV - 1;
                    let right = if again { V::load(panel.add(v * V::LANES)) } else { right[v] };
                    *sum = step(*sum, value, right);
                }
                V::in_order();
            }
            left = left.add(MR);
            panel = panel.add(NV * V::LANES);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let to = scores.add((row * NV + v) * V::LANES);
                let sum = if first { sum } else { V::load(to).add(sum) };
                sum.store(to);
            }
        }
    }
}

/// # Safety
/// As [`tile`], with what [`super::Kernel::scan`] asserts.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, const NV: usize>(scan: Scan<'_>, hits: &mut Vec<Hit>) {
    // SAFETY: the caller's promise.
    unsafe {
        let load = |from: &[f32]| {
            let mut all = [V::splat(0.0); NV];
            for (v, one) in all.iter_mut().enumerate() {
                *one = V::load(from.as_ptr().add(v * V::LANES));
            }
            all
        };
        let right_offsets = load(scan.with.right_offsets);
        let columns = scan.with.columns.as_ref();
        let thresholds = match columns {
            Some(columns) => load(columns.thresholds),
            None => [V::splat(f32::INFINITY); NV],
        };
        for row in 0..scan.rows {
            let row_threshold = V::splat(*scan.with.rows.get_unchecked(row));
            let left_offset = match columns {
                Some(columns) => V::splat(*columns.left_offsets.get_unchecked(row)),
                None => V::splat(0.0),
            };
            let scores = scan.scores.as_ptr().add(row * NV * V::LANES);
            for v in 0..NV {
                let score = V::load(scores.add(v * V::LANES));
                let by_row = score.sub(right_offsets[v]).at_least(row_threshold);
                let by_column = score.sub(left_offset).at_least(thresholds[v]);
                if by_row | by_column != 0 {
                    hits.push(Hit {
                        row: row as u16,
                        column: (v * V::LANES) as u16,
                        by_row: by_row as u16,
                        by_column: by_column as u16,
                    });
                }
            }
        }
    }
}

/// Appends the place of every bit that is set in the hits.
///
/// # Safety
/// The instructions of `V` are there.
#[inline(always)]
pub(super) unsafe fn places<V: Vector>(hits: &[Hit], by_column: bool, places: &mut Vec<u32>) {
    const BITS: usize = 16;
    places.reserve(BITS * hits.len());
    let mut length = places.len();
    for hit in hits {
        let bits = if by_column { hit.by_column } else { hit.by_row };
        let base = super::place(hit.row.into(), hit.column.into());
        // SAFETY: there is room for all bits of this hit and of those that follow.
        length += unsafe { V::spread(bits, base, places.as_mut_ptr().add(length)) };
    }
    // SAFETY: so many have been written.
    unsafe { places.set_len(length) };
}

/// Multiplies and adds in registers `steps` times; returns how many operations that were.
///
/// # Safety
/// The instructions of `V` are there.
#[inline(always)]
pub(super) unsafe fn peak<V: Vector>(steps: usize) -> usize {
    const CHAINS: usize = 12;
    // SAFETY: the caller's promise.
    unsafe {
        let factor = V::splat(std::hint::black_box(0.999_999));
        let mut sums = [V::splat(1.0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        let mut kept = [0.0_f32; 16];
        for sum in sums {
            sum.store(kept.as_mut_ptr());
            std::hint::black_box(&kept);
        }
        steps * CHAINS * V::LANES * 2
    }
}
