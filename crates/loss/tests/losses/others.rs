//! Distillation, reconstruction, segmentation, adversarial objectives and neighbours.

use ndarray::{Array1, ArrayD, Ix1, arr1, arr2};
use nearkin_loss::{
    Adversarial, AdversarialConfig, Classes, Deviation, Distillation, LossError, Lovasz, Norm,
    Overlap, Reduction, adversarial_neighbour, adversarial_step, binary_overlap, discriminator,
    distillation, generator, lovasz_hinge, lovasz_softmax, normal_divergence, overlap,
    reconstruction,
};

use crate::checks::{check, matrix, numbers, one, two};
#[cfg(feature = "onnx")]
use crate::checks::{check_both, check_both_within, float, ints};
use crate::fixture::group;

const PIXELS: [usize; 6] = [2, 0, 255, 2, 2, 0];
const OBJECTIVES: [Adversarial; 4] = [
    Adversarial::CrossEntropy,
    Adversarial::LeastSquares,
    Adversarial::Wasserstein,
    Adversarial::Hinge,
];

fn vector(x: &ArrayD<f64>) -> Array1<f64> {
    x.clone().into_dimensionality::<Ix1>().unwrap()
}

#[test]
fn distillation_follows_labels_and_teacher() {
    let student = [numbers(&[4, 3], 1) * 2.0];
    let teacher = matrix(&(numbers(&[4, 3], 2) * 2.0));
    let labels = [2, 0, 1, 1];
    for (hard, soft) in [(0.25, 0.75), (0.0, 1.0), (1.0, 0.0)] {
        let config = Distillation { temperature: 2.0, hard, soft };
        let loss = |x: &[ArrayD<f64>]| {
            one(distillation(matrix(&x[0]).view(), teacher.view(), &labels, &config))
        };
        check(&student, loss);
        #[cfg(feature = "onnx")]
        check_both(&student, &[float(&teacher), ints(&labels)], loss, |s, x, y| {
            nearkin_loss::onnx::distillation(s, x[0], y[0], y[1], &config)
        });
    }
}

#[test]
fn reconstructions_of_any_shape() {
    let output = [numbers(&[2, 3, 2], 3).mapv(|v| 0.5 + 0.4375 * v)];
    let target = numbers(&[2, 3, 2], 4).mapv(|v| 0.5 + 0.5 * v);
    for deviation in [
        Deviation::Squared,
        Deviation::Absolute,
        Deviation::SmoothAbsolute { beta: 0.25 },
        Deviation::BinaryCrossEntropy,
    ] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let loss = |x: &[ArrayD<f64>]| {
                one(reconstruction(x[0].view(), target.view(), deviation, reduction))
            };
            check(&output, loss);
            #[cfg(feature = "onnx")]
            check_both(&output, &[float(&target)], loss, |s, x, y| {
                nearkin_loss::onnx::reconstruction(s, x[0], y[0], deviation, reduction)
            });
        }
    }
}

#[test]
fn a_certain_mistake_costs_100_as_in_pytorch() {
    let (x, y) = (arr1(&[0.0_f32, 1.0]), arr1(&[1.0_f32, 1.0]));
    let deviation = Deviation::BinaryCrossEntropy;
    let found = reconstruction(x.view(), y.view(), deviation, Reduction::Sum).unwrap();
    assert_eq!((found.value, found.gradient), (100.0, arr1(&[0.0, -1.0])));
    let outside = arr1(&[0.5_f32, 1.5]);
    let error = reconstruction(outside.view(), y.view(), deviation, Reduction::Sum).unwrap_err();
    assert_eq!(error.to_string(), "output[1]: expected a probability in [0, 1], found 1.5");
}

