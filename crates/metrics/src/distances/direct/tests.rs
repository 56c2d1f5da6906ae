use ndarray::{Array2, arr1, arr2};
use proptest::prelude::*;

use super::*;

const ALL: [Measure; 14] = [
    Measure::Minkowski { p: 1.0 },
    Measure::Minkowski { p: 3.0 },
    Measure::Minkowski { p: 2.5 },
    Measure::Chebyshev,
    Measure::Canberra,
    Measure::BrayCurtis,
    Measure::Correlation,
    Measure::Hellinger,
    Measure::JensenShannon,
    Measure::KullbackLeibler,
    Measure::EarthMovers,
    Measure::Hamming,
    Measure::Jaccard,
    Measure::Dice,
];

/// The definitions, one value after the other.
fn oracle(measure: Measure, x: &[f32], y: &[f32]) -> f64 {
    let x: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    let y: Vec<f64> = y.iter().map(|&v| v.into()).collect();
    let pairs = || x.iter().copied().zip(y.iter().copied());
    let (p, q): (Vec<f64>, Vec<f64>) = (
        x.iter().map(|v| v / x.iter().sum::<f64>()).collect(),
        y.iter().map(|v| v / y.iter().sum::<f64>()).collect(),
    );
    let kl = |p: &[f64], q: &[f64]| {
        let terms = p.iter().zip(q).filter(|(p, _)| **p > 0.0);
        terms.map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    };
    let (in_x, in_y) = (|v: &(f64, f64)| v.0 != 0.0, |v: &(f64, f64)| v.1 != 0.0);
    let both = pairs().filter(|v| in_x(v) && in_y(v)).count() as f64;
    let any = pairs().filter(|v| in_x(v) || in_y(v)).count() as f64;
    match measure {
        Measure::Minkowski { p } => {
            pairs().map(|(a, b)| (a - b).abs().powf(p)).sum::<f64>().powf(1.0 / p)
        }
        Measure::Chebyshev => pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
        Measure::Canberra => pairs()
            .filter(|&(a, b)| a != 0.0 || b != 0.0)
            .map(|(a, b)| (a - b).abs() / (a.abs() + b.abs()))
            .sum(),
        Measure::BrayCurtis => {
            let apart: f64 = pairs().map(|(a, b)| (a - b).abs()).sum();
            if apart == 0.0 {
                0.0
            } else {
                apart / pairs().map(|(a, b)| (a + b).abs()).sum::<f64>()
            }
        }
        Measure::Correlation => {
            let n = x.len() as f64;
            let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
            let xy: f64 = pairs().map(|(a, b)| (a - mx) * (b - my)).sum();
            let xx: f64 = x.iter().map(|a| (a - mx).powi(2)).sum();
            let yy: f64 = y.iter().map(|b| (b - my).powi(2)).sum();
            if xx < 1e-12 || yy < 1e-12 { 1.0 } else { 1.0 - xy / (xx * yy).sqrt() }
        }
        Measure::Hellinger => {
            let sum: f64 = p.iter().zip(&q).map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
            (sum / 2.0).sqrt()
        }
        Measure::JensenShannon => {
            let m: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
            ((kl(&p, &m) + kl(&q, &m)) / 2.0).max(0.0).sqrt()
        }
        Measure::KullbackLeibler => kl(&p, &q),
        Measure::EarthMovers => (0..p.len())
            .map(|i| (p[..=i].iter().sum::<f64>() - q[..=i].iter().sum::<f64>()).abs())
            .sum(),
        Measure::Hamming => pairs().filter(|(a, b)| a != b).count() as f64 / x.len() as f64,
        Measure::Jaccard => {
            if any > 0.0 {
                1.0 - both / any
            } else {
                0.0
            }
        }
        Measure::Dice => {
            if any > 0.0 {
                1.0 - 2.0 * both / (any + both)
            } else {
                0.0
            }
        }
        Measure::Of(distance) => distance.between(
            &x.iter().map(|&v| v as f32).collect::<Vec<_>>(),
            &y.iter().map(|&v| v as f32).collect::<Vec<_>>(),
        ),
    }
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    found == expected || (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

proptest! {
    #[test]
    fn every_measure_is_its_definition(
        n in 1_usize..5, m in 1_usize..5, d in 1_usize..50, seed in 0_usize..10_000, coarse: bool,
    ) {
        let value = |i: usize, j: usize| {
            let v = crate::noise(i + 100 * seed, j);
            // Coarse values: zeros and equal values do occur.
            if coarse { (3.0 * v).floor() } else { v }
        };
        let x = Array2::from_shape_fn((n, d), |(i, j)| value(i, j));
        let y = Array2::from_shape_fn((d, m), |(j, i)| value(i + 50, j));
        for measure in ALL {
            let signed = if measure.is_of_histograms() { 0.0 } else { 1.0 };
            let (x, y) = (x.mapv(|v| v - signed), y.mapv(|v| v - signed));
            let empty = |rows: ArrayView2<'_, f32>| rows.rows().into_iter().any(|r| r.sum() <= 0.0);
            let found = pairwise(x.view(), y.t(), measure);
            if measure.is_of_histograms() && (empty(x.view()) || empty(y.t())) {
                let refused = matches!(found, Err(MeasureError::Empty { .. }));
                prop_assert!(refused);
                continue;
            }
            let found = found.unwrap();
            for ((i, j), &value) in found.indexed_iter() {
                let (a, b) = (x.row(i), y.column(j));
                let expected = oracle(measure, &a.to_vec(), &b.to_vec());
                // The root of a divergence of 1e-16 is 1e-8.
                let loose = if measure == Measure::JensenShannon { 3e-8 } else { 1e-12 };
                let pair = between(a, b, measure).unwrap();
                prop_assert!(close(pair, expected, loose), "{measure:?}: {pair}, expected {expected}");
                prop_assert!(close(f64::from(value), pair, 1e-7), "{measure:?}: {value}, pair {pair}");
            }
        }
    }

    #[test]
    fn equal_rows_are_at_distance_0_and_symmetric_measures_are_symmetric(seed in 0_usize..1000) {
        let x = Array2::from_shape_fn((2, 37), |(i, j)| crate::noise(i + 2 * seed, j));
        for measure in ALL {
            let all = pairwise(x.view(), x.view(), measure).unwrap();
            prop_assert!(all[[0, 0]].abs() < 1e-15, "{measure:?}");
            // Sets of columns are all columns here.
            let of_sets = matches!(measure, Measure::Jaccard | Measure::Dice);
            prop_assert!(of_sets || all[[0, 1]] > 0.0, "{measure:?}");
            if measure != Measure::KullbackLeibler {
                prop_assert!(close(all[[0, 1]].into(), all[[1, 0]].into(), 1e-7), "{measure:?}");
            }
        }
    }
}

#[test]
fn known_values_and_values_at_the_edges() {
    let check = |measure: Measure, x: &[f32], y: &[f32], expected: f64| {
        let found = between(arr1(x).view(), arr1(y).view(), measure).unwrap();
        assert!(close(found, expected, 1e-15), "{measure:?}: {found}, expected {expected}");
    };
    check(Measure::Minkowski { p: 3.0 }, &[0.0, 0.0], &[1.0, 2.0], 9.0_f64.cbrt());
    check(
        Measure::Minkowski { p: 200.0 },
        &[0.0, 0.0],
        &[1e30, 1e30],
        f64::from(1e30_f32) * 2_f64.powf(0.005),
    );
    check(Measure::Correlation, &[1.0, 1.0], &[1.0, 2.0], 1.0);
    check(Measure::Correlation, &[0.1, 0.1, 0.1], &[0.1, 0.1, 0.1], 1.0);
    check(Measure::BrayCurtis, &[0.0, 0.0], &[0.0, 0.0], 0.0);
    check(Measure::BrayCurtis, &[1.0, -1.0], &[-1.0, 1.0], f64::INFINITY);
    check(Measure::KullbackLeibler, &[1.0, 1.0], &[1.0, 0.0], f64::INFINITY);
    check(Measure::KullbackLeibler, &[1.0, 0.0], &[1.0, 1.0], 2_f64.ln());
    check(Measure::JensenShannon, &[1.0, 0.0], &[0.0, 2.0], 2_f64.ln().sqrt());
    check(Measure::Jaccard, &[0.0, 0.0], &[0.0, 0.0], 0.0);
    check(Measure::Dice, &[1.0, 1.0], &[0.0, 2.0], 1.0 / 3.0);
    check(Measure::Hamming, &[], &[], 0.0);
}

#[test]
fn what_has_no_distance_is_refused_with_its_place() {
    let (x, y) = (arr2(&[[1.0, 2.0], [0.0, 0.0]]), arr2(&[[1.0, -1.0]]));
    let error = |x: &Array2<f32>, y: &Array2<f32>, measure: Measure| {
        pairwise(x.view(), y.view(), measure).unwrap_err().to_string()
    };
    assert_eq!(
        error(&x, &x, Measure::Hellinger),
        "x, row 1: expected a histogram with a sum above 0, found an empty one"
    );
    assert_eq!(
        error(&x, &y, Measure::KullbackLeibler),
        "x, row 1: expected a histogram with a sum above 0, found an empty one"
    );
    assert_eq!(
        error(&y, &x, Measure::EarthMovers),
        "x, row 0, column 1: expected at least 0 in a histogram, found -1"
    );
    assert_eq!(
        error(&x, &y, Measure::Minkowski { p: 0.5 }),
        "p: expected a finite number of at least 1, found 0.5"
    );
    let nan = arr2(&[[f32::NAN]]);
    assert!(error(&nan, &nan, Measure::Chebyshev).contains("row 0, column 0"));
    assert!(error(&x, &nan.mapv(|_| 0.0), Measure::Chebyshev).contains("lengths"));
    let rows = row_wise(x.view(), y.view(), Measure::Hamming).unwrap_err();
    assert_eq!(rows.to_string(), "y: expected 2 rows, as x has, found 1");
}
