//! The two passes in AVX2, exact.
//!
//! A product of a level and a 22-bit weight needs 32 bits, but the fast instruction multiplies 16-bit
//! numbers and adds neighbours. So each weight w is split into w = 2¹⁵ · high + low, with low in
//! −2¹⁴..2¹⁴ and |high| ≤ 2¹⁶/2, and the sums Σ p · high and Σ p · low are made apart. A pair of products
//! stays below 2 · 255 · 2¹⁵ < 2³¹, and all else is addition modulo 2³². So
//! 2¹⁵ · Σ p · high + Σ p · low equals Σ p · w modulo 2³², and Σ p · w fits 32 bits, as it must for
//! Pillow too: not a bit is lost, whatever the weights.

#![expect(unsafe_code, reason = "vector loads and stores through pointers")]

use std::arch::x86_64::*;

use super::taps::{PRECISION_BITS, Taps};

/// Levels that a load may read beyond the last one it needs.
const OVERREAD: usize = 16;
const SPLIT_BITS: i32 = 15;

/// The weights of 4 taps, as `[low of 0 and 1, low of 2 and 3, high of 0 and 1, high of 2 and 3]`.
pub(super) fn split(weights: &[i32], out: &mut Vec<[i32; 4]>) {
    let low = |w: i32| w.wrapping_shl(17) >> 17;
    let high = |w: i32| (w - low(w)) >> SPLIT_BITS;
    let pair = |a: i32, b: i32| (a & 0xffff) | (b << 16);
    out.clear();
    out.extend(weights.chunks_exact(4).map(|w| {
        [
            pair(low(w[0]), low(w[1])),
            pair(low(w[2]), low(w[3])),
            pair(high(w[0]), high(w[1])),
            pair(high(w[2]), high(w[3])),
        ]
    }));
}

/// As `along_rows` of the scalar passes, for 3 interleaved channels.
///
/// - `levels`: rows of `stride` levels; the first pixel is number `base` of its image.
/// - `out`: `[rows, taps.spans.len(), 3]`.
pub(super) fn along_rows_of_rgb(
    taps: &Taps,
    base: usize,
    (levels, stride): (&[u8], usize),
    out: &mut [u8],
    padded: &mut Vec<u8>,
) {
    let out_len = taps.spans.len() * 3;
    let rows = out.len() / out_len;
    let end = taps.spans.iter().map(|span| (span.0 - base + taps.stride) * 3 + OVERREAD).max();
    let end = end.unwrap_or(0);
    // Rows near the end of the levels are copied to where a load may reach beyond them.
    let safe = (0..rows).take_while(|row| row * stride + end <= levels.len()).count();
    let padded_len = stride.max(end);
    padded.clear();
    for row in safe..rows {
        padded.extend_from_slice(&levels[row * stride..levels.len().min((row + 1) * stride)]);
        padded.resize((row - safe + 1) * padded_len, 0);
    }
    let row_at = |row: usize| match row.checked_sub(safe) {
        None => &levels[row * stride..row * stride + end],
        Some(row) => &padded[row * padded_len..row * padded_len + end],
    };
    for (group, out) in out.chunks_mut(out_len * 4).enumerate() {
        let count = out.len() / out_len;
        // A group that lacks rows computes its last one again.
        let sources = [0, 1, 2, 3].map(|i| row_at(group * 4 + i.min(count - 1)));
        let mut targets = out.chunks_exact_mut(out_len);
        let mut spare = [&mut [][..], &mut [], &mut [], &mut []];
        for target in &mut spare {
            *target = targets.next().unwrap_or_default();
        }
        // SAFETY: the caller has AVX2; each source holds every span and what a load reads beyond it.
        unsafe { rows_of_rgb(taps, base, sources, spare) };
    }
}

