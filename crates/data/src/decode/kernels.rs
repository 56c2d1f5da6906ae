//! What libjpeg-turbo has in assembly for x86-64, in Rust: so that its speed needs no assembler.
//!
//! Each is equal to libjpeg-turbo's assembly, and to its C for all coefficients that a JPEG encoder makes,
//! to the last bit. Other processors run libjpeg's C.

#![expect(unsafe_code, reason = "vector loads and stores through pointers, called from C")]

use std::arch::x86_64::*;

/// Constants of jidctint.c: round(x · 2¹³).
mod fix {
    pub(super) const C0_298631336: i16 = 2446;
    pub(super) const C0_390180644: i16 = 3196;
    pub(super) const C0_541196100: i16 = 4433;
    pub(super) const C0_765366865: i16 = 6270;
    pub(super) const C0_899976223: i16 = 7373;
    pub(super) const C1_175875602: i16 = 9633;
    pub(super) const C1_501321110: i16 = 12299;
    pub(super) const C1_847759065: i16 = 15137;
    pub(super) const C1_961570560: i16 = 16069;
    pub(super) const C2_053119869: i16 = 16819;
    pub(super) const C2_562915447: i16 = 20995;
    pub(super) const C3_072711026: i16 = 25172;
}

const CONST_BITS: i32 = 13;
const PASS1_BITS: i32 = 2;

/// Dequantises and transforms one block of 8 × 8: libjpeg's `jpeg_idct_islow`.
///
/// # Safety
/// `coefficients` and `quantisers` point to 64 values in natural order, `rows` to 8 pointers to at least
/// `column` + 8 samples.
pub(super) unsafe extern "C" fn idct(
    coefficients: *const i16,
    quantisers: *const u16,
    rows: *const *mut u8,
    column: u32,
) {
    // SAFETY: x86-64 has SSE2, and the rest is this function's contract.
    unsafe { idct_by_sse2(coefficients, quantisers, rows, column as usize) }
}

/// # Safety
/// As [`idct`].
#[target_feature(enable = "sse2")]
unsafe fn idct_by_sse2(
    coefficients: *const i16,
    quantisers: *const u16,
    rows: *const *mut u8,
    column: usize,
) {
    // SAFETY: by this function's contract; the loads may be unaligned.
    let coefficients: [__m128i; 8] =
        std::array::from_fn(|i| unsafe { _mm_loadu_si128(coefficients.cast::<__m128i>().add(i)) });
    let load = |i| {
        // SAFETY: as above.
        let quantiser = unsafe { _mm_loadu_si128(quantisers.cast::<__m128i>().add(i)) };
        _mm_mullo_epi16(coefficients[i], quantiser)
    };
    let [first, rest @ ..] = coefficients;
    let below = rest.into_iter().reduce(|a, b| _mm_or_si128(a, b)).unwrap_or(first);
    let is_zero = |v| _mm_movemask_epi8(_mm_cmpeq_epi16(v, _mm_setzero_si128())) == 0xffff;
    let samples = if is_zero(below) {
        // Only the first row holds anything: the first pass is a shift.
        let row = _mm_slli_epi16::<PASS1_BITS>(load(0));
        if is_zero(_mm_srli_si128::<2>(first)) {
            let level = _mm_srai_epi16::<{ PASS1_BITS + 3 }>(_mm_adds_epi16(
                _mm_shufflelo_epi16::<0>(row),
                _mm_set1_epi16(1 << (PASS1_BITS + 2)),
            ));
            let level = _mm_unpacklo_epi64(level, level);
            let level = _mm_add_epi8(_mm_packs_epi16(level, level), _mm_set1_epi8(-128));
            [level; 4]
        } else {
            second_pass(transposed([row; 8]))
        }
    } else {
        let columns = one_dimension::<{ CONST_BITS - PASS1_BITS }>(std::array::from_fn(load));
        second_pass(transposed(columns))
    };
    for (i, pair) in samples.into_iter().enumerate() {
        // SAFETY: by this function's contract.
        unsafe {
            _mm_storel_epi64((*rows.add(2 * i)).add(column).cast(), pair);
            let second = _mm_unpackhi_epi64(pair, pair);
            _mm_storel_epi64((*rows.add(2 * i + 1)).add(column).cast(), second);
        }
    }
}

