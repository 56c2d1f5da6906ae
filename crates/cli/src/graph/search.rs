//! Neighbours within a memory budget, with progress, and going on after a kill.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Mutex;

use anyhow::anyhow;
use clap::ValueEnum;
use kdam::BarExt as _;
use ndarray::ArrayView2;
use nearkin_graph::{
    Bounds, Distance, Engine, KD_TREE_MAX_WIDTH, Neighbours, Progress, TRIAL_MAX_WIDTH,
    measured_recall, nearest_neighbours, resumable_neighbours,
};

use crate::exit::{Exit, Failure, OrExit as _};

/// Which engine finds the neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Search {
    /// An exact one, by the number of points and columns, and by a timed trial where these do not decide.
    Auto,
    /// A k-d tree, for few columns.
    KdTree,
    /// linfa-nn's k-d tree.
    LinfaKdTree,
    /// linfa-nn's ball tree.
    BallTree,
    /// Blocked matrix products: exact, bounded in memory, resumable.
    Products,
    /// Random trees, then neighbours of neighbours: approximate, with its recall measured.
    Descent,
}

/// From this many points on a search keeps what it has finished.
const RESUMABLE_POINTS: usize = 20_000;
/// What a kill can lose is one of so many parts.
const STRIPS: usize = 16;
/// Points whose exact neighbours an approximate result is held against.
const RECALL_SAMPLE: usize = 1000;

/// Bytes that a graph costs for each of its arcs while it is made and written.
const ARC_BYTES: u64 = 48;

/// The `k` nearest of every point.
///
/// - `memory`: bytes of the whole process's data, points included; `None` for what is fastest.
/// - `beside`: what the finished parts of a resumable search are named after.
/// - returns: the neighbours, and a sentence on an approximate search.
pub(super) fn neighbours(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    search: Search,
    memory: Option<u64>,
    beside: &Path,
    quiet: bool,
) -> Result<(Neighbours, Option<String>), Failure> {
    let (n, d) = points.dim();
    let engine = match search {
        Search::Auto => Engine::Auto,
        Search::KdTree => Engine::KdTree,
        Search::LinfaKdTree => Engine::LinfaKdTree,
        Search::BallTree => Engine::BallTree,
        Search::Products => Engine::Products,
        Search::Descent => Engine::Descent,
    };
    // Where size alone decides for products; between the bounds a trial does.
    let products = engine == Engine::Products
        || (engine == Engine::Auto
            && (d > TRIAL_MAX_WIDTH || memory.is_some() && d > KD_TREE_MAX_WIDTH));
    let point_bytes = 4 * (n * d) as u64;
    let held = point_bytes + (8 + ARC_BYTES) * (n * k) as u64;
    // A copy of the points in f64 or in another order, a sketch, and candidates.
    let working = match engine {
        Engine::LinfaKdTree | Engine::BallTree => 4 * point_bytes,
        _ => point_bytes + 256 * n as u64 + 48 * (n * k) as u64,
    };
    let needed = if products { held } else { held + working };
    if let Some(budget) = memory.filter(|&budget| needed >= budget) {
        let error = anyhow!(
            "--memory: expected more than {needed} bytes for {n} points of {d} numbers and {k} \
             neighbours each, found {budget}"
        );
        return Err(error).or_exit(Exit::Usage);
    }
    if products && (n >= RESUMABLE_POINTS || memory.is_some()) {
        let strips = if n >= RESUMABLE_POINTS { STRIPS } else { 1 };
        let bounds = Bounds { memory_bytes: memory.map(|budget| budget - needed), strips };
        let bar = Mutex::new(bar(quiet));
        let told = |progress: Progress| tell(&bar, progress);
        let found = resumable_neighbours(points, k, distance, bounds, beside, &told);
        if let Some(bar) = &mut *bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let _ = bar.clear();
        }
        return Ok((found.or_exit(Exit::BadInput)?, None));
    }
    let found = nearest_neighbours(points, k, distance, engine).or_exit(Exit::BadInput)?;
    let said = (engine == Engine::Descent)
        .then(|| measured_recall(points, &found, distance, RECALL_SAMPLE, 0))
        .transpose()
        .or_exit(Exit::BadInput)?
        .map(|recall| {
            format!(
                "approximate neighbours: recall {:.4} ± {:.4}, measured on {} points",
                recall.share, recall.standard_error, recall.points
            )
        });
    Ok((found, said))
}

/// Thousandths of the whole.
const STEPS: usize = 1000;

fn bar(quiet: bool) -> Option<kdam::Bar> {
    if quiet || !io::stderr().is_terminal() {
        return None;
    }
    let bar = kdam::BarBuilder::default().total(STEPS).desc("neighbours").leave(false);
    bar.dynamic_ncols(true).build().ok()
}

fn tell(bar: &Mutex<Option<kdam::Bar>>, progress: Progress) {
    let Progress { strips, of, share } = progress;
    // Another thread at the bar, or one that failed to draw, is no reason to wait.
    if let Ok(mut bar) = bar.try_lock()
        && let Some(bar) = &mut *bar
    {
        let done = (strips as f64 + share) / of.max(1) as f64;
        let _ = bar.update_to((done * STEPS as f64) as usize);
    }
}
