//! Distances of two rows and their gradients.

use ndarray::{ArrayView1, ArrayViewMut1, Zip};

use super::ROOT_EPS;
use super::space::Mapped;
use crate::rows::{SMALLEST_SQUARE, softplus};

/// A distance between the two ends of an edge, a and b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EdgeDistance {
    /// Σ |aᵢ − bᵢ|; its gradient is 0 where they are equal.
    L1,
    /// Σ (aᵢ − bᵢ)².
    #[default]
    SquaredL2,
    /// √(Σ (aᵢ − bᵢ)² + 1e-12).
    L2,
    /// 1 − a·b / (‖a‖‖b‖), in \[0, 2\]; norms count as at least 1e-12, so it is 1 where one is zero.
    Cosine,
    /// KL(a ‖ b) = Σ aᵢ ln(aᵢ/bᵢ), in nats; of probabilities, with [`Space::Softmax`](super::Space).
    KullbackLeibler,
    /// ½ KL(a ‖ m) + ½ KL(b ‖ m), m = (a + b)/2, in \[0, ln 2\]; of probabilities.
    JensenShannon,
    /// −Σ aᵢ ln bᵢ, in nats; of probabilities. Least where b is certain of a's likeliest class.
    CrossEntropy,
}

impl EdgeDistance {
    /// Whether it is defined for probabilities only.
    pub fn is_of_probabilities(self) -> bool {
        matches!(self, Self::KullbackLeibler | Self::JensenShannon | Self::CrossEntropy)
    }
}

/// One row of each side, with its logarithm where rows are probabilities.
pub(super) struct Pair<'a> {
    a: ArrayView1<'a, f64>,
    b: ArrayView1<'a, f64>,
    log_a: ArrayView1<'a, f64>,
    log_b: ArrayView1<'a, f64>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(a: &'a Mapped, b: &'a Mapped, row: usize) -> Self {
        let log = |side: &'a Mapped| side.log.as_ref().unwrap_or(&side.y).row(row);
        Self { a: a.y.row(row), b: b.y.row(row), log_a: log(a), log_b: log(b) }
    }

    fn sum(&self, f: impl Fn(f64, f64) -> f64) -> f64 {
        self.a.iter().zip(self.b).map(|(&a, &b)| f(a, b)).sum()
    }

    fn sum_of_logs(&self, f: impl Fn(f64, f64) -> f64) -> f64 {
        self.log_a.iter().zip(self.log_b).map(|(&a, &b)| f(a, b)).sum()
    }

    pub(super) fn distance(&self, distance: EdgeDistance) -> f64 {
        let squared = |a: f64, b: f64| (a - b) * (a - b);
        let distance = match distance {
            EdgeDistance::L1 => self.sum(|a, b| (a - b).abs()),
            EdgeDistance::SquaredL2 => self.sum(squared),
            EdgeDistance::L2 => (self.sum(squared) + f64::from(ROOT_EPS)).sqrt(),
            EdgeDistance::Cosine => 1.0 - self.a.dot(&self.b) / self.norms(),
            EdgeDistance::KullbackLeibler => self.sum_of_logs(|a, b| a.exp() * (a - b)),
            EdgeDistance::JensenShannon => self.sum_of_logs(|a, b| {
                let m = log_middle(a, b);
                0.5 * (a.exp() * (a - m) + b.exp() * (b - m))
            }),
            EdgeDistance::CrossEntropy => -self.sum_of_logs(|a, b| a.exp() * b),
        };
        // Rounding may leave equal rows a little below 0.
        distance.max(0.0)
    }

    /// ‖a‖‖b‖, each at least 1e-12.
    fn norms(&self) -> f64 {
        let square = |x: ArrayView1<'_, f64>| x.dot(&x).max(SMALLEST_SQUARE);
        (square(self.a) * square(self.b)).sqrt()
    }

    /// Adds `scale` times the gradient to both sides: with respect to rows, or to the logarithms of
    /// rows for a distance of probabilities.
    pub(super) fn gradient(
        &self,
        distance: EdgeDistance,
        scale: f64,
        mut ga: ArrayViewMut1<'_, f64>,
        mut gb: ArrayViewMut1<'_, f64>,
    ) {
        let of_difference = |f: &dyn Fn(f64) -> f64,
                             ga: &mut ArrayViewMut1<'_, f64>,
                             gb: &mut ArrayViewMut1<'_, f64>| {
            Zip::from(ga).and(gb).and(&self.a).and(&self.b).for_each(|ga, gb, &a, &b| {
                let slope = scale * f(a - b);
                *ga += slope;
                *gb -= slope;
            });
        };
        let of_logs = |f: &dyn Fn(f64, f64) -> (f64, f64),
                       ga: &mut ArrayViewMut1<'_, f64>,
                       gb: &mut ArrayViewMut1<'_, f64>| {
            Zip::from(ga).and(gb).and(&self.log_a).and(&self.log_b).for_each(|ga, gb, &a, &b| {
                let (left, right) = f(a, b);
                *ga += scale * left;
                *gb += scale * right;
            });
        };
        match distance {
            EdgeDistance::L1 => {
                let sign = |d: f64| if d == 0.0 { 0.0 } else { d.signum() };
                of_difference(&sign, &mut ga, &mut gb);
            }
            EdgeDistance::SquaredL2 => of_difference(&|d| 2.0 * d, &mut ga, &mut gb),
            EdgeDistance::L2 => {
                let length = self.distance(distance);
                of_difference(&|d| d / length, &mut ga, &mut gb);
            }
            EdgeDistance::Cosine => self.cosine_gradient(scale, &mut ga, &mut gb),
            EdgeDistance::KullbackLeibler => {
                of_logs(&|a, b| (a.exp() * (a - b + 1.0), -a.exp()), &mut ga, &mut gb);
            }
            EdgeDistance::JensenShannon => {
                let slopes = |a: f64, b: f64| {
                    let m = log_middle(a, b);
                    (0.5 * a.exp() * (a - m), 0.5 * b.exp() * (b - m))
                };
                of_logs(&slopes, &mut ga, &mut gb);
            }
            EdgeDistance::CrossEntropy => {
                of_logs(&|a, b| (-a.exp() * b, -a.exp()), &mut ga, &mut gb);
            }
        }
    }

    /// ∂a = −(b/‖b‖ − a·cos/‖a‖)/‖a‖, and the same for b; a norm that is too small is a constant.
    fn cosine_gradient(
        &self,
        scale: f64,
        ga: &mut ArrayViewMut1<'_, f64>,
        gb: &mut ArrayViewMut1<'_, f64>,
    ) {
        let norms = self.norms();
        let similarity = self.a.dot(&self.b) / norms;
        let along = |x: ArrayView1<'_, f64>| {
            let square = x.dot(&x);
            if square > SMALLEST_SQUARE { similarity / square } else { 0.0 }
        };
        let (along_a, along_b) = (along(self.a), along(self.b));
        Zip::from(ga).and(gb).and(&self.a).and(&self.b).for_each(|ga, gb, &a, &b| {
            *ga -= scale * (b / norms - a * along_a);
            *gb -= scale * (a / norms - b * along_b);
        });
    }
}

/// ln((eᵃ + eᵇ)/2), also where both vanish.
fn log_middle(a: f64, b: f64) -> f64 {
    a.max(b) + softplus(-(a - b).abs()) - std::f64::consts::LN_2
}
