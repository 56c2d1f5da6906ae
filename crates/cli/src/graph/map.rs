//! `nearkin graph map`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use nearkin_bench::files::write_whole;
use nearkin_graph::GraphFile;
use nearkin_graph::map::{self, Edge, Format, MapConfig, Scatter, Style};

use super::points;
use crate::exit::{Exit, OrExit as _};
use crate::{Ended, output};

/// Draw a graph so that neighbours are near, coloured by label.
///
/// The kind of picture follows the name of the output: .html can be explored in a browser and needs
/// no network, .svg and .png are still. In three dimensions HTML can be turned; the others show the
/// first two axes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin graph map images.graph --labels labels.txt -o map.html\n  \
    nearkin graph map images.graph -o map.png --seed 3")]
pub(crate) struct Arguments {
    /// The graph's file.
    #[arg(value_name = "FILE")]
    graph: PathBuf,

    /// Labels, a number on each line, -1 for none.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// The picture to write: .html, .svg or .png.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Dimensions of the map, 2 or 3.
    #[arg(long, default_value_t = 2)]
    dimensions: usize,

    /// Decides the start and which pairs are repelled.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let shown = self.output.display();
        let extension = self.output.extension().and_then(|extension| extension.to_str());
        let format = extension
            .and_then(Format::from_extension)
            .ok_or_else(|| anyhow!("{shown}: expected a name in .html, .svg or .png"))
            .or_exit(Exit::Usage)?;
        let file = GraphFile::open(&self.graph).or_exit(Exit::BadInput)?;
        let graph = file.view();
        let labels = match &self.labels {
            Some(path) => points::labels(path)?,
            None => vec![None; graph.len()],
        };
        // Points without a label are a class of their own, after all others.
        let count = labels.iter().flatten().max().map_or(0, |highest| highest + 1);
        let labels: Vec<usize> = labels.into_iter().map(|label| label.unwrap_or(count)).collect();
        let names = (0..count).map(|class| class.to_string()).chain(["no label".to_owned()]);
        let mut classes: Vec<String> = names.collect();
        if !labels.contains(&count) {
            classes.truncate(count);
        }

        let edges: Vec<Edge> = graph
            .edges()
            .map(|arc| Edge {
                source: arc.source as usize,
                target: arc.target as usize,
                weight: arc.weight,
            })
            .collect();
        let config =
            MapConfig { dimensions: self.dimensions, seed: self.seed, ..MapConfig::default() };
        let map = map::layout(graph.len(), &edges, &config).or_exit(Exit::BadInput)?;
        let scatter = Scatter {
            positions: map.positions.view(),
            labels: &labels,
            classes: &classes,
            names: file.names().unwrap_or_default(),
            title: &file.info().made,
        };
        let bytes = map::draw(&scatter, &Style::default(), format).or_exit(Exit::BadInput)?;
        write_whole(&self.output, &bytes)
            .with_context(|| format!("{shown}: cannot write"))
            .or_exit(Exit::NotWritable)?;
        output::print(&format!(
            "{shown}: {} nodes, {} pairs, average distortion {:.4} after {} iterations\n",
            graph.len(),
            map.pairs.len(),
            map.average_distortion,
            map.iterations
        ))?;
        Ok(Exit::Done)
    }
}
