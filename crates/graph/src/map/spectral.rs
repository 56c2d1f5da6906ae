//! The smoothest coordinates of a connected graph.
//!
//! They minimise Σ wᵢⱼ ‖yᵢ − yⱼ‖² under YᵀDY = I and YᵀD1 = 0, D being the degrees: the
//! eigenvectors of D^(−½) A D^(−½) with the largest eigenvalues below 1, times D^(−½) (Shi and
//! Malik, 2000, <https://doi.org/10.1109/34.868688>). Subspace iteration with Chebyshev filters
//! (Zhou and Saad, 2007, <https://doi.org/10.1137/050630404>) finds them: products with the matrix
//! and a few tiny dense problems are all it needs. PyMDE takes the Laplacian D − A as it is; divided
//! by the degrees it depends less on sparse outskirts, and its upper end is known to be 1.

use rayon::prelude::*;

use super::dense::symmetric_eigen;
use super::pairs::Adjacency;
use super::random::Random;

/// Columns iterated together: three wanted at most, and some whose only purpose is to set the
/// others apart.
const BLOCK: usize = 6;
type Row = [f64; BLOCK];

/// Products with the matrix for each filter.
const DEGREE: usize = 30;
/// Graphs up to this size are solved densely.
const DENSE: usize = 24;
/// Nodes that one task handles; part of the result, since sums are added block by block.
const ROWS: usize = 1 << 10;

/// How exactly, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Largest ‖Âx − θx‖ of a wanted column.
    pub(super) residual: f64,
    /// Filters applied at most.
    pub(super) filters: usize,
}

/// Good enough to start from: a layout moves on from here by more than what is missing.
pub(super) const START: Effort = Effort { residual: 1e-3, filters: 20 };

/// The `M` smoothest coordinates of a connected graph with more than `M` nodes.
///
/// - returns: `[n, M]`, columns of mean square 1 when weighted by degree; each column's largest
///   entry is positive.
pub(super) fn coordinates<const M: usize>(
    graph: &Adjacency,
    effort: Effort,
    seed: u64,
) -> Vec<[f64; M]> {
    let degrees: Vec<f64> =
        (0..graph.len()).map(|i| graph.row(i).1.iter().map(|&w| f64::from(w)).sum()).collect();
    let total: f64 = degrees.iter().sum();
    let operator = Operator { graph, scale: degrees.iter().map(|d| d.sqrt().recip()).collect() };
    let columns =
        if graph.len() <= DENSE { operator.dense() } else { operator.iterate(effort, seed) };
    let mut out: Vec<[f64; M]> = columns
        .iter()
        .zip(&operator.scale)
        .map(|(row, scale)| std::array::from_fn(|axis| row[axis] * scale * total.sqrt()))
        .collect();
    for axis in 0..M {
        let largest =
            out.iter().map(|row| row[axis]).reduce(|a, b| if b.abs() > a.abs() { b } else { a });
        if largest.is_some_and(|v| v < 0.0) {
            out.iter_mut().for_each(|row| row[axis] = -row[axis]);
        }
    }
    out
}

/// Â = D^(−½) A D^(−½).
struct Operator<'a> {
    graph: &'a Adjacency,
    /// D^(−½).
    scale: Vec<f64>,
}

