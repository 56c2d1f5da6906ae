//! A register of f32, by instruction set. Every function needs the instructions of its type.

/// # Safety
/// All functions: the processor has the instructions; pointers are good for `LANES` values.
pub(super) trait Vector: Copy {
    const LANES: usize;
    /// Whether there are too few registers for all vectors of a panel besides the sums.
    const FEW: bool = false;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// self · other + sum.
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self;
    unsafe fn abs(self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// 1 / self within 4 units of the last place, for normal numbers.
    unsafe fn reciprocal(self) -> Self;
    /// Where registers are few: what follows is loaded after what came before, not sooner.
    #[inline(always)]
    fn in_order() {}
    /// Brings a line into the second cache; any address will do.
    #[inline(always)]
    fn prefetch(_from: *const f32) {}
    /// A bit for each lane that is at least `other`'s.
    unsafe fn at_least(self, other: Self) -> u32;
    /// The sum of the lanes of each, in one order whatever the place among the four.
    unsafe fn sums(four: [Self; 4]) -> [f32; 4];
    /// Writes `base` plus the number of each bit that is set; returns how many. There is room for sixteen.
    #[inline(always)]
    unsafe fn spread(mut bits: u16, base: u32, to: *mut u32) -> usize {
        let mut count = 0;
        while bits != 0 {
            // SAFETY: the caller's promise.
            unsafe { to.add(count).write(base + bits.trailing_zeros()) };
            bits &= bits - 1;
            count += 1;
        }
        count
    }
}

/// What any processor adds without a word from us: LLVM makes vectors of it where there are some.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 8]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Vector for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
        // Not f32::mul_add, which is a call where there is no such instruction.
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane] + sum.0[lane]))
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        Self(self.0.map(f32::recip))
    }

    #[inline(always)]
    unsafe fn at_least(self, other: Self) -> u32 {
        (0..8).fold(0, |bits, lane| bits | u32::from(self.0[lane] >= other.0[lane]) << lane)
    }

    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        four.map(|Self([a, b, c, d, e, f, g, h])| ((a + e) + (b + f)) + ((c + g) + (d + h)))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(
        clippy::undocumented_unsafe_blocks,
        reason = "the trait states the one condition: the instructions are there"
    )]

    use std::arch::x86_64::*;

    use super::Vector;

    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { _mm512_sub_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, other, sum) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            unsafe { _mm512_abs_ps(self) }
        }

        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { _mm512_min_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { _mm512_max_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn reciprocal(self) -> Self {
            unsafe {
                let rough = _mm512_rcp14_ps(self);
                // Newton's step: r (2 − x r).
                let left = _mm512_fnmadd_ps(self, rough, _mm512_set1_ps(2.0));
                _mm512_mul_ps(rough, left)
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
        }

        #[inline(always)]
        unsafe fn at_least(self, other: Self) -> u32 {
            unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self, other)) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
            unsafe {
                let halves = |a, b| {
                    let (low, high) = (
                        _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
                        _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
                    );
                    _mm512_add_ps(low, high)
                };
                let (ab, cd) = (halves(a, b), halves(c, d));
                let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
                let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd);
                // Four lanes of a, then of b, c and d.
                let quarters = _mm512_add_ps(even, odd);
                let pairs = _mm512_add_ps(quarters, _mm512_permute_ps::<0b10_11_00_01>(quarters));
                let all = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_00_11_10>(pairs));
                let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
                let mut sums = [0.0; 4];
                let packed = _mm512_castps512_ps128(_mm512_permutexvar_ps(first, all));
                _mm_storeu_ps(sums.as_mut_ptr(), packed);
                sums
            }
        }

        #[inline(always)]
        unsafe fn spread(bits: u16, base: u32, to: *mut u32) -> usize {
            unsafe {
                let numbers =
                    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let all = _mm512_add_epi32(numbers, _mm512_set1_epi32(base.cast_signed()));
                _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi32(bits, all));
            }
            bits.count_ones() as usize
        }
    }

    impl Vector for __m256 {
        const LANES: usize = 8;
        const FEW: bool = true;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { _mm256_sub_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, other, sum) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self) }
        }

        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { _mm256_min_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { _mm256_max_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn reciprocal(self) -> Self {
            unsafe {
                let rough = _mm256_rcp_ps(self);
                let left = _mm256_fnmadd_ps(self, rough, _mm256_set1_ps(2.0));
                _mm256_mul_ps(rough, left)
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
        }

        #[inline(always)]
        fn in_order() {
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        }

        #[inline(always)]
        unsafe fn at_least(self, other: Self) -> u32 {
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(self, other)).cast_unsigned() }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
            unsafe {
                let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
                let (low, high) =
                    (_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
                let mut sums = [0.0; 4];
                _mm_storeu_ps(sums.as_mut_ptr(), _mm_add_ps(low, high));
                sums
            }
        }
    }
}
