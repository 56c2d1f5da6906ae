//! What backward rules ask for without saying how it is computed.
//!
//! These operators stand in a graph only between the reverse sweep and its lowering, which writes
//! each in operators of an engine ([`crate::lower`]). Their domain is no engine's.

use nearkin_onnx::{Attribute, ValueId};

use crate::emit::{Emit, attr};
use crate::error::Problem;
use crate::windows::Windows;

/// The domain of these operators.
pub(crate) const DOMAIN: &str = "nearkin";

/// The gradient of a convolution with respect to its input, from g and w.
pub(crate) const INPUT_GRAD: &str = "ConvolutionInputGradient";
/// The gradient of a convolution with respect to its weights, from g and x.
pub(crate) const WEIGHT_GRAD: &str = "ConvolutionWeightGradient";
/// Σ x over all axes but the channels'.
pub(crate) const CHANNEL_SUM: &str = "ChannelSum";
/// Σ a·b over all axes but the channels'.
pub(crate) const CHANNEL_DOT: &str = "ChannelDot";
/// s·x + t, s and t one number for each channel.
pub(crate) const CHANNEL_AFFINE: &str = "ChannelAffine";
/// g where y lies above 0, and below `max` if there is one; else 0. No y lies below 0 or above `max`.
pub(crate) const GATE: &str = "Gate";

/// g times the derivative of the exact GELU at x.
pub(crate) const GELU_GRAD: &str = "GeluGradient";

impl Emit {
    fn primitive(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: Vec<Attribute>,
        dims: &[usize],
    ) -> Result<ValueId, Problem> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.foreign(DOMAIN, op, &inputs, attributes, dims)
    }

    /// ∂x `[N, C, …]` = `dims` of a convolution with weights w.
    pub(crate) fn conv_input_grad(
        &mut self,
        g: ValueId,
        w: ValueId,
        dims: &[usize],
        windows: &Windows,
    ) -> Result<ValueId, Problem> {
        self.primitive(INPUT_GRAD, &[g, w], windows.attributes(), dims)
    }

    /// ∂w `[K, C/groups, …]` = `dims` of a convolution of x.
    pub(crate) fn conv_weight_grad(
        &mut self,
        g: ValueId,
        x: ValueId,
        dims: &[usize],
        windows: &Windows,
    ) -> Result<ValueId, Problem> {
        self.primitive(WEIGHT_GRAD, &[g, x], windows.attributes(), dims)
    }

    /// `[C]`: Σ x `[N, C, …]` for each channel.
    pub(crate) fn channel_sum(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        let channels = self.dims(x)?[1];
        self.primitive(CHANNEL_SUM, &[x], vec![], &[channels])
    }

    /// `[C]`: Σ a·b for each channel.
    pub(crate) fn channel_dot(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        let channels = self.dims(a)?[1];
        self.primitive(CHANNEL_DOT, &[a, b], vec![], &[channels])
    }

    /// `scale`·x + `shift`, both `[C]`.
    pub(crate) fn channel_affine(
        &mut self,
        x: ValueId,
        scale: ValueId,
        shift: ValueId,
    ) -> Result<ValueId, Problem> {
        let dims = self.dims(x)?;
        self.primitive(CHANNEL_AFFINE, &[x, scale, shift], vec![], &dims)
    }

    /// g where 0 < y, and y < `max` if there is one; else 0.
    pub(crate) fn gate(
        &mut self,
        g: ValueId,
        y: ValueId,
        max: Option<f32>,
    ) -> Result<ValueId, Problem> {
        let dims = self.dims(g)?;
        let attributes = max.map(|max| attr("max", max)).into_iter().collect();
        self.primitive(GATE, &[g, y], attributes, &dims)
    }

    /// g·(Φ(x) + x·φ(x)).
    pub(crate) fn gelu_grad(&mut self, g: ValueId, x: ValueId) -> Result<ValueId, Problem> {
        let dims = self.dims(x)?;
        self.primitive(GELU_GRAD, &[g, x], vec![], &dims)
    }
}
