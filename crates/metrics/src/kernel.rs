//! Tiles of scores between two sets of rows: the one inner loop below every blocked search.
//!
//! A tile is a block of left rows against one panel of right rows. Its loop is written once, over a
//! vector type, and built for AVX-512, for AVX2 with FMA, and for any processor; which one runs is
//! decided at run time. Blocks follow Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", 2008: a panel's slice stays in the first cache while the left rows pass by.
//! Nothing here knows of neighbours, and no score is better than f32: who needs more adds bounds.

#![expect(unsafe_code, reason = "vector instructions and pointers are what the kernel is made of")]

mod micro;
mod vector;

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use micro::{Block, Scan, Tile};

/// What is summed over the columns of a pair of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// x y.
    Product,
    /// (x − y)²: what products say of points far from the origin, without their cancellation, for twice the work.
    Square,
    /// |x − y|.
    Difference,
    /// min(x, y).
    Least,
    /// (x − y)² / (x + y), 0 where both are 0; x, y ≥ 0.
    Chi,
}

/// The instructions in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The kernel for this processor, and the shapes that it works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    isa: Isa,
    /// Left rows that are packed side by side.
    pub(crate) left: usize,
    /// Right rows that are packed side by side: the width of a panel and of a tile.
    pub(crate) right: usize,
}

/// Left rows of a tile at most: a multiple of every kernel's `left` and `right`.
pub(crate) const TILE_ROWS: usize = 240;

/// Sums x + y below this count as this in [`Term::Chi`], so that no reciprocal overflows.
pub(crate) const CHI_FLOOR: f32 = 7.523_164e-37; // 2⁻¹²⁰

/// Columns of a tile at most.
pub(crate) const MAX_PANEL: usize = 48;

/// Up to sixteen neighbouring scores of a tile of which some pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// Row of the tile.
    pub(crate) row: u16,
    /// Column of the first score.
    pub(crate) column: u16,
    /// Bits of the scores that pass the row's threshold.
    pub(crate) by_row: u16,
    /// Bits of the scores that pass their column's threshold.
    pub(crate) by_column: u16,
}

/// A row and a column of a tile in one number.
#[inline]
pub(crate) fn place(row: u32, column: u32) -> u32 {
    row << 8 | column
}

/// The (row, column) of a [`place`].
#[inline]
pub(crate) fn of_place(place: u32) -> (usize, usize) {
    ((place >> 8) as usize, (place & 0xff) as usize)
}

/// What scores are compared with: row i keeps s − `right_offsets`ⱼ ≥ `row_thresholds`ᵢ, and column j
/// keeps s − `left_offsets`ᵢ ≥ `column_thresholds`ⱼ.
pub(crate) struct Thresholds<'a> {
    pub(crate) rows: &'a [f32],
    /// One a column of the panel; infinite where the panel is only filled up.
    pub(crate) right_offsets: &'a [f32],
    /// Absent where only rows are searched.
    pub(crate) columns: Option<Columns<'a>>,
}

/// The other half of a symmetric search.
pub(crate) struct Columns<'a> {
    pub(crate) thresholds: &'a [f32],
    pub(crate) left_offsets: &'a [f32],
}

impl Kernel {
    /// The fastest kernel of this processor, or the one that `NEARKIN_SIMD` names (`avx512`, `avx2`
    /// or `portable`) where the processor has it.
    pub(crate) fn detect() -> Self {
        static KERNEL: OnceLock<Kernel> = OnceLock::new();
        *KERNEL.get_or_init(|| {
            let wanted = std::env::var("NEARKIN_SIMD").unwrap_or_default();
            let all = Self::available();
            let named = all.iter().find(|kernel| kernel.name() == wanted);
            named.or(all.first()).copied().unwrap_or(Self::PORTABLE)
        })
    }

    const PORTABLE: Self = Self { isa: Isa::Portable, left: 4, right: 8 };

