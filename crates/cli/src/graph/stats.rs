//! `nearkin graph stats`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use nearkin_bench::files::write_whole;
use nearkin_graph::{
    DatasetHash, GraphFile, GraphInfo, GraphStatistics, edge_lengths, graph_statistics,
};
use serde::Serialize;

use super::points::{self, Which};
use crate::exit::{Exit, OrExit as _};
use crate::{Ended, output};

/// Show what a graph is like: degrees, components, hubs, label purity, edge lengths.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin graph stats images.graph\n  \
    nearkin graph stats mnist.graph --points data/mnist --svg mnist.svg\n  \
    nearkin graph stats images.graph --labels labels.txt --json | jq .purity.share")]
pub(crate) struct Arguments {
    /// The graph's file.
    #[arg(value_name = "FILE")]
    graph: PathBuf,

    /// The points the graph was made of, for edge lengths; with a data set also for labels. Other points
    /// than those are refused.
    #[arg(long, value_name = "POINTS")]
    points: Option<PathBuf>,

    /// The images of a data set to take.
    #[arg(long, value_enum, default_value_t = Which::Train)]
    part: Which,

    /// Labels, a number on each line, -1 for none.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Also draw a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    graph: String,
    #[serde(flatten)]
    info: &'a GraphInfo,
    #[serde(flatten)]
    statistics: &'a GraphStatistics,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let points =
            self.points.as_deref().map(|path| points::read(path, self.part)).transpose()?;
        let file = match &points {
            Some(points) => GraphFile::open_for(&self.graph, DatasetHash::of_points(points.view())),
            None => GraphFile::open(&self.graph),
        };
        let file = file.or_exit(Exit::BadInput)?;
        let labels = points::labels_of(self.labels.as_ref(), points.as_ref())?;
        let lengths = match &points {
            None => None,
            Some(points) => {
                let name = file.info().distance.as_deref().unwrap_or("euclidean");
                let distance = points::distance(name)
                    .map_err(|expected| anyhow!("distance of the graph: {expected}, found {name}"))
                    .or_exit(Exit::BadInput)?;
                let lengths = edge_lengths(file.view(), points.view(), distance);
                Some(lengths.or_exit(Exit::BadInput)?)
            }
        };
        let statistics = graph_statistics(file.view(), labels.as_deref(), lengths.as_deref())
            .or_exit(Exit::BadInput)?;
        let graph = self.graph.display().to_string();
        if let Some(path) = &self.svg {
            let title = format!("{graph}: {}", file.info().made);
            write_whole(path, statistics.to_svg(&title).as_bytes())
                .with_context(|| format!("{}: cannot write", path.display()))
                .or_exit(Exit::NotWritable)?;
        }
        if self.json {
            let report = Report { graph, info: file.info(), statistics: &statistics };
            let json = serde_json::to_string_pretty(&report).or_exit(Exit::SomeFailed)?;
            output::print(&(json + "\n"))?;
        } else {
            output::print(&format!(
                "{:<22}{}\n{}",
                "made by",
                file.info().made,
                statistics.to_text()
            ))?;
        }
        Ok(Exit::Done)
    }
}
