//! Gaussian blur as Pillow's `ImageFilter.GaussianBlur`: three box blurs each way.
//!
//! Gwosdek et al., 2011, "Theoretical foundations of Gaussian convolution by extended box filtering",
//! <https://www.mia.uni-saarland.de/Publications/gwosdek-ssvm11.pdf>; SimCLR uses a blur for training
//! (Chen et al., 2020, <https://arxiv.org/abs/2002.05709>). torchvision's blur, with a sampled kernel,
//! is another.

use super::canvas::Canvas;

const PASSES: usize = 3;

/// `sigma` in pixels, at least 0.
pub(super) fn gaussian_blur(canvas: &mut Canvas, sigma: f64) {
    let (height, width) = (canvas.height, canvas.width);
    let Some(filter) = BoxFilter::new(sigma as f32) else { return };
    canvas.scratch.resize(canvas.levels.len(), 0);
    let planes = canvas.levels.chunks_exact_mut(height * width);
    for (plane, scratch) in planes.zip(canvas.scratch.chunks_exact_mut(height * width)) {
        filter.blur_rows(plane, scratch, width);
        transpose(plane, scratch, width);
        filter.blur_rows(scratch, plane, height);
        transpose(scratch, plane, height);
    }
}

struct BoxFilter {
    /// Whole pixels on either side.
    radius: usize,
    /// Weight of a whole pixel and of the two at the far ends, over 2^24.
    whole: u32,
    far: u32,
}

impl BoxFilter {
    fn new(sigma: f32) -> Option<Self> {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let mut part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        part /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
        let box_radius = whole + part;
        if box_radius.is_nan() || box_radius <= 0.0 {
            return None;
        }
        let radius = box_radius as usize;
        let weight = ((1 << 24) as f32 / (box_radius * 2.0 + 1.0)) as u32;
        let far = (1_u32 << 24).wrapping_sub((radius as u32 * 2 + 1).wrapping_mul(weight)) / 2;
        Some(Self { radius, whole: weight, far })
    }

    /// All passes over each row of `plane`, which also receives the result.
    fn blur_rows(&self, plane: &mut [u8], scratch: &mut [u8], width: usize) {
        for (row, scratch) in plane.chunks_exact_mut(width).zip(scratch.chunks_exact_mut(width)) {
            for _ in 0..PASSES {
                self.blur_row(row, scratch);
                row.copy_from_slice(scratch);
            }
        }
    }

    /// A running sum; beyond the ends the row's first and last levels go on.
    fn blur_row(&self, row: &[u8], out: &mut [u8]) {
        let (last, radius) = (row.len() - 1, self.radius);
        let level = |x: usize| u32::from(row[x.min(last)]);
        let mut sum = (0..radius).fold(level(0) * (radius as u32 + 1), |sum, x| sum + level(x));
        for (x, out) in out.iter_mut().enumerate() {
            let left = level(x.saturating_sub(radius + 1));
            sum = sum + level(x + radius) - left;
            let weighed = sum * self.whole + (left + level(x + radius + 1)) * self.far;
            *out = (weighed.wrapping_add(1 << 23) >> 24) as u8;
        }
    }
}

fn transpose(plane: &[u8], out: &mut [u8], width: usize) {
    let height = plane.len() / width;
    // Tiles keep both sides within a few lines of cache.
    for top in (0..height).step_by(16) {
        for left in (0..width).step_by(16) {
            for y in top..(top + 16).min(height) {
                for x in left..(left + 16).min(width) {
                    out[x * height + y] = plane[y * width + x];
                }
            }
        }
    }
}
