//! MNIST's images, or any of the same form, laid out by their neighbours and drawn by their class.
//!
//! ```sh
//! cargo run --release -p nearkin-graph --example map -- draw FOLDER --out mnist
//! ```
//! reads `FOLDER` (IDX files, plain or .gz), finds exact neighbours, lays them out, and writes
//! `mnist.png`, `mnist.svg` and `mnist.html`. The other verbs do one step each, print what they did
//! as one line of JSON, and exchange little-endian files, so that other programs can take part in a
//! comparison (`cargo xtask peers map`): `neighbours` writes u32 indices, `layout` reads them and
//! writes f32 positions, `judge` reads positions.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::{Array2, Axis, concatenate};
use nearkin_data::Dataset;
use nearkin_graph::map::{self, Format, MapConfig, Scatter, Style};
use nearkin_graph::{Distance, Engine, Neighbours, nearest_neighbours};
use nearkin_metrics::faithfulness_at;

type Failure = Box<dyn Error>;

const USAGE: &str = "usage:
  map draw FOLDER --out NAME [--neighbours FILE] [--positions FILE] [options]
  map neighbours FOLDER --out FILE [--k K]
  map layout --neighbours FILE --out FILE [--k K] [--repeat TIMES] [options]
  map judge FOLDER --positions FILE [--k K] [--every STEP]
options: --dimensions 2|3, --seed SEED, --iterations MOST, --threads THREADS";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse(std::env::args().skip(1).collect())?;
    rayon::ThreadPoolBuilder::new().num_threads(arguments.number("threads", 0)?).build_global()?;
    match arguments.verb.as_str() {
        "neighbours" => neighbours(&arguments),
        "layout" => layout(&arguments),
        "judge" => judge(&arguments),
        "draw" => draw(&arguments),
        _ => Err(USAGE.into()),
    }
}

/// A verb, a folder, and options by name.
struct Arguments {
    verb: String,
    folder: Option<PathBuf>,
    options: Vec<(String, String)>,
}

impl Arguments {
    fn parse(words: Vec<String>) -> Result<Self, Failure> {
        let mut words = words.into_iter();
        let verb = words.next().ok_or(USAGE)?;
        let (mut folder, mut options) = (None, Vec::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => options.push((name.to_owned(), words.next().ok_or(USAGE)?)),
                None => folder = Some(PathBuf::from(word)),
            }
        }
        Ok(Self { verb, folder, options })
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, Failure> {
        self.option(name).ok_or_else(|| format!("--{name} is missing\n{USAGE}").into())
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Failure> {
        Ok(self.option(name).map(str::parse).transpose()?.unwrap_or(default))
    }

    fn folder(&self) -> Result<&Path, Failure> {
        self.folder.as_deref().ok_or_else(|| USAGE.into())
    }

    fn config(&self) -> Result<MapConfig, Failure> {
        Ok(MapConfig {
            dimensions: self.number("dimensions", 2)?,
            seed: self.number("seed", 0)? as u64,
            max_iterations: self.number("iterations", MapConfig::default().max_iterations)?,
            ..MapConfig::default()
        })
    }
}

/// Levels of every image, training part first, and the classes with their names.
struct Images {
    points: Array2<f32>,
    labels: Vec<usize>,
    names: Vec<String>,
}

fn images(folder: &Path) -> Result<Images, Failure> {
    let set = Dataset::load(folder)?;
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for part in [set.train, set.test].into_iter().flatten() {
        let levels = part.images().mapv(f32::from);
        let width = levels.len() / part.len().max(1);
        points.push(levels.into_shape_with_order((part.len(), width))?);
        labels.extend_from_slice(part.labels());
    }
    let views: Vec<_> = points.iter().map(|part| part.view()).collect();
    Ok(Images { points: concatenate(Axis(0), &views)?, labels, names: set.class_names })
}

fn neighbours(arguments: &Arguments) -> Result<(), Failure> {
    let images = images(arguments.folder()?)?;
    let k = arguments.number("k", 15)?;
    let started = Instant::now();
    let near = nearest_neighbours(images.points.view(), k, Distance::Euclidean, Engine::Auto)?;
    println!("{{\"seconds\": {:.3}}}", started.elapsed().as_secs_f64());
    let bytes = near.indices.iter().flat_map(|&index| (index as u32).to_le_bytes());
    Ok(fs::write(arguments.required("out")?, bytes.collect::<Vec<u8>>())?)
}

fn read_neighbours(file: &str, k: usize) -> Result<Neighbours, Failure> {
    let words = read_words(file)?.into_iter();
    let indices: Vec<usize> = words.map(|bytes| u32::from_le_bytes(bytes) as usize).collect();
    let indices = Array2::from_shape_vec((indices.len() / k, k), indices)?;
    // The layout of a neighbour graph asks for no distances.
    let distances = Array2::zeros(indices.raw_dim());
    Ok(Neighbours { indices, distances })
}

fn read_positions(file: &str, n: usize) -> Result<Array2<f32>, Failure> {
    let values: Vec<f32> = read_words(file)?.into_iter().map(f32::from_le_bytes).collect();
    Ok(Array2::from_shape_vec((n, values.len() / n), values)?)
}

fn read_words(file: &str) -> Result<Vec<[u8; 4]>, Failure> {
    let bytes = fs::read(file)?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("{file}: expected 4 bytes a value, found {}", bytes.len()).into());
    }
    Ok(words.to_vec())
}

