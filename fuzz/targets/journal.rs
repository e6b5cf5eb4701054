//! What a dead daemon may have left of a journal.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::safetensors::fuzzed::journal(bytes));
