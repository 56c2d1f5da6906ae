//! A small suite, and the program run on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Two cases of milliseconds each on the built-in digits.
pub(crate) const SUITE: &str = r#"
name = "small"
about = "two tiny networks"

[data]
set = "digits"

[input]
img_size = 8
channels = 1
mean = 0.5
std = 0.5
batch = [1, 4]

[probe]
neighbours = 20
temperature = 0.07
validation = 0.2

[timing]
warm_up = 1
runs = 10
seconds = 0.2

[[case]]
variant = "fcnn_16"

[[case]]
variant = "fcnn_32_16"
"#;

/// A folder for one test, with the suite in it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(SUITE)
    }

    pub(crate) fn with(suite: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("suite.toml"), suite).unwrap();
        Self { folder }
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.out().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// `nearkin bench` on the suite with tract, which is always there.
    pub(crate) fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = nearkin(&["bench", "--runtime", "tract", "--threads", "1"]);
        command
            .arg("--suite")
            .arg(self.folder.path().join("suite.toml"))
            .arg("--out")
            .arg(self.out())
            .args(arguments)
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        let text = self.file("results.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.records().into_iter().filter(|record| record["record"] == "row");
        rows.map(|row| row["variant"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn nearkin(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearkin"));
    command.args(arguments).env_remove("NEARKIN_RESULTS").env_remove("ORT_DYLIB_PATH");
    command
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(command: &mut Command) -> Ran {
    ran(command.output().unwrap())
}

pub(crate) fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
pub(crate) fn expect(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    for part in parts {
        let said = ran.stdout.contains(part) || ran.stderr.contains(part);
        assert!(said, "{part:?} not in stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    }
}

/// The process that runs a case of `parent`, once there is one.
#[cfg(target_os = "linux")]
pub(crate) fn case_of(parent: u32) -> u32 {
    for _ in 0..12_000 {
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let of_parent = read("stat")
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok())
                == Some(parent);
            if of_parent && read("cmdline").split('\0').nth(1) == Some("case") {
                return pid;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("no case was started");
}

#[cfg(unix)]
pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(done.success());
}

pub(crate) fn wait_for(what: &str, path: &Path, holds: impl Fn(&str) -> bool) {
    for _ in 0..12_000 {
        if std::fs::read_to_string(path).is_ok_and(|text| holds(&text)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("waited in vain for {what} in {}", path.display());
}