    /// All that run here, fastest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
                all.push(Self { isa: Isa::Avx512, left: 8, right: 48 });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self { isa: Isa::Avx2, left: 4, right: 24 });
            }
        }
        all.push(Self::PORTABLE);
        all
    }

    /// `avx512`, `avx2` or `portable`.
    pub(crate) fn name(self) -> &'static str {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// `rows` rounded up to whole packed groups of the left side.
    pub(crate) fn padded_left(self, rows: usize) -> usize {
        rows.next_multiple_of(self.left)
    }

    /// Roundings of a sum over `width` columns, at most: chunks are summed first, then their sums.
    pub(crate) fn roundings(term: Term, width: usize) -> f64 {
        let chunk = micro::depth(term);
        (width.min(chunk) + width.div_ceil(chunk)) as f64
    }

    /// The scores of left rows against a panel, `[padded_left(rows), right]`.
    ///
    /// - `left`: groups of `self.left` rows, each `[width, self.left]`.
    /// - `panel`: `[width, self.right]`.
    pub(crate) fn tile(
        self,
        term: Term,
        width: usize,
        left: &[f32],
        rows: usize,
        panel: &[f32],
        scores: &mut [f32],
    ) {
        let rows = self.padded_left(rows);
        assert!(left.len() >= rows * width, "left rows are missing");
        assert!(panel.len() >= self.right * width, "the panel is short");
        assert!(scores.len() >= rows * self.right, "no room for the scores");
        let tile = micro::Tile { term, width, left, rows, panel, scores };
        // SAFETY: the lengths were just checked, and `available` has seen the instructions.
        unsafe {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => tile_avx512(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => tile_avx2(tile),
                Isa::Portable => micro::tile::<vector::Plain, 4, 1>(tile),
            }
        }
    }

    /// What [`Kernel::tile`] sums, of rows that lie anywhere, `[left, self.right]`: for tiles too small to
    /// be worth packing. A pair's sum has the same bits wherever it stands.
    ///
    /// - `rows`: `[n, width]`; `width` a multiple of sixteen.
    /// - `left`, `right`: which of them; at most `self.right` right ones.
    /// - `first`: where the first right row stands in a list that begins with the left ones. Of a list
    ///   with itself each pair counts once: where column `first` + j ≤ row i, the score may be −∞.
    pub(crate) fn block(
        self,
        term: Term,
        (rows, width): (&[f32], usize),
        left: &[u32],
        right: &[u32],
        first: usize,
        scores: &mut [f32],
    ) {
        assert!(width.is_multiple_of(16), "rows are filled up to whole vectors");
        assert!(right.len() <= self.right, "the panel is wide");
        assert!(scores.len() >= self.padded_left(left.len()) * self.right, "no room for scores");
        let stride = self.right;
        let block = micro::Block { term, width, rows, left, right, first, stride, scores };
        // SAFETY: the lengths were just checked, `self.left` is a multiple of the rows taken at a
        // time, and `available` has seen the instructions.
        unsafe {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => block_avx512(block),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => block_avx2(block),
                Isa::Portable => micro::block::<vector::Plain, 2>(block),
            }
        }
    }

    /// Appends the scores that pass to `hits`.
    pub(crate) fn scan(
        self,
        scores: &[f32],
        rows: usize,
        with: &Thresholds<'_>,
        hits: &mut Vec<Hit>,
    ) {
        assert!(scores.len() >= rows * self.right && with.rows.len() >= rows, "rows are missing");
        assert!(with.right_offsets.len() >= self.right, "offsets are missing");
        if let Some(columns) = &with.columns {
            assert!(columns.thresholds.len() >= self.right, "thresholds are missing");
            assert!(columns.left_offsets.len() >= rows, "offsets are missing");
        }
        let scan = micro::Scan { scores, rows, with };
        // SAFETY: as in `tile`.
        unsafe {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => scan_avx512(scan, hits),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => scan_avx2(scan, hits),
                Isa::Portable => micro::scan::<vector::Plain, 1>(scan, hits),
            }
        }
    }
}

