//! ViT: a transformer over image patches.
//!
//! Dosovitskiy et al., 2020, <https://arxiv.org/abs/2010.11929>: Figure 1 draws the model, Table 1
//! lists the sizes. The embedding is the class token after the last normalisation.

use nearkin_nn::{Config, Conv, Family, Init, Scheme, Scope, Value, Variant};

/// The variants of group `vit`.
pub static FAMILY: Family = Family {
    name: "vit",
    classifier: "head",
    scheme: Scheme {
        linear: Init::TruncNormal(0.02),
        linear_bias: Some(Init::Constant(0.0)),
        ..Scheme::TORCH
    },
    variants: &[
        Variant::new("vit_tiny_patch16_224", |s, x| vit(s, x, 16, TINY)).config(AT_224),
        Variant::new("vit_tiny_patch16_384", |s, x| vit(s, x, 16, TINY)).config(AT_384),
        Variant::new("vit_small_patch32_224", |s, x| vit(s, x, 32, SMALL)).config(AT_224),
        Variant::new("vit_small_patch32_384", |s, x| vit(s, x, 32, SMALL)).config(AT_384),
        Variant::new("vit_small_patch16_224", |s, x| vit(s, x, 16, SMALL)).config(AT_224),
        Variant::new("vit_small_patch16_384", |s, x| vit(s, x, 16, SMALL)).config(AT_384),
        Variant::new("vit_base_patch32_224", |s, x| vit(s, x, 32, BASE)).config(AT_224),
        Variant::new("vit_base_patch32_384", |s, x| vit(s, x, 32, BASE)).config(AT_384),
        Variant::new("vit_base_patch16_224", |s, x| vit(s, x, 16, BASE)).config(AT_224),
        Variant::new("vit_base_patch16_384", |s, x| vit(s, x, 16, BASE)).config(AT_384),
        Variant::new("vit_base_patch8_224", |s, x| vit(s, x, 8, BASE)).config(AT_224),
        Variant::new("vit_large_patch32_224", |s, x| vit(s, x, 32, LARGE))
            .config(AT_224.num_classes(0)),
        Variant::new("vit_large_patch16_224", |s, x| vit(s, x, 16, LARGE)).config(AT_224),
        Variant::new("vit_large_patch16_384", |s, x| vit(s, x, 16, LARGE)).config(AT_384),
        Variant::new("vit_huge_patch14_224", |s, x| vit(s, x, 14, HUGE))
            .config(AT_224.num_classes(0)),
    ],
    sized: None,
};

const AT_224: Config = Config::INCEPTION;
const AT_384: Config = Config::INCEPTION.image(384).crop(1.0);

/// Width, depth and heads (Table 1, and DeiT's tiny and small).
#[derive(Clone, Copy)]
struct Size {
    width: usize,
    depth: usize,
    heads: usize,
}

const TINY: Size = Size { width: 192, depth: 12, heads: 3 };
const SMALL: Size = Size { width: 384, depth: 12, heads: 6 };
const BASE: Size = Size { width: 768, depth: 12, heads: 12 };
const LARGE: Size = Size { width: 1024, depth: 24, heads: 16 };
const HUGE: Size = Size { width: 1280, depth: 32, heads: 16 };

const EPS: f32 = 1e-6;

/// Maps images `[N, 3, H, W]` to the class token's features `[N, D]`.
fn vit(s: &Scope, image: Value, patch: usize, size: Size) -> Value {
    let (height, width) = s.spatial(image);
    if height % patch != 0 || width % patch != 0 || height == 0 || width == 0 {
        let found = format!("{height} × {width}");
        return s.reject("patch_embed", format!("an image in patches of {patch} × {patch}"), found);
    }
    let grid = (height / patch, width / patch);
    let token = s.token("cls_token", size.width);
    let position = s.position_embedding("pos_embed", 1, grid, size.width);
    let x = patch_embed(&s.scope("patch_embed"), image, patch, size.width);
    let mut x = s.prepend(x, token, position);
    let blocks = s.scope("blocks");
    for i in 0..size.depth {
        let at = blocks.scope(i.to_string());
        x = at.output(block(&at, x, size.heads));
    }
    blocks.output(x);
    let x = s.layer_norm("norm", x, EPS);
    s.select(x, 1, 0)
}

/// A linear projection of every patch (equation 1), as tokens `[N, L, D]`.
fn patch_embed(s: &Scope, image: Value, patch: usize, width: usize) -> Value {
    let conv = Conv::new(width, patch).stride(patch).pad(0).bias();
    s.output(s.tokens(s.conv("proj", image, conv)))
}

/// Pre-norm residual attention, then pre-norm residual MLP (equations 2 and 3).
fn block(s: &Scope, x: Value, heads: usize) -> Value {
    let y = attention(&s.scope("attn"), s.layer_norm("norm1", x, EPS), heads);
    let x = s.add(x, s.drop_path(y));
    let y = mlp(&s.scope("mlp"), s.layer_norm("norm2", x, EPS));
    s.add(x, s.drop_path(y))
}

/// softmax(q kᵀ / √d) v for every head, with one fused projection for q, k and v.
fn attention(s: &Scope, x: Value, heads: usize) -> Value {
    let width = s.width(x);
    let [q, k, v] = s.split_heads(s.linear("qkv", x, 3 * width), heads); // [N, heads, L, d]
    let d = (width / heads) as f32;
    let scores = s.matmul(s.scale(q, d.sqrt().recip()), s.transpose(k));
    s.linear("proj", s.merge_heads(s.matmul(s.softmax(scores), v)), width)
}

/// Two linear layers around a GELU, four times as wide inside.
fn mlp(s: &Scope, x: Value) -> Value {
    let width = s.width(x);
    s.linear("fc2", s.gelu(s.linear("fc1", x, 4 * width)), width)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
