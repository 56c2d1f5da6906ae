//! Projected L-BFGS with a line search for the strong Wolfe conditions.
//!
//! The method of PyMDE (Agrawal, Ali and Boyd, 2021, <https://arxiv.org/abs/2103.02559>, section 4):
//! a trial step is projected onto the constraint before the objective is asked, and its gradient
//! onto the tangent space. Steps 3.5 and 3.6 and algorithm 7.4 are those of Nocedal and Wright,
//! *Numerical Optimization*.

use std::collections::VecDeque;

use super::vectors::{add, combine, dot, norm, scale};

/// What is minimised.
pub(super) trait Problem {
    /// Moves `x` onto the constraint, writes the tangent gradient there, and returns the value.
    fn evaluate(&self, x: &mut [f32], gradient: &mut [f32]) -> f64;
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) iterations: usize,
    /// Largest norm of the gradient that counts as 0.
    pub(super) tolerance: f64,
    /// Pairs of vectors kept.
    pub(super) memory: usize,
}

/// Where the search ended.
#[derive(Clone, Debug)]
pub(super) struct Solution {
    pub(super) x: Vec<f32>,
    pub(super) value: f64,
    pub(super) residual: f64,
    pub(super) iterations: usize,
    pub(super) evaluations: usize,
}

/// Fraction of the slope that a step must gain, and to which the slope must fall.
const GAIN: f64 = 1e-4;
const FLATTENING: f64 = 0.9;
const MOST_TRIALS: usize = 25;
/// Length of the first step, which knows no curvature, as a share of ‖x‖.
const FIRST_STEP: f64 = 1e-2;

pub(super) fn minimise(problem: &impl Problem, x: Vec<f32>, limits: Limits) -> Solution {
    let mut search = Search::new(problem, x);
    let mut history = History { pairs: VecDeque::new(), memory: limits.memory };
    let mut iterations = 0;
    while iterations < limits.iterations && norm(&search.gradient) > limits.tolerance {
        let gradient = &search.gradient;
        let mut direction = history.direction(gradient);
        let mut slope = dot(gradient, &direction);
        if slope >= 0.0 || slope.is_nan() {
            history.pairs.clear();
            direction = history.direction(gradient);
            slope = dot(gradient, &direction);
        }
        let first = if history.pairs.is_empty() {
            FIRST_STEP * norm(&search.x).max(f64::MIN_POSITIVE) / norm(&direction)
        } else {
            1.0
        };
        match search.line(&direction, slope, first) {
            Some(step) => {
                scale(&mut direction, step);
                history.remember(direction, &search.gradient, &search.trial_gradient);
                search.accept();
                iterations += 1;
            }
            // The model may be what misleads; without one there is nothing left to try.
            None if history.pairs.is_empty() => break,
            None => history.pairs.clear(),
        }
    }
    let residual = norm(&search.gradient);
    let Search { x, value, evaluations, .. } = search;
    Solution { x, value, residual, iterations, evaluations }
}

/// Steps s and the changes y of the gradient along them, newest last.
struct History {
    pairs: VecDeque<(Vec<f32>, Vec<f32>, f64)>,
    memory: usize,
}

impl History {
    /// −H g by the two loops, H starting from sᵀy / yᵀy.
    fn direction(&self, gradient: &[f32]) -> Vec<f32> {
        let mut q = gradient.to_vec();
        scale(&mut q, -1.0);
        let mut factors = Vec::with_capacity(self.pairs.len());
        for (s, y, product) in self.pairs.iter().rev() {
            let factor = dot(s, &q) / product;
            add(&mut q, -factor, y);
            factors.push(factor);
        }
        if let Some((_, y, product)) = self.pairs.back() {
            scale(&mut q, product / dot(y, y));
        }
        for ((s, y, product), factor) in self.pairs.iter().zip(factors.iter().rev()) {
            let back = dot(y, &q) / product;
            add(&mut q, factor - back, s);
        }
        q
    }

    fn remember(&mut self, step: Vec<f32>, before: &[f32], after: &[f32]) {
        let mut change = vec![0.0; after.len()];
        combine(&mut change, after, -1.0, before);
        let product = dot(&step, &change);
        // Curvature that is lost in rounding would spoil the model.
        if product > 1e-8 * norm(&step) * norm(&change) {
            if self.pairs.len() == self.memory {
                self.pairs.pop_front();
            }
            self.pairs.push_back((step, change, product));
        }
    }
}

/// The current point and the last trial.
struct Search<'a, P> {
    problem: &'a P,
    x: Vec<f32>,
    gradient: Vec<f32>,
    value: f64,
    trial_x: Vec<f32>,
    trial_gradient: Vec<f32>,
    trial_value: f64,
    evaluations: usize,
}

/// A step along a direction, the value there, and the slope.
#[derive(Clone, Copy, Debug)]
struct Trial {
    step: f64,
    value: f64,
    slope: f64,
}

