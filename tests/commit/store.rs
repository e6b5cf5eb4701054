//! The store in one process, as a mount uses it, and as a fresh program sees it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kvfs::key::Key;
use kvfs::payload::Payload;
use kvfs::store;
use kvfs::store::api::{Change, Store, When};
use kvfs::store::driver::{Commit, Opening};

pub fn open(folder: &Path, commit: Commit) -> Arc<dyn Store> {
    let opening = Opening { location: Some(folder.to_owned()), commit, ..Opening::default() };
    (store::driver("lmdb").unwrap().open)(&opening).unwrap()
}

pub fn put(store: &dyn Store, key: &[u8], value: &[u8]) {
    let (key, body) = (Key::of([key]), Payload::of(value).unwrap());
    store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
}

pub fn get(store: &dyn Store, key: &[u8]) -> Option<Vec<u8>> {
    let value = store.open(&Key::of([key])).unwrap()?;
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    Some(bytes)
}

pub fn fact(store: &dyn Store, name: &str) -> String {
    store.facts().into_iter().find(|(fact, _)| *fact == name).map(|(_, value)| value).unwrap_or_default()
}

/// The number before `unit` in a sentence.
pub fn number(sentence: &str, unit: &str) -> u64 {
    let words: Vec<&str> = sentence.split([' ', ';', ',', '(']).filter(|word| !word.is_empty()).collect();
    let at = words.windows(unit.split(' ').count() + 1).position(|w| w[1..].join(" ") == unit);
    at.and_then(|at| words[at].parse().ok()).unwrap_or_else(|| panic!("no {unit:?} in {sentence:?}"))
}

/// Whether a fresh `mdb_dump` finds `value` under `key`.
pub fn dump_has(folder: &Path, key: &str, value: &str) -> bool {
    let output = Command::new("mdb_dump").arg(folder).output().expect("lmdb-utils are installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8(output.stdout).unwrap();
    dump.contains(&format!("\n {}\n {}\n", hex::encode(key), hex::encode(value)))
}