impl Operator<'_> {
    /// out = a Â x + b x + c out.
    fn multiply(&self, x: &[Row], [a, b, c]: [f64; 3], out: &mut [Row]) {
        out.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, out)| {
            for (at, out) in out.iter_mut().enumerate() {
                let node = chunk * ROWS + at;
                let (targets, weights) = self.graph.row(node);
                let mut sum = [0.0; BLOCK];
                for (&target, &weight) in targets.iter().zip(weights) {
                    let factor = f64::from(weight) * self.scale[target as usize];
                    let other = &x[target as usize];
                    sum.iter_mut().zip(other).for_each(|(s, v)| *s += factor * v);
                }
                let a = a * self.scale[node];
                for column in 0..BLOCK {
                    out[column] = a * sum[column] + b * x[node][column] + c * out[column];
                }
            }
        });
    }

    /// The first columns by Jacobi's method; those that do not exist are 0.
    fn dense(&self) -> Vec<Row> {
        let n = self.graph.len();
        let mut matrix = vec![0.0; n * n];
        let trivial = self.trivial();
        for i in 0..n {
            let (targets, weights) = self.graph.row(i);
            for (&j, &weight) in targets.iter().zip(weights) {
                matrix[i * n + j as usize] =
                    f64::from(weight) * self.scale[i] * self.scale[j as usize];
            }
            // Moves the trivial eigenvalue from 1 below all others, which are at least −1.
            for j in 0..n {
                matrix[i * n + j] -= 3.0 * trivial[i] * trivial[j];
            }
        }
        let vectors = symmetric_eigen(matrix, n).vectors;
        let entry = |column: usize, i: usize| vectors.get(column).map_or(0.0, |v| v[i]);
        (0..n).map(|i| std::array::from_fn(|column| entry(column, i))).collect()
    }

    /// The eigenvector of eigenvalue 1: D^(½) 1, of norm 1.
    fn trivial(&self) -> Vec<f64> {
        let root: Vec<f64> = self.scale.iter().map(|s| s.recip()).collect();
        let norm = root.iter().map(|v| v * v).sum::<f64>().sqrt();
        root.iter().map(|v| v / norm).collect()
    }

    fn iterate(&self, effort: Effort, seed: u64) -> Vec<Row> {
        let n = self.graph.len();
        let trivial = self.trivial();
        let mut random = Random::new(seed, 2);
        let mut x: Vec<Row> = (0..n).map(|_| std::array::from_fn(|_| random.symmetric())).collect();
        let (mut image, mut spare) = (vec![[0.0; BLOCK]; n], vec![[0.0; BLOCK]; n]);
        self.multiply(&x, [1.0, 0.0, 0.0], &mut image);
        let mut theta = [0.0; BLOCK];
        for filter in 0..=effort.filters {
            orthonormalise(&mut x, &trivial);
            self.multiply(&x, [1.0, 0.0, 0.0], &mut image);
            theta = rotate_to_ritz(&mut x, &mut image);
            let residual = residual(&x, &image, &theta);
            if residual <= effort.residual || filter == effort.filters {
                break;
            }
            // Everything between −1 and the last column's value is damped.
            let bound = theta[BLOCK - 1].clamp(-0.5, 1.0 - 1e-9);
            let (centre, half) = ((bound - 1.0) / 2.0, (bound + 1.0) / 2.0);
            // T₁, then T_{k+1}(t) = 2 t T_k − T_{k−1} for t = (Â − centre) / half, all divided by
            // T_k at 1 so that nothing grows: the recurrence of Zhou and Saad's scaled filter.
            let top = (1.0 - centre) / half;
            let mut sigma = 1.0 / top;
            let first = sigma;
            spare.copy_from_slice(&x);
            self.multiply(&spare, [sigma / half, -sigma * centre / half, 0.0], &mut x);
            for _ in 1..DEGREE {
                let next = 1.0 / (2.0 / first - sigma);
                let factors = [2.0 * next / half, -2.0 * next * centre / half, -sigma * next];
                self.multiply(&x, factors, &mut spare);
                std::mem::swap(&mut x, &mut spare);
                sigma = next;
            }
        }
        debug_assert!(theta.is_sorted_by(|a, b| a >= b));
        x
    }
}

/// Makes columns orthogonal to `trivial` and orthonormal; twice, since once leaves rounding.
fn orthonormalise(x: &mut [Row], trivial: &[f64]) {
    for _ in 0..2 {
        let along = sum_rows(x, trivial, |row, &t| row.map(|v| v * t));
        x.par_iter_mut().zip(trivial).with_min_len(ROWS).for_each(|(row, t)| {
            row.iter_mut().zip(along).for_each(|(v, a)| *v -= a * t);
        });
        let gram = symmetric_eigen(products(x, x), BLOCK);
        let largest = gram.values[0].max(f64::MIN_POSITIVE);
        let turn: Vec<Row> = gram
            .vectors
            .iter()
            .zip(&gram.values)
            .map(|(vector, &value)| {
                let factor = value.max(1e-14 * largest).sqrt().recip();
                std::array::from_fn(|i| vector[i] * factor)
            })
            .collect();
        turn_columns(x, &turn);
    }
}

/// Rayleigh–Ritz: turns the columns into the best eigenvectors of their span.
fn rotate_to_ritz(x: &mut [Row], image: &mut [Row]) -> [f64; BLOCK] {
    let mut h = products(x, image);
    for i in 0..BLOCK {
        for j in 0..i {
            let mean = (h[i * BLOCK + j] + h[j * BLOCK + i]) / 2.0;
            (h[i * BLOCK + j], h[j * BLOCK + i]) = (mean, mean);
        }
    }
    let eigen = symmetric_eigen(h, BLOCK);
    let turn: Vec<Row> =
        eigen.vectors.iter().map(|vector| std::array::from_fn(|i| vector[i])).collect();
    turn_columns(x, &turn);
    turn_columns(image, &turn);
    std::array::from_fn(|column| eigen.values[column])
}

/// The largest ‖Âx − θx‖ of the wanted columns, the first half.
fn residual(x: &[Row], image: &[Row], theta: &[f64; BLOCK]) -> f64 {
    let squares = sum_rows(x, image, |row, image| {
        std::array::from_fn(|column| (image[column] - theta[column] * row[column]).powi(2))
    });
    squares[..BLOCK / 2].iter().fold(0.0, |most: f64, square| most.max(square.sqrt()))
}

/// Column k becomes Σ turn[k][i] · column i.
fn turn_columns(x: &mut [Row], turn: &[Row]) {
    x.par_iter_mut().with_min_len(ROWS).for_each(|row| {
        let old = *row;
        for (new, turn) in row.iter_mut().zip(turn) {
            *new = old.iter().zip(turn).map(|(v, t)| v * t).sum();
        }
    });
}

