//! A real mount, served by this process, over a store that another program changes and that tells of it.

use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvfs::device::{self, Device, MountFlags, Unmount};
use kvfs::env::Deadline;
use kvfs::error::{ErrorKind, Result, kind_of_io};
use kvfs::fuse::{self, Session};
use kvfs::key::Key;
use kvfs::store::api::{Caps, Change, Cursor, Entry, Event, Stat, Store, Tell, Value, Version, Watch};
use kvfs::vfs::Vfs;

use crate::direct::{foreign_delete, foreign_put, memory, options};
use crate::{Answer, Path, Tree};

/// A store in memory that tells of changes made behind the mount's back.
struct Telling {
    inner: Arc<dyn Store>,
    tell: Mutex<Option<Tell>>,
}

impl Store for Telling {
    fn caps(&self) -> &Caps {
        self.inner.caps()
    }
    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        self.inner.stat(key)
    }
    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.list(dir, from, each)
    }
    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        self.inner.open(key)
    }
    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.inner.apply(changes)
    }
    fn check_key(&self, key: &Key) -> Result<()> {
        self.inner.check_key(key)
    }
    fn version_of(&self, body: &kvfs::payload::Payload) -> Result<Option<Version>> {
        self.inner.version_of(body)
    }
    fn watch(&self, tell: Tell) -> Result<Watch> {
        *self.tell.lock().unwrap() = Some(tell);
        Ok(Watch(Box::new(())))
    }
}

/// A mounted file system.
pub struct Mounted {
    folder: tempfile::TempDir,
    store: Arc<Telling>,
    vfs: Arc<Vfs>,
    session: Option<Session>,
    told: u64,
}

impl Mounted {
    pub fn new() -> Mounted {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Telling { inner: memory(), tell: Mutex::new(None) });
        let vfs = Vfs::new(Arc::clone(&store) as Arc<dyn Store>, options());
        let flags = MountFlags { source: "memory", read_only: false, no_exec: false, allow_other: false };
        let descriptor = Device::find().unwrap().mount(folder.path(), &flags).unwrap();
        let session = Some(fuse::serve(Arc::clone(&vfs), descriptor, 2).unwrap());
        Mounted { folder, store, vfs, session, told: 0 }
    }

    fn path(&self, path: &Path) -> PathBuf {
        path.iter().fold(self.folder.path().to_owned(), |folder, name| folder.join(name))
    }

    /// Tells the mount, as a store's watch does, and waits until it told the kernel.
    fn tell(&mut self, key: &Path) {
        self.told += 1;
        let event = if self.told.is_multiple_of(2) {
            Event::Everything
        } else {
            Event::Key(Key::of(key.iter().map(|name| name.as_bytes())))
        };
        (self.store.tell.lock().unwrap().as_ref().unwrap())(event);
        let deadline = Deadline::after(Duration::from_secs(10));
        while self.vfs.counters.invalidations.load(Ordering::Acquire) < self.told {
            assert!(!deadline.passed(), "the kernel was not told");
            std::thread::yield_now();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        device::unmount(self.folder.path(), Unmount::WhenFree).unwrap();
        self.session.take().unwrap().wait().unwrap();
    }
}

fn kind<T>(outcome: std::io::Result<T>) -> Answer<T> {
    outcome.map_err(|error| kind_of_io(&error))
}

impl Tree for Mounted {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        kind(std::fs::write(self.path(path), bytes))
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        let file = kind(std::fs::File::options().read(true).write(true).open(self.path(path)))?;
        kind(file.write_all_at(bytes, offset))
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        kind(nix::unistd::truncate(&self.path(path), size as i64).map_err(std::io::Error::from))
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        kind(std::fs::File::create_new(self.path(path)).map(drop))
    }

    fn remove(&mut self, path: &Path) -> Answer<()> {
        kind(std::fs::remove_file(self.path(path)))
    }

    fn make_directory(&mut self, path: &Path) -> Answer<()> {
        kind(std::fs::create_dir(self.path(path)))
    }

    fn remove_directory(&mut self, path: &Path) -> Answer<()> {
        kind(std::fs::remove_dir(self.path(path)))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        kind(std::fs::rename(self.path(from), self.path(to)))
    }

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        foreign_put(&*self.store.inner, key, bytes);
        self.tell(key);
    }

    fn foreign_delete(&mut self, key: &Path) {
        foreign_delete(&*self.store.inner, key);
        self.tell(key);
    }

    fn forget(&mut self) {
        // Unused names and inodes, of every file system; a hint.
        if let Err(error) = std::fs::write("/proc/sys/vm/drop_caches", "2") {
            assert_eq!(kind_of_io(&error), ErrorKind::Denied);
        }
    }

    fn everything(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        fn walk(folder: &std::path::Path, prefix: &str, all: &mut Vec<(String, Option<Vec<u8>>)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                let found = std::fs::symlink_metadata(entry.path()).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert_eq!(found.is_dir(), entry.file_type().unwrap().is_dir(), "{path}");
                if found.is_dir() {
                    all.push((path.clone(), None));
                    walk(&entry.path(), &format!("{path}/"), all);
                } else {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    assert_eq!(bytes.len() as u64, found.len(), "{path}");
                    all.push((path, Some(bytes)));
                }
            }
        }
        let mut all = Vec::new();
        walk(self.folder.path(), "", &mut all);
        all.sort();
        all
    }
}
