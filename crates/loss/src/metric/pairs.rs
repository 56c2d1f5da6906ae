//! Rows compared all with all, and the way back from a gradient `[n, m]` to the rows.

use ndarray::{Array1, Array2, ArrayView2, NdFloat};

use crate::LossError;
use crate::graded::{finite, one_per_row};
use crate::graph::ROOT_EPS;
use crate::rows::{normalise, normalise_back};

/// Rows, normalised if asked for.
pub(crate) struct Rows {
    pub(crate) y: Array2<f64>,
    norms: Option<Array1<f64>>,
}

impl Rows {
    pub(crate) fn new<T: NdFloat>(
        input: &'static str,
        x: ArrayView2<'_, T>,
        normalised: bool,
    ) -> Result<Self, LossError> {
        let x = finite(input, &x)?;
        Ok(if normalised {
            let (y, norms) = normalise(&x);
            Self { y, norms: Some(norms) }
        } else {
            Self { y: x, norms: None }
        })
    }

    /// Rows with one label each.
    pub(crate) fn labelled<T: NdFloat>(
        x: ArrayView2<'_, T>,
        labels: &[usize],
        normalised: bool,
    ) -> Result<Self, LossError> {
        one_per_row("labels", x.nrows(), labels.len())?;
        Self::new("points", x, normalised)
    }

    pub(crate) fn back(&self, g: Array2<f64>) -> Array2<f64> {
        match &self.norms {
            Some(norms) => normalise_back(&self.y, norms, g),
            None => g,
        }
    }

    /// Dot products with every row of `other`.
    pub(crate) fn products(&self, other: &Rows) -> Array2<f64> {
        self.y.dot(&other.y.t())
    }

    /// From the gradient of [`Rows::products`] to those of both sides.
    pub(crate) fn products_back(
        &self,
        other: &Rows,
        g: &Array2<f64>,
    ) -> (Array2<f64>, Array2<f64>) {
        (self.back(g.dot(&other.y)), other.back(g.t().dot(&self.y)))
    }

    /// From the gradient of the products of rows among themselves to that of the rows.
    pub(crate) fn own_products_back(&self, g: &Array2<f64>) -> Array2<f64> {
        self.back((g + &g.t()).dot(&self.y))
    }

    /// From the gradient of [`distances`] among the rows to that of the rows.
    pub(crate) fn distances_back(&self, distances: &Array2<f64>, g: &Array2<f64>) -> Array2<f64> {
        // ∂xᵢ = Σⱼ h_ij·(xᵢ − xⱼ) with h = (g + gᵀ)/d.
        let h = (g + &g.t()) / distances;
        let totals = h.sum_axis(ndarray::Axis(1)).insert_axis(ndarray::Axis(1));
        self.back(&self.y * &totals - h.dot(&self.y))
    }
}

/// √(‖xᵢ − xⱼ‖² + 1e-12) for all rows.
pub(crate) fn distances(y: &Array2<f64>) -> Array2<f64> {
    let n = y.nrows();
    let mut d = Array2::from_elem((n, n), f64::from(ROOT_EPS).sqrt());
    for i in 0..n {
        for j in 0..i {
            let square: f64 = y.row(i).iter().zip(y.row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
            let distance = (square + f64::from(ROOT_EPS)).sqrt();
            d[[i, j]] = distance;
            d[[j, i]] = distance;
        }
    }
    d
}

/// Whether rows i and j are a pair that belongs together.
pub(crate) fn positive(labels: &[usize], i: usize, j: usize) -> bool {
    i != j && labels[i] == labels[j]
}
