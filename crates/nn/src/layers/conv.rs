//! Convolution.

use crate::init::Init;
use crate::parameter::{ParameterKind, Role};
use crate::scope::{Scope, Value, attr, attr_ints};

/// A square convolution; by default stride 1, no bias, and "same" padding d·(k − 1)/2.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
    pad: Option<usize>,
    bias: bool,
    init: Option<Init>,
}

impl Conv {
    /// `outputs` channels from a `kernel` × `kernel` window.
    pub const fn new(outputs: usize, kernel: usize) -> Self {
        Self {
            outputs,
            kernel,
            stride: 1,
            dilation: 1,
            groups: 1,
            pad: None,
            bias: false,
            init: None,
        }
    }

    /// Steps of this many pixels.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Kernel elements this many pixels apart.
    pub const fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Channels in this many groups.
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// This many zeros on each side.
    pub const fn pad(self, pad: usize) -> Self {
        Self { pad: Some(pad), ..self }
    }

    /// With a bias.
    pub const fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// With weights that start otherwise than the family's.
    pub const fn init(self, init: Init) -> Self {
        Self { init: Some(init), ..self }
    }
}

impl Scope {
    /// Convolution of `x [N, C, H, W]`; weights `[M, C/groups, k, k]`.
    pub fn conv(&self, name: &str, x: Value, conv: Conv) -> Value {
        let Conv { outputs, kernel, stride, dilation, groups, .. } = conv;
        let channels = self.channels(x);
        let role = if self.is_image(x) { Role::FirstConv } else { Role::Plain };
        let scheme = self.scheme();
        let at = self.scope(name);
        if outputs == 0 || kernel == 0 || stride == 0 || groups == 0 {
            let found = format!("{conv:?}");
            return self.reject(name, "outputs, kernel, stride and groups ≥ 1", found);
        }
        let dims = [outputs, channels / groups, kernel, kernel];
        let weight = at.parameter_in_role(
            "weight",
            &dims,
            ParameterKind::Weight,
            conv.init.unwrap_or(scheme.conv),
            role,
        );
        let mut inputs = vec![x, weight];
        if conv.bias {
            let fan_in = dims[1] * kernel * kernel;
            let init = scheme.conv_bias.unwrap_or(Init::UniformFanIn(fan_in));
            inputs.push(at.parameter("bias", &[outputs], ParameterKind::Bias, init));
        }
        let pad = conv.pad.unwrap_or(dilation * (kernel - 1) / 2);
        let attributes = vec![
            attr_ints("dilations", &[dilation; 2]),
            attr("group", i64::try_from(groups).unwrap_or(i64::MAX)),
            attr_ints("kernel_shape", &[kernel; 2]),
            attr_ints("pads", &[pad; 4]),
            attr_ints("strides", &[stride; 2]),
        ];
        self.op(Some(name), "Conv", &inputs, attributes)
    }
}
