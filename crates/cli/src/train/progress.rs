//! A training's progress on the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kdam::BarExt as _;
use nearkin_train::{Progress, Record, Watch};

/// A bar while somebody looks, a line for each epoch otherwise, and the end at Ctrl-C.
pub(super) struct Bar {
    quiet: bool,
    name: String,
    bar: Option<kdam::Bar>,
    stop: &'static AtomicBool,
    start: Instant,
    first: Option<u64>,
}

impl Bar {
    pub(super) fn new(quiet: bool, name: &str, stop: &'static AtomicBool) -> Self {
        Self { quiet, name: name.to_owned(), bar: None, stop, start: Instant::now(), first: None }
    }

    pub(super) fn clear(&mut self) {
        if let Some(bar) = &mut self.bar {
            let _ = bar.clear();
        }
        self.bar = None;
    }

    fn say(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        if let Some(bar) = &mut self.bar {
            let _ = bar.clear();
        }
        // With standard error gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "{}: {text}", self.name);
    }
}

impl Watch for Bar {
    fn step(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        self.first.get_or_insert(progress.step - 1);
        if self.bar.is_none() && !self.quiet && io::stderr().is_terminal() {
            let bar = kdam::BarBuilder::default()
                .total(progress.steps as usize)
                .initial(progress.step as usize - 1)
                .desc(self.name.clone())
                .unit(" steps")
                .leave(false)
                .dynamic_ncols(true);
            self.bar = bar.build().ok();
        }
        if let Some(bar) = &mut self.bar {
            let terms: Vec<String> =
                progress.terms.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let accuracy =
                progress.accuracy.map(|share| format!(", accuracy {share:.3}")).unwrap_or_default();
            bar.postfix = format!(
                ", objective {:.4}, {}{accuracy}, {:.0} images/s",
                progress.objective,
                terms.join(", "),
                progress.images_per_s
            );
            // Drawing may fail where a result may not be lost: go on.
            let _ = bar.update_to(progress.step as usize);
        }
        if self.stop.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn epoch(&mut self, record: &Record) {
        let told = record.values.iter().filter(|(name, _)| !name.ends_with("gradient_norm"));
        let text: Vec<String> = told.map(|(name, value)| format!("{name} {value:.4}")).collect();
        let seconds = self.start.elapsed().as_secs_f64();
        self.say(&format!("epoch {}: {}, {seconds:.1} s", record.epoch + 1, text.join(", ")));
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }
}
