//! Metric learning, its miners and its batches.

use std::collections::BTreeSet;

use ndarray::{ArrayD, arr2};
use nearkin_loss::{
    ArcFace, Contrastive, CosFace, Direction, InfoNce, Margin, Mining, MultiSimilarity, NPairs,
    NtXent, PairReduction, PerClass, Power, ProxyAnchor, ProxyNca, SupCon, Triplet, all_pairs,
    arc_face, centre, contrastive, cos_face, distance_weighted_triplets, info_nce, mine_triplets,
    multi_similarity, n_pairs, nt_xent, per_class_batches, proxy_anchor, proxy_nca, sup_con,
    triplet, triplet_of,
};

use crate::checks::{Result, check, matrix, numbers, one, two};
#[cfg(feature = "onnx")]
use crate::checks::{check_both, check_both_within, ints};
use crate::fixture::group;

/// Two lone rows among them.
const LABELS: [usize; 8] = [0, 1, 0, 2, 1, 0, 3, 1];

fn points() -> [ArrayD<f64>; 1] {
    [numbers(&[8, 4], 11)]
}

fn with_centres() -> [ArrayD<f64>; 2] {
    [numbers(&[8, 4], 12), numbers(&[5, 4], 13)]
}

#[test]
fn contrastive_of_both_powers() {
    for (power, reduction, normalised) in [
        (Power::Linear, PairReduction::MeanOfPositive, true),
        (Power::Squared, PairReduction::Mean, false),
        (Power::Squared, PairReduction::Sum, true),
    ] {
        let config = Contrastive {
            positive_margin: 0.25,
            power,
            normalised,
            reduction,
            ..Contrastive::default()
        };
        let loss = |x: &[ArrayD<f64>]| one(contrastive(matrix(&x[0]).view(), &LABELS, &config));
        check(&points(), loss);
        #[cfg(feature = "onnx")]
        check_both(&points(), &[ints(&LABELS)], loss, |s, x, y| {
            nearkin_loss::onnx::contrastive(s, x[0], y[0], &config)
        });
    }
}

#[test]
fn triplets_of_every_mining_and_margin() {
    let minings = [Mining::All, Mining::SemiHard { within: 0.5 }, Mining::Hard];
    let reductions = [PairReduction::MeanOfPositive, PairReduction::Mean, PairReduction::Sum];
    for mining in minings {
        for margin in [Margin::Hinge(0.25), Margin::Soft] {
            for (reduction, normalised) in reductions.into_iter().zip([true, false, true]) {
                let config = Triplet { margin, mining, normalised, reduction };
                let loss = |x: &[ArrayD<f64>]| one(triplet(matrix(&x[0]).view(), &LABELS, &config));
                check(&points(), loss);
                #[cfg(feature = "onnx")]
                check_both(&points(), &[ints(&LABELS)], loss, |s, x, y| {
                    nearkin_loss::onnx::triplet(s, x[0], y[0], &config)
                });
            }
        }
    }
}

#[test]
fn mined_lists_give_the_loss_that_mines_by_itself() {
    let x = matrix(&points()[0]);
    for mining in [Mining::All, Mining::SemiHard { within: 0.5 }, Mining::Hard] {
        let config = Triplet { mining, ..Triplet::default() };
        let list = mine_triplets(x.view(), &LABELS, mining, true).unwrap();
        assert!(!list.is_empty());
        for &(a, p, n) in &list {
            assert!(a != p && LABELS[a] == LABELS[p] && LABELS[a] != LABELS[n]);
        }
        let direct = triplet(x.view(), &LABELS, &config).unwrap();
        assert_eq!(triplet_of(x.view(), &list, &config).unwrap(), direct);
    }
    let error = triplet_of(x.view(), &[(0, 1, 8)], &Triplet::default()).unwrap_err();
    assert_eq!(error.to_string(), "triplet 0: expected a row below 8, found 8");
}

#[test]
fn info_nce_and_n_pairs() {
    let sides = [numbers(&[5, 3], 14), numbers(&[5, 3], 15)];
    for direction in [Direction::QueriesToKeys, Direction::Both] {
        for normalised in [true, false] {
            let config = InfoNce { temperature: 0.25, direction, normalised };
            let loss = |x: &[ArrayD<f64>]| {
                two(info_nce(matrix(&x[0]).view(), matrix(&x[1]).view(), &config))
            };
            check(&sides, loss);
            #[cfg(feature = "onnx")]
            check_both(&sides, &[], loss, |s, x, _| {
                nearkin_loss::onnx::info_nce(s, x[0], x[1], &config)
            });
        }
    }
    for norm_penalty in [0.0, 0.125] {
        let config = NPairs { norm_penalty };
        let loss =
            |x: &[ArrayD<f64>]| two(n_pairs(matrix(&x[0]).view(), matrix(&x[1]).view(), &config));
        check(&sides, loss);
        #[cfg(feature = "onnx")]
        check_both(&sides, &[], loss, |s, x, _| {
            nearkin_loss::onnx::n_pairs(s, x[0], x[1], &config)
        });
    }
}

