//! Plain convolutional networks for small images.
//!
//! Each width is a stage: a 3×3 convolution and one of stride 2 in place of pooling, both with batch
//! normalisation and ReLU; then the mean over the image. Springenberg et al., 2015, "Striving for
//! Simplicity: The All Convolutional Net", <https://arxiv.org/abs/1412.6806>. The name gives the widths:
//! `convnet_16_32_64` has three stages and a 64-dimensional embedding.

use nearkin_nn::{Config, Conv, Family, Init, Scheme, Scope, Sized, Value, Variant};

/// All-convolutional networks of any widths.
pub static FAMILY: Family = Family {
    name: "convnet",
    classifier: "head",
    scheme: Scheme { conv: Init::KaimingNormalFanOut, ..Scheme::TORCH },
    variants: &[
        Variant::new("convnet_16_32_64", |s, x| convnet(s, x, &[16, 32, 64])).config(CONFIG),
        Variant::new("convnet_32_64_128", |s, x| convnet(s, x, &[32, 64, 128])).config(CONFIG),
    ],
    sized: Some(Sized {
        pattern: "convnet_<width>[_<width>…]",
        parse,
        build: convnet,
        config: CONFIG,
    }),
};

const CONFIG: Config = Config::INCEPTION.image(32).crop(1.0);

/// The widest stage, and the most stages, that a name may ask for.
const MAX_WIDTH: usize = 1 << 12;
const MAX_STAGES: usize = 8;

/// The widths in a name such as `convnet_16_32_64`.
fn parse(name: &str) -> Option<Vec<usize>> {
    let widths: Vec<usize> = name
        .strip_prefix("convnet_")?
        .split('_')
        .map(|text| {
            let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
            text.parse().ok().filter(|width| canonical && (1..=MAX_WIDTH).contains(width))
        })
        .collect::<Option<_>>()?;
    (widths.len() <= MAX_STAGES).then_some(widths)
}

/// Maps images `[N, C, H, W]` to features `[N, D]`; `D` is the last of `widths`.
fn convnet(s: &Scope, image: Value, widths: &[usize]) -> Value {
    let mut x = image;
    for (stage, &width) in widths.iter().enumerate() {
        let at = s.scope(format!("stages.{stage}"));
        x = layer(&at, "conv1", "bn1", x, Conv::new(width, 3));
        x = layer(&at, "conv2", "bn2", x, Conv::new(width, 3).stride(2));
        // As in the paper, in place of every pooling but the last.
        if stage + 1 < widths.len() {
            x = at.dropout(x);
        }
    }
    s.global_avg_pool(x)
}

/// Convolution, batch normalisation, ReLU.
fn layer(s: &Scope, conv: &str, norm: &str, x: Value, shape: Conv) -> Value {
    s.relu(s.batch_norm(norm, s.conv(conv, x, shape)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_widths() {
        assert_eq!(parse("convnet_16_32"), Some(vec![16, 32]));
        for name in
            ["convnet", "convnet_", "convnet_0", "convnet_012", "convnet_5x", "convnet_99999"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
