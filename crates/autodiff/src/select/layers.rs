//! Numbers the layers of a backbone by first use.

use std::collections::BTreeMap;

use super::names::is_number;
use super::parameters::Parameter;

/// First parts of names that are one layer, whatever numbers follow.
const STEMS: [&str; 3] = ["stem", "conv1", "patch_embed"];

pub(super) struct Layers {
    /// Layer by the parameter's place.
    number: BTreeMap<usize, usize>,
    /// Layers of the backbone.
    count: usize,
    has_head: bool,
}

impl Layers {
    /// `found` is in order of first use.
    pub(super) fn of(found: &[Parameter], is_head: impl Fn(&Parameter) -> bool) -> Self {
        let mut layers =
            Self { number: BTreeMap::new(), count: 0, has_head: found.iter().any(&is_head) };
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for parameter in found.iter().filter(|parameter| !is_head(parameter)) {
            let number = match layer(&parameter.path) {
                Some(name) => *known.entry(name).or_insert(layers.count),
                None => layers.count.saturating_sub(1),
            };
            layers.count = layers.count.max(number + 1);
            layers.number.insert(parameter.place, number);
        }
        layers
    }

    /// Layers of the backbone after the parameter's own; it is none of the head's.
    pub(super) fn after(&self, parameter: &Parameter) -> usize {
        let number = self.number.get(&parameter.place);
        number.map_or(0, |number| self.count - 1 - number)
    }

    /// The same with the head as the last layer, if there is one.
    pub(super) fn distance(&self, parameter: &Parameter) -> usize {
        self.after(parameter) + usize::from(self.has_head)
    }
}

/// The first numbers in a dotted name with all before them, and a following `blocks.N`; none if
/// there is no number, or the name begins as a stem's.
fn layer(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('.').collect();
    if STEMS.contains(parts.first()?) {
        return None;
    }
    let numbers = |from: usize| parts[from..].iter().take_while(|part| is_number(part)).count();
    let first = parts.iter().position(|part| is_number(part))?;
    let mut end = first + numbers(first);
    if parts.get(end) == Some(&"blocks") && numbers(end + 1) > 0 {
        end += 1 + numbers(end + 1);
    }
    let length: usize = parts[..end].iter().map(|part| part.len() + 1).sum();
    path.get(..length - 1)
}

#[cfg(test)]
mod tests {
    use super::layer;

    #[test]
    fn a_layer_ends_with_the_first_numbers() {
        for (path, expected) in [
            ("layer1.0.conv1.weight", Some("layer1.0")),
            ("layer4.2.downsample.0.weight", Some("layer4.2")),
            ("blocks.11.attn.qkv.weight", Some("blocks.11")),
            ("blocks.1.0.conv_dw.weight", Some("blocks.1.0")),
            ("stages.2.blocks.5.mlp.fc1.bias", Some("stages.2.blocks.5")),
            ("stages.1.downsample.0.weight", Some("stages.1")),
            ("stem.1.weight", None),
            ("conv1.3.weight", None),
            ("norm.weight", None),
            ("pos_embed", None),
        ] {
            assert_eq!(layer(path), expected, "{path}");
        }
    }
}
