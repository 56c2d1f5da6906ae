//! Runs a variant on the formula's batch and compares what comes out.

use super::compare::{Distance, Verdict, graph_differences, mark, rel_l2, stage_difference};
use super::report::Certificate;
use anyhow::{Context as _, anyhow};
use ndarray::Array4;
use nearkin_nn::reference::{Outputs, Reference};
use nearkin_nn::{Architecture, EMBEDDING, Entry, INPUT, LOGITS, Options, Weights};
use nearkin_onnx::Model;
use nearkin_runtime::{Input, Session, SessionReport, Tensor};
use std::path::Path;
use std::time::Instant;

/// Images in a reference's batch.
const ROWS: usize = 2;

/// Values of a row that a reference keeps where it does not keep all.
const FIRST: usize = 64;
const LAST: usize = 8;

/// Compares one variant with its reference.
pub(super) fn certify(
    entry: &Entry,
    reference: &Reference,
    path: &Path,
    options: &nearkin_runtime::Options,
) -> Certificate {
    let start = Instant::now();
    let mut certificate = Certificate::new(reference, path);
    if let Err(error) = fill(&mut certificate, entry, reference, options) {
        certificate.differences.push(format!("{error:#}"));
    }
    certificate.verdict = match (&certificate.differences[..], &reference.outputs) {
        ([], Some(_)) => Verdict::Pass,
        ([], None) => Verdict::PassManifest,
        _ => Verdict::Fail,
    };
    certificate.seconds = start.elapsed().as_secs_f64();
    certificate
}

fn fill(
    certificate: &mut Certificate,
    entry: &Entry,
    reference: &Reference,
    options: &nearkin_runtime::Options,
) -> anyhow::Result<()> {
    let [in_chans, height, width] = reference.input_size;
    let built = entry.build(&Options {
        num_classes: Some(reference.num_classes),
        in_chans,
        img_size: Some((height, width)),
    })?;
    let own = entry.build(&Options::default())?;
    if own.input() != reference.input_size {
        let (expected, found) = (reference.input_size, own.input());
        certificate.differences.push(format!("input: expected {expected:?}, found {found:?}"));
    }
    certificate.differences.extend(graph_differences(&built, reference));
    let Some(outputs) = &reference.outputs else { return Ok(()) };
    if !certificate.differences.is_empty() {
        return Ok(());
    }
    let weights = Weights::formula(&built, Some(reference));
    if let Some(expected) = reference.weights_sum {
        let found = weights_sum(&weights);
        if (found - expected).abs() > 1e-9 * expected.abs().max(1.0) {
            certificate.differences.push(format!("weights sum to {found}, expected {expected}"));
            return Ok(());
        }
    }
    let images =
        Array4::from_shape_vec((ROWS, in_chans, height, width), built.formula_input(ROWS))?;
    let model = built.to_model(&weights)?;
    let (found, session) = run(&model, options, &images, &[LOGITS, EMBEDDING])?;
    let one_by_one = session.engine == "tract";
    certificate.session = Some(session);
    compare_outputs(certificate, reference, outputs, &found, one_by_one);
    if !certificate.differences.is_empty() {
        let tolerance =
            reference.f32_error.as_ref().map_or(2e-5, |e| (10.0 * e.stage_l2_max_rel).max(2e-5));
        let stage = first_diverging(&built, &weights, outputs, options, &images, tolerance)?;
        if let Some(stage) = &stage {
            certificate.differences.push(format!("first stage that diverges: {stage}"));
        }
        certificate.first_diverging_stage = stage;
    }
    Ok(())
}

fn weights_sum(weights: &Weights) -> f64 {
    let values = weights.iter().filter_map(|(_, tensor)| tensor.to_f32());
    values.map(|v| v.iter().map(|&x| f64::from(x)).sum::<f64>()).sum()
}

fn run(
    model: &Model,
    options: &nearkin_runtime::Options,
    images: &Array4<f32>,
    names: &[&str],
) -> anyhow::Result<(Vec<Vec<f32>>, SessionReport)> {
    let mut session = Session::load(model.to_bytes()?, options)?;
    let tensors = session.run(&[Input::new(INPUT, images.view())], names)?;
    let values = tensors
        .into_iter()
        .zip(names)
        .map(|(tensor, name)| floats(tensor).with_context(|| format!("output {name}")))
        .collect::<anyhow::Result<_>>()?;
    Ok((values, session.report().clone()))
}

