//! What is compared, and when two numbers agree.

use nearkin_nn::Architecture;
use nearkin_nn::reference::{Reference, Stage};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// All that the reference states holds, outputs included.
    Pass,
    /// All holds, but the reference has no outputs.
    PassManifest,
    /// Something differs; [`super::report::Certificate::differences`] says what.
    Fail,
}

/// A measured distance and the largest that passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Distance {
    pub(super) rel_l2: f64,
    pub(super) mark: f64,
}

impl Distance {
    /// NaN does not pass.
    pub(super) fn passes(self) -> bool {
        self.rel_l2 <= self.mark
    }
}

/// The largest distance that passes, given single-precision PyTorch's.
///
/// `one_by_one`: the engine adds long products one by one in single precision.
pub(super) fn mark(f32_error: f64, one_by_one: bool) -> f64 {
    if one_by_one { (10.0 * f32_error).max(2e-5) } else { (5.0 * f32_error).max(5e-6) }
}

/// ‖found − expected‖₂ / ‖expected‖₂; infinite if the lengths differ, NaN if a value is NaN.
pub(super) fn rel_l2(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = expected.iter().map(|&b| square(f64::from(b))).sum();
    (difference / norm).sqrt()
}

/// What the graph alone shows: one sentence for each difference.
pub(super) fn graph_differences(built: &Architecture, reference: &Reference) -> Vec<String> {
    let mut found = tensor_differences(built, reference);
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            found.push(format!("{what}: expected {theirs}, found {ours}"));
        }
    };
    differ("group", built.group.to_owned(), reference.group.clone());
    differ("params", built.parameter_count().to_string(), reference.params.to_string());
    if let Some(macs) = reference.macs {
        differ("MACs", built.macs.to_string(), macs.to_string());
    }
    if let Some(width) = reference.head_hidden_size {
        differ("embedding width", built.embedding_width.to_string(), width.to_string());
    }
    let ours: BTreeMap<String, BTreeSet<String>> = built
        .norm_eps()
        .iter()
        .map(|(kind, eps)| (format!("{kind:?}"), eps.iter().map(f32::to_string).collect()))
        .collect();
    let mut theirs = BTreeMap::<String, BTreeSet<String>>::new();
    for (class, eps) in &reference.norm_eps {
        theirs.entry(norm_kind(class)).or_default().extend(eps.iter().map(f32::to_string));
    }
    differ("norm eps", format!("{ours:?}"), format!("{theirs:?}"));
    if let (Some(mean), Some(std)) = (reference.mean, reference.std) {
        differ("mean", format!("{:?}", built.config.mean), format!("{mean:?}"));
        differ("std", format!("{:?}", built.config.std), format!("{std:?}"));
    }
    if let Some(crop) = reference.crop_pct {
        differ("crop", built.config.crop_pct.to_string(), crop.to_string());
    }
    if let Some(interpolation) = &reference.interpolation {
        let ours = format!("{:?}", built.config.interpolation).to_lowercase();
        differ("interpolation", ours, interpolation.clone());
    }
    found
}

/// The class of timm's layer as the builder names it.
fn norm_kind(class: &str) -> String {
    ["BatchNorm", "LayerNorm", "GroupNorm", "GlobalResponseNorm"]
        .into_iter()
        .find(|kind| class.contains(kind))
        .unwrap_or(class)
        .to_owned()
}

