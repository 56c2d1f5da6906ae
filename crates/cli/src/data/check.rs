//! `nearkin data check`.

use std::io::{self, IsTerminal as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use kdam::BarExt as _;
use nearkin_bench::files::write_whole;
use nearkin_data::{Check, CheckError, CheckOptions, DecodeOptions, MAX_PIXELS, check};

use super::{Source, open};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::{Ended, output};

/// Say what a data set holds, and what is wrong with it.
///
/// Every image is decoded. Told are: the format, images and classes, sizes, class balance; broken
/// files by name; equal images (by their pixels, whatever the file) and near duplicates (another
/// quality, size or format, by two perceptual hashes and a correlation); images that are in more
/// than one part, or in the data set of --against; equal images with different labels. Broken,
/// shared or contradictory images end it with exit code 6.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin data check photos/                       a folder for each class\n  \
    nearkin data check cifar-10-batches-bin --json - everything, as JSON\n  \
    nearkin data check mine/ --against theirs/       do the two share images?")]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,

    /// Another data set, whose images should not be in this one.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,

    /// Write everything as JSON to FILE; `-` writes it to standard output instead of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    /// How many bits of 64 the perceptual hashes of near duplicates may differ in.
    #[arg(long, value_name = "BITS", default_value_t = CheckOptions::NEAR_DISTANCE,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(CheckOptions::MAX_NEAR_DISTANCE)))]
    near_distance: u32,

    /// Look for equal images only.
    #[arg(long, conflicts_with = "near_distance")]
    exact: bool,

    /// Threads that decode [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Call images of more pixels broken.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let listing = self.source.open()?;
        let against = match &self.against {
            Some(path) => Some(open(path, None, self.source.strict)?),
            None => None,
        };
        let default = CheckOptions::default();
        let options = CheckOptions {
            near_distance: (!self.exact).then_some(self.near_distance),
            threads: self.threads.unwrap_or(default.threads),
            decode: DecodeOptions { max_pixels: self.max_pixels, ..default.decode },
            strict: self.source.strict,
        };
        let images = listing.count() + against.as_ref().map_or(0, |other| other.count());
        let mut bar = bar(images, quiet);
        let report = check(&listing, against.as_ref(), &options, |done, _| {
            if let Some(bar) = &mut bar {
                // Drawing may fail where a result may not be lost: go on.
                let _ = bar.update_to(done);
            }
        });
        if let Some(bar) = &mut bar {
            let _ = bar.clear();
        }
        let report = report.map_err(|error| Failure {
            exit: match error {
                CheckError::Distance { .. } => Exit::Usage,
                CheckError::Broken { .. } => Exit::BadInput,
            },
            error: error.into(),
        })?;
        self.write(&report)?;
        Ok(if report.has_problems() { Exit::Problems } else { Exit::Done })
    }

    fn write(&self, report: &Check) -> Result<(), Failure> {
        let json = match &self.json {
            Some(_) => serde_json::to_string_pretty(report).or_exit(Exit::NotWritable)? + "\n",
            None => String::new(),
        };
        match &self.json {
            Some(path) if path.as_os_str() == "-" => output::print(&json),
            Some(path) => {
                write_whole(path, json.as_bytes()).or_exit(Exit::NotWritable)?;
                output::print(&report.to_string())
            }
            None => output::print(&report.to_string()),
        }
    }
}

/// A bar if somebody looks at standard error.
fn bar(images: usize, quiet: bool) -> Option<kdam::Bar> {
    if quiet || !io::stderr().is_terminal() {
        return None;
    }
    let bar = kdam::BarBuilder::default().total(images).unit(" images").leave(false);
    bar.dynamic_ncols(true).build().ok()
}
