//! The graph regulariser.

use ndarray::{ArrayD, arr2};
use nearkin_loss::{
    Alpha, EdgeDistance, EdgeReduction, Edges, GraphTerm, Repulsion, Schedule, Space, StopGradient,
    graph_term, graph_term_rows, repulsive_term,
};
use proptest::prelude::*;

use crate::checks::{Result, check, matrix, numbers, one, two};
#[cfg(feature = "onnx")]
use crate::checks::{check_both, check_emitted, float, ints};
use crate::fixture::group;

const U: [usize; 6] = [0, 1, 2, 2, 4, 3];
const V: [usize; 6] = [1, 3, 4, 0, 3, 3];
const W: [f64; 6] = [0.5, 1.0, 0.25, 2.0, 0.0, 1.5];

/// Every distance in every space that it is defined in.
pub(crate) fn terms() -> Vec<GraphTerm> {
    let distances = [
        EdgeDistance::L1,
        EdgeDistance::SquaredL2,
        EdgeDistance::L2,
        EdgeDistance::Cosine,
        EdgeDistance::KullbackLeibler,
        EdgeDistance::JensenShannon,
        EdgeDistance::CrossEntropy,
    ];
    let mut terms = Vec::new();
    for distance in distances {
        for space in [Space::AsIs, Space::Normalised, Space::Softmax] {
            if space == Space::Softmax || !distance.is_of_probabilities() {
                terms.push(GraphTerm { distance, space, ..GraphTerm::default() });
            }
        }
    }
    terms
}

fn over_points(
    u: &'static [usize],
    v: &'static [usize],
    config: GraphTerm,
) -> impl Fn(&[ArrayD<f64>]) -> Result {
    move |x| one(graph_term(matrix(&x[0]).view(), Edges { u, v, w: &W[..u.len()] }, &config))
}

#[test]
fn every_distance_over_edges_of_one_batch() {
    // Without the edge of a row with itself: L2's root is too sharp there for differences.
    let points = [numbers(&[5, 3], 1) * 2.0];
    for config in terms() {
        check(&points, over_points(&U[..5], &V[..5], config));
        #[cfg(feature = "onnx")]
        check_both(
            &points,
            &[ints(&U[..5]), ints(&V[..5]), float(&ndarray::arr1(&W[..5]))],
            over_points(&U[..5], &V[..5], config),
            |s, x, y| {
                let edges = nearkin_loss::onnx::Edges { u: y[0], v: y[1], w: y[2] };
                nearkin_loss::onnx::graph_term(s, x[0], edges, &config)
            },
        );
    }
}

#[test]
fn every_distance_over_aligned_rows_and_every_reduction() {
    let sides = [numbers(&[6, 3], 2) * 2.0, numbers(&[6, 3], 3)];
    let reductions = [EdgeReduction::Sum, EdgeReduction::Mean, EdgeReduction::WeightedMean];
    for (i, config) in terms().into_iter().enumerate() {
        let config = GraphTerm { reduction: reductions[i % 3], ..config };
        let loss = |x: &[ArrayD<f64>]| {
            two(graph_term_rows(matrix(&x[0]).view(), matrix(&x[1]).view(), &W, &config))
        };
        check(&sides, loss);
        #[cfg(feature = "onnx")]
        check_both(&sides, &[float(&ndarray::arr1(&W))], loss, |s, x, y| {
            nearkin_loss::onnx::graph_term_rows(s, x[0], x[1], y[0], &config)
        });
    }
}

#[test]
fn repulsion_pushes_what_is_nearer_than_the_margin() {
    let points = [numbers(&[5, 3], 4)];
    for (term, margin) in terms().into_iter().zip([2.5, 2.0, 1.5].into_iter().cycle()) {
        let config = Repulsion { term, margin };
        let loss = |x: &[ArrayD<f64>]| {
            let pairs = Edges { u: &U[..5], v: &V[..5], w: &W[..5] };
            one(repulsive_term(matrix(&x[0]).view(), pairs, &config))
        };
        check(&points, loss);
        #[cfg(feature = "onnx")]
        check_both(
            &points,
            &[ints(&U[..5]), ints(&V[..5]), float(&ndarray::arr1(&W[..5]))],
            loss,
            |s, x, y| {
                let pairs = nearkin_loss::onnx::Edges { u: y[0], v: y[1], w: y[2] };
                nearkin_loss::onnx::repulsive_term(s, x[0], pairs, &config)
            },
        );
    }
}

#[test]
fn a_side_that_holds_still_has_no_gradient_and_the_other_keeps_its_own() {
    let sides = [numbers(&[6, 3], 5), numbers(&[6, 3], 6)];
    for config in terms() {
        let rows = |stop_gradient| {
            let config = GraphTerm { stop_gradient, ..config };
            two(graph_term_rows(matrix(&sides[0]).view(), matrix(&sides[1]).view(), &W, &config))
        };
        let both = rows(StopGradient::Neither);
        let first = rows(StopGradient::First);
        let second = rows(StopGradient::Second);
        assert_eq!([first.0, second.0], [both.0; 2]);
        assert!(first.1[0].iter().chain(&second.1[1]).all(|g| g.abs() < f64::MIN_POSITIVE));
        assert_eq!((&first.1[1], &second.1[0]), (&both.1[1], &both.1[0]));
        #[cfg(feature = "onnx")]
        for stop_gradient in [StopGradient::First, StopGradient::Second] {
            let config = GraphTerm { stop_gradient, ..config };
            let loss = |_: &[ArrayD<f64>]| rows(stop_gradient);
            let build =
                |s: &nearkin_nn::Scope, x: &[nearkin_nn::Value], y: &[nearkin_nn::Value]| {
                    nearkin_loss::onnx::graph_term_rows(s, x[0], x[1], y[0], &config)
                };
            let w = [float(&ndarray::arr1(&W))];
            check_emitted(None, 1e-9, &sides, &w, &loss, &build);
        }
    }
}

