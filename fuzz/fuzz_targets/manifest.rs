#![no_main]

#[path = "../targets/mod.rs"]
#[expect(dead_code, reason = "each fuzz target uses one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(
    // The reader of Parquet catches its library's panics; libFuzzer's hook would end at them. Those
    // that are not caught still end the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| targets::manifest(bytes)
);
