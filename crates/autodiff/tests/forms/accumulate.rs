//! Gradients of micro-batches against those of one large batch.

use nearkin_autodiff::{Optimiser, TrainingStep, training_step};
use nearkin_onnx::Model;

use super::{Arrays, Norm, SGD, assert_near, feeds, network, rows, run, training};

/// What the slots hold next; those that a graph does not change stay.
fn pass_on(step: &TrainingStep, model: &Model, state: &mut Arrays) -> Arrays {
    let out = run(model, state);
    for slot in &step.slots {
        if let Some(next) = out.get(&slot.output) {
            state.insert(slot.input.clone(), next.clone());
        }
    }
    out
}

/// The slots after two steps of `micro` micro-batches of `size` each, and the norms.
fn two_steps(
    optimiser: Optimiser,
    (micro, size): (usize, usize),
    clip: Option<f32>,
) -> (Arrays, [f64; 2]) {
    let model = network(Norm::Layer, 1);
    let mut training = training(&model, size, optimiser);
    training.accumulate = (micro > 1).then_some(micro);
    training.clip_norm = clip;
    training.average = Some(0.9);
    let step = training_step(&model, "loss", &training).unwrap();
    let mut state = feeds(&step, &rows(0, size), 0.1);
    let mut norms = [0.0; 2];
    for (t, norm) in norms.iter_mut().enumerate() {
        for (name, value) in step.scalars_at(t as u64 + 1, 0.1) {
            state.insert(name.to_owned(), ndarray::arr0(f64::from(value)).into_dyn());
        }
        let mut out = Arrays::new();
        for i in 0..micro {
            state.extend(rows((t * micro + i) * size, size));
            out = pass_on(&step, &step.model, &mut state);
        }
        if let Some(apply) = &step.apply {
            out = pass_on(&step, apply, &mut state);
        }
        *norm = out[TrainingStep::GRADIENT_NORM].sum();
    }
    let slots = step.slots.iter().map(|slot| (slot.input.clone(), state[&slot.input].clone()));
    (slots.collect(), norms)
}

#[test]
fn micro_batches_take_the_steps_of_one_large_batch() {
    for optimiser in [Optimiser::Sgd { momentum: 0.9, nesterov: true }, Optimiser::ADAM_W] {
        for clip in [None, Some(0.05)] {
            let (whole, norm) = two_steps(optimiser, (1, 6), clip);
            let (mut parts, norm_of_parts) = two_steps(optimiser, (3, 2), clip);
            for parameter in ["conv1.weight", "fc.bias"] {
                let sum = parts.remove(&format!("{parameter}/gradient")).unwrap();
                assert!(sum.iter().all(|&g| g == 0.0), "{parameter} is left with {sum}");
            }
            parts.retain(|name, _| !name.ends_with("/gradient"));
            // A third is no f32.
            assert_near(&parts, &whole, 1e-6);
            assert!((norm[1] - norm_of_parts[1]).abs() < 1e-6, "{norm:?} {norm_of_parts:?}");
            assert!(clip.is_none_or(|clip| norm[0] > f64::from(clip)), "{norm:?}");
        }
    }
}

#[test]
fn running_statistics_follow_every_micro_batch() {
    let model = network(Norm::Batch, 1);
    let mut parts = training(&model, 3, SGD);
    // Two steps that change no parameter see the same two batches.
    let still = training_step(&model, "loss", &parts).unwrap();
    parts.accumulate = Some(2);
    let step = training_step(&model, "loss", &parts).unwrap();
    let (mut expected, mut state) =
        (feeds(&still, &rows(0, 3), 0.0), feeds(&step, &rows(0, 3), 0.1));
    let start = state["bn1.running_var"].clone();
    for from in [0, 3] {
        expected.extend(rows(from, 3));
        state.extend(rows(from, 3));
        pass_on(&still, &still.model, &mut expected);
        let out = pass_on(&step, &step.model, &mut state);
        assert!(!out.contains_key(TrainingStep::GRADIENT_NORM));
    }
    for slot in &still.slots {
        assert_eq!(state[&slot.input], expected[&slot.input], "{}", slot.input);
    }
    assert_ne!(state["bn1.running_var"], start);
    pass_on(&step, step.apply.as_ref().unwrap(), &mut state);
    assert_ne!(state["conv1.weight"], expected["conv1.weight"]);
}

#[test]
fn one_micro_batch_is_a_step_and_none_is_refused() {
    let model = network(Norm::Layer, 1);
    let mut one = training(&model, 4, SGD);
    let plain = training_step(&model, "loss", &one).unwrap();
    one.accumulate = Some(1);
    let parts = training_step(&model, "loss", &one).unwrap();
    let mut fed = feeds(&parts, &rows(0, 4), 0.1);
    let expected = run(&plain.model, &fed);
    pass_on(&parts, &parts.model, &mut fed);
    let found = run(parts.apply.as_ref().unwrap(), &fed);
    for slot in &plain.slots {
        assert_eq!(found[&slot.output], expected[&slot.output], "{}", slot.input);
    }
    one.accumulate = Some(0);
    let error = training_step(&model, "loss", &one).unwrap_err();
    assert_eq!(error.to_string(), ": accumulate: expected at least 1, found 0");
}
