//! One child process, watched: its lines as they come, its log, its end.
//!
//! The parent keeps the child's standard input open for as long as it wants the child to live. A
//! child that calls [`first_line`] therefore ends by itself if the parent is killed. On
//! Unix the child has its own process group, so that Ctrl-C in a terminal reaches only the parent,
//! which then decides.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often the parent looks at the clock and at the interruption flag.
const TICK: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The first line of its standard input, without the end of the line.
    pub input: String,
    /// The file that takes its standard error.
    pub log: PathBuf,
    /// Seconds after which it is killed; `None` for never.
    pub timeout_s: Option<f64>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit status; 0 is success.
    Exited(i32),
    /// By this signal, not sent by the parent.
    Signalled(i32),
    /// Killed by the parent at the timeout.
    TimedOut,
    /// Killed by the parent because the run was interrupted.
    Interrupted,
}

/// Runs a child to its end, giving every line of its standard output to `on_line`.
///
/// As soon as `interrupted` is set, the child is killed.
///
/// # Errors
/// The system's: the log cannot be created, or the program not be started.
pub fn run(
    command: &ChildCommand,
    interrupted: &AtomicBool,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Ending> {
    let log = File::create(&command.log)?;
    let mut child = spawn(command, log)?;
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        // A child that dies before it reads tells more by its ending than this error would.
        let _ = writeln!(stdin, "{}", command.input).and_then(|()| stdin.flush());
    }
    let (sender, lines) = channel();
    let reader = child.stdout.take().map(|stdout| {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        })
    });
    let limit = command.timeout_s.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e9)));
    let begin = Instant::now();
    let mut killed = None;
    let mut open = true;
    let status = loop {
        if killed.is_none() {
            if interrupted.load(Ordering::Relaxed) {
                killed = Some(Ending::Interrupted);
            } else if limit.is_some_and(|limit| begin.elapsed() > limit) {
                killed = Some(Ending::TimedOut);
            }
            if killed.is_some() {
                child.kill()?;
            }
        }
        if open {
            match lines.recv_timeout(TICK) {
                Ok(line) => on_line(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        } else {
            std::thread::sleep(TICK / 10);
        }
        // While lines are open the child lives, or has left some to read.
        if !open || killed.is_some() {
            if let Some(status) = child.try_wait()? {
                break status;
            }
        } else if let Some(status) = child.try_wait()? {
            // A grandchild may hold the pipe open: take what is there and do not wait for its end.
            while let Ok(line) = lines.recv_timeout(TICK) {
                on_line(&line);
            }
            break status;
        }
    };
    drop(stdin);
    drop(lines);
    if let Some(reader) = reader
        && reader.is_finished()
    {
        // Its only result is that it ended; a panic there has been printed already.
        let _ = reader.join();
    }
    Ok(killed.unwrap_or_else(|| ending(status)))
}

fn spawn(command: &ChildCommand, log: File) -> io::Result<Child> {
    let mut process = Command::new(&command.program);
    process
        .args(&command.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log));
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    process.spawn()
}

#[cfg(unix)]
fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or(0)),
    }
}

#[cfg(not(unix))]
fn ending(status: ExitStatus) -> Ending {
    Ending::Exited(status.code().unwrap_or(-1))
}

impl Ending {
    /// Whether the system probably killed the child for want of memory.
    #[must_use]
    pub fn is_out_of_memory(self, log: &Path) -> bool {
        match self {
            Self::Signalled(9) => true,
            // Rust's and C++'s own ends when an allocation fails.
            Self::Signalled(6) => last_words(log).is_some_and(|line| {
                line.contains("memory allocation of") || line.contains("bad_alloc")
            }),
            _ => false,
        }
    }

    /// The end in a sentence, with the last words of `log` where they may explain it.
    #[must_use]
    pub fn reason(self, log: &Path) -> String {
        let told = || last_words(log).map(|line| format!(": {line}")).unwrap_or_default();
        match self {
            Self::Exited(code) => format!("exited with status {code}{}", told()),
            Self::Signalled(9) => "killed by signal 9, probably out of memory".to_owned(),
            Self::Signalled(signal) if self.is_out_of_memory(log) => {
                format!("out of memory (signal {signal}){}", told())
            }
            Self::Signalled(signal) => format!("crashed with signal {signal}{}", told()),
            Self::TimedOut => "killed at the time limit".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }
}

/// What a log says last, shortened: a panic's message, or the last line that is not empty. Reads at
/// most its last 16 KiB.
fn last_words(log: &Path) -> Option<String> {
    const TAIL: u64 = 16 << 10;
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let panic = lines.iter().rposition(|line| line.contains(" panicked at "));
    let line = panic.and_then(|at| lines.get(at + 1)).or(lines.last())?;
    Some(line.chars().take(200).collect())
}

/// The first line of this process's standard input, for a child of [`run`].
///
/// From then on this process ends with status 130 as soon as its standard input does: the parent
/// is gone, or wants it gone. Whatever else the parent sends is ignored.
///
/// # Errors
/// The system's.
pub fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    std::thread::spawn(|| {
        let mut rest = [0; 256];
        while !matches!(io::stdin().read(&mut rest), Ok(0) | Err(_)) {}
        std::process::exit(130);
    });
    Ok(line)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    struct Ran {
        ending: Ending,
        lines: Vec<String>,
        log: PathBuf,
        seconds: f64,
        _folder: tempfile::TempDir,
    }

