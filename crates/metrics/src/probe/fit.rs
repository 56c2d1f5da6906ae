//! Multinomial logistic regression with an L2 penalty, fitted by L-BFGS.
//!
//! The optimiser is argmin's, the one behind linfa-logistic. linfa's own objective is not used: it
//! subtracts the largest logit of the *whole matrix* before exponentiating and puts a floor of
//! 10⁻¹⁵ under each row's sum, so rows more than 34 below that logit get no gradient; on
//! standardised digits it stops at gradients of 100 and more. It also tells neither iterations
//! nor convergence, and takes three matrix products a step where two do.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, s};

/// Vectors that L-BFGS remembers.
const MEMORY: usize = 10;

/// A minimum found: weights `[r + 1, classes]`, the intercepts last.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) weights: Array2<f64>,
    pub(crate) iterations: usize,
    pub(crate) converged: bool,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) max_iterations: usize,
    /// Of the Euclidean norm of the mean loss's gradient, with features scaled to norm 1.
    pub(crate) tolerance: f64,
}

/// Labelled features with a column of ones, scaled so that curvatures are at most about 1/2.
pub(crate) struct Problem {
    rows: Array2<f64>,
    labels: Vec<usize>,
    classes: usize,
    /// The factor that features were divided by.
    scale: f64,
}

impl Problem {
    pub(crate) fn new(features: ArrayView2<'_, f64>, labels: Vec<usize>, classes: usize) -> Self {
        let scale = spectral_norm(features) / (features.nrows() as f64).sqrt();
        let scale = if scale > 0.0 { scale } else { 1.0 };
        Self { rows: with_ones(features, scale), labels, classes, scale }
    }

    /// Minimises Σ cross-entropy + α/2 ‖W‖² over weights W and free intercepts, from `start`.
    pub(crate) fn fit(
        &self,
        alpha: f64,
        stop: Stop,
        start: Option<&Fitted>,
    ) -> Result<Fitted, Error> {
        let shape = (self.rows.ncols(), self.classes);
        let mut weights =
            start.map_or_else(|| Array2::zeros(shape), |fitted| fitted.weights.clone());
        weights.slice_mut(s![..-1, ..]).mapv_inplace(|w| w * self.scale);
        let line_search = MoreThuenteLineSearch::new();
        let solver = LBFGS::new(line_search, MEMORY).with_tolerance_grad(stop.tolerance)?;
        let start: Vec<f64> = weights.into_iter().collect();
        let outcome = Executor::new(self.objective(alpha), solver)
            .configure(|state| state.param(start.clone()).max_iters(stop.max_iterations as u64))
            .timer(false)
            .run()?;
        let best = outcome.state.get_best_param().cloned().unwrap_or(start);
        let gradient = self.objective(alpha).gradient(&best)?;
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let mut weights = Array2::from_shape_vec(shape, best)?;
        weights.slice_mut(s![..-1, ..]).mapv_inplace(|w| w / self.scale);
        Ok(Fitted {
            weights,
            iterations: outcome.state.get_iter() as usize,
            // The line search stops short of the tolerance where rounding leaves nothing to gain.
            converged: norm <= 10.0 * stop.tolerance,
        })
    }

    fn objective(&self, alpha: f64) -> Objective<'_> {
        let penalty = alpha / (self.labels.len() as f64 * self.scale * self.scale);
        Objective { problem: self, penalty, last: RefCell::default() }
    }
}

impl Fitted {
    /// Logits `[n, classes]` of features `[n, r]`.
    pub(crate) fn logits(&self, features: ArrayView2<'_, f64>) -> Array2<f64> {
        features.dot(&self.weights.slice(s![..-1, ..])) + self.weights.row(features.ncols())
    }
}

fn with_ones(features: ArrayView2<'_, f64>, scale: f64) -> Array2<f64> {
    let mut rows = Array2::ones((features.nrows(), features.ncols() + 1));
    rows.slice_mut(s![.., ..-1]).zip_mut_with(&features, |row, &value| *row = value / scale);
    rows
}

/// The largest singular value, from below, by twenty steps of the power method.
fn spectral_norm(x: ArrayView2<'_, f64>) -> f64 {
    // Not the constant vector: centred rows map it to zero.
    let mut u = Array1::from_shape_fn(x.nrows(), |i| 1.0 + (i % 7) as f64);
    let mut norm = 0.0;
    for _ in 0..20 {
        let v = u.dot(&x);
        u = x.dot(&v);
        let length = u.dot(&u).sqrt();
        if length <= 0.0 {
            return 0.0;
        }
        norm = length;
        u /= length;
    }
    norm.sqrt()
}

