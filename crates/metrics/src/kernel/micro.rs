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
            Term::Difference => sums::<V, MR, NV>(tile, |sum, a, b| sum.add(a.sub(b).abs())),
            Term::Least => sums::<V, MR, NV>(tile, |sum, a, b| sum.add(a.min(b))),
            Term::Chi => sums::<V, MR, NV>(tile, |sum, a, b| chi(sum, a, b)),
        }
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
/// The instructions of `V` are there; x and y have one length.
#[inline(always)]
pub(super) unsafe fn pair<V: Vector>(term: Term, x: &[f32], y: &[f32]) -> f32 {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match term {
            Term::Product => pair_sum::<V>(x, y, |sum, a, b| a.mul_add(b, sum)),
            Term::Difference => pair_sum::<V>(x, y, |sum, a, b| sum.add(a.sub(b).abs())),
            Term::Least => pair_sum::<V>(x, y, |sum, a, b| sum.add(a.min(b))),
            Term::Chi => pair_sum::<V>(x, y, |sum, a, b| chi(sum, a, b)),
        }
    }
}

#[inline(always)]
unsafe fn pair_sum<V: Vector>(x: &[f32], y: &[f32], step: impl Fn(V, V, V) -> V) -> f32 {
    const CHAINS: usize = 4;
    // SAFETY: all loads are of whole vectors inside the slices, or of the copies below.
    unsafe {
        let mut sums = [V::splat(0.0); CHAINS];
        let whole = x.len() / V::LANES;
        for at in 0..whole {
            let (a, b) = (x.as_ptr().add(at * V::LANES), y.as_ptr().add(at * V::LANES));
            let sum = &mut sums[at % CHAINS];
            *sum = step(*sum, V::load(a), V::load(b));
        }
        let (x, y) = (&x[whole * V::LANES..], &y[whole * V::LANES..]);
        if !x.is_empty() {
            // Zeros add nothing to any of the sums.
            let (mut a, mut b) = ([0.0_f32; 16], [0.0_f32; 16]);
            a[..x.len()].copy_from_slice(x);
            b[..y.len()].copy_from_slice(y);
            sums[0] = step(sums[0], V::load(a.as_ptr()), V::load(b.as_ptr()));
        }
        let mut kept = [0.0_f32; 16];
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(kept.as_mut_ptr());
        kept.iter().sum()
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
