//! `nearkin graph build`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use nearkin_graph::{
    DatasetHash, Distance, Graph, GraphInfo, GraphView, NodeNames, OutsideEdges, ParquetColumns,
    Symmetry, Unknown, Weighting, capped, cosine_threshold_graph, epsilon_graph, intersection,
    knn_graph, mutual, read_parquet_edges, read_tsv_edges, same_label_graph, save_graph,
    symmetrised, union, within_parts,
};

use super::points::{self, Points, Which};
use super::search::{self, Search};
use crate::Ended;
use crate::exit::{Exit, Failure, OrExit as _};

/// Build a graph from points, labels and outside edges.
///
/// At least one source of edges is needed; the edges of several are joined, weights added.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin graph build embeddings.npy --knn 15 --symmetrise union -o images.graph\n  \
    nearkin graph build data/mnist --part train --knn 10 --mutual --weight gaussian=4 -o mnist.graph\n  \
    nearkin graph build large.npy --knn 10 --memory 4G -o large.graph   (go on after a kill: run it again)\n  \
    nearkin graph build huge.npy --knn 10 --engine descent -o huge.graph\n  \
    nearkin graph build e.npy --cosine-threshold 0.9 --max-neighbours 20 -o near.graph\n  \
    nearkin graph build e.npy --knn 10 --tsv clicks.tsv --names ids.txt --factor 1,0.5 -o both.graph\n\n\
    Sources count in this order: --knn, --epsilon, --cosine-threshold, --same-label, --tsv, --parquet.")]
pub(crate) struct Arguments {
    /// An .npy file of [n, d] (f32 or f64), or a folder with a data set, whose pixels are the points.
    #[arg(value_name = "POINTS")]
    points: PathBuf,

    /// The images of a data set to take.
    #[arg(long, value_enum, default_value_t = Which::Train)]
    part: Which,

    /// Join every point to its K nearest.
    #[arg(long, value_name = "K")]
    knn: Option<usize>,

    /// Keep only edges that both ends have.
    #[arg(long, conflicts_with = "symmetrise")]
    mutual: bool,

    /// Keep edges that either end has, in both directions: union keeps the weight that is there, max the
    /// larger, mean counts a missing one as 0.
    #[arg(long, value_enum, value_name = "RULE")]
    symmetrise: Option<Rule>,

    /// Join points at most so far apart.
    #[arg(long, value_name = "DISTANCE")]
    epsilon: Option<f64>,

    /// Join points whose cosine is at least this, as NSL's build_graph does.
    #[arg(long, value_name = "COSINE")]
    cosine_threshold: Option<f64>,

    /// Join points of one label, each to at most M others.
    #[arg(long, value_name = "M")]
    same_label: Option<usize>,

    /// Labels for --same-label: a number on each line, -1 for none. The default is the data set's.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Edges from a file whose lines hold source, target and maybe weight, with tabs between.
    #[arg(long, value_name = "FILE")]
    tsv: Option<PathBuf>,

    /// Edges from a Parquet file with columns source, target and perhaps weight.
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,

    /// The points' names in outside files, one on each line [default: those of the images that `nearkin embed` left
    /// beside the points, else 0, 1, 2 and so on].
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// Leave out and count outside edges whose ends are no points, instead of refusing the file.
    #[arg(long)]
    skip_unknown: bool,

    /// constant, cosine, gaussian=SIGMA, self-tuned[=NEIGHBOUR] or rank.
    #[arg(long, value_name = "WEIGHT", default_value = "constant", value_parser = weighting)]
    weight: Weighting,

    /// euclidean, squared-euclidean, cosine, manhattan, inner-product, histogram-intersection or
    /// chi-squared.
    #[arg(long, value_name = "NAME", default_value = "euclidean", value_parser = points::distance)]
    distance: Distance,

    /// A factor for the weights of each source, in their order; the default is 1 for each.
    #[arg(long, value_name = "F,…", value_delimiter = ',')]
    factor: Vec<f32>,

    /// Keep only edges that all sources have.
    #[arg(long)]
    intersect: bool,

    /// Keep at most so many edges of a point, the heaviest.
    #[arg(long, value_name = "M")]
    max_neighbours: Option<usize>,

    /// Remove edges between training and test images; for --part all.
    #[arg(long)]
    guard: bool,

    /// How neighbours are searched.
    #[arg(long, value_enum, default_value_t = Search::Auto)]
    engine: Search,

    /// The memory to keep to, the points included: a number with K, M, G or T. A search for neighbours
    /// works in blocks of that size; what --epsilon and --cosine-threshold find is not bounded.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory: Option<u64>,

