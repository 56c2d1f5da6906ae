//! What the tests share.

use nearkin_runtime::{Device, EngineChoice, Input, Options, Session, Tensor, TensorView};
use nearkin_testkit::conformance::{Case, Value};
use std::num::NonZeroUsize;

/// Options for one engine on the CPU with two threads.
pub(crate) fn options(engine: EngineChoice) -> Options {
    let threads = NonZeroUsize::new(2);
    Options { engine, device: Device::Cpu, threads, ..Options::default() }
}

/// Runs a case of the conformance suite in a session of its own.
#[allow(dead_code, reason = "not every test target runs the suite")]
pub(crate) fn run_case(case: &Case, options: &Options) -> Result<Vec<Value>, String> {
    let mut session =
        Session::load(case.model.clone(), options).map_err(|error| error.to_string())?;
    let inputs: Vec<Input<'_>> = case
        .inputs
        .iter()
        .map(|(name, value)| match value {
            Value::F32(array) => Input::new(name, TensorView::from(array.view())),
            Value::I64(array) => Input::new(name, TensorView::from(array.view())),
        })
        .collect();
    let outputs: Vec<&str> = case.outputs.iter().map(|(name, _)| name.as_str()).collect();
    let found = session.run(&inputs, &outputs).map_err(|error| error.to_string())?;
    Ok(found
        .into_iter()
        .map(|tensor| match tensor {
            Tensor::F32(array) => Value::F32(array),
            Tensor::I64(array) => Value::I64(array),
        })
        .collect())
}

/// The engines that are at hand; says in one line if ONNX Runtime is not.
#[allow(dead_code, reason = "not every test target runs all engines")]
pub(crate) fn engines() -> Vec<EngineChoice> {
    let mut engines = Vec::new();
    if cfg!(feature = "tract") {
        engines.push(EngineChoice::Tract);
    }
    if has_onnx_runtime() {
        engines.push(EngineChoice::Ort);
    }
    engines
}

/// True if ONNX Runtime's library loads.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
pub(crate) fn has_onnx_runtime() -> bool {
    match nearkin_runtime::Library::find(None, Device::Cpu) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("left out on ONNX Runtime: {error}");
            false
        }
    }
}