/// AᵀB, row by row.
fn products(a: &[Row], b: &[Row]) -> Vec<f64> {
    let columns: Vec<Row> =
        (0..BLOCK).map(|i| sum_rows(a, b, |a, b| b.map(|v| a[i] * v))).collect();
    columns.concat()
}

/// The sum over rows of `term`, in fixed blocks.
fn sum_rows<T: Sync>(a: &[Row], b: &[T], term: impl Fn(&Row, &T) -> Row + Sync) -> Row {
    let add = |mut sum: Row, row: Row| {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        sum
    };
    let blocks = a.par_chunks(ROWS).zip(b.par_chunks(ROWS));
    let sums: Vec<Row> = blocks
        .map(|(a, b)| a.iter().zip(b).fold([0.0; BLOCK], |sum, (a, b)| add(sum, term(a, b))))
        .collect();
    sums.into_iter().fold([0.0; BLOCK], add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::pairs::Pair;

    /// A ring with chords, of weights between 1 and 3.
    fn graph(n: usize) -> Adjacency {
        let mut random = Random::new(n as u64, 7);
        let ring = (0..n as u32 - 1).map(|i| (i, i + 1));
        let chords = (0..n / 2).map(|_| {
            let (i, j) = (random.below(n as u64 - 2) as u32, random.below(n as u64) as u32);
            (i.min(j), i.max(j).max(i.min(j) + 2).min(n as u32 - 1))
        });
        let chords: Vec<Pair> = chords.collect();
        let mut pairs: Vec<Pair> = ring.chain(chords).filter(|(i, j)| i < j).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let weights: Vec<f32> = pairs.iter().map(|&(i, j)| 1.0 + (i + j) as f32 % 3.0).collect();
        Adjacency::new(n, &pairs, &weights)
    }

    /// Σ w (yᵢ − yⱼ)² / Σ d y², and Σ d y², of a column.
    fn quotient(graph: &Adjacency, y: &[f64]) -> (f64, f64) {
        let (mut energy, mut mass) = (0.0, 0.0);
        for i in 0..graph.len() {
            let (targets, weights) = graph.row(i);
            for (&j, &w) in targets.iter().zip(weights) {
                energy += f64::from(w) * (y[i] - y[j as usize]).powi(2) / 2.0;
                mass += f64::from(w) * y[i] * y[i];
            }
        }
        (energy / mass, mass)
    }

    #[test]
    fn the_smoothest_coordinates_are_those_of_a_dense_solver() {
        for n in [25, 60, 140] {
            let graph = graph(n);
            let effort = Effort { residual: 1e-10, filters: 200 };
            let found = coordinates::<3>(&graph, effort, 0);
            // The whole spectrum of I − D^(−½) A D^(−½), by Jacobi.
            let degree = |i: usize| graph.row(i).1.iter().map(|&w| f64::from(w)).sum::<f64>();
            let mut matrix = vec![0.0; n * n];
            for i in 0..n {
                let (targets, weights) = graph.row(i);
                for (&j, &w) in targets.iter().zip(weights) {
                    let j = j as usize;
                    matrix[i * n + j] = f64::from(w) / (degree(i) * degree(j)).sqrt();
                }
            }
            let dense = symmetric_eigen(matrix, n);
            assert!((dense.values[0] - 1.0).abs() < 1e-12);
            for axis in 0..3 {
                let column: Vec<f64> = found.iter().map(|row| row[axis]).collect();
                let expected = 1.0 - dense.values[axis + 1];
                let (quotient, mass) = quotient(&graph, &column);
                assert!((quotient - expected).abs() < 1e-9, "{n} {axis}: {quotient} {expected}");
                let scale = mass.sqrt();
                let overlap: f64 = (0..n)
                    .map(|i| dense.vectors[axis + 1][i] * column[i] * degree(i).sqrt() / scale)
                    .sum();
                assert!((overlap.abs() - 1.0).abs() < 1e-6, "{n} {axis}: {overlap}");
            }
        }
    }

    #[test]
    fn small_graphs_are_solved_densely_to_the_same_coordinates() {
        let graph = graph(20);
        let total: f64 = graph.weights.iter().map(|&w| f64::from(w)).sum();
        let dense = coordinates::<2>(&graph, START, 0);
        let operator = Operator {
            graph: &graph,
            scale: (0..20)
                .map(|i| graph.row(i).1.iter().map(|&w| f64::from(w)).sum::<f64>().sqrt().recip())
                .collect(),
        };
        let iterated = operator.iterate(Effort { residual: 1e-11, filters: 300 }, 3);
        for axis in 0..2 {
            let overlap: f64 = (0..20)
                .map(|i| dense[i][axis] / operator.scale[i] * iterated[i][axis] / total.sqrt())
                .sum();
            assert!((overlap.abs() - 1.0).abs() < 1e-8, "{axis}: {overlap}");
        }
    }
}
