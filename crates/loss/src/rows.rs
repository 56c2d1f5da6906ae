//! Functions of rows that losses share, in f64, each with its backward pass.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

/// Squared norms below this count as this: a zero row is divided by 1e-12, not by 0.
pub(crate) const SMALLEST_SQUARE: f64 = 1e-24;

/// ln(1 + eˣ) without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e⁻ˣ) without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// ln Σ eˣ; −∞ of nothing.
pub(crate) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_finite() {
        largest + values.map(|v| (v - largest).exp()).sum::<f64>().ln()
    } else {
        largest
    }
}

/// The logarithm of the softmax of every row.
pub(crate) fn log_softmax(x: &Array2<f64>) -> Array2<f64> {
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        let total = log_sum_exp(row.iter().copied());
        row -= total;
    }
    y
}

/// From the gradient of log-probabilities `l` to that of the logits: g − e^l · Σ g.
pub(crate) fn log_softmax_back(l: &Array2<f64>, mut g: Array2<f64>) -> Array2<f64> {
    for (l, mut g) in l.rows().into_iter().zip(g.rows_mut()) {
        let total = g.sum();
        Zip::from(&mut g).and(&l).for_each(|g, &l| *g -= l.exp() * total);
    }
    g
}

/// Rows divided by their norm, and the norms, none below 1e-12.
pub(crate) fn normalise(x: &Array2<f64>) -> (Array2<f64>, Array1<f64>) {
    let norms = x.map_axis(Axis(1), |row| row.dot(&row).max(SMALLEST_SQUARE).sqrt());
    let y = x / &norms.view().insert_axis(Axis(1));
    (y, norms)
}

/// From the gradient of normalised rows `y` to that of the rows: (g − y·(y·g)) / ‖x‖.
pub(crate) fn normalise_back(
    y: &Array2<f64>,
    norms: &Array1<f64>,
    mut g: Array2<f64>,
) -> Array2<f64> {
    for ((y, &norm), mut g) in y.rows().into_iter().zip(norms).zip(g.rows_mut()) {
        // Below the smallest norm the divisor is a constant.
        let along = if norm * norm > SMALLEST_SQUARE { y.dot(&g) } else { 0.0 };
        Zip::from(&mut g).and(&y).for_each(|g, &y| *g = (*g - y * along) / norm);
    }
    g
}

/// Row `i` of the result is row `chosen[i]` of `x`.
pub(crate) fn take(x: ArrayView2<'_, f64>, chosen: &[usize]) -> Array2<f64> {
    x.select(Axis(0), chosen)
}

/// The backward pass of [`take`]: adds row `i` of `g` to row `chosen[i]` of `into`.
pub(crate) fn give_back(into: &mut Array2<f64>, chosen: &[usize], g: &Array2<f64>) {
    for (&row, g) in chosen.iter().zip(g.rows()) {
        let mut target = into.row_mut(row);
        target += &g;
    }
}

/// `[n, classes]`: 1 at the label, else 0; a label outside gives a row of 0.
pub(crate) fn one_hot(labels: &[usize], classes: usize) -> Array2<f64> {
    let mut y = Array2::zeros((labels.len(), classes));
    for (row, &label) in labels.iter().enumerate() {
        if let Some(place) = y.get_mut((row, label)) {
            *place = 1.0;
        }
    }
    y
}
