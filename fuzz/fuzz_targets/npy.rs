#![no_main]

#[path = "../targets/graph.rs"]
#[expect(dead_code, reason = "each fuzz target uses one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::npy(bytes));
