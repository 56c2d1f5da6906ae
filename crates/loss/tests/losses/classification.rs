//! Cross-entropies and focal losses.

use ndarray::{ArrayD, arr2};
use nearkin_loss::{
    BinaryCrossEntropy, CrossEntropy, Focal, LossError, Reduction, binary_cross_entropy,
    cross_entropy, sigmoid_focal, soft_cross_entropy, softmax_focal,
};

use crate::checks::{Result, check, matrix, numbers, one};
#[cfg(feature = "onnx")]
use crate::checks::{check_both, float, ints};
use crate::fixture::group;

const IGNORED: usize = 255;
const LABELS: [usize; 5] = [2, 0, IGNORED, 3, 2];

/// Every setting by itself and all together; numbers that f32 holds exactly.
fn settings() -> Vec<CrossEntropy> {
    let plain = CrossEntropy { ignore_index: Some(IGNORED), ..CrossEntropy::default() };
    let weighted = CrossEntropy { class_weights: Some(vec![0.5, 2.0, 1.25, 0.0]), ..plain.clone() };
    let smoothed = CrossEntropy { label_smoothing: 0.125, ..plain.clone() };
    let both = CrossEntropy { label_smoothing: 0.25, ..weighted.clone() };
    let summed = CrossEntropy { reduction: Reduction::Sum, ..both.clone() };
    vec![plain, weighted, smoothed, both, summed]
}

fn of_labels(labels: &'static [usize], config: &CrossEntropy) -> impl Fn(&[ArrayD<f64>]) -> Result {
    move |x| one(cross_entropy(matrix(&x[0]).view(), labels, config))
}

#[test]
fn cross_entropy_of_labels() {
    let logits = [numbers(&[5, 4], 1) * 3.0];
    for config in settings() {
        check(&logits, of_labels(&LABELS, &config));
        #[cfg(feature = "onnx")]
        check_both(&logits, &[ints(&LABELS)], of_labels(&LABELS, &config), |s, x, y| {
            nearkin_loss::onnx::cross_entropy(s, x[0], y[0], &config)
        });
    }
}

#[test]
fn a_batch_without_labels_costs_nothing() {
    let logits = [numbers(&[3, 4], 2)];
    let config = &settings()[3];
    const NONE: [usize; 3] = [IGNORED; 3];
    let (value, gradients) = of_labels(&NONE, config)(&logits);
    assert!(value.abs() < f64::MIN_POSITIVE);
    assert!(gradients[0].iter().all(|g| g.abs() < f64::MIN_POSITIVE));
    #[cfg(feature = "onnx")]
    check_both(&logits, &[ints(&NONE)], of_labels(&NONE, config), |s, x, y| {
        nearkin_loss::onnx::cross_entropy(s, x[0], y[0], config)
    });
}

#[test]
fn cross_entropy_of_soft_targets() {
    let logits = [numbers(&[3, 4], 3) * 2.0];
    let targets = matrix(&numbers(&[3, 4], 4).mapv(f64::abs));
    for config in settings() {
        let config = CrossEntropy { ignore_index: None, ..config };
        let loss = |x: &[ArrayD<f64>]| {
            one(soft_cross_entropy(matrix(&x[0]).view(), targets.view(), &config))
        };
        check(&logits, loss);
        #[cfg(feature = "onnx")]
        check_both(&logits, &[float(&targets)], loss, |s, x, y| {
            nearkin_loss::onnx::soft_cross_entropy(s, x[0], y[0], &config)
        });
    }
}

