//! What a session promises, on every engine that is at hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/nets.rs"]
mod nets;

use ndarray::{Array, Array2, Array4, Axis, s};
use nearkin_onnx::Dim;
use nearkin_runtime::{
    Device, DeviceError, EmbeddingOrigin, EngineChoice, Input, LoadError, Options, RunError,
    Session,
};
use nets::{classifier, dense};

fn images(n: usize) -> Array4<f32> {
    Array::from_shape_fn((n, 2, 6, 6), |(n, c, h, w)| {
        ((n * 31 + c * 17 + h * 5 + w * 3) % 13) as f32 / 6.0 - 1.0
    })
}

fn close(a: &Array2<f32>, b: &Array2<f32>) {
    assert_eq!(a.shape(), b.shape());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-6, "{worst}");
}

fn load(engine: EngineChoice, model: &nearkin_onnx::Model) -> Session {
    Session::load(model.to_bytes().unwrap(), &common::options(engine)).unwrap()
}

#[test]
fn a_batch_of_any_size_gives_the_rows_of_its_images() {
    let models = [
        classifier(Dim::symbol("N")).model(&["probabilities"]),
        classifier(Dim::Known(1)).model(&["probabilities"]),
        classifier(Dim::Known(2)).model(&["probabilities"]),
    ];
    for engine in common::engines() {
        for model in &models {
            let mut session = load(engine, model);
            let all = images(5);
            let rows = session.embed(all.view()).unwrap();
            assert_eq!(rows.dim(), (5, 3));
            for i in 0..5 {
                let one = session.embed(all.slice(s![i..=i, .., .., ..])).unwrap();
                close(&one, &rows.slice(s![i..=i, ..]).to_owned());
            }
            let first = session.embed(all.slice(s![..2, .., .., ..])).unwrap();
            close(&first, &rows.slice(s![..2, ..]).to_owned());
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    for engine in common::engines() {
        let model = classifier(Dim::symbol("N")).model(&["probabilities"]).to_bytes().unwrap();
        let expected = load(engine, &classifier(Dim::symbol("N")).model(&["probabilities"]))
            .embed(images(5).view())
            .unwrap();
        for threads in [1, 3, 8] {
            let threads = std::num::NonZeroUsize::new(threads);
            let options = Options { threads, ..common::options(engine) };
            let mut session = Session::load(model.clone(), &options).unwrap();
            close(&session.embed(images(5).view()).unwrap(), &expected);
        }
    }
}

#[test]
fn both_engines_agree() {
    let &[tract, ort] = common::engines().as_slice() else { return };
    let model = classifier(Dim::symbol("N")).model(&["probabilities"]);
    let [a, b] = [tract, ort].map(|engine| load(engine, &model).embed(images(3).view()).unwrap());
    close(&a, &b);
    let rows = Array2::from_shape_fn((4, 5), |(i, j)| (i as f32 - j as f32) / 4.0);
    let model = dense().model(&["logits"]);
    let [a, b] = [tract, ort].map(|engine| load(engine, &model).embed(rows.view()).unwrap());
    close(&a, &b);
}

#[test]
fn a_view_in_another_order_gives_the_same() {
    for engine in common::engines() {
        let mut session = load(engine, &classifier(Dim::symbol("N")).model(&["probabilities"]));
        let plain = images(4);
        let channels_last =
            plain.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().to_owned();
        let view = channels_last.view().permuted_axes([0, 3, 1, 2]);
        assert!(view.as_slice().is_none());
        close(&session.embed(view).unwrap(), &session.embed(plain.view()).unwrap());
        let reversed = plain.slice(s![..;-1, .., .., ..]);
        let mut rows = session.embed(reversed).unwrap();
        rows.invert_axis(Axis(0));
        close(&rows, &session.embed(plain.view()).unwrap());
    }
}

#[test]
fn a_foreign_model_gives_the_input_of_its_last_linear_layer() {
    for engine in common::engines() {
        let session = load(engine, &classifier(Dim::symbol("N")).model(&["probabilities"]));
        assert_eq!(
            session.report().embedding,
            EmbeddingOrigin::LastLinear {
                name: "features".into(),
                layer: "Gemm \"node scores\"".into()
            }
        );
        let mut session = load(engine, &dense().model(&["logits"]));
        let rows = Array2::<f32>::ones((2, 5));
        let input = [Input::new("input", rows.view())];
        let outputs = session.run(&input, &["logits", "embedding", "active"]).unwrap();
        assert_eq!(
            outputs.iter().map(|o| o.shape().to_vec()).collect::<Vec<_>>(),
            [[2, 3], [2, 6], [2, 6]]
        );
        assert_eq!(outputs[1], outputs[2]);
    }
}

#[test]
fn the_user_may_name_the_value_to_take() {
    for engine in common::engines() {
        let bytes = classifier(Dim::symbol("N")).model(&["probabilities"]).to_bytes().unwrap();
        let named =
            |name: &str| Options { embedding: Some(name.into()), ..common::options(engine) };
        let mut session = Session::load(bytes.clone(), &named("relu")).unwrap();
        assert_eq!(session.embed(images(2).view()).unwrap().dim(), (2, 3 * 4 * 4));
        let error = Session::load(bytes, &named("typo")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model in memory: no value is called \"typo\"; the graph's outputs are probabilities"
        );
    }
}

#[test]
fn a_model_without_an_embedding_says_why() {
    for engine in common::engines() {
        let model =
            nets::Net::new(&[Dim::symbol("N"), Dim::Known(5)]).op("Relu", &[], "y").model(&["y"]);
        let mut session = load(engine, &model);
        let rows = Array2::<f32>::ones((2, 5));
        let error = session.embed(rows.view()).unwrap_err();
        assert!(matches!(error, RunError::NoEmbedding { .. }), "{error}");
    }
}

#[test]
fn external_data_are_found_beside_the_file_also_when_the_graph_is_changed() {
    for engine in common::engines() {
        for outputs in [&["probabilities", "features"][..], &["probabilities"]] {
            let folder = tempfile::tempdir().unwrap();
            let model = classifier(Dim::symbol("N")).model(outputs);
            let mut weights = Vec::new();
            let bytes = model.to_bytes_with_external("net.weights", 1, &mut weights).unwrap();
            std::fs::write(folder.path().join("net.weights"), weights).unwrap();
            let path = folder.path().join("net.onnx");
            std::fs::write(&path, &bytes).unwrap();
            let mut session = Session::load(path, &common::options(engine)).unwrap();
            let rows = session.embed(images(2).view()).unwrap();
            close(&rows, &load(engine, &model).embed(images(2).view()).unwrap());
            let inside = (54 + 3 + 12 + 4) * 4;
            assert_eq!(session.report().model_bytes, bytes.len() as u64 + inside);
        }
    }
}

#[test]
fn two_sessions_run_in_two_threads() {
    for engine in common::engines() {
        let model = classifier(Dim::symbol("N")).model(&["probabilities"]);
        let mut sessions = [load(engine, &model), load(engine, &model)];
        let expected = sessions[0].embed(images(3).view()).unwrap();
        std::thread::scope(|scope| {
            for session in &mut sessions {
                let expected = &expected;
                scope.spawn(move || {
                    for _ in 0..20 {
                        close(&session.embed(images(3).view()).unwrap(), expected);
                    }
                });
            }
        });
    }
}

#[test]
fn the_report_tells_what_runs() {
    for engine in common::engines() {
        let model = classifier(Dim::symbol("N")).model(&["probabilities"]);
        let session = load(engine, &model);
        let report = session.report();
        assert_eq!(report.engine, engine.to_string());
        assert_eq!(report.threads, 2);
        assert_eq!(report.model_bytes, model.to_bytes().unwrap().len() as u64);
        assert!(report.load_s > 0.0);
        assert_eq!(report.notice, None);
        let provider = if engine == EngineChoice::Ort { "CPUExecutionProvider" } else { "tract" };
        assert_eq!(report.provider, provider);
        // tract counts its own, finer nodes.
        assert!((1..=20).contains(&report.nodes_per_provider[provider]), "{report:?}");
        assert_eq!(report.library.is_some(), engine == EngineChoice::Ort);
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["device_asked"], "cpu");
        assert_eq!(json["embedding"]["from"], "last_linear");
    }
}

#[test]
fn wrong_inputs_and_outputs_are_named_with_what_was_expected() {
    fn check(outcome: Result<Vec<nearkin_runtime::Tensor>, RunError>, expect: &str) {
        assert_eq!(outcome.unwrap_err().to_string(), expect);
    }
    for engine in common::engines() {
        let mut session = load(engine, &classifier(Dim::symbol("N")).model(&["probabilities"]));
        let right = images(1);
        let input = || Input::new("input", right.view());
        check(
            session.run(&[], &["scores"]),
            "the model has no output \"scores\"; it gives probabilities, features",
        );
        check(
            session.run(&[], &["embedding"]),
            "input \"input\" is missing; the model takes input",
        );
        check(
            session.run(&[input(), Input::new("mask", right.view())], &["embedding"]),
            "the model has no input \"mask\"; it takes input",
        );
        check(session.run(&[input(), input()], &["embedding"]), "input \"input\" is given twice");
        let wide = Array4::<f32>::zeros((1, 3, 6, 6));
        check(
            session.run(&[Input::new("input", wide.view())], &["embedding"]),
            "input \"input\": expected [N, 2, 6, 6], found [1, 3, 6, 6]",
        );
        let flat = Array2::<f32>::zeros((1, 72));
        check(
            session.run(&[Input::new("input", flat.view())], &["embedding"]),
            "input \"input\": expected [N, 2, 6, 6], found [1, 72]",
        );
        let integers = Array4::<i64>::zeros((1, 2, 6, 6));
        check(
            session.run(&[Input::new("input", integers.view())], &["embedding"]),
            "input \"input\": expected elements Float, found i64",
        );
        let none = Array4::<f32>::zeros((0, 2, 6, 6));
        check(
            session.run(&[Input::new("input", none.view())], &["embedding"]),
            "input \"input\" has no elements: its shape is [0, 2, 6, 6]",
        );
    }
}

#[test]
fn bytes_that_are_no_model_are_refused_at_their_place() {
    for engine in common::engines() {
        let options = common::options(engine);
        let model = classifier(Dim::symbol("N")).model(&["probabilities"]).to_bytes().unwrap();
        for bytes in [b"\x89PNG\r\n\x1a\n".to_vec(), model[..model.len() / 2].to_vec(), Vec::new()]
        {
            let error = Session::load(bytes, &options).unwrap_err();
            assert!(matches!(error, LoadError::NotOnnx { .. }), "{error}");
        }
        let error = Session::load(std::path::PathBuf::from("no/such.onnx"), &options).unwrap_err();
        assert!(error.to_string().starts_with("no/such.onnx: "), "{error}");
    }
}

#[test]
fn an_unknown_operator_is_named_with_its_node() {
    for engine in common::engines() {
        let mut net = classifier(Dim::symbol("N")).op("Twist", &[], "twisted").graph;
        let twisted = net.find("twisted").unwrap();
        net.set_outputs(vec![twisted]);
        let bytes = nearkin_onnx::Model::new(net).to_bytes().unwrap();
        let error = Session::load(bytes, &common::options(engine)).unwrap_err();
        let LoadError::UnknownOperator { operator, .. } = &error else { panic!("{error}") };
        assert_eq!(operator, "Twist");
        assert!(error.to_string().contains("twisted"), "{error}");
    }
}

#[test]
fn an_output_that_nothing_makes_is_an_error_and_no_panic() {
    // tract panics on such a file.
    let bytes = dense().model(&["logits"]).to_bytes().unwrap();
    let at = bytes.windows(6).rposition(|window| window == b"logits").unwrap();
    let mut broken = bytes.clone();
    broken[at..at + 6].copy_from_slice(b"nobody");
    for engine in common::engines() {
        let error = Session::load(broken.clone(), &common::options(engine)).unwrap_err();
        assert!(matches!(error, LoadError::Engine { .. }), "{error}");
    }
}

#[test]
fn tract_refuses_cuda() {
    let bytes = dense().model(&["logits"]).to_bytes().unwrap();
    let options = Options { device: Device::Cuda(0), ..common::options(EngineChoice::Tract) };
    let error = Session::load(bytes, &options).unwrap_err();
    assert!(
        matches!(error, LoadError::Device { source: DeviceError::TractIsCpuOnly, .. }),
        "{error}"
    );
}