/// The pass over rows, whose result is 8 rows of samples, two a vector.
#[inline]
#[target_feature(enable = "sse2")]
fn second_pass(columns: [__m128i; 8]) -> [__m128i; 4] {
    let columns = one_dimension::<{ CONST_BITS + PASS1_BITS + 3 }>(columns);
    let rows = transposed(columns);
    let centre = _mm_set1_epi8(-128);
    [0, 2, 4, 6].map(|i| _mm_add_epi8(_mm_packs_epi16(rows[i], rows[i + 1]), centre))
}

/// Eight one-dimensional transforms side by side, descaled by `SHIFT` bits and cut to 16.
#[inline]
#[target_feature(enable = "sse2")]
fn one_dimension<const SHIFT: i32>(x: [__m128i; 8]) -> [__m128i; 8] {
    use fix::*;
    let zero = _mm_setzero_si128();
    let halves = |a, b| [_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)];
    let weigh = |pairs: [__m128i; 2], a: i16, b: i16| {
        let weights = _mm_set1_epi32((i32::from(b) << 16) | (i32::from(a) & 0xffff));
        pairs.map(|pair| _mm_madd_epi16(pair, weights))
    };
    let add =
        |a: [__m128i; 2], b: [__m128i; 2]| [_mm_add_epi32(a[0], b[0]), _mm_add_epi32(a[1], b[1])];
    let subtract =
        |a: [__m128i; 2], b: [__m128i; 2]| [_mm_sub_epi32(a[0], b[0]), _mm_sub_epi32(a[1], b[1])];
    let scale = |v| halves(zero, v).map(|half| _mm_srai_epi32::<{ 16 - CONST_BITS }>(half));

    let pair = halves(x[2], x[6]);
    let even2 = weigh(pair, C0_541196100, C0_541196100 - C1_847759065);
    let even3 = weigh(pair, C0_541196100 + C0_765366865, C0_541196100);
    let even0 = scale(_mm_add_epi16(x[0], x[4]));
    let even1 = scale(_mm_sub_epi16(x[0], x[4]));
    let sums =
        [add(even0, even3), add(even1, even2), subtract(even1, even2), subtract(even0, even3)];

    let pair = halves(_mm_add_epi16(x[3], x[7]), _mm_add_epi16(x[1], x[5]));
    let z3 = weigh(pair, C1_175875602 - C1_961570560, C1_175875602);
    let z4 = weigh(pair, C1_175875602, C1_175875602 - C0_390180644);
    let pair = halves(x[7], x[1]);
    let odd0 = add(weigh(pair, C0_298631336 - C0_899976223, -C0_899976223), z3);
    let odd3 = add(weigh(pair, -C0_899976223, C1_501321110 - C0_899976223), z4);
    let pair = halves(x[5], x[3]);
    let odd1 = add(weigh(pair, C2_053119869 - C2_562915447, -C2_562915447), z4);
    let odd2 = add(weigh(pair, -C2_562915447, C3_072711026 - C2_562915447), z3);
    let odds = [odd3, odd2, odd1, odd0];

    let half = _mm_set1_epi32(1 << (SHIFT - 1));
    let descale = |v: [__m128i; 2]| {
        let [a, b] = v.map(|half_of_v| _mm_srai_epi32::<SHIFT>(_mm_add_epi32(half_of_v, half)));
        _mm_packs_epi32(a, b)
    };
    std::array::from_fn(|i| {
        descale(if i < 4 { add(sums[i], odds[i]) } else { subtract(sums[7 - i], odds[7 - i]) })
    })
}

#[inline]
#[target_feature(enable = "sse2")]
fn transposed(x: [__m128i; 8]) -> [__m128i; 8] {
    let a: [__m128i; 8] = std::array::from_fn(|i| {
        let (top, bottom) = (x[i / 2], x[i / 2 + 4]);
        if i % 2 == 0 { _mm_unpacklo_epi16(top, bottom) } else { _mm_unpackhi_epi16(top, bottom) }
    });
    let step = |a: [__m128i; 8]| -> [__m128i; 8] {
        std::array::from_fn(|i| {
            let (top, bottom) = (a[i / 2], a[i / 2 + 4]);
            if i % 2 == 0 {
                _mm_unpacklo_epi16(top, bottom)
            } else {
                _mm_unpackhi_epi16(top, bottom)
            }
        })
    };
    step(step(a))
}

