//! Linear probe: what a linear classifier can read off frozen embeddings.

mod checks;
mod features;
mod fit;

use ndarray::{Array2, ArrayView2, Axis};

pub use self::checks::ProbeError;
use self::checks::{check_embeddings, check_labels, check_settings, no_alpha};
use self::features::Features;
use self::fit::{Fitted, Problem, Stop};
use crate::{Accuracy, Labelled, top_k_accuracy};

/// How a linear probe is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Strengths of the penalty to choose from, finite and above 0; α in [`linear_probe`].
    pub alphas: Vec<f64>,
    /// The share of every class put aside to choose among them, in (0, 1).
    pub validation_share: f64,
    /// Draws that share.
    pub seed: u64,
    /// The most steps of L-BFGS for one α.
    pub max_iterations: usize,
    /// Steps end where the gradient of the mean loss is shorter than this, features being scaled so
    /// that their largest singular value is √n. Above 0.
    pub tolerance: f64,
}

impl Default for Probe {
    /// α of 10⁻² to 10³ by tens, a fifth for validation, at most 500 steps to 10⁻⁶.
    fn default() -> Self {
        Self {
            alphas: vec![1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3],
            validation_share: 0.2,
            seed: 0,
            max_iterations: 500,
            tolerance: 1e-6,
        }
    }
}

/// A fitted probe's predictions, and how they came about.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Logits of the queries, `[m, classes]`: [`crate::top_k_accuracy`] ranks them.
    pub scores: Array2<f32>,
    /// The α chosen.
    pub alpha: f64,
    /// Every α tried, strongest first.
    pub trials: Vec<Trial>,
    /// Steps of the final fit on all training rows.
    pub iterations: usize,
    /// Whether the final fit reached the tolerance.
    pub converged: bool,
    /// Columns that the fit had: those that vary, or the rank of the training rows if lower.
    pub columns: usize,
}

/// One α on the validation part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The α.
    pub alpha: f64,
    /// Top-1 accuracy on the validation part.
    pub accuracy: Accuracy,
    /// Mean cross-entropy on the validation part, in nats; it decides between equal accuracies.
    pub loss: f64,
    /// Steps taken, starting from the previous α's weights.
    pub iterations: usize,
    /// Whether the fit reached the tolerance.
    pub converged: bool,
}

/// Fits a linear classifier on training embeddings and scores the queries with it.
///
/// Embeddings are standardised by the training rows' mean and deviation (columns that do not vary
/// there are left out). On them, multinomial logistic regression minimises
///
///   Σᵢ −log softmax(W zᵢ + b)\[yᵢ\] + α/2 ‖W‖²
///
/// by L-BFGS. α is the one with the best top-1 accuracy on a stratified validation share of the
/// training rows, then the lower cross-entropy there, then the stronger penalty; with it the
/// probe is fitted again on all training rows. The same input gives the same bits.
///
/// Cost: with more columns than rows the fit runs in the rows' own space, which leaves the optimum
/// as it is (O(n² d + n³/3) once); a step then is two products of `[n, min(n, d)]` with the weights.
/// 1,347 embeddings of 4,096 columns in ten classes take about two core-seconds.
///
/// - `train`: `[n, d]` with labels below `classes`, at least two for each class.
/// - `queries`: `[m, d]`.
///
/// # Errors
/// [`ProbeError`]: a setting outside its range, labels that do not fit, fewer than two classes or
/// two members of a class, widths that differ, values that are not finite.
///
/// # Examples
/// ```
/// use nearkin_metrics::{Labelled, Probe, linear_probe};
/// let train = ndarray::arr2(&[[0.0], [1.0], [0.2], [5.0], [6.0], [5.5]]);
/// let train = Labelled { embeddings: train.view(), labels: &[0, 0, 0, 1, 1, 1] };
/// let queries = ndarray::arr2(&[[0.1], [7.0]]);
/// let probed = linear_probe(train, queries.view(), 2, &Probe::default())?;
/// assert!(probed.scores[[0, 0]] > probed.scores[[0, 1]]);
/// assert!(probed.scores[[1, 1]] > probed.scores[[1, 0]]);
/// # Ok::<(), nearkin_metrics::ProbeError>(())
/// ```
pub fn linear_probe(
    train: Labelled<'_>,
    queries: ArrayView2<'_, f32>,
    classes: usize,
    probe: &Probe,
) -> Result<Probed, ProbeError> {
    check_settings(probe)?;
    check_labels(train, classes)?;
    check_embeddings(train.embeddings, queries)?;
    let features = Features::new(train.embeddings, queries);
    let stop = Stop { max_iterations: probe.max_iterations, tolerance: probe.tolerance };
    let trials = try_alphas(&features.train, train.labels, classes, probe, stop)?;
    // Strongest penalty first: a later trial must be better, not as good.
    let is_better = |a: &Trial, b: &Trial| {
        a.accuracy.correct > b.accuracy.correct
            || (a.accuracy.correct == b.accuracy.correct && a.loss < b.loss)
    };
    let chosen = trials.iter().copied().reduce(|a, b| if is_better(&b, &a) { b } else { a });
    let Some(Trial { alpha, .. }) = chosen else {
        return Err(no_alpha());
    };
    let problem = Problem::new(features.train.view(), train.labels.to_vec(), classes);
    let fitted = fit(&problem, alpha, stop, None)?;
    Ok(Probed {
        scores: fitted.logits(features.test.view()).mapv(|v| v as f32),
        alpha,
        trials,
        iterations: fitted.iterations,
        converged: fitted.converged,
        columns: features.train.ncols(),
    })
}

