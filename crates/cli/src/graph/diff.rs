//! `nearkin graph diff`.

use std::path::PathBuf;

use nearkin_graph::{GraphFile, compare_graphs};

use crate::exit::{Exit, OrExit as _};
use crate::{Ended, output};

/// Compare two graphs over the same points, arc by arc.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin graph diff exact.graph approximate.graph\n  \
    nearkin graph diff k10.graph k15.graph --json | jq .jaccard")]
pub(crate) struct Arguments {
    /// A graph's file.
    #[arg(value_name = "FIRST")]
    first: PathBuf,

    /// Another's.
    #[arg(value_name = "SECOND")]
    second: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let first = GraphFile::open(&self.first).or_exit(Exit::BadInput)?;
        let second = match first.info().dataset {
            Some(dataset) => GraphFile::open_for(&self.second, dataset),
            None => GraphFile::open(&self.second),
        };
        let second = second.or_exit(Exit::BadInput)?;
        let difference = compare_graphs(first.view(), second.view()).or_exit(Exit::BadInput)?;
        if self.json {
            let json = serde_json::to_string_pretty(&difference).or_exit(Exit::SomeFailed)?;
            output::print(&(json + "\n"))?;
        } else {
            output::print(&difference.to_text())?;
        }
        Ok(Exit::Done)
    }
}
