//! The graph regulariser and its repulsive counterpart.

use nearkin_nn::{Scope, Value};

use super::parts::{normalise, reduce, refuse, share, square, squared_norm};
use crate::{
    EdgeDistance, EdgeReduction, GraphTerm, ROOT_EPS, Reduction, Repulsion, Space, StopGradient,
};

/// Edges of a batch, usually inputs of the graph: `u`, `v` i64 `[E]`, `w` f32 `[E]`.
#[derive(Clone, Copy, Debug)]
pub struct Edges {
    /// First rows, `[E]`.
    pub u: Value,
    /// Second rows, `[E]`.
    pub v: Value,
    /// Weights, `[E]`; an edge of weight 0 pads a batch that has too few.
    pub w: Value,
}

/// [`crate::graph_term`] of `points [n, d]`; α is multiplied by the caller, as an input that changes
/// from step to step.
pub fn graph_term(s: &Scope, points: Value, edges: Edges, config: &GraphTerm) -> Value {
    over_points(s, points, edges, config, |d| d)
}

/// [`crate::graph_term_rows`] of `first [E, d]`, `second [E, d]` and `w [E]`.
pub fn graph_term_rows(
    s: &Scope,
    first: Value,
    second: Value,
    w: Value,
    config: &GraphTerm,
) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let (a, b) = (Mapped::new(s, first, config), Mapped::new(s, second, config));
    reduced(s, distances(s, a, b, config), w, config.reduction)
}

/// [`crate::repulsive_term`] of `points [n, d]`.
pub fn repulsive_term(s: &Scope, points: Value, pairs: Edges, config: &Repulsion) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let hinge = |d| square(s, s.relu(s.sub(s.scalar(config.margin), d)));
    over_points(s, points, pairs, &config.term, hinge)
}

fn over_points(
    s: &Scope,
    points: Value,
    edges: Edges,
    config: &GraphTerm,
    of_distance: impl Fn(Value) -> Value,
) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let mapped = Mapped::new(s, points, config);
    let (a, b) = (mapped.take(s, edges.u), mapped.take(s, edges.v));
    let terms = of_distance(distances(s, a, b, config));
    reduced(s, terms, edges.w, config.reduction)
}

fn reduced(s: &Scope, terms: Value, w: Value, reduction: EdgeReduction) -> Value {
    let terms = s.mul(terms, w);
    match reduction {
        EdgeReduction::Sum => reduce(s, terms, Reduction::Sum),
        EdgeReduction::Mean => reduce(s, terms, Reduction::Mean),
        EdgeReduction::WeightedMean => share(s, s.sum_all(terms), s.sum_all(w)),
    }
}

/// Rows after the map: themselves, and their logarithms where they are probabilities.
#[derive(Clone, Copy)]
struct Mapped {
    y: Value,
    log: Option<Value>,
}

impl Mapped {
    fn new(s: &Scope, x: Value, config: &GraphTerm) -> Self {
        match config.space {
            Space::AsIs => Self { y: x, log: None },
            Space::Normalised => Self { y: normalise(s, x), log: None },
            Space::Softmax => Self {
                y: s.softmax(x),
                log: config.distance.is_of_probabilities().then(|| s.log_softmax(x)),
            },
        }
    }

    fn each(self, f: impl Fn(Value) -> Value) -> Self {
        Self { y: f(self.y), log: self.log.map(f) }
    }

    fn take(self, s: &Scope, rows: Value) -> Self {
        self.each(|x| s.gather(x, rows, 0))
    }
}

/// `[E]`.
fn distances(s: &Scope, a: Mapped, b: Mapped, config: &GraphTerm) -> Value {
    let still = |side: Mapped| side.each(|x| s.stop_gradient(x));
    let (a, b) = match config.stop_gradient {
        StopGradient::Neither => (a, b),
        StopGradient::First => (still(a), b),
        StopGradient::Second => (a, still(b)),
    };
    let difference = || s.sub(a.y, b.y);
    let over_rows = |x| s.sum(x, &[1]);
    match (config.distance, a.log, b.log) {
        (EdgeDistance::KullbackLeibler, Some(log_a), Some(log_b)) => {
            over_rows(s.mul(a.y, s.sub(log_a, log_b)))
        }
        (EdgeDistance::JensenShannon, Some(log_a), Some(log_b)) => {
            let middle = log_middle(s, log_a, log_b);
            let side = |p, log| s.mul(p, s.sub(log, middle));
            s.scale(over_rows(s.add(side(a.y, log_a), side(b.y, log_b))), 0.5)
        }
        (EdgeDistance::CrossEntropy, Some(_), Some(log_b)) => s.neg(over_rows(s.mul(a.y, log_b))),
        (EdgeDistance::L1, ..) => over_rows(s.abs(difference())),
        (EdgeDistance::L2, ..) => {
            s.sqrt(s.add(over_rows(square(s, difference())), s.scalar(ROOT_EPS)))
        }
        (EdgeDistance::Cosine, ..) => {
            // Root by root: the product of two smallest squares is 0 in f32.
            let norm = |x| s.sqrt(squared_norm(s, x));
            let norms = s.mul(norm(a.y), norm(b.y));
            let similarity = over_rows(s.div(s.mul(a.y, b.y), norms));
            s.sub(s.scalar(1.0), similarity)
        }
        // The distances of probabilities have logarithms, as the settings were checked.
        _ => over_rows(square(s, difference())),
    }
}

/// ln((eᵃ + eᵇ)/2), also where both vanish.
fn log_middle(s: &Scope, a: Value, b: Value) -> Value {
    let ratio = s.exp(s.neg(s.abs(s.sub(a, b))));
    let half = s.scalar(0.5);
    s.add(s.max(a, b), s.log(s.add(s.mul(ratio, half), half)))
}
