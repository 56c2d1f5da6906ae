//! Distillation: a student follows a teacher's softened probabilities.
//!
//! Hinton, Vinyals and Dean, 2015, <https://arxiv.org/abs/1503.02531>.

use ndarray::{ArrayView2, Ix2, NdFloat};

use crate::cross_entropy::of_labels;
use crate::graded::{finite, graded, labels_fit, not_negative, positive, same_shape, share_of};
use crate::rows::{log_softmax, log_softmax_back};
use crate::{CrossEntropy, Graded, LossError};

/// Settings of [`distillation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// τ, above 0: both sides' logits are divided by it.
    pub temperature: f32,
    /// α, at least 0: the weight of the labels' cross-entropy.
    pub hard: f32,
    /// β, at least 0: the weight of the teacher's divergence.
    pub soft: f32,
}

impl Default for Distillation {
    /// τ = 4, α = 0.1, β = 0.9: the teacher counts most, as the paper advises.
    fn default() -> Self {
        Self { temperature: 4.0, hard: 0.1, soft: 0.9 }
    }
}

impl Distillation {
    pub(crate) fn check(&self) -> Result<(), LossError> {
        positive("temperature", self.temperature)?;
        not_negative("hard", self.hard)?;
        not_negative("soft", self.soft)
    }
}

/// α·CE(student, labels) + β·τ²·KL(softmax(teacher/τ) ‖ softmax(student/τ)), means over rows.
///
/// The factor τ² keeps the gradient's size whatever τ. Without labels use α = 0 and any labels.
///
/// - `student`, `teacher`: logits `[N, C]`, finite; `labels`: `N` classes below `C`.
/// - returns: at least 0, in nats; gradient with respect to the student's logits, `[N, C]`.
///
/// # Errors
/// [`LossError`]: shapes, labels, values or settings that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Distillation, distillation};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let config = Distillation { hard: 1.0, ..Distillation::default() };
/// // The student is the teacher: only the labels' part is left.
/// let loss = distillation(logits.view(), logits.view(), &[0], &config)?;
/// assert!((loss.value - 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn distillation<T: NdFloat>(
    student: ArrayView2<'_, T>,
    teacher: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Distillation,
) -> Result<Graded<T, Ix2>, LossError> {
    config.check()?;
    same_shape("teacher", student.shape(), teacher.shape())?;
    labels_fit(labels, student.nrows(), student.ncols(), None)?;
    let (x, t) = (finite("student", &student)?, finite("teacher", &teacher)?);
    let (hard, g_hard) = of_labels(&x, labels, &CrossEntropy::default());
    let (alpha, beta) = (f64::from(config.hard), f64::from(config.soft));
    let temperature = f64::from(config.temperature);
    let l = log_softmax(&(x / temperature));
    let log_p = log_softmax(&(t / temperature));
    let p = log_p.mapv(f64::exp);
    let factor = beta * temperature * temperature * share_of(l.nrows() as f64);
    let divergence = (&p * &(log_p - &l)).sum().max(0.0);
    let g_soft = log_softmax_back(&l, p * (-factor / temperature));
    graded((alpha * hard + factor * divergence, g_hard * alpha + g_soft))
}
