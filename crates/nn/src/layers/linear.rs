//! Linear layers and matrix products.

use crate::init::Init;
use crate::parameter::ParameterKind;
use crate::scope::{Scope, Value, attr, attr_ints};

/// A linear layer; by default with a bias.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    outputs: usize,
    bias: bool,
}

impl Linear {
    /// `outputs` features.
    pub const fn new(outputs: usize) -> Self {
        Self { outputs, bias: true }
    }

    /// Without a bias.
    pub const fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

impl From<usize> for Linear {
    fn from(outputs: usize) -> Self {
        Self::new(outputs)
    }
}

impl Scope {
    /// x Wᵀ + b over the last dimension of `x`; `W` is `[outputs, D]`, as in PyTorch.
    pub fn linear(&self, name: &str, x: Value, linear: impl Into<Linear>) -> Value {
        let Linear { outputs, bias } = linear.into();
        let width = self.width(x);
        let scheme = self.scheme();
        let at = self.scope(name);
        let weight =
            at.parameter("weight", &[outputs, width], ParameterKind::Weight, scheme.linear);
        let bias = bias.then(|| {
            let init = scheme.linear_bias.unwrap_or(Init::UniformFanIn(width));
            at.parameter("bias", &[outputs], ParameterKind::Bias, init)
        });
        if self.dims(x).len() == 2 {
            return self.gemm(name, x, weight, bias);
        }
        let turned = self.op(None, "Transpose", &[weight], vec![attr_ints("perm", &[1, 0])]);
        match bias {
            Some(bias) => {
                let y = self.op(None, "MatMul", &[x, turned], vec![]);
                self.op(Some(name), "Add", &[y, bias], vec![])
            }
            None => self.op(Some(name), "MatMul", &[x, turned], vec![]),
        }
    }

    pub(crate) fn gemm(&self, name: &str, x: Value, weight: Value, bias: Option<Value>) -> Value {
        let inputs: Vec<Value> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        self.op(Some(name), "Gemm", &inputs, vec![attr("transB", 1i64)])
    }

    /// The matrix product of the last two dimensions, the others broadcast.
    pub fn matmul(&self, a: Value, b: Value) -> Value {
        self.op(None, "MatMul", &[a, b], vec![])
    }

    /// Swaps the last two dimensions.
    pub fn transpose(&self, x: Value) -> Value {
        let rank = self.dims(x).len();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            order.swap(rank - 1, rank - 2);
        }
        self.permute(x, &order)
    }

    /// Reorders the dimensions: output dimension `i` is input dimension `order[i]`.
    pub fn permute(&self, x: Value, order: &[usize]) -> Value {
        self.op(None, "Transpose", &[x], vec![attr_ints("perm", order)])
    }

    /// Cuts `x [N, L, parts·heads·d]` into `P` tensors `[N, heads, L, d]`.
    pub fn split_heads<const P: usize>(&self, x: Value, heads: usize) -> [Value; P] {
        let (tokens, width) = (self.size(x, 1), self.width(x));
        if heads == 0 || P == 0 || width % (P * heads) != 0 {
            let found = format!("width {width}");
            return [self.reject("", format!("a width of {P} × {heads} heads"), found); P];
        }
        let parts = self.split(x, -1, &[width / P; P]);
        let shape = [0, tokens, heads, width / (P * heads)];
        let mut heads = [Value(None); P];
        for (head, part) in heads.iter_mut().zip(parts) {
            *head = self.permute(self.reshape(part, &shape.map(|d| d as i64)), &[0, 2, 1, 3]);
        }
        heads
    }

    /// Joins `x [N, heads, L, d]` to `[N, L, heads·d]`.
    pub fn merge_heads(&self, x: Value) -> Value {
        let (heads, tokens, width) = (self.size(x, 1), self.size(x, 2), self.size(x, 3));
        let y = self.permute(x, &[0, 2, 1, 3]);
        self.reshape(y, &[0, tokens as i64, (heads * width) as i64])
    }
}
