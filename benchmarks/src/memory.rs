//! The peak resident set of this process, from /proc (Linux).
//!
//! `VmHWM` of /proc/self/status is the highest resident set since the process began or since
//! the mark was reset by writing 5 to /proc/self/clear_refs (proc(5)). With the reset the peaks
//! of loading and of running can be told apart. On a system without /proc every function
//! returns `None`. An allocator's own statistics are not used: they miss what an engine maps.

use crate::machine::field;

/// Highest resident set of this process since its start or the last [`reset_peak`], in bytes.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_kib(&field(&status, "VmHWM", ':')?)
}

/// Lowers the mark to the present resident set; `None` where the system cannot.
pub fn reset_peak() -> Option<()> {
    std::fs::write("/proc/self/clear_refs", "5").ok()
}

/// Bytes of a /proc value such as `16384 kB`.
fn parse_kib(value: &str) -> Option<u64> {
    Some(value.strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kib_become_bytes() {
        assert_eq!(parse_kib("  12 kB"), Some(12 * 1024));
        assert_eq!(parse_kib("12 MB"), None);
    }
}
