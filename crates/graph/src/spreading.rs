//! Labels carried along a graph: what the graph alone is worth.
//!
//! Label spreading (Zhou, Bousquet, Lal, Weston and Schölkopf, 2003, "Learning with Local and Global Consistency")
//! and label propagation (Zhu and Ghahramani, 2002, CMU-CALD-02-107), with the results of scikit-learn's
//! `LabelSpreading` and `LabelPropagation`. Sums are in f64. It does not choose parameters.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;
use thiserror::Error;

use crate::graph::GraphView;

/// Parameters of [`label_spreading`]; the defaults are scikit-learn's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spreading {
    /// How much of a label comes from neighbours, in (0, 1).
    pub alpha: f64,
    /// Stop when Σ |F − F before| is below this; at least 0.
    pub tolerance: f64,
    /// At most so many steps, at least 1.
    pub max_steps: usize,
}

impl Default for Spreading {
    fn default() -> Self {
        Self { alpha: 0.2, tolerance: 1e-3, max_steps: 30 }
    }
}

/// Parameters of [`label_propagation`]; the defaults are scikit-learn's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propagation {
    /// Stop when Σ |F − F before| is below this; at least 0.
    pub tolerance: f64,
    /// At most so many steps, at least 1.
    pub max_steps: usize,
    /// The weight of each node's arc to itself, finite, at least 0. Both kernels of scikit-learn have 1: a point is
    /// the first of its own nearest neighbours, and exp(0) = 1.
    pub own_weight: f64,
}

impl Default for Propagation {
    fn default() -> Self {
        Self { tolerance: 1e-3, max_steps: 1000, own_weight: 1.0 }
    }
}

/// Why labels cannot be carried along a graph, or off it.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SpreadError {
    /// There is not one label, or none, per node.
    #[error("labels: expected {expected}, one per node, found {found}")]
    Count {
        /// Nodes.
        expected: usize,
        /// Labels.
        found: usize,
    },
    /// No node has a label.
    #[error("labels: expected at least 1 labelled node, found none")]
    NoLabels,
    /// A parameter is out of its range.
    #[error("{parameter}: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
    /// A neighbour is no node.
    #[error("row {row}: expected neighbours below {nodes}, found {found}")]
    Neighbour {
        /// The row.
        row: usize,
        /// Nodes.
        nodes: usize,
        /// The neighbour.
        found: usize,
    },
}

/// Labels of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedLabels {
    /// The labels that were given, rising; columns below are in this order.
    pub classes: Vec<usize>,
    /// How much of each class every node has, `[n, classes]`; rows sum to 1, or are 0 where no label came.
    pub distributions: Array2<f64>,
    /// Steps taken.
    pub steps: usize,
    /// Whether the last steps changed less than the tolerance.
    pub converged: bool,
}

/// F ← α S F + (1 − α) Y, where S = D^(−1/2) W D^(−1/2) and Y holds the given labels, one-hot.
///
/// D are the sums of W's columns: a directed graph is taken as it is, as scikit-learn does. With the graph of 6 nearest
/// neighbours and [`crate::Weighting::Constant`] this is `LabelSpreading(kernel="knn", n_neighbors=7)`,
/// which counts a point among its own neighbours. Cost per step: O((m + n) · classes), on the current rayon pool; the
/// result does not depend on the number of threads.
///
/// - `labels`: `[n]`, at least one of them known.
///
/// # Errors
/// [`SpreadError`]: counts that disagree, no label, a parameter out of range.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, Spreading, label_spreading};
/// let path = Graph::new(vec![0, 1, 3, 5, 6], vec![1, 0, 2, 1, 3, 2], vec![1.0; 6], true)?;
/// let carried = label_spreading(path.view(), &[Some(7), None, None, Some(4)], Spreading::default())?;
/// assert_eq!(carried.classes, [4, 7]);
/// assert_eq!(carried.labels(), [7, 7, 4, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn label_spreading(
    graph: GraphView<'_>,
    labels: &[Option<usize>],
    parameters: Spreading,
) -> Result<CarriedLabels, SpreadError> {
    let Spreading { alpha, tolerance, max_steps } = parameters;
    if !(alpha > 0.0 && alpha < 1.0) {
        let (parameter, expected) = ("alpha", "a number between 0 and 1");
        return Err(SpreadError::Parameter { parameter, expected, found: alpha });
    }
    let given = Given::new(graph, labels, tolerance, max_steps)?;
    let mut sums = vec![0.0; graph.len()];
    graph.arcs().for_each(|arc| sums[arc.target as usize] += f64::from(arc.weight));
    let roots: Vec<f64> = sums.into_iter().map(|s| if s > 0.0 { s.sqrt() } else { 1.0 }).collect();
    Ok(given.run(|node, now, out| {
        let (targets, weights) = graph.neighbours(node);
        for (&target, &weight) in targets.iter().zip(weights) {
            let target = target as usize;
            let share = f64::from(weight) / roots[node] / roots[target];
            out.iter_mut().zip(now.of(target)).for_each(|(o, v)| *o += share * v);
        }
        out.iter_mut().for_each(|o| *o *= alpha);
        if let Some(class) = given.class_of[node] {
            out[class] += 1.0 - alpha;
        }
    }))
}