fn floats(tensor: Tensor) -> anyhow::Result<Vec<f32>> {
    let array = tensor.into_f32().ok_or_else(|| anyhow!("expected f32"))?;
    Ok(array.iter().copied().collect())
}

fn compare_outputs(
    certificate: &mut Certificate,
    reference: &Reference,
    outputs: &Outputs,
    found: &[Vec<f32>],
    one_by_one: bool,
) {
    let error = reference.f32_error.as_ref();
    let logits = &outputs.logits;
    let parts = (
        logits.iter().map(|row| row.first.clone()).collect::<Vec<_>>(),
        logits.iter().map(|row| row.last.clone()).collect::<Vec<_>>(),
    );
    let distance = Distance {
        rel_l2: ends_distance(&found[0], reference.num_classes, &parts.0, &parts.1),
        mark: mark(error.map_or(0.0, |e| e.logits.rel_l2), one_by_one),
    };
    certificate.logits = Some(distance);
    let mut check = |name: &str, distance: Distance| {
        if !distance.passes() {
            let Distance { rel_l2, mark } = distance;
            let text = format!("{name}: relative L2 {rel_l2:.2e}, at most {mark:.2e} passes");
            certificate.differences.push(text);
        }
    };
    check(LOGITS, distance);
    let Some(embedding) = &outputs.embedding else { return };
    let rel_l2 = if embedding.rows.is_empty() {
        ends_distance(&found[1], embedding.dim, &embedding.first, &embedding.last)
    } else {
        rel_l2(&found[1], &embedding.rows.concat())
    };
    let own = error.and_then(|e| e.embedding.as_ref()).map_or(0.0, |e| e.rel_l2);
    let distance = Distance { rel_l2, mark: mark(own, one_by_one) };
    check(EMBEDDING, distance);
    certificate.embedding = Some(distance);
}

/// The distance over the first and last values of every row, all rows together.
fn ends_distance(found: &[f32], width: usize, first: &[Vec<f32>], last: &[Vec<f32>]) -> f64 {
    if width == 0 || found.len() != width * first.len() {
        return f64::INFINITY;
    }
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for (row, values) in found.chunks(width).enumerate() {
        let first = &first[row];
        let last = last.get(row).map_or(&[][..], Vec::as_slice);
        if first.is_empty() || first.len() > FIRST.min(width) || last.len() > LAST.min(width) {
            return f64::INFINITY;
        }
        ours.extend_from_slice(&values[..first.len()]);
        ours.extend_from_slice(&values[width - last.len()..]);
        theirs.extend_from_slice(first);
        theirs.extend_from_slice(last);
    }
    rel_l2(&ours, &theirs)
}

/// The first module, in order of execution, whose output is not the reference's.
fn first_diverging(
    built: &Architecture,
    weights: &Weights,
    outputs: &Outputs,
    options: &nearkin_runtime::Options,
    images: &Array4<f32>,
    tolerance: f64,
) -> anyhow::Result<Option<String>> {
    let model = built.to_model_with_stages(weights)?;
    let name_of = |stage: &str| {
        let (_, id) = built.stages().iter().find(|(name, _)| name == stage)?;
        Some(built.graph().value(*id).name.as_str())
    };
    let shared: Vec<_> =
        outputs.stages.iter().filter_map(|stage| Some((stage, name_of(&stage.0)?))).collect();
    let names: Vec<&str> = shared.iter().map(|(_, name)| *name).collect();
    let (found, _) = run(&model, options, images, &names)?;
    Ok(shared
        .iter()
        .zip(&found)
        .find_map(|((stage, _), values)| stage_difference(stage, values, ROWS, tolerance)))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    #[test]
    fn ends_of_rows_are_compared_where_they_are_kept() {
        let found = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let ends = |a: &[f32], b: &[f32]| (vec![a.to_vec(); 1], vec![b.to_vec(); 1]);
        let (first, last) = ends(&[1.0, 2.0], &[6.0]);
        assert_eq!(ends_distance(&found, 6, &first, &last), 0.0);
        let (first, last) = ends(&[1.0, 2.0], &[5.0]);
        assert!(ends_distance(&found, 6, &first, &last) > 0.1);
        assert_eq!(ends_distance(&found, 5, &first, &last), f64::INFINITY);
        assert_eq!(ends_distance(&found, 6, &[vec![]], &last), f64::INFINITY);
    }
}
