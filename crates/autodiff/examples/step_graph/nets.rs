//! The networks whose training steps are timed, as families of nearkin-nn; `train_step_models.py` of
//! the peers has the same in PyTorch, name by name.

use nearkin_nn::{Conv, Family, Init, ParameterKind, Pool, Scheme, Scope, Value, Variant};

/// All of them.
pub(crate) static FAMILY: Family = Family {
    name: "train-step",
    classifier: "head",
    scheme: Scheme { conv: Init::KaimingNormalFanOut, ..Scheme::TORCH },
    variants: &[
        Variant::new("resnet20", resnet20),
        Variant::new("mobilenet", mobilenet),
        Variant::new("vit", vit),
        Variant::new("convnext", convnext),
        Variant::new("resnet18", resnet18),
    ],
    sized: None,
};

/// He et al., 2015, section 4.2: 16, 32 and 64 channels, three blocks each; projections where
/// shapes change.
fn resnet20(s: &Scope, image: Value) -> Value {
    let x = s.conv("conv1", image, Conv::new(16, 3));
    let mut x = s.relu(s.batch_norm("bn1", x));
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for i in 0..3 {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = basic(&s.scope(format!("layer{}.{i}", stage + 1)), x, width, stride);
        }
    }
    s.global_avg_pool(x)
}

/// He et al., 2015, Table 1.
fn resnet18(s: &Scope, image: Value) -> Value {
    let x = s.conv("conv1", image, Conv::new(64, 7).stride(2));
    let x = s.relu(s.batch_norm("bn1", x));
    let mut x = s.max_pool(x, Pool::new(3).stride(2).pad(1));
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        for i in 0..2 {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = basic(&s.scope(format!("layer{}.{i}", stage + 1)), x, width, stride);
        }
    }
    s.global_avg_pool(x)
}

fn basic(s: &Scope, x: Value, width: usize, stride: usize) -> Value {
    let y = s.conv("conv1", x, Conv::new(width, 3).stride(stride));
    let y = s.relu(s.batch_norm("bn1", y));
    let y = s.batch_norm("bn2", s.conv("conv2", y, Conv::new(width, 3)));
    let short = if stride == 1 && s.channels(x) == width {
        x
    } else {
        let s = s.scope("downsample");
        s.batch_norm("1", s.conv("0", x, Conv::new(width, 1).stride(stride)))
    };
    s.relu(s.add(y, short))
}

/// MobileNetV2 for images of 32 pixels: Sandler et al., 2018, Table 2, with its expansion of 6 and
/// ReLU6, half as deep.
fn mobilenet(s: &Scope, image: Value) -> Value {
    let x = s.conv("stem", image, Conv::new(32, 3));
    let mut x = relu6(s, s.batch_norm("stem_bn", x));
    // Expansion, channels, blocks, stride.
    let stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2), (6, 96, 1, 1)];
    for (stage, (expansion, width, depth, first)) in stages.into_iter().enumerate() {
        for i in 0..depth {
            let stride = if i == 0 { first } else { 1 };
            x = inverted(&s.scope(format!("blocks.{stage}.{i}")), x, expansion, width, stride);
        }
    }
    let x = s.conv("last", x, Conv::new(384, 1));
    s.global_avg_pool(relu6(s, s.batch_norm("last_bn", x)))
}

/// 1×1 expand, depthwise 3×3, 1×1 project.
fn inverted(s: &Scope, x: Value, expansion: usize, width: usize, stride: usize) -> Value {
    let inner = s.channels(x) * expansion;
    let mut y = x;
    if expansion > 1 {
        y = relu6(s, s.batch_norm("bn0", s.conv("expand", y, Conv::new(inner, 1))));
    }
    let conv = Conv::new(inner, 3).stride(stride).groups(inner);
    let y = relu6(s, s.batch_norm("bn1", s.conv("depthwise", y, conv)));
    let y = s.batch_norm("bn2", s.conv("project", y, Conv::new(width, 1)));
    if stride == 1 && s.channels(x) == width { s.add(y, x) } else { y }
}

fn relu6(s: &Scope, x: Value) -> Value {
    s.onnx("Clip", &[x, s.scalar(0.0), s.scalar(6.0)], &[])
}

/// Dosovitskiy et al., 2020, with patches of 4 × 4, width 192, depth 6 and 3 heads.
fn vit(s: &Scope, image: Value) -> Value {
    let (width, heads) = (192, 3);
    let (height, wide) = s.spatial(image);
    let token = s.token("cls_token", width);
    let position = s.position_embedding("pos_embed", 1, (height / 4, wide / 4), width);
    let x = s.conv("patch_embed", image, Conv::new(width, 4).stride(4).pad(0).bias());
    let mut x = s.prepend(s.tokens(x), token, position);
    for i in 0..6 {
        let at = s.scope(format!("blocks.{i}"));
        let y = attention(&at.scope("attn"), at.layer_norm("norm1", x, 1e-6), heads);
        x = at.add(x, y);
        let y = mlp(&at, at.layer_norm("norm2", x, 1e-6));
        x = at.add(x, y);
    }
    s.select(s.layer_norm("norm", x, 1e-6), 1, 0)
}

fn attention(s: &Scope, x: Value, heads: usize) -> Value {
    let width = s.width(x);
    let [q, k, v] = s.split_heads(s.linear("qkv", x, 3 * width), heads);
    let d = (width / heads) as f32;
    let scores = s.matmul(s.scale(q, d.sqrt().recip()), s.transpose(k));
    s.linear("proj", s.merge_heads(s.matmul(s.softmax(scores), v)), width)
}

fn mlp(s: &Scope, x: Value) -> Value {
    let width = s.width(x);
    s.linear("fc2", s.gelu(s.linear("fc1", x, 4 * width)), width)
}

/// Liu et al., 2022, with patches of 2 × 2, widths 64, 128 and 256, and two blocks each.
fn convnext(s: &Scope, image: Value) -> Value {
    let widths = [64, 128, 256];
    let x = s.conv("stem", image, Conv::new(widths[0], 2).stride(2).pad(0).bias());
    let mut x = s.layer_norm_2d("stem_norm", x, 1e-6);
    for (stage, width) in widths.into_iter().enumerate() {
        if stage > 0 {
            let s = s.scope(format!("down.{}", stage - 1));
            let y = s.layer_norm_2d("norm", x, 1e-6);
            x = s.conv("conv", y, Conv::new(width, 2).stride(2).pad(0).bias());
        }
        for i in 0..2 {
            let at = s.scope(format!("stages.{stage}.{i}"));
            let start = Init::Constant(0.1);
            let gamma = at.parameter("gamma", &[width], ParameterKind::LayerScale, start);
            let y = at.conv("dw", x, Conv::new(width, 7).groups(width).bias());
            let y = at.layer_norm("norm", at.permute(y, &[0, 2, 3, 1]), 1e-6);
            let y = at.mul(mlp(&at, y), gamma);
            x = at.add(at.permute(y, &[0, 3, 1, 2]), x);
        }
    }
    s.layer_norm("head_norm", s.global_avg_pool(x), 1e-6)
}
