//! What a network is worth: class scores and embeddings of a set of images.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, s};
use nearkin_data::{Loader, LoaderConfig, Order, Source};
use nearkin_metrics::geometry::{effective_rank, uniformity};
use nearkin_metrics::retrieval::{Gallery, RetrievalScore, retrieval};
use nearkin_metrics::{Distance, Knn, Labelled, knn_accuracy};
use nearkin_runtime::{Input, Session, Tensor};

use crate::error::TrainError;
use crate::network::Network;

/// Embeddings and logits of a set, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// `[n, D]`.
    pub embeddings: Array2<f32>,
    /// `[n, C]`.
    pub logits: Array2<f32>,
}

impl Evaluated {
    /// Images of a class whose largest logit is that class's, of all that have one. Ties go to the
    /// lower class.
    ///
    /// - `labels`: `[n]`.
    pub fn correct(&self, labels: &[Option<usize>]) -> (usize, usize) {
        let rows = self.logits.rows().into_iter().zip(labels);
        let known = rows.filter_map(|(row, label)| Some((row, (*label)?)));
        known.fold((0, 0), |(right, all), (row, label)| {
            let best = row.iter().enumerate().fold(
                0,
                |best, (class, &logit)| {
                    if logit > row[best] { class } else { best }
                },
            );
            (right + usize::from(best == label), all + 1)
        })
    }

    /// The mean cross-entropy of the labelled rows, in nats; `None` without any.
    pub fn cross_entropy(&self, labels: &[Option<usize>]) -> Option<f64> {
        let rows = self.logits.rows().into_iter().zip(labels);
        let losses: Vec<f64> = rows
            .filter_map(|(row, label)| {
                let own = f64::from(*row.get((*label)?)?);
                let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
                Some(sum.ln() + f64::from(largest) - own)
            })
            .collect();
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }
}

/// Runs `session`, a network's inference graph, over all images of `source`, in order.
///
/// # Errors
/// [`TrainError::Images`] for an image that cannot be used; [`TrainError::Evaluation`].
pub fn embed_all<S: Source<f32>>(
    session: &mut Session,
    network: &Network,
    source: &Arc<S>,
    batch: usize,
    threads: usize,
) -> Result<Evaluated, TrainError> {
    embed_first(session, network, source, source.count(), batch, threads)
}

/// The same over the first `n` images, or all if there are fewer.
pub(crate) fn embed_first<S: Source<f32>>(
    session: &mut Session,
    network: &Network,
    source: &Arc<S>,
    n: usize,
    batch: usize,
    threads: usize,
) -> Result<Evaluated, TrainError> {
    let n = n.min(source.count());
    let order = Order::Indices((0..n).collect());
    let config = LoaderConfig { threads, strict: true, order, ..LoaderConfig::new(batch) };
    let loader = Loader::new(Arc::clone(source), config)?;
    let mut epoch = loader.epoch(0)?;
    let mut embeddings = Array2::zeros((n, network.width));
    let mut logits = Array2::zeros((n, network.classes));
    while let Some(batch) = epoch.next_batch()? {
        let inputs = [Input::new(&network.input, batch.images)];
        let outputs = session
            .run(&inputs, &[&network.embedding, &network.logits])
            .map_err(TrainError::Evaluation)?;
        for (tensor, all) in outputs.into_iter().zip([&mut embeddings, &mut logits]) {
            copy_rows(tensor, batch.indices, all);
        }
    }
    Ok(Evaluated { embeddings, logits })
}

fn copy_rows(tensor: Tensor, indices: &[usize], all: &mut Array2<f32>) {
    let Some(values) = tensor.into_f32() else { return };
    let width = all.ncols();
    let flat = values.as_slice().unwrap_or_default();
    for (row, &index) in flat.chunks_exact(width.max(1)).zip(indices) {
        let from = ArrayView2::from_shape((1, width), row);
        if let (Ok(from), true) = (from, index < all.nrows()) {
            all.slice_mut(s![index..=index, ..]).assign(&from);
        }
    }
}

/// What embeddings say of themselves and of their labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quality {
    /// exp of the entropy of the singular values' shares, 1 to D: near 1, the embedding has collapsed;
    /// 0 where all of it is 0.
    pub effective_rank: f64,
    /// ln of the mean Gaussian potential of the rows at length 1, at most 0: 0 where all are one. Rows
    /// of zeros are left out.
    pub uniformity: f64,
    /// Accuracy of kNN (k = 20, cosine) with the labelled training images as bank.
    pub knn: Option<f64>,
    /// MAP@R among the images themselves, by cosine.
    pub map_at_r: Option<f64>,
}

/// The quality of the embeddings of a set.
///
/// - `labels`: `[n]`; rows without one take no part in kNN and retrieval.
/// - `bank`: embeddings and labels of labelled training images.
///
/// # Errors
/// [`TrainError::Quality`] for embeddings that are not finite.
pub fn quality(
    embeddings: ArrayView2<'_, f32>,
    labels: &[Option<usize>],
    bank: Option<Labelled<'_>>,
    classes: usize,
) -> Result<Quality, TrainError> {
    let wrong = |error: &dyn std::fmt::Display| TrainError::Quality(error.to_string());
    if embeddings.iter().all(|&value| value.abs() <= 0.0) {
        // Collapsed altogether: there is nothing to compare.
        return Ok(Quality::default());
    }
    let mut quality = Quality {
        effective_rank: effective_rank(embeddings).map_err(|e| wrong(&e))?,
        uniformity: 0.0,
        ..Quality::default()
    };
    // A row of zeros, as ReLU makes them, has no direction.
    let directed: Vec<usize> = (0..embeddings.nrows())
        .filter(|&row| embeddings.row(row).iter().any(|value| value.abs() > 0.0))
        .collect();
    if directed.len() > 1 {
        let rows = embeddings.select(ndarray::Axis(0), &directed);
        quality.uniformity = uniformity(rows.view(), 2.0).map_err(|e| wrong(&e))?;
    }
    let known: Vec<usize> = (0..labels.len()).filter(|&i| labels[i].is_some()).collect();
    let of_known: Vec<usize> = known.iter().filter_map(|&i| labels[i]).collect();
    let rows = embeddings.select(ndarray::Axis(0), &known);
    let own = Labelled { embeddings: rows.view(), labels: &of_known };
    if let Some(bank) = bank
        && !known.is_empty()
    {
        let rule = Knn { k: Knn::default().k.min(bank.labels.len()), ..Knn::default() };
        let queries = Labelled { embeddings: rows.view(), labels: &of_known };
        let found = knn_accuracy(bank, queries, classes, &rule).map_err(|e| wrong(&e))?;
        quality.knn = Some(found.share());
    }
    if let Ok(found) = retrieval(own, Gallery::Others, Distance::Cosine, &[RetrievalScore::MapAtR])
    {
        quality.map_at_r = found.means().first().copied();
    }
    Ok(quality)
}