impl<'a, P: Problem> Search<'a, P> {
    fn new(problem: &'a P, mut x: Vec<f32>) -> Self {
        let mut gradient = vec![0.0; x.len()];
        let value = problem.evaluate(&mut x, &mut gradient);
        let (trial_x, trial_gradient) = (x.clone(), gradient.clone());
        let trial_value = value;
        Self { problem, x, gradient, value, trial_x, trial_gradient, trial_value, evaluations: 1 }
    }

    fn accept(&mut self) {
        std::mem::swap(&mut self.x, &mut self.trial_x);
        std::mem::swap(&mut self.gradient, &mut self.trial_gradient);
        self.value = self.trial_value;
    }

    fn at(&mut self, direction: &[f32], step: f64) -> Trial {
        combine(&mut self.trial_x, &self.x, step, direction);
        self.trial_value = self.problem.evaluate(&mut self.trial_x, &mut self.trial_gradient);
        self.evaluations += 1;
        let slope = dot(&self.trial_gradient, direction);
        Trial { step, value: self.trial_value, slope }
    }

    /// A step that satisfies the conditions, or the lowest seen that gains; the trial is there.
    fn line(&mut self, direction: &[f32], slope: f64, first: f64) -> Option<f64> {
        let start = Trial { step: 0.0, value: self.value, slope };
        let gains = |t: &Trial| t.value <= start.value + GAIN * t.step * start.slope;
        let is_flat = |t: &Trial| t.slope.abs() <= -FLATTENING * start.slope;
        let mut before = start;
        let mut trial = self.at(direction, first);
        let mut trials = 1;
        // Widen until a bracket is found, with `low` the end of lower value.
        let (mut low, mut high) = loop {
            if !trial.value.is_finite() || !trial.slope.is_finite() {
                break (before, trial);
            }
            if !gains(&trial) || (trials > 1 && trial.value >= before.value) {
                break (before, trial);
            }
            if is_flat(&trial) {
                return Some(trial.step);
            }
            if trial.slope >= 0.0 {
                break (trial, before);
            }
            if trials == MOST_TRIALS {
                return Some(trial.step);
            }
            let (least, most) = (trial.step + 0.01 * (trial.step - before.step), 10.0 * trial.step);
            let next = cubic_minimum(before, trial).clamp(least, most);
            before = trial;
            trial = self.at(direction, next);
            trials += 1;
        };
        while trials < MOST_TRIALS {
            let width = high.step - low.step;
            if width.abs() <= 1e-9 * low.step.max(high.step) {
                break;
            }
            // Keep away from both ends, so that the bracket shrinks.
            let share = ((cubic_minimum(low, high) - low.step) / width).clamp(0.1, 0.9);
            trial = self.at(direction, low.step + share * width);
            trials += 1;
            if !trial.value.is_finite() || !gains(&trial) || trial.value >= low.value {
                high = trial;
                continue;
            }
            if is_flat(&trial) {
                return Some(trial.step);
            }
            if trial.slope * width >= 0.0 {
                high = low;
            }
            low = trial;
        }
        if low.step <= 0.0 {
            return None;
        }
        if low.step.to_bits() != trial.step.to_bits() {
            self.at(direction, low.step);
        }
        Some(low.step)
    }
}

/// Where the cubic through two values and slopes is lowest; the middle if there is no such place.
fn cubic_minimum(a: Trial, b: Trial) -> f64 {
    let middle = (a.step + b.step) / 2.0;
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let d2 = (b.step - a.step).signum() * (d1 * d1 - a.slope * b.slope).sqrt();
    let minimum = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    if minimum.is_finite() { minimum } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley in pairs of coordinates, lowest at 1.
    struct Valleys;

    impl Problem for Valleys {
        fn evaluate(&self, x: &mut [f32], gradient: &mut [f32]) -> f64 {
            let mut value = 0.0;
            for (x, g) in x.chunks_exact(2).zip(gradient.chunks_exact_mut(2)) {
                let (a, b) = (f64::from(x[0]), f64::from(x[1]));
                value += (1.0 - a).powi(2) + 100.0 * (b - a * a).powi(2);
                g[0] = (-2.0 * (1.0 - a) - 400.0 * a * (b - a * a)) as f32;
                g[1] = (200.0 * (b - a * a)) as f32;
            }
            value
        }
    }

    #[test]
    fn curved_valleys_are_followed_to_their_lowest_point() {
        let start = vec![-1.2, 1.0, 0.3, -2.0, 2.0, 2.0];
        let limits = Limits { iterations: 200, tolerance: 1e-3, memory: 5 };
        let solution = minimise(&Valleys, start, limits);
        assert!(solution.residual <= 1e-3, "{solution:?}");
        assert!(solution.x.iter().all(|v| (v - 1.0).abs() < 1e-3), "{solution:?}");
        assert!(solution.evaluations < 150, "{solution:?}");
    }

    #[test]
    fn no_iterations_leave_the_start() {
        let limits = Limits { iterations: 0, tolerance: 0.0, memory: 5 };
        assert_eq!(minimise(&Valleys, vec![0.5, 0.5], limits).x, [0.5, 0.5]);
    }
}