#[test]
fn divergence_from_a_normal() {
    let inputs = [numbers(&[4, 3], 5), numbers(&[4, 3], 6)];
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let loss = |x: &[ArrayD<f64>]| {
            two(normal_divergence(matrix(&x[0]).view(), matrix(&x[1]).view(), reduction))
        };
        check(&inputs, loss);
        #[cfg(feature = "onnx")]
        check_both(&inputs, &[], loss, |s, x, _| {
            nearkin_loss::onnx::normal_divergence(s, x[0], x[1], reduction)
        });
    }
    let zeros = ndarray::Array2::<f32>::zeros((2, 2));
    let found = normal_divergence(zeros.view(), (&zeros + 200.0).view(), Reduction::Sum);
    assert!(matches!(found, Err(LossError::Overflow { .. })));
}

fn overlaps() -> Vec<Overlap> {
    let ignoring = Overlap { ignore_index: Some(255), ..Overlap::DICE };
    let smooth = Overlap { smooth: 1.0, classes: Classes::All, ..ignoring };
    let focal = Overlap { gamma: 0.75, ignore_index: Some(255), ..Overlap::tversky(0.75, 0.25) };
    vec![ignoring, smooth, Overlap { ignore_index: Some(255), ..Overlap::JACCARD }, focal]
}

#[test]
fn overlaps_of_classes_and_of_one_region() {
    let logits = [numbers(&[6, 3], 7) * 2.0];
    let flat = [numbers(&[6], 8) * 2.0];
    let truth = arr1(&[1.0, 0.0, 0.0, 1.0, 0.5, 0.0]);
    for config in overlaps() {
        let loss = |x: &[ArrayD<f64>]| one(overlap(matrix(&x[0]).view(), &PIXELS, &config));
        check(&logits, loss);
        #[cfg(feature = "onnx")]
        check_both(&logits, &[ints(&PIXELS)], loss, |s, x, y| {
            nearkin_loss::onnx::overlap(s, x[0], y[0], &config)
        });
        let loss =
            |x: &[ArrayD<f64>]| one(binary_overlap(vector(&x[0]).view(), truth.view(), &config));
        check(&flat, loss);
        #[cfg(feature = "onnx")]
        check_both(&flat, &[float(&truth)], loss, |s, x, y| {
            nearkin_loss::onnx::binary_overlap(s, x[0], y[0], &config)
        });
    }
}

#[test]
fn a_perfect_mask_costs_nothing_and_an_empty_one_is_no_division_by_0() {
    let logits = arr2(&[[60.0_f32, -60.0], [-60.0, 60.0]]);
    for config in overlaps() {
        assert!(overlap(logits.view(), &[0, 1], &config).unwrap().value < 1e-6);
        let nothing = overlap(logits.view(), &[255, 255], &config).unwrap();
        assert!(nothing.value.is_finite() && nothing.gradient.iter().all(|g| g.abs() < 1e-6));
    }
    let lovasz = Lovasz { ignore_index: Some(255), ..Lovasz::default() };
    assert!(lovasz_softmax(logits.view(), &[0, 1], &lovasz).unwrap().value < 1e-6);
    assert!(lovasz_softmax(logits.view(), &[255, 255], &lovasz).unwrap().value < 1e-6);
}

#[test]
fn lovasz_losses_and_their_limit() {
    let logits = [numbers(&[6, 3], 9) * 2.0];
    for classes in [Classes::Present, Classes::All] {
        let config = Lovasz { classes, ignore_index: Some(255) };
        check(&logits, |x| one(lovasz_softmax(matrix(&x[0]).view(), &PIXELS, &config)));
    }
    let truth = [true, false, true, true, false, false];
    check(&[numbers(&[6], 10) * 2.0], |x| one(lovasz_hinge(vector(&x[0]).view(), &truth)));
    // At hard predictions the extension is the Jaccard loss itself: here 1 − 1/3.
    let hard = arr2(&[[1e3_f64, 0.0], [0.0, 1e3], [0.0, 1e3]]);
    let config = Lovasz::default();
    let found = lovasz_softmax(hard.view(), &[0, 0, 1], &config).unwrap();
    assert!((found.value - 0.5).abs() < 1e-12, "both classes have 1/2");
}

