//! Families without a reference of their own, against a slow obvious oracle.

use ndarray::{Array4, ArrayView2, Axis};
use nearkin_nn::{Options, Weights};
use nearkin_runtime::{EngineChoice, Input, Session};

/// x Wᵀ + b in f64.
fn linear(x: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let rows = weight.chunks(x.len()).zip(bias);
    rows.map(|(row, &b)| {
        f64::from(b) + row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x).sum::<f64>()
    })
    .collect()
}

#[test]
fn a_fully_connected_network_is_its_formula() {
    let options = Options { num_classes: Some(5), in_chans: 1, img_size: Some((4, 6)) };
    let entry = nearkin_zoo::Registry::standard().variant("fcnn_12_7").unwrap();
    let built = entry.build(&options).unwrap();
    let weights = Weights::init(&built, 1);
    let model = built.to_model(&weights).unwrap().to_bytes().unwrap();
    let engine = nearkin_runtime::Options { engine: EngineChoice::Tract, ..Default::default() };
    let mut session = Session::load(model, &engine).unwrap();
    let images = Array4::from_shape_vec((3, 1, 4, 6), built.formula_input(3)).unwrap();
    let inputs = [Input::new("input", images.view())];
    let outputs = session.run(&inputs, &["embedding", "logits"]).unwrap();
    let [embedding, logits] = [0, 1].map(|i| outputs[i].clone().into_f32().unwrap());
    let get = |name: &str| weights.get(name).unwrap().to_f32().unwrap();
    for (row, image) in images.axis_iter(Axis(0)).enumerate() {
        let mut x: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
        for layer in ["layers.0", "layers.1"] {
            let (weight, bias) = (get(&format!("{layer}.weight")), get(&format!("{layer}.bias")));
            x = linear(&x, &weight, &bias).into_iter().map(|v| v.max(0.0)).collect();
        }
        let close = |found: ArrayView2<'_, f32>, expected: &[f64]| {
            for (a, b) in found.row(row).iter().zip(expected) {
                assert!((f64::from(*a) - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} for {b}");
            }
        };
        close(embedding.view().into_dimensionality().unwrap(), &x);
        let expected = linear(&x, &get("head.weight"), &get("head.bias"));
        close(logits.view().into_dimensionality().unwrap(), &expected);
    }
}