    /// Seed of the edges drawn by --same-label.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The graph's file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    Union,
    Max,
    Mean,
}

fn weighting(text: &str) -> Result<Weighting, String> {
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    match (name, value) {
        ("constant", None) => Ok(Weighting::Constant),
        ("cosine", None) => Ok(Weighting::Cosine),
        ("rank", None) => Ok(Weighting::Rank),
        ("gaussian", Some(value)) => match value.parse() {
            Ok(sigma) => Ok(Weighting::Gaussian { sigma }),
            Err(_) => Err(format!("expected a width, found {value:?}")),
        },
        ("self-tuned", None) => Ok(Weighting::SelfTuned { neighbour: 7 }),
        ("self-tuned", Some(value)) => match value.parse() {
            Ok(neighbour) => Ok(Weighting::SelfTuned { neighbour }),
            Err(_) => Err(format!("expected the number of a neighbour, found {value:?}")),
        },
        _ => {
            Err("expected constant, cosine, gaussian=SIGMA, self-tuned[=NEIGHBOUR] or rank".into())
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    let unit = units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 =
        number.parse().map_err(|_| "expected a number with K, M, G or T, as 4G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "expected fewer bytes".to_owned())
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let points = points::read(&self.points, self.part)?;
        let n = points.view().nrows();
        let names = match &self.names {
            Some(path) => Some(points::lines(path)?),
            None => points::names_beside(&self.points, n),
        };
        let mut said = Vec::new();
        let sources = self.sources(&points, names.as_deref(), quiet, &mut said)?;
        let mut graph = self.combine(&sources)?;
        let mut made: Vec<String> = sources.iter().map(|(name, _)| name.clone()).collect();
        if self.guard {
            let before = graph.view().arc_count();
            graph = within_parts(graph.view(), &points.parts).or_exit(Exit::Usage)?;
            let removed = before - graph.view().arc_count();
            said.push(format!("guard: {removed} arcs between training and test images removed"));
            made.push("guard".to_owned());
        }
        if let Some(most) = self.max_neighbours {
            graph = capped(graph.view(), most);
            made.push(format!("max-neighbours {most}"));
        }
        let of = if self.points.is_dir() { crate::train::PIXELS } else { "" };
        let info = GraphInfo {
            made: made.join(", ") + of,
            distance: Some(self.distance.as_str().to_owned()),
            dataset: Some(DatasetHash::of_points(points.view())),
        };
        save_graph(&self.output, graph.view(), names.as_deref(), &info)
            .or_exit(Exit::NotWritable)?;
        let (edges, arcs) = (graph.view().edge_count(), graph.view().arc_count());
        said.push(format!("{}: {n} nodes, {edges} edges, {arcs} arcs", self.output.display()));
        if !quiet {
            // With standard error gone there is nobody left to tell.
            said.iter().for_each(|line| drop(writeln!(std::io::stderr(), "{line}")));
        }
        Ok(Exit::Done)
    }

    fn sources(
        &self,
        points: &Points,
        names: Option<&[String]>,
        quiet: bool,
        said: &mut Vec<String>,
    ) -> Result<Vec<(String, Graph)>, Failure> {
        let values = points.view();
        let mut sources = Vec::new();
        if let Some(k) = self.knn {
            let (near, recall) = search::neighbours(
                values,
                k,
                self.distance,
                self.engine,
                self.memory,
                &self.output,
                quiet,
            )?;
            said.extend(recall);
            let graph = knn_graph(&near, self.distance, self.weight).or_exit(Exit::Usage)?;
            sources.push((format!("knn {k} {}", self.weight), graph));
        }
        if let Some(epsilon) = self.epsilon {
            let graph = epsilon_graph(values, epsilon, self.distance, self.weight);
            sources
                .push((format!("epsilon {epsilon} {}", self.weight), graph.or_exit(Exit::Usage)?));
        }
        if let Some(threshold) = self.cosine_threshold {
            let graph = cosine_threshold_graph(values, threshold, self.weight);
            let name = format!("cosine-threshold {threshold} {}", self.weight);
            sources.push((name, graph.or_exit(Exit::Usage)?));
        }
        if let Some(most) = self.same_label {
            let labels = points::labels_of(self.labels.as_ref(), Some(points))?
                .context("--same-label: expected --labels, since the points have none")
                .or_exit(Exit::Usage)?;
            expect_one_each("labels", labels.len(), values.nrows())?;
            let graph = same_label_graph(&labels, most, self.seed).or_exit(Exit::BadInput)?;
            sources.push((format!("same-label {most}, seed {}", self.seed), graph));
        }
        self.outside(values.nrows(), names, &mut sources, said)?;
        if sources.is_empty() {
            let flags = "--knn, --epsilon, --cosine-threshold, --same-label, --tsv or --parquet";
            return Err(anyhow!("no edges: expected at least one of {flags}")).or_exit(Exit::Usage);
        }
        for (name, graph) in &mut sources {
            if self.mutual {
                *graph = mutual(graph.view());
                *name += " mutual";
            }
            if let Some(rule) = self.symmetrise {
                let (rule, said) = match rule {
                    Rule::Union => (Symmetry::Union, " union"),
                    Rule::Max => (Symmetry::Max, " max"),
                    Rule::Mean => (Symmetry::Mean, " mean"),
                };
                *graph = symmetrised(graph.view(), rule);
                *name += said;
            }
        }
        Ok(sources)
    }

    fn outside(
        &self,
        n: usize,
        names: Option<&[String]>,
        sources: &mut Vec<(String, Graph)>,
        said: &mut Vec<String>,
    ) -> Result<(), Failure> {
        if self.tsv.is_none() && self.parquet.is_none() {
            return Ok(());
        }
        let numbers: Vec<String>;
        let names = match names {
            Some(names) => names,
            None => {
                numbers = (0..n).map(|node| node.to_string()).collect();
                &numbers
            }
        };
        expect_one_each("names", names.len(), n)?;
        let names = NodeNames::new(names).or_exit(Exit::BadInput)?;
        let unknown = if self.skip_unknown { Unknown::Count } else { Unknown::Refuse };
        let mut add =
            |path: &PathBuf, read: &dyn Fn(Vec<u8>) -> anyhow::Result<OutsideEdges>| {
                let edges = std::fs::read(path)
                    .map_err(anyhow::Error::from)
                    .and_then(read)
                    .with_context(|| format!("{}: cannot read edges", path.display()))
                    .or_exit(Exit::BadInput)?;
                let arcs = edges.graph.view().arc_count();
                said.push(format!(
                "{}: {arcs} arcs; left out: {} with an unknown end, {} to themselves, {} repeated",
                path.display(), edges.unknown, edges.loops, edges.repeated
            ));
                sources.push((format!("edges of {}", path.display()), edges.graph));
                Ok::<(), Failure>(())
            };
        if let Some(path) = &self.tsv {
            add(path, &|bytes| Ok(read_tsv_edges(&bytes, &names, unknown)?))?;
        }
        if let Some(path) = &self.parquet {
            add(path, &|bytes| {
                Ok(read_parquet_edges(bytes, &names, ParquetColumns::default(), unknown)?)
            })?;
        }
        Ok(())
    }

    fn combine(&self, sources: &[(String, Graph)]) -> Result<Graph, Failure> {
        if !self.factor.is_empty() && self.factor.len() != sources.len() {
            let (expected, found) = (sources.len(), self.factor.len());
            let error =
                anyhow!("--factor: expected {expected}, one per source of edges, found {found}");
            return Err(error).or_exit(Exit::Usage);
        }
        let factor = |place: usize| self.factor.get(place).copied().unwrap_or(1.0);
        let graphs: Vec<(GraphView<'_>, f32)> =
            sources.iter().enumerate().map(|(i, (_, graph))| (graph.view(), factor(i))).collect();
        if self.intersect { intersection(&graphs) } else { union(&graphs) }.or_exit(Exit::Usage)
    }
}

fn expect_one_each(what: &str, found: usize, points: usize) -> Result<(), Failure> {
    if found == points {
        return Ok(());
    }
    Err(anyhow!("{what}: expected {points}, one per point, found {found}")).or_exit(Exit::BadInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_sizes_are_read_as_they_are_written() {
        assert_eq!(weighting("gaussian=0.5"), Ok(Weighting::Gaussian { sigma: 0.5 }));
        assert_eq!(weighting("self-tuned"), Ok(Weighting::SelfTuned { neighbour: 7 }));
        assert_eq!(weighting("self-tuned=3"), Ok(Weighting::SelfTuned { neighbour: 3 }));
        for wrong in ["gaussian", "gaussian=x", "constant=1", "cosines", ""] {
            assert!(weighting(wrong).is_err(), "{wrong}");
        }
        assert_eq!((bytes("4G"), bytes("512")), (Ok(4 << 30), Ok(512)));
        for wrong in ["", "G", "4X", "-1", "99999999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
