//! The centre loss.
//!
//! Wen et al., 2016, <https://doi.org/10.1007/978-3-319-46478-7_31>. It is used beside a
//! classification loss: alone it collapses.

use ndarray::{Array2, ArrayView2, Axis, Ix2, NdFloat};

use crate::graded::{finite, graded_pair, labels_fit, share_of};
use crate::{GradedPair, LossError};

/// Σ ‖xᵢ − c(yᵢ)‖² / 2n: rows are drawn to the centre of their class.
///
/// - `points`: `[n, d]`, finite; `labels`: `n` classes below `C`.
/// - `centres`: `[C, d]`, finite; trained by their gradient like any parameter (the paper moves them
///   by an averaged difference instead).
/// - returns: at least 0; gradients `[n, d]` and `[C, d]`.
///
/// # Errors
/// [`LossError`]: shapes, labels or values that do not fit.
///
/// # Examples
/// ```
/// let points = ndarray::arr2(&[[2.0_f64], [0.0]]);
/// let centres = ndarray::arr2(&[[0.0_f64], [1.0]]);
/// let loss = nearkin_loss::centre(points.view(), &[1, 1], centres.view())?;
/// assert_eq!((loss.value, loss.first[[0, 0]], loss.second[[1, 0]]), (0.5, 0.5, 0.0));
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn centre<T: NdFloat>(
    points: ArrayView2<'_, T>,
    labels: &[usize],
    centres: ArrayView2<'_, T>,
) -> Result<GradedPair<T, Ix2>, LossError> {
    labels_fit(labels, points.nrows(), centres.nrows(), None)?;
    if points.ncols() != centres.ncols() {
        let (expected, found) = (points.ncols().to_string(), centres.ncols().to_string());
        return Err(LossError::Shape { input: "width of centres", expected, found });
    }
    let x = finite("points", &points)?;
    let c = finite("centres", &centres)?;
    let factor = share_of(x.nrows() as f64);
    let apart = x - c.select(Axis(0), labels);
    let value = factor / 2.0 * apart.iter().map(|v| v * v).sum::<f64>();
    let gradient = apart * factor;
    let mut onto_centres = Array2::zeros(c.dim());
    crate::rows::give_back(&mut onto_centres, labels, &gradient.mapv(|v| -v));
    graded_pair((value, gradient, onto_centres))
}