#[test]
fn equal_and_zero_rows_have_finite_gradients() {
    let points = arr2(&[[0.0_f32, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]);
    let edges = Edges { u: &[0, 2, 1], v: &[1, 3, 2], w: &[1.0, 1.0, 1.0] };
    for term in terms() {
        let found = graph_term(points.view(), edges, &term).unwrap();
        assert!(found.value >= 0.0 && found.gradient.iter().all(|g| g.is_finite()), "{term:?}");
        let found = repulsive_term(points.view(), edges, &Repulsion { term, margin: 1.0 }).unwrap();
        assert!(found.gradient.iter().all(|g| g.is_finite()), "{term:?}");
    }
}

#[test]
fn probabilities_that_vanish_in_f32_have_finite_distances() {
    let logits = arr2(&[[0.0_f32, 300.0, -300.0], [300.0, 0.0, -250.0]]);
    let edges = Edges { u: &[0], v: &[1], w: &[1.0] };
    for term in terms().into_iter().filter(|term| term.space == Space::Softmax) {
        let found = graph_term(logits.view(), edges, &term).unwrap();
        assert!(found.value.is_finite() && found.gradient.iter().all(|g| g.is_finite()));
    }
    let shannon = GraphTerm {
        distance: EdgeDistance::JensenShannon,
        space: Space::Softmax,
        ..GraphTerm::default()
    };
    let found = graph_term(logits.view(), edges, &shannon).unwrap();
    assert!((found.value - std::f32::consts::LN_2).abs() < 1e-6);
}

#[test]
fn edges_that_do_not_fit_are_refused() {
    let points = arr2(&[[0.0_f32], [1.0]]);
    let check = |edges: Edges<'_, f32>, config: GraphTerm, expect: &str| {
        assert_eq!(graph_term(points.view(), edges, &config).unwrap_err().to_string(), expect);
    };
    let plain = GraphTerm::default();
    let edges = Edges { u: &[0, 1], v: &[1, 2], w: &[1.0, 1.0] };
    check(edges, plain, "edges v 1: expected a row below 2, found 2");
    check(Edges { v: &[1], ..edges }, plain, "edges v: expected 2, one per row, found 1");
    let edges = Edges { u: &[0], v: &[1], w: &[-1.0] };
    check(edges, plain, "edge weights[0]: expected a weight of at least 0, found -1");
    let wrong = GraphTerm { distance: EdgeDistance::KullbackLeibler, ..plain };
    let expect =
        "space: expected softmax with a distance of probabilities, found AsIs with KullbackLeibler";
    check(Edges { w: &[1.0], ..edges }, wrong, expect);
}

#[test]
fn schedules_start_and_end_where_they_say() {
    let at = |schedule, step| Alpha::new(2.0, schedule).unwrap().at(step);
    assert_eq!([at(Schedule::Constant, 0), at(Schedule::Constant, 1 << 40)], [2.0, 2.0]);
    let cosine = Schedule::Cosine { steps: 10, last: 0.5 };
    assert_eq!(
        [at(cosine, 0), at(cosine, 5), at(cosine, 10), at(cosine, 11)],
        [2.0, 1.25, 0.5, 0.5]
    );
    let exponential = Schedule::Exponential { steps: 4, rate: 0.25 };
    assert_eq!([at(exponential, 0), at(exponential, 2), at(exponential, 4)], [2.0, 1.0, 0.5]);
    assert_eq!(at(Schedule::WarmUp { steps: 0 }, 0), 2.0);
    assert_eq!(at(Schedule::Cosine { steps: 0, last: 0.5 }, 0), 0.5);
    let error = Alpha::new(f32::NAN, Schedule::Constant).unwrap_err();
    assert_eq!(error.to_string(), "alpha: expected a finite number of at least 0, found NaN");
}

proptest! {
    #[test]
    fn symmetric_distances_do_not_see_the_direction_of_an_edge(seed in 1_u64..1_000_000) {
        let (a, b) = (matrix(&numbers(&[4, 5], seed)), matrix(&numbers(&[4, 5], !seed)));
        for term in terms() {
            let there = graph_term_rows(a.view(), b.view(), &W[..4], &term).unwrap();
            let back = graph_term_rows(b.view(), a.view(), &W[..4], &term).unwrap();
            let one_way = [EdgeDistance::KullbackLeibler, EdgeDistance::CrossEntropy];
            prop_assert!(there.value >= 0.0);
            if !one_way.contains(&term.distance) {
                prop_assert!((there.value - back.value).abs() < 1e-12);
                prop_assert!((&there.first - &back.second).iter().all(|d| d.abs() < 1e-12));
            }
        }
    }
}

#[test]
fn pytorch_agrees() {
    let group = group("graph");
    let (a, b) = (matrix(&group.array("first")), matrix(&group.array("second")));
    let w = group.array("w").iter().copied().collect::<Vec<f64>>();
    for config in terms() {
        let name = format!("{:?}_{:?}", config.distance, config.space);
        let config = GraphTerm { reduction: EdgeReduction::Sum, ..config };
        group.check(&name, two(graph_term_rows(a.view(), b.view(), &w, &config)));
    }
}
