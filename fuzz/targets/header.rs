//! The header of a safetensors file: whatever it says is a model or a sentence.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::safetensors::fuzzed::header(bytes));
