//! The probe against linfa-logistic, where the latter's objective is sound (logits within 34).

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, Axis};
use nearkin_metrics::{Labelled, Probe, linear_probe};

fn noise(i: usize, j: usize) -> f32 {
    let mut z = (i as u64 + 1) << 32 | j as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 40) as f32 / (1 << 24) as f32 - 0.5
}

fn probabilities(logits: Array2<f32>) -> Array2<f64> {
    let exps = logits.mapv(|v| f64::from(v).exp());
    &exps / &exps.sum_axis(Axis(1)).insert_axis(Axis(1))
}

#[test]
fn probabilities_are_linfas_with_few_columns_and_with_more_than_rows() {
    for (d, alpha) in [(12, 3.0), (12, 30.0), (120, 30.0)] {
        let labels: Vec<usize> = (0..100).map(|i| i % 3).collect();
        let rows =
            Array2::from_shape_fn((100, d), |(i, j)| noise(labels[i], 999 + j) + noise(i, j));
        let (fit, test) = rows.view().split_at(Axis(0), 80);
        let probe = Probe { alphas: vec![alpha], tolerance: 1e-8, ..Probe::default() };
        let train = Labelled { embeddings: fit, labels: &labels[..80] };
        let found = probabilities(linear_probe(train, test, 3, &probe).unwrap().scores);

        let wide = fit.mapv(f64::from);
        let (mean, deviation) = (wide.mean_axis(Axis(0)).unwrap(), wide.std_axis(Axis(0), 0.0));
        let standardised = |x: Array2<f64>| (x - &mean) / &deviation;
        let targets = Array1::from(labels[..80].to_vec());
        let model = MultiLogisticRegression::default()
            .alpha(alpha)
            .max_iterations(5000)
            .gradient_tolerance(1e-7)
            .fit(&DatasetBase::new(standardised(wide), targets))
            .unwrap();
        let expected = model.predict_probabilities(&standardised(test.mapv(f64::from)));
        let worst = (&found - &expected).fold(0.0_f64, |m, v| m.max(v.abs()));
        assert!(worst < 1e-5, "{d} columns, alpha {alpha}: {worst}");
    }
}
