//! Label spreading and propagation against scikit-learn's results in `fixtures/label-spreading`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read as _;
use std::path::PathBuf;

use ndarray::{Array2, ArrayView2};
use nearkin_graph::{
    CarriedLabels, Distance, Engine, Graph, Propagation, Spreading, Weighting, epsilon_graph,
    knn_graph, label_propagation, label_spreading, nearest_neighbours,
};
use nearkin_metrics::{pairwise, top_k};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn points(value: &Value) -> Array2<f32> {
    let rows = value.as_array().unwrap();
    let width = rows[0].as_array().unwrap().len();
    Array2::from_shape_fn((rows.len(), width), |(i, j)| rows[i][j].as_f64().unwrap() as f32)
}

fn labels(value: &Value) -> Vec<Option<usize>> {
    let labels = value.as_array().unwrap().iter();
    labels.map(|label| usize::try_from(label.as_i64().unwrap()).ok()).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// scikit-learn's graph of `neighbours`, the point itself being one of them.
fn knn(points: ArrayView2<'_, f32>, neighbours: usize) -> Graph {
    let near =
        nearest_neighbours(points, neighbours - 1, Distance::Euclidean, Engine::Auto).unwrap();
    knn_graph(&near, Distance::Euclidean, Weighting::Constant).unwrap()
}

fn carry(case: &Value, graph: &Graph) -> CarriedLabels {
    let parameters = &case["parameters"];
    let number = |name: &str| parameters[name].as_f64().unwrap();
    let (tolerance, max_steps) = (number("tol"), number("max_iter") as usize);
    let labels = labels(&case["labels"]);
    if case["model"] == "LabelSpreading" {
        let parameters = Spreading { alpha: number("alpha"), tolerance, max_steps };
        label_spreading(graph.view(), &labels, parameters).unwrap()
    } else {
        let parameters = Propagation { tolerance, max_steps, ..Propagation::default() };
        label_propagation(graph.view(), &labels, parameters).unwrap()
    }
}

/// Rows of `null`, where scikit-learn divides by 0, are rows of zeros here.
fn check_rows(found: &Array2<f64>, expected: &Value, tolerance: f64, name: &str) {
    assert_eq!(found.nrows(), expected.as_array().unwrap().len());
    for ((row, column), &found) in found.indexed_iter() {
        let expected = expected[row][column].as_f64().unwrap_or(0.0);
        assert!(
            (found - expected).abs() < tolerance,
            "{name}, row {row}: {found}, expected {expected}"
        );
    }
}

#[test]
fn distributions_steps_and_predictions_are_scikit_learns() {
    let file = json("label-spreading/expected.json");
    let (plain, test) = (points(&file["points"]), points(&file["test"]));
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    let mut unreached = 0;
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut points = plain.clone();
        if name.starts_with("island") {
            let island = file["island"].as_array().unwrap();
            points
                .row_mut(59)
                .iter_mut()
                .zip(island)
                .for_each(|(p, v)| *p = v.as_f64().unwrap() as f32);
        }
        let by_neighbours = case["parameters"]["kernel"] == "knn";
        let count = case["parameters"]["n_neighbors"].as_u64().unwrap() as usize;
        let gamma = case["parameters"]["gamma"].as_f64().unwrap();
        let graph = if by_neighbours {
            knn(points.view(), count)
        } else {
            let sigma = gamma.sqrt().recip() as f32;
            let kernel = Weighting::Gaussian { sigma };
            epsilon_graph(points.view(), f64::INFINITY, Distance::Euclidean, kernel).unwrap()
        };
        let carried = carry(case, &graph);
        // Weights of kernels are f32 here.
        let tolerance = if by_neighbours { 1e-12 } else { 1e-6 };
        assert_eq!(carried.classes, indices(&case["classes"]), "{name}");
        assert_eq!(carried.steps, case["iterations"].as_u64().unwrap() as usize, "{name}");
        check_rows(&carried.distributions, &case["distributions"], tolerance, name);
        assert_eq!(carried.labels(), indices(&case["transduction"]), "{name}");
        let induced = if by_neighbours {
            let near = top_k(test.view(), points.view(), count, Distance::Euclidean).unwrap();
            carried.of_neighbours(near.indices.view()).unwrap()
        } else {
            let squares = pairwise(test.view(), points.view(), Distance::SquaredEuclidean).unwrap();
            carried.of_weights(squares.mapv(|d| (-gamma * f64::from(d)).exp()).view()).unwrap()
        };
        check_rows(&induced, &case["induced"], tolerance, name);
        unreached += carried.unreached();
    }
    assert!(unreached > 0, "the fixture has nodes that no label reaches");
}

/// Pixels in [0, 1] and labels of one part of the digits.
fn digits(part: &str) -> (Array2<f32>, Vec<usize>) {
    let read = |name: String| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(fixture("digits").join(name)).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let labels = read(format!("{part}-labels-idx1-ubyte.gz")).split_off(8);
    let pixels = read(format!("{part}-images-idx3-ubyte.gz")).split_off(16);
    let pixels = pixels.into_iter().map(|level| f32::from(level) / 255.0).collect();
    let points = Array2::from_shape_vec((labels.len(), 64), pixels).unwrap();
    (points, labels.into_iter().map(usize::from).collect())
}

#[test]
fn few_labels_on_digits_are_worth_what_scikit_learn_finds() {
    let ((points, truth), (test, test_truth)) = (digits("train"), digits("t10k"));
    let graph = knn(points.view(), 7);
    let near = top_k(test.view(), points.view(), 7, Distance::Euclidean).unwrap();
    let draws = json("label-spreading/digits-draws.json");
    // Means over five draws.
    for (count, expected) in [(20, 0.873), (50, 0.918), (100, 0.952), (500, 0.970)] {
        let mut total = 0;
        for draw in draws.as_array().unwrap().iter().filter(|draw| draw["labels"] == count) {
            let mut labels = vec![None; truth.len()];
            indices(&draw["drawn"]).into_iter().for_each(|i| labels[i] = Some(truth[i]));
            let carried = label_spreading(graph.view(), &labels, Spreading::default()).unwrap();
            let found =
                carried.most_likely(carried.of_neighbours(near.indices.view()).unwrap().view());
            let correct = found.iter().zip(&test_truth).filter(|(a, b)| a == b).count();
            // Equal distances of integer pixels are ordered differently.
            let theirs = draw["correct"].as_u64().unwrap() as usize;
            assert!(
                correct.abs_diff(theirs) <= 3,
                "{count} labels: {correct} right, expected {theirs}"
            );
            total += correct;
        }
        let mean = total as f64 / (5.0 * test_truth.len() as f64);
        assert!((mean - expected).abs() < 2e-3, "{count} labels: {mean}, expected {expected}");
    }
}
