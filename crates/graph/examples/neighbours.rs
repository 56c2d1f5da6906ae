//! The engines as a process that answers line by line: what `cargo xtask peers neighbours` measures.
//!
//! Commands on standard input, one answer in JSON a line:
//! `load PATH N D` (f32 rows, little-endian), `run ENGINE DISTANCE K`,
//! `descend DISTANCE K TREES LEAF ROUNDS REACH`, `within DISTANCE LIMIT`,
//! `recall DISTANCE SAMPLE SEED` of the last run, `save PATH` (its indices, u32), `peak`.
//! Started with a number of threads: `neighbours 2`.

#![expect(clippy::print_stdout, reason = "it answers on standard output")]

use std::io::BufRead as _;
use std::time::Instant;

use ndarray::Array2;
use nearkin_graph::descent::{Descent, descend};
use nearkin_graph::{Distance, Engine, Neighbours, measured_recall, nearest_neighbours};
use nearkin_metrics::{fma_peak_gflops, simd_name, within_distance};

type Failure = Box<dyn std::error::Error>;

const ENGINES: [Engine; 6] = [
    Engine::Auto,
    Engine::KdTree,
    Engine::LinfaKdTree,
    Engine::BallTree,
    Engine::Products,
    Engine::Descent,
];

fn main() -> Result<(), Failure> {
    let threads = std::env::args().nth(1).map_or(Ok(0), |word| word.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut state = State { points: Array2::zeros((0, 0)), found: None };
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

struct State {
    points: Array2<f32>,
    found: Option<Neighbours>,
}

impl State {
    fn answer(&mut self, words: &[&str]) -> Result<String, Failure> {
        match *words {
            ["load", path, n, d] => {
                let (n, d): (usize, usize) = (n.parse()?, d.parse()?);
                let bytes = std::fs::read(path)?;
                let (values, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err("a part of a value at the end of the file".into());
                }
                let values = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
                self.points = Array2::from_shape_vec((n, d), values)?;
                Ok(format!("\"n\": {n}, \"d\": {d}, \"simd\": \"{}\"", simd_name()))
            }
            ["run", engine, distance, k] => {
                let engine = ENGINES.into_iter().find(|known| known.as_str() == engine);
                let (engine, distance) = (engine.ok_or("no such engine")?, named(distance)?);
                let k = k.parse()?;
                let start = Instant::now();
                let found = nearest_neighbours(self.points.view(), k, distance, engine)?;
                let seconds = start.elapsed().as_secs_f64();
                self.found = Some(found);
                Ok(format!("\"seconds\": {seconds}, \"peak_mib\": {}", peak_mib()))
            }
            ["descend", distance, k, trees, leaf, rounds, reach] => {
                let how = Descent {
                    trees: trees.parse()?,
                    leaf: leaf.parse()?,
                    rounds: rounds.parse()?,
                    reach: reach.parse()?,
                    ..Descent::default()
                };
                let (distance, k) = (named(distance)?, k.parse()?);
                let start = Instant::now();
                let found = descend(self.points.view(), k, distance, &how)?;
                let seconds = start.elapsed().as_secs_f64();
                self.found = Some(found);
                Ok(format!("\"seconds\": {seconds}, \"peak_mib\": {}", peak_mib()))
            }
            ["within", distance, limit] => {
                let (distance, limit) = (named(distance)?, limit.parse()?);
                let start = Instant::now();
                let found = within_distance(self.points.view(), limit, distance)?;
                let seconds = start.elapsed().as_secs_f64();
                let sum: u64 = found.indices.iter().map(|&index| u64::from(index)).sum();
                let pairs = found.indices.len() / 2;
                Ok(format!("\"seconds\": {seconds}, \"pairs\": {pairs}, \"index_sum\": {sum}"))
            }
            ["recall", distance, sample, seed] => {
                let found = self.found.as_ref().ok_or("nothing was run")?;
                let (distance, sample) = (named(distance)?, sample.parse()?);
                let view = self.points.view();
                let recall = measured_recall(view, found, distance, sample, seed.parse()?)?;
                Ok(format!(
                    "\"recall\": {}, \"standard_error\": {}, \"points\": {}",
                    recall.share, recall.standard_error, recall.points
                ))
            }
            ["save", path] => {
                let found = self.found.as_ref().ok_or("nothing was run")?;
                let indices = found.indices.iter().map(|&index| index as u32);
                std::fs::write(path, indices.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
                Ok(format!("\"saved\": {}", found.indices.len()))
            }
            ["peak"] => {
                let (gflops, simd) = (fma_peak_gflops(0.5), simd_name());
                Ok(format!("\"gflops\": {gflops}, \"simd\": \"{simd}\""))
            }
            _ => Err(format!("unknown command: {}", words.join(" ")).into()),
        }
    }
}

fn named(name: &str) -> Result<Distance, Failure> {
    let distance = Distance::ALL.into_iter().find(|known| known.as_str() == name);
    Ok(distance.ok_or_else(|| format!("no such distance: {name}"))?)
}

/// The most memory that this process has held, where Linux says so.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
