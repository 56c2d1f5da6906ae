//! Mixup and CutMix: the targets say what became of the images.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use ndarray::{Array2, Array4, arr2};
use nearkin_data::{AugmentError, Draw, Mix, MixMode, MixTargets};

const MIXUP: Mix = Mix {
    mixup_alpha: 0.4,
    cutmix_alpha: 0.0,
    probability: 1.0,
    switch_probability: 0.5,
    mode: MixMode::Batch,
    label_smoothing: 0.0,
    classes: 4,
};
const CUTMIX: Mix = Mix { mixup_alpha: 0.0, cutmix_alpha: 1.0, ..MIXUP };

/// Image n is flat, of value n.
fn mixed(mix: &Mix, n: usize, index: u64) -> (Array4<f32>, Array2<f32>) {
    let mut images = Array4::from_shape_fn((n, 2, 10, 12), |(n, ..)| n as f32);
    let labels: Vec<usize> = (0..n).collect();
    let draw = Draw { seed: 8, epoch: 0, index };
    let targets = mix.run(images.view_mut(), MixTargets::Single(&labels), draw).unwrap();
    (images, targets)
}

#[test]
fn mixup_blends_images_as_their_targets() {
    for mode in [MixMode::Batch, MixMode::Pair, MixMode::Elem] {
        for index in 0..50 {
            let (images, targets) = mixed(&Mix { mode, ..MIXUP }, 4, index);
            for (i, image) in images.outer_iter().enumerate() {
                let (own, other) = (targets[[i, i]], targets[[i, 3 - i]]);
                assert!((own + other - 1.0).abs() < 1e-6 && own >= 0.0 && other >= 0.0);
                let expected = own * i as f32 + other * (3 - i) as f32;
                assert!(image.iter().all(|&v| (v - expected).abs() < 1e-5), "{mode:?}: image {i}");
            }
            let shares: Vec<f32> = (0..4).map(|i| targets[[i, i]]).collect();
            let equal = |a: usize, b: usize| (shares[a] - shares[b]).abs() < 1e-6;
            match mode {
                MixMode::Batch => assert!(equal(0, 1) && equal(0, 2) && equal(0, 3)),
                MixMode::Pair => assert!(equal(0, 3) && equal(1, 2) && !equal(0, 1)),
                MixMode::Elem => assert!(!equal(0, 3) && !equal(0, 1)),
            }
        }
    }
}

#[test]
fn cutmix_targets_are_the_shares_of_area() {
    let mut cut = 0;
    for index in 0..200 {
        let (images, targets) = mixed(&CUTMIX, 4, index);
        for (i, image) in images.outer_iter().enumerate() {
            let share = |value: usize| {
                image.iter().filter(|&&v| (v - value as f32).abs() < 1e-6).count() as f32 / 240.0
            };
            assert!((share(i) - targets[[i, i]]).abs() < 1e-6);
            assert!((share(3 - i) - targets[[i, 3 - i]]).abs() < 1e-6);
            cut += usize::from((0.01..0.99).contains(&share(i)));
        }
    }
    assert!(cut > 600, "{cut} of 800 images were cut");
}

#[test]
fn shares_follow_beta_and_the_switch_its_probability() {
    let both = Mix { mixup_alpha: 0.4, switch_probability: 0.25, ..CUTMIX };
    let (mut cut, mut shares) = (0, Vec::new());
    for index in 0..2000 {
        let (images, targets) = mixed(&both, 2, index);
        let value = images[[0, 0, 0, 0]];
        let flat = images.index_axis(ndarray::Axis(0), 0).iter().all(|&v| (v - value).abs() < 1e-7);
        let whole = value.fract() == 0.0;
        if flat && !whole {
            shares.push(f64::from(targets[[0, 0]]));
        }
        cut += usize::from(!flat);
    }
    // A cut that is empty or whole looks flat: one or two in a hundred.
    assert!((430..530).contains(&cut), "{cut} of about 500 cut");
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / shares.len() as f64;
    // Beta(0.4, 0.4): 1/2 and 1 / (4 · 1.8).
    assert!((mean - 0.5).abs() < 0.04 && (variance - 0.1389).abs() < 0.01, "{mean}, {variance}");
}

