//! The peak mark, in a process of its own: other tests would move it.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "says what it could not check")]

use nearkin_bench::memory::{peak_bytes, reset_peak};

const BLOCK: u64 = 64 << 20;

/// The kernel sums per-processor counters, so two readings of one mark differ by some pages.
const SLACK: u64 = 4 << 20;

#[test]
fn the_peak_follows_an_allocation_and_falls_after_a_reset() {
    let before = peak_bytes().unwrap();
    let block = std::hint::black_box(vec![1_u8; BLOCK as usize]);
    let with = peak_bytes().unwrap();
    assert!(with >= before + BLOCK - SLACK, "{before} then {with}");
    drop(block);
    assert!(peak_bytes().unwrap() + SLACK >= with, "the mark must not fall by itself");
    // Containers may mount /proc so that the mark cannot be reset; then `None` says so.
    if reset_peak().is_some() {
        let after = peak_bytes().unwrap();
        assert!(after + BLOCK / 2 < with, "{with} then {after}");
    } else {
        println!("not checked: /proc/self/clear_refs cannot be written here");
    }
}