impl Kernel {
    /// Appends the [`place`]s of the scores that passed their row's threshold, or their column's.
    pub(crate) fn places(self, hits: &[Hit], by_column: bool, places: &mut Vec<u32>) {
        // SAFETY: as in `tile`.
        unsafe {
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => places_avx512(hits, by_column, places),
                _ => micro::places::<vector::Plain>(hits, by_column, places),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn places_avx512(hits: &[Hit], by_column: bool, places: &mut Vec<u32>) {
    // SAFETY: as the caller promises.
    unsafe { micro::places::<std::arch::x86_64::__m512>(hits, by_column, places) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn tile_avx512(tile: Tile<'_>) {
    // SAFETY: as the caller promises.
    unsafe { micro::tile::<std::arch::x86_64::__m512, 8, 3>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2(tile: Tile<'_>) {
    // SAFETY: as the caller promises.
    unsafe { micro::tile::<std::arch::x86_64::__m256, 4, 3>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn scan_avx512(scan: Scan<'_>, hits: &mut Vec<Hit>) {
    // SAFETY: as the caller promises.
    unsafe { micro::scan::<std::arch::x86_64::__m512, 3>(scan, hits) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn scan_avx2(scan: Scan<'_>, hits: &mut Vec<Hit>) {
    // SAFETY: as the caller promises.
    unsafe { micro::scan::<std::arch::x86_64::__m256, 3>(scan, hits) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn block_avx512(block: Block<'_>) {
    // SAFETY: as the caller promises.
    unsafe { micro::block::<std::arch::x86_64::__m512, 4>(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn block_avx2(block: Block<'_>) {
    // SAFETY: as the caller promises.
    unsafe { micro::block::<std::arch::x86_64::__m256, 2>(block) }
}

/// Billions of f32 operations a second of one thread that only multiplies and adds in registers: what
/// the tiles are measured against.
///
/// Runs for about `seconds`; counts a multiplication and an addition as two.
pub fn fma_peak_gflops(seconds: f64) -> f64 {
    let kernel = Kernel::detect();
    let start = std::time::Instant::now();
    let mut best = 0.0_f64;
    while start.elapsed().as_secs_f64() < seconds {
        const STEPS: usize = 200_000;
        let before = std::time::Instant::now();
        // SAFETY: `detect` gives only what `available` has seen.
        let flops = unsafe {
            match kernel.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => peak_avx512(STEPS),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => peak_avx2(STEPS),
                Isa::Portable => micro::peak::<vector::Plain>(STEPS),
            }
        };
        best = best.max(flops as f64 / before.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// The instructions that the blocked kernels use here: `avx512`, `avx2` or `portable`.
///
/// `NEARKIN_SIMD` may name slower ones, for measurements and tests.
pub fn simd_name() -> &'static str {
    Kernel::detect().name()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn peak_avx512(steps: usize) -> usize {
    // SAFETY: as the caller promises.
    unsafe { micro::peak::<std::arch::x86_64::__m512>(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn peak_avx2(steps: usize) -> usize {
    // SAFETY: as the caller promises.
    unsafe { micro::peak::<std::arch::x86_64::__m256>(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    const TERMS: [Term; 5] =
        [Term::Product, Term::Square, Term::Difference, Term::Least, Term::Chi];

    fn expected(term: Term, x: f64, y: f64) -> f64 {
        match term {
            Term::Product => x * y,
            Term::Square => (x - y) * (x - y),
            Term::Difference => (x - y).abs(),
            Term::Least => x.min(y),
            Term::Chi if x + y > 0.0 => (x - y) * (x - y) / (x + y),
            Term::Chi => 0.0,
        }
    }

    #[test]
    fn every_kernels_tiles_are_the_sums_within_their_bound() {
        for kernel in Kernel::available() {
            for (rows, width) in [(1, 1), (3, 0), (7, 31), (240, 33), (50, 300), (9, 784)] {
                let value = |i, k: usize| if k % 7 == 3 { 0.0 } else { noise(i, k) };
                let padded = kernel.padded_left(rows);
                let left: Vec<f32> = (0..padded * width)
                    .map(|at| {
                        let (group, at) = (at / (kernel.left * width), at % (kernel.left * width));
                        value(group * kernel.left + at % kernel.left, at / kernel.left)
                    })
                    .collect();
                let panel: Vec<f32> = (0..kernel.right * width)
                    .map(|at| value(1000 + at % kernel.right, at / kernel.right))
                    .collect();
                for term in TERMS {
                    let mut scores = vec![f32::NAN; padded * kernel.right];
                    kernel.tile(term, width, &left, rows, &panel, &mut scores);
                    let bound = (Kernel::roundings(term, width) + 12.0) * (-24_f64).exp2();
                    for i in 0..rows {
                        for j in 0..kernel.right {
                            let sum: f64 = (0..width)
                                .map(|k| (f64::from(value(i, k)), f64::from(value(1000 + j, k))))
                                .map(|(x, y)| expected(term, x, y))
                                .sum();
                            let found = f64::from(scores[i * kernel.right + j]);
                            assert!(
                                (found - sum).abs() <= bound * sum,
                                "{} {term:?} {rows} × {width}: {found}, expected {sum}",
                                kernel.name()
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_pairs_sum_has_the_same_bits_in_every_block() {
        const WIDTH: usize = 80;
        let rows: Vec<f32> = (0..60 * WIDTH).map(|at| noise(at / WIDTH, at % WIDTH)).collect();
        for kernel in Kernel::available() {
            for term in TERMS {
                let sums = |left: &[u32], right: &[u32], first| {
                    let padded = kernel.padded_left(left.len());
                    let mut scores = vec![f32::NAN; padded * kernel.right];
                    kernel.block(term, (&rows, WIDTH), left, right, first, &mut scores);
                    scores
                };
                let left: Vec<u32> = (3..16).collect();
                let right: Vec<u32> = (0..7).rev().map(|row| row * 5).collect();
                let found = sums(&left, &right, left.len());
                let bound = (Kernel::roundings(term, WIDTH) + 12.0) * (-24_f64).exp2();
                for (i, &a) in left.iter().enumerate() {
                    for (j, &b) in right.iter().enumerate() {
                        let value = |row, k| f64::from(noise(row as usize, k));
                        let terms = (0..WIDTH).map(|k| expected(term, value(a, k), value(b, k)));
                        let (sum, found) = (terms.sum::<f64>(), found[i * kernel.right + j]);
                        let error = (f64::from(found) - sum).abs();
                        assert!(error <= bound * sum, "{} {term:?} {a} {b}", kernel.name());
                        assert_eq!(sums(&[b], &[a], 1)[0].to_bits(), found.to_bits());
                    }
                }
                // Of a list with itself, what is left out is below the diagonal.
                let own = sums(&left, &left[..right.len()], 0);
                for i in 0..left.len() {
                    for j in i + 1..right.len() {
                        let alone = sums(&left[i..=i], &left[j..=j], 1)[0];
                        assert_eq!(own[i * kernel.right + j].to_bits(), alone.to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn every_kernel_finds_the_scores_that_pass() {
        for kernel in Kernel::available() {
            let (rows, right) = (5, kernel.right);
            let scores: Vec<f32> = (0..rows * right).map(|at| noise(at, 7)).collect();
            let row_thresholds: Vec<f32> = (0..rows).map(|i| noise(i, 8)).collect();
            let column_thresholds: Vec<f32> = (0..right).map(|j| noise(j, 9)).collect();
            let left_offsets: Vec<f32> = (0..rows).map(|i| noise(i, 10) / 4.0).collect();
            let mut right_offsets: Vec<f32> = (0..right).map(|j| noise(j, 11) / 4.0).collect();
            right_offsets[right - 1] = f32::INFINITY;
            let with = Thresholds {
                rows: &row_thresholds,
                right_offsets: &right_offsets,
                columns: Some(Columns {
                    thresholds: &column_thresholds,
                    left_offsets: &left_offsets,
                }),
            };
            let mut hits = Vec::new();
            kernel.scan(&scores, rows, &with, &mut hits);
            for by_column in [false, true] {
                let mut places = vec![7];
                kernel.places(&hits, by_column, &mut places);
                let of = |hit: &Hit| if by_column { hit.by_column } else { hit.by_row };
                let expected = hits.iter().flat_map(|hit| {
                    let bits = (0..16).filter(move |bit| of(hit) >> bit & 1 == 1);
                    bits.map(|bit| (usize::from(hit.row), usize::from(hit.column) + bit))
                });
                assert_eq!(places[0], 7, "what was there stays");
                let found = places[1..].iter().map(|&place| of_place(place));
                assert!(found.eq(expected), "{}", kernel.name());
            }
            let passes = |by_row: bool, i: usize, j: usize| {
                let of = |hit: &Hit| if by_row { hit.by_row } else { hit.by_column };
                hits.iter().any(|hit| {
                    usize::from(hit.row) == i
                        && (usize::from(hit.column)..usize::from(hit.column) + 16).contains(&j)
                        && of(hit) >> (j - usize::from(hit.column)) & 1 == 1
                })
            };
            for i in 0..rows {
                for j in 0..right {
                    let score = scores[i * right + j];
                    assert_eq!(passes(true, i, j), score - right_offsets[j] >= row_thresholds[i]);
                    assert_eq!(
                        passes(false, i, j),
                        score - left_offsets[i] >= column_thresholds[j]
                    );
                }
            }
        }
    }
}