#[test]
fn probability_0_mixes_nothing_and_an_odd_middle_stays() {
    let (images, targets) = mixed(&Mix { probability: 0.0, ..MIXUP }, 3, 0);
    assert_eq!(targets, arr2(&[[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.]]));
    assert!(images.indexed_iter().all(|((n, ..), &v)| (v - n as f32).abs() < 1e-7));
    let (images, targets) = mixed(&MIXUP, 3, 0);
    assert_eq!(targets.row(1).to_vec(), [0.0, 1.0, 0.0, 0.0]);
    assert!((images[[1, 1, 9, 11]] - 1.0).abs() < 1e-7 && images[[0, 0, 0, 0]] > 0.0);
}

#[test]
fn labels_are_smoothed_before_they_are_mixed() {
    let smooth = Mix { probability: 0.0, label_smoothing: 0.1, ..MIXUP };
    let (_, targets) = mixed(&smooth, 2, 0);
    assert!((targets[[0, 0]] - 0.925).abs() < 1e-6 && (targets[[0, 3]] - 0.025).abs() < 1e-6);
    let (_, targets) = mixed(&Mix { label_smoothing: 0.1, ..MIXUP }, 4, 1);
    assert!(targets.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-6));
    let dense = arr2(&[[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]);
    let mut images = Array4::zeros((2, 1, 1, 1));
    let draw = Draw { seed: 0, epoch: 0, index: 0 };
    let targets = smooth.run(images.view_mut(), MixTargets::Multi(dense.view()), draw).unwrap();
    let expected = dense.mapv(|v: f32| v * 0.9 + 0.05);
    assert!((targets - expected).iter().all(|d| d.abs() < 1e-6));
}

#[test]
fn several_labels_are_mixed_too() {
    let dense = arr2(&[[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]]);
    let mut images = Array4::from_shape_fn((2, 1, 1, 1), |(n, ..)| n as f32);
    let draw = Draw { seed: 0, epoch: 0, index: 3 };
    let targets = MIXUP.run(images.view_mut(), MixTargets::Multi(dense.view()), draw).unwrap();
    let share = 1.0 - images[[0, 0, 0, 0]];
    for (value, expected) in targets.row(0).iter().zip([share, 1.0, 0.0, 1.0 - share]) {
        assert!((value - expected).abs() < 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let check = |mix: &Mix, labels: &[usize], expected: &str| {
        let mut images = Array4::zeros((2, 1, 1, 1));
        let draw = Draw { seed: 0, epoch: 0, index: 0 };
        let error = mix.run(images.view_mut(), MixTargets::Single(labels), draw).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(&MIXUP, &[0], "targets: expected (2, 4) (images, classes), found (1, 4)");
    check(&MIXUP, &[0, 4], "label of image 1: expected a class below 4, found 4");
    let negative = Mix { mixup_alpha: -1.0, ..MIXUP };
    check(&negative, &[0, 1], "mixup_alpha: expected 0 to 1000, found -1");
    let nan = Mix { label_smoothing: f64::NAN, ..MIXUP };
    check(&nan, &[0, 1], "label_smoothing: expected a probability from 0 to 1, found NaN");
    let wide = Array2::zeros((2, 5));
    let mut images = Array4::zeros((2, 1, 1, 1));
    let draw = Draw { seed: 0, epoch: 0, index: 0 };
    let error = MIXUP.run(images.view_mut(), MixTargets::Multi(wide.view()), draw).unwrap_err();
    assert_eq!(error, AugmentError::Targets { expected: (2, 4), found: (2, 5) });
}
