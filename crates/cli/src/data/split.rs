//! `nearkin data split`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use nearkin_bench::files::write_whole;
use nearkin_data::{
    Holdout, ListedPart, Split, draw_labels, draw_per_class, stratified_folds, stratified_split,
};

use super::{SPLITS, Source, label, named, tsv};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::{Ended, output};

/// Split a part of a data set by class and seed, and write the split as a table.
///
/// The table is separated by tabs: index in the part, path, label, and `split` (train or
/// validation) or `fold` (the fold that holds the image out). With --labels the images that are not
/// drawn have no label. Put beside the data, it is a manifest that nearkin reads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin data split photos/ --stratified 0.2 -o photos/split.tsv\n  \
    nearkin data split mnist/ --labels 100 --seed 1 -o few.tsv\n  \
    nearkin data split mnist/ --folds 5 -o folds.tsv")]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,

    #[command(flatten)]
    how: How,

    /// The part to split.
    #[arg(long, default_value = "train", value_parser = named(SPLITS, Split::as_str))]
    part: Split,

    /// Seed of the draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,

    /// The file to write; `-` for standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Hold out this share of every class.
    #[arg(long, value_name = "SHARE")]
    stratified: Option<f64>,

    /// Keep this many images of every class.
    #[arg(long, value_name = "N")]
    per_class: Option<usize>,

    /// Make this many folds with the same share of every class.
    #[arg(long, value_name = "K")]
    folds: Option<usize>,

    /// Keep the labels of this many images, the same number of every class, as NumPy's
    /// RandomState draws them.
    #[arg(long, value_name = "N")]
    labels: Option<usize>,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let listing = self.source.open()?;
        let part = listing.part(self.part).with_context(|| {
            let there = listing.parts.iter().map(|part| part.split.as_str());
            let there = there.collect::<Vec<_>>().join(", ");
            format!("expected a part {}, found {there}", self.part)
        });
        let part = part.or_exit(Exit::Usage)?;
        let labels = part
            .classes()
            .ok_or_else(|| anyhow!("{}: expected one class for each image", part.split));
        let labels = labels.or_exit(Exit::BadInput)?;
        let (column, cells) = self.cells(&labels, listing.class_names.len())?;
        let mut text = tsv(["index", "path", "label", column]);
        for (index, (sample, cell)) in part.samples.iter().zip(&cells).enumerate() {
            let label = match cell.labelled {
                true => label(&listing, &sample.target),
                false => String::new(),
            };
            text += &tsv([&index.to_string(), &sample.name, &label, &cell.text]);
        }
        if self.output.as_os_str() == "-" {
            output::print(&text)?;
        } else {
            write_whole(&self.output, text.as_bytes()).or_exit(Exit::NotWritable)?;
            if !quiet {
                output::print(&summary(part, &cells))?;
            }
        }
        Ok(Exit::Done)
    }

    /// The last column's name, and what each image has in it.
    fn cells(
        &self,
        labels: &[usize],
        classes: usize,
    ) -> Result<(&'static str, Vec<Cell>), Failure> {
        let seed = u64::from(self.seed);
        let How { stratified, per_class, folds, labels: count } = &self.how;
        let holdout = |split: Holdout| {
            let mut cells = vec![Cell::labelled("train"); labels.len()];
            split.held_out.iter().for_each(|&i| cells[i] = Cell::labelled("validation"));
            ("split", cells)
        };
        if let Some(share) = stratified {
            return stratified_split(labels, *share, seed).map(holdout).or_exit(Exit::Usage);
        }
        if let Some(count) = per_class {
            return draw_per_class(labels, *count, seed).map(holdout).or_exit(Exit::Usage);
        }
        if let Some(folds) = folds {
            let folds = stratified_folds(labels, *folds, seed).or_exit(Exit::Usage)?;
            let mut cells = vec![Cell::labelled(""); labels.len()];
            for (number, fold) in folds.iter().enumerate() {
                let cell = Cell::labelled(&number.to_string());
                fold.held_out.iter().for_each(|&i| cells[i] = cell.clone());
            }
            return Ok(("fold", cells));
        }
        let count = count.context("expected a way to split").or_exit(Exit::Usage)?;
        let drawn = draw_labels(labels, classes, count, self.seed).or_exit(Exit::Usage)?;
        let mut cells = vec![Cell { text: "train".to_owned(), labelled: false }; labels.len()];
        drawn.iter().for_each(|&i| cells[i].labelled = true);
        Ok(("split", cells))
    }
}

#[derive(Clone)]
struct Cell {
    text: String,
    labelled: bool,
}

impl Cell {
    fn labelled(text: &str) -> Self {
        Self { text: text.to_owned(), labelled: true }
    }
}

/// How many images went where.
fn summary(part: &ListedPart, cells: &[Cell]) -> String {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    cells.iter().for_each(|cell| *counts.entry(&cell.text).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let labelled = cells.iter().filter(|cell| cell.labelled).count();
    format!("{}: {}; {labelled} with a label\n", part.split, counts.join(", "))
}