#[test]
fn binary_cross_entropy_with_and_without_a_mask() {
    let logits = [numbers(&[4, 3], 5) * 4.0];
    let targets = matrix(&numbers(&[4, 3], 6).mapv(|v| if v > 0.0 { 1.0 } else { v.abs() }));
    let mask = matrix(&numbers(&[4, 3], 7).mapv(|v| if v > -0.5 { 1.0 } else { 0.0 }));
    let weighted =
        BinaryCrossEntropy { pos_weight: Some(vec![2.0, 0.5, 1.0]), reduction: Reduction::Mean };
    for config in [BinaryCrossEntropy::default(), weighted] {
        for mask in [None, Some(&mask)] {
            let loss = |x: &[ArrayD<f64>]| {
                let mask = mask.map(|mask| mask.view());
                one(binary_cross_entropy(matrix(&x[0]).view(), targets.view(), mask, &config))
            };
            check(&logits, loss);
            #[cfg(feature = "onnx")]
            {
                let mut feeds = vec![float(&targets)];
                feeds.extend(mask.map(float));
                check_both(&logits, &feeds, loss, |s, x, y| {
                    let mask = y.get(1).copied();
                    nearkin_loss::onnx::binary_cross_entropy(s, x[0], y[0], mask, &config)
                });
            }
        }
    }
}

#[test]
fn focal_losses() {
    let logits = [numbers(&[5, 4], 8) * 3.0];
    let targets = matrix(&numbers(&[5, 4], 9).mapv(|v| if v > 0.0 { 1.0 } else { 0.0 }));
    for gamma in [0.0, 0.5, 2.0, 5.0] {
        let config = Focal {
            gamma,
            class_weights: Some(vec![0.5, 2.0, 1.25, 0.75]),
            ignore_index: Some(IGNORED),
            ..Focal::default()
        };
        let sigmoid =
            |x: &[ArrayD<f64>]| one(sigmoid_focal(matrix(&x[0]).view(), targets.view(), &config));
        let softmax =
            |x: &[ArrayD<f64>]| one(softmax_focal(matrix(&x[0]).view(), &LABELS, &config));
        check(&logits, sigmoid);
        check(&logits, softmax);
        #[cfg(feature = "onnx")]
        {
            check_both(&logits, &[float(&targets)], sigmoid, |s, x, y| {
                nearkin_loss::onnx::sigmoid_focal(s, x[0], y[0], &config)
            });
            check_both(&logits, &[ints(&LABELS)], softmax, |s, x, y| {
                nearkin_loss::onnx::softmax_focal(s, x[0], y[0], &config)
            });
        }
    }
}

#[test]
fn logits_that_f32_cannot_exponentiate_have_finite_losses() {
    let logits = arr2(&[[200.0_f32, -200.0], [-3e4, 3e4]]);
    let found = cross_entropy(logits.view(), &[1, 0], &CrossEntropy::default()).unwrap();
    assert!((found.value - (400.0 + 6e4) / 2.0).abs() < 0.01);
    let targets = arr2(&[[0.0, 1.0], [1.0, 0.0]]);
    let found = sigmoid_focal(logits.view(), targets.view(), &Focal::default()).unwrap();
    assert!(found.gradient.iter().all(|g| g.is_finite()));
    let sure = arr2(&[[900.0_f32, 0.0]]);
    let soft = Focal { gamma: 0.5, ..Focal::default() };
    assert!(softmax_focal(sure.view(), &[0], &soft).unwrap().value.abs() < f32::MIN_POSITIVE);
}

