//! Pooling.

use crate::scope::{Scope, Value, attr, attr_ints};

/// A square pooling window; by default stride 1 and no padding.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    kernel: usize,
    stride: usize,
    pad: usize,
    ceil: bool,
    count_pad: bool,
}

impl Pool {
    /// A window of `kernel` × `kernel` pixels.
    pub const fn new(kernel: usize) -> Self {
        Self { kernel, stride: 1, pad: 0, ceil: false, count_pad: true }
    }

    /// Steps of this many pixels.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// This many pixels of padding on each side.
    pub const fn pad(self, pad: usize) -> Self {
        Self { pad, ..self }
    }

    /// A window that begins inside and ends outside counts too.
    pub const fn ceil(self) -> Self {
        Self { ceil: true, ..self }
    }

    /// Averages leave padding out.
    pub const fn ignore_pad(self) -> Self {
        Self { count_pad: false, ..self }
    }

    fn attributes(self) -> Vec<nearkin_onnx::Attribute> {
        vec![
            attr("ceil_mode", i64::from(self.ceil)),
            attr_ints("kernel_shape", &[self.kernel; 2]),
            attr_ints("pads", &[self.pad; 4]),
            attr_ints("strides", &[self.stride; 2]),
        ]
    }
}

impl Scope {
    /// The largest of each window of `x [N, C, H, W]`.
    pub fn max_pool(&self, x: Value, pool: Pool) -> Value {
        self.op(None, "MaxPool", &[x], pool.attributes())
    }

    /// The mean of each window of `x [N, C, H, W]`.
    pub fn avg_pool(&self, x: Value, pool: Pool) -> Value {
        let mut attributes = pool.attributes();
        attributes.push(attr("count_include_pad", i64::from(pool.count_pad)));
        self.op(None, "AveragePool", &[x], attributes)
    }

    /// The mean over the image: `[N, C, H, W]` to `[N, C]`.
    pub fn global_avg_pool(&self, x: Value) -> Value {
        let y = self.op(None, "GlobalAveragePool", &[x], vec![]);
        self.flatten(y)
    }

    /// The mean of `out.0` × `out.1` windows that cover the image, as PyTorch's
    /// `adaptive_avg_pool2d`: window `i` of `o` over `n` pixels is ⌊i·n/o⌋ to ⌈(i + 1)·n/o⌉. The
    /// windows may overlap, and repeat pixels where the image is the smaller.
    pub fn adaptive_avg_pool(&self, x: Value, out: (usize, usize)) -> Value {
        let (height, width) = self.spatial(x);
        if (height, width) == out {
            return x;
        }
        if height == 0 || width == 0 || out.0 == 0 || out.1 == 0 {
            let found = format!("{height} × {width} to {} × {}", out.0, out.1);
            return self.reject("adaptive_avg_pool", "sizes that are known and ≥ 1", found);
        }
        let rows = self.tensor(&[out.0, height], &windows(height, out.0));
        let columns = self.tensor(&[out.1, width], &windows(width, out.1));
        let y = self.matmul(rows, x);
        self.matmul(y, self.permute(columns, &[1, 0]))
    }
}

/// The matrix `[outputs, inputs]` that takes the mean of each adaptive window.
fn windows(inputs: usize, outputs: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; outputs * inputs];
    for i in 0..outputs {
        let (start, end) = (i * inputs / outputs, ((i + 1) * inputs).div_ceil(outputs));
        matrix[i * inputs + start..i * inputs + end].fill(1.0 / (end - start) as f32);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_windows_are_pytorchs() {
        assert_eq!(windows(1, 3), [1.0, 1.0, 1.0]);
        assert_eq!(windows(3, 2), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(windows(2, 3), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
    }
}
