//! ConvNeXt and ConvNeXt V2: depthwise convolutions in a transformer's layout.
//!
//! Liu et al., 2022, <https://arxiv.org/abs/2201.03545>, Figure 4 and section 2; V2 adds global
//! response normalisation in place of the layer scale: Woo et al., 2023,
//! <https://arxiv.org/abs/2301.00808>, Table 14 lists the smaller sizes.

use nearkin_nn::{Config, Conv, Family, Init, ParameterKind, Scheme, Scope, Value, Variant};

/// The variants of group `convnext`.
pub static FAMILY: Family = Family {
    name: "convnext",
    classifier: "head.fc",
    scheme: Scheme {
        conv: Init::TruncNormal(0.02),
        conv_bias: Some(Init::Constant(0.0)),
        linear: Init::TruncNormal(0.02),
        linear_bias: Some(Init::Constant(0.0)),
    },
    variants: &[
        Variant::new("convnext_atto", |s, x| convnext(s, x, ATTO.conv_mlp())),
        Variant::new("convnext_femto", |s, x| convnext(s, x, FEMTO.conv_mlp())),
        Variant::new("convnext_pico", |s, x| convnext(s, x, PICO.conv_mlp())),
        Variant::new("convnext_nano", |s, x| convnext(s, x, NANO.conv_mlp())).config(IN12K),
        Variant::new("convnext_tiny", |s, x| convnext(s, x, TINY)).config(IN12K),
        Variant::new("convnext_small", |s, x| convnext(s, x, SMALL)).config(IN12K),
        Variant::new("convnext_base", |s, x| convnext(s, x, BASE)),
        Variant::new("convnext_large", |s, x| convnext(s, x, LARGE)),
        Variant::new("convnext_xlarge", |s, x| convnext(s, x, XLARGE)),
        Variant::new("convnextv2_atto", |s, x| convnext(s, x, ATTO.conv_mlp().v2())),
        Variant::new("convnextv2_femto", |s, x| convnext(s, x, FEMTO.conv_mlp().v2())),
        Variant::new("convnextv2_pico", |s, x| convnext(s, x, PICO.conv_mlp().v2())),
        Variant::new("convnextv2_nano", |s, x| convnext(s, x, NANO.conv_mlp().v2())),
        Variant::new("convnextv2_tiny", |s, x| convnext(s, x, TINY.v2())),
        Variant::new("convnextv2_small", |s, x| convnext(s, x, SMALL.v2())),
        Variant::new("convnextv2_base", |s, x| convnext(s, x, BASE.v2())),
        Variant::new("convnextv2_large", |s, x| convnext(s, x, LARGE.v2())),
        Variant::new("convnextv2_huge", |s, x| convnext(s, x, HUGE.v2())).config(AT_384),
    ],
    sized: None,
};

const IN12K: Config = Config::IMAGENET.crop(0.95);
const AT_384: Config = Config::IMAGENET.image(384).crop(1.0).squash();

/// Blocks and channels of each stage, and what else distinguishes the variants.
#[derive(Clone, Copy)]
struct Size {
    depths: [usize; 4],
    widths: [usize; 4],
    /// The MLP is two 1×1 convolutions on `[N, C, H, W]`, not linear layers on `[N, H, W, C]`.
    conv_mlp: bool,
    /// Global response normalisation in place of the layer scale.
    v2: bool,
}

impl Size {
    const fn new(depths: [usize; 4], widths: [usize; 4]) -> Self {
        Self { depths, widths, conv_mlp: false, v2: false }
    }

    const fn conv_mlp(self) -> Self {
        Self { conv_mlp: true, ..self }
    }

    const fn v2(self) -> Self {
        Self { v2: true, ..self }
    }
}

