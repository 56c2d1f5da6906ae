//! Fully connected networks over flattened pixels.
//!
//! The plainest backbone: every layer is linear with a ReLU. Rumelhart, Hinton and Williams, 1986,
//! <https://doi.org/10.1038/323533a0>. The name gives the widths: `fcnn_512_128` has two hidden
//! layers and a 128-dimensional embedding.

use nearkin_nn::{Config, Family, Init, Scheme, Scope, Sized, Value, Variant};

/// Fully connected networks of any widths.
pub static FAMILY: Family = Family {
    name: "fcnn",
    classifier: "head",
    scheme: Scheme {
        linear: Init::KaimingNormalFanOut,
        linear_bias: Some(Init::Constant(0.0)),
        ..Scheme::TORCH
    },
    variants: &[
        Variant::new("fcnn_128_64", |s, x| fcnn(s, x, &[128, 64])).config(CONFIG),
        Variant::new("fcnn_256", |s, x| fcnn(s, x, &[256])).config(CONFIG),
        Variant::new("fcnn_512_128", |s, x| fcnn(s, x, &[512, 128])).config(CONFIG),
        Variant::new("fcnn_1024_512_256", |s, x| fcnn(s, x, &[1024, 512, 256])).config(CONFIG),
    ],
    sized: Some(Sized { pattern: "fcnn_<width>[_<width>…]", parse, build: fcnn, config: CONFIG }),
};

const CONFIG: Config = Config::INCEPTION.image(32).crop(1.0);

/// The widest layer a name may ask for.
const MAX_WIDTH: usize = 1 << 16;

/// The widths in a name such as `fcnn_512_128`.
fn parse(name: &str) -> Option<Vec<usize>> {
    name.strip_prefix("fcnn_")?
        .split('_')
        .map(|text| {
            let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
            text.parse().ok().filter(|width| canonical && (1..=MAX_WIDTH).contains(width))
        })
        .collect()
}

/// Maps images `[N, C, H, W]` to features `[N, D]`; `D` is the last of `widths`.
fn fcnn(s: &Scope, image: Value, widths: &[usize]) -> Value {
    let mut x = s.flatten(image);
    for (i, &width) in widths.iter().enumerate() {
        let at = s.scope("layers");
        x = at.relu(at.linear(&i.to_string(), x, width));
        // The last is the embedding, which drops elements on its way to the classifier.
        if i + 1 < widths.len() {
            x = at.dropout(x);
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_widths() {
        assert_eq!(parse("fcnn_512_128"), Some(vec![512, 128]));
        for name in ["fcnn", "fcnn_", "fcnn_0", "fcnn_012", "fcnn_5x", "fcnn_-1", "fcnn_99999999"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