fn refused<T: std::fmt::Debug>(found: std::result::Result<T, LossError>, expect: &str) {
    assert_eq!(found.unwrap_err().to_string(), expect);
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let logits = arr2(&[[0.0_f32, 1.0], [0.5, f32::NAN]]);
    let plain = CrossEntropy::default();
    refused(
        cross_entropy(logits.view(), &[0, 1], &plain),
        "logits[1, 1]: expected a finite value, found NaN",
    );
    refused(
        cross_entropy(logits.view(), &[0, 2], &plain),
        "label 1: expected a class below 2, found 2",
    );
    refused(cross_entropy(logits.view(), &[0], &plain), "labels: expected 2, one per row, found 1");
    let smooth = CrossEntropy { label_smoothing: 1.5, ..CrossEntropy::default() };
    refused(
        cross_entropy(logits.view(), &[0, 1], &smooth),
        "label_smoothing: expected a number in [0, 1], found 1.5",
    );
    let weights = CrossEntropy { class_weights: Some(vec![1.0]), ..CrossEntropy::default() };
    refused(
        cross_entropy(logits.view(), &[0, 1], &weights),
        "class_weights: expected one weight per class, found 1 weights for 2 classes",
    );
    let logits = arr2(&[[0.0_f32, 1.0]]);
    let targets = arr2(&[[0.0_f32, 0.5]]);
    refused(
        sigmoid_focal(logits.view(), targets.view(), &Focal::default()),
        "targets[0, 1]: expected 0 or 1, found 0.5",
    );
    let huge = arr2(&[[f32::MAX, f32::MIN]]);
    let summed = CrossEntropy { reduction: Reduction::Sum, ..CrossEntropy::default() };
    assert!(matches!(cross_entropy(huge.view(), &[1], &summed), Err(LossError::Overflow { .. })));
}

#[cfg(feature = "onnx")]
#[test]
fn settings_and_shapes_that_do_not_fit_are_reported_when_the_building_ends() {
    use nearkin_nn::{Scope, Value};
    use nearkin_onnx::{Dim, Graph, Shape, TensorType};
    let check = |dims: [Dim; 2], build: &dyn Fn(&Scope, Value) -> Value, expect: &str| {
        let s = Scope::over(Graph::new("loss"));
        let logits = s.input("logits", TensorType::f32(Shape(dims.to_vec())));
        build(&s, logits);
        assert_eq!(s.finish().unwrap_err().to_string(), expect);
    };
    let (n, three) = (Dim::symbol("N"), Dim::Known(3));
    let sharp = Focal { gamma: -1.0, ..Focal::default() };
    check(
        [n.clone(), three.clone()],
        &|s, x| nearkin_loss::onnx::sigmoid_focal(s, x, x, &sharp),
        "gamma: expected a finite number of at least 0, got -1",
    );
    check(
        [n.clone(), n.clone()],
        &|s, x| nearkin_loss::onnx::softmax_focal(s, x, x, &Focal::default()),
        "loss: expected a known number of classes, got [N, N]",
    );
    let weights = CrossEntropy { class_weights: Some(vec![1.0]), ..CrossEntropy::default() };
    check(
        [n, three],
        &|s, x| nearkin_loss::onnx::soft_cross_entropy(s, x, x, &weights),
        "class_weights: expected one weight per class, got 1 weights for 3 classes",
    );
}

#[test]
fn pytorch_agrees() {
    let group = group("classification");
    let (x, labels) = (matrix(&group.array("logits")), group.indices("labels"));
    let (soft, binary) = (matrix(&group.array("soft")), matrix(&group.array("binary")));
    let config = CrossEntropy {
        class_weights: Some(vec![0.5, 2.0, 1.25, 0.75]),
        label_smoothing: 0.125,
        ignore_index: Some(IGNORED),
        reduction: Reduction::Mean,
    };
    group.check("cross_entropy", one(cross_entropy(x.view(), &labels, &config)));
    let config = CrossEntropy { ignore_index: None, ..config };
    group.check("soft_cross_entropy", one(soft_cross_entropy(x.view(), soft.view(), &config)));
    let config =
        BinaryCrossEntropy { pos_weight: config.class_weights, reduction: Reduction::Mean };
    let found = binary_cross_entropy(x.view(), binary.view(), None, &config);
    group.check("binary_cross_entropy", one(found));
    let config = Focal::default();
    group.check("sigmoid_focal", one(sigmoid_focal(x.view(), binary.view(), &config)));
    let config = Focal { ignore_index: Some(IGNORED), ..config };
    group.check("softmax_focal", one(softmax_focal(x.view(), &labels, &config)));
}
