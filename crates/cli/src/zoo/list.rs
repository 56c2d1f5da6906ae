//! `nearkin zoo list`.

use super::matching;
use crate::exit::{Exit, OrExit as _};
use crate::{Ended, output};
use nearkin_nn::{Architecture, Options};
use serde::Serialize;

/// List the variants: parameters, multiply–accumulates, input and embedding width.
///
/// Everything is computed from the graph that would run, built for one image of the variant's own
/// size with timm's default head.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin zoo list                 all variants\n  \
    nearkin zoo list 'resnet*d'      those whose name matches\n  \
    nearkin zoo list vit --json      a group, as JSON")]
pub(crate) struct Arguments {
    /// Names, groups or patterns (`*` any text, `?` any character).
    #[arg(value_name = "GLOB", default_value = "*")]
    patterns: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    group: &'static str,
    variant: String,
    params: u64,
    macs: u64,
    input: [usize; 3],
    embedding_width: usize,
}

impl Row {
    fn new(built: &Architecture) -> Self {
        Self {
            group: built.group,
            variant: built.name.clone(),
            params: built.parameter_count(),
            macs: built.macs,
            input: built.input(),
            embedding_width: built.embedding_width,
        }
    }
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let mut rows: Vec<Row> = Vec::new();
        for pattern in &self.patterns {
            for entry in matching(pattern)? {
                if rows.iter().all(|row| row.variant != entry.name()) {
                    let built = entry.build(&Options::default()).or_exit(Exit::Usage)?;
                    rows.push(Row::new(&built));
                }
            }
        }
        let text = if self.json {
            serde_json::to_string_pretty(&rows).or_exit(Exit::NotWritable)? + "\n"
        } else {
            table(&rows)
        };
        output::print(&text)?;
        Ok(Exit::Done)
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.variant.len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<10} {:<width$} {:>10} {:>9} {:>12} {:>9}\n",
        "group", "variant", "params M", "GMACs", "input", "embedding"
    );
    for row in rows {
        text += &format!(
            "{:<10} {:<width$} {:>10.3} {:>9.3} {:>12} {:>9}\n",
            row.group,
            row.variant,
            row.params as f64 / 1e6,
            row.macs as f64 / 1e9,
            row.input.map(|d| d.to_string()).join("×"),
            row.embedding_width
        );
    }
    text + &format!("{} variants\n", rows.len())
}