fn layout(arguments: &Arguments) -> Result<(), Failure> {
    let near = read_neighbours(arguments.required("neighbours")?, arguments.number("k", 15)?)?;
    let config = arguments.config()?;
    for _ in 0..arguments.number("repeat", 1)? {
        let started = Instant::now();
        let edges = map::neighbour_edges(&near);
        let map = map::layout(near.indices.nrows(), &edges, &config)?;
        println!(
            "{{\"seconds\": {:.3}, \"average_distortion\": {}, \"residual\": {:e}, \
             \"iterations\": {}, \"evaluations\": {}, \"pairs\": {}}}",
            started.elapsed().as_secs_f64(),
            map.average_distortion,
            map.residual,
            map.iterations,
            map.evaluations,
            map.pairs.len()
        );
        let bytes = map.positions.iter().flat_map(|value| value.to_le_bytes());
        fs::write(arguments.required("out")?, bytes.collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn judge(arguments: &Arguments) -> Result<(), Failure> {
    let images = images(arguments.folder()?)?;
    let n = images.points.nrows();
    let positions = read_positions(arguments.required("positions")?, n)?;
    let anchors: Vec<usize> = (0..n).step_by(arguments.number("every", 35)?.max(1)).collect();
    let k = arguments.number("k", 15)?;
    let found = faithfulness_at(images.points.view(), positions.view(), k, &anchors)?;
    println!(
        "{{\"trustworthiness\": {:.5}, \"continuity\": {:.5}, \"anchors\": {}}}",
        found.trustworthiness,
        found.continuity,
        anchors.len()
    );
    Ok(())
}

fn draw(arguments: &Arguments) -> Result<(), Failure> {
    let Images { points, labels, names } = images(arguments.folder()?)?;
    let n = points.nrows();
    let positions = match arguments.option("positions") {
        Some(file) => read_positions(file, n)?,
        None => {
            let k = arguments.number("k", 15)?;
            let near = match arguments.option("neighbours") {
                Some(file) => read_neighbours(file, k)?,
                None => nearest_neighbours(points.view(), k, Distance::Euclidean, Engine::Auto)?,
            };
            map::layout(n, &map::neighbour_edges(&near), &arguments.config()?)?.positions
        }
    };
    let title = format!("{n} images by their {} neighbours", arguments.number("k", 15)?);
    let scatter = Scatter {
        positions: positions.view(),
        labels: &labels,
        classes: &names,
        names: &[],
        title: &title,
    };
    let out = arguments.required("out")?;
    let style = Style { size: (800, 720), ..Style::default() };
    for (format, extension) in [(Format::Png, "png"), (Format::Svg, "svg"), (Format::Html, "html")]
    {
        fs::write(format!("{out}.{extension}"), map::draw(&scatter, &style, format)?)?;
    }
    Ok(())
}
