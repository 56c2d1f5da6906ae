//! Exit codes, and errors that know theirs.

use std::process::ExitCode;

/// How the program ends. The numbers are part of its interface and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Done = 0,
    /// Some of it failed, and each failure is told.
    SomeFailed = 1,
    /// The command line cannot be understood, or names what does not exist.
    Usage = 2,
    /// A file that was given to read is not what it should be.
    BadInput = 3,
    /// The runtime or the device is not there.
    Unavailable = 4,
    /// An output cannot be written.
    NotWritable = 5,
    /// A data set was checked, and has problems.
    Problems = 6,
    /// Stopped by Ctrl-C or a request to terminate; what was measured is kept.
    Interrupted = 130,
}

/// Every exit code with its meaning, as `--help` shows them.
pub(crate) const EXITS: &[(Exit, &str)] = &[
    (Exit::Done, "everything asked for was done"),
    (Exit::SomeFailed, "some cases or checks failed; each is named"),
    (Exit::Usage, "the command line is wrong, or names a suite or variant that does not exist"),
    (
        Exit::BadInput,
        "a file to read is not what it should be (data set, model, weights, suite, results)",
    ),
    (Exit::Unavailable, "the runtime or the device is not available"),
    (Exit::NotWritable, "an output cannot be written"),
    (
        Exit::Problems,
        "a data set was checked and holds broken, shared or contradictory images; each is named",
    ),
    (Exit::Interrupted, "interrupted; everything measured so far is kept"),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code it ends the program with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

impl Failure {
    /// The error and its causes, a line each; a cause that its effect already quotes is left out.
    pub(crate) fn block(&self) -> String {
        let mut said = self.error.to_string();
        let mut text = format!("error: {said}");
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            if !said.contains(&cause) {
                text += &format!("\n  because: {cause}");
                said = cause;
            }
        }
        text
    }
}

/// Lines for the end of `--help`.
pub(crate) fn help() -> String {
    let lines = EXITS.iter().map(|(exit, meaning)| format!("  {:>3}  {meaning}\n", *exit as u8));
    format!("Exit codes:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn every_code_is_documented_once_and_the_numbers_are_fixed() {
        let numbers: Vec<_> = EXITS.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 130]);
    }

    #[test]
    fn an_error_block_holds_each_cause_once() {
        let cause = std::io::Error::other("disk full");
        let quoted = anyhow::Error::from(cause).context("cannot write: disk full");
        let failure = Failure { exit: Exit::NotWritable, error: quoted };
        assert_eq!(failure.block(), "error: cannot write: disk full");
        let failed: anyhow::Result<()> =
            Err(std::io::Error::other("disk full")).context("cannot write");
        let failure = failed.or_exit(Exit::NotWritable).unwrap_err();
        assert_eq!(failure.block(), "error: cannot write\n  because: disk full");
    }
}
