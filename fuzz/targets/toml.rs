//! The same of a text of TOML.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::document::fuzzed::toml(bytes));
