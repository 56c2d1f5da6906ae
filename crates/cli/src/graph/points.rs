//! The points of a graph: an `.npy` file, or the pixels of a data set.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use ndarray::{Array2, ArrayView2, aview2};
use nearkin_data::{Dataset, Part};
use nearkin_graph::{Distance, npy_view, read_npy};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::map_file::map;

/// Points `[n, d]`, and what else their source knows of them.
pub(super) struct Points {
    values: Values,
    /// A label for each point, where the source has labels.
    pub(super) labels: Option<Vec<Option<usize>>>,
    /// Which part of the data set a point is of.
    pub(super) parts: Vec<usize>,
}

/// Where the numbers are.
enum Values {
    Owned(Array2<f32>),
    /// An .npy file whose numbers can be used where they lie.
    Mapped(memmap2::Mmap),
}

impl Points {
    /// The points, `[n, d]`.
    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        match &self.values {
            Values::Owned(values) => values.view(),
            // Looked at when it was mapped: it is there.
            Values::Mapped(bytes) => {
                npy_view(bytes).ok().flatten().unwrap_or_else(|| aview2::<f32, 0>(&[]))
            }
        }
    }
}

/// Which images of a data set to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Which {
    Train,
    Test,
    /// Training images first, then test images.
    All,
}

/// Reads an `.npy` file of `[n, d]`, or a data set's pixels divided by 255.
pub(super) fn read(path: &Path, which: Which) -> Result<Points, Failure> {
    if path.is_dir() {
        return pixels(path, which).or_exit(Exit::BadInput);
    }
    let values = map(path)
        .and_then(|bytes| {
            let in_place = npy_view(&bytes)?.is_some();
            Ok(if in_place { Values::Mapped(bytes) } else { Values::Owned(read_npy(&bytes)?) })
        })
        .with_context(|| format!("{}: cannot read points", path.display()))
        .or_exit(Exit::BadInput)?;
    let mut points = Points { values, labels: None, parts: Vec::new() };
    points.parts = vec![0; points.view().nrows()];
    Ok(points)
}

fn pixels(path: &Path, which: Which) -> anyhow::Result<Points> {
    let dataset = Dataset::load(path)?;
    let wanted: Vec<(&str, Option<Part>)> = match which {
        Which::Train => vec![("training", dataset.train)],
        Which::Test => vec![("test", dataset.test)],
        Which::All => vec![("training", dataset.train), ("test", dataset.test)],
    };
    let (mut values, mut labels, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (name, part)) in wanted.into_iter().enumerate() {
        let part =
            part.ok_or_else(|| anyhow!("{}: expected a {name} part, found none", path.display()))?;
        values.extend(part.images().iter().map(|&level| f32::from(level) / 255.0));
        labels.extend(part.labels().iter().map(|&label| Some(label)));
        parts.resize(labels.len(), place);
    }
    // Every part is of one shape and not empty: the loader's promise.
    let width = values.len() / labels.len().max(1);
    let values = Array2::from_shape_vec((labels.len(), width), values)?;
    Ok(Points { values: Values::Owned(values), labels: Some(labels), parts })
}

/// The names of `n` images that `nearkin embed` left beside their embeddings, if it did.
pub(super) fn names_beside(path: &Path, n: usize) -> Option<Vec<String>> {
    let table = std::fs::File::open(crate::model::beside(path, "tsv")).ok()?;
    let rows = nearkin_data::read_manifest_rows(table).ok()?;
    let names: Vec<String> = rows.into_iter().map(|row| row.path).collect();
    (names.len() == n).then_some(names)
}

/// A file's lines, without empty ones at its end.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot read lines", path.display()))
        .or_exit(Exit::BadInput)?;
    Ok(text.trim_end_matches(['\n', '\r']).lines().map(str::to_owned).collect())
}

/// A label for each line: a number of at least 0, or −1 or nothing for none.
pub(super) fn labels(path: &Path) -> Result<Vec<Option<usize>>, Failure> {
    let label = |(line, text): (usize, &String)| match text.trim() {
        "" | "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let place = format!("{}, line {}", path.display(), line + 1);
            anyhow!("{place}: expected a label of at least 0, or -1 for none, found {text:?}")
        }),
    };
    lines(path)?.iter().enumerate().map(label).collect::<Result<_, _>>().or_exit(Exit::BadInput)
}

/// `euclidean`, `cosine`, …
pub(super) fn distance(text: &str) -> Result<Distance, String> {
    const ALL: [Distance; 7] = [
        Distance::Euclidean,
        Distance::SquaredEuclidean,
        Distance::Cosine,
        Distance::Manhattan,
        Distance::InnerProduct,
        Distance::HistogramIntersection,
        Distance::ChiSquared,
    ];
    let known = || ALL.map(Distance::as_str).join(", ");
    let found = ALL.into_iter().find(|distance| distance.as_str() == text);
    found.ok_or_else(|| format!("expected {}", known()))
}

/// Labels from a file if there is one, from the points otherwise.
pub(super) fn labels_of(
    file: Option<&PathBuf>,
    points: Option<&Points>,
) -> Result<Option<Vec<Option<usize>>>, Failure> {
    match file {
        Some(path) => labels(path).map(Some),
        None => Ok(points.and_then(|points| points.labels.clone())),
    }
}
