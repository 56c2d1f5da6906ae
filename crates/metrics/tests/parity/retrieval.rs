use nearkin_metrics::retrieval::{
    Gallery, RetrievalScore, equal_error_rate, fnmr_at_fmr, retrieval, score_lists, verification,
};
use nearkin_metrics::{Distance, Labelled, top_k_within};
use serde_json::Value;

use crate::fixture::{close, labels, load, numbers, rows, within};

const SCORES: [(&str, RetrievalScore); 5] = [
    ("precision_at_1", RetrievalScore::PrecisionAt(1)),
    ("r_precision", RetrievalScore::RPrecision),
    ("mean_average_precision", RetrievalScore::Map),
    ("mean_average_precision_at_r", RetrievalScore::MapAtR),
    ("mean_reciprocal_rank", RetrievalScore::ReciprocalRank),
];

fn check(what: &str, found: &[f64], expected: &Value) {
    for ((name, _), &found) in SCORES.iter().zip(found) {
        close(&format!("{what}, {name}"), found, &expected[name]);
    }
}

#[test]
fn scores_are_pytorch_metric_learnings_own() {
    let stored = load("retrieval");
    let (x, of_x) = (rows(&stored["embeddings"]), labels(&stored["labels"]));
    let (query, of_query) = (rows(&stored["query"]), labels(&stored["query_labels"]));
    let scores = SCORES.map(|pair| pair.1);
    let set = || Labelled { embeddings: x.view(), labels: &of_x };
    let run = |gallery, scores: &[RetrievalScore]| {
        retrieval(set(), gallery, Distance::Euclidean, scores).unwrap()
    };
    let within_set = run(Gallery::Others, &scores);
    check("within", &within_set.means(), &stored["within"]);
    check("by class", &within_set.means_of_classes(&of_x), &stored["within_by_class"]);
    let mut cut = scores;
    cut[2] = RetrievalScore::MapAt(12);
    cut[4] = RetrievalScore::ReciprocalRankAt(12);
    check("at 12", &run(Gallery::Others, &cut).means(), &stored["within_at_12"]);
    let queries = Labelled { embeddings: query.view(), labels: &of_query };
    let apart = retrieval(queries, Gallery::Apart(set()), Distance::Euclidean, &scores).unwrap();
    check("apart", &apart.means(), &stored["apart"]);

    // From lists found elsewhere, the same.
    let near = top_k_within(x.view(), 12, Distance::Euclidean).unwrap();
    let lists = near.indices.mapv(|item| of_x[item]);
    let relevant: Vec<usize> =
        of_x.iter().map(|a| of_x.iter().filter(|b| *b == a).count() - 1).collect();
    let found = score_lists(lists.view(), &of_x, &relevant, &cut).unwrap();
    check("lists", &found, &stored["within_at_12"]);
}

#[test]
fn gains_recalls_and_verification_are_those_of_scikit_learn_and_numpy() {
    let stored = load("retrieval");
    let (x, of_x) = (rows(&stored["embeddings"]), labels(&stored["labels"]));
    let set = || Labelled { embeddings: x.view(), labels: &of_x };
    let scores = [
        RetrievalScore::Ndcg,
        RetrievalScore::NdcgAt(5),
        RetrievalScore::RecallAt(1),
        RetrievalScore::RecallAt(4),
    ];
    let found = retrieval(set(), Gallery::Others, Distance::Euclidean, &scores).unwrap().means();
    let recall = &stored["recall"];
    let expected = [&stored["ndcg"], &stored["ndcg_at_5"], &recall["1"], &recall["4"]];
    found.iter().zip(expected).for_each(|(found, expected)| close("gain", *found, expected));

    let (genuine, impostor) = (numbers(&stored["genuine"]), numbers(&stored["impostor"]));
    let equal = equal_error_rate(&genuine, &impostor).unwrap();
    close("equal error rate", equal, &stored["equal_error_rate"]);
    let fmrs = [0.0, 0.05, 0.3];
    let all = verification(set(), Distance::Euclidean, &fmrs).unwrap();
    within("equal error rate of all pairs", all.equal_error_rate, equal, 1e-9);
    for ((fmr, name), of_all) in fmrs.into_iter().zip(["0.0", "0.05", "0.3"]).zip(all.fnmrs) {
        let found = fnmr_at_fmr(&genuine, &impostor, fmr).unwrap();
        close("fnmr", found, &stored["fnmr_at_fmr"][name]);
        close("fnmr of all pairs", of_all, &stored["fnmr_at_fmr"][name]);
    }
}