/// One row of YCbCr samples to interleaved RGB: libjpeg's `ycc_rgb_convert`.
///
/// # Safety
/// `y`, `cb` and `cr` point to `count` samples, `out` to 3 · `count`.
pub(super) unsafe extern "C" fn rgb_row(
    y: *const u8,
    cb: *const u8,
    cr: *const u8,
    out: *mut u8,
    count: u32,
) {
    let count = count as usize;
    // SAFETY: by this function's contract.
    let (y, cb, cr, out) = unsafe {
        (
            std::slice::from_raw_parts(y, count),
            std::slice::from_raw_parts(cb, count),
            std::slice::from_raw_parts(cr, count),
            std::slice::from_raw_parts_mut(out, 3 * count),
        )
    };
    let done = if is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has SSSE3.
        unsafe { rgb_of_16(y, cb, cr, out) }
    } else {
        0
    };
    let samples = y[done..].iter().zip(&cb[done..]).zip(&cr[done..]);
    for (((&y, &cb), &cr), out) in samples.zip(out[3 * done..].chunks_exact_mut(3)) {
        out.copy_from_slice(&rgb(y, cb, cr));
    }
}

/// R = Y + 1.402 Cr, G = Y − 0.34414 Cb − 0.71414 Cr, B = Y + 1.772 Cb, in 16-bit fixed point, Cb and Cr
/// less 128.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let round = |v: i32| (v + 0x8000) >> 16;
    [y + round(91881 * cr), y + round(-22554 * cb - 46802 * cr), y + round(116_130 * cb)]
        .map(|level| level.clamp(0, 255) as u8)
}

