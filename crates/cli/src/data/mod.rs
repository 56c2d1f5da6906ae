//! `nearkin data`: what a data set holds, whether it is sound, and how to split it.

mod check;
mod list;
mod split;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use nearkin_data::{Format, Listing, OpenOptions, Split, Target};

use crate::Ended;
use crate::exit::{Exit, Failure, OrExit as _};

/// Check, list and split data sets.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    List(list::Arguments),
    Split(split::Arguments),
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        match &self.command {
            Command::Check(arguments) => arguments.run(quiet),
            Command::List(arguments) => arguments.run(quiet),
            Command::Split(arguments) => arguments.run(quiet),
        }
    }
}

pub(crate) const FORMATS: [Format; 8] = [
    Format::Idx,
    Format::Cifar10,
    Format::Cifar100,
    Format::Voc,
    Format::ImageNet,
    Format::Folder,
    Format::Manifest,
    Format::Tar,
];
pub(crate) const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

/// The data set that a verb reads.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The folder or file of the data set.
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// How it is stored [default: what is found there].
    #[arg(long, value_parser = named(FORMATS, Format::as_str))]
    format: Option<Format>,

    /// Let one broken image or entry end the command, with exit code 3, instead of listing it.
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Source {
    pub(crate) fn open(&self) -> Result<Listing, Failure> {
        open(&self.path, self.format, self.strict)
    }
}

pub(crate) fn open(path: &Path, format: Option<Format>, strict: bool) -> Result<Listing, Failure> {
    let options = OpenOptions { format, strict, ..OpenOptions::default() };
    Listing::open(path, &options).or_exit(Exit::BadInput)
}

/// A parser of one of `values` by its name.
pub(crate) fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    values: [T; N],
    name: fn(T) -> &'static str,
) -> impl clap::builder::TypedValueParser<Value = T> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(values.map(name)).try_map(move |given| {
        let found = values.into_iter().find(|&value| name(value) == given);
        found.ok_or_else(|| format!("unknown name {given}"))
    })
}

/// The label as manifests write it: class names joined by `;`, empty without one.
pub(crate) fn label(listing: &Listing, target: &Target) -> String {
    let classes = match target {
        Target::Unlabelled => &[],
        Target::Class(class) => std::slice::from_ref(class),
        Target::Classes { present, .. } => present.as_slice(),
    };
    let name = |&class: &usize| match listing.class_names.get(class) {
        Some(name) => name.clone(),
        None => class.to_string(),
    };
    classes.iter().map(name).collect::<Vec<_>>().join(";")
}

/// A line of tab-separated cells; a cell that would break it is quoted as CSV quotes.
pub(crate) fn tsv<const N: usize>(cells: [&str; N]) -> String {
    let cell = |cell: &str| {
        if cell.contains(['\t', '\n', '\r', '"']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    };
    cells.map(cell).join("\t") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_would_break_a_line_are_quoted() {
        assert_eq!(tsv(["a b", "c\td", "e\"f"]), "a b\t\"c\td\"\t\"e\"\"f\"\n");
    }
}
