//! Lovász losses: the Jaccard index's convex surrogate.
//!
//! Berman, Rannen Triki and Blaschko, 2017, <https://arxiv.org/abs/1705.08790>. Pixels are sorted by
//! their error; ties break by index.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Ix1, Ix2, NdFloat};

use super::Classes;
use crate::graded::{finite, graded, labels_fit, one_per_row, share_of};
use crate::rows::{log_softmax, log_softmax_back};
use crate::{Graded, LossError};

/// Settings of [`lovasz_softmax`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lovasz {
    /// Which classes count; the authors' default is those that are present.
    pub classes: Classes,
    /// Pixels with this label count for nothing.
    pub ignore_index: Option<usize>,
}

/// For errors in descending order: how much each adds to the Jaccard loss (the paper's algorithm 1).
fn increments(truth: &[bool]) -> Vec<f64> {
    let total = truth.iter().filter(|&&t| t).count() as f64;
    let (mut hits, mut misses, mut before) = (0.0, 0.0, 0.0);
    let each = truth.iter().map(|&t| {
        if t {
            hits += 1.0
        } else {
            misses += 1.0
        }
        let jaccard = 1.0 - (total - hits) / (total + misses);
        let gained = jaccard - before;
        before = jaccard;
        gained
    });
    each.collect()
}

/// Positions by falling error, ties by index.
fn by_falling_error(errors: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..errors.len()).collect();
    order.sort_by(|&a, &b| errors[b].total_cmp(&errors[a]));
    order
}

/// The Lovász extension of the Jaccard loss on softmax probabilities, the mean over classes.
///
/// Pixels of all images given count together.
///
/// - `logits`: `[P, C]`, finite; `labels`: `P` classes below `C`, or the ignored one.
/// - returns: in \[0, 1\]; gradient `[P, C]`. Cost: O(C·P log P).
///
/// # Errors
/// [`LossError`]: shapes, labels or values that do not fit.
///
/// # Examples
/// ```
/// use nearkin_loss::{Lovasz, lovasz_softmax};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let loss = lovasz_softmax(logits.view(), &[1], &Lovasz::default())?;
/// assert!((loss.value - 0.5).abs() < 1e-15);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn lovasz_softmax<T: NdFloat>(
    logits: ArrayView2<'_, T>,
    labels: &[usize],
    config: &Lovasz,
) -> Result<Graded<T, Ix2>, LossError> {
    labels_fit(labels, logits.nrows(), logits.ncols(), config.ignore_index)?;
    let l = log_softmax(&finite("logits", &logits)?);
    let p = l.mapv(f64::exp);
    let counts = |pixel: &usize| Some(labels[*pixel]) != config.ignore_index;
    let pixels: Vec<usize> = (0..labels.len()).filter(counts).collect();
    let present = |class: usize| pixels.iter().any(|&pixel| labels[pixel] == class);
    let classes: Vec<usize> = (0..p.ncols())
        .filter(|&class| !pixels.is_empty() && (config.classes == Classes::All || present(class)))
        .collect();
    let factor = share_of(classes.len() as f64);
    let (mut value, mut g) = (0.0, Array2::zeros(p.dim()));
    for class in classes {
        let truth = |pixel: usize| labels[pixel] == class;
        let error = |pixel: usize| (f64::from(u8::from(truth(pixel))) - p[[pixel, class]]).abs();
        let errors: Vec<f64> = pixels.iter().map(|&pixel| error(pixel)).collect();
        let order: Vec<usize> =
            by_falling_error(&errors).into_iter().map(|place| pixels[place]).collect();
        let truths: Vec<bool> = order.iter().map(|&pixel| truth(pixel)).collect();
        for (pixel, gained) in order.into_iter().zip(increments(&truths)) {
            value += factor * gained * error(pixel);
            let sign = if truth(pixel) { -1.0 } else { 1.0 };
            g[[pixel, class]] = factor * gained * sign * p[[pixel, class]];
        }
    }
    graded((value, log_softmax_back(&l, g)))
}

/// The Lovász hinge of one region: errors are 1 − x·(2t − 1), those below 0 count as 0.
///
/// - `logits`: `[P]`, finite; `truth`: `P`.
/// - returns: at least 0; gradient `[P]`. Cost: O(P log P).
///
/// # Errors
/// [`LossError`]: shapes or values that do not fit.
///
/// # Examples
/// ```
/// let logits = ndarray::arr1(&[2.0_f64, -2.0, -0.5]);
/// let loss = nearkin_loss::lovasz_hinge(logits.view(), &[true, false, false])?;
/// // Both sure pixels are right; the third lacks 0.5 and would add a false positive to one true.
/// assert_eq!(loss.value, 0.25);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn lovasz_hinge<T: NdFloat>(
    logits: ArrayView1<'_, T>,
    truth: &[bool],
) -> Result<Graded<T, Ix1>, LossError> {
    one_per_row("truth", logits.len(), truth.len())?;
    let x = finite("logits", &logits)?;
    let sign = |pixel: usize| if truth[pixel] { 1.0 } else { -1.0 };
    let errors: Vec<f64> = (0..x.len()).map(|pixel| 1.0 - x[pixel] * sign(pixel)).collect();
    let order = by_falling_error(&errors);
    let truths: Vec<bool> = order.iter().map(|&pixel| truth[pixel]).collect();
    let (mut value, mut g) = (0.0, Array1::zeros(x.len()));
    for (pixel, gained) in order.into_iter().zip(increments(&truths)) {
        if errors[pixel] > 0.0 {
            value += gained * errors[pixel];
            g[pixel] = -gained * sign(pixel);
        }
    }
    graded((value, g))
}
