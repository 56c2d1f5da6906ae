//! Pillow's coefficients: which old pixels make a new one, and with what weight.

use std::ops::Range;

use super::Interpolation;

pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Support, in input pixels where nothing shrinks, and weight by distance.
pub(super) type Kernel = (f64, fn(f64) -> f64);

/// For each output pixel of a range: the first input pixel and one fixed-point weight per input
/// pixel, padded with zeros to one length.
#[derive(Clone, Debug, Default)]
pub(super) struct Taps {
    /// First input pixel and number of input pixels, per output pixel.
    pub(super) spans: Vec<(usize, usize)>,
    /// Weights per output pixel; a multiple of 4.
    pub(super) stride: usize,
    /// `[spans.len(), stride]`.
    pub(super) weights: Vec<i32>,
    /// The weights as the vector passes want them.
    #[cfg(target_arch = "x86_64")]
    pub(super) split: Vec<[i32; 4]>,
    scratch: Vec<f64>,
}

impl Taps {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, operation by operation, for the
    /// pixels `range` of the `to` ones that `from` become.
    pub(super) fn plan(
        &mut self,
        from: usize,
        to: usize,
        range: Range<usize>,
        (support, kernel): Kernel,
    ) {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = support * filter_scale;
        let shrink = 1.0 / filter_scale;
        self.spans.clear();
        self.spans.extend(range.clone().map(|out| {
            let centre = (out as f64 + 0.5) * scale;
            // A cast to an unsigned integer truncates and stops at 0, as Pillow's clamp does.
            let first = (centre - support + 0.5) as usize;
            (first, ((centre + support + 0.5) as usize).min(from) - first)
        }));
        let longest = self.spans.iter().map(|span| span.1).max().unwrap_or(0);
        self.stride = longest.next_multiple_of(4);
        self.weights.clear();
        self.weights.resize(self.spans.len() * self.stride, 0);
        let rows = self.weights.chunks_exact_mut(self.stride.max(1));
        for ((out, &(first, len)), row) in range.zip(&self.spans).zip(rows) {
            let centre = (out as f64 + 0.5) * scale;
            self.scratch.clear();
            self.scratch.extend(
                (0..len).map(|x| kernel((x as f64 + first as f64 - centre + 0.5) * shrink)),
            );
            let total = self.scratch.iter().fold(0.0, |sum, w| sum + w);
            for (weight, &w) in row.iter_mut().zip(&self.scratch) {
                *weight = to_fixed_point(if total != 0.0 { w / total } else { w });
            }
        }
        #[cfg(target_arch = "x86_64")]
        super::avx2::split(&self.weights, &mut self.split);
    }

    /// The input pixels that are needed.
    pub(super) fn inputs(&self) -> Range<usize> {
        let first = self.spans.iter().map(|span| span.0).min().unwrap_or(0);
        let end = self.spans.iter().map(|span| span.0 + span.1).max().unwrap_or(0);
        first..end
    }
}

fn to_fixed_point(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1_u32 << PRECISION_BITS)) as i32
}

/// `None` for [`Interpolation::Nearest`].
pub(super) fn kernel(interpolation: Interpolation) -> Option<Kernel> {
    Some(match interpolation {
        Interpolation::Nearest => return None,
        Interpolation::Box => (0.5, rectangle),
        Interpolation::Bilinear => (1.0, triangle),
        Interpolation::Hamming => (1.0, hamming),
        Interpolation::Bicubic => (2.0, cubic),
        Interpolation::Lanczos => (3.0, lanczos),
    })
}

/// Input indices of Pillow's nearest resampling; the running sum is part of its definition.
pub(super) fn nearest(from: usize, to: usize) -> impl Iterator<Item = usize> {
    let step = from as f64 / to as f64;
    let mut position = step * 0.5;
    (0..to).map(move |_| {
        let index = (position as usize).min(from - 1);
        position += step;
        index
    })
}

fn rectangle(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        1.0
    } else if x >= 1.0 {
        0.0
    } else {
        let x = x * std::f64::consts::PI;
        // Pillow's constants are floats.
        x.sin() / x * (f64::from(0.54_f32) + f64::from(0.46_f32) * x.cos())
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}
