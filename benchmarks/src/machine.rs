//! The machine a run was made on, as far as the system tells.
//!
//! Read from /proc and /etc on Linux. Elsewhere only what the standard library knows is filled;
//! nothing is guessed.

use serde::{Deserialize, Serialize};

/// Processor, memory and system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model name.
    pub processor: Option<String>,
    /// Architecture, as Rust names it.
    pub arch: String,
    /// Widest vector instructions of the processor, widest first: what kernels may choose from.
    pub vector: Vec<String>,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Memory, in MiB.
    pub memory_mib: Option<u64>,
    /// Name and version of the system.
    pub os: String,
    /// Release of the kernel.
    pub kernel: Option<String>,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name", ':'),
            arch: std::env::consts::ARCH.to_owned(),
            vector: vector_extensions(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal", ':').and_then(|kb| mib(&kb)),
            os: field(&read("/etc/os-release"), "PRETTY_NAME", '=')
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned())
                .filter(|release| !release.is_empty()),
        }
    }
}

/// The value of the first line `name<separator>value`, without quotes.
pub(crate) fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// MiB of a /proc value such as `16384 kB`.
fn mib(value: &str) -> Option<u64> {
    Some(value.strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[cfg(target_arch = "x86_64")]
fn vector_extensions() -> Vec<String> {
    let found = [
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
    ];
    found.iter().filter(|(_, here)| *here).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_extensions() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalHuge: 1 kB\nMemTotal:       16384 kB\n";
        assert_eq!(field(text, "MemTotal", ':').as_deref(), Some("16384 kB"));
        assert_eq!(mib("16384 kB"), Some(16));
        assert_eq!(field("PRETTY_NAME=\"A B\"", "PRETTY_NAME", '=').as_deref(), Some("A B"));
        assert_eq!(field(text, "Mem", ':'), None);
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(Machine::this().cores >= 1);
    }
}
