//! Trustworthiness and continuity against scikit-learn's (`trustworthiness/make.py`).

use ndarray::{Array2, s};
use nearkin_metrics::faithfulness;

const FIXTURE: &str = include_str!("trustworthiness/points_and_maps.txt");

#[test]
fn both_measures_are_those_of_scikit_learn() {
    let mut lines = FIXTURE.lines().peekable();
    let mut compared = 0;
    while let Some(line) = lines.next() {
        let Some(shape) = line.strip_prefix("case ") else { continue };
        let words: Vec<&str> = shape.split(' ').collect();
        let [n, d, m] = [1, 2, 3].map(|at| words[at].parse::<usize>().unwrap());
        let values = lines.by_ref().take(n).flat_map(|row| row.split(' '));
        let values: Vec<f32> = values.map(|value| value.parse().unwrap()).collect();
        let rows = Array2::from_shape_vec((n, d + m), values).unwrap();
        while let Some(expected) = lines.next_if(|line| line.starts_with("k ")) {
            let words: Vec<&str> = expected.split(' ').collect();
            let k = words[1].parse().unwrap();
            let found = faithfulness(rows.slice(s![.., ..d]), rows.slice(s![.., d..]), k).unwrap();
            for (found, expected) in
                [found.trustworthiness, found.continuity].iter().zip(&words[2..])
            {
                let expected: f64 = expected.parse().unwrap();
                assert!((found - expected).abs() < 1e-12, "{shape}, k = {k}: {found} {expected}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 12);
}
