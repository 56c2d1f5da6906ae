//! `nearkin data list`.

use std::io::Write as _;

use nearkin_data::{ListedPart, Listing, Pixels, Sample, Split};
use serde::Serialize;

use super::{SPLITS, Source, label, named, tsv};
use crate::exit::Exit;
use crate::{Ended, output};

/// List the images of a data set: part, name, label and where the pixels are.
///
/// No image is decoded. What the reader sets aside is told on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin data list photos/ | head\n  \
    nearkin data list VOCdevkit/VOC2007 --part test --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,

    /// List this part only.
    #[arg(long, value_parser = named(SPLITS, Split::as_str))]
    part: Option<Split>,

    /// Print a JSON object for each image instead of a table separated by tabs.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    part: Split,
    name: &'a str,
    label: String,
    /// File, and bytes in it if the image is only a piece; none for levels in memory.
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let listing = self.source.open()?;
        let parts = listing.parts.iter();
        let parts = parts.filter(|part| self.part.is_none_or(|split| split == part.split));
        let rows = parts.flat_map(|part| rows(&listing, part));
        let head = ["part", "name", "label", "source", "region"];
        let mut text = if self.json { String::new() } else { tsv(head) };
        for row in rows {
            text += &match self.json {
                // Text and a unit variant: this cannot fail.
                true => serde_json::to_string(&row).unwrap_or_default() + "\n",
                false => tsv([row.part.as_str(), row.name, &row.label, &row.source, &row.region]),
            };
        }
        output::print(&text)?;
        for set_aside in listing.quarantine.iter().filter(|_| !quiet) {
            // With standard error gone there is nobody left to tell.
            let (name, reason) = (&set_aside.name, &set_aside.reason);
            let _ = writeln!(std::io::stderr(), "set aside: {name}: {reason}");
        }
        Ok(if listing.quarantine.is_empty() { Exit::Done } else { Exit::SomeFailed })
    }
}

fn rows<'a>(listing: &'a Listing, part: &'a ListedPart) -> impl Iterator<Item = Row<'a>> {
    part.samples.iter().map(|sample| Row {
        part: part.split,
        name: &sample.name,
        label: label(listing, &sample.target),
        source: source(sample),
        region: sample.region.map_or_else(String::new, |region| region.to_string()),
    })
}

fn source(sample: &Sample) -> String {
    match &sample.pixels {
        Pixels::File(path) => path.display().to_string(),
        Pixels::Slice { path, offset, len } => {
            format!("{}, {len} bytes at {offset}", path.display())
        }
        Pixels::Levels { .. } => String::new(),
    }
}
