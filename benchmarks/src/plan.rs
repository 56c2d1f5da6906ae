//! Which cases a run will measure, decided before anything heavy is done.
//!
//! Building an architecture's graph without weights takes milliseconds, so a plan already knows
//! every name, shape and count. It reads no image and loads no engine.

use nearkin_nn::Options;
use nearkin_zoo::{Registry, UnknownVariant};

use crate::planned::PlannedCase;
use crate::record::{Failure, WeightsNote};
use crate::suite::{Input, Suite, SuiteCase, WeightsChoice};
use crate::transform::{Preparation, Transform};

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
    /// Not one of the chosen variants can be built as asked.
    #[error("nothing to measure: {}", reasons(refused))]
    Nothing {
        /// Every variant, with the first layer that cannot be built.
        refused: Vec<Failure>,
    },
}

fn reasons(refused: &[Failure]) -> String {
    let each = refused.iter().map(|failure| format!("{}: {}", failure.variant, failure.reason));
    each.collect::<Vec<_>>().join("; ")
}

/// The cases of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What will be measured, in the table's order; never empty.
    pub cases: Vec<PlannedCase>,
    /// Variants that cannot be built at the suite's image size.
    pub refused: Vec<Failure>,
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
/// [`PlanError`]; an unknown name comes with the nearest known ones. A variant that cannot be built
/// is no error while others can.
pub fn plan(
    suite: &Suite,
    patterns: &[String],
    batch: Option<&[usize]>,
    registry: &Registry,
    conditions: &Conditions<'_>,
) -> Result<Plan, PlanError> {
    let mut plan = Plan { cases: Vec::new(), refused: Vec::new() };
    for mut case in choose(suite, patterns, registry)? {
        if let Some(batch) = batch {
            case.batch = batch.to_vec();
        }
        match planned(&case, &suite.input, registry, conditions)? {
            Ok(case) => plan.cases.push(case),
            Err(refused) => plan.refused.push(refused),
        }
    }
    if plan.cases.is_empty() {
        return Err(PlanError::Nothing { refused: plan.refused });
    }
    Ok(plan)
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
) -> Result<Result<PlannedCase, Failure>, PlanError> {
    let entry = registry.variant(&case.variant)?;
    let own = entry.variant.config;
    let (height, width) = case.img_size.map_or(own.image, |size| (size, size));
    let transform = match input.transform {
        Preparation::Squash => Transform::squash(input.channels, input.mean, input.std),
        Preparation::Timm => Transform::timm(&own),
    };
    let shape = [input.channels, height, width];
    let architecture = entry.build(&options(shape));
    let weights = match case.weights {
        WeightsChoice::Init => WeightsNote {
            label: format!("untrained (init seed {})", conditions.seed),
            trained: false,
            seed: Some(conditions.seed),
        },
    };
    let batch: Vec<_> = case.batch.iter().map(usize::to_string).collect();
    let key = format!(
        "{} weights=init:{} input={}x{height}x{width} {} batch={} runtime={} device={} threads={} data={}",
        case.variant,
        conditions.seed,
        input.channels,
        transform.label(),
        batch.join(","),
        conditions.runtime,
        conditions.device,
        conditions.threads,
        conditions.data_sha256.get(..12).unwrap_or(conditions.data_sha256),
    );
    let architecture = match architecture {
        Ok(architecture) => architecture,
        Err(error) => {
            return Ok(Err(Failure {
                key,
                variant: case.variant.clone(),
                reason: format!("cannot be built at {height}x{width}: {error}"),
                stage: None,
                log: None,
            }));
        }
    };
    Ok(Ok(PlannedCase {
        key,
        variant: case.variant.clone(),
        family: architecture.group.to_owned(),
        weights,
        input: shape,
        batch: case.batch.clone(),
        params: architecture.parameter_count(),
        macs: architecture.macs,
        embedding_width: architecture.embedding_width,
        transform,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions<'_> =
        Conditions { runtime: "tract", device: "cpu", threads: 2, seed: 0, data_sha256: "abc" };

    fn planned_with(patterns: &[&str], seed: u64) -> Result<Vec<PlannedCase>, PlanError> {
        Ok(plan_at(64, patterns, seed)?.cases)
    }

    fn plan_at(size: usize, patterns: &[&str], seed: u64) -> Result<Plan, PlanError> {
        let patterns: Vec<_> = patterns.iter().map(|&p| p.to_owned()).collect();
        let conditions = Conditions { seed, ..CONDITIONS };
        let mut suite = Suite::load("quick").unwrap();
        suite.input.img_size = Some(size);
        suite.cases.iter_mut().for_each(|case| case.img_size = Some(size));
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
    fn a_variant_that_cannot_be_built_is_refused_and_the_others_are_planned() {
        let plan = plan_at(20, &[], 0).unwrap();
        assert!(plan.refused[0].variant.starts_with("vgg"), "{:?}", plan.refused);
        assert!(plan.refused[0].reason.contains("20x20"), "{:?}", plan.refused);
        assert!(plan.cases.iter().any(|case| case.variant == "resnet18"));
        let error = plan_at(20, &["vgg11"], 0).unwrap_err();
        assert!(matches!(error, PlanError::Nothing { .. }), "{error}");
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
