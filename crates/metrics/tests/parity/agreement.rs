use nearkin_metrics::Distance;
use nearkin_metrics::clustering::{
    adjusted_mutual_information, adjusted_rand_index, davies_bouldin,
    normalised_mutual_information, purity, silhouette, silhouette_samples,
};
use nearkin_metrics::geometry::{
    alignment, effective_rank, hubness, intrinsic_dimension_mle, intrinsic_dimension_two_nn,
    uniformity,
};
use nearkin_metrics::statistics::{
    Bootstrap, BootstrapInterval, bootstrap, holm, mcnemar, paired_permutation_test,
};

use crate::fixture::{close, labels, load, numbers, rows, within};

#[test]
fn clusterings_are_judged_as_by_scikit_learn() {
    let stored = load("clustering");
    let (a, b) = (labels(&stored["labels"]), labels(&stored["clusters"]));
    close("nmi", normalised_mutual_information(&a, &b).unwrap(), &stored["nmi"]);
    close("ami", adjusted_mutual_information(&a, &b).unwrap(), &stored["ami"]);
    close("ari", adjusted_rand_index(&a, &b).unwrap(), &stored["ari"]);
    close("purity", purity(&a, &b).unwrap(), &stored["purity"]);
    let x = rows(&stored["points"]);
    let mean = |distance| silhouette(x.view(), &a, distance).unwrap();
    close("silhouette", mean(Distance::Euclidean), &stored["silhouette"]);
    close("silhouette by L1", mean(Distance::Manhattan), &stored["silhouette_manhattan"]);
    let all = silhouette_samples(x.view(), &a, Distance::Euclidean).unwrap();
    let expected = numbers(&stored["silhouette_samples"]);
    all.iter().zip(expected).for_each(|(a, b)| within("silhouette of a point", *a, b, 1e-6));
    close("davies-bouldin", davies_bouldin(x.view(), &a).unwrap(), &stored["davies_bouldin"]);
}

#[test]
fn shapes_of_embeddings_are_those_of_numpy() {
    let stored = load("geometry");
    let (x, y) = (rows(&stored["x"]), rows(&stored["y"]));
    close("alignment", alignment(x.view(), y.view(), 2.0).unwrap(), &stored["alignment"]);
    close("uniformity", uniformity(x.view(), 2.0).unwrap(), &stored["uniformity"]);
    close("rank", effective_rank(x.view()).unwrap(), &stored["effective_rank"]);
    let hubs = hubness(x.view(), 5, Distance::Euclidean).unwrap();
    assert_eq!(hubs.occurrences, labels(&stored["occurrences"]));
    close("skewness", hubs.skewness, &stored["skewness"]);
    close("two-nn", intrinsic_dimension_two_nn(x.view(), 0.1).unwrap(), &stored["two_nn"]);
    close("mle", intrinsic_dimension_mle(x.view(), 10).unwrap(), &stored["mle"]);
}

#[test]
fn tests_and_intervals_are_scipys() {
    let stored = load("statistics");
    for (at, pair) in stored["mcnemar"].as_array().unwrap().iter().enumerate() {
        let pair = labels(pair);
        let found = mcnemar(pair[0], pair[1]);
        within("exact", found.exact, numbers(&stored["mcnemar_exact"])[at], 1e-10);
        within("corrected", found.corrected, numbers(&stored["mcnemar_corrected"])[at], 1e-10);
    }
    let found = holm(&numbers(&stored["p_values"])).unwrap();
    found.iter().zip(numbers(&stored["holm"])).for_each(|(a, b)| within("holm", *a, b, 1e-7));
    let (left, right) = (numbers(&stored["left"]), numbers(&stored["right"]));
    let found = paired_permutation_test(&left, &right, 512, 0).unwrap();
    assert!(found.is_exact);
    close("permutations", found.p_value, &stored["paired_permutation"]);
    // Two streams of random numbers: 200,000 samples leave about 5·10⁻⁴ of difference.
    let x = numbers(&stored["values"]);
    let how =
        Bootstrap { resamples: 200_000, level: 0.9, interval: BootstrapInterval::Bca, seed: 3 };
    let mean = |sample: &[usize]| sample.iter().map(|&i| x[i]).sum::<f64>() / sample.len() as f64;
    let found = bootstrap(x.len(), mean, &how).unwrap();
    let expected = numbers(&stored["bca_90"]);
    within("low", found.low, expected[0], 1.5e-3);
    within("high", found.high, expected[1], 1.5e-3);
}