#[test]
fn softmaxes_over_the_batch() {
    let config = NtXent { temperature: 0.25 };
    let loss = |x: &[ArrayD<f64>]| one(nt_xent(matrix(&x[0]).view(), &LABELS, &config));
    check(&points(), loss);
    #[cfg(feature = "onnx")]
    check_both(&points(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::nt_xent(s, x[0], y[0], &config)
    });
    let config = SupCon { temperature: 0.25 };
    let loss = |x: &[ArrayD<f64>]| one(sup_con(matrix(&x[0]).view(), &LABELS, &config));
    check(&points(), loss);
    #[cfg(feature = "onnx")]
    check_both(&points(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::sup_con(s, x[0], y[0], &config)
    });
}

#[test]
fn multi_similarity_with_and_without_mining() {
    for mining in [None, Some(0.125)] {
        let config = MultiSimilarity { beta: 8.0, mining, ..MultiSimilarity::default() };
        let loss =
            |x: &[ArrayD<f64>]| one(multi_similarity(matrix(&x[0]).view(), &LABELS, &config));
        check(&points(), loss);
        #[cfg(feature = "onnx")]
        check_both(&points(), &[ints(&LABELS)], loss, |s, x, y| {
            nearkin_loss::onnx::multi_similarity(s, x[0], y[0], &config)
        });
    }
}

#[test]
fn losses_against_one_row_for_each_class() {
    let loss = |x: &[ArrayD<f64>]| two(centre(matrix(&x[0]).view(), &LABELS, matrix(&x[1]).view()));
    check(&with_centres(), loss);
    #[cfg(feature = "onnx")]
    check_both(&with_centres(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::centre(s, x[0], y[0], x[1])
    });
    let config = CosFace { margin: 0.25, scale: 8.0 };
    let loss = |x: &[ArrayD<f64>]| {
        two(cos_face(matrix(&x[0]).view(), &LABELS, matrix(&x[1]).view(), &config))
    };
    check(&with_centres(), loss);
    #[cfg(feature = "onnx")]
    check_both(&with_centres(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::cos_face(s, x[0], y[0], x[1], &config)
    });
    let config = ProxyNca { scale: 2.0 };
    let loss = |x: &[ArrayD<f64>]| {
        two(proxy_nca(matrix(&x[0]).view(), &LABELS, matrix(&x[1]).view(), &config))
    };
    check(&with_centres(), loss);
    #[cfg(feature = "onnx")]
    check_both(&with_centres(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::proxy_nca(s, x[0], y[0], x[1], &config)
    });
    let config = ProxyAnchor { alpha: 8.0, margin: 0.125 };
    let loss = |x: &[ArrayD<f64>]| {
        two(proxy_anchor(matrix(&x[0]).view(), &LABELS, matrix(&x[1]).view(), &config))
    };
    check(&with_centres(), loss);
    #[cfg(feature = "onnx")]
    check_both(&with_centres(), &[ints(&LABELS)], loss, |s, x, y| {
        nearkin_loss::onnx::proxy_anchor(s, x[0], y[0], x[1], &config)
    });
}

/// Margins that some rows pass π with, and some do not. sin m and cos m are rounded to f32 in a
/// graph, so that the two forms agree to about 1e-7 only.
#[test]
fn angular_margins() {
    for margin in [0.0, 0.5, 1.5] {
        let config = ArcFace { margin, scale: 8.0 };
        let loss = |x: &[ArrayD<f64>]| {
            two(arc_face(matrix(&x[0]).view(), &LABELS, matrix(&x[1]).view(), &config))
        };
        check(&with_centres(), loss);
        #[cfg(feature = "onnx")]
        check_both_within(1e-6, &with_centres(), &[ints(&LABELS)], loss, |s, x, y| {
            nearkin_loss::onnx::arc_face(s, x[0], y[0], x[1], &config)
        });
    }
    let opposite = [
        arr2(&[[-1.0, 0.25], [1.0, 0.125]]).into_dyn(),
        arr2(&[[1.0, 0.0], [0.5, 1.0], [0.25, 0.5]]).into_dyn(),
    ];
    let config = ArcFace { margin: 0.5, scale: 8.0 };
    let loss = |x: &[ArrayD<f64>]| {
        two(arc_face(matrix(&x[0]).view(), &[0, 1], matrix(&x[1]).view(), &config))
    };
    check(&opposite, loss);
    #[cfg(feature = "onnx")]
    check_both_within(1e-6, &opposite, &[ints(&[0, 1])], loss, |s, x, y| {
        nearkin_loss::onnx::arc_face(s, x[0], y[0], x[1], &config)
    });
}