/// F ← P F with rows brought to sum 1, where P = D⁻¹ (W + own weight · I); given labels stay as they are.
///
/// D are the sums of rows. With the graph of 6 nearest neighbours and [`crate::Weighting::Constant`] this is
/// `LabelPropagation(kernel="knn", n_neighbors=7)`. Cost and threads as [`label_spreading`].
///
/// - `labels`: `[n]`, at least one of them known.
///
/// # Errors
/// As [`label_spreading`].
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, Propagation, label_propagation};
/// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![1.0, 1.0, 3.0, 3.0], true)?;
/// let parameters = Propagation { tolerance: 1e-9, ..Propagation::default() };
/// let carried = label_propagation(path.view(), &[Some(0), None, Some(1)], parameters)?;
/// assert!((carried.distributions[[1, 1]] - 0.75).abs() < 1e-8); // as the weights are
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn label_propagation(
    graph: GraphView<'_>,
    labels: &[Option<usize>],
    parameters: Propagation,
) -> Result<CarriedLabels, SpreadError> {
    let Propagation { tolerance, max_steps, own_weight } = parameters;
    if !(own_weight.is_finite() && own_weight >= 0.0) {
        let (parameter, expected) = ("own_weight", "a finite number of at least 0");
        return Err(SpreadError::Parameter { parameter, expected, found: own_weight });
    }
    let given = Given::new(graph, labels, tolerance, max_steps)?;
    Ok(given.run(|node, now, out| {
        if let Some(class) = given.class_of[node] {
            out[class] = 1.0;
            return;
        }
        let (targets, weights) = graph.neighbours(node);
        let row = targets
            .iter()
            .map(|&target| target as usize)
            .zip(weights.iter().map(|&w| f64::from(w)));
        let row = row.chain([(node, own_weight)]);
        let total: f64 = row.clone().map(|(_, weight)| weight).sum();
        if total > 0.0 {
            for (target, weight) in row {
                let share = weight / total;
                out.iter_mut().zip(now.of(target)).for_each(|(o, v)| *o += share * v);
            }
        }
        normalise(out);
    }))
}

/// Brings a row to sum 1; a row of zeros stays.
fn normalise(row: &mut [f64]) {
    let total: f64 = row.iter().sum();
    if total > 0.0 {
        row.iter_mut().for_each(|v| *v /= total);
    }
}

/// Checked labels and limits.
struct Given {
    classes: Vec<usize>,
    /// Index into the classes.
    class_of: Vec<Option<usize>>,
    tolerance: f64,
    max_steps: usize,
}

/// Rows of one step.
struct Rows<'a> {
    values: &'a [f64],
    width: usize,
}

impl<'a> Rows<'a> {
    fn of(&self, node: usize) -> &'a [f64] {
        &self.values[node * self.width..(node + 1) * self.width]
    }
}

impl Given {
    fn new(
        graph: GraphView<'_>,
        labels: &[Option<usize>],
        tolerance: f64,
        max_steps: usize,
    ) -> Result<Self, SpreadError> {
        if labels.len() != graph.len() {
            return Err(SpreadError::Count { expected: graph.len(), found: labels.len() });
        }
        if tolerance.is_nan() || tolerance < 0.0 {
            let (parameter, expected) = ("tolerance", "a number of at least 0");
            return Err(SpreadError::Parameter { parameter, expected, found: tolerance });
        }
        if max_steps == 0 {
            let (parameter, expected) = ("max_steps", "at least 1");
            return Err(SpreadError::Parameter { parameter, expected, found: 0.0 });
        }
        let mut classes: Vec<usize> = labels.iter().copied().flatten().collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() {
            return Err(SpreadError::NoLabels);
        }
        let class_of = labels.iter().map(|label| classes.binary_search(&(*label)?).ok()).collect();
        Ok(Self { classes, class_of, tolerance, max_steps })
    }