/// Mean cross-entropy + penalty/2 ‖W‖², as argmin wants it: value and gradient asked for apart.
struct Objective<'a> {
    problem: &'a Problem,
    penalty: f64,
    last: RefCell<Option<Evaluation>>,
}

struct Evaluation {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Objective<'_> {
    fn evaluate(&self, at: &[f64]) -> Result<Evaluation, Error> {
        let Problem { rows, labels, classes, .. } = self.problem;
        let n = labels.len() as f64;
        let weights = ArrayView2::from_shape((rows.ncols(), *classes), at)?;
        let mut loss = 0.0;
        let mut errors = rows.dot(&weights);
        for (mut row, &label) in errors.rows_mut().into_iter().zip(labels) {
            loss += softmax_less_target(&mut row, label);
        }
        let mut gradient = rows.t().dot(&errors) / n;
        let regular = weights.slice(s![..-1, ..]);
        gradient.slice_mut(s![..-1, ..]).scaled_add(self.penalty, &regular);
        let squares: f64 = regular.iter().map(|w| w * w).sum();
        let value = loss / n + self.penalty / 2.0 * squares;
        Ok(Evaluation { at: at.to_vec(), value, gradient: gradient.into_iter().collect() })
    }

    fn with<T>(&self, at: &[f64], of: impl Fn(&Evaluation) -> T) -> Result<T, Error> {
        let mut last = self.last.borrow_mut();
        if let Some(known) = last.as_ref().filter(|known| known.at == at) {
            return Ok(of(known));
        }
        let evaluation = self.evaluate(at)?;
        let answer = of(&evaluation);
        *last = Some(evaluation);
        Ok(answer)
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> Result<f64, Error> {
        self.with(at, |known| known.value)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, at: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.with(at, |known| known.gradient.clone())
    }
}

/// Turns logits into softmax minus the one-hot target; returns the cross-entropy.
fn softmax_less_target(logits: &mut ArrayViewMut1<'_, f64>, label: usize) -> f64 {
    let highest = logits.fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    let own = logits[label] - highest;
    logits.mapv_inplace(|v| (v - highest).exp());
    let sum = logits.sum();
    *logits /= sum;
    logits[label] -= 1.0;
    sum.ln() - own
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    fn problem() -> Problem {
        let features = arr2(&[[1.0, -2.0], [0.5, 3.0], [-4.0, 1.0], [2.0, 0.0], [0.0, 60.0]]);
        Problem::new(features.view(), vec![0, 1, 2, 0, 1], 3)
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let problem = problem();
        let objective = problem.objective(0.7);
        // Logits far apart: no floor under small probabilities may show.
        let at: Vec<f64> = (0..9).map(|i| f64::from((i * 7) % 5) * 25.0 - 40.0).collect();
        let gradient = objective.gradient(&at).unwrap();
        for (i, &found) in gradient.iter().enumerate() {
            let moved = |step: f64| {
                let mut at = at.clone();
                at[i] += step;
                objective.cost(&at).unwrap()
            };
            let expected = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }

    #[test]
    fn the_fit_ends_where_the_gradient_vanishes_from_any_start() {
        let problem = problem();
        let stop = Stop { max_iterations: 500, tolerance: 1e-9 };
        let first = problem.fit(0.1, stop, None).unwrap();
        let strong = problem.fit(100.0, stop, None).unwrap();
        let second = problem.fit(0.1, stop, Some(&strong)).unwrap();
        assert!(first.converged && second.converged);
        assert!((&first.weights - &second.weights).iter().all(|w| w.abs() < 1e-5));
        assert!((&first.weights - &strong.weights).iter().any(|w| w.abs() > 0.1));
        let cut = problem.fit(0.1, Stop { max_iterations: 1, tolerance: 1e-9 }, None).unwrap();
        assert!(!cut.converged);
    }

    #[test]
    fn curvature_is_scaled_by_the_largest_singular_value() {
        let x = arr2(&[[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]);
        assert!((spectral_norm(x.view()) - 3.0).abs() < 1e-9);
        assert!(spectral_norm(Array2::zeros((4, 2)).view()).abs() < 1e-12);
    }
}
