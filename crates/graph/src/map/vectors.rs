//! Sums and combinations of long vectors, the same on any number of threads.

use rayon::prelude::*;

/// Values that one task handles; part of the result, since sums are added block by block.
const BLOCK: usize = 1 << 13;
const LANES: usize = 8;

/// Σ a b, in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let blocks = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK));
    blocks.map(|(a, b)| block_dot(a, b)).collect::<Vec<f64>>().iter().sum()
}

fn block_dot(a: &[f32], b: &[f32]) -> f64 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let (others, other_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in chunks.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest = rest.iter().zip(other_rest).map(|(&a, &b)| f64::from(a) * f64::from(b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// ‖a‖.
pub(super) fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// y += factor · x.
pub(super) fn add(y: &mut [f32], factor: f64, x: &[f32]) {
    let factor = factor as f32;
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
    });
}

/// out = x + factor · y.
pub(super) fn combine(out: &mut [f32], x: &[f32], factor: f64, y: &[f32]) {
    let factor = factor as f32;
    let blocks = out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK));
    blocks.for_each(|((out, x), y)| {
        out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = x + factor * y);
    });
}

/// x *= factor.
pub(super) fn scale(x: &mut [f32], factor: f64) {
    let factor = factor as f32;
    x.par_chunks_mut(BLOCK).for_each(|x| x.iter_mut().for_each(|x| *x *= factor));
}