/// Names, shapes and order of the `state_dict`.
fn tensor_differences(built: &Architecture, reference: &Reference) -> Vec<String> {
    const SHOWN: usize = 4;
    let ours: Vec<(&str, &[usize])> =
        built.parameters().iter().map(|p| (p.name.as_str(), p.dims.as_slice())).collect();
    let theirs: Vec<(&str, &[usize])> =
        reference.state_dict.iter().map(|e| (e.name.as_str(), e.dims.as_slice())).collect();
    if ours == theirs {
        return Vec::new();
    }
    let names = |list: &[(&str, &[usize])]| -> BTreeMap<String, Vec<usize>> {
        list.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect()
    };
    let (have, need) = (names(&ours), names(&theirs));
    let list = |what: &str, found: Vec<String>| {
        let more = if found.len() > SHOWN { ", …" } else { "" };
        let shown = found[..found.len().min(SHOWN)].join(", ");
        (!found.is_empty()).then(|| format!("{} {what}: {shown}{more}", found.len()))
    };
    let missing = need.keys().filter(|name| !have.contains_key(*name)).cloned().collect();
    let unexpected = have.keys().filter(|name| !need.contains_key(*name)).cloned().collect();
    let misshaped = need
        .iter()
        .filter_map(|(name, dims)| {
            let found = have.get(name).filter(|found| *found != dims)?;
            Some(format!("{name} (expected {dims:?}, found {found:?})"))
        })
        .collect();
    let mut found: Vec<String> = [
        list("tensors missing", missing),
        list("tensors unexpected", unexpected),
        list("tensors of another shape", misshaped),
    ]
    .into_iter()
    .flatten()
    .collect();
    if found.is_empty()
        && let Some(i) = (0..ours.len()).find(|&i| ours.get(i) != theirs.get(i))
    {
        let expected = theirs.get(i).map_or("nothing", |(name, _)| name);
        found.push(format!("order of tensors: expected {expected} at {i}, found {}", ours[i].0));
    }
    found
}

/// How a module's output differs from the reference's, if it does.
///
/// `found`: the module's output of the whole batch, row-major; `rows`: the batch.
pub(super) fn stage_difference(
    stage: &Stage,
    found: &[f32],
    rows: usize,
    tolerance: f64,
) -> Option<String> {
    let Stage(name, dims, moments, _) = stage;
    let expected_len: usize = dims.iter().product();
    if found.len() != expected_len {
        return Some(format!("{name}: expected {dims:?}, found {} values", found.len()));
    }
    // One entry of moments means that the first dimension is not the batch.
    if moments.len() != rows {
        return None;
    }
    for (row, (values, &[mean, std, l2])) in
        found.chunks((expected_len / rows).max(1)).zip(moments).enumerate()
    {
        let n = values.len() as f64;
        let our_mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let our_l2 = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let l2_off = (our_l2 / l2 - 1.0).abs();
        let mean_off = (our_mean - mean).abs() / std;
        if !(l2_off <= tolerance && mean_off <= tolerance) {
            return Some(format!(
                "{name}, row {row}: L2 {our_l2:.6} for {l2:.6}, mean {our_mean:.6} for {mean:.6}"
            ));
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    #[test]
    fn distances_see_length_and_nan() {
        assert_eq!(rel_l2(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((rel_l2(&[3.0, 5.0], &[3.0, 4.0]) - 0.2).abs() < 1e-12);
        assert_eq!(rel_l2(&[3.0], &[3.0, 4.0]), f64::INFINITY);
        let nan = Distance { rel_l2: rel_l2(&[f32::NAN, 4.0], &[3.0, 4.0]), mark: 1.0 };
        assert!(!nan.passes());
    }

    #[test]
    fn the_mark_follows_pytorchs_own_error() {
        assert_eq!(mark(1e-7, false), 5e-6);
        assert_eq!(mark(1e-5, false), 5e-5);
        assert_eq!(mark(1e-7, true), 2e-5);
        assert_eq!(mark(1e-5, true), 1e-4);
    }

    #[test]
    fn a_stage_differs_by_norm_mean_or_size() {
        let stage = Stage("layer1".to_owned(), vec![1, 2], vec![[0.5, 0.5, 1.0]], vec![]);
        assert_eq!(stage_difference(&stage, &[0.0, 1.0], 1, 1e-6), None);
        for wrong in [&[0.0, 1.1][..], &[0.0, -1.0], &[1.0], &[f32::NAN, 1.0]] {
            let difference = stage_difference(&stage, wrong, 1, 1e-6);
            assert!(difference.is_some_and(|text| text.starts_with("layer1")), "{wrong:?}");
        }
    }
}
