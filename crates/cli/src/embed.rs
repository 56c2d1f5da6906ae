//! `nearkin embed`.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use nearkin_bench::files::write_whole;
use nearkin_data::{ListedPart, Split, Target};

use crate::data::{SPLITS, Source, label, named, tsv};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::model::{ModelArguments, beside, tell};
use crate::{Ended, output};

/// Embed the images of a data set: from files to a matrix of embeddings.
///
/// Images are decoded and prepared exactly as timm does it for the model, by threads that work ahead
/// of it. Written are NAME.npy, the embeddings `[n, D]` as f32; NAME.tsv, the images' names and
/// labels, line by line; NAME.labels, the class of each as a number, -1 without one (for `nearkin graph`).
/// An image that cannot be used is set aside and listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin zoo export resnet18 --weights resnet18.safetensors -o resnet18.onnx\n  \
    nearkin embed resnet18.onnx photos/ -o photos.npy\n  \
    nearkin graph build photos.npy --knn 15 --distance cosine -o photos.graph")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    source: Source,

    /// Embed this part only [default: all parts, in order].
    #[arg(long, value_parser = named(SPLITS, Split::as_str))]
    part: Option<Split>,

    /// The embeddings' file.
    #[arg(long, short, value_name = "NAME.npy")]
    output: PathBuf,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let listing = self.source.open()?;
        let parts = listing.parts.iter().filter(|part| self.part.is_none_or(|p| p == part.split));
        let samples = parts.flat_map(|part| &part.samples).cloned().collect();
        let part = Arc::new(ListedPart { split: self.part.unwrap_or(Split::Test), samples });
        if part.samples.is_empty() {
            return Err(anyhow!("{}: no images to embed", listing.root.display()))
                .or_exit(Exit::BadInput);
        }
        let mut ready = self.model.load(quiet)?;
        let mut matrix = Matrix::create(&self.output)?;
        let (mut names, mut labels) = (tsv(["name", "label"]), String::new());
        let report = ready.each_batch(&part, self.source.strict, quiet, |session, _, batch| {
            let rows = session.embed(batch.images).or_exit(Exit::BadInput)?;
            for &index in batch.indices {
                let sample = &part.samples[index];
                names += &tsv([&sample.name, &label(&listing, &sample.target)]);
                labels += &match sample.target {
                    Target::Class(class) => format!("{class}\n"),
                    _ => "-1\n".to_owned(),
                };
            }
            rows.rows().into_iter().try_for_each(|row| matrix.push(&row.to_vec()))
        })?;
        let (rows, width) = matrix.finish()?;
        for (ending, text) in [("tsv", &names), ("labels", &labels)] {
            let path = beside(&self.output, ending);
            write_whole(&path, text.as_bytes())
                .with_context(|| format!("{}: cannot be written", path.display()))
                .or_exit(Exit::NotWritable)?;
        }
        tell(&report, quiet);
        output::print(&format!("{}: {rows} embeddings of {width}\n", self.output.display()))?;
        Ok(if report.quarantined.is_empty() { Exit::Done } else { Exit::SomeFailed })
    }
}

/// A matrix of f32 in NumPy's format 1.0, written row by row beside its place and renamed into it.
struct Matrix {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    rows: usize,
    width: Option<usize>,
}

/// Bytes of the header, whatever the number of rows.
const HEADER: usize = 128;

impl Matrix {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = File::create(&part)
            .and_then(|mut file| file.write_all(&[0; HEADER]).map(|()| file))
            .with_context(|| format!("{}: cannot be written", part.display()))
            .or_exit(Exit::NotWritable)?;
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        Ok(Self { path, part, file, rows: 0, width: None })
    }

    fn push(&mut self, row: &[f32]) -> Result<(), Failure> {
        let width = *self.width.get_or_insert(row.len());
        if width != row.len() {
            let error = anyhow!(
                "embedding {}: expected {width} numbers as before, found {}",
                self.rows,
                row.len()
            );
            return Err(error).or_exit(Exit::BadInput);
        }
        self.rows += 1;
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file
            .write_all(&bytes)
            .with_context(|| format!("{}: cannot be written", self.part.display()))
            .or_exit(Exit::NotWritable)
    }

    fn finish(mut self) -> Result<(usize, usize), Failure> {
        let width = self.width.unwrap_or(0);
        let header = header(self.rows, width);
        (|| {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_all()?;
            std::fs::rename(&self.part, &self.path)
        })()
        .with_context(|| format!("{}: cannot be written", self.path.display()))
        .or_exit(Exit::NotWritable)?;
        Ok((self.rows, width))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Magic, version, length, and a dictionary filled up with spaces to [`HEADER`] bytes.
fn header(rows: usize, width: usize) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((HEADER - 10) as u16).to_le_bytes());
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    bytes.extend(text.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.npy");
        let mut matrix = Matrix::create(&path).unwrap();
        matrix.push(&[1.0, 2.0, 3.0]).unwrap();
        matrix.push(&[4.0, 5.0, 6.5]).unwrap();
        assert!(matrix.push(&[1.0]).is_err());
        assert_eq!(matrix.finish().unwrap(), (2, 3));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), HEADER + 24);
        let found = nearkin_graph::read_npy(&bytes).unwrap();
        assert_eq!((found.dim(), found[[1, 2]]), ((2, 3), 6.5));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Matrix::create(&folder.path().join("e.npy")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