/// Every loss of one matrix and labels, with its default settings.
fn of_points(x: &[ArrayD<f64>], labels: &[usize]) -> Vec<Result> {
    let x = matrix(&x[0]);
    let (view, hard) = (x.view(), Triplet { mining: Mining::Hard, ..Triplet::default() });
    vec![
        one(contrastive(view, labels, &Contrastive::default())),
        one(triplet(view, labels, &Triplet::default())),
        one(triplet(view, labels, &hard)),
        one(nt_xent(view, labels, &NtXent::default())),
        one(sup_con(view, labels, &SupCon::default())),
        one(multi_similarity(view, labels, &MultiSimilarity::default())),
    ]
}

#[test]
fn batches_without_pairs_equal_rows_and_zero_rows_stay_finite() {
    for labels in [[0, 1, 2], [0, 0, 0], [0, 0, 1]] {
        for x in [[[0.0, 0.0]; 3], [[1.0, 2.0]; 3], [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]] {
            let x = [arr2(&x).into_dyn()];
            for (value, gradients) in of_points(&x, &labels) {
                assert!(value.is_finite() && value >= 0.0);
                assert!(gradients[0].iter().all(|g| g.is_finite()));
            }
        }
    }
    // Nothing belongs together: softmaxes over positives and triplets have no term at all.
    let alone = of_points(&[numbers(&[3, 2], 1)], &[0, 1, 2]);
    assert!(alone[1..5].iter().all(|(value, _)| value.abs() < f64::MIN_POSITIVE));
}

/// The graphs of the same batches: a mask over nothing is no division by 0.
#[cfg(feature = "onnx")]
#[test]
fn emitted_losses_of_batches_without_pairs_are_those_of_arrays() {
    use nearkin_loss::onnx;
    for labels in [[0, 1, 2], [0, 0, 0]] {
        let x = [numbers(&[3, 2], 16)];
        for (i, _) in of_points(&x, &labels).into_iter().enumerate() {
            let loss = |x: &[ArrayD<f64>]| of_points(x, &labels).swap_remove(i);
            check_both(&x, &[ints(&labels)], loss, |s, x, y| match i {
                0 => onnx::contrastive(s, x[0], y[0], &Contrastive::default()),
                1 => onnx::triplet(
                    s,
                    x[0],
                    y[0],
                    &Triplet { margin: Margin::Hinge(0.05), ..Triplet::default() },
                ),
                2 => {
                    let hard = Triplet { mining: Mining::Hard, ..Triplet::default() };
                    onnx::triplet(s, x[0], y[0], &hard)
                }
                3 => onnx::nt_xent(s, x[0], y[0], &NtXent::default()),
                4 => onnx::sup_con(s, x[0], y[0], &SupCon::default()),
                _ => onnx::multi_similarity(s, x[0], y[0], &MultiSimilarity::default()),
            });
        }
    }
}

#[test]
fn pairs_are_all_pairs() {
    let pairs = all_pairs(&LABELS);
    assert_eq!(pairs.positives.len(), 12);
    assert_eq!(pairs.positives.len() + pairs.negatives.len(), 8 * 7);
}

#[test]
fn distance_weighting_draws_near_negatives_more_often_than_chance() {
    // 63 negatives at about √2 and one at 0.5: chance would take it once in 64 draws.
    let width = 32;
    let mut x = ndarray::Array2::<f64>::zeros((66, width));
    x[[0, 0]] = 1.0;
    x[[1, 0]] = 1.0;
    x[[2, 0]] = 0.875;
    x[[2, 1]] = 0.484;
    for row in 3..66 {
        x[[row, 2 + row % 30]] = 1.0;
    }
    let labels: Vec<usize> = (0..66).map(|row| usize::from(row > 1)).collect();
    let near = (0..200).filter(|&seed| {
        let found = distance_weighted_triplets(x.view(), &labels, 0.5, seed).unwrap();
        assert_eq!(found[0].0, 0);
        found[0].2 == 2
    });
    assert!(near.count() > 150);
    let again = |seed| distance_weighted_triplets(x.view(), &labels, 0.5, seed).unwrap();
    assert_eq!(again(3), again(3));
    assert!(distance_weighted_triplets(x.view(), &[0; 66], 0.5, 1).unwrap().is_empty());
}

