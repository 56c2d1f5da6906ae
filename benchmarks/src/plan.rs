//! Which cases a run will measure, decided before anything heavy is done.
//!
//! Building an architecture's graph without weights takes milliseconds, so a plan already knows
//! every name, shape and count. It reads no image and loads no engine.

use nearkin_nn::Options;
use nearkin_zoo::{Registry, UnknownVariant};

use crate::planned::PlannedCase;
use crate::record::WeightsNote;
use crate::suite::{Input, Suite, SuiteCase, WeightsChoice};

/// What all cases of a run have in common beside the suite.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    /// `ort` or `tract`.
    pub runtime: &'a str,
    /// `cpu`, `cuda` or `auto`.
    pub device: &'a str,
    /// Threads of one run.
    pub threads: usize,
    /// Seed of the weights.
    pub seed: u64,
    /// SHA-256 of images and labels.
    pub data_sha256: &'a str,
}

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The suite or the command line names a variant that the zoo lacks.
    #[error(transparent)]
    UnknownVariant(#[from] UnknownVariant),
    /// A variant cannot be built as asked.
    #[error("{variant} at {size}x{size}: {source}")]
    Build {
        /// The variant.
        variant: String,
        /// Height and width of the image, in pixels.
        size: usize,
        /// The first layer that cannot be built.
        #[source]
        source: nearkin_nn::BuildError,
    },
}

/// The options with which the suite's input builds a variant.
#[must_use]
pub fn options(input: [usize; 3]) -> Options {
    let [in_chans, height, width] = input;
    Options { num_classes: Some(0), in_chans, img_size: Some((height, width)) }
}

/// The cases of `suite`, or those that `patterns` choose.
///
/// With patterns (see [`Registry::matching`]), the zoo's variants that match one are measured
/// under the suite's protocol: the suite's own cases first, as the suite has them, then others in
/// the zoo's order with the suite's common input. `batch` replaces every case's batch sizes.
///
/// # Errors
/// [`PlanError`]; an unknown name comes with the nearest known ones.
pub fn plan(
    suite: &Suite,
    patterns: &[String],
    batch: Option<&[usize]>,
    registry: &Registry,
    conditions: &Conditions<'_>,
) -> Result<Vec<PlannedCase>, PlanError> {
    let mut cases = choose(suite, patterns, registry)?;
    if let Some(batch) = batch {
        cases.iter_mut().for_each(|case| case.batch = batch.to_vec());
    }
    cases.iter().map(|case| planned(case, &suite.input, registry, conditions)).collect()
}

fn choose(
    suite: &Suite,
    patterns: &[String],
    registry: &Registry,
) -> Result<Vec<SuiteCase>, PlanError> {
    if patterns.is_empty() {
        return Ok(suite.cases.clone());
    }
    let mut names: Vec<String> = Vec::new();
    for pattern in patterns {
        let found = registry.matching(pattern)?;
        for name in found.iter().map(|entry| entry.name()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    let own = suite.cases.iter().filter(|case| names.contains(&case.variant)).cloned();
    let mut chosen: Vec<_> = own.collect();
    for variant in names {
        if !chosen.iter().any(|case| case.variant == variant) {
            let Input { img_size, ref batch, .. } = suite.input;
            let batch = batch.clone();
            chosen.push(SuiteCase { variant, weights: WeightsChoice::Init, img_size, batch });
        }
    }
    Ok(chosen)
}

fn planned(
    case: &SuiteCase,
    input: &Input,
    registry: &Registry,
    conditions: &Conditions<'_>,
) -> Result<PlannedCase, PlanError> {
    let size = case.img_size;
    let shape = [input.channels, size, size];
    let entry = registry.variant(&case.variant)?;
    let architecture = entry.build(&options(shape)).map_err(|source| PlanError::Build {
        variant: case.variant.clone(),
        size,
        source,
    })?;
    let weights = match case.weights {
        WeightsChoice::Init => WeightsNote {
            label: format!("untrained (init seed {})", conditions.seed),
            trained: false,
            seed: Some(conditions.seed),
        },
    };
    let batch: Vec<_> = case.batch.iter().map(usize::to_string).collect();
    let key = format!(
        "{} weights=init:{} input={}x{size}x{size} batch={} runtime={} device={} threads={} data={}",
        case.variant,
        conditions.seed,
        input.channels,
        batch.join(","),
        conditions.runtime,
        conditions.device,
        conditions.threads,
        conditions.data_sha256.get(..12).unwrap_or(conditions.data_sha256),
    );
    Ok(PlannedCase {
        key,
        variant: case.variant.clone(),
        family: architecture.group.to_owned(),
        weights,
        input: shape,
        batch: case.batch.clone(),
        params: architecture.parameter_count(),
        macs: architecture.macs,
        embedding_width: architecture.embedding_width,
        crop: "none; bilinear resize of the whole image".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions<'_> =
        Conditions { runtime: "tract", device: "cpu", threads: 2, seed: 0, data_sha256: "abc" };

    fn planned_with(patterns: &[&str], seed: u64) -> Result<Vec<PlannedCase>, PlanError> {
        let patterns: Vec<_> = patterns.iter().map(|&p| p.to_owned()).collect();
        let conditions = Conditions { seed, ..CONDITIONS };
        let suite = Suite::load("quick").unwrap();
        plan(&suite, &patterns, None, &Registry::standard(), &conditions)
    }

    #[test]
    fn the_quick_suite_has_one_case_of_each_family() {
        let plan = planned_with(&[], 0).unwrap();
        let families: Vec<_> = plan.iter().map(|case| case.family.as_str()).collect();
        assert_eq!(families, ["fcnn", "vgg", "resnet", "vit", "convnext"]);
    }

    #[test]
    fn patterns_choose_from_the_zoo_under_the_suites_protocol() {
        let plan = planned_with(&["resnet18*", "convnext_atto"], 0).unwrap();
        let names: Vec<_> = plan.iter().map(|case| case.variant.as_str()).collect();
        assert_eq!(names[..2], ["resnet18", "convnext_atto"], "the suite's own first");
        assert!(names.contains(&"resnet18d"), "{names:?}");
        assert!(plan.iter().all(|case| case.input == plan[0].input));
    }

    #[test]
    fn an_unknown_name_comes_with_its_neighbours() {
        let error = planned_with(&["resnet81"], 0).unwrap_err().to_string();
        assert!(error.contains("resnet18"), "{error}");
        let error = planned_with(&["resnot*"], 0).unwrap_err().to_string();
        assert!(error.contains("resnot*"), "{error}");
    }

    #[test]
    fn keys_tell_cases_and_conditions_apart() {
        let plan = planned_with(&[], 0).unwrap();
        let other = planned_with(&[], 1).unwrap();
        assert_ne!(plan[0].key, plan[1].key);
        assert_ne!(plan[0].key, other[0].key);
        assert_eq!(plan[0].key, planned_with(&[], 0).unwrap()[0].key);
        assert!(plan[0].weights.label.starts_with("untrained"));
    }
}
