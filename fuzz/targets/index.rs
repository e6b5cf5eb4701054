//! The index of a sharded model.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::safetensors::fuzzed::index(bytes));
