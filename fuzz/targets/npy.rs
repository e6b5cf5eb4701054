//! A file of numpy that becomes a tensor.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::safetensors::fuzzed::npy(bytes));
