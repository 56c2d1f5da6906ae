//! Where a loader's time went, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::StageTimes;
use crate::Quarantined;

/// What a loader did and where its time went.
///
/// Seconds of stages and of waiting for the model are summed over the threads; they are wall time
/// of each thread, which is its CPU time as long as there is a core for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoaderReport {
    /// Threads that prepared images.
    pub threads: usize,
    /// Processors that the system offers to this process.
    pub cores: usize,
    /// Batches handed over.
    pub batches: usize,
    /// Images in them.
    pub images: usize,
    /// Images that are not, in the order in which they would have come. An image that an order
    /// names twice is here twice.
    pub quarantined: Vec<Quarantined>,
    /// From the start to the last batch handed over, in seconds.
    pub wall_s: f64,
    /// Reading files, or copying levels in memory.
    pub read_s: f64,
    /// Decoding.
    pub decode_s: f64,
    /// Cropping, resizing, normalising.
    pub resize_s: f64,
    /// Augmenting, with the resizing that is part of it.
    pub augment_s: f64,
    /// Threads that had nowhere to put an image, as all buffers were full: waiting for the model.
    pub wait_for_model_s: f64,
    /// The model waiting for a batch, not summed over threads.
    pub wait_for_data_s: f64,
    /// Batches that lay in memory at once, at most.
    pub buffers: usize,
    /// Their memory, in bytes.
    pub buffer_bytes: usize,
}

impl LoaderReport {
    /// Images per second of wall time; 0 before the first batch.
    ///
    /// ```
    /// let report = nearkin_data::LoaderReport { images: 300, wall_s: 1.5, ..Default::default() };
    /// assert_eq!(report.images_per_s(), 200.0);
    /// ```
    pub fn images_per_s(&self) -> f64 {
        share(self.images as f64, self.wall_s)
    }

    /// One sentence: what bounds the run, and what would help.
    ///
    /// A run is bound by the model if its threads waited for half of their time or more; else by
    /// the stage that took most of it, unless the model hardly ever waited (5 % of the time).
    ///
    /// ```
    /// let report = nearkin_data::LoaderReport {
    ///     threads: 2,
    ///     cores: 8,
    ///     wall_s: 10.0,
    ///     decode_s: 13.0,
    ///     resize_s: 7.0,
    ///     wait_for_data_s: 9.0,
    ///     ..Default::default()
    /// };
    /// assert!(report.advice().starts_with("decode-bound: 65 %"));
    /// ```
    pub fn advice(&self) -> String {
        let stages = self.stages();
        let busy: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
        let of_all = busy + self.wait_for_model_s;
        if of_all <= 0.0 {
            return "nothing was loaded".into();
        }
        let waited = share(self.wait_for_model_s, of_all);
        if waited >= 0.5 {
            return format!("model-bound: the workers waited {} of their time", percent(waited));
        }
        let starved = share(self.wait_for_data_s, self.wall_s);
        if starved < 0.05 {
            return format!(
                "balanced: the model waited for data {} of the time, the workers for the model {}",
                percent(starved),
                percent(waited)
            );
        }
        // Of equal stages the first.
        let (stage, seconds) = stages
            .into_iter()
            .fold(stages[0], |most, next| if next.1 > most.1 { next } else { most });
        let help = match stage {
            "read" => "a faster disk or a packed cache would help",
            _ if self.threads < self.cores => "more threads would help",
            "decode" | "resize" => "a packed cache would help",
            _ => "every core is at work: a lighter augmentation would help",
        };
        let part = percent(share(seconds, of_all));
        format!("{stage}-bound: {part} of the workers' time; {help}")
    }

    /// Adds another run's counts, such as those of the next epoch.
    pub fn add(&mut self, other: &Self) {
        self.threads = self.threads.max(other.threads);
        self.cores = self.cores.max(other.cores);
        self.batches += other.batches;
        self.images += other.images;
        self.quarantined.extend_from_slice(&other.quarantined);
        self.wall_s += other.wall_s;
        self.read_s += other.read_s;
        self.decode_s += other.decode_s;
        self.resize_s += other.resize_s;
        self.augment_s += other.augment_s;
        self.wait_for_model_s += other.wait_for_model_s;
        self.wait_for_data_s += other.wait_for_data_s;
        self.buffers = self.buffers.max(other.buffers);
        self.buffer_bytes = self.buffer_bytes.max(other.buffer_bytes);
    }

