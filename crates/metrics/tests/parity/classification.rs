use nearkin_metrics::boxes::{Box2, CocoTruth, Detection, coco};
use nearkin_metrics::classification::{
    Averaging, OverClasses, accuracy, average_precision, balanced_accuracy, brier,
    confusion_matrix, expected_calibration_error, log_loss, precision_recall, roc_auc,
    roc_auc_one_vs_rest,
};

use crate::fixture::{close, labels, load, numbers, rows, within};

#[test]
fn classifiers_are_judged_as_by_scikit_learn_and_torchmetrics() {
    let stored = load("classification");
    let (p, truth) = (rows(&stored["probabilities"]), labels(&stored["labels"]));
    let counts = confusion_matrix(&truth, &labels(&stored["predicted"]), 5).unwrap();
    assert_eq!(counts, rows(&stored["confusion"]).mapv(|v| v as u64));
    close("accuracy", accuracy(counts.view()).unwrap(), &stored["accuracy"]);
    close("balanced", balanced_accuracy(counts.view()).unwrap(), &stored["balanced_accuracy"]);
    for (name, averaging) in [
        ("micro", Averaging::Micro),
        ("macro", Averaging::Macro),
        ("weighted", Averaging::Weighted),
    ] {
        let found = precision_recall(counts.view(), averaging).unwrap();
        let found = [found.precision, found.recall, found.f1];
        found.iter().zip(stored[name].as_array().unwrap()).for_each(|(a, b)| close(name, *a, b));
    }
    let area = |over| roc_auc_one_vs_rest(p.view(), &truth, over).unwrap();
    close("macro area", area(OverClasses::Macro), &stored["roc_auc_macro"]);
    close("weighted area", area(OverClasses::Weighted), &stored["roc_auc_weighted"]);
    let scores: Vec<f32> = numbers(&stored["scores"]).into_iter().map(|v| v as f32).collect();
    let positive: Vec<bool> =
        stored["positive"].as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
    close("area", roc_auc(&positive, &scores).unwrap(), &stored["roc_auc"]);
    close("ap", average_precision(&positive, &scores).unwrap(), &stored["average_precision"]);
    close("log loss", log_loss(p.view(), &truth).unwrap(), &stored["log_loss"]);
    close("brier", brier(p.view(), &truth).unwrap(), &stored["brier"]);
    for bins in [5, 15] {
        let found = expected_calibration_error(p.view(), &truth, bins).unwrap();
        close("calibration", found, &stored["calibration"][bins.to_string()]);
    }
}

#[test]
fn detections_are_judged_as_by_pycocotools() {
    let stored = load("coco");
    let id = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
    let bounds = |v: &serde_json::Value| {
        Box2::from_size(numbers(v).try_into().unwrap_or_else(|_| panic!("four numbers a box")))
    };
    let truths: Vec<CocoTruth> = stored["truths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| CocoTruth {
            image: id(&t[0]),
            class: id(&t[1]),
            bounds: bounds(&t[2]),
            area: t[3].as_f64().unwrap(),
            is_crowd: id(&t[4]) == 1,
        })
        .collect();
    let detections: Vec<Detection> = stored["detections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| Detection {
            image: id(&d[0]),
            class: id(&d[1]),
            bounds: bounds(&d[2]),
            score: d[3].as_f64().unwrap() as f32,
        })
        .collect();
    let found = coco(&truths, &detections).unwrap();
    let found = [
        found.ap,
        found.ap50,
        found.ap75,
        found.ap_small,
        found.ap_medium,
        found.ap_large,
        found.ar1,
        found.ar10,
        found.ar100,
        found.ar_small,
        found.ar_medium,
        found.ar_large,
    ];
    for (at, (found, expected)) in found.into_iter().zip(numbers(&stored["stats"])).enumerate() {
        within(&format!("number {at}"), found.unwrap_or(-1.0), expected, 1e-9);
    }
}
