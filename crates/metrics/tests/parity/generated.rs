use ndarray::s;
use nearkin_metrics::generated::{
    distribution_overlap, frechet_distance, inception_score, kernel_distance,
};

use crate::fixture::{close, load, rows};

#[test]
fn generated_sets_are_judged_as_by_the_formulas_in_numpy() {
    let stored = load("generated");
    let (x, y) = (rows(&stored["x"]), rows(&stored["y"]));
    close("frechet", frechet_distance(x.view(), y.view()).unwrap(), &stored["frechet"]);
    // Fewer rows than columns: singular covariances.
    let (few, fewer) = (x.slice(s![..6, ..]), y.slice(s![..5, ..]));
    close("frechet of few", frechet_distance(few, fewer).unwrap(), &stored["frechet_of_few"]);
    close("kid", kernel_distance(x.view(), y.view()).unwrap(), &stored["kid"]);
    let score = inception_score(rows(&stored["probabilities"]).view(), 4).unwrap();
    close("inception", score.mean, &stored["inception_mean"]);
    close("inception's deviation", score.deviation, &stored["inception_deviation"]);
    let overlap = distribution_overlap(x.view(), y.view(), 3).unwrap();
    close("precision", overlap.precision, &stored["precision"]);
    close("recall", overlap.recall, &stored["recall"]);
}