#[test]
fn batches_deal_classes_and_rows_evenly() {
    let labels: Vec<usize> = (0..60).map(|row| row % 6).collect();
    let config = PerClass { rows: 4, classes: 3, batches: 10, seed: 7 };
    let batches = per_class_batches(&labels, &config).unwrap();
    assert_eq!(batches, per_class_batches(&labels, &config).unwrap());
    assert_ne!(batches, per_class_batches(&labels, &PerClass { seed: 8, ..config }).unwrap());
    let mut seen = vec![0; 60];
    let mut classes = vec![0; 6];
    for batch in &batches {
        assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 12, "no row twice in a batch");
        assert_eq!(batch.iter().map(|&row| labels[row]).collect::<BTreeSet<_>>().len(), 3);
        batch.iter().for_each(|&row| seen[row] += 1);
        batch.iter().step_by(4).for_each(|&row| classes[labels[row]] += 1);
    }
    assert!(classes.iter().all(|&count| count == 5), "{classes:?}");
    assert!(seen.iter().all(|&count| count == 2), "{seen:?}");
    let few = per_class_batches(&[1, 1, 2], &PerClass { rows: 3, classes: 2, batches: 1, seed: 0 });
    assert_eq!(few.unwrap()[0].iter().filter(|&&row| row == 2).count(), 3);
    let error = per_class_batches(&[1, 1], &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "classes: expected at least 1 and no more than there are, found 3 of 1"
    );
}

#[test]
fn pytorch_metric_learning_agrees() {
    let group = group("metric");
    let (x, labels) = (matrix(&group.array("points")), group.indices("labels"));
    let centres = matrix(&group.array("centres"));
    let (a, p) = (matrix(&group.array("anchors")), matrix(&group.array("positives")));
    let (x, c) = (x.view(), centres.view());
    group.check("contrastive", one(contrastive(x, &labels, &Contrastive::default())));
    let config = Contrastive {
        positive_margin: 0.25,
        negative_margin: 2.0,
        normalised: false,
        ..Contrastive::default()
    };
    group.check("contrastive_unnormalised", one(contrastive(x, &labels, &config)));
    let base = Triplet { margin: Margin::Hinge(0.25), ..Triplet::default() };
    group.check("triplet", one(triplet(x, &labels, &base)));
    let soft = Triplet { margin: Margin::Soft, ..base };
    group.check("triplet_soft", one(triplet(x, &labels, &soft)));
    let semi_hard = Triplet { mining: Mining::SemiHard { within: 0.25 }, ..base };
    group.check("triplet_semi_hard", one(triplet(x, &labels, &semi_hard)));
    let hard = Triplet { mining: Mining::Hard, ..base };
    group.check("triplet_hard", one(triplet(x, &labels, &hard)));
    group.check("n_pairs", two(n_pairs(a.view(), p.view(), &NPairs::default())));
    let config = InfoNce { temperature: 0.25, direction: Direction::Both, normalised: true };
    group.check("info_nce_both", two(info_nce(a.view(), p.view(), &config)));
    group.check("nt_xent", one(nt_xent(x, &labels, &NtXent { temperature: 0.5 })));
    group.check("sup_con", one(sup_con(x, &labels, &SupCon { temperature: 0.5 })));
    let config = MultiSimilarity { mining: None, ..MultiSimilarity::default() };
    group.check("multi_similarity", one(multi_similarity(x, &labels, &config)));
    let config = MultiSimilarity { mining: Some(0.125), ..config };
    group.check("multi_similarity_mined", one(multi_similarity(x, &labels, &config)));
    group.check("centre", two(centre(x, &labels, c)));
    group.check("arc_face", two(arc_face(x, &labels, c, &ArcFace { margin: 0.5, scale: 16.0 })));
    group.check("cos_face", two(cos_face(x, &labels, c, &CosFace { margin: 0.25, scale: 16.0 })));
    group.check("proxy_nca", two(proxy_nca(x, &labels, c, &ProxyNca { scale: 2.0 })));
    let config = ProxyAnchor { alpha: 32.0, margin: 0.125 };
    group.check("proxy_anchor", two(proxy_anchor(x, &labels, c, &config)));
}
