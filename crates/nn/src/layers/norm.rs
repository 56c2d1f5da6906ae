//! Normalisation.

use crate::init::Init;
use crate::parameter::ParameterKind;
use crate::scope::{NormKind, Scope, Value, attr};

/// PyTorch's default epsilon of batch normalisation.
const BATCH_NORM_EPS: f32 = 1e-5;

impl Scope {
    /// Batch normalisation of `x [N, C, …]` by running statistics, ε = 1e-5.
    pub fn batch_norm(&self, name: &str, x: Value) -> Value {
        self.batch_norm_eps(name, x, BATCH_NORM_EPS)
    }

    /// Batch normalisation with this ε.
    pub fn batch_norm_eps(&self, name: &str, x: Value, eps: f32) -> Value {
        let dims = [self.channels(x)];
        let at = self.scope(name);
        let [zero, one] = [0.0, 1.0].map(Init::Constant);
        let inputs = [
            x,
            at.parameter("weight", &dims, ParameterKind::NormWeight, one),
            at.parameter("bias", &dims, ParameterKind::Bias, zero),
            at.parameter("running_mean", &dims, ParameterKind::RunningMean, zero),
            at.parameter("running_var", &dims, ParameterKind::RunningVar, one),
        ];
        at.counter("num_batches_tracked");
        self.note_norm(NormKind::BatchNorm, eps);
        self.op(Some(name), "BatchNormalization", &inputs, vec![attr("epsilon", eps)])
    }

    /// Layer normalisation over the last dimension of `x [N, …, D]`.
    pub fn layer_norm(&self, name: &str, x: Value, eps: f32) -> Value {
        let y = self.layer_norm_unmarked(name, x, eps);
        self.stage(name, y)
    }

    fn layer_norm_unmarked(&self, name: &str, x: Value, eps: f32) -> Value {
        let dims = [self.width(x)];
        let at = self.scope(name);
        let inputs = [
            x,
            at.parameter("weight", &dims, ParameterKind::NormWeight, Init::Constant(1.0)),
            at.parameter("bias", &dims, ParameterKind::Bias, Init::Constant(0.0)),
        ];
        self.note_norm(NormKind::LayerNorm, eps);
        let attributes = vec![attr("axis", -1i64), attr("epsilon", eps)];
        at.op(None, "LayerNormalization", &inputs, attributes)
    }

    /// Layer normalisation over the channels of `x [N, C, H, W]`.
    pub fn layer_norm_2d(&self, name: &str, x: Value, eps: f32) -> Value {
        let y = self.permute(x, &[0, 2, 3, 1]);
        let y = self.layer_norm_unmarked(name, y, eps);
        self.stage(name, self.permute(y, &[0, 3, 1, 2]))
    }

    /// Global response normalisation: x + β + γ·x·(g / (mean g + ε)), g the L2 norm of each channel
    /// over the image. `channel` is the channels' axis of the four, 1 or 3.
    ///
    /// Woo et al., 2023, <https://arxiv.org/abs/2301.00808>, section 3.3.
    pub fn global_response_norm(&self, name: &str, x: Value, channel: usize, eps: f32) -> Value {
        let Some(spatial) = [(1, [2, 3]), (3, [1, 2])].iter().find(|(c, _)| *c == channel) else {
            return self.reject(name, "channels at axis 1 or 3", channel.to_string());
        };
        let width = self.size(x, channel as isize);
        let at = self.scope(name);
        let zero = Init::Constant(0.0);
        let weight = at.parameter("weight", &[width], ParameterKind::NormWeight, zero);
        let bias = at.parameter("bias", &[width], ParameterKind::Bias, zero);
        self.note_norm(NormKind::GlobalResponseNorm, eps);
        let shape = if channel == 1 { vec![1, width, 1, 1] } else { vec![width] };
        let [weight, bias] = [weight, bias].map(|p| at.view(p, &shape));
        let norm = at.op(None, "ReduceL2", &[x, at.ints(&spatial.1)], vec![]);
        let mean = at.op(None, "ReduceMean", &[norm, at.ints(&[channel as i64])], vec![]);
        let ratio = at.div(norm, at.add(mean, at.scalar(eps)));
        let scaled = at.mul(at.mul(x, ratio), weight);
        let y = at.add(x, at.add(scaled, bias));
        self.stage(name, y)
    }
}
