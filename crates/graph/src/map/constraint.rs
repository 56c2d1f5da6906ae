//! Where positions must stay, and how gradients are turned along it.

use rayon::prelude::*;

use super::config::Constraint;
use super::dense::symmetric_eigen;

/// Rows that one task sums; part of the result, since sums are added block by block.
const ROWS: usize = 1 << 12;

impl Constraint {
    /// Moves `positions` to the nearest that satisfy the constraint.
    ///
    /// Standardised positions are √n X (XᵀX)^(−½) of the centred ones. Where those do not span the
    /// space there is no nearest; the columns without extent stay without.
    pub(super) fn project<const M: usize>(self, positions: &mut [f32]) {
        centre::<M>(positions);
        if self == Self::Standardised {
            let n = (positions.len() / M) as f64;
            let gram = products::<M>(positions, positions);
            let eigen = symmetric_eigen(gram.as_flattened().to_vec(), M);
            let largest = eigen.values.first().copied().unwrap_or_default();
            let mut whitening = [[0.0; M]; M];
            for (value, vector) in eigen.values.iter().zip(&eigen.vectors) {
                let factor = if *value > 1e-12 * largest { (n / value).sqrt() } else { 0.0 };
                for (i, row) in whitening.iter_mut().enumerate() {
                    for (j, entry) in row.iter_mut().enumerate() {
                        *entry += factor * vector[i] * vector[j];
                    }
                }
            }
            let (rows, _) = positions.as_chunks_mut::<M>();
            rows.par_iter_mut().with_min_len(ROWS).for_each(|row| *row = times(*row, &whitening));
        }
    }

    /// Leaves of `gradient` what does not lead off the constraint at `positions`.
    ///
    /// Z − (1/n) X (ZᵀX) for standardised positions, as PyMDE; a centred map's gradient has mean 0.
    pub(super) fn to_tangent<const M: usize>(self, positions: &[f32], gradient: &mut [f32]) {
        if self == Self::Standardised {
            let n = (positions.len() / M) as f64;
            let mut cross = products::<M>(gradient, positions);
            cross.as_flattened_mut().iter_mut().for_each(|v| *v /= n);
            let (rows, _) = positions.as_chunks::<M>();
            let (gradient, _) = gradient.as_chunks_mut::<M>();
            gradient.par_iter_mut().zip(rows).with_min_len(ROWS).for_each(|(g, x)| {
                let along = times(*x, &cross);
                g.iter_mut().zip(along).for_each(|(g, along)| *g -= along);
            });
        }
    }
}

/// Subtracts the mean of the rows.
pub(super) fn centre<const M: usize>(positions: &mut [f32]) {
    let (rows, _) = positions.as_chunks_mut::<M>();
    let n = rows.len().max(1) as f64;
    let sums: Vec<[f64; M]> = rows
        .par_chunks(ROWS)
        .map(|rows| {
            let mut sum = [0.0; M];
            for row in rows {
                sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
            }
            sum
        })
        .collect();
    let mut mean = [0.0; M];
    for sum in &sums {
        mean.iter_mut().zip(sum).for_each(|(m, s)| *m += s / n);
    }
    rows.par_iter_mut().with_min_len(ROWS).for_each(|row| {
        row.iter_mut().zip(mean).for_each(|(x, m)| *x = (f64::from(*x) - m) as f32);
    });
}

/// AᵀB, in f64.
fn products<const M: usize>(a: &[f32], b: &[f32]) -> [[f64; M]; M] {
    let (a, _) = a.as_chunks::<M>();
    let (b, _) = b.as_chunks::<M>();
    let blocks: Vec<[[f64; M]; M]> = a
        .par_chunks(ROWS)
        .zip(b.par_chunks(ROWS))
        .map(|(a, b)| {
            let mut sum = [[0.0; M]; M];
            for (a, b) in a.iter().zip(b) {
                for i in 0..M {
                    for j in 0..M {
                        sum[i][j] += f64::from(a[i]) * f64::from(b[j]);
                    }
                }
            }
            sum
        })
        .collect();
    let mut total = [[0.0; M]; M];
    for block in &blocks {
        total.as_flattened_mut().iter_mut().zip(block.as_flattened()).for_each(|(t, v)| *t += v);
    }
    total
}

/// A row vector times a matrix.
fn times<const M: usize>(x: [f32; M], matrix: &[[f64; M]; M]) -> [f32; M] {
    let mut out = [0.0; M];
    for (&x, row) in x.iter().zip(matrix) {
        out.iter_mut().zip(row).for_each(|(o, v)| *o += f64::from(x) * v);
    }
    out.map(|v| v as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::random::Random;

    fn cloud(n: usize) -> Vec<f32> {
        let mut random = Random::new(3, 0);
        (0..3 * n).map(|at| (random.symmetric() * (1 + at % 3) as f64 + 5.0) as f32).collect()
    }

    #[test]
    fn projected_positions_have_mean_0_and_unit_covariance() {
        let mut x = cloud(5000);
        Constraint::Standardised.project::<3>(&mut x);
        let gram = products::<3>(&x, &x);
        for (i, row) in gram.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                let expected = if i == j { 5000.0 } else { 0.0 };
                assert!((v - expected).abs() < 1e-2, "{i} {j}: {v}");
            }
        }
        let once = x.clone();
        Constraint::Standardised.project::<3>(&mut x);
        assert!(x.iter().zip(&once).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn a_tangent_step_changes_the_covariance_to_second_order_only() {
        let mut x = cloud(800);
        Constraint::Standardised.project::<3>(&mut x);
        let mut z = cloud(800);
        Constraint::Standardised.to_tangent::<3>(&x, &mut z);
        let cross = products::<3>(&z, &x);
        assert!(cross.as_flattened().iter().all(|v| v.abs() < 0.05), "{cross:?}");
    }
}
