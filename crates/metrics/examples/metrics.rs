//! Distances and retrieval as a process that answers line by line: what `cargo xtask peers metrics` measures.
//!
//! Commands on standard input, one answer in JSON a line: `load PATH N D` (f32 rows, little-endian),
//! `labels PATH` (u32, one a row), `pairwise MEASURE`, `mahalanobis`, `retrieval`, `save PATH` (the last distances,
//! f32), `memory`. Started with a number of threads: `metrics 2`.

#![expect(clippy::print_stdout, reason = "it answers on standard output")]

use std::io::BufRead as _;
use std::time::Instant;

use ndarray::Array2;
use nearkin_metrics::distances::{Covariance, Mahalanobis, Measure, pairwise};
use nearkin_metrics::retrieval::{Gallery, RetrievalScore, retrieval};
use nearkin_metrics::{Distance, Labelled, simd_name};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let threads = std::env::args().nth(1).map_or(Ok(0), |word| word.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut state = State::default();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match state.answer(&words) {
            Ok(answer) => println!("{{{answer}}}"),
            Err(error) => println!("{{\"error\": {:?}}}", error.to_string()),
        }
    }
    Ok(())
}

#[derive(Default)]
struct State {
    points: Array2<f32>,
    labels: Vec<usize>,
    distances: Array2<f32>,
}

impl State {
    fn answer(&mut self, words: &[&str]) -> Result<String, Failure> {
        match *words {
            ["load", path, n, d] => {
                let values = words_of(path)?.into_iter().map(f32::from_bits).collect();
                self.points = Array2::from_shape_vec((n.parse()?, d.parse()?), values)?;
                Ok(format!("\"simd\": \"{}\"", simd_name()))
            }
            ["labels", path] => {
                self.labels = words_of(path)?.into_iter().map(|label| label as usize).collect();
                Ok(format!("\"labels\": {}", self.labels.len()))
            }
            ["pairwise", name] => {
                let measure = named(name)?;
                // The last result's memory is given back before the clock starts, as Python does.
                self.distances = Array2::zeros((0, 0));
                let start = Instant::now();
                self.distances = pairwise(self.points.view(), self.points.view(), measure)?;
                Ok(format!("\"seconds\": {}", start.elapsed().as_secs_f64()))
            }
            ["mahalanobis"] => {
                self.distances = Array2::zeros((0, 0));
                let start = Instant::now();
                let fitted = Mahalanobis::new(Covariance::Estimated(self.points.view()))?;
                self.distances = fitted.pairwise(self.points.view(), self.points.view())?;
                Ok(format!("\"seconds\": {}", start.elapsed().as_secs_f64()))
            }
            ["retrieval"] => {
                let scores = [
                    RetrievalScore::PrecisionAt(1),
                    RetrievalScore::RPrecision,
                    RetrievalScore::MapAtR,
                ];
                let queries = Labelled { embeddings: self.points.view(), labels: &self.labels };
                let start = Instant::now();
                let found = retrieval(queries, Gallery::Others, Distance::Euclidean, &scores)?;
                let seconds = start.elapsed().as_secs_f64();
                Ok(format!("\"seconds\": {seconds}, \"scores\": {:?}", found.means()))
            }
            ["save", path] => {
                let bytes = self.distances.iter().flat_map(|v| v.to_le_bytes());
                std::fs::write(path, bytes.collect::<Vec<u8>>())?;
                Ok(format!("\"saved\": {}", self.distances.len()))
            }
            ["memory"] => Ok(format!("\"peak_mib\": {}", peak_mib())),
            _ => Err(format!("unknown command: {}", words.join(" ")).into()),
        }
    }
}

/// A file's little-endian words of 32 bits.
fn words_of(path: &str) -> Result<Vec<u32>, Failure> {
    let bytes = std::fs::read(path)?;
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
    } else {
        Err("a part of a value at the end of the file".into())
    }
}

/// A distance's name, or `minkowski-P`.
fn named(name: &str) -> Result<Measure, Failure> {
    if let Some(p) = name.strip_prefix("minkowski-") {
        return Ok(Measure::Minkowski { p: p.parse()? });
    }
    let distance = Distance::ALL.into_iter().find(|known| known.as_str() == name);
    Ok(distance.ok_or_else(|| format!("no such distance: {name}"))?.into())
}

/// The most memory that this process has held, where Linux says so.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
