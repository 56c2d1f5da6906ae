//! Small dense linear algebra in f64: triangular factors and the eigenvalues of symmetric matrices.
//!
//! Enough for covariances of a few thousand columns. Eigenvectors are not computed: no metric needs
//! them.

use ndarray::{Array2, ArrayView2};

/// L with L Lᵀ = `matrix`, lower triangular; or the first row whose pivot is not above `floor` times its diagonal.
pub(crate) fn cholesky(matrix: ArrayView2<'_, f64>, floor: f64) -> Result<Array2<f64>, usize> {
    let n = matrix.nrows();
    let mut l: Array2<f64> = Array2::zeros((n, n));
    for i in 0..n {
        let (above, mut rest) = l.view_mut().split_at(ndarray::Axis(0), i);
        let mut own = rest.row_mut(0);
        for j in 0..i {
            let sum = own.slice(ndarray::s![..j]).dot(&above.slice(ndarray::s![j, ..j]));
            own[j] = (matrix[[i, j]] - sum) / above[[j, j]];
        }
        let head = own.slice(ndarray::s![..i]);
        let pivot = matrix[[i, i]] - head.dot(&head);
        // Written so that NaN is refused.
        if !(pivot > floor * matrix[[i, i]].abs() && pivot > 0.0) {
            return Err(i);
        }
        own[i] = pivot.sqrt();
    }
    Ok(l)
}

/// Solves L z = b in place.
pub(crate) fn solve_lower(l: ArrayView2<'_, f64>, b: &mut [f64]) {
    for i in 0..b.len() {
        let (done, rest) = b.split_at_mut(i);
        let row = l.row(i);
        let sum: f64 = row.iter().zip(done.iter()).map(|(l, z)| l * z).sum();
        rest[0] = (rest[0] - sum) / row[i];
    }
}

/// F `[n, r]` with F Fᵀ = `matrix`, positive semi-definite of rank r, by Cholesky with diagonal pivots.
///
/// Pivots below n · 2⁻⁵² times the largest count as zero.
pub(crate) fn semidefinite_factor(matrix: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut diagonal: Vec<f64> = matrix.diag().to_vec();
    let floor = diagonal.iter().fold(0.0, |most: f64, &v| most.max(v)) * n as f64 * f64::EPSILON;
    // Transposed, so that a column of the factor is contiguous: `[r, n]`.
    let mut columns: Vec<Vec<f64>> = Vec::new();
    while columns.len() < n {
        let (pivot, &value) = match diagonal.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)) {
            Some(found) => found,
            None => break,
        };
        if value <= floor {
            break;
        }
        let root = value.sqrt();
        let mut column: Vec<f64> = matrix.row(pivot).to_vec();
        for earlier in &columns {
            let factor = earlier[pivot];
            column.iter_mut().zip(earlier).for_each(|(c, e)| *c -= factor * e);
        }
        for (c, d) in column.iter_mut().zip(&mut diagonal) {
            *c /= root;
            *d -= *c * *c;
        }
        diagonal[pivot] = f64::NEG_INFINITY;
        columns.push(column);
    }
    Array2::from_shape_fn((n, columns.len()), |(i, j)| columns[j][i])
}

