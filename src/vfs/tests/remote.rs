//! A store behind a network, whose answers are remembered and whose values are read ahead.

use std::sync::atomic::Ordering;

use super::*;
use crate::budget::Budget;
use crate::layer::metadata_cache::MetadataCache;
use crate::layer::read_ahead::ReadAhead;
use crate::layer::remote::{Asked, Remote};

/// A Vfs over such a store, and the store as another program uses it.
struct Far {
    vfs: Arc<Vfs>,
    asked: Arc<Asked>,
    store: Arc<dyn Store>,
    _state: tempfile::TempDir,
}

impl Far {
    fn new() -> Far {
        let store = (crate::store::memory::DRIVER.open)(&Opening::default()).unwrap();
        let remote = Remote::new(Arc::clone(&store));
        let asked = Arc::clone(remote.asked());
        let (budget, long) = (Budget::new(0), Duration::from_secs(3600));
        let ahead = ReadAhead::new(Arc::new(remote), Arc::clone(&budget), Duration::from_secs(5));
        let cache = MetadataCache::new(Arc::new(ahead), long, budget);
        let state = tempfile::tempdir().unwrap();
        let options = Options {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            directory_mode: 0o755,
            read_only: false,
            timeout: Duration::from_secs(5),
            ttl: long,
            ttl_of_absence: Duration::ZERO,
            source: String::from("memory"),
            exclusive_at_open: false,
            spool: Spool::at(state.path()),
        };
        Far { vfs: Vfs::new(Arc::new(cache), options), asked, store, _state: state }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let (key, body) = (key(path), Payload::of(bytes).unwrap());
        self.store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
    }

    fn list(&self) {
        let handle = self.vfs.opendir(ROOT).unwrap();
        self.vfs.readdir(handle, 0, true, &mut |_| true).unwrap();
        self.vfs.releasedir(handle);
    }

    fn open(&self, name: &str) -> (Ino, Result<Opened>) {
        let attr = self.vfs.lookup(ROOT, name.as_bytes()).unwrap();
        (attr.ino, self.vfs.open(caller(), attr.ino, READ))
    }

    fn read(&self, ino: Ino, opened: Opened) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.vfs.read(ino, opened.handle, 0, 100, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        self.vfs.release(ino, opened.handle);
        bytes
    }
}

#[test]
fn promise_6_2_reading_a_file_in_a_folder_listed_within_the_ttl_is_one_question() {
    let far = Far::new();
    (0..10).for_each(|n| far.put(&format!("f{n}"), b"bytes"));
    far.list();
    let before = far.asked.all();
    for n in 0..10 {
        let (ino, opened) = far.open(&format!("f{n}"));
        assert_eq!(far.read(ino, opened.unwrap()), b"bytes");
    }
    assert_eq!(far.asked.all(), before + 10);
    assert!(far.vfs.lookup(ROOT, b"absent").is_err());
    assert_eq!(far.asked.stat.load(Ordering::Relaxed), 0);
}

#[test]
fn promise_6_1_a_change_is_seen_at_the_next_open_whatever_is_remembered() {
    let far = Far::new();
    far.put("f", b"one");
    far.list();
    let (ino, opened) = far.open("f");
    assert_eq!(far.read(ino, opened.unwrap()), b"one");
    // Of the same length: the pages of the old one are not kept.
    far.put("f", b"two");
    let (ino, opened) = far.open("f");
    let opened = opened.unwrap();
    assert!(!opened.keep);
    assert_eq!(far.read(ino, opened), b"two");
    let (ino, opened) = far.open("f");
    assert!(opened.as_ref().unwrap().keep);
    assert_eq!(far.read(ino, opened.unwrap()), b"two");
    // Of another length: the kernel is sent back for the new one.
    far.put("f", b"three");
    assert_eq!(far.open("f").1.unwrap_err().kind(), ErrorKind::Stale);
    let (ino, opened) = far.open("f");
    assert_eq!(far.read(ino, opened.unwrap()), b"three");
}

#[test]
fn what_is_written_here_is_there_at_once() {
    let far = Far::new();
    far.list();
    let (attr, opened) = far.vfs.create(caller(), ROOT, b"new", 0o644, WRITE).unwrap();
    far.vfs.write(attr.ino, opened.handle, 0, b"bytes", false, false).unwrap();
    far.vfs.flush_handle(caller(), attr.ino, opened.handle, OWNER).unwrap();
    far.vfs.release(attr.ino, opened.handle);
    assert_eq!(far.vfs.lookup(ROOT, b"new").unwrap().size, 5);
    let (ino, opened) = far.open("new");
    assert_eq!(far.read(ino, opened.unwrap()), b"bytes");
    far.vfs.unlink(ROOT, b"new").unwrap();
    assert!(far.vfs.lookup(ROOT, b"new").is_err());
}