/// # Safety
/// The processor has AVX2. Each source holds (span − base + stride) · 3 + 16 levels for every span.
#[target_feature(enable = "avx2")]
unsafe fn rows_of_rgb(taps: &Taps, base: usize, sources: [&[u8]; 4], mut out: [&mut [u8]; 4]) {
    // Pixels 0 and 1 to the low half, 2 and 3 to the high one, as 16-bit pairs per channel.
    let order = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    let low_at = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    let high_at = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    let half = _mm_set1_epi32(1 << (PRECISION_BITS - 1));
    let groups = taps.stride / 4;
    let last = taps.spans.len() - 1;
    let spans = taps.spans.iter().zip(taps.split.chunks_exact(groups)).enumerate();
    for (x, (&(first, _), weights)) in spans {
        let start = (first - base) * 3;
        let mut low = [_mm256_setzero_si256(); 4];
        let mut high = [_mm256_setzero_si256(); 4];
        for (group, weights) in weights.iter().enumerate() {
            // SAFETY: the weights are 16 bytes; the pixels are in the source by this function's contract.
            let w = unsafe { _mm256_castsi128_si256(_mm_loadu_si128(weights.as_ptr().cast())) };
            let (w_low, w_high) =
                (_mm256_permutevar8x32_epi32(w, low_at), _mm256_permutevar8x32_epi32(w, high_at));
            for row in 0..4 {
                debug_assert!(start + group * 12 + 16 <= sources[row].len());
                // SAFETY: as above.
                let pixels = unsafe {
                    _mm_loadu_si128(sources[row].as_ptr().add(start + group * 12).cast())
                };
                let pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), order);
                low[row] = _mm256_add_epi32(low[row], _mm256_madd_epi16(pixels, w_low));
                high[row] = _mm256_add_epi32(high[row], _mm256_madd_epi16(pixels, w_high));
            }
        }
        let mut level = [_mm_setzero_si128(); 4];
        for row in 0..4 {
            let sum = _mm256_add_epi32(low[row], _mm256_slli_epi32::<SPLIT_BITS>(high[row]));
            let sum =
                _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            level[row] = _mm_srai_epi32::<{ PRECISION_BITS as i32 }>(_mm_add_epi32(sum, half));
        }
        let packed = _mm_packus_epi16(
            _mm_packs_epi32(level[0], level[1]),
            _mm_packs_epi32(level[2], level[3]),
        );
        let pixels = [
            _mm_extract_epi32::<0>(packed),
            _mm_extract_epi32::<1>(packed),
            _mm_extract_epi32::<2>(packed),
            _mm_extract_epi32::<3>(packed),
        ];
        for (out, pixel) in out.iter_mut().zip(pixels) {
            let pixel = pixel.to_le_bytes();
            if x < last && !out.is_empty() {
                // SAFETY: another pixel follows, so 4 bytes fit; the fourth is overwritten by it.
                unsafe { out.as_mut_ptr().add(x * 3).cast::<[u8; 4]>().write_unaligned(pixel) };
            } else if let Some(out) = out.get_mut(x * 3..x * 3 + 3) {
                out.copy_from_slice(&pixel[..3]);
            }
        }
    }
}

/// As `along_columns` of the scalar passes, for the first `len` / 32 · 32 levels of each row.
/// Returns how many levels of a row are done.
pub(super) fn along_columns(
    taps: &Taps,
    base: usize,
    (levels, stride): (&[u8], usize),
    out: &mut [u8],
    len: usize,
) -> usize {
    let done = len / 32 * 32;
    let groups = taps.stride / 4;
    let rows = out.chunks_exact_mut(len).zip(&taps.spans).zip(taps.split.chunks_exact(groups));
    for ((out, &(first, count)), weights) in rows {
        let start = (first - base) * stride;
        assert!(start + (count - 1) * stride + done <= levels.len(), "rows of the source");
        // SAFETY: the caller has AVX2; `count` rows of `done` levels lie in the source, `done` in `out`.
        unsafe { column_sums(&levels[start..], stride, count, weights, &mut out[..done]) };
    }
    done
}

/// # Safety
/// The processor has AVX2. `levels` holds `count` rows, `stride` apart, of `out.len()` levels, a
/// multiple of 32; `weights` are for at least `count` rows.
#[target_feature(enable = "avx2")]
unsafe fn column_sums(
    levels: &[u8],
    stride: usize,
    count: usize,
    weights: &[[i32; 4]],
    out: &mut [u8],
) {
    let zero = _mm256_setzero_si256();
    let half = _mm256_set1_epi32(1 << (PRECISION_BITS - 1));
    for x in (0..out.len()).step_by(32) {
        let mut low = [half; 4];
        let mut high = [zero; 4];
        for pair in 0..count.div_ceil(2) {
            let weights = weights[pair / 2];
            let w_low = _mm256_set1_epi32(weights[pair % 2]);
            let w_high = _mm256_set1_epi32(weights[2 + pair % 2]);
            // The weight of a row too many is 0.
            let (a, b) = (2 * pair * stride + x, (2 * pair + 1).min(count - 1) * stride + x);
            // SAFETY: by this function's contract.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(levels.as_ptr().add(a).cast()),
                    _mm256_loadu_si256(levels.as_ptr().add(b).cast()),
                )
            };
            let (first, second) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let pairs = [
                _mm256_unpacklo_epi8(first, zero),
                _mm256_unpackhi_epi8(first, zero),
                _mm256_unpacklo_epi8(second, zero),
                _mm256_unpackhi_epi8(second, zero),
            ];
            for i in 0..4 {
                low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pairs[i], w_low));
                high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pairs[i], w_high));
            }
        }
        let mut sums = [zero; 4];
        for i in 0..4 {
            let sum = _mm256_add_epi32(low[i], _mm256_slli_epi32::<SPLIT_BITS>(high[i]));
            sums[i] = _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sum);
        }
        let packed = _mm256_packus_epi16(
            _mm256_packs_epi32(sums[0], sums[1]),
            _mm256_packs_epi32(sums[2], sums[3]),
        );
        // SAFETY: `out` is a multiple of 32 long.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(x).cast(), packed) };
    }
}