    /// Steps until little changes; `step` fills a node's row of zeros from the rows before.
    fn run(&self, step: impl Fn(usize, &Rows<'_>, &mut [f64]) + Sync) -> CarriedLabels {
        let (n, width) = (self.class_of.len(), self.classes.len());
        let mut now = vec![0.0; n * width];
        for (row, class) in now.chunks_exact_mut(width).zip(&self.class_of) {
            if let Some(class) = class {
                row[*class] = 1.0;
            }
        }
        // The state before the first is 0, as scikit-learn counts.
        let mut change = now.iter().sum::<f64>();
        let mut steps = 0;
        let mut next = vec![0.0; n * width];
        while steps < self.max_steps && change >= self.tolerance {
            let before = Rows { values: &now, width };
            let changes: Vec<f64> = next
                .par_chunks_exact_mut(width)
                .enumerate()
                .map(|(node, out)| {
                    out.fill(0.0);
                    step(node, &before, out);
                    out.iter().zip(before.of(node)).map(|(a, b)| (a - b).abs()).sum()
                })
                .collect();
            // One after the other: the same sum on any number of threads.
            change = changes.iter().sum();
            std::mem::swap(&mut now, &mut next);
            steps += 1;
        }
        now.chunks_exact_mut(width).for_each(normalise);
        CarriedLabels {
            classes: self.classes.clone(),
            // As many values as the shape says, by construction.
            distributions: Array2::from_shape_vec((n, width), now).unwrap_or_default(),
            steps,
            // The last step allowed is not looked at again, as in scikit-learn.
            converged: steps < self.max_steps,
        }
    }
}

impl CarriedLabels {
    /// The most likely label of each node, ties to the lower; the lowest of all where no label came.
    pub fn labels(&self) -> Vec<usize> {
        self.most_likely(self.distributions.view())
    }

    /// The most likely label of each row `[classes]`, by the same rule.
    ///
    /// # Panics
    /// If `distributions` has not a column for each class.
    pub fn most_likely(&self, distributions: ArrayView2<'_, f64>) -> Vec<usize> {
        assert_eq!(distributions.ncols(), self.classes.len(), "a column for each class");
        let best = |row: ArrayView1<'_, f64>| {
            let columns = row.iter().enumerate();
            columns
                .fold(
                    (0, f64::NEG_INFINITY),
                    |best, (i, &v)| if v > best.1 { (i, v) } else { best },
                )
                .0
        };
        distributions.rows().into_iter().map(|row| self.classes[best(row)]).collect()
    }

    /// How many nodes no label has reached.
    pub fn unreached(&self) -> usize {
        self.distributions.rows().into_iter().filter(|row| row.sum() <= 0.0).count()
    }

    /// Distributions of points outside the graph: the mean over their neighbours in it.
    ///
    /// scikit-learn's `predict_proba` with `kernel="knn"`, for as many neighbours as there (a test point is not among its own).
    /// Where that divides by 0, the row is 0.
    ///
    /// - `neighbours`: `[m, k]`, nodes.
    /// - returns: `[m, classes]`.
    ///
    /// # Errors
    /// [`SpreadError::Neighbour`] for a neighbour that is no node.
    pub fn of_neighbours(
        &self,
        neighbours: ArrayView2<'_, usize>,
    ) -> Result<Array2<f64>, SpreadError> {
        let nodes = self.distributions.nrows();
        let mut all = Array2::zeros((neighbours.nrows(), self.classes.len()));
        for ((row, near), mut out) in neighbours.rows().into_iter().enumerate().zip(all.rows_mut())
        {
            for &found in near {
                if found >= nodes {
                    return Err(SpreadError::Neighbour { row, nodes, found });
                }
                out += &self.distributions.index_axis(Axis(0), found);
            }
        }
        normalise_rows(&mut all);
        Ok(all)
    }

    /// Distributions of points outside the graph: the mean over all nodes by weight.
    ///
    /// scikit-learn's `predict_proba` with `kernel="rbf"`, for weights exp(−γ d²). Where that divides by 0, the row is 0.
    ///
    /// - `weights`: `[m, n]`, at least 0.
    /// - returns: `[m, classes]`.
    ///
    /// # Errors
    /// [`SpreadError::Count`] unless there is a column for each node.
    pub fn of_weights(&self, weights: ArrayView2<'_, f64>) -> Result<Array2<f64>, SpreadError> {
        let expected = self.distributions.nrows();
        if weights.ncols() != expected {
            return Err(SpreadError::Count { expected, found: weights.ncols() });
        }
        let mut all = weights.dot(&self.distributions);
        normalise_rows(&mut all);
        Ok(all)
    }
}

