//! The f64 rank of a pair, built for the instructions of the processor: the same bits from all.
//!
//! Vectors of more lanes do the same additions in the same order, since the order is that of sixteen
//! sums whatever the processor; no product is fused into a sum.

#![expect(unsafe_code, reason = "functions built for instructions that are checked at run time")]

use crate::Distance;

/// [`Distance::rank_here`] by the widest vectors there are.
#[inline]
pub(crate) fn rank(distance: Distance, x: &[f32], y: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if x.len() >= 16 {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions were just seen.
            return unsafe { rank_avx512(distance, x, y) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { rank_avx2(distance, x, y) };
        }
    }
    distance.rank_here(x, y)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn rank_avx512(distance: Distance, x: &[f32], y: &[f32]) -> f64 {
    distance.rank_here(x, y)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rank_avx2(distance: Distance, x: &[f32], y: &[f32]) -> f64 {
    distance.rank_here(x, y)
}

/// Asks for a row that is ranked soon.
#[inline]
pub(crate) fn prefetch(row: &[f32]) {
    row.chunks(16).take(64).for_each(|line| prefetch_at(line.as_ptr()));
}

/// Asks for the line at an address, which may be any; nothing where that cannot be said.
#[inline]
pub(crate) fn prefetch_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
