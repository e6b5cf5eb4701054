//! A text of JSON: whatever it is, it is a document or a sentence, and one change of it changes nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kvfs::store::document::fuzzed::json(bytes));