fn normalise_rows(rows: &mut Array2<f64>) {
    for mut row in rows.rows_mut() {
        let total = row.sum();
        if total > 0.0 {
            row /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_spread_is_refused() {
        let graph = Graph::new(vec![0, 0, 0], vec![], vec![], true).unwrap();
        let spread = |labels: &[Option<usize>], parameters| {
            label_spreading(graph.view(), labels, parameters).unwrap_err().to_string()
        };
        let default = Spreading::default();
        assert_eq!(spread(&[None], default), "labels: expected 2, one per node, found 1");
        assert_eq!(
            spread(&[None; 2], default),
            "labels: expected at least 1 labelled node, found none"
        );
        for alpha in [0.0, 1.0, f64::NAN] {
            assert!(
                spread(&[Some(0); 2], Spreading { alpha, ..default })
                    .starts_with("alpha: expected")
            );
        }
        for tolerance in [-1.0, f64::NAN] {
            assert!(
                spread(&[Some(0); 2], Spreading { tolerance, ..default }).starts_with("tolerance")
            );
        }
        assert!(
            spread(&[Some(0); 2], Spreading { max_steps: 0, ..default }).starts_with("max_steps")
        );
        for own_weight in [-1.0, f64::NAN, f64::INFINITY] {
            let parameters = Propagation { own_weight, ..Propagation::default() };
            let error = label_propagation(graph.view(), &[Some(0); 2], parameters).unwrap_err();
            assert!(error.to_string().starts_with("own_weight"));
        }
    }

    #[test]
    fn nodes_that_no_label_reaches_are_counted_and_take_the_lowest_class() {
        let graph = Graph::new(vec![0, 1, 2, 2], vec![1, 0], vec![1.0; 2], true).unwrap();
        let labels = [Some(9), Some(3), None];
        let spread = label_spreading(graph.view(), &labels, Spreading::default()).unwrap();
        let parameters = Propagation { own_weight: 0.0, ..Propagation::default() };
        let propagated = label_propagation(graph.view(), &labels, parameters).unwrap();
        for carried in [spread, propagated] {
            assert_eq!((carried.unreached(), carried.labels()), (1, vec![9, 3, 3]));
            let outside = carried.of_neighbours(ndarray::arr2(&[[2], [0]]).view()).unwrap();
            assert_eq!(carried.most_likely(outside.view()), [3, 9]);
            assert!(outside.row(0).sum() <= 0.0);
            let error = carried.of_neighbours(ndarray::arr2(&[[3]]).view()).unwrap_err();
            assert_eq!(error.to_string(), "row 0: expected neighbours below 3, found 3");
            assert!(carried.of_weights(Array2::zeros((1, 2)).view()).is_err());
        }
    }

    proptest! {
        #[test]
        fn spreading_ends_where_its_equation_says(
            list in prop::collection::vec((0_u32..7, 0_u32..7, 0.1_f32..2.0), 1..30), alpha in 0.1_f64..0.8,
        ) {
            let arcs = list.into_iter().filter(|(source, target, _)| source != target);
            let arcs = arcs.map(|(source, target, weight)| Arc { source, target, weight }).collect();
            let one_way = Graph::from_arcs(7, arcs, Repeats::Largest).unwrap();
            let graph = crate::symmetrised(one_way.view(), crate::Symmetry::Union);
            let graph = graph.view();
            let labels = [Some(0), None, Some(1), None, None, Some(0), None];
            let parameters = Spreading { alpha, tolerance: 1e-13, max_steps: 10_000 };
            let carried = label_spreading(graph, &labels, parameters).unwrap();
            // F = α S F + (1 − α) Y up to the factor that brought each row to sum 1: undo it by (I − α S) F / (1 − α) = Y.
            let degree = |i: usize| graph.neighbours(i).1.iter().map(|&w| f64::from(w)).sum::<f64>();
            let matrix = Array2::from_shape_fn((7, 7), |(i, j)| {
                let s = graph.weight(i, j).map_or(0.0, |w| f64::from(w) / (degree(i) * degree(j)).sqrt());
                f64::from(u8::from(i == j)) - alpha * s
            });
            let mut solved = Array2::from_shape_fn((7, 2), |(i, c)| f64::from(u8::from(labels[i] == Some(c))));
            solve(matrix, &mut solved);
            normalise_rows(&mut solved);
            for (found, expected) in carried.distributions.iter().zip(&solved) {
                prop_assert!((found - expected).abs() < 1e-9);
            }
        }
    }

    /// Gauss and Jordan, without pivots: the matrix is positive definite.
    fn solve(mut matrix: Array2<f64>, right: &mut Array2<f64>) {
        for i in 0..matrix.nrows() {
            let pivot = matrix[[i, i]];
            for side in [&mut matrix, &mut *right] {
                side.row_mut(i).mapv_inplace(|v| v / pivot);
            }
            for j in (0..matrix.nrows()).filter(|&j| j != i) {
                let factor = matrix[[j, i]];
                for side in [&mut matrix, &mut *right] {
                    let row = side.row(i).to_owned();
                    side.row_mut(j).zip_mut_with(&row, |v, r| *v -= factor * r);
                }
            }
        }
    }
}
