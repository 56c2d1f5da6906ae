//! Arithmetic that losses are written in; each is one ONNX operator, broadcast as NumPy does.

use crate::scope::{Scope, Value, attr};
use nearkin_onnx::ElementType;

impl Scope {
    /// a − b.
    pub fn sub(&self, a: Value, b: Value) -> Value {
        self.op(None, "Sub", &[a, b], vec![])
    }

    /// −x.
    pub fn neg(&self, x: Value) -> Value {
        self.op(None, "Neg", &[x], vec![])
    }

    /// e^x.
    pub fn exp(&self, x: Value) -> Value {
        self.op(None, "Exp", &[x], vec![])
    }

    /// The natural logarithm.
    pub fn log(&self, x: Value) -> Value {
        self.op(None, "Log", &[x], vec![])
    }

    /// √x.
    pub fn sqrt(&self, x: Value) -> Value {
        self.op(None, "Sqrt", &[x], vec![])
    }

    /// |x|.
    pub fn abs(&self, x: Value) -> Value {
        self.op(None, "Abs", &[x], vec![])
    }

    /// ln(1 + e^x), without overflow.
    pub fn softplus(&self, x: Value) -> Value {
        self.op(None, "Softplus", &[x], vec![])
    }

    /// x to the power of a number.
    pub fn pow(&self, x: Value, exponent: f32) -> Value {
        self.op(None, "Pow", &[x, self.scalar(exponent)], vec![])
    }

    /// The larger of the two, element by element.
    pub fn max(&self, a: Value, b: Value) -> Value {
        self.op(None, "Max", &[a, b], vec![])
    }

    /// The smaller of the two, element by element.
    pub fn min(&self, a: Value, b: Value) -> Value {
        self.op(None, "Min", &[a, b], vec![])
    }

    /// The logarithm of the softmax over the last dimension.
    pub fn log_softmax(&self, x: Value) -> Value {
        self.op(None, "LogSoftmax", &[x], vec![attr("axis", -1i64)])
    }

    /// The sum over `axes`, which stay with length 1.
    pub fn sum_keep(&self, x: Value, axes: &[i64]) -> Value {
        self.op(None, "ReduceSum", &[x, self.ints(axes)], vec![attr("keepdims", 1i64)])
    }

    /// The sum over `axes`, which are dropped.
    pub fn sum(&self, x: Value, axes: &[i64]) -> Value {
        self.op(None, "ReduceSum", &[x, self.ints(axes)], vec![attr("keepdims", 0i64)])
    }

    /// The sum of all elements, a scalar.
    pub fn sum_all(&self, x: Value) -> Value {
        let axes: Vec<i64> = (0..self.dims(x).len() as i64).collect();
        if axes.is_empty() { x } else { self.sum(x, &axes) }
    }

    /// The mean of all elements, a scalar.
    pub fn mean_all(&self, x: Value) -> Value {
        let axes: Vec<i64> = (0..self.dims(x).len() as i64).collect();
        let inputs = [x, self.ints(&axes)];
        let attributes = vec![attr("keepdims", 0i64)];
        if axes.is_empty() { x } else { self.op(None, "ReduceMean", &inputs, attributes) }
    }

    /// The largest over `axes`, which stay with length 1.
    pub fn max_keep(&self, x: Value, axes: &[i64]) -> Value {
        self.op(None, "ReduceMax", &[x, self.ints(axes)], vec![attr("keepdims", 1i64)])
    }

    /// `x` where `condition` holds, else `y`.
    pub fn where_(&self, condition: Value, x: Value, y: Value) -> Value {
        self.op(None, "Where", &[condition, x, y], vec![])
    }

    /// a < b, as booleans.
    pub fn less(&self, a: Value, b: Value) -> Value {
        self.op(None, "Less", &[a, b], vec![])
    }

    /// a = b, as booleans.
    pub fn equal(&self, a: Value, b: Value) -> Value {
        self.op(None, "Equal", &[a, b], vec![])
    }

    /// Not x, of booleans.
    pub fn not(&self, x: Value) -> Value {
        self.op(None, "Not", &[x], vec![])
    }

    /// Both, of booleans.
    pub fn and(&self, a: Value, b: Value) -> Value {
        self.op(None, "And", &[a, b], vec![])
    }

    /// `x`, along which no gradient flows.
    ///
    /// A cast to f64 and back: it changes no value, any engine runs it, and a gradient follows f32
    /// only.
    pub fn stop_gradient(&self, x: Value) -> Value {
        let cast = |x, to: ElementType| {
            self.op(None, "Cast", &[x], vec![attr("to", i64::from(to.code()))])
        };
        cast(cast(x, ElementType::Double), ElementType::Float)
    }

    /// Sums from the first position to each along `axis`.
    pub fn running_sum(&self, x: Value, axis: i64) -> Value {
        self.op(None, "CumSum", &[x, self.ints(&[axis])], vec![])
    }

    /// 1 where `x` holds, else 0; numbers of other types become f32.
    pub fn to_f32(&self, x: Value) -> Value {
        let float = i64::from(ElementType::Float.code());
        self.op(None, "Cast", &[x], vec![attr("to", float)])
    }

    /// Rows `indices` of `x`, along `axis`.
    pub fn gather(&self, x: Value, indices: Value, axis: isize) -> Value {
        self.op(None, "Gather", &[x, indices], vec![attr("axis", axis as i64)])
    }

    /// `indices [N]` as `[N, depth]`: 1 at the index, else 0. An index outside gives a row of 0.
    pub fn one_hot(&self, indices: Value, depth: usize) -> Value {
        let values = self.tensor(&[2], &[0.0, 1.0]);
        let depth = self.ints(&[depth as i64]);
        self.op(None, "OneHot", &[indices, depth, values], vec![attr("axis", -1i64)])
    }
}
