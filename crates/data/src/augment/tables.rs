//! Operations that replace each level by another: Pillow's `ImageOps`, level for level.
//!
//! Definitions: <https://pillow.readthedocs.io/en/stable/reference/ImageOps.html>; they are part of
//! AutoAugment's list (Cubuk et al., 2019, Table 6, <https://arxiv.org/abs/1805.09501>). None looks
//! at where a pixel lies.

use super::canvas::Canvas;

fn histogram(plane: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    plane.iter().for_each(|&level| counts[usize::from(level)] += 1);
    counts
}

fn map_plane(plane: &mut [u8], table: &[u8; 256]) {
    plane.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
}

/// Stretches each channel so that its least level becomes 0 and its greatest 255.
pub(super) fn auto_contrast(canvas: &mut Canvas) {
    for plane in canvas.planes_mut() {
        let counts = histogram(plane);
        let low = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        if high > low {
            let scale = 255.0 / (high - low) as f64;
            let offset = -(low as f64) * scale;
            // The cast truncates and stops at 0 and 255, as Pillow does.
            map_plane(plane, &std::array::from_fn(|level| (level as f64 * scale + offset) as u8));
        }
    }
}

/// Spreads each channel's levels so that their cumulative histogram is nearly straight.
pub(super) fn equalize(canvas: &mut Canvas) {
    for plane in canvas.planes_mut() {
        let counts = histogram(plane);
        let last = counts.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (plane.len() as u32 - last) / 255;
        // A flat channel has step 0 too.
        if step > 0 {
            let mut sum = step / 2;
            let table = counts.map(|count| {
                let level = (sum / step).min(255) as u8;
                sum += count;
                level
            });
            map_plane(plane, &table);
        }
    }
}

/// 255 − level.
pub(super) fn invert(canvas: &mut Canvas) {
    canvas.levels.iter_mut().for_each(|level| *level = 255 - *level);
}

/// Keeps the upper `bits`, 0 to 8, of each level.
pub(super) fn posterize(canvas: &mut Canvas, bits: u8) {
    let mask = (0xff_u16 << (8 - u16::from(bits.min(8)))) as u8;
    canvas.levels.iter_mut().for_each(|level| *level &= mask);
}

/// Inverts levels from `threshold` on.
pub(super) fn solarize(canvas: &mut Canvas, threshold: u16) {
    canvas.map(&std::array::from_fn(|level| {
        if level < usize::from(threshold) { level as u8 } else { 255 - level as u8 }
    }));
}

/// Adds to levels below `threshold`, up to 255.
pub(super) fn solarize_add(canvas: &mut Canvas, add: u8, threshold: u16) {
    canvas.map(&std::array::from_fn(|level| {
        let level_u8 = level as u8;
        if level < usize::from(threshold) { level_u8.saturating_add(add) } else { level_u8 }
    }));
}
