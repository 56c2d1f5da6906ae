//! Distillation, reconstruction, segmentation and adversarial objectives.

use nearkin_nn::{Scope, Value};

use super::classification::{counted, cross_entropy};
use super::parts::{classes_of, complement, reduce, refuse, share, square};
use crate::reconstruction::SMALLEST_LOG;
use crate::{Adversarial, Classes, CrossEntropy, Deviation, Distillation, Overlap, Reduction};

/// [`crate::distillation`] of `student [N, C]`, `teacher [N, C]` and `labels [N]`, i64. No gradient
/// flows to the teacher.
pub fn distillation(
    s: &Scope,
    student: Value,
    teacher: Value,
    labels: Value,
    config: &Distillation,
) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let softened = |x| s.div(x, s.scalar(config.temperature));
    let teacher = softened(s.stop_gradient(teacher));
    let apart = s.sub(s.log_softmax(teacher), s.log_softmax(softened(student)));
    let divergence = s.mean_all(s.sum(s.mul(s.softmax(teacher), apart), &[1]));
    let soft = s.scale(divergence, config.soft * config.temperature * config.temperature);
    let hard = cross_entropy(s, student, labels, &CrossEntropy::default());
    s.add(s.scale(hard, config.hard), soft)
}

/// [`crate::reconstruction`] of `output` and `target` of one shape.
pub fn reconstruction(
    s: &Scope,
    output: Value,
    target: Value,
    deviation: Deviation,
    reduction: Reduction,
) -> Value {
    if let Err(error) = deviation.check() {
        return refuse(s, &error);
    }
    let d = s.sub(output, target);
    let terms = match deviation {
        Deviation::Squared => square(s, d),
        Deviation::Absolute => s.abs(d),
        Deviation::SmoothAbsolute { beta } => {
            let size = s.abs(d);
            let near = s.div(square(s, d), s.scalar(2.0 * beta));
            let far = s.sub(size, s.scalar(beta / 2.0));
            s.where_(s.less(size, s.scalar(beta)), near, far)
        }
        Deviation::BinaryCrossEntropy => {
            // e⁻¹⁰⁰ is a subnormal number in f32: bounded before the logarithm, its slope is 0 below.
            let smallest = s.scalar(SMALLEST_LOG.exp() as f32);
            let log = |x| s.log(s.max(x, smallest));
            let positive = s.mul(target, log(output));
            let negative = s.mul(complement(s, target), log(complement(s, output)));
            s.neg(s.add(positive, negative))
        }
    };
    reduce(s, terms, reduction)
}

/// [`crate::normal_divergence`] of `mean [N, d]` and `log_variance [N, d]`.
pub fn normal_divergence(
    s: &Scope,
    mean: Value,
    log_variance: Value,
    reduction: Reduction,
) -> Value {
    let variance = s.sub(s.sub(s.exp(log_variance), log_variance), s.scalar(1.0));
    let of_row = s.sum(s.add(square(s, mean), variance), &[1]);
    s.scale(reduce(s, of_row, reduction), 0.5)
}

/// [`crate::overlap`] of `logits [P, C]` and `labels [P]`, i64.
pub fn overlap(s: &Scope, logits: Value, labels: Value, config: &Overlap) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let classes = classes_of(s, logits, -1);
    let (mut p, mut g) = (s.softmax(logits), s.one_hot(labels, classes));
    if let Some(counted) = counted(s, labels, config.ignore_index) {
        let counted = s.reshape(counted, &[-1, 1]);
        (p, g) = (s.mul(p, counted), s.mul(g, counted));
    }
    let (misses, truth) = misses(s, p, g, config);
    match config.classes {
        Classes::All => s.mean_all(misses),
        Classes::Present => {
            let present = s.to_f32(s.less(s.scalar(0.0), truth));
            share(s, s.sum_all(s.mul(misses, present)), s.sum_all(present))
        }
    }
}

/// [`crate::binary_overlap`] of `logits [P]` and `targets [P]`.
pub fn binary_overlap(s: &Scope, logits: Value, targets: Value, config: &Overlap) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    s.sum_all(misses(s, s.sigmoid(logits), targets, config).0)
}

/// (1 − T)^γ and Σ g along the first axis.
fn misses(s: &Scope, p: Value, g: Value, config: &Overlap) -> (Value, Value) {
    let (hits, predicted, truth) = (s.sum(s.mul(p, g), &[0]), s.sum(p, &[0]), s.sum(g, &[0]));
    let smooth = s.scalar(config.smooth);
    let false_positives = s.scale(s.sub(predicted, hits), config.false_positives);
    let false_negatives = s.scale(s.sub(truth, hits), config.false_negatives);
    let wrong = s.add(false_positives, false_negatives);
    // 1 − T = (α·FP + β·FN) / (TP + α·FP + β·FN + s); 0 where there is nothing at all.
    let miss = share(s, wrong, s.add(s.add(hits, wrong), smooth));
    let miss = s.relu(miss);
    if (config.gamma - 1.0).abs() < f32::EPSILON {
        return (miss, truth);
    }
    // The power has no slope at 0.
    (s.pow(s.max(miss, s.scalar(1e-12)), config.gamma), truth)
}

/// [`crate::discriminator`] of `real` and `fake`, each of any shape.
pub fn discriminator(s: &Scope, real: Value, fake: Value, objective: Adversarial) -> Value {
    let of_fake = match objective {
        Adversarial::CrossEntropy => s.softplus(fake),
        Adversarial::LeastSquares => s.scale(square(s, fake), 0.5),
        Adversarial::Wasserstein => fake,
        Adversarial::Hinge => s.relu(s.add(fake, s.scalar(1.0))),
    };
    s.add(s.mean_all(of_real(s, real, objective)), s.mean_all(of_fake))
}

/// [`crate::generator`] of `fake`, of any shape.
pub fn generator(s: &Scope, fake: Value, objective: Adversarial) -> Value {
    match objective {
        Adversarial::Hinge => s.neg(s.mean_all(fake)),
        _ => s.mean_all(of_real(s, fake, objective)),
    }
}

fn of_real(s: &Scope, x: Value, objective: Adversarial) -> Value {
    match objective {
        Adversarial::CrossEntropy => s.softplus(s.neg(x)),
        Adversarial::LeastSquares => s.scale(square(s, s.sub(x, s.scalar(1.0))), 0.5),
        Adversarial::Wasserstein => s.neg(x),
        Adversarial::Hinge => s.relu(complement(s, x)),
    }
}