/// The pixels of whole vectors; returns how many.
///
/// With 91881 = 65536 + 26345, 116130 = 131072 − 14942 and −46802 = −65536 + 18734 the factors fit 16
/// bits, and ⌊(⌊2x⌋ + 1) / 2⌋ = ⌊x + ½⌋ rounds the high half of a product.
#[target_feature(enable = "ssse3")]
fn rgb_of_16(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) -> usize {
    let (zero, one) = (_mm_setzero_si128(), _mm_set1_epi16(1));
    let centre = _mm_set1_epi16(128);
    let green = _mm_set1_epi32((18734 << 16) | (-22554_i32 & 0xffff));
    let half = _mm_set1_epi32(0x8000);
    let levels = |y: __m128i, cb: __m128i, cr: __m128i| {
        let (cb, cr) = (_mm_sub_epi16(cb, centre), _mm_sub_epi16(cr, centre));
        let rounded = |c: __m128i, factor: i16| {
            let high = _mm_mulhi_epi16(_mm_add_epi16(c, c), _mm_set1_epi16(factor));
            _mm_srai_epi16::<1>(_mm_add_epi16(high, one))
        };
        let red = _mm_add_epi16(cr, rounded(cr, 26345));
        let blue = _mm_add_epi16(_mm_add_epi16(cb, cb), rounded(cb, -14942));
        let weigh = |pair| _mm_srai_epi32::<16>(_mm_add_epi32(_mm_madd_epi16(pair, green), half));
        let low = weigh(_mm_unpacklo_epi16(cb, cr));
        let high = weigh(_mm_unpackhi_epi16(cb, cr));
        let green = _mm_sub_epi16(_mm_packs_epi32(low, high), cr);
        [red, green, blue].map(|c| _mm_add_epi16(y, c))
    };
    // Where the bytes of one channel go in the three vectors of 16 pixels.
    let spread = |channel: i8, vector: i8| -> __m128i {
        let bytes: [i8; 16] = std::array::from_fn(|i| {
            let at = 16 * vector + i as i8;
            if at % 3 == channel { at / 3 } else { -1 }
        });
        // SAFETY: the array is 16 bytes.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let order: [[__m128i; 3]; 3] =
        std::array::from_fn(|v| std::array::from_fn(|c| spread(c as i8, v as i8)));
    let samples = y.chunks_exact(16).zip(cb.chunks_exact(16)).zip(cr.chunks_exact(16));
    for (((y, cb), cr), out) in samples.zip(out.chunks_exact_mut(48)) {
        let [y, cb, cr] = [y, cb, cr].map(|samples| {
            // SAFETY: a chunk is 16 bytes.
            unsafe { _mm_loadu_si128(samples.as_ptr().cast()) }
        });
        let low = |v| _mm_unpacklo_epi8(v, zero);
        let high = |v| _mm_unpackhi_epi8(v, zero);
        let (a, b) = (levels(low(y), low(cb), low(cr)), levels(high(y), high(cb), high(cr)));
        let channels: [__m128i; 3] = std::array::from_fn(|c| _mm_packus_epi16(a[c], b[c]));
        for (v, order) in order.iter().enumerate() {
            let [r, g, b] = [0, 1, 2].map(|c| _mm_shuffle_epi8(channels[c], order[c]));
            // SAFETY: a chunk is 48 bytes.
            unsafe {
                let to = out.as_mut_ptr().add(16 * v).cast();
                _mm_storeu_si128(to, _mm_or_si128(_mm_or_si128(r, g), b));
            }
        }
    }
    y.len() / 16 * 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// jidctint.c in 32 bits, one dimension of 8 at a time.
    fn oracle(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [u8; 64] {
        fn transform(x: [i32; 8], shift: i32) -> [i32; 8] {
            let fix = |c: i16| i32::from(c);
            let z1 = (x[2] + x[6]) * fix(fix::C0_541196100);
            let (t2, t3) = (z1 - x[6] * fix(fix::C1_847759065), z1 + x[2] * fix(fix::C0_765366865));
            let (t0, t1) = ((x[0] + x[4]) << CONST_BITS, (x[0] - x[4]) << CONST_BITS);
            let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
            let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
            let z5 = (z3 + z4) * fix(fix::C1_175875602);
            let (z1, z2) = (-z1 * fix(fix::C0_899976223), -z2 * fix(fix::C2_562915447));
            let (z3, z4) = (z5 - z3 * fix(fix::C1_961570560), z5 - z4 * fix(fix::C0_390180644));
            let odd = [
                x[1] * fix(fix::C1_501321110) + z1 + z4,
                x[3] * fix(fix::C3_072711026) + z2 + z3,
                x[5] * fix(fix::C2_053119869) + z2 + z4,
                x[7] * fix(fix::C0_298631336) + z1 + z3,
            ];
            std::array::from_fn(|i| {
                let sum = if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] };
                (sum + (1 << (shift - 1))) >> shift
            })
        }
        let mut work = [0; 64];
        for c in 0..8 {
            let column = std::array::from_fn(|r| {
                i32::from(coefficients[8 * r + c]) * i32::from(quantisers[8 * r + c])
            });
            let column = transform(column, CONST_BITS - PASS1_BITS);
            (0..8).for_each(|r| work[8 * r + c] = column[r]);
        }
        let mut samples = [0; 64];
        for r in 0..8 {
            let row =
                transform(std::array::from_fn(|c| work[8 * r + c]), CONST_BITS + PASS1_BITS + 3);
            (0..8).for_each(|c| samples[8 * r + c] = (row[c] + 128).clamp(0, 255) as u8);
        }
        samples
    }

    proptest! {
        #[test]
        fn the_transform_equals_jidctint(
            values in prop::collection::vec(-30_i16..=30, 64), few in 0_usize..=64, quality in 1_u16..30,
        ) {
            let coefficients: [i16; 64] = std::array::from_fn(|i| if i < few { values[i] } else { 0 });
            let quantisers = [quality; 64];
            let mut found = [0_u8; 80];
            let mut rows: [*mut u8; 8] = [std::ptr::null_mut(); 8];
            for (row, target) in rows.iter_mut().zip(found.chunks_exact_mut(10)) {
                *row = target.as_mut_ptr();
            }
            // SAFETY: 64 coefficients and quantisers, 8 rows of 10 samples.
            unsafe { idct(coefficients.as_ptr(), quantisers.as_ptr(), rows.as_ptr(), 2) };
            let expected = oracle(&coefficients, &quantisers);
            for (found, expected) in found.chunks_exact(10).zip(expected.chunks_exact(8)) {
                prop_assert_eq!(&found[..2], [0, 0]);
                prop_assert_eq!(&found[2..], expected);
            }
        }
    }

    #[test]
    fn every_colour_is_converted_as_the_formula_says() {
        for y in (0..=255_u8).step_by(5) {
            for cb in 0..=255_u8 {
                let (ys, cbs): (Vec<u8>, Vec<u8>) = (vec![y; 256], vec![cb; 256]);
                let crs: Vec<u8> = (0..=255).collect();
                let mut found = vec![0; 3 * 251];
                // SAFETY: 251 of 256 samples, and 3 · 251 levels.
                unsafe {
                    rgb_row(ys.as_ptr(), cbs.as_ptr(), crs.as_ptr(), found.as_mut_ptr(), 251);
                }
                let expected: Vec<u8> = crs[..251].iter().flat_map(|&cr| rgb(y, cb, cr)).collect();
                assert_eq!(found, expected, "Y {y}, Cb {cb}");
            }
        }
        assert_eq!(rgb(255, 128, 128), [255; 3]);
        assert_eq!(rgb(76, 85, 255), [254, 0, 0]); // pure red, as JFIF's formulas give it
    }
}
