//! ResNet: residual blocks around an identity shortcut.
//!
//! He et al., 2015, <https://arxiv.org/abs/1512.03385>: Table 1 lists the depths, Figure 5 draws
//! the blocks. As in timm, the stride is on the 3×3 convolution ("v1.5"). The `d` variants are
//! those of He et al., 2018, <https://arxiv.org/abs/1812.01187>, Figure 2: a stem of three 3×3
//! convolutions, and shortcuts that average before they project. Wide ResNets, Zagoruyko and
//! Komodakis, 2016, <https://arxiv.org/abs/1605.07146>, double the inner width.
//!
//! Layers start as in the paper. timm starts the last scale of every branch at zero, which makes
//! untrained branches nothing: an engine may then leave them out, and neither their speed nor their
//! features would be those of the network.

use nearkin_nn::{Config, Conv, Family, Init, Pool, Scheme, Scope, Value, Variant};

/// The variants of group `resnet`.
pub static FAMILY: Family = Family {
    name: "resnet",
    classifier: "fc",
    scheme: Scheme { conv: Init::KaimingNormalFanOut, ..Scheme::TORCH },
    variants: &[
        Variant::new("resnet18", |s, x| resnet(s, x, BASIC, [2, 2, 2, 2])).config(A1),
        Variant::new("resnet18d", |s, x| resnet(s, x, BASIC.d(), [2, 2, 2, 2])),
        Variant::new("resnet26", |s, x| resnet(s, x, BOTTLENECK, [2, 2, 2, 2])),
        Variant::new("resnet26d", |s, x| resnet(s, x, BOTTLENECK.d(), [2, 2, 2, 2])),
        Variant::new("resnet34", |s, x| resnet(s, x, BASIC, [3, 4, 6, 3])).config(A1),
        Variant::new("resnet34d", |s, x| resnet(s, x, BASIC.d(), [3, 4, 6, 3])),
        Variant::new("resnet50", |s, x| resnet(s, x, BOTTLENECK, [3, 4, 6, 3])).config(A1),
        Variant::new("resnet50d", |s, x| resnet(s, x, BOTTLENECK.d(), [3, 4, 6, 3])),
        Variant::new("resnet101", |s, x| resnet(s, x, BOTTLENECK, [3, 4, 23, 3])).config(A1),
        Variant::new("resnet101d", |s, x| resnet(s, x, BOTTLENECK.d(), [3, 4, 23, 3])).config(RA2),
        Variant::new("resnet152", |s, x| resnet(s, x, BOTTLENECK, [3, 8, 36, 3])).config(A1),
        Variant::new("resnet152d", |s, x| resnet(s, x, BOTTLENECK.d(), [3, 8, 36, 3])).config(RA2),
        Variant::new("resnet200", |s, x| resnet(s, x, BOTTLENECK, [3, 24, 36, 3])),
        Variant::new("wide_resnet50_2", |s, x| resnet(s, x, WIDE, [3, 4, 6, 3])),
        Variant::new("wide_resnet101_2", |s, x| resnet(s, x, WIDE, [3, 4, 23, 3]))
            .config(Config::IMAGENET.bilinear()),
    ],
    sized: None,
};

const A1: Config = Config::IMAGENET.crop(0.95);
const RA2: Config = Config::IMAGENET.image(256).crop(0.95);

/// What distinguishes the variants beside their depths.
#[derive(Clone, Copy)]
struct Kind {
    block: fn(&Scope, Value, usize, usize, Kind) -> Value,
    /// Width of a bottleneck's 3×3 convolution over the stage's.
    inner: usize,
    /// ResNet-D's stem and shortcuts.
    d: bool,
}

const BASIC: Kind = Kind { block: basic, inner: 1, d: false };
const BOTTLENECK: Kind = Kind { block: bottleneck, inner: 1, d: false };
const WIDE: Kind = Kind { block: bottleneck, inner: 2, d: false };

impl Kind {
    const fn d(self) -> Self {
        Self { d: true, ..self }
    }
}

/// Maps images `[N, 3, H, W]` to features `[N, C]`; `C` is the last stage's channel count.
fn resnet(s: &Scope, image: Value, kind: Kind, depths: [usize; 4]) -> Value {
    let x = if kind.d { deep_stem(&s.scope("conv1"), image) } else { stem(s, image) };
    let x = s.stage("act1", s.relu(s.batch_norm("bn1", x)));
    let mut x = s.stage("maxpool", s.max_pool(x, Pool::new(3).stride(2).pad(1)));
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        let layer = s.scope(format!("layer{}", stage + 1));
        for i in 0..depth {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let at = layer.scope(i.to_string());
            x = at.output((kind.block)(&at, x, width, stride, kind));
        }
        layer.output(x);
    }
    s.stage("global_pool", s.global_avg_pool(x))
}

fn stem(s: &Scope, image: Value) -> Value {
    s.conv("conv1", image, Conv::new(64, 7).stride(2))
}

/// Three 3×3 convolutions in place of one 7×7 (ResNet-C).
fn deep_stem(s: &Scope, image: Value) -> Value {
    let x = s.conv("0", image, Conv::new(32, 3).stride(2));
    let x = s.conv("3", s.relu(s.batch_norm("1", x)), Conv::new(32, 3));
    s.output(s.conv("6", s.relu(s.batch_norm("4", x)), Conv::new(64, 3)))
}

/// Two 3×3 convolutions (Figure 5, left).
fn basic(s: &Scope, x: Value, width: usize, stride: usize, kind: Kind) -> Value {
    let y = s.conv("conv1", x, Conv::new(width, 3).stride(stride));
    let y = s.relu(s.batch_norm("bn1", y));
    let y = s.batch_norm("bn2", s.conv("conv2", y, Conv::new(width, 3)));
    s.relu(s.add(s.drop_path(y), shortcut(s, x, width, stride, kind)))
}

/// 1×1 reduce, 3×3, 1×1 expand by four (Figure 5, right).
fn bottleneck(s: &Scope, x: Value, width: usize, stride: usize, kind: Kind) -> Value {
    let inner = width * kind.inner;
    let y = s.conv("conv1", x, Conv::new(inner, 1));
    let y = s.relu(s.batch_norm("bn1", y));
    let y = s.conv("conv2", y, Conv::new(inner, 3).stride(stride));
    let y = s.relu(s.batch_norm("bn2", y));
    let y = s.batch_norm("bn3", s.conv("conv3", y, Conv::new(4 * width, 1)));
    s.relu(s.add(s.drop_path(y), shortcut(s, x, 4 * width, stride, kind)))
}

/// The identity where shapes allow it, else a projection; ResNet-D averages before it projects.
fn shortcut(s: &Scope, x: Value, channels: usize, stride: usize, kind: Kind) -> Value {
    if stride == 1 && s.channels(x) == channels {
        return x;
    }
    let s = s.scope("downsample");
    if kind.d {
        let window = Pool::new(2).stride(2).ceil().ignore_pad();
        let y = if stride == 1 { x } else { s.avg_pool(x, window) };
        s.batch_norm("2", s.conv("1", y, Conv::new(channels, 1)))
    } else {
        s.batch_norm("1", s.conv("0", x, Conv::new(channels, 1).stride(stride)))
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
