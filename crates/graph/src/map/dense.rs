//! Eigenvectors of small dense symmetric matrices, by Jacobi's rotations.

/// Eigenvalues in falling order and their eigenvectors.
#[derive(Clone, Debug)]
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    /// `vectors[k]` belongs to `values[k]` and has norm 1.
    pub(super) vectors: Vec<Vec<f64>>,
}

/// All eigenvectors of the symmetric matrix `a`, whose rows follow each other.
///
/// Cyclic Jacobi (Golub and Van Loan, *Matrix Computations*, 8.5): a few sweeps of O(n³) each.
/// Accurate and simple, meant for tens of rows.
pub(super) fn symmetric_eigen(mut a: Vec<f64>, n: usize) -> Eigen {
    const SWEEPS: usize = 64;
    let mut v: Vec<f64> = (0..n * n).map(|at| if at / n == at % n { 1.0 } else { 0.0 }).collect();
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j].powi(2))
            .sum();
        if off <= 1e-32 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut v, n, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]));
    Eigen {
        values: order.iter().map(|&i| a[i * n + i]).collect(),
        vectors: order.iter().map(|&i| (0..n).map(|row| v[row * n + i]).collect()).collect(),
    }
}

/// Makes a[p, q] zero by a rotation of the two axes.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq.abs() < f64::MIN_POSITIVE {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = t.hypot(1.0).recip();
    let s = t * c;
    for i in 0..n {
        let (x, y) = (a[i * n + p], a[i * n + q]);
        (a[i * n + p], a[i * n + q]) = (c * x - s * y, s * x + c * y);
    }
    for i in 0..n {
        let (x, y) = (a[p * n + i], a[q * n + i]);
        (a[p * n + i], a[q * n + i]) = (c * x - s * y, s * x + c * y);
        let (x, y) = (v[i * n + p], v[i * n + q]);
        (v[i * n + p], v[i * n + q]) = (c * x - s * y, s * x + c * y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_matrix_is_the_sum_of_its_eigenparts(n in 1_usize..9, values in prop::collection::vec(-3.0..3.0_f64, 81)) {
            let a: Vec<f64> = (0..n * n).map(|at| values[at] + values[(at % n) * n + at / n]).collect();
            let Eigen { values, vectors } = symmetric_eigen(a.clone(), n);
            prop_assert!(values.is_sorted_by(|a, b| a >= b));
            for i in 0..n {
                for j in 0..n {
                    let rebuilt: f64 =
                        (0..n).map(|k| values[k] * vectors[k][i] * vectors[k][j]).sum();
                    prop_assert!((rebuilt - a[i * n + j]).abs() < 1e-12 * n as f64);
                }
            }
        }
    }

    #[test]
    fn the_path_of_three_has_its_known_spectrum() {
        let eigen = symmetric_eigen(vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 3);
        let root = 2.0_f64.sqrt();
        for (found, expected) in eigen.values.iter().zip([root, 0.0, -root]) {
            assert!((found - expected).abs() < 1e-14);
        }
    }
}
