//! The graph of a training, from wherever it comes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use ndarray::Array2;
use nearkin_graph::{
    DatasetHash, Distance, Engine, Graph, GraphFile, GraphView, Neighbours, NodeNames, Symmetry,
    Unknown, Weighting, knn_graph, mutual, nearest_neighbours, read_npy, read_tsv_edges,
    same_label_graph, symmetrised,
};
use nearkin_runtime::{Options, Session};
use nearkin_train::Watch;

use super::images::Images;
use super::job::{GraphSource, Job, sha256};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::map_file::map;

/// What there is before the first step.
pub(super) enum Source {
    None,
    /// Built by the training itself, of k neighbours.
    Own(usize),
    Graph(Graph),
}

pub(super) fn load(
    job: &Job,
    source: &GraphSource,
    images: &Images,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Source, Failure> {
    let n = images.names.len();
    let graph = match source {
        GraphSource::Own(k) => return Ok(Source::Own(*k)),
        GraphSource::Knn(k) => {
            let graph = nearest(job, *k, images, options)?;
            symmetrised(graph.view(), Symmetry::Max)
        }
        GraphSource::Mutual(k) => mutual(nearest(job, *k, images, options)?.view()),
        GraphSource::SameLabel(most) => {
            same_label_graph(&images.labels, *most, job.recipe.seed).or_exit(Exit::Usage)?
        }
        GraphSource::Tsv(path) => {
            let names = NodeNames::new(&images.names).or_exit(Exit::BadInput)?;
            let edges = std::fs::read(path)
                .map_err(anyhow::Error::from)
                .and_then(|bytes| Ok(read_tsv_edges(&bytes, &names, Unknown::Count)?))
                .with_context(|| format!("{}: cannot read edges", path.display()))
                .or_exit(Exit::BadInput)?;
            if edges.unknown > 0 {
                watch.note(&format!(
                    "{}: {} edges left out, since an end is no training image",
                    path.display(),
                    edges.unknown
                ));
            }
            edges.graph
        }
        GraphSource::File(path) => of_file(path, images)?,
    };
    watch.note(&format!("graph: {n} images, {} edges", graph.view().edge_count()));
    Ok(Source::Graph(graph))
}

/// The k nearest training images of each, by Euclidean distance of pixels or cosine of embeddings.
fn nearest(job: &Job, k: usize, images: &Images, options: &Options) -> Result<Graph, Failure> {
    let (points, distance) = match &job.graph_from {
        Some(path) if path.as_os_str() != "pixels" => {
            (embeddings(path, images, options)?, Distance::Cosine)
        }
        _ => {
            let threads = options.threads.map_or(2, std::num::NonZero::get);
            (images.pixels(threads)?, Distance::Euclidean)
        }
    };
    // A suite asks for the same neighbours run after run.
    static LAST: Mutex<Option<(String, Neighbours)>> = Mutex::new(None);
    let key = format!("{k} {distance:?} {}", DatasetHash::of_points(points.view()));
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let near = match last.take() {
        Some((known, near)) if known == key => near,
        _ => nearest_neighbours(points.view(), k, distance, Engine::Auto).or_exit(Exit::Usage)?,
    };
    let graph = knn_graph(&near, distance, Weighting::Constant).or_exit(Exit::Usage);
    *last = Some((key, near));
    graph
}

/// One row for each training image, from a file of rows or by a model.
fn embeddings(path: &Path, images: &Images, options: &Options) -> Result<Array2<f32>, Failure> {
    let n = images.names.len();
    let shown = path.display();
    let points = if path.extension().is_some_and(|ending| ending == "npy") {
        let bytes = map(path).or_exit(Exit::BadInput)?;
        read_npy(&bytes)
            .with_context(|| format!("{shown}: cannot read points"))
            .or_exit(Exit::BadInput)?
    } else {
        let mut session = Session::load(path, options).or_exit(Exit::BadInput)?;
        let config =
            nearkin_data::LoaderConfig { strict: true, ..nearkin_data::LoaderConfig::new(64) };
        let loader = nearkin_data::Loader::new(std::sync::Arc::clone(&images.plain), config)
            .or_exit(Exit::Usage)?;
        let mut epoch = loader.epoch(0).or_exit(Exit::Unavailable)?;
        let mut rows: Option<Array2<f32>> = None;
        while let Some(batch) = epoch.next_batch().or_exit(Exit::BadInput)? {
            let found = session
                .embed(batch.images)
                .with_context(|| {
                    format!("{shown}: cannot embed images prepared for the trained network")
                })
                .or_exit(Exit::BadInput)?;
            let all = rows.get_or_insert_with(|| Array2::zeros((n, found.ncols())));
            for (row, &index) in found.outer_iter().zip(batch.indices) {
                all.row_mut(index).assign(&row);
            }
        }
        rows.unwrap_or_default()
    };
    if points.nrows() != n {
        let error = anyhow!(
            "{shown}: expected {n} rows, one for each training image, found {}",
            points.nrows()
        );
        return Err(error).or_exit(Exit::BadInput);
    }
    Ok(points)
}

/// A graph file, whose nodes must be the training images.
fn of_file(path: &Path, images: &Images) -> Result<Graph, Failure> {
    let file = GraphFile::open(path).or_exit(Exit::BadInput)?;
    let n = images.names.len();
    let view = file.view();
    let other = |what: String| {
        let error = anyhow!("{}: a graph over other images: {what}", path.display());
        Err(error).or_exit(Exit::BadInput)
    };
    if view.len() != n {
        return other(format!(
            "expected {n} nodes, one for each training image, found {}",
            view.len()
        ));
    }
    if let Some(names) = file.names() {
        let differing = names.iter().zip(&images.names).position(|(a, b)| a != b);
        if let Some(at) = differing {
            return other(format!(
                "node {at}: expected {:?}, found {:?}",
                images.names[at], names[at]
            ));
        }
    } else if file.info().made.ends_with(PIXELS)
        && let Some(found) = file.info().dataset
    {
        let levels = levels(images).map(|points| DatasetHash::of_points(points.view()));
        if let Some(expected) = levels.filter(|expected| *expected != found) {
            return other(format!("expected the pixels {expected}, found {found}"));
        }
    }
    Ok(view.to_graph())
}

/// How the description of a graph of a data set's pixels ends.
pub(crate) const PIXELS: &str = " of pixels";

/// The training images' levels over 255, if they lie in memory: what `nearkin graph build` takes.
fn levels(images: &Images) -> Option<Array2<f32>> {
    let samples = &images.train_samples.samples;
    let mut values = Vec::new();
    for sample in samples.iter() {
        let nearkin_data::Pixels::Levels { images, index } = &sample.pixels else { return None };
        let image = images.index_axis(ndarray::Axis(0), *index);
        values.extend(image.iter().map(|&level| f32::from(level) / 255.0));
    }
    Array2::from_shape_vec((samples.len(), values.len() / samples.len().max(1)), values).ok()
}

/// Of a graph's arcs and weights.
pub(super) fn hash(view: GraphView<'_>) -> String {
    let mut bytes = Vec::new();
    view.offsets().iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    view.targets().iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    view.weights().iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    sha256(&bytes)
}
