use ndarray::{Axis, s};
use nearkin_metrics::Distance;
use nearkin_metrics::distances::{
    Covariance, Mahalanobis, Measure, covariance, ledoit_wolf, pairwise, row_wise,
};

use crate::fixture::{close, load, rows, rows_f64, within};

#[test]
fn every_distance_is_scipys() {
    let stored = load("distances");
    let mut all: Vec<Measure> = Distance::ALL.into_iter().map(Measure::from).collect();
    all.extend([Measure::Minkowski { p: 3.0 }, Measure::Minkowski { p: 1.7 }]);
    all.extend([
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
    ]);
    let expected = stored["expected"].as_object().unwrap();
    assert_eq!(all.len(), expected.len());
    for measure in all {
        let name = match measure {
            Measure::Minkowski { p } => format!("minkowski-{p}"),
            _ => measure.as_str().to_owned(),
        };
        let kind = match measure {
            Measure::Hamming | Measure::Jaccard | Measure::Dice => "sets",
            Measure::BrayCurtis => "histograms",
            _ if measure.is_of_histograms() => "histograms",
            _ => "signed",
        };
        let (x, y) = (rows(&stored[kind][0]), rows(&stored[kind][1]));
        let expected = rows_f64(&expected[&name]);
        let found = pairwise(x.view(), y.view(), measure).unwrap();
        for ((i, j), &value) in found.indexed_iter() {
            within(&format!("{name} {i} {j}"), f64::from(value), expected[[i, j]], 1e-6);
            let pair = row_wise(x.slice(s![i..=i, ..]), y.slice(s![j..=j, ..]), measure).unwrap();
            within(&format!("{name} {i} {j}, one pair"), pair[0], expected[[i, j]], 1e-12);
        }
    }
}

#[test]
fn mahalanobis_distances_and_covariances_are_those_of_scipy_and_scikit_learn() {
    let stored = load("distances");
    let (x, y) = (rows(&stored["signed"][0]), rows(&stored["signed"][1]));
    let sigma = rows_f64(&stored["covariance"]);
    let fitted = Mahalanobis::new(Covariance::Given(sigma.view())).unwrap();
    let expected = rows_f64(&stored["mahalanobis"]);
    for ((i, j), &value) in fitted.pairwise(x.view(), y.view()).unwrap().indexed_iter() {
        within("mahalanobis", f64::from(value), expected[[i, j]], 1e-6);
        let pair = fitted.between(x.row(i), y.row(j)).unwrap();
        within("mahalanobis of a pair", pair, expected[[i, j]], 1e-9);
    }
    let many = rows(&stored["many"]);
    let check = |what: &str, found: ndarray::Array2<f64>, expected: &serde_json::Value| {
        let expected = rows_f64(expected);
        found.iter().zip(&expected).for_each(|(a, b)| within(what, *a, *b, 1e-12));
    };
    check("covariance", covariance(many.view()).unwrap(), &stored["estimated"]);
    let shrunk = ledoit_wolf(many.view()).unwrap();
    check("ledoit_wolf", shrunk.covariance, &stored["ledoit_wolf"]);
    within("shrinkage", shrunk.shrinkage, stored["shrinkage"].as_f64().unwrap(), 1e-10);
    let few = ledoit_wolf(many.slice(s![..5, ..])).unwrap();
    close("shrinkage of few", few.shrinkage, &stored["few_shrinkage"]);
    let estimated = Mahalanobis::new(Covariance::Estimated(many.view())).unwrap();
    let expected = rows_f64(&stored["mahalanobis_estimated"]);
    let found = estimated.pairwise(many.slice(s![..4, ..]), many.view()).unwrap();
    for (found, expected) in found.axis_iter(Axis(0)).zip(expected.axis_iter(Axis(0))) {
        for (&a, &b) in found.iter().zip(expected) {
            within("mahalanobis by an estimate", f64::from(a), b, 1e-6);
        }
    }
}
