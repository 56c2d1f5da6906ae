//! Element-wise operators and moves.

use crate::scope::{Scope, Value, attr, attr_ints};

impl Scope {
    /// max(x, 0).
    pub fn relu(&self, x: Value) -> Value {
        self.op(None, "Relu", &[x], vec![])
    }

    /// x · Φ(x) with the exact normal distribution: x/2 · (1 + erf(x/√2)).
    pub fn gelu(&self, x: Value) -> Value {
        let y = self.div(x, self.scalar(std::f32::consts::SQRT_2));
        let y = self.op(None, "Erf", &[y], vec![]);
        let y = self.mul(x, self.add(y, self.scalar(1.0)));
        self.mul(y, self.scalar(0.5))
    }

    /// 1 / (1 + e⁻ˣ).
    pub fn sigmoid(&self, x: Value) -> Value {
        self.op(None, "Sigmoid", &[x], vec![])
    }

    /// e^x normalised over the last dimension.
    pub fn softmax(&self, x: Value) -> Value {
        self.op(None, "Softmax", &[x], vec![attr("axis", -1i64)])
    }

    /// a + b, broadcast.
    pub fn add(&self, a: Value, b: Value) -> Value {
        self.op(None, "Add", &[a, b], vec![])
    }

    /// a · b, broadcast.
    pub fn mul(&self, a: Value, b: Value) -> Value {
        self.op(None, "Mul", &[a, b], vec![])
    }

    /// a / b, broadcast.
    pub fn div(&self, a: Value, b: Value) -> Value {
        self.op(None, "Div", &[a, b], vec![])
    }

    /// x times a number.
    pub fn scale(&self, x: Value, factor: f32) -> Value {
        self.mul(x, self.scalar(factor))
    }

    /// `x` in another shape; 0 keeps the dimension at its place, one −1 is what is left.
    pub fn reshape(&self, x: Value, shape: &[i64]) -> Value {
        self.op(None, "Reshape", &[x, self.ints(shape)], vec![])
    }

    /// A parameter in another shape, none of whose dimensions is left open.
    pub fn view(&self, x: Value, shape: &[usize]) -> Value {
        let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        if self.dims(x).len() == shape.len() { x } else { self.reshape(x, &shape) }
    }

    /// `[N, …]` to `[N, product]`.
    pub fn flatten(&self, x: Value) -> Value {
        self.op(None, "Flatten", &[x], vec![attr("axis", 1i64)])
    }

    /// Joins along `axis`.
    pub fn concat(&self, xs: &[Value], axis: isize) -> Value {
        self.op(None, "Concat", xs, vec![attr("axis", axis as i64)])
    }

    /// Cuts along `axis` into parts of these sizes.
    pub fn split(&self, x: Value, axis: isize, sizes: &[usize]) -> Vec<Value> {
        let parts: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let inputs = [x, self.ints(&parts)];
        self.op_many(None, "Split", &inputs, vec![attr("axis", axis as i64)], sizes.len())
    }

    /// One position along `axis`, which is dropped.
    pub fn select(&self, x: Value, axis: isize, index: i64) -> Value {
        let y = self.slice(x, axis, index, index + 1);
        self.op(None, "Squeeze", &[y, self.ints(&[axis as i64])], vec![])
    }

    /// Positions `start` to `end` (not included) along `axis`.
    pub fn slice(&self, x: Value, axis: isize, start: i64, end: i64) -> Value {
        let inputs = [x, self.ints(&[start]), self.ints(&[end]), self.ints(&[axis as i64])];
        self.op(None, "Slice", &inputs, vec![])
    }

    /// `before` and `after` zeros along `axis`.
    ///
    /// The operator is told of every axis: ONNX Runtime's optimiser (1.31, 1.32) turns a transposition
    /// before a `Pad` of some axes into one after it, and then reads pads that are not there.
    pub fn pad_axis(&self, x: Value, axis: isize, before: usize, after: usize) -> Value {
        let rank = self.dims(x).len();
        let at = if axis < 0 { rank.wrapping_add_signed(axis) } else { axis as usize };
        if at >= rank {
            return if x.id().is_none() {
                x
            } else {
                self.reject("pad", format!("an axis of {rank} dimensions"), axis.to_string())
            };
        }
        let mut pads = vec![0; 2 * rank];
        (pads[at], pads[rank + at]) = (before as i64, after as i64);
        let inputs = [x, self.ints(&pads), self.scalar(0.0)];
        self.op(None, "Pad", &inputs, vec![])
    }

    /// The mean over one axis, which is dropped.
    pub fn mean(&self, x: Value, axis: isize) -> Value {
        let inputs = [x, self.ints(&[axis as i64])];
        self.op(None, "ReduceMean", &inputs, vec![attr("keepdims", 0i64)])
    }

    /// Images `[N, C, H, W]` as tokens `[N, H·W, C]`.
    pub fn tokens(&self, x: Value) -> Value {
        let (height, width) = self.spatial(x);
        let channels = self.channels(x);
        let y = self.reshape(x, &[0, channels as i64, (height * width) as i64]);
        self.op(None, "Transpose", &[y], vec![attr_ints("perm", &[0, 2, 1])])
    }
}
