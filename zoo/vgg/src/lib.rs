//! VGG: stacks of 3×3 convolutions between poolings, then three large linear layers.
//!
//! Simonyan and Zisserman, 2014, <https://arxiv.org/abs/1409.1556>: Table 1 lists the
//! configurations A, B, D and E. The `bn` variants normalise after every convolution. As in timm,
//! the first two linear layers are convolutions, so larger images give a map that is averaged, and
//! a map smaller than 7×7 is stretched to it.

use nearkin_nn::{Config, Conv, Family, Init, Pool, Scheme, Scope, Value, Variant};

/// The variants of group `vgg`.
pub static FAMILY: Family = Family {
    name: "vgg",
    classifier: "head.fc",
    scheme: Scheme {
        conv: Init::KaimingNormalFanOut,
        conv_bias: Some(Init::Constant(0.0)),
        linear: Init::Normal(0.01),
        linear_bias: Some(Init::Constant(0.0)),
    },
    variants: &[
        Variant::new("vgg11", |s, x| vgg(s, x, A, false)).config(TV),
        Variant::new("vgg11_bn", |s, x| vgg(s, x, A, true)).config(TV),
        Variant::new("vgg13", |s, x| vgg(s, x, B, false)).config(TV),
        Variant::new("vgg13_bn", |s, x| vgg(s, x, B, true)).config(TV),
        Variant::new("vgg16", |s, x| vgg(s, x, D, false)).config(TV),
        Variant::new("vgg16_bn", |s, x| vgg(s, x, D, true)).config(TV),
        Variant::new("vgg19", |s, x| vgg(s, x, E, false)).config(TV),
        Variant::new("vgg19_bn", |s, x| vgg(s, x, E, true)).config(TV),
    ],
    sized: None,
};

const TV: Config = Config::IMAGENET.bilinear();

/// Convolutions of each stage (Table 1).
const A: [usize; 5] = [1, 1, 2, 2, 2];
const B: [usize; 5] = [2, 2, 2, 2, 2];
const D: [usize; 5] = [2, 2, 3, 3, 3];
const E: [usize; 5] = [2, 2, 4, 4, 4];

/// Channels of each stage.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Maps images `[N, 3, H, W]` to features `[N, 4096]`.
fn vgg(s: &Scope, image: Value, depths: [usize; 5], norm: bool) -> Value {
    let features = s.scope("features");
    let mut layer = (0..).map(|i: usize| i.to_string());
    let mut next = || layer.next().unwrap_or_default();
    let mut x = image;
    for (depth, width) in depths.into_iter().zip(WIDTHS) {
        for _ in 0..depth {
            x = features.conv(&next(), x, Conv::new(width, 3).bias());
            if norm {
                x = features.batch_norm(&next(), x);
            }
            x = features.stage(&next(), features.relu(x));
        }
        x = features.stage(&next(), features.max_pool(x, Pool::new(2).stride(2)));
    }
    features.output(x);
    pre_logits(s, x)
}

/// The first two linear layers, as convolutions over windows of 7×7.
fn pre_logits(s: &Scope, x: Value) -> Value {
    let (height, width) = s.spatial(x);
    let x = s.adaptive_avg_pool(x, (height.max(7), width.max(7)));
    let s = s.scope("pre_logits");
    let x = s.dropout(s.relu(s.conv("fc1", x, Conv::new(4096, 7).pad(0).bias())));
    let x = s.output(s.relu(s.conv("fc2", x, Conv::new(4096, 1).bias())));
    if s.spatial(x) == (1, 1) { s.flatten(x) } else { s.global_avg_pool(x) }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