    pub(super) fn set_times(&mut self, times: StageTimes) {
        self.read_s = times.read.as_secs_f64();
        self.decode_s = times.decode.as_secs_f64();
        self.resize_s = times.resize.as_secs_f64();
        self.augment_s = times.augment.as_secs_f64();
    }

    fn stages(&self) -> [(&'static str, f64); 4] {
        [
            ("read", self.read_s),
            ("decode", self.decode_s),
            ("resize", self.resize_s),
            ("augment", self.augment_s),
        ]
    }
}

/// A table of a few lines, the advice, and the images set aside.
impl fmt::Display for LoaderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, batches, images, wall_s, .. } = self;
        let rate = self.images_per_s();
        writeln!(
            f,
            "{images} images in {batches} batches, {wall_s:.2} s, {rate:.0} images/s, \
             {threads} threads"
        )?;
        let workers: f64 =
            self.stages().iter().map(|(_, s)| s).sum::<f64>() + self.wait_for_model_s;
        for (name, seconds) in self.stages() {
            let part = percent(share(seconds, workers));
            writeln!(f, "  {name:<15}{seconds:>9.2} s  {part:>5} of the workers' time")?;
        }
        let (model, data) = (self.wait_for_model_s, self.wait_for_data_s);
        let part = percent(share(model, workers));
        writeln!(f, "  wait for model {model:>9.2} s  {part:>5} of the workers' time")?;
        let part = percent(share(data, *wall_s));
        writeln!(f, "  wait for data  {data:>9.2} s  {part:>5} of the wall time")?;
        write!(f, "{}", self.advice())?;
        if !self.quarantined.is_empty() {
            write!(f, "\n{} images set aside:", self.quarantined.len())?;
            for Quarantined { name, reason } in &self.quarantined {
                write!(f, "\n  {name}: {reason}")?;
            }
        }
        Ok(())
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoaderReport {
        LoaderReport {
            threads: 2,
            cores: 8,
            batches: 4,
            images: 200,
            wall_s: 1.0,
            read_s: 0.1,
            decode_s: 1.22,
            resize_s: 0.5,
            augment_s: 0.0,
            wait_for_model_s: 0.18,
            wait_for_data_s: 0.9,
            ..Default::default()
        }
    }

    fn check(change: impl Fn(&mut LoaderReport), advice: &str) {
        let mut report = report();
        change(&mut report);
        assert_eq!(report.advice(), advice);
    }

    #[test]
    fn advice_names_what_bounds_the_run_and_what_would_help() {
        check(|_| {}, "decode-bound: 61 % of the workers' time; more threads would help");
        check(
            |r| r.cores = 2,
            "decode-bound: 61 % of the workers' time; a packed cache would help",
        );
        check(
            |r| (r.read_s, r.decode_s) = (1.22, 0.1),
            "read-bound: 61 % of the workers' time; a faster disk or a packed cache would help",
        );
        check(
            |r| (r.augment_s, r.resize_s, r.cores) = (2.5, 0.0, 1),
            "augment-bound: 62 % of the workers' time; every core is at work: a lighter \
             augmentation would help",
        );
        check(|r| r.wait_for_model_s = 7.28, "model-bound: the workers waited 80 % of their time");
        check(
            |r| r.wait_for_data_s = 0.01,
            "balanced: the model waited for data 1 % of the time, the workers for the model 9 %",
        );
        assert_eq!(LoaderReport::default().advice(), "nothing was loaded");
    }

    #[test]
    fn the_table_ends_with_the_advice_and_the_images_set_aside() {
        let mut report = report();
        report.quarantined =
            vec![Quarantined { name: "a/b.jpg".into(), reason: "the file is empty".into() }];
        let text = report.to_string();
        assert!(text.starts_with("200 images in 4 batches, 1.00 s, 200 images/s, 2 threads\n"));
        assert!(text.contains("\n  decode              1.22 s   61 % of the workers' time\n"));
        assert!(text.ends_with(
            "more threads would help\n1 images set aside:\n  a/b.jpg: the file is empty"
        ));
    }

    #[test]
    fn epochs_add_up() {
        let mut sum = report();
        sum.add(&report());
        assert_eq!((sum.images, sum.batches, sum.threads), (400, 8, 2));
        assert!((sum.images_per_s() - 200.0).abs() < 1e-9);
    }
}
