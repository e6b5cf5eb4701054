//! Blocks that are kept, evicted, damaged, and of another version.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::budget::{DEFAULT, Purpose};
use crate::env::Deadline;
use crate::layer::remote::{Asked, Remote};
use crate::payload::Payload;
use crate::store::api::{Change, When};
use crate::store::driver::Opening;

const MIB: u64 = 1 << 20;

struct Rig {
    layer: BlockCache,
    asked: Arc<Asked>,
    store: Arc<dyn Store>,
}

fn key(name: &str) -> Key {
    Key::of([name.as_bytes()])
}

fn bytes(length: u64, seed: u64) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8 ^ seed as u8).collect()
}

fn store() -> Arc<dyn Store> {
    (crate::store::memory::DRIVER.open)(&Opening::default()).unwrap()
}

impl Rig {
    fn open(store: &Arc<dyn Store>, folder: &Path, size: u64) -> Rig {
        let remote = Remote::new(Arc::clone(store));
        let asked = Arc::clone(remote.asked());
        let layer = BlockCache::new(Arc::new(remote), "memory", folder, size, &Budget::new(DEFAULT)).unwrap();
        Rig { layer, asked, store: Arc::clone(store) }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let (key, body) = (key(name), Payload::of(bytes).unwrap());
        self.store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
    }

    fn read(&self, name: &str, offset: u64, size: u64) -> Vec<u8> {
        let value = self.layer.open(&key(name)).unwrap().unwrap();
        let mut bytes = Vec::new();
        value.read(offset, size, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        bytes
    }

    fn reads(&self) -> usize {
        self.asked.reads.lock().len()
    }
}

fn folder_of(cache: &Path) -> PathBuf {
    std::fs::read_dir(cache).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn what_was_read_is_not_asked_for_again_also_after_a_restart() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let all = bytes(3 * MIB + 5, 1);
    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    rig.put("a", &all);
    assert!(rig.read("a", 0, u64::MAX) == all);
    assert_eq!((rig.reads(), rig.asked.bytes()), (1, 3 * MIB + 5));
    assert!(rig.read("a", 100_000, 2 * MIB) == all[100_000..100_000 + 2 * MIB as usize]);
    assert_eq!(rig.reads(), 1);
    rig.layer.close().unwrap();
    drop(rig);

    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    assert!(rig.read("a", 0, u64::MAX) == all);
    assert_eq!(rig.reads(), 0, "{:?}", rig.layer.facts());
    // Another version is another value.
    let other = bytes(3 * MIB + 5, 2);
    rig.put("a", &other);
    assert!(rig.read("a", 0, u64::MAX) == other);
    assert!(rig.read("a", 70_000, 4096) == other[70_000..74_096]);
    assert_eq!(rig.reads(), 1);
}

#[test]
fn a_small_read_fetches_a_block_and_not_what_is_there() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let all = bytes(MIB, 3);
    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    rig.put("a", &all);
    assert!(rig.read("a", 5 * BLOCK + 10, 4096) == all[5 * BLOCK as usize + 10..][..4096]);
    assert_eq!(*rig.asked.reads.lock(), [(5 * BLOCK, BLOCK)]);
    assert!(rig.read("a", 0, u64::MAX) == all);
    assert_eq!(rig.asked.reads.lock()[1..], [(0, 5 * BLOCK), (6 * BLOCK, 10 * BLOCK)]);
    assert!(rig.read("a", MIB, 1).is_empty());
}

#[test]
fn promise_6_1_a_value_whose_blocks_are_here_is_asked_for_all_the_same() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    rig.put("a", b"one");
    let told = rig.layer.stat(&key("a")).unwrap().unwrap();
    let first = rig.layer.open_told(&key("a"), &told).unwrap().unwrap();
    let read = |value: &dyn Value| {
        let mut bytes = Vec::new();
        value.read(0, 3, &mut |piece| bytes.extend_from_slice(piece)).map(|()| bytes)
    };
    assert_eq!(read(&*first).unwrap(), b"one");
    rig.put("a", b"two");
    let again = rig.layer.open_told(&key("a"), &told).unwrap().unwrap();
    assert_eq!(read(&*again).unwrap(), b"two");
}

#[test]
fn a_damaged_cache_is_asked_for_nothing_and_fails_nobody() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let all = bytes(4 * MIB, 4);
    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    rig.put("a", &all);
    rig.read("a", 0, u64::MAX);
    rig.layer.close().unwrap();
    drop(rig);
    for entry in std::fs::read_dir(folder_of(folder.path())).unwrap() {
        let file = std::fs::OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
        let length = file.metadata().unwrap().len();
        // A byte in every block of the disk, here and there.
        (0..length / 4096).for_each(|page| file.write_all_at(b"!", page * 4096 + page % 4000).unwrap());
    }
    let rig = Rig::open(&store, folder.path(), 32 * MIB);
    assert!(rig.read("a", 0, u64::MAX) == all);
    assert!(rig.read("a", 0, u64::MAX) == all);
}

#[test]
fn the_cache_is_bounded_and_private() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let rig = Rig::open(&store, folder.path(), 16 * MIB);
    let all = bytes(MIB, 5);
    for n in 0..64 {
        rig.put(&n.to_string(), &all);
        assert!(rig.read(&n.to_string(), 0, u64::MAX) == all);
    }
    rig.layer.close().unwrap();
    let own = folder_of(folder.path());
    assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    let sizes = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 16 * MIB);
}

#[test]
fn a_second_mount_of_the_same_store_goes_without() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let first = Rig::open(&store, folder.path(), 16 * MIB);
    let second = Rig::open(&store, folder.path(), 16 * MIB);
    second.put("a", b"bytes");
    assert_eq!((second.read("a", 0, 9), second.read("a", 0, 9)), (b"bytes".to_vec(), b"bytes".to_vec()));
    assert_eq!(second.reads(), 2);
    drop(first);
    let deadline = Deadline::after(std::time::Duration::from_secs(30));
    while Rig::open(&store, folder.path(), 16 * MIB).layer.blocks.is_none() {
        assert!(!deadline.passed());
        std::thread::yield_now();
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let budget = Budget::new(0);
    let made = BlockCache::new(store(), "memory", &folder.path().join("file/below"), 16 * MIB, &budget);
    assert!(made.err().unwrap().to_string().contains("file/below"));
    assert_eq!(budget.used(Purpose::ReadAhead), 0);
}
