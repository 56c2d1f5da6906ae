//! Runs a batch of any size on a model that was exported for one of its own.

use crate::error::RunError;
use crate::session::Engine;
use crate::value::{Tensor, TensorView};
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Axis, Dimension, Slice};

/// The batch that the model is fixed at, if `values` is a batch of another size of it: one input,
/// and outputs that have one row for each of its rows.
pub(crate) fn size(
    engine: &dyn Engine,
    values: &[TensorView<'_>],
    outputs: &[usize],
) -> Option<usize> {
    let ([port], [value]) = (engine.inputs(), values) else { return None };
    let batch = port.fixed_batch().filter(|&batch| batch > 0)?;
    let shape = value.shape();
    let mut piece = shape.to_vec();
    *piece.first_mut()? = batch;
    let rows = |&output: &usize| engine.outputs()[output].fixed_batch() == Some(batch);
    (shape[0] != batch && port.takes(&piece) && outputs.iter().all(rows)).then_some(batch)
}

/// Runs `value` in pieces of `batch` rows, the last one filled up with zeros.
pub(crate) fn run(
    engine: &mut dyn Engine,
    value: &TensorView<'_>,
    outputs: &[usize],
    batch: usize,
) -> Result<Vec<Tensor>, RunError> {
    let rows = value.shape()[0];
    let mut whole: Vec<Tensor> = Vec::new();
    for start in (0..rows).step_by(batch) {
        let filled;
        let piece = match value {
            TensorView::F32(view) => TensorView::F32(part(view, start, batch)),
            TensorView::I64(view) => TensorView::I64(part(view, start, batch)),
        };
        let piece = if piece.shape()[0] < batch {
            filled = fill(&piece, batch);
            filled.view()
        } else {
            piece
        };
        let results = engine.run(&[piece], outputs)?;
        for (i, result) in results.into_iter().enumerate() {
            if result.shape().first() != Some(&batch) {
                return Err(RunError::OutputShape {
                    name: engine.outputs()[outputs[i]].name.clone(),
                    expected: format!("{batch} rows"),
                    found: result.shape().to_vec(),
                });
            }
            if start == 0 {
                whole.push(match &result {
                    Tensor::F32(array) => Tensor::F32(room(array.view(), rows)),
                    Tensor::I64(array) => Tensor::I64(room(array.view(), rows)),
                });
            }
            match (&mut whole[i], result) {
                (Tensor::F32(whole), Tensor::F32(result)) => put(whole, &result, start),
                (Tensor::I64(whole), Tensor::I64(result)) => put(whole, &result, start),
                // An engine returns an output with one element type in every run.
                (whole, result) => {
                    return Err(RunError::OutputElement {
                        name: engine.outputs()[outputs[i]].name.clone(),
                        found: format!("{} after {}", result.element(), whole.element()),
                    });
                }
            }
        }
    }
    Ok(whole)
}

fn part<'a, T>(view: &'a ArrayViewD<'_, T>, start: usize, batch: usize) -> ArrayViewD<'a, T> {
    let end = (start + batch).min(view.shape()[0]);
    view.slice_axis(Axis(0), Slice::from(start..end))
}

fn fill(piece: &TensorView<'_>, batch: usize) -> Tensor {
    fn widen<T: Clone + Default>(view: &ArrayViewD<'_, T>, batch: usize) -> ArrayD<T> {
        let mut filled = room(view.view(), batch);
        filled.slice_axis_mut(Axis(0), Slice::from(..view.shape()[0])).assign(view);
        filled
    }
    match piece {
        TensorView::F32(view) => Tensor::F32(widen(view, batch)),
        TensorView::I64(view) => Tensor::I64(widen(view, batch)),
    }
}

/// Zeros in the shape of `view`, but for the number of rows.
fn room<T: Clone + Default, D: Dimension>(view: ArrayView<'_, T, D>, rows: usize) -> ArrayD<T> {
    let mut shape = view.shape().to_vec();
    shape[0] = rows;
    Array::from_elem(shape, T::default())
}

/// Copies the rows of `result` that `whole` has room for, from row `start` on.
fn put<T: Clone>(whole: &mut ArrayD<T>, result: &ArrayD<T>, start: usize) {
    let rows = result.shape()[0].min(whole.shape()[0] - start);
    let from = result.slice_axis(Axis(0), Slice::from(..rows));
    whole.slice_axis_mut(Axis(0), Slice::from(start..start + rows)).assign(&from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Port;
    use nearkin_onnx::{ElementType, Shape};
    use proptest::prelude::*;

    /// Doubles its rows, and takes a fixed number of them.
    struct Double([Port; 1]);

    impl Double {
        fn of(batch: usize) -> Self {
            let shape = Some(Shape::known(&[batch, 3]));
            Self([Port { name: "x".into(), element: ElementType::Float, shape }])
        }
    }

    impl Engine for Double {
        fn inputs(&self) -> &[Port] {
            &self.0
        }

        fn outputs(&self) -> &[Port] {
            &self.0
        }

        fn run(&mut self, inputs: &[TensorView<'_>], _: &[usize]) -> Result<Vec<Tensor>, RunError> {
            assert!(self.0[0].takes(inputs[0].shape()));
            match &inputs[0] {
                TensorView::F32(view) => Ok(vec![(view.to_owned() * 2.0).into()]),
                TensorView::I64(view) => Ok(vec![(view.to_owned() * 2).into()]),
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_whole(rows in 1usize..20, batch in 1usize..8) {
            let values = Array::from_shape_fn((rows, 3), |(i, j)| (3 * i + j) as f32);
            let mut engine = Double::of(batch);
            let view = TensorView::from(values.view());
            let piece = size(&engine, std::slice::from_ref(&view), &[0]);
            prop_assert_eq!(piece, (rows != batch).then_some(batch));
            if piece.is_some() {
                let whole = run(&mut engine, &view, &[0], batch).unwrap();
                prop_assert_eq!(whole, vec![Tensor::from(values * 2.0)]);
            }
        }
    }

    #[test]
    fn a_model_whose_outputs_have_other_rows_does_not_run_in_pieces() {
        let mut engine = Double::of(2);
        engine.0[0].shape = Some(Shape::known(&[2, 4]));
        let values = Array::<f32, _>::zeros((4, 3));
        assert_eq!(size(&engine, &[TensorView::from(values.view())], &[0]), None);
    }
}