    fn shell(script: &str, timeout_s: Option<f64>, interrupted: &AtomicBool) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let command = ChildCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            input: "hello".to_owned(),
            log: log.clone(),
            timeout_s,
        };
        let mut lines = Vec::new();
        let begin = Instant::now();
        let ending = run(&command, interrupted, &mut |line| lines.push(line.to_owned())).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        Ran { ending, lines, log, seconds, _folder: folder }
    }

    fn plain(script: &str) -> Ran {
        shell(script, None, &AtomicBool::new(false))
    }

    #[test]
    fn input_output_and_log_reach_their_places() {
        let ran = plain("read x; echo got $x; echo seen >&2; echo end");
        assert_eq!(
            (ran.ending, ran.lines),
            (Ending::Exited(0), vec!["got hello".into(), "end".into()])
        );
        assert_eq!(std::fs::read_to_string(&ran.log).unwrap(), "seen\n");
    }

    #[test]
    fn a_status_comes_with_the_last_words() {
        let ran = plain("echo 'no such thing' >&2; echo >&2; exit 7");
        assert_eq!(ran.ending.reason(&ran.log), "exited with status 7: no such thing");
    }

    #[test]
    fn a_panic_is_told_by_its_message() {
        let panic = "thread 'main' (7) panicked at src/a.rs:1:2:\nno such axis\nnote: run with";
        let ran = plain(&format!("printf \"{panic}\" >&2; exit 101"));
        assert_eq!(ran.ending.reason(&ran.log), "exited with status 101: no such axis");
    }

    #[test]
    fn signal_nine_is_taken_for_want_of_memory() {
        let ran = plain("echo begun; kill -9 $$");
        assert_eq!((ran.ending, ran.lines.len()), (Ending::Signalled(9), 1));
        assert!(ran.ending.is_out_of_memory(&ran.log));
        assert!(ran.ending.reason(&ran.log).contains("probably out of memory"));
    }

    #[test]
    fn an_abort_is_want_of_memory_only_if_it_says_so() {
        let ran = plain("echo 'memory allocation of 99 bytes failed' >&2; kill -6 $$");
        assert!(ran.ending.is_out_of_memory(&ran.log));
        let ran = plain("echo 'assertion failed' >&2; kill -6 $$");
        assert!(!ran.ending.is_out_of_memory(&ran.log));
        assert_eq!(ran.ending.reason(&ran.log), "crashed with signal 6: assertion failed");
    }

    #[test]
    fn a_child_over_its_time_is_killed_and_its_lines_are_kept() {
        let ran = shell("echo begun; exec sleep 60", Some(0.3), &AtomicBool::new(false));
        assert_eq!((ran.ending, ran.lines), (Ending::TimedOut, vec!["begun".to_owned()]));
        assert!(ran.seconds < 30.0, "{}", ran.seconds);
    }

    #[test]
    fn an_interruption_kills_the_child() {
        let ran = shell("exec sleep 60", None, &AtomicBool::new(true));
        assert_eq!(ran.ending, Ending::Interrupted);
        assert!(ran.seconds < 30.0, "{}", ran.seconds);
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_does_not_hold_the_parent() {
        let ran = plain("echo begun; sleep 20 & exit 3");
        assert_eq!((ran.ending, ran.lines), (Ending::Exited(3), vec!["begun".to_owned()]));
        assert!(ran.seconds < 10.0, "{}", ran.seconds);
    }

    #[test]
    fn a_program_that_cannot_be_started_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let command = ChildCommand {
            program: folder.path().join("absent"),
            arguments: vec![],
            input: String::new(),
            log: folder.path().join("log"),
            timeout_s: None,
        };
        assert!(run(&command, &AtomicBool::new(false), &mut |_| {}).is_err());
    }
}
