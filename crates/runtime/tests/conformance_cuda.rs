//! The conformance suite on ONNX Runtime's CUDA provider. Without a device it fails, as it must:
//! the target is built only with the feature `cuda-tests`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use nearkin_runtime::{Device, EngineChoice, Options, Session};
use nearkin_testkit::conformance::{self, Case};

#[test]
fn onnx_runtime_conforms_on_cuda() {
    let options = Options { device: Device::Cuda(0), ..common::options(EngineChoice::Ort) };
    let run = |case: &Case| common::run_case(case, &options);
    let failures = conformance::failures(conformance::ONNX_RUNTIME, run).unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_report_names_cuda_and_counts_its_nodes() {
    let options = Options { device: Device::Cuda(0), ..common::options(EngineChoice::Ort) };
    let cases = Case::all().unwrap();
    let case = cases.iter().find(|case| case.name == "residual_block").unwrap();
    let session = Session::load(case.model.clone(), &options).unwrap();
    let report = session.report();
    assert_eq!(report.provider, "CUDAExecutionProvider");
    assert!(report.nodes_per_provider["CUDAExecutionProvider"] > 0);
    assert_eq!(report.notice, None);
}
