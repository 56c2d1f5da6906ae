//! What a run says while it runs, on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};

use kdam::BarExt as _;

/// Where a run tells how far it is.
#[derive(Debug)]
pub enum Progress {
    /// A bar that is redrawn in place.
    Bar(Box<kdam::Bar>),
    /// A line per case.
    Lines {
        /// Cases of the run.
        total: usize,
        /// Cases begun so far.
        begun: usize,
    },
    /// Nothing.
    Quiet,
}

impl Progress {
    /// A bar if standard error is a terminal, lines otherwise, nothing if `quiet`.
    #[must_use]
    pub fn to_stderr(total: usize, quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if io::stderr().is_terminal() {
            let bar = kdam::BarBuilder::default()
                .total(total)
                .unit(" cases")
                .leave(false)
                .dynamic_ncols(true)
                .force_refresh(true)
                .build();
            if let Ok(bar) = bar {
                return Self::Bar(Box::new(bar));
            }
        }
        Self::Lines { total, begun: 0 }
    }

    /// A case begins.
    pub fn begin(&mut self, variant: &str) {
        match self {
            Self::Bar(_) => self.stage(variant, "build"),
            Self::Lines { total, begun } => {
                *begun += 1;
                say(&format!("[{begun}/{total}] {variant} …"));
            }
            Self::Quiet => {}
        }
    }

    /// A case comes to a new stage; shown on a bar only.
    pub fn stage(&mut self, variant: &str, stage: &str) {
        if let Self::Bar(bar) = self {
            bar.set_description(format!("{variant}: {stage}"));
            // Drawing may fail where a result may not be lost: go on.
            let _ = bar.refresh();
        }
    }

    /// A case is over, with a phrase on its outcome.
    pub fn end(&mut self, variant: &str, outcome: &str) {
        match self {
            Self::Bar(bar) => {
                let _ = bar.write(format!("{variant}: {outcome}"));
                let _ = bar.update(1);
            }
            Self::Lines { total, begun } => say(&format!("[{begun}/{total}] {variant}: {outcome}")),
            Self::Quiet => {}
        }
    }

    /// Something the user should know.
    pub fn note(&mut self, text: &str) {
        match self {
            Self::Bar(bar) => {
                let _ = bar.write(text);
            }
            Self::Lines { .. } => say(text),
            Self::Quiet => {}
        }
    }

    /// The run is over: removes the bar.
    pub fn finish(&mut self) {
        if let Self::Bar(bar) = self {
            let _ = bar.clear();
        }
    }
}

/// A line on standard error; a closed standard error is no reason to stop measuring.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
