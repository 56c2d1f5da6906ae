//! One set of small models that every engine must run alike.
//!
//! The cases lie in `fixtures/conformance`, each an ONNX file with its inputs, the outputs of
//! ONNX's own reference implementation, and its tolerance; `make.py` beside them makes them. What
//! an engine cannot do is in its list of [`Skip`]s, and the suite checks that it indeed cannot.

mod compare;
mod read;
mod skips;

pub use compare::Mismatch;
pub use read::CaseError;
pub use skips::{ONNX_RUNTIME, Skip, TRACT};

use ndarray::ArrayD;

/// A tensor of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers.
    I64(ArrayD<i64>),
}

/// A model, what it is fed, and what it must give.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending, such as `conv_grouped`.
    pub name: String,
    /// The bytes of the ONNX file.
    pub model: Vec<u8>,
    /// Inputs by name, in the order of their names.
    pub inputs: Vec<(String, Value)>,
    /// Expected outputs by name, in the order of their names.
    pub outputs: Vec<(String, Value)>,
    /// Largest difference allowed, relative where the expected value is above 1 in magnitude.
    pub tolerance: f32,
}

impl Case {
    /// All cases, in the order of their names.
    ///
    /// # Errors
    /// [`CaseError`] names the file that cannot be read, and why.
    pub fn all() -> Result<Vec<Self>, CaseError> {
        read::cases()
    }

    /// Compares what an engine gave for [`Case::outputs`], in that order.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn compare(&self, found: &[Value]) -> Result<(), Mismatch> {
        compare::outputs(self, found)
    }
}

/// Runs every case on an engine and tells what went wrong, one line each.
///
/// A case on the list of `skips` must fail: one that passes is told too, so that the list stays
/// true. So is a skip of a case that does not exist.
///
/// # Errors
/// [`CaseError`] if the cases cannot be read.
pub fn failures(
    skips: &[Skip],
    mut run: impl FnMut(&Case) -> Result<Vec<Value>, String>,
) -> Result<Vec<String>, CaseError> {
    let cases = Case::all()?;
    let mut failures = Vec::new();
    for case in &cases {
        let outcome =
            run(case).and_then(|found| case.compare(&found).map_err(|error| error.to_string()));
        let skip = skips.iter().find(|skip| skip.case == case.name);
        match (outcome, skip) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(reason), None) => failures.push(format!("{}: {reason}", case.name)),
            (Ok(()), Some(skip)) => {
                failures.push(format!("{} passes, yet it is skipped: {}", case.name, skip.reason));
            }
        }
    }
    for skip in skips.iter().filter(|skip| !cases.iter().any(|case| case.name == skip.case)) {
        failures.push(format!("{} is skipped, yet there is no such case", skip.case));
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(case: &Case) -> Result<Vec<Value>, String> {
        Ok(case.outputs.iter().map(|(_, value)| value.clone()).collect())
    }

    #[test]
    fn an_engine_that_gives_the_expected_outputs_has_no_failures() {
        assert_eq!(failures(&[], right).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_output_a_stale_skip_and_an_unknown_skip_are_told() {
        let skips = [
            Skip { case: "relu", reason: "cannot" },
            Skip { case: "no_such_case", reason: "cannot" },
        ];
        let run = |case: &Case| match case.name.as_str() {
            "tanh" => Err("no operator Tanh".to_owned()),
            _ => right(case),
        };
        let told = failures(&skips, run).unwrap();
        assert_eq!(
            told,
            [
                "relu passes, yet it is skipped: cannot",
                "tanh: no operator Tanh",
                "no_such_case is skipped, yet there is no such case",
            ]
        );
    }
}