/// The eigenvalues of a symmetric matrix, lowest first; `None` if the iteration does not end.
///
/// Householder's reduction to a tridiagonal matrix, then implicit QL steps; 4/3 n³ operations.
/// Errors are about 10⁻¹⁵ of the largest.
///
/// Source: Martin, Reinsch and Wilkinson, 1968, <https://doi.org/10.1007/BF02161360>; Dubrulle, Martin and
/// Wilkinson, 1968, <https://doi.org/10.1007/BF02162159>.
pub(crate) fn symmetric_eigenvalues(mut a: Array2<f64>) -> Option<Vec<f64>> {
    let n = a.nrows();
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    // The last row of what is left becomes (0, …, 0, e, d).
    for last in (1..n).rev() {
        let mut v = a.slice(ndarray::s![last, ..last]).to_vec();
        diagonal[last] = a[[last, last]];
        let scale = v.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        if scale <= 0.0 {
            continue;
        }
        v.iter_mut().for_each(|x| *x /= scale);
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let e = if v[last - 1] > 0.0 { -norm } else { norm };
        beside[last] = e * scale;
        v[last - 1] -= e;
        let half = v.iter().map(|x| x * x).sum::<f64>() / 2.0;
        if half <= 0.0 {
            continue;
        }
        // A ← H A H, H = I − v vᵀ / half: a rank-two update of all rows.
        let mut p: Vec<f64> =
            (0..last).map(|i| dot(a.row(i).as_slice().unwrap_or_default(), &v) / half).collect();
        let share = dot(&p, &v) / (2.0 * half);
        p.iter_mut().zip(&v).for_each(|(p, v)| *p -= share * v);
        for i in 0..last {
            let (vi, pi) = (v[i], p[i]);
            let row = a.row_mut(i).into_slice().unwrap_or_default();
            row.iter_mut().zip(&v).zip(&p).for_each(|((a, v), p)| *a -= vi * p + pi * v);
        }
    }
    if n > 0 {
        diagonal[0] = a[[0, 0]];
    }
    tridiagonal_eigenvalues(diagonal, beside)
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    const LANES: usize = 8;
    let d = x.len().min(y.len());
    let (x_chunks, x_rest) = x[..d].as_chunks::<LANES>();
    let (y_chunks, y_rest) = y[..d].as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        (0..LANES).for_each(|lane| lanes[lane] += x[lane] * y[lane]);
    }
    lanes.iter().sum::<f64>() + x_rest.iter().zip(y_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// `beside[i]` stands between the diagonal's i − 1 and i.
fn tridiagonal_eigenvalues(mut d: Vec<f64>, mut e: Vec<f64>) -> Option<Vec<f64>> {
    let n = d.len();
    if n == 0 {
        return Some(d);
    }
    e.rotate_left(1);
    e[n - 1] = 0.0;
    for l in 0..n {
        let mut rounds = 0;
        loop {
            // The end of the block that has not split.
            let m = (l..n - 1)
                .find(|&m| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs()))
                .unwrap_or(n - 1);
            if m == l {
                break;
            }
            rounds += 1;
            if rounds > 60 {
                return None;
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut ended = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r <= 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    ended = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
            }
            if !ended {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    d.sort_unstable_by(f64::total_cmp);
    Some(d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;
    use proptest::prelude::*;

    fn made(n: usize, rank: usize, seed: usize) -> Array2<f64> {
        let x = Array2::from_shape_fn((n, rank), |(i, j)| {
            f64::from(crate::noise(i + 50 * seed, j)) - 0.5
        });
        x.dot(&x.t())
    }

    #[test]
    fn known_eigenvalues() {
        // 2 − 2 cos(π k / (n + 1)) of the second difference.
        let n = 40;
        let a = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let found = symmetric_eigenvalues(a).unwrap();
        for (k, value) in (1..).zip(found) {
            let expected = 2.0 - 2.0 * (std::f64::consts::PI * f64::from(k) / 41.0).cos();
            assert!((value - expected).abs() < 1e-13);
        }
        assert_eq!(symmetric_eigenvalues(Array2::zeros((3, 3))), Some(vec![0.0; 3]));
        assert_eq!(symmetric_eigenvalues(Array2::zeros((0, 0))), Some(Vec::new()));
        assert_eq!(symmetric_eigenvalues(arr2(&[[3.0, 4.0], [4.0, -3.0]])).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn eigenvalues_have_the_traces_of_the_powers(n in 1_usize..25, seed in 0_usize..500) {
            let a = made(n, n, seed);
            let values = symmetric_eigenvalues(a.clone()).unwrap();
            let cubes = a.dot(&a).dot(&a).diag().sum();
            prop_assert!((values.iter().sum::<f64>() - a.diag().sum()).abs() < 1e-12 * n as f64);
            prop_assert!((values.iter().map(|v| v.powi(3)).sum::<f64>() - cubes).abs() <= 1e-11 * cubes.max(1.0));
        }

        #[test]
        fn factors_multiply_to_their_matrix(n in 1_usize..20, rank in 1_usize..20, seed in 0_usize..500) {
            let a = made(n, rank, seed);
            let f = semidefinite_factor(a.view());
            prop_assert!(f.ncols() <= rank.min(n));
            prop_assert!((&f.dot(&f.t()) - &a).iter().all(|v| v.abs() < 1e-12));
            match cholesky(a.view(), 1e-12) {
                Ok(l) => {
                    prop_assert!((&l.dot(&l.t()) - &a).iter().all(|v| v.abs() < 1e-12));
                    let mut z = vec![1.0; n];
                    solve_lower(l.view(), &mut z);
                    prop_assert!((l.dot(&ndarray::arr1(&z)) - 1.0).iter().all(|v| v.abs() < 1e-6));
                }
                Err(row) => prop_assert!(row >= rank || rank >= n),
            }
        }
    }
}