#[test]
fn adversarial_objectives() {
    let both = [numbers(&[5], 11) * 2.0, numbers(&[4], 12) * 2.0];
    for objective in OBJECTIVES {
        let loss = |x: &[ArrayD<f64>]| {
            two(discriminator(vector(&x[0]).view(), vector(&x[1]).view(), objective))
        };
        check(&both, loss);
        let made = |x: &[ArrayD<f64>]| one(generator(vector(&x[0]).view(), objective));
        check(&both[..1], made);
        #[cfg(feature = "onnx")]
        {
            check_both(&both, &[], loss, |s, x, _| {
                nearkin_loss::onnx::discriminator(s, x[0], x[1], objective)
            });
            check_both_within(1e-9, &both[..1], &[], made, |s, x, _| {
                nearkin_loss::onnx::generator(s, x[0], objective)
            });
        }
    }
}

fn length(x: &ndarray::Array2<f64>, row: usize, norm: Norm) -> f64 {
    let sizes = x.row(row).mapv(f64::abs);
    match norm {
        Norm::L1 => sizes.sum(),
        Norm::L2 => sizes.mapv(|v| v * v).sum().sqrt(),
        Norm::LInfinity => sizes.iter().copied().fold(0.0, f64::max),
    }
}

#[test]
fn a_step_is_the_steepest_of_its_length() {
    let gradient = matrix(&numbers(&[3, 5], 13));
    let start = matrix(&numbers(&[3, 5], 14));
    for norm in [Norm::L1, Norm::L2, Norm::LInfinity] {
        let config = AdversarialConfig {
            adv_step_size: 0.25,
            adv_grad_norm: norm,
            ..AdversarialConfig::default()
        };
        let next = adversarial_step(start.view(), start.view(), gradient.view(), &config).unwrap();
        let step = next - &start;
        for row in 0..3 {
            assert!((length(&step, row, norm) - 0.25).abs() < 1e-12);
            // The dual norm of the gradient is the most that a step of this length can gain.
            let dual = match norm {
                Norm::L1 => Norm::LInfinity,
                Norm::L2 => Norm::L2,
                Norm::LInfinity => Norm::L1,
            };
            let gain = step.row(row).dot(&gradient.row(row));
            assert!((gain - 0.25 * length(&gradient, row, dual)).abs() < 1e-12);
        }
    }
}

#[test]
fn many_steps_stay_in_the_ball_and_in_bounds() {
    let start = matrix(&numbers(&[4, 6], 15));
    for norm in [Norm::L1, Norm::L2, Norm::LInfinity] {
        let config = AdversarialConfig {
            adv_step_size: 0.5,
            adv_grad_norm: norm,
            pgd_iterations: 20,
            pgd_epsilon: Some(0.75),
            clip: None,
        };
        let mut calls = 0;
        let ascent = |x: ndarray::ArrayView2<'_, f64>| {
            calls += 1;
            Ok::<_, LossError>(x.mapv(|v| (5.0 * v).sin() + 0.125))
        };
        let found = adversarial_neighbour(start.view(), ascent, &config).unwrap();
        assert_eq!(calls, 20);
        let moved = &found - &start;
        for row in 0..4 {
            assert!(length(&moved, row, norm) <= 0.75 + 1e-12, "{norm:?}");
        }
        let clipped = AdversarialConfig { clip: Some((-0.5, 0.5)), ..config };
        let slope = |x: ndarray::ArrayView2<'_, f64>| Ok::<_, LossError>(x.to_owned());
        let found = adversarial_neighbour(start.view(), slope, &clipped).unwrap();
        assert!(found.iter().all(|v| v.abs() <= 0.5));
    }
}

