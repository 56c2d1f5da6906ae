//! The loader on images that are numbers, with a plain loop over them as the oracle.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{Quarantined, Target};

const ROW: usize = 6;

/// What the images do, shared by the source and its workers.
#[derive(Default)]
struct Behaviour {
    bad: BTreeSet<usize>,
    panics: BTreeSet<usize>,
    damaged: BTreeSet<usize>,
    pause: Duration,
    /// Images asked for.
    touched: Mutex<Vec<usize>>,
    workers: AtomicUsize,
}

/// Image i is six values made of i and the epoch.
struct Numbers {
    names: Vec<String>,
    targets: Vec<Target>,
    behaviour: Arc<Behaviour>,
}

struct Count(Arc<Behaviour>);

fn numbers(n: usize, behaviour: Behaviour) -> Arc<Numbers> {
    Arc::new(Numbers {
        names: (0..n).map(|i| format!("image {i}")).collect(),
        targets: (0..n).map(|i| Target::Class(i % 7)).collect(),
        behaviour: Arc::new(behaviour),
    })
}

fn row(place: Place) -> [f32; ROW] {
    std::array::from_fn(|at| (place.index * 10 + at) as f32 + place.epoch as f32 / 4.0)
}

impl Source for Numbers {
    type Worker = Count;
    fn count(&self) -> usize {
        self.names.len()
    }
    fn shape(&self) -> [usize; 3] {
        [1, 2, 3]
    }
    fn name(&self, index: usize) -> &str {
        &self.names[index]
    }
    fn target(&self, index: usize) -> &Target {
        &self.targets[index]
    }
    fn worker(&self) -> Count {
        self.behaviour.workers.fetch_add(1, Ordering::Relaxed);
        Count(Arc::clone(&self.behaviour))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker<f32> for Count {
    fn run(&mut self, place: Place, out: &mut [f32], times: &mut StageTimes) -> Result<(), Fault> {
        let behaviour = &self.0;
        behaviour.touched.lock().unwrap().push(place.index);
        out.fill(f32::NAN); // what a bad image leaves behind must not be seen
        times.time(Stage::Decode, || thread::sleep(behaviour.pause));
        assert!(!behaviour.panics.contains(&place.index), "image {} is cursed", place.index);
        if behaviour.damaged.contains(&place.index) {
            return Err(Fault::Source("the cache is damaged".into()));
        }
        if behaviour.bad.contains(&place.index) {
            return Err(Fault::Image(format!("bad {}", place.index)));
        }
        out.copy_from_slice(&row(place));
        Ok(())
    }
}

type Batches = Vec<(usize, Vec<usize>, Vec<f32>)>;

/// All batches of an epoch, how it ended, and the report.
fn run(
    source: &Arc<Numbers>,
    config: LoaderConfig,
    epoch: u64,
) -> (Batches, Option<EpochError>, LoaderReport) {
    let loader = Loader::new(Arc::clone(source), config).unwrap();
    let mut epoch = loader.epoch(epoch).unwrap();
    let mut batches = Vec::new();
    let error = loop {
        match epoch.next_batch() {
            Ok(Some(batch)) => {
                let classes = batch.indices.iter().map(|i| i % 7).collect();
                assert_eq!(batch.classes(), Some(classes));
                assert_eq!(batch.images.dim(), (batch.indices.len(), 1, 2, 3));
                let values = batch.images.iter().copied().collect();
                batches.push((batch.number, batch.indices.to_vec(), values));
            }
            Ok(None) => break None,
            Err(error) => {
                assert_eq!(epoch.next_batch().unwrap_err(), error);
                break Some(error);
            }
        }
    };
    (batches, error, epoch.report())
}

/// What [`run`] must give, by a loop.
fn expected(order: &[usize], size: usize, bad: &BTreeSet<usize>, epoch: u64) -> Batches {
    let batches = order.chunks(size).enumerate().map(|(number, indices)| {
        let good: Vec<usize> = indices.iter().copied().filter(|i| !bad.contains(i)).collect();
        let values = good.iter().flat_map(|&index| row(Place { index, epoch })).collect();
        (number, good, values)
    });
    batches.filter(|(_, good, _)| !good.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_number_of_threads_and_any_queue_give_what_a_loop_gives(
        n in 0_usize..70,
        size in 1_usize..20,
        threads in 1_usize..6,
        queue in 1_usize..5,
        bad in prop::collection::btree_set(0_usize..70, 0..12),
        epoch in 0_u64..3,
        picks in prop::option::of(prop::collection::vec(0_usize..1000, 0..80)),
    ) {
        let source = numbers(n, Behaviour { bad: bad.clone(), ..Behaviour::default() });
        let (order, indices) = match picks {
            Some(picks) if n > 0 => {
                let indices: Vec<usize> = picks.iter().map(|pick| pick % n).collect();
                (Order::Indices(indices.clone().into()), indices)
            }
            _ => (Order::Sequential, (0..n).collect()),
        };
        let config = LoaderConfig { threads, queue, order, ..LoaderConfig::new(size) };
        let (batches, error, report) = run(&source, config.clone(), epoch);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&batches, &expected(&indices, size, &bad, epoch));
        let named: Vec<&str> = report.quarantined.iter().map(|q| q.name.as_str()).collect();
        let all_bad = indices.iter().filter(|i| bad.contains(i)).map(|&i| &source.names[i][..]);
        prop_assert_eq!(named, all_bad.collect::<Vec<_>>());
        prop_assert_eq!(report.images, batches.iter().map(|(_, good, _)| good.len()).sum::<usize>());
        prop_assert!(report.buffers <= queue + 1);

        // Strict: the batches before the first bad image's, then its name.
        let strict = LoaderConfig { strict: true, ..config };
        let (batches, error, _) = run(&source, strict, epoch);
        let first = indices.iter().position(|i| bad.contains(i));
        let before = first.map_or(indices.len(), |at| at / size * size);
        prop_assert_eq!(batches, expected(&indices[..before], size, &BTreeSet::new(), epoch));
        let wanted = first.map(|at| EpochError::Image {
            batch: at / size,
            image: Quarantined {
                name: source.names[indices[at]].clone(),
                reason: format!("bad {}", indices[at]),
            },
        });
        prop_assert_eq!(error, wanted);
    }
}

#[test]
fn memory_is_bounded_by_the_queue_and_work_by_the_images() {
    let source = numbers(10_000, Behaviour::default());
    let config = LoaderConfig { threads: 3, queue: 2, ..LoaderConfig::new(16) };
    let (batches, _, report) = run(&source, config, 0);
    assert_eq!((batches.len(), report.images), (625, 10_000));
    // Two ahead and the one in use, of 16 images of 6 values of 4 bytes.
    assert!(report.buffers <= 3, "{} buffers", report.buffers);
    assert!(report.buffer_bytes <= 3 * 16 * ROW * 4);
    assert_eq!(source.behaviour.touched.lock().unwrap().len(), 10_000);
}

#[test]
fn no_more_images_are_prepared_ahead_than_the_queue_holds() {
    let source = numbers(10_000, Behaviour::default());
    let config = LoaderConfig { threads: 2, queue: 3, ..LoaderConfig::new(8) };
    let loader = Loader::new(Arc::clone(&source), config).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    for taken in 1..5 {
        assert!(epoch.next_batch().unwrap().is_some());
        // Given every chance to run on, they stop three batches ahead of the one in use.
        let start = Instant::now();
        let touched = || source.behaviour.touched.lock().unwrap().len();
        while touched() < (taken + 3) * 8 && start.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(touched(), (taken + 3) * 8);
    }
    drop(epoch);
    assert_eq!(source.behaviour.workers.load(Ordering::Relaxed), 0);
}

#[test]
fn dropping_an_epoch_early_ends_its_threads_within_an_image() {
    let pause = Duration::from_millis(30);
    let source = numbers(10_000, Behaviour { pause, ..Behaviour::default() });
    let config = LoaderConfig { threads: 4, ..LoaderConfig::new(1000) };
    let loader = Loader::new(Arc::clone(&source), config).unwrap();
    let epoch = loader.epoch(0).unwrap();
    while source.behaviour.workers.load(Ordering::Relaxed) < 4 {
        thread::yield_now();
    }
    drop(epoch);
    assert_eq!(source.behaviour.workers.load(Ordering::Relaxed), 0);
    let touched = source.behaviour.touched.lock().unwrap().len();
    assert!(touched < 1000, "{touched} images were prepared for nobody");
}

#[test]
fn a_panic_becomes_an_error_that_names_the_image() {
    let panics = BTreeSet::from([37, 38, 60]);
    let source = numbers(100, Behaviour { panics, ..Behaviour::default() });
    for threads in [1, 4] {
        let config = LoaderConfig { threads, ..LoaderConfig::new(10) };
        let (batches, error, _) = run(&source, config, 0);
        assert_eq!(batches.len(), 3);
        let error = error.unwrap().to_string();
        assert_eq!(error, "batch 3: image 37: a worker panicked: image 37 is cursed");
        assert_eq!(source.behaviour.workers.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_damaged_source_ends_a_run_that_is_not_strict() {
    let damaged = BTreeSet::from([12]);
    let source = numbers(30, Behaviour { damaged, ..Behaviour::default() });
    let (batches, error, _) = run(&source, LoaderConfig::new(5), 0);
    assert_eq!(batches.len(), 2);
    assert_eq!(error.unwrap().to_string(), "batch 2: image 12: the cache is damaged");
}

#[test]
fn a_later_start_touches_none_of_the_images_before_it() {
    let source = numbers(100, Behaviour::default());
    let shard = Shard { index: 1, count: 2 };
    let config = LoaderConfig { first_batch: 3, shard, ..LoaderConfig::new(10) };
    let (batches, _, _) = run(&source, config, 0);
    assert_eq!(batches.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [7, 9]);
    let touched = source.behaviour.touched.lock().unwrap();
    assert_eq!(touched.iter().min(), Some(&70));
}

#[test]
fn time_is_counted_where_it_was_spent() {
    let pause = Duration::from_millis(2);
    let source = numbers(40, Behaviour { pause, ..Behaviour::default() });
    let config = LoaderConfig { threads: 2, ..LoaderConfig::new(4) };
    let (_, _, report) = run(&source, config.clone(), 0);
    assert!(report.decode_s >= 0.08, "{report}");
    assert!(report.wait_for_data_s > 0.0, "{report}");
    assert!(report.advice().starts_with("decode-bound"), "{report}");

    // A consumer that takes far longer than its images.
    let source = numbers(40, Behaviour::default());
    let loader = Loader::new(source, config).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    while epoch.next_batch().unwrap().is_some() {
        thread::sleep(Duration::from_millis(10));
    }
    let report = epoch.report();
    assert!(report.advice().starts_with("model-bound"), "{report}");
}

fn refused(change: impl Fn(&mut LoaderConfig), error: &str) {
    let mut config = LoaderConfig::new(4);
    change(&mut config);
    let found = Loader::new(numbers(10, Behaviour::default()), config).err().unwrap();
    assert_eq!(found.to_string(), error);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    refused(|c| c.batch_size = 0, "batch_size: expected at least 1, found 0");
    refused(|c| c.threads = 0, "threads: expected at least 1, found 0");
    refused(|c| c.queue = 0, "queue: expected at least 1, found 0");
    refused(|c| c.shard = Shard { index: 2, count: 2 }, "shard: expected one below 2, found 2");
    refused(
        |c| c.order = Order::Indices([3, 10].into()),
        "index 1 of the order: expected one below 10, found 10",
    );
}