const ATTO: Size = Size::new([2, 2, 6, 2], [40, 80, 160, 320]);
const FEMTO: Size = Size::new([2, 2, 6, 2], [48, 96, 192, 384]);
const PICO: Size = Size::new([2, 2, 6, 2], [64, 128, 256, 512]);
const NANO: Size = Size::new([2, 2, 8, 2], [80, 160, 320, 640]);
const TINY: Size = Size::new([3, 3, 9, 3], [96, 192, 384, 768]);
const SMALL: Size = Size::new([3, 3, 27, 3], [96, 192, 384, 768]);
const BASE: Size = Size::new([3, 3, 27, 3], [128, 256, 512, 1024]);
const LARGE: Size = Size::new([3, 3, 27, 3], [192, 384, 768, 1536]);
const XLARGE: Size = Size::new([3, 3, 27, 3], [256, 512, 1024, 2048]);
const HUGE: Size = Size::new([3, 3, 27, 3], [352, 704, 1408, 2816]);

const EPS: f32 = 1e-6;
const LAYER_SCALE: f32 = 1e-6;

/// Maps images `[N, 3, H, W]` to features `[N, C]`; `C` is the last stage's channel count.
fn convnext(s: &Scope, image: Value, size: Size) -> Value {
    let stem = s.scope("stem");
    let x = stem.conv("0", image, Conv::new(size.widths[0], 4).stride(4).pad(0).bias());
    let mut x = stem.output(stem.layer_norm_2d("1", x, EPS));
    let stages = s.scope("stages");
    for (i, (depth, width)) in size.depths.into_iter().zip(size.widths).enumerate() {
        let stage = stages.scope(i.to_string());
        if i > 0 {
            let s = stage.scope("downsample");
            let y = s.layer_norm_2d("0", x, EPS);
            x = s.output(s.conv("1", y, Conv::new(width, 2).stride(2).pad(0).bias()));
        }
        let blocks = stage.scope("blocks");
        for j in 0..depth {
            let at = blocks.scope(j.to_string());
            x = at.output(block(&at, x, size));
        }
        blocks.output(x);
        stage.output(x);
    }
    stages.output(x);
    // The head averages the map and then normalises the features.
    s.layer_norm("head.norm", s.global_avg_pool(x), EPS)
}

/// Depthwise 7×7, normalisation, an MLP four times as wide, layer scale, shortcut (Figure 4).
fn block(s: &Scope, x: Value, size: Size) -> Value {
    let width = s.channels(x);
    let start = Init::Constant(LAYER_SCALE);
    let gamma =
        (!size.v2).then(|| s.parameter("gamma", &[width], ParameterKind::LayerScale, start));
    let y = s.conv("conv_dw", x, Conv::new(width, 7).groups(width).bias());
    let y = if size.conv_mlp {
        let y = conv_mlp(s, s.layer_norm_2d("norm", y, EPS), size.v2);
        gamma.map_or(y, |gamma| s.mul(y, s.view(gamma, &[1, width, 1, 1])))
    } else {
        let y = mlp(s, s.layer_norm("norm", s.permute(y, &[0, 2, 3, 1]), EPS), size.v2);
        let y = gamma.map_or(y, |gamma| s.mul(y, gamma));
        s.permute(y, &[0, 3, 1, 2])
    };
    s.add(s.drop_path(y), x)
}

/// Two linear layers on `[N, H, W, C]`.
fn mlp(s: &Scope, x: Value, v2: bool) -> Value {
    let s = s.scope("mlp");
    let width = s.width(x);
    let y = s.gelu(s.linear("fc1", x, 4 * width));
    let y = if v2 { s.global_response_norm("grn", y, 3, EPS) } else { y };
    s.linear("fc2", y, width)
}

/// The same as 1×1 convolutions on `[N, C, H, W]`.
fn conv_mlp(s: &Scope, x: Value, v2: bool) -> Value {
    let s = s.scope("mlp");
    let width = s.channels(x);
    let y = s.gelu(s.conv("fc1", x, Conv::new(4 * width, 1).bias()));
    let y = if v2 { s.global_response_norm("grn", y, 1, EPS) } else { y };
    s.conv("fc2", y, Conv::new(width, 1).bias())
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