fn try_alphas(
    features: &Array2<f64>,
    labels: &[usize],
    classes: usize,
    probe: &Probe,
    stop: Stop,
) -> Result<Vec<Trial>, ProbeError> {
    let (kept, held_out) = hold_out(labels, classes, probe);
    let of = |rows: &[usize]| -> Vec<usize> { rows.iter().map(|&row| labels[row]).collect() };
    let problem = Problem::new(features.select(Axis(0), &kept).view(), of(&kept), classes);
    let validation = features.select(Axis(0), &held_out);
    let validation_labels = of(&held_out);
    let mut alphas = probe.alphas.clone();
    alphas.sort_unstable_by(|a, b| b.total_cmp(a));
    alphas.dedup();
    let mut trials = Vec::with_capacity(alphas.len());
    let mut start: Option<Fitted> = None;
    for alpha in alphas {
        let fitted = fit(&problem, alpha, stop, start.as_ref())?;
        let logits = fitted.logits(validation.view());
        trials.push(Trial {
            alpha,
            accuracy: top_k_accuracy(logits.mapv(|v| v as f32).view(), &validation_labels, 1)?,
            loss: mean_cross_entropy(&logits, &validation_labels),
            iterations: fitted.iterations,
            converged: fitted.converged,
        });
        start = Some(fitted);
    }
    Ok(trials)
}

fn fit(
    problem: &Problem,
    alpha: f64,
    stop: Stop,
    start: Option<&Fitted>,
) -> Result<Fitted, ProbeError> {
    problem
        .fit(alpha, stop, start)
        .map_err(|error| ProbeError::Solver { alpha, reason: error.to_string() })
}

fn mean_cross_entropy(logits: &Array2<f64>, labels: &[usize]) -> f64 {
    let losses = logits.rows().into_iter().zip(labels).map(|(row, &label)| {
        let highest = row.fold(f64::NEG_INFINITY, |m, &v| m.max(v));
        row.fold(0.0, |sum, v| sum + (v - highest).exp()).ln() + highest - row[label]
    });
    losses.sum::<f64>() / labels.len() as f64
}

/// Rows to fit on and rows to validate on: in every class the share with the lowest seeded hash,
/// at least one and not all.
fn hold_out(labels: &[usize], classes: usize, probe: &Probe) -> (Vec<usize>, Vec<usize>) {
    let mut members = vec![Vec::new(); classes];
    for (row, &label) in labels.iter().enumerate() {
        members[label].push(row);
    }
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for mut rows in members {
        let share = (probe.validation_share * rows.len() as f64).round() as usize;
        let share = share.clamp(1, rows.len() - 1);
        rows.sort_unstable_by_key(|&row| (hash(probe.seed, row), row));
        held_out.extend_from_slice(&rows[..share]);
        kept.extend_from_slice(&rows[share..]);
    }
    kept.sort_unstable();
    held_out.sort_unstable();
    (kept, held_out)
}

