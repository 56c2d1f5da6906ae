//! kiddo's immutable tree over all points, queried for each of them, on a rayon pool.
//!
//! Commands as in `crates/graph/examples/neighbours.rs`: `load PATH N D`, `run K`. The time includes the tree.

use std::io::BufRead as _;
use std::num::NonZero;
use std::time::Instant;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use rayon::prelude::*;

fn run<const D: usize>(values: &[f32], k: usize) -> (f64, u64) {
    let (points, _) = values.as_chunks::<D>();
    let start = Instant::now();
    let tree: ImmutableKdTree<f32, D> = ImmutableKdTree::new_from_slice(points);
    let wanted = NonZero::new(k + 1).unwrap_or(NonZero::<usize>::MIN);
    let found: Vec<Vec<(f32, u64)>> = points
        .par_iter()
        .map(|point| {
            let near = tree.nearest_n::<SquaredEuclidean>(point, wanted);
            near.iter().map(|near| (near.distance, near.item as u64)).collect()
        })
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    (seconds, found.iter().flatten().map(|&(_, item)| item).sum())
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("a thread pool");
    let (mut values, mut d) = (Vec::new(), 0);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a command");
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["load", path, _, columns] => {
                let bytes = std::fs::read(path).expect("points");
                values = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
                d = columns.parse().expect("a number of columns");
                println!("{{\"d\": {d}}}");
            }
            ["run", k] => {
                let k = k.parse().expect("k");
                let (seconds, sum) = match d {
                    2 => run::<2>(&values, k),
                    8 => run::<8>(&values, k),
                    16 => run::<16>(&values, k),
                    _ => panic!("built for 2, 8 and 16 columns"),
                };
                println!("{{\"seconds\": {seconds}, \"sum\": {sum}}}");
            }
            _ => println!("{{\"error\": \"unknown command\"}}"),
        }
    }
}
