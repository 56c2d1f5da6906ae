//! The networks of `fixtures/gradients`: variants of the zoo on small images, and small ones of
//! the kinds that the zoo does not have, or has only in a size that no test can bear.

use nearkin_nn::{
    Architecture, Config, Conv, Entry, Family, Options, Pool, Scheme, Scope, Value, Variant,
};
use nearkin_zoo::Registry;

const PLAIN: Family = Family {
    name: "plain",
    classifier: "head",
    scheme: Scheme::TORCH,
    variants: &[Variant::new("lenet", lenet), Variant::new("mobilenet", mobilenet)],
    sized: None,
};

static LENET_AND_MOBILENET: Family = PLAIN;

static SMALL_VGG: Family = Family {
    name: "small_vgg",
    classifier: "head.fc",
    variants: &[Variant::new("vgg_bn", vgg).config(Config::IMAGENET)],
    ..PLAIN
};

/// The network called `name`, for square images and ten classes.
pub(crate) fn build(name: &str, side: usize) -> Architecture {
    let small = [&LENET_AND_MOBILENET, &SMALL_VGG].into_iter().find_map(|f| f.variant(name));
    let entry: Entry = small.unwrap_or_else(|| Registry::standard().variant(name).unwrap());
    let options = Options { num_classes: Some(10), img_size: Some((side, side)), in_chans: 3 };
    entry.build(&options).unwrap()
}

/// Grouped and dilated convolutions, both poolings.
fn lenet(s: &Scope, image: Value) -> Value {
    let window = Pool::new(3).stride(2).pad(1);
    let x = s.relu(s.conv("conv1", image, Conv::new(8, 5).bias()));
    let x = s.max_pool(x, window);
    let x = s.conv("conv2", x, Conv::new(12, 3).dilation(2).groups(4));
    let x = s.avg_pool(s.relu(s.batch_norm("bn2", x)), window);
    let x = s.relu(s.conv("conv3", x, Conv::new(16, 3).stride(2).groups(2).bias()));
    s.relu(s.linear("fc1", s.flatten(x), 24))
}

fn mobilenet(s: &Scope, image: Value) -> Value {
    let x = s.conv("conv1", image, Conv::new(8, 3).stride(2));
    let mut x = s.relu(s.batch_norm("bn1", x));
    for (i, (width, stride)) in [(8, 1), (16, 2), (16, 1)].into_iter().enumerate() {
        x = inverted(&s.scope(format!("blocks.{i}")), x, width, stride);
    }
    s.global_avg_pool(x)
}

/// MobileNet's block: expand, depthwise, project, with a shortcut where shapes allow one.
fn inverted(s: &Scope, x: Value, width: usize, stride: usize) -> Value {
    let inner = 4 * s.channels(x);
    let y = s.relu(s.batch_norm("bn1", s.conv("expand", x, Conv::new(inner, 1))));
    let y = s.conv("depthwise", y, Conv::new(inner, 3).stride(stride).groups(inner));
    let y = s.relu(s.batch_norm("bn2", y));
    let y = s.batch_norm("bn3", s.conv("project", y, Conv::new(width, 1)));
    if stride == 1 && s.channels(x) == width { s.add(x, y) } else { y }
}

/// VGG's layers: its own head alone has 120 million parameters.
fn vgg(s: &Scope, image: Value) -> Value {
    let features = s.scope("features");
    let conv = |index: usize, x, width| {
        let x = features.conv(&index.to_string(), x, Conv::new(width, 3).bias());
        features.relu(features.batch_norm(&(index + 1).to_string(), x))
    };
    let half = |x| features.max_pool(x, Pool::new(2).stride(2));
    let x = half(conv(0, image, 8));
    let x = half(conv(7, conv(4, x, 16), 16));
    let s = s.scope("pre_logits");
    let x = s.adaptive_avg_pool(x, (7, 7));
    let x = s.relu(s.conv("fc1", x, Conv::new(32, 7).pad(0).bias()));
    s.flatten(s.relu(s.conv("fc2", x, Conv::new(32, 1).bias())))
}