/// SplitMix64's output function, of the row-th state after `seed`.
fn hash(seed: u64, row: usize) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(row as u64 + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::s;

    fn noise(i: usize, j: usize) -> f32 {
        let mut z = (i as u64 + 1) << 32 | j as u64;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    /// `classes` overlapping blobs, labels in turn.
    fn blobs(n: usize, d: usize, classes: usize) -> (Array2<f32>, Vec<usize>) {
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let rows = Array2::from_shape_fn((n, d), |(i, j)| noise(labels[i], 1000 + j) + noise(i, j));
        (rows, labels)
    }

    fn probed(rows: &Array2<f32>, labels: &[usize], train: usize, probe: &Probe) -> Probed {
        let classes = labels.iter().max().unwrap() + 1;
        let (fit, test) = rows.view().split_at(Axis(0), train);
        linear_probe(Labelled { embeddings: fit, labels: &labels[..train] }, test, classes, probe)
            .unwrap()
    }

    #[test]
    fn blobs_are_told_apart_with_few_columns_and_with_more_than_rows() {
        for d in [20, 300] {
            let (rows, labels) = blobs(200, d, 4);
            let found = probed(&rows, &labels, 120, &Probe::default());
            let accuracy = top_k_accuracy(found.scores.view(), &labels[120..], 1).unwrap();
            assert!(accuracy.share() > 0.9, "{d} columns: {accuracy:?}");
            assert_eq!(found.columns, d.min(119));
            assert!(found.converged && found.trials.iter().all(|trial| trial.converged));
            assert_eq!(found.trials.len(), 6);
            assert_eq!(found.trials[0].accuracy.total, 24);
        }
    }

    #[test]
    fn the_row_space_has_the_optimum_of_all_columns() {
        let (rows, labels) = blobs(60, 150, 3);
        let stop = Stop { max_iterations: 2000, tolerance: 1e-9 };
        let (train, test) = rows.view().split_at(Axis(0), 40);
        let reduced = Features::new(train, test);
        assert_eq!(reduced.train.ncols(), 39);
        // With a third of the columns at a time there is no reduction: the same standardised values.
        let thirds: Vec<Features> = [(0, 39), (39, 78), (78, 117), (117, 150)]
            .into_iter()
            .map(|(a, b)| Features::new(train.slice(s![.., a..b]), test.slice(s![.., a..b])))
            .collect();
        let join = |of: fn(&Features) -> ArrayView2<'_, f64>| {
            let views: Vec<_> = thirds.iter().map(of).collect();
            ndarray::concatenate(Axis(1), &views).unwrap()
        };
        let (all_train, all_test) = (join(|f| f.train.view()), join(|f| f.test.view()));
        assert_eq!(all_train.ncols(), 150);
        let logits = |train: ArrayView2<'_, f64>, test: ArrayView2<'_, f64>| {
            let problem = Problem::new(train, labels[..40].to_vec(), 3);
            problem.fit(1.0, stop, None).unwrap().logits(test)
        };
        let found = logits(reduced.train.view(), reduced.test.view());
        let expected = logits(all_train.view(), all_test.view());
        assert!((found - expected).iter().all(|v| v.abs() < 1e-5));
    }

    #[test]
    fn the_strength_that_validates_best_is_chosen() {
        let (rows, labels) = blobs(120, 30, 3);
        let found = probed(&rows, &labels, 90, &Probe::default());
        let chosen =
            found.trials.iter().find(|trial| trial.alpha.total_cmp(&found.alpha).is_eq()).unwrap();
        assert!(found.trials.iter().all(|trial| {
            trial.accuracy.correct < chosen.accuracy.correct
                || (trial.accuracy.correct == chosen.accuracy.correct && trial.loss >= chosen.loss)
        }));
        assert!(found.trials.is_sorted_by(|a, b| a.alpha > b.alpha));
    }

    #[test]
    fn the_same_input_gives_the_same_bits_and_the_seed_changes_only_the_choice() {
        let (rows, labels) = blobs(100, 120, 3);
        let first = probed(&rows, &labels, 80, &Probe::default());
        let again = probed(&rows, &labels, 80, &Probe::default());
        assert_eq!(first.scores, again.scores);
        assert_eq!(first.trials, again.trials);
        let fixed = |seed| Probe { alphas: vec![1.0], seed, ..Probe::default() };
        let one = probed(&rows, &labels, 80, &fixed(1));
        let two = probed(&rows, &labels, 80, &fixed(2));
        assert_eq!(one.scores, two.scores);
        assert_ne!(one.trials, two.trials);
    }

    #[test]
    fn embeddings_that_say_nothing_predict_the_classes_shares() {
        let rows = Array2::from_elem((12, 5), 3.5);
        let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0];
        let found = probed(&rows, &labels, 9, &Probe::default());
        assert_eq!(found.columns, 0);
        // Six of nine are of class 0: the intercepts differ by ln 2.
        let difference = found.scores[[0, 0]] - found.scores[[0, 1]];
        assert!((difference - 2.0_f32.ln()).abs() < 1e-4, "{difference}");
    }

    #[test]
    fn an_outlier_far_beyond_all_others_does_not_stop_the_fit() {
        let (mut rows, labels) = blobs(150, 40, 3);
        rows.row_mut(7).mapv_inplace(|v| v * 1e4);
        let found = probed(&rows, &labels, 120, &Probe::default());
        assert!(found.scores.iter().all(|v| v.is_finite()));
        assert!(found.converged);
    }
}
