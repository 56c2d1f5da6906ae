//! `nearkin predict`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use ndarray::ArrayView1;
use nearkin_data::{ListedPart, Split, Target, Vocabulary};
use nearkin_metrics::wilson_interval;
use nearkin_nn::LOGITS;
use nearkin_runtime::{Input, Tensor};

use crate::data::{SPLITS, Source, label, named, tsv};
use crate::exit::{Exit, OrExit as _};
use crate::model::{ModelArguments, tell};
use crate::{Ended, output};

/// Name what a classifier sees in the images of a data set, and score it where labels are known.
///
/// A line for each image: its name, its label, and the names of the classes with the highest logits,
/// best first, with their share of the softmax. With --vocabulary the model's outputs get names,
/// and images are labelled by the WordNet id or the name of their folder or file, so that ten
/// folders called "tabby cat" and the like are scored with a model of 1,000 or 21,843 classes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin predict vit.onnx photos/ --vocabulary imagenet_class_index.json\n  \
    nearkin predict vit21k.onnx photos/ --vocabulary imagenet21k_goog_synsets.txt \\\n      \
    --lemmas imagenet21k_wordnet_lemmas.txt")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    source: Source,

    /// Names of the model's classes, in the order of its outputs: imagenet_class_index.json, a
    /// synset mapping, or a WordNet id on each line [default: the data set's own classes].
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,

    /// Lemmas of the classes, a line for each line of the vocabulary.
    #[arg(long, value_name = "FILE", requires = "vocabulary")]
    lemmas: Option<PathBuf>,

    /// Predict this part only [default: all parts, in order].
    #[arg(long, value_parser = named(SPLITS, Split::as_str))]
    part: Option<Split>,

    /// Classes to print for each image.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,

    /// The output with a score for each class.
    #[arg(long, value_name = "NAME", default_value = LOGITS)]
    logits: String,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let mut listing = self.source.open()?;
        let vocabulary = match (&self.vocabulary, &self.lemmas) {
            (Some(synsets), Some(lemmas)) => Some(Vocabulary::read_lists(synsets, lemmas)),
            (Some(path), None) => Some(Vocabulary::read(path)),
            (None, _) => None,
        };
        if let Some(vocabulary) = vocabulary.transpose().or_exit(Exit::BadInput)? {
            listing = vocabulary.label(listing);
        }
        let parts = listing.parts.iter().filter(|part| self.part.is_none_or(|p| p == part.split));
        let samples = parts.flat_map(|part| &part.samples).cloned().collect();
        let part = Arc::new(ListedPart { split: self.part.unwrap_or(Split::Test), samples });
        if part.samples.is_empty() {
            let aside = listing.quarantine.first();
            let aside = aside.map(|bad| format!("; set aside: {}: {}", bad.name, bad.reason));
            let (root, aside) = (listing.root.display(), aside.unwrap_or_default());
            return Err(anyhow!("{root}: no images to predict{aside}")).or_exit(Exit::BadInput);
        }
        let mut ready = self.model.load(quiet)?;
        let mut score = Score::default();
        let report = ready.each_batch(&part, self.source.strict, quiet, |session, input, batch| {
            let found = session
                .run(&[Input::new(input, batch.images.view())], &[&self.logits])
                .or_exit(Exit::BadInput)?;
            let logits = found.into_iter().next().and_then(Tensor::into_f32);
            let logits = logits.and_then(|logits| logits.into_dimensionality().ok());
            let logits: ndarray::Array2<f32> = logits
                .filter(|logits: &ndarray::Array2<f32>| logits.nrows() == batch.indices.len())
                .ok_or_else(|| anyhow!("output {}: expected [N, classes] of f32", self.logits))
                .or_exit(Exit::BadInput)?;
            let (classes, names) = (logits.ncols(), listing.class_names.len());
            if classes != names {
                let error = anyhow!(
                    "the model tells {classes} classes apart, the names are of {names}: give the \
                     model's own with --vocabulary"
                );
                return Err(error).or_exit(Exit::BadInput);
            }
            let mut text = String::new();
            for (row, &index) in logits.rows().into_iter().zip(batch.indices) {
                let sample = &part.samples[index];
                let best = best(row, self.top.max(5));
                score.add(&sample.target, &best);
                let names = best.iter().take(self.top).map(|&(class, share)| {
                    format!("{} {:.1} %", listing.class_names[class], 100.0 * share)
                });
                let names = names.collect::<Vec<_>>().join("; ");
                text += &tsv([&sample.name, &label(&listing, &sample.target), &names]);
            }
            output::print(&text)
        })?;
        tell(&report, quiet);
        let aside = listing.quarantine.len();
        let mut text = score.text();
        if let Some(first) = listing.quarantine.first() {
            text += &format!("{aside} set aside, the first: {}: {}\n", first.name, first.reason);
        }
        output::print(&text)?;
        let all = report.quarantined.is_empty() && aside == 0;
        Ok(if all { Exit::Done } else { Exit::SomeFailed })
    }
}

/// The `count` classes of the highest logits, best first, equal ones by index, with their softmax.
fn best(logits: ArrayView1<'_, f32>, count: usize) -> Vec<(usize, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |x: f32| f64::from(x - max).exp();
    let total: f64 = logits.iter().map(|&x| exp(x)).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order.into_iter().take(count).map(|class| (class, exp(logits[class]) / total)).collect()
}

/// How often the label was the first guess, and among the first five.
#[derive(Default)]
struct Score {
    images: usize,
    first: usize,
    five: usize,
}

impl Score {
    fn add(&mut self, target: &Target, best: &[(usize, f64)]) {
        let Target::Class(class) = target else { return };
        self.images += 1;
        self.first += usize::from(best.first().is_some_and(|(guess, _)| guess == class));
        self.five += usize::from(best.iter().take(5).any(|(guess, _)| guess == class));
    }

    fn text(&self) -> String {
        if self.images == 0 {
            return "no image has one label: nothing to score\n".to_owned();
        }
        let share = |right: usize| {
            let interval = wilson_interval(right, self.images);
            format!(
                "{:.1} % [{:.1}, {:.1}] ({right} of {})",
                100.0 * right as f64 / self.images as f64,
                100.0 * interval.low,
                100.0 * interval.high,
                self.images
            )
        };
        format!("top-1 {}\ntop-5 {}\n", share(self.first), share(self.five))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equal_ones_by_index() {
        let logits = ndarray::arr1(&[0.0, 1.0, 1.0, -1.0]);
        let found = best(logits.view(), 3);
        assert_eq!(found.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [1, 2, 0]);
        let e = std::f64::consts::E;
        assert!((found[0].1 - e / (1.0 + 2.0 * e + 1.0 / e)).abs() < 1e-6);
    }

    #[test]
    fn only_images_with_one_label_are_scored() {
        let mut score = Score::default();
        score.add(&Target::Unlabelled, &[(1, 0.5)]);
        assert_eq!(score.text(), "no image has one label: nothing to score\n");
        score.add(&Target::Class(2), &[(1, 0.5), (2, 0.5)]);
        score.add(&Target::Class(1), &[(1, 0.5), (2, 0.5)]);
        assert!(score.text().starts_with("top-1 50.0 %"), "{}", score.text());
        assert!(score.text().contains("top-5 100.0 %"));
    }
}
