//! Embeddings as features of a linear model: standardised, and no wider than they need be.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

/// Below this multiple of a column's magnitude its variation is f32 rounding, not signal.
const CONSTANT: f64 = 1e-6;
/// Squared residuals below this share of the largest squared norm are rounding of the Gram matrix.
const RESIDUAL: f64 = 1e-11;

/// Training and test features in one common coordinate system.
pub(crate) struct Features {
    /// `[n, r]`.
    pub(crate) train: Array2<f64>,
    /// `[m, r]`.
    pub(crate) test: Array2<f64>,
}

impl Features {
    /// Standardises by the training rows' mean and deviation; columns that do not vary there are
    /// dropped. With more columns than training rows, coordinates are changed ([`row_space`]).
    pub(crate) fn new(train: ArrayView2<'_, f32>, test: ArrayView2<'_, f32>) -> Self {
        let train = train.mapv(f64::from);
        let n = train.nrows() as f64;
        let mean = train.sum_axis(Axis(0)) / n;
        let deviation: Array1<f64> = train
            .columns()
            .into_iter()
            .zip(&mean)
            .map(|(column, mean)| (column.fold(0.0, |sum, v| sum + (v - mean).powi(2)) / n).sqrt())
            .collect();
        let magnitude = |column: ArrayView1<'_, f64>| column.fold(0.0, |m: f64, v| m.max(v.abs()));
        let varying: Vec<usize> = (0..train.ncols())
            .filter(|&j| deviation[j] > CONSTANT * magnitude(train.column(j)))
            .collect();
        let standardised = |rows: &Array2<f64>| {
            Array2::from_shape_fn((rows.nrows(), varying.len()), |(i, j)| {
                let column = varying[j];
                (rows[[i, column]] - mean[column]) / deviation[column]
            })
        };
        let features =
            Self { test: standardised(&test.mapv(f64::from)), train: standardised(&train) };
        if varying.len() > features.train.nrows() { row_space(&features) } else { features }
    }
}

/// The same features in coordinates of the training rows' own space, at most n of them.
///
/// With the pivoted Cholesky factorisation X Xᵀ = L Lᵀ the rows are X = L Q for a Q with orthonormal
/// rows, so L holds the training rows' coordinates in the basis Q, and X̃ Qᵀ those of any other
/// rows. A weight vector orthogonal to all training rows changes no training logit and costs L2
/// penalty, so the penalised optimum lies in their span: in these coordinates it has the same value
/// and predicts the same, at a cost of n instead of d columns. Directions in which no training row
/// is longer than 3·10⁻⁶ of the longest are left out.
fn row_space(features: &Features) -> Features {
    let x = &features.train;
    let gram = x.dot(&x.t());
    let Cholesky { factor, pivots } = pivoted_cholesky(&gram);
    // X̃ Xₚᵀ = (X̃ Qᵀ) Lₚᵀ for the pivot rows p, whose part of L is lower triangular.
    let mut test = features.test.dot(&x.select(Axis(0), &pivots).t());
    let triangle = factor.select(Axis(0), &pivots);
    for mut row in test.rows_mut() {
        for j in 0..pivots.len() {
            let known = row.slice(s![..j]).dot(&triangle.slice(s![j, ..j]));
            row[j] = (row[j] - known) / triangle[[j, j]];
        }
    }
    Features { train: factor, test }
}

struct Cholesky {
    /// `[n, r]`, G ≈ F Fᵀ; its rows `pivots` are lower triangular.
    factor: Array2<f64>,
    /// The row chosen in each step, `[r]`.
    pivots: Vec<usize>,
}

/// Cholesky with the largest remaining diagonal next, until that is rounding error.
///
/// Golub and Van Loan, *Matrix Computations*, algorithm 4.2.4, one row of dot products at a time.
fn pivoted_cholesky(gram: &Array2<f64>) -> Cholesky {
    let n = gram.nrows();
    let mut factor = Array2::<f64>::zeros((n, n));
    let mut residual: Array1<f64> = gram.diag().to_owned();
    let largest = residual.fold(0.0, |m: f64, &v| m.max(v));
    let mut remaining: Vec<usize> = (0..n).collect();
    let mut pivots = Vec::new();
    while let Some(place) = place_of_largest(&remaining, &residual) {
        let pivot = remaining[place];
        if residual[pivot] <= RESIDUAL * largest {
            break;
        }
        remaining.remove(place);
        let step = pivots.len();
        let diagonal = residual[pivot].sqrt();
        factor[[pivot, step]] = diagonal;
        let chosen = factor.slice(s![pivot, ..step]).to_owned();
        for &i in &remaining {
            let known = factor.slice(s![i, ..step]).dot(&chosen);
            let value = (gram[[i, pivot]] - known) / diagonal;
            factor[[i, step]] = value;
            residual[i] -= value * value;
        }
        pivots.push(pivot);
    }
    let factor = factor.slice_move(s![.., ..pivots.len()]).as_standard_layout().into_owned();
    Cholesky { factor, pivots }
}

/// Where the row with the largest residual is; the lowest row among equals.
fn place_of_largest(remaining: &[usize], residual: &Array1<f64>) -> Option<usize> {
    (0..remaining.len()).reduce(|best, place| {
        if residual[remaining[place]] > residual[remaining[best]] { place } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(i: usize, j: usize) -> f32 {
        let mut z = (i as u64) << 32 | (j as u64 + 1);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1 << 24) as f32
    }

    #[test]
    fn columns_that_do_not_vary_in_training_are_dropped() {
        let train = Array2::from_shape_fn((9, 3), |(i, j)| [0.1, i as f32, 0.0][j]);
        let test = Array2::from_elem((2, 3), 4.0);
        let features = Features::new(train.view(), test.view());
        assert_eq!(features.train.dim(), (9, 1));
        // 4 is the mean of 0..9.
        assert!(features.test.iter().all(|v| v.abs() < 1e-12));
        assert!((features.train.mapv(|v| v * v).sum() / 9.0 - 1.0).abs() < 1e-12);
    }

    proptest! {
        /// What an L2-penalised linear model sees of features is their inner products.
        #[test]
        fn inner_products_survive_the_change_of_coordinates(
            n in 2_usize..12, extra in 1_usize..20, copies in 0_usize..3, seed in 0_usize..1000,
        ) {
            let d = n + copies + extra;
            // The last rows repeat the first: the rank is below n.
            let train = Array2::from_shape_fn((n + copies, d), |(i, j)| noise(i % n + seed, j));
            let test = Array2::from_shape_fn((3, d), |(i, j)| noise(i + seed + 5000, j));
            let reduced = Features::new(train.view(), test.view());
            prop_assert!(reduced.train.ncols() < n, "centred rows have rank below n");
            let whole = Features::new(
                train.view(),
                ndarray::concatenate(Axis(0), &[train.view(), test.view()]).unwrap().view(),
            );
            let inner = reduced.test.dot(&reduced.train.t());
            let expected = whole.test.slice(s![n + copies.., ..]).dot(&whole.train.t());
            prop_assert!((&inner - &expected).iter().all(|v| v.abs() < 1e-6));
            let standardised = |x: &Array2<f32>| {
                let x = x.mapv(f64::from);
                let mean = x.mean_axis(Axis(0)).unwrap();
                let deviation = x.std_axis(Axis(0), 0.0);
                (x - mean) / deviation
            };
            let direct = standardised(&train);
            let gram = reduced.train.dot(&reduced.train.t());
            prop_assert!((gram - direct.dot(&direct.t())).iter().all(|v| v.abs() < 1e-7));
        }
    }
}
