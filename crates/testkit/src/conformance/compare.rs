//! Compares what an engine gave with what was expected.

use super::{Case, Value};
use ndarray::ArrayD;

/// An output that is not as expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Too many or too few outputs.
    #[error("expected {expected} outputs, found {found}")]
    Count {
        /// Those of the case.
        expected: usize,
        /// Those given.
        found: usize,
    },
    /// Other element types.
    #[error("{output}: expected {expected}, found {found}")]
    Type {
        /// The output.
        output: String,
        /// `f32` or `i64`.
        expected: &'static str,
        /// `f32` or `i64`.
        found: &'static str,
    },
    /// Other dimensions.
    #[error("{output}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The output.
        output: String,
        /// Those of the case.
        expected: Vec<usize>,
        /// Those given.
        found: Vec<usize>,
    },
    /// An element too far off.
    #[error("{output}{index:?}: expected {expected}, found {found} (tolerance {tolerance})")]
    Element {
        /// The output.
        output: String,
        /// Position of the worst element.
        index: Vec<usize>,
        /// What it should be.
        expected: f64,
        /// What it is.
        found: f64,
        /// The case's tolerance.
        tolerance: f32,
    },
}

pub(super) fn outputs(case: &Case, found: &[Value]) -> Result<(), Mismatch> {
    if case.outputs.len() != found.len() {
        return Err(Mismatch::Count { expected: case.outputs.len(), found: found.len() });
    }
    case.outputs.iter().zip(found).try_for_each(|((name, expected), found)| {
        match (expected, found) {
            (Value::F32(expected), Value::F32(found)) => {
                close(name, expected, found, case.tolerance, |value| f64::from(*value))
            }
            (Value::I64(expected), Value::I64(found)) => {
                close(name, expected, found, 0.0, |value| *value as f64)
            }
            (expected, found) => Err(Mismatch::Type {
                output: name.clone(),
                expected: kind(expected),
                found: kind(found),
            }),
        }
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::F32(_) => "f32",
        Value::I64(_) => "i64",
    }
}

fn close<T>(
    output: &str,
    expected: &ArrayD<T>,
    found: &ArrayD<T>,
    tolerance: f32,
    number: impl Fn(&T) -> f64,
) -> Result<(), Mismatch> {
    if expected.shape() != found.shape() {
        return Err(Mismatch::Shape {
            output: output.to_owned(),
            expected: expected.shape().to_vec(),
            found: found.shape().to_vec(),
        });
    }
    let mut worst: Option<(f64, Mismatch)> = None;
    for ((index, expected), found) in expected.indexed_iter().zip(found.iter()) {
        let (expected, found) = (number(expected), number(found));
        let off = (expected - found).abs() / expected.abs().max(1.0);
        // Written so that NaN counts as too far off.
        let fits = off <= f64::from(tolerance);
        if !fits && worst.as_ref().is_none_or(|(known, _)| off.total_cmp(known).is_gt()) {
            let index = ndarray::Dimension::slice(&index).to_vec();
            let output = output.to_owned();
            worst = Some((off, Mismatch::Element { output, index, expected, found, tolerance }));
        }
    }
    worst.map_or(Ok(()), |(_, mismatch)| Err(mismatch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &[f32], found: &[f32], index: Option<usize>) {
        let array = |values: &[f32]| ArrayD::from_shape_vec(vec![values.len()], values.to_vec());
        let (expected, found) = (array(expected).unwrap(), array(found).unwrap());
        let outcome = close("y", &expected, &found, 1e-3, |value| f64::from(*value));
        match (outcome, index) {
            (Ok(()), None) => {}
            (Err(Mismatch::Element { index, .. }), Some(place)) => assert_eq!(index, [place]),
            (outcome, index) => panic!("{outcome:?} where {index:?} was expected"),
        }
    }

    #[test]
    fn the_worst_element_is_named_and_nan_is_never_close() {
        check(&[1.0, 1000.0], &[1.0005, 1000.5], None);
        check(&[1.0, 2.0, 3.0], &[1.1, 2.5, 3.0], Some(1));
        check(&[1.0, 2.0], &[1.0, f32::NAN], Some(1));
    }
}