/// The nearest point of an L1 ball against a search over the soft threshold.
#[test]
fn the_l1_ball_is_entered_at_its_nearest_point() {
    let start = ndarray::Array2::<f64>::zeros((1, 4));
    let x = arr2(&[[0.9, -0.5, 0.1, 0.0]]);
    let config = AdversarialConfig {
        adv_step_size: 1e-6,
        adv_grad_norm: Norm::L1,
        pgd_epsilon: Some(1.0),
        ..AdversarialConfig::default()
    };
    let still = ndarray::Array2::zeros((1, 4));
    let found = adversarial_step(start.view(), x.view(), still.view(), &config).unwrap();
    // 0.4 beyond + 0.1 dropped: threshold 0.2 leaves 0.7 and 0.3.
    let expected = arr2(&[[0.7, -0.3, 0.0, 0.0]]);
    assert!((found - expected).iter().all(|d| d.abs() < 1e-6));
}

#[test]
fn adversarial_settings_that_do_not_fit_are_refused() {
    let x = arr2(&[[0.0_f32]]);
    let check = |config: AdversarialConfig, expect: &str| {
        let found = adversarial_step(x.view(), x.view(), x.view(), &config);
        assert_eq!(found.unwrap_err().to_string(), expect);
    };
    let plain = AdversarialConfig::default();
    check(
        AdversarialConfig { pgd_iterations: 0, ..plain },
        "pgd_iterations: expected at least 1, found 0",
    );
    check(
        AdversarialConfig { adv_step_size: -1.0, ..plain },
        "adv_step_size: expected a finite number above 0, found -1",
    );
    check(
        AdversarialConfig { clip: Some((1.0, 0.0)), ..plain },
        "clip: expected finite bounds in order, found 1",
    );
    let still = adversarial_step(x.view(), x.view(), x.view(), &plain).unwrap();
    assert_eq!(still, x);
}

#[test]
fn pytorch_agrees() {
    let group = group("others");
    let (student, teacher) = (matrix(&group.array("student")), matrix(&group.array("teacher")));
    let (labels, pixels) = (group.indices("labels"), group.indices("pixels"));
    let (output, target) = (matrix(&group.array("output")), matrix(&group.array("target")));
    let (real, fake) = (vector(&group.array("real")), vector(&group.array("fake")));
    let truth = vector(&group.array("truth"));
    let config = Distillation { temperature: 4.0, hard: 0.25, soft: 0.75 };
    let found = distillation(student.view(), teacher.view(), &labels, &config);
    group.check("distillation", one(found));
    for (name, deviation) in [
        ("squared", Deviation::Squared),
        ("absolute", Deviation::Absolute),
        ("smooth_absolute", Deviation::SmoothAbsolute { beta: 0.25 }),
        ("binary_cross_entropy", Deviation::BinaryCrossEntropy),
    ] {
        let found = reconstruction(output.view(), target.view(), deviation, Reduction::Mean);
        group.check(name, one(found));
    }
    let found = normal_divergence(output.view(), target.view(), Reduction::Mean);
    group.check("normal_divergence", two(found));
    let focal = Overlap { gamma: 0.75, ..Overlap::tversky(0.75, 0.25) };
    for (name, config) in
        [("dice", Overlap::DICE), ("jaccard", Overlap::JACCARD), ("focal_tversky", focal)]
    {
        let config = Overlap { ignore_index: Some(255), ..config };
        group.check(name, one(overlap(student.view(), &pixels, &config)));
    }
    group.check("binary_dice", one(binary_overlap(fake.view(), truth.view(), &Overlap::DICE)));
    let config = Lovasz { ignore_index: Some(255), ..Lovasz::default() };
    group.check("lovasz_softmax", one(lovasz_softmax(student.view(), &pixels, &config)));
    let sides: Vec<bool> = truth.iter().map(|&t| t > 0.5).collect();
    group.check("lovasz_hinge", one(lovasz_hinge(fake.view(), &sides)));
    let names = ["cross_entropy", "least_squares", "wasserstein", "hinge"];
    for (name, objective) in names.into_iter().zip(OBJECTIVES) {
        let found = discriminator(real.view(), fake.view(), objective);
        group.check(&format!("discriminator_{name}"), two(found));
        group.check(&format!("generator_{name}"), one(generator(fake.view(), objective)));
    }
}
