//! The conformance suite on tract and on ONNX Runtime's CPU provider.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use nearkin_runtime::EngineChoice;
use nearkin_testkit::conformance::{self, Skip};

fn conforms(engine: EngineChoice, skips: &[Skip]) {
    let options = common::options(engine);
    let run = |case: &conformance::Case| common::run_case(case, &options);
    let failures = conformance::failures(skips, run).unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[cfg(feature = "tract")]
fn tract_conforms() {
    conforms(EngineChoice::Tract, conformance::TRACT);
}

#[test]
fn onnx_runtime_conforms_on_the_cpu() {
    if common::has_onnx_runtime() {
        conforms(EngineChoice::Ort, conformance::ONNX_RUNTIME);
    }
}
