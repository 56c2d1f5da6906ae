//! Pillow's `ImageEnhance`: a blend of the image with a version of itself that lacks something.
//!
//! out = lacking + factor · (image − lacking) in f32, cut off below, stopped at 0 and 255
//! (<https://pillow.readthedocs.io/en/stable/reference/ImageEnhance.html>, `ImagingBlend`). A factor of 1
//! changes nothing. These are torchvision's `adjust_brightness`, `adjust_contrast` and
//! `adjust_saturation` on PIL images; on tensors torchvision rounds otherwise, which is not done here.

use super::canvas::{Canvas, grey_of};

fn blend(lacking: u8, level: u8, factor: f32) -> u8 {
    let lacking = f32::from(lacking);
    (lacking + factor * (f32::from(level) - lacking)) as u8
}

fn blend_with_level(canvas: &mut Canvas, lacking: u8, factor: f32) {
    canvas.map(&std::array::from_fn(|level| blend(lacking, level as u8, factor)));
}

/// Blends with black.
pub(super) fn brightness(canvas: &mut Canvas, factor: f64) {
    blend_with_level(canvas, 0, factor as f32);
}

/// Blends with the rounded mean of the grey image.
pub(super) fn contrast(canvas: &mut Canvas, factor: f64) {
    let pixels = canvas.plane_len();
    let sum: u64 = match canvas.rgb_mut() {
        Some([red, green, blue]) => {
            let rows = red.chunks(4096).zip(green.chunks(4096)).zip(blue.chunks(4096));
            // Short sums in u32 let the compiler use the widest registers.
            rows.map(|((r, g), b)| {
                let greys =
                    r.iter().zip(g).zip(b).map(|((&r, &g), &b)| u32::from(grey_of(r, g, b)));
                u64::from(greys.sum::<u32>())
            })
            .sum()
        }
        None => canvas.levels.iter().map(|&level| u64::from(level)).sum(),
    };
    let mean = (sum as f64 / pixels as f64 + 0.5) as u8;
    blend_with_level(canvas, mean, factor as f32);
}

/// Blends with the grey image (saturation); a grey image stays as it is.
pub(super) fn color(canvas: &mut Canvas, factor: f64) {
    let factor = factor as f32;
    if let Some([red, green, blue]) = canvas.rgb_mut() {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let grey = grey_of(*r, *g, *b);
            for level in [r, g, b] {
                *level = blend(grey, *level, factor);
            }
        }
    }
}

/// All three channels become Pillow's `convert("L")`.
pub(super) fn grayscale(canvas: &mut Canvas) {
    if let Some([red, green, blue]) = canvas.rgb_mut() {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let grey = grey_of(*r, *g, *b);
            (*r, *g, *b) = (grey, grey, grey);
        }
    }
}

/// Blends with a smoothed image: 3 × 3 weights of 1, 5 in the middle, over 13. The border stays.
pub(super) fn sharpness(canvas: &mut Canvas, factor: f64) {
    let (height, width, factor) = (canvas.height, canvas.width, factor as f32);
    if height < 3 || width < 3 {
        return;
    }
    let (levels, smoothed) = canvas.spare();
    smoothed.copy_from_slice(levels);
    let planes = levels.chunks_exact(height * width).zip(smoothed.chunks_exact_mut(height * width));
    for (plane, out) in planes {
        for y in 1..height - 1 {
            let [above, row, below] = [y - 1, y, y + 1].map(|y| &plane[y * width..][..width]);
            let out = &mut out[y * width..][1..width - 1];
            let windows = above.windows(3).zip(row.windows(3)).zip(below.windows(3));
            for (out, ((above, row), below)) in out.iter_mut().zip(windows) {
                *out = blend(smooth(above, row, below), row[1], factor);
            }
        }
    }
    canvas.swap();
}

/// Pillow's order of sums: from the row below upwards.
fn smooth(above: &[u8], row: &[u8], below: &[u8]) -> u8 {
    const RIM: f32 = 1.0 / 13.0;
    const MIDDLE: f32 = 5.0 / 13.0;
    let weigh = |levels: &[u8], middle: f32| {
        f32::from(levels[0]) * RIM + f32::from(levels[1]) * middle + f32::from(levels[2]) * RIM
    };
    (0.5 + weigh(below, RIM) + weigh(row, MIDDLE) + weigh(above, RIM)) as u8
}
